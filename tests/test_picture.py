"""The picture of a graph: what the rails say is what the graph says, each op once and in order."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from blockforge.plugins.channel_shuffle import ShuffleUnit
from blockforge.plugins.inception import Inception
from blockforge.plugins.residual import Residual
from blockforge.plugins.squeeze_excitation import SqueezeExcitation

import blockforge
from blockforge.assembler import assemble, graph_of
from blockforge.block import Block
from blockforge.graph import Graph
from blockforge.network import Network
from blockforge.ops import Add, Conv2d, Identity, Op, ReLU, Shape
from blockforge.picture import picture
from blockforge.registry import get_registry
from blockforge.sheet import SHAPE
from tests.random_networks import random_network

DOWN, UP = "│●┬╮├", "│●┴╯├"  # what a rail leaves downwards, and what it leaves upwards


class Drawing:
    """A picture read back: the op in each line, and what the rails lead to from there, by the characters alone."""

    def __init__(self, text: str) -> None:
        lines = text.split("\n")
        self.rails = [re.match("[ ●│├─┴╯┬╮]*", line)[0].rstrip() for line in lines]
        room = max(map(len, self.rails))
        self.rails = [rails.ljust(room) for rails in self.rails]
        self.texts = [line[room:].strip() for line in lines]
        self.rows = [row for row, rails in enumerate(self.rails) if "●" in rails]

    def names(self) -> list[str]:
        return [self.texts[row].split("  ")[0] for row in self.rows]

    def operands(self, row: int) -> list[int]:
        """The lines of the ops that the rails from the op in this line lead up to."""
        rails = self.rails[row]
        place = rails.index("●")
        starts = [place]
        for right in range(place + 1, len(rails)):
            if rails[right] in "┬╮ ":
                break
            starts += [right] if rails[right] in "┴╯" else []
            if rails[right] == "╯":
                break
        return [found for start in starts for found in self.climb(row - 1, start)]

    def climb(self, row: int, place: int) -> list[int]:
        """The line of the op that a rail comes from: nobody, where none stands above."""
        while row >= 0 and self.rails[row][place] in DOWN:
            if self.rails[row][place] in "┬╮":  # to the left, behind rails that pass, to where it forks
                while self.rails[row][place] not in "●├":
                    place -= 1
                    assert self.rails[row][place] in "─┬│●├"
            if self.rails[row][place] == "●":
                return [row]
            row -= 1
        return []

    def loose_ends(self) -> list[tuple[int, int]]:
        """Where a rail goes down and nothing takes it up."""
        return [
            (row, place)
            for row, rails in enumerate(self.rails)
            for place, mark in enumerate(rails)
            if mark in "│┬╮├" and (row + 1 == len(self.rails) or self.rails[row + 1][place] not in UP)
        ]


def check(graph: Graph, width: int | None = None) -> None:
    """The picture has each op once, in order, and exactly the graph's edges."""
    drawing = Drawing(picture(graph, width))
    assert all(rails.count("●") <= 1 for rails in drawing.rails)
    assert drawing.loose_ends() == []
    assert len(drawing.rows) == len(graph.nodes)
    if width is None:
        assert drawing.names() == [node.name for node in graph]
    index = {row: number for number, row in enumerate(drawing.rows)}
    for row, node in zip(drawing.rows, graph, strict=True):
        found = Counter(index[operand] for operand in drawing.operands(row))
        assert found == Counter(value.node.index for value in node.inputs), node.name


def shapes_of(cls: type[Block]) -> list[Shape]:
    return [SHAPE] * (2 if cls.arity is None else cls.arity)


@pytest.mark.parametrize("name", blockforge.list_blocks())
def test_the_rails_are_the_edges_of_every_block(name: str):
    cls = get_registry().block(name)
    graph = graph_of(cls(), *shapes_of(cls))
    check(graph)
    check(graph, 30)


@pytest.mark.parametrize("name", ["alexnet", "densenet121", "googlenet_aux", "inception_v3_aux", "mobilenet_v3_small",
                                  "preact_resnet18_cifar", "shufflenet_v1_g3", "shufflenet_v2_x1_0"])  # fmt: skip
def test_the_rails_are_the_edges_of_networks(name: str):
    check(assemble(name))


@pytest.mark.parametrize("seed", range(60))
def test_the_rails_are_the_edges_of_random_networks(seed: int):
    graph = assemble(random_network(seed))
    check(graph)
    check(graph, 40)


def rails_of(text: str) -> list[str]:
    return [line[: line.index("  ")].rstrip() if "●" in line else line for line in text.split("\n")]


def test_a_residual_block_with_a_projection():
    assert (
        picture(graph_of(Residual(width=128, stride=2), SHAPE))
        == """\
●─╮  input         Input                 56x56x64
● │  conv1         Conv2d 3x3, stride 2  28x28x128
● │  bn1           BatchNorm2d           28x28x128
● │  relu1         ReLU                  28x28x128
● │  conv2         Conv2d 3x3            28x28x128
● │  bn2           BatchNorm2d           28x28x128
│ ●  downsample.0  Conv2d 1x1, stride 2  28x28x128
│ ●  downsample.1  BatchNorm2d           28x28x128
●─╯  add           Add                   28x28x128
●    relu2         ReLU                  28x28x128"""
    )


def test_a_gate_within_a_shortcut_stands_between_its_rails():
    assert (
        picture(graph_of(Residual(attention=SqueezeExcitation()), SHAPE))
        == """\
●───╮  input          Input              56x56x64
●   │  conv1          Conv2d 3x3         56x56x64
●   │  bn1            BatchNorm2d        56x56x64
●   │  relu1          ReLU               56x56x64
●   │  conv2          Conv2d 3x3         56x56x64
●─╮ │  bn2            BatchNorm2d        56x56x64
● │ │  se.avgpool     AdaptiveAvgPool2d  1x1x64
● │ │  se.fc1         Conv2d 1x1         1x1x4
● │ │  se.activation  ReLU               1x1x4
● │ │  se.fc2         Conv2d 1x1         1x1x64
● │ │  se.gate        Sigmoid            1x1x64
●─╯ │  se.mul         Mul                56x56x64
●───╯  add            Add                56x56x64
●      relu2          ReLU               56x56x64"""
    )


def test_four_branches_side_by_side():
    assert rails_of(picture(graph_of(Inception(), SHAPE))) == [
        "●─┬─┬─╮", *["● │ │ │"] * 3, *["│ ● │ │"] * 6, *["│ │ ● │"] * 6, *["│ │ │ ●"] * 4, "●─┴─┴─╯",
    ]  # fmt: skip


def test_a_split_has_a_rail_for_each_part():
    text = picture(graph_of(ShuffleUnit(width=64), SHAPE))
    assert text.splitlines()[:3] == [
        "●    input      Input                     56x56x64",
        "●─╮  split      Split                     2 x 56x56x32",
        "● │  branch2.0  Conv2d 1x1                56x56x32",
    ]
    assert text.splitlines()[5] == "● │  branch2.3  Conv2d 3x3, groups 32     56x56x32"
    assert text.splitlines()[-2:] == [
        "●─╯  concat     Concat                    56x56x64",
        "●    shuffle    ChannelShuffle, groups 2  56x56x64",
    ]


def grown(*ops: tuple[str, Op, tuple[str, ...]], inputs: tuple[str, ...] = ("x",)) -> Graph:
    """A graph of these ops, each with the names of its operands."""
    graph = Graph()
    values = {name: graph.input((4, 8, 8), name) for name in inputs}
    for name, op, operands in ops:
        values[name] = graph.sole(name, op, *(values[operand] for operand in operands))
    return graph


def test_what_two_read_and_reads_two_forks_beneath():
    graph = grown(("a", ReLU(), ("x",)), ("b", Add(), ("x", "a")), ("c", ReLU(), ("b",)), ("d", Add(), ("c", "b")))
    check(graph)
    assert (
        picture(graph)
        == """\
●─╮  x  Input  8x8x4
● │  a  ReLU   8x8x4
●─╯  b  Add    8x8x4
├─╮
● │  c  ReLU   8x8x4
●─╯  d  Add    8x8x4"""
    )


def test_a_rail_passes_behind_another():
    graph = grown(
        ("a", ReLU(), ("x",)), ("b", ReLU(), ("x",)), ("c", ReLU(), ("x",)), ("d", Add(), ("a", "c")),
        ("e", Add(), ("d", "b")),
    )  # fmt: skip
    check(graph)
    assert (
        picture(graph)
        == """\
●─┬─╮  x  Input  8x8x4
● │ │  a  ReLU   8x8x4
│ ● │  b  ReLU   8x8x4
│ │ ●  c  ReLU   8x8x4
●─│─╯  d  Add    8x8x4
●─╯    e  Add    8x8x4"""
    )


def test_an_operand_used_twice_has_two_rails():
    graph = grown(("a", Add(), ("x", "x")))
    check(graph)
    assert picture(graph) == "●─╮  x  Input  8x8x4\n●─╯  a  Add    8x8x4"


def test_nothing_seems_to_go_on_from_what_nobody_reads():
    graph = grown(("a", ReLU(), ("y",)), inputs=("x", "y"))
    check(graph)
    assert picture(graph) == "●    x  Input  8x8x4\n  ●  y  Input  8x8x4\n  ●  a  ReLU   8x8x4"


@pytest.mark.parametrize(
    ("op", "text"),
    [
        (Conv2d(4, 3, padding=2, dilation=2), "Conv2d 3x3, dilation 2"),
        (Conv2d(4, (1, 3), (2, 1), (0, 1), groups=2), "Conv2d 1x3, stride 2x1, groups 2"),
        (Identity(), "Identity"),
    ],
)
def test_a_type_has_what_differs_from_the_usual(op: Op, text: str):
    assert picture(grown(("a", op, ("x",)))).splitlines()[1].split("  ")[2] == text


def test_a_narrow_terminal_wraps_texts_beside_the_rails():
    text = picture(graph_of(Residual(width=128, stride=2), SHAPE), 30)
    assert text.splitlines()[:4] == [
        "●─╮  input  Input  56x56x64",
        "● │  conv1  Conv2d 3x3, stride",
        "│ │    2  28x28x128",
        "● │  bn1  BatchNorm2d",
    ]
    assert text.splitlines()[-2:] == ["●─╯  add  Add  28x28x128", "●    relu2  ReLU  28x28x128"]
    assert max(map(len, text.splitlines())) <= 30


def test_a_network_has_its_picture_too():
    network = Network.from_yaml("input: [3, 8, 8]\nstages: {c: {block: conv, width: 4, names: [conv, bn, relu]}}\n")
    assert [line[:9] for line in picture(assemble(network)).splitlines()] == [
        "●  input ",
        *["●  c.0.co", "●  c.0.bn", "●  c.0.re"],
    ]
