"""The rows of a network: they add up to its cost, whatever a row stands for."""

from __future__ import annotations

import pytest

import blockforge
from blockforge.display import ROWS, cells_of, columns_of, rows_csv, rows_of, show_shapes
from blockforge.errors import UnknownName
from blockforge.network import Network
from blockforge.totals import megabytes, memory, memory_lines, totals_lines

BRANCHES = """
input: [4, 9, 8]
classes: 3
stages:
  a: {block: conv, width: 4, kernel: 3, stride: 2, from: input}
  b: {block: pool, kernel: 3, stride: 2, padding: 1, from: input}
  c: {block: concat, from: [a, b]}
  d: {block: shuffle_unit, width: 8, depth: 2}
  e: {block: add, from: [d, d]}
  head: {block: classifier, width: classes}
"""


@pytest.mark.parametrize("name", blockforge.list_networks())
@pytest.mark.parametrize("by", ROWS)
def test_rows_add_up_to_the_cost(name: str, by: str):
    rows = rows_of(blockforge.assemble(name), by)
    cost = blockforge.cost(name)
    totals = tuple(sum(getattr(row, key) for row in rows) for key in ("params", "macs", "activations"))
    whole = cost.training
    assert totals == (whole.params, whole.macs, whole.activations)
    always = [row for row in rows if not row.training]
    assert [sum(getattr(row, key) for row in always) for key in ("macs", "activations")] == [
        cost.macs,
        cost.activations,
    ]
    for row in rows:
        assert len(cells_of(row, by)) == len(columns_of(by))


@pytest.mark.parametrize("name", blockforge.list_networks())
def test_every_formula_comes_to_its_number(name: str):
    rows = rows_of(blockforge.assemble(name), "layer")
    assert all(bool(row.formula) == bool(row.params) for row in rows)
    for row in rows:
        assert eval(row.formula or "0") == row.params, row


def test_stages_say_how_often_they_repeat_and_blocks_have_addresses():
    graph = blockforge.assemble("resnet50")
    stages = rows_of(graph, "stage")
    assert [(row.name, row.depth) for row in stages[1:]] == [
        ("stem", 1), ("layer1", 3), ("layer2", 4), ("layer3", 6), ("layer4", 3), ("head", 1),
    ]  # fmt: skip
    assert stages[2].inputs == ((64, 56, 56),)
    assert stages[2].outputs == ((256, 56, 56),)
    names = [row.name for row in rows_of(graph, "block", "layer[12]")]
    assert names == ["layer1.0", "layer1.1", "layer1.2", "layer2.0", "layer2.1", "layer2.2", "layer2.3"]


def test_a_stage_keeps_its_rows_alone():
    graph = blockforge.assemble("lenet5")
    assert [row.name for row in rows_of(graph, "layer", "fc1")] == ["flatten", "fc1", "tanh3"]
    assert {row.stage for row in rows_of(graph, "layer", "conv?")} == {"conv1", "conv2"}
    with pytest.raises(
        UnknownName, match=r"^fc9: no stage of this name; did you mean 'fc3', 'fc2' or 'fc1'\? there are "
    ):
        rows_of(graph, "layer", "fc9")


def test_several_inputs_and_outputs_of_a_layer():
    graph = blockforge.assemble(Network.from_yaml(BRANCHES))
    rows = {row.name: cells_of(row, "layer") for row in rows_of(graph, "layer")}
    assert rows["a.0.0"][1:6] == ["Conv2d", "9x8x4", "5x4x4", "3x3", "2"]
    assert rows["b"][1:6] == ["MaxPool2d", "9x8x4", "5x4x4", "3x3", "2"]
    assert rows["c"][1:4] == ["Concat", "2 x 5x4x4", "5x4x8"]
    assert rows["d.0.split"][1:4] == ["Split", "5x4x8", "2 x 5x4x4"]
    assert rows["e"][1:4] == ["Add", "2 x 5x4x8", "5x4x8"]
    assert [row.inputs for row in rows_of(graph, "stage") if row.name == "c"] == [((4, 5, 4), (4, 5, 4))]


def test_shapes_are_shown_height_width_channels():
    assert show_shapes(((64, 56, 28),)) == "56x28x64"
    assert show_shapes(((10,),)) == "10"
    assert show_shapes(((8, 4, 4), (4, 4, 4))) == "4x4x8, 4x4x4"
    assert show_shapes(()) == ""


def test_a_kernel_and_a_stride_of_two_numbers():
    from blockforge.graph import Graph
    from blockforge.ops import Conv2d

    graph = Graph()
    graph.add("conv", Conv2d(2, (1, 3), (2, 1)), (graph.input((1, 8, 8)),), None)
    row = rows_of(graph, "layer")[1]
    assert (row.kernel, row.stride) == ((1, 3), (2, 1))
    assert cells_of(row, "layer")[4:6] == ["1x3", "2x1"]


def test_csv_has_the_rows_of_what_was_asked_for():
    graph = blockforge.assemble("lenet5")
    lines = rows_csv(rows_of(graph, "stage"), "stage").splitlines()
    assert lines[:3] == [
        "stage,type,depth,input,output,parameters,macs",
        "input,Input,,,32x32x1,0,0",
        "conv1,conv,1,32x32x1,28x28x6,156,117600",
    ]


def test_memory_of_a_batch_is_twice_the_activations():
    graph = blockforge.assemble("resnet18")
    cost = blockforge.cost("resnet18")
    assert memory(graph, 64) == {
        "batch": 64,
        "input": 64 * 3 * 224 * 224 * 4,
        "forward_backward": 2 * 64 * cost.activations * 4,
        "params": cost.params * 4,
        "total": 4 * (64 * 3 * 224 * 224 + 2 * 64 * cost.activations + cost.params),
    }
    assert totals_lines(graph)[0] == ["trainable parameters", "11,689,512", ""]


@pytest.mark.parametrize(("name", "plain"), [("googlenet_aux", "googlenet"), ("inception_v3_aux", "inception_v3")])
def test_memory_of_a_batch_has_the_auxiliary_heads_that_run_in_training(name, plain):
    graph, cost = blockforge.assemble(name), blockforge.cost(name)
    outputs = sum(row.activations for row in rows_of(graph, "layer"))  # the heads' too
    assert outputs > cost.activations == blockforge.cost(plain).activations
    assert memory(graph, 2)["forward_backward"] == 2 * 2 * outputs * 4
    assert memory_lines(graph, 2)[1] == [
        "forward/backward",
        megabytes(16 * outputs),
        f"2 x {outputs:,} activations with the auxiliary heads' x 2 x 4 bytes",
    ]
    lone = blockforge.cost(plain).activations
    assert memory_lines(blockforge.assemble(plain), 2)[1][2] == f"2 x {lone:,} activations x 2 x 4 bytes"


def test_megabytes_have_three_digits_at_least():
    assert [megabytes(count) for count in (0, 384, 41_664, 1_000_000, 25_049_220_000)] == [
        "0 MB",
        "0.000384 MB",
        "0.0417 MB",
        "1.00 MB",
        "25,049.22 MB",
    ]
