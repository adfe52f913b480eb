"""Residual blocks, bottlenecks and dense layers: what their parameters make of the graph."""

from __future__ import annotations

import pytest
from blockforge.plugins.bottleneck import Bottleneck
from blockforge.plugins.dense import DenseLayer, Transition
from blockforge.plugins.residual import Residual

from blockforge import Block, Network
from blockforge.assembler import graph_of
from blockforge.errors import InvalidNetwork

WIDER = {"width": 16, "stride": 2}


def names(block: Block) -> list[str]:
    """The ops' names, for an input of (8, 8, 8)."""
    return [node.name for node in graph_of(block, (8, 8, 8)).nodes if node.inputs]


def convolutions(block: Block) -> dict[str, tuple[object, ...]]:
    """Each convolution's output and weight shapes, and whether it has a bias, for an input of (8, 8, 8)."""
    nodes = graph_of(block, (8, 8, 8)).nodes
    weights = {node: node.op.weights(*node.input_shapes) for node in nodes if node.op.kind == "Conv2d"}
    return {node.name: (node.shapes[0], of["weight"], "bias" in of) for node, of in weights.items()}


def test_a_pre_activation_block_projects_what_is_activated_and_ends_with_the_sum() -> None:
    assert names(Residual(**WIDER)) == [
        "conv1", "bn1", "relu1", "conv2", "bn2", "downsample.0", "downsample.1", "add", "relu2",
    ]  # fmt: skip
    assert names(Residual(**WIDER, pre_activation=True, shortcut_norm=False)) == [
        "bn1", "relu1", "downsample", "conv1", "bn2", "relu2", "conv2", "add",
    ]  # fmt: skip
    by_name = {node.name: node for node in graph_of(Residual(**WIDER, pre_activation=True), (8, 8, 8)).nodes}
    assert [value.node.name for value in by_name["downsample.0"].inputs] == ["relu1"]
    same = {node.name: node for node in graph_of(Residual(width=8, pre_activation=True), (8, 8, 8)).nodes}
    assert [value.node.name for value in same["add"].inputs] == ["conv2", "input"]


def test_a_bottleneck_may_be_pre_activated_too() -> None:
    assert names(Bottleneck(width=8, pre_activation=True)) == [
        "bn1", "relu1", "conv1", "bn2", "relu2", "conv2", "bn3", "relu3", "conv3", "add",
    ]  # fmt: skip


@pytest.mark.parametrize("block", [Residual, Bottleneck])
def test_either_of_the_first_two_convolutions_takes_the_stride(block: type[Residual]) -> None:
    first = convolutions(block(**WIDER, stride_on=1))
    second = convolutions(block(**WIDER, stride_on=2))
    assert first["conv1"][0][1:] == first["conv2"][0][1:] == (4, 4)
    assert (second["conv1"][0][1:], second["conv2"][0][1:]) == ((8, 8), (4, 4))
    assert [block().stride_on, block(**WIDER).after_first.stride] == [1 if block is Residual else 2, 1]


def test_the_projection_has_a_kernel_and_all_convolutions_may_have_a_bias() -> None:
    found = convolutions(Residual(**WIDER, shortcut_kernel=3, bias=True))
    assert found["downsample.0"] == ((16, 4, 4), (16, 8, 3, 3), True)
    assert [bias for _, _, bias in found.values()] == [True] * 3


def test_senet_154_halves_the_channels_before_a_grouped_convolution() -> None:
    found = convolutions(Bottleneck(width=16, ratio=1, reduce_first=2, groups=4))
    assert [found[f"conv{n}"][1] for n in (1, 2, 3)] == [(8, 8, 1, 1), (16, 2, 3, 3), (16, 16, 1, 1)]


def test_the_attention_has_the_name_that_is_asked_for() -> None:
    text = "input: [8, 8, 8]\nstages: {a: {block: residual, width: 8, attention: squeeze_excitation%s}}\n"
    network = Network.from_yaml(text % ", attention_name: se_module")
    assert network.stages["a"].block.attention_name == "se_module"
    block = network.stages["a"].block
    assert isinstance(block, Residual)
    assert [name for name in names(block) if "fc" in name] == ["se_module.fc1", "se_module.fc2"]


def test_a_dense_layer_without_a_bottleneck_is_one_3x3_convolution() -> None:
    plain = DenseLayer(growth=4, expansion=None, bias=True)
    assert names(plain) == ["norm1", "relu1", "conv1", "concat"]
    assert convolutions(plain) == {"conv1": ((4, 8, 8), (4, 8, 3, 3), True)}
    assert convolutions(Transition(bias=True)) == {"conv": ((4, 8, 8), (4, 8, 1, 1), True)}


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ("{block: residual, stride_on: 3}", "stride_on: must be 1 or 2, but is 3"),
        ("{block: bottleneck, reduce_first: 0}", "reduce_first: must be at least 1, but is 0"),
        ("{block: residual, shortcut_kernel: 0}", "shortcut_kernel: must be at least 1, but is 0"),
        ("{block: dense_layer, expansion: 0}", "expansion: must be at least 1, but is 0"),
        ("{block: dense_layer, expansion: wide}", "expansion: must be a whole number, but is 'wide'"),
    ],
)
def test_a_value_out_of_range_is_one_line(stage: str, message: str) -> None:
    with pytest.raises(InvalidNetwork) as caught:
        Network.from_yaml(f"input: [8, 8, 8]\nstages:\n  a: {stage}\n")
    assert str(caught.value).partition(": a.")[2] == message
