"""The graph: names, shapes and caps checked on the spot, and networkx views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import networkx as nx
import pytest
from torch import nn

from blockforge import Network, assemble, ops
from blockforge import graph as graph_module
from blockforge.errors import BlockforgeError, NameTaken, OpError
from blockforge.graph import Graph, Value
from blockforge.names import RESERVED
from blockforge.ops import Op, Shape
from blockforge.scope import Scope


def new(*shapes: Shape) -> tuple[Graph, Scope, list[Value]]:
    """A graph with inputs of these shapes, and its outermost scope."""
    graph = Graph()
    values = [graph.input(shape, f"x{i}" if i else "x") for i, shape in enumerate(shapes or [(4, 8, 8)])]
    return graph, Scope(graph), values


def refusal(call: Callable[..., Any], *args: Any, kind: type[BlockforgeError] = OpError) -> str:
    with pytest.raises(kind) as caught:
        call(*args)
    return str(caught.value)


# Adding


def test_nodes_know_their_shapes_parameters_and_macs():
    graph, g, (x,) = new()
    y = g.conv("a.conv", x, 8, 3, stride=2, bias=True)
    node = y.node
    assert (node.index, node.name, node.shapes, node.input_shapes) == (1, "a.conv", ((8, 4, 4),), ((4, 8, 8),))
    assert (node.params, node.macs) == (8 * 4 * 9 + 8, 8 * 4 * 9 * 16)
    assert [each.name for each in graph] == ["x", "a.conv"]
    assert [each.name for each in graph.inputs] == ["x"]
    assert (repr(y), repr(graph)) == ("<Value a.conv (8, 4, 4)>", "<Graph of 2 ops from 0 blocks>")


def test_an_op_with_several_outputs_gives_a_value_a_port():
    graph, g, (x,) = new()
    left, right = g.split("split", x, 2)
    assert (left.port, right.port, left.node) == (0, 1, right.node)
    assert (left.shape, right.shape) == ((2, 8, 8), (2, 8, 8))
    assert graph.nodes[1].shapes == ((2, 8, 8), (2, 8, 8))


def test_what_does_not_fit_is_refused_by_its_path_and_leaves_nothing():
    graph, g, (x, y) = new((4, 8, 8), (5, 8, 8))
    assert refusal(g.add, "a.sum", x, y) == (
        "a.sum: Add takes inputs of one shape, but they are (4, 8, 8) and (5, 8, 8); bring them to one shape, by a 1x1 "
        "convolution with a stride for example"
    )
    assert len(graph.nodes) == 2
    assert refusal(g.relu, "r", (4, 8, 8)) == (
        "r: an operand must be a value of the graph, but got tuple; pass what expand was given or what an earlier "
        "op returned"
    )
    _, _, (stranger,) = new()
    assert refusal(g.relu, "r2", stranger) == (
        "r2: an operand belongs to another graph; pass values of this expand's own"
    )


class Twice(Op):
    in_place = True

    def shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def expression(self, *names: str) -> str:
        return f"2 * {names[0]}"


class Difference(ops.Add):
    def expression(self, *names: str) -> str:
        return " - ".join(names)


@pytest.mark.parametrize("op", [Twice(), Difference()], ids=["one input", "two"])
def test_an_expression_in_place_is_refused_unless_it_is_a_sum(op, monkeypatch):
    graph, g, (x,) = new()
    operands = [g.conv("conv", x, 4)] if isinstance(op, Twice) else [g.conv("conv", x, 4), x]
    assert refusal(g.op, "mine", op, *operands) == (
        f"mine: {op.kind} is an expression, which can't work in place; set in_place = False, or write it as a module "
        "by call()"
    )
    assert [node.name for node in graph] == ["x", "conv"]
    monkeypatch.setattr(type(op), "in_place", False)
    assert g.op("mine", op, *operands).shape == x.shape


def test_readers_are_the_nodes_and_operand_positions():
    graph, g, (x,) = new()
    y = g.add("sum", x, x)
    g.relu("relu", y)
    assert [[(node.name, at) for node, at in each] for each in graph.readers()] == [
        [("sum", 0), ("sum", 1)],
        [("relu", 0)],
        [],
    ]


# Names


def test_a_number_sign_takes_the_next_free_integer_of_its_scope():
    graph, g, (x,) = new()
    for name in ("#", "a.#", "#", "a.#", "a.b.#"):
        g.relu(name, x)
    assert [node.name for node in graph][1:] == ["0", "a.0", "1", "a.1", "a.b.0"]


def test_a_number_sign_within_a_name_counts_nothing():
    _, g, (x,) = new()
    assert refusal(g.relu, "conv#", x) == ("conv#: 'conv#' is no name for a module; use letters, digits, '_' and '-'")
    assert g.relu("conv.#", x).node.name == "conv.0"


def test_an_empty_name_is_the_scope_itself():
    graph, _, (x,) = new()
    assert Scope(graph, "fc").linear("", Scope(graph).flatten("flatten", x), 3).node.name == "fc"


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("a", "a", "a: this name is taken already; give each op of a scope a name of its own"),
        ("a.b", "a", "a: this name is a scope with ops of its own; give the op another name"),
        ("a.b.c", "a", "a: this name is a scope with ops of its own; give the op another name"),
        ("a", "a.b", "a.b: a is an op, so nothing can lie in it; give one of them another name"),
        ("a.b", "a.b.c.d", "a.b.c.d: a.b is an op, so nothing can lie in it; give one of them another name"),
    ],
)
def test_no_two_ops_claim_one_name(first, second, message):
    _, g, (x,) = new()
    g.relu(first, x)
    assert refusal(g.relu, second, x, kind=NameTaken) == message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.train", "a.train: nn.Module has an attribute 'train' of its own; choose another name"),
        ("half.b", "half.b: nn.Module has an attribute 'half' of its own; choose another name"),
        ("a b", "a b: 'a b' is no name for a module; use letters, digits, '_' and '-'"),
        ("a..b", "a..b: '' is no name for a module; use letters, digits, '_' and '-'"),
        ("{m}", "{m}: '{m}' is no name for a module; use letters, digits, '_' and '-'"),
    ],
)
def test_names_that_no_module_can_have_are_refused(name, message):
    _, g, (x,) = new()
    assert refusal(g.relu, name, x) == message


def test_keywords_and_hyphens_are_names():
    _, g, (x,) = new()
    assert g.relu("class.for-ever.0", x).node.name == "class.for-ever.0"


def test_every_attribute_of_torchs_containers_is_reserved():
    owners = (nn.Module(), nn.Sequential(), nn.ModuleList(), nn.ModuleDict())
    own = {name for owner in owners for name in dir(owner) if not name.startswith("__")}
    assert own - RESERVED == set()


# Caps


def test_tensors_and_weights_have_a_cap_on_their_elements():
    _, g, (x,) = new((2**10, 2**10, 2**10))
    assert g.conv("fits", x, 2**20).shape == (2**20, 2**10, 2**10)
    assert refusal(g.conv, "wide", x, 2**20 + 1) == (
        "wide: its output of (1048577, 1024, 1024) would have 1,099,512,676,352 elements, more than "
        "1,099,511,627,776; make it smaller"
    )
    _, g, (x,) = new((2**20,))
    assert refusal(g.linear, "wide", x, 2**20 + 1) == (
        "wide: its weight of (1048577, 1048576) would have 1,099,512,676,352 elements, more than "
        "1,099,511,627,776; make it smaller"
    )


def test_a_graph_has_a_cap_on_its_ops(monkeypatch):
    monkeypatch.setattr(graph_module, "MAX_OPS", 2)
    _, g, (x,) = new()
    y = g.relu("a", x)
    assert refusal(g.relu, "b", y) == "b: the network has more than 2 operations; make it shallower"


# Views


def test_the_view_of_ops_has_an_edge_an_operand():
    graph, g, (x,) = new()
    y = g.add("sum", x, x)
    left, right = g.split("split", y, 2)
    g.concat("join", right, left)
    view = graph.op_graph()
    assert isinstance(view, nx.MultiDiGraph)
    assert list(view.edges(data="operand")) == [
        ("x", "sum", 0),
        ("x", "sum", 1),
        ("sum", "split", 0),
        ("split", "join", 0),
        ("split", "join", 1),
    ]
    assert [data["port"] for _, _, data in view.out_edges("split", data=True)] == [1, 0]
    assert [data["shape"] for _, _, data in view.in_edges("join", data=True)] == [(2, 8, 8), (2, 8, 8)]
    assert view.nodes["sum"]["op"] == ops.Add()
    assert view.nodes["split"]["shapes"] == ((2, 8, 8), (2, 8, 8))


def test_the_view_of_ops_is_the_whole_network():
    graph = assemble("resnet18")
    view = graph.op_graph()
    assert nx.is_directed_acyclic_graph(view)
    assert sum(nx.get_node_attributes(view, "params").values()) == 11_689_512
    assert sum(nx.get_node_attributes(view, "macs").values()) == 1_814_073_344
    assert view.number_of_nodes() == len(graph.nodes)
    assert view.number_of_edges() == sum(len(node.inputs) for node in graph)


def test_the_view_of_blocks_shows_who_feeds_whom():
    network = Network.from_yaml(
        """
        input: [4, 8, 8]
        stages:
          a: {block: conv, width: 4, depth: 2}
          left: {block: residual, width: 4, from: a}
          sum: {block: add, from: [left, a, left, input]}
        """
    )
    view = assemble(network).block_graph()
    assert isinstance(view, nx.MultiDiGraph)
    keys = [key for key, block in view.nodes(data="block") if block]
    assert [key.partition("@")[0] for key in keys] == ["a.0", "a.1", "left.0", "sum"]
    first, second, left, total = keys
    assert set(view.edges(data="operand")) == {
        ("input", first, 0),
        (first, second, 0),
        (second, left, 0),
        (left, total, 0),
        (second, total, 1),
        (left, total, 2),
        ("input", total, 3),
    }
    assert view.number_of_edges() == 7
    assert view.nodes[left]["block"] == network.stages["left"].block
    assert view.nodes[total]["shapes"] == ((4, 8, 8),)
    assert view.nodes["input"] == {"block": None, "shapes": ((4, 8, 8),)}
