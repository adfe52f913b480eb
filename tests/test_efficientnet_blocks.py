"""Inverted residuals as MobileNet and EfficientNet use them: sizes, names, squeezed widths, stochastic depth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from blockforge import build, ops
from blockforge.assembler import assemble, graph_of
from blockforge.registry import get_registry

InvertedResidual: Any = get_registry().block("inverted_residual")
SqueezeExcitation: Any = get_registry().block("squeeze_excitation")


def convolutions(block: Any, *shape: int) -> list[str]:
    """The names of a block's convolutions, in order, with the channels that each makes."""
    return [f"{node.name} {node.shapes[0][0]}" for node in graph_of(block, shape) if node.op.kind == "Conv2d"]


def test_the_parts_are_named_and_sized_as_mobilenet_v2_does() -> None:
    assert convolutions(InvertedResidual(width=24), 16, 8, 8) == ["conv.0.0 96", "conv.1.0 96", "conv.2 24"]
    assert convolutions(InvertedResidual(width=24, expansion=1), 16, 8, 8) == ["conv.0.0 16", "conv.1 24"]


def test_the_parts_are_named_and_sized_as_mobilenet_v3_does() -> None:
    block = InvertedResidual(width=24, expanded=72, attention=SqueezeExcitation(), names=("block.#", "block.#"))
    assert convolutions(block, 16, 8, 8) == [
        "block.0.0 72",
        "block.1.0 72",
        "block.2.fc1 4",
        "block.2.fc2 72",
        "block.3.0 24",
    ]
    narrow = InvertedResidual(width=24, expanded=16, names=("block.#", "block.#"))
    assert convolutions(narrow, 16, 8, 8) == ["block.0.0 16", "block.1.0 24"]


def test_a_networks_width_acts_on_an_absolute_expansion(tmp_path: Path) -> None:
    file = tmp_path / "narrow.yaml"
    file.write_text("narrow: {extends: mobilenet_v3_large, scale: {width: 0.75}}\n", "utf-8")
    with torch.device("meta"):
        theirs = torchvision.models.mobilenet_v3_large(width_mult=0.75)
        ours = build(file, init=False)
    shapes = {key: tensor.shape for key, tensor in ours.state_dict().items()}
    assert shapes == {key: tensor.shape for key, tensor in theirs.state_dict().items()}


@pytest.mark.parametrize(
    ("channels", "limit", "squeezed"), [(72, 0.0, 16), (72, 0.9, 24), (16, 0.9, 8), (120, 0.9, 32), (672, 0.9, 168)]
)
def test_rounding_may_leave_at_least_a_share_of_the_squeezed_channels(
    channels: int, limit: float, squeezed: int
) -> None:
    block = SqueezeExcitation(reduction=4, divisor=8, round_limit=limit)
    assert convolutions(block, channels, 8, 8)[0] == f"fc1 {squeezed}"


def drops(network: Any) -> dict[str, float]:
    return {node.name: node.op.p for node in assemble(network) if isinstance(node.op, ops.DropPath)}


def test_stochastic_depth_counts_the_blocks_that_have_it_and_no_plain_convolutions() -> None:
    assert list(drops("efficientnet_b0").values()) == [0.025, 0.05, 0.075, 0.0875, 0.1125, 0.125, 0.15, 0.1625, 0.175]


@pytest.mark.parametrize("name", [f"efficientnet_b{i}" for i in range(8)])
def test_stochastic_depth_is_torchvisions(name: str) -> None:
    with torch.device("meta"):
        module = torchvision.models.get_model(name)
    blocks = [each for each in module.modules() if isinstance(each, torchvision.models.efficientnet.MBConv)]
    theirs = [block.stochastic_depth.p for block in blocks if block.use_res_connect]
    assert list(drops(name).values()) == pytest.approx(theirs)
