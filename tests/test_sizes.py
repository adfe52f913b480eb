"""Any sensible input: what assembles is what torch runs, whatever the size."""

from __future__ import annotations

from random import Random

import pytest
import torch
from torch import nn

from blockforge import Network, assemble, build, cost, get_network, list_networks
from blockforge.assembler import smallest_input
from blockforge.errors import BlockforgeError
from blockforge.references import reference_of

QUICK = {"alexnet", "d2l_googlenet", "densenet121", "inception_v3_aux", "lenet5", "mobilenet_v2", "nin_cifar10",
         "resnet20", "shufflenet_v1_g3_x0_5", "vgg11_cifar"}  # fmt: skip
SIZES = range(16, 301)

every_network = pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in list_networks()]
)


def on_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        module = build(name, init=False)
    # Auxiliary heads need a size of their own, and run in training only.
    return module.train(len(get_network(name).outputs) > 1)


def runs(module: nn.Module, shape: tuple[int, ...]) -> bool:
    try:
        with torch.no_grad():
            module(torch.empty(2, *shape, device="meta"))
    except (RuntimeError, ValueError):
        return False
    return True


def assembles(name: str, shape: tuple[int, ...]) -> bool:
    try:
        assemble(name, input=shape, strict_input=True)
    except BlockforgeError:
        return False
    return True


def some_shapes(name: str, count: int) -> list[tuple[int, ...]]:
    """Sizes around the smallest that works and elsewhere, not all of them square."""
    channels, dice = get_network(name).input[0], Random(name)
    least = smallest_input(get_network(name)) or 16
    near = [(least, least), (max(1, least - 1), least), (least, max(1, least - 1)), (least + 1, least + 2)]
    sizes = near + [(dice.choice(SIZES), dice.choice(SIZES)) for _ in range(count - len(near))]
    return [(channels, height, width) for height, width in sizes]


@every_network
def test_what_assembles_is_what_torch_runs(name: str) -> None:
    module = on_meta(name)
    for shape in [get_network(name).input, *some_shapes(name, 7)]:
        assert runs(module, shape) == assembles(name, shape), shape


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", list_networks())
def test_what_assembles_is_what_torch_runs_at_every_size(name: str) -> None:
    module, channels = on_meta(name), get_network(name).input[0]
    for size in SIZES:
        shape = (channels, size, size)
        assert runs(module, shape) == assembles(name, shape), shape


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in list_networks()
        if reference_of(name) and reference_of(name).make
    ],
)
def test_what_assembles_is_what_the_reference_runs(name: str) -> None:
    found = reference_of(name)
    assert found
    assert found.make
    with torch.device("meta"):
        module = found.make()
    module.train(len(get_network(name).outputs) > 1)
    for shape in some_shapes(name, 6):
        assert runs(module, shape) == assembles(name, shape), shape


@every_network
def test_real_images_of_five_sizes_pass(name: str) -> None:
    network = get_network(name)
    channels = network.input[0]
    least = smallest_input(network) or 1
    for height, width in ((least, least), (least, least + 5), (least + 7, least), (least + 16, least + 3), (100, 90)):
        shape = (channels, max(height, least), max(width, least))
        try:
            assemble(network, input=shape)
        except BlockforgeError:  # its layers fit square or even sizes alone, which the tests above compare with torch's
            continue
        module = build(network, init=False, input=shape, edits={"classes": 7}).eval()
        for tensor in (*module.parameters(), *module.buffers()):
            tensor.data.zero_()
        with torch.inference_mode():
            assert module(torch.zeros(1, *shape)).shape == (1, 7)


@pytest.mark.parametrize("name", list_networks())
def test_classes_channels_and_input_can_be_others(name: str) -> None:
    network = get_network(name)
    channels = 2 if network.input[0] == 1 else 1
    size = max(smallest_input(network) or 1, network.input[1])
    other = network.set({"classes": 12, "input": [channels, size, size]})
    graph = assemble(other)
    assert {value.shape for value in graph.outputs.values()} == {(12,)}
    assert cost(other).params != cost(network).params
    first = next(node for node in graph if node.params)
    assert first.input_shapes[0][0] == channels


def test_strict_input_keeps_the_weights_shapes() -> None:
    with pytest.raises(BlockforgeError) as caught:
        build("lenet5", input=(1, 64, 64), strict_input=True)
    assert str(caught.value) == (
        "lenet5: fc1: its weight would be (120, 2704) at input (1, 64, 64) instead of (120, 400) at (1, 32, 32); "
        "use that input, or leave out strict_input"
    )
    assert build("resnet18", init=False, input=(3, 96, 64), strict_input=True)


def test_a_head_that_needs_a_larger_input_is_named() -> None:
    with pytest.raises(BlockforgeError) as caught:
        assemble("inception_v3_aux", input=(3, 128, 128))
    assert str(caught.value) == (
        "inception_v3_aux: AuxLogits.conv1.conv: kernel 5 is larger than the padded input 1x1; use a larger input or a "
        "smaller kernel or stride, at input (3, 128, 128); AuxLogits runs in training only, and without it this input "
        "works: set outputs.aux to null (--set outputs.aux=null); the smallest input that works is 299x299"
    )
    slim = get_network("inception_v3_aux").set({"input": [3, 128, 128], "outputs.aux": None})
    assert assemble(slim).hash() == assemble("inception_v3", input=(3, 128, 128)).hash()


def test_heads_are_named_only_where_the_input_works_without_them() -> None:
    network = Network.from_yaml("""
input: [3, 4, 4]
stages:
  a: {block: conv}
  head: {block: pool, kernel: 9, from: a}
  other: {block: pool, kernel: 8, from: a}
  b: {block: pool, from: a, kernel: 3}
outputs: {logits: b, one: {stage: head, when: training}, two: {stage: other, when: training}}
""")
    with pytest.raises(BlockforgeError, match="at input ") as caught:
        assemble(network)
    assert str(caught.value).partition("at input (3, 4, 4)")[2] == (
        "; head and other run in training only, and without them this input works: set outputs.one and outputs.two to "
        "null (--set outputs.one=null --set outputs.two=null); the smallest input that works is 9x9"
    )
    with pytest.raises(BlockforgeError, match="at input ") as caught:
        assemble(network, input=(3, 2, 2))
    assert str(caught.value).partition("at input (3, 2, 2)")[2] == "; the smallest input that works is 9x9"
