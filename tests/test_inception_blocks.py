"""Inception's modules: what their parameters leave out or add, and auxiliary heads on maps that are too small."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from blockforge import Network, build, cost, get_network
from blockforge.assembler import assemble, graph_of
from blockforge.errors import BlockforgeError
from blockforge.registry import get_registry

Inception: Any = get_registry().block("inception")
InceptionAux: Any = get_registry().block("inception_aux")
InceptionAuxV3: Any = get_registry().block("inception_aux_v3")


def layers(block: Any, *shape: int) -> list[str]:
    """The names of a block's convolutions and pools, in order, with the channels that each makes."""
    nodes = graph_of(block, shape)
    return [f"{node.name} {node.shapes[0][0]}" for node in nodes if node.op.kind in ("Conv2d", "MaxPool2d")]


def test_the_naive_module_has_no_1x1_convolutions_and_passes_the_pool_on() -> None:
    assert layers(Inception(reduce=False), 192, 28, 28) == [
        "branch1.conv 64",
        "branch2.0.conv 128",
        "branch3.0.conv 32",
        "branch4.0 192",
    ]


def test_the_larger_branch_may_be_two_smaller_kernels() -> None:
    block = Inception(branch3_kernel=3, branch3_depth=2)
    assert [name for name in layers(block, 192, 28, 28) if name.startswith("branch3")] == [
        "branch3.0.conv 16",
        "branch3.1.conv 32",
        "branch3.2.conv 32",
    ]


def test_biases_stand_in_for_the_norms() -> None:
    keys = list(build(Inception(bias=True, norm=False), input=(192, 28, 28)).state_dict())
    assert keys[:4] == ["branch1.conv.weight", "branch1.conv.bias", "branch2.0.conv.weight", "branch2.0.conv.bias"]


def test_both_pools_of_the_auxiliary_head_give_4x4_maps_of_14x14() -> None:
    adaptive, windows = (build(InceptionAux(pool=pool), input=(8, 14, 14)) for pool in ("adaptive", "avg"))
    x = torch.randn(2, 8, 14, 14)
    assert adaptive.avgpool(x).shape == windows.avgpool(x).shape == (2, 8, 4, 4)


@pytest.mark.parametrize(
    ("block", "size", "message"),
    [
        (InceptionAux(pool="avg"), 4, "avgpool: kernel 5 is larger than the padded input 4x4"),
        (InceptionAuxV3(), 16, "conv1.conv: kernel 5 is larger than the padded input 4x4"),
    ],
)
def test_an_auxiliary_head_on_too_small_maps_is_refused(block: Any, size: int, message: str) -> None:
    with pytest.raises(BlockforgeError) as caught:
        graph_of(block, (768, size, size))
    assert str(caught.value) == f"{message}; use a larger input or a smaller kernel or stride"


def test_the_networks_width_acts_on_every_branch() -> None:
    half = Network.from_yaml("name: half\nextends: inception_v3\nscale: {width: 0.5}\n")
    whole = get_network("inception_v3")
    assert cost(half).macs == pytest.approx(cost(whole).macs / 4, rel=0.05)
    widths = [node.shapes[0][0] for node in assemble(half) if node.op.kind == "Conv2d"]
    assert widths[:5] == [16, 16, 32, 40, 96]
