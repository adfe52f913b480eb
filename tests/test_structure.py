"""Names, classes, chains and what works in place: the tree of modules that is read off a graph."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from blockforge import Block, Scope, Value, ops
from blockforge.assembler import assemble, graph_of
from blockforge.codegen.structure import Item, Unit, is_attribute, is_variable, structure
from blockforge.codegen.text import source_of
from blockforge.errors import OpError
from blockforge.graph import Graph
from blockforge.names import RESERVED
from blockforge.ops import ACTIVATIONS
from tests.random_networks import from_text

Expand = Callable[[Scope, Value], Value]


def block_of(expand: Expand, name: str = "Probe") -> Block:
    """A block without fields that expands as a function says."""
    return type(name, (Block,), {"expand": lambda _, g, x: expand(g, x)})()


def graph_from(expand: Expand, shape: tuple[int, ...] = (4, 6, 6)) -> Graph:
    """The graph of a block inside of another, where it is a class of its own."""
    inner = block_of(expand, "Inner")
    return graph_of(block_of(lambda g, x: g.block("inner", inner, x), "Outer"), shape)


def inner_of(expand: Expand) -> Unit:
    """The unit of the block that expands so."""
    root = structure(graph_from(expand))
    return next(item.unit for item in root.items if item.unit)


def show(items: list[Item]) -> list[str]:
    """Each step by its module's name or its op, and by what is inside."""
    return [
        f"{'.'.join(item.attr)}[{', '.join(show(item.unit.items))}]"
        if item.unit
        else ".".join(item.attr) or (item.node.op.kind if item.node else "")
        for item in items
    ]


# -- names


def test_reserved_names_are_those_that_torchs_containers_have() -> None:
    taken = {name for kind in (nn.Sequential, nn.ModuleList, nn.ModuleDict) for name in dir(kind())}
    assert {name for name in taken if not name.startswith("__")} == RESERVED


@pytest.mark.parametrize("name", ["half", "items", "_modules", "train", "pop"])
def test_a_reserved_name_is_refused(name: str) -> None:
    with pytest.raises(OpError) as caught:
        graph_of(block_of(lambda g, x: g.relu(f"part.{name}", x)), (4, 2, 2))
    assert str(caught.value) == f"part.{name}: nn.Module has an attribute {name!r} of its own; choose another name"


def test_a_name_that_python_mangles_is_refused() -> None:
    with pytest.raises(OpError) as caught:
        graph_of(block_of(lambda g, x: g.relu("__secret", x)), (4, 2, 2))
    assert str(caught.value) == (
        "__secret: in a class Python changes '__secret', with its two underscores; choose another name"
    )


def test_what_can_be_an_attribute_and_what_a_variable() -> None:
    assert [name for name in ("conv", "_in", "x1", "self", "torch", "match") if is_attribute(name)] == [
        "conv", "_in", "x1", "self", "torch", "match",
    ]  # fmt: skip
    assert not any(is_attribute(name) for name in ("lambda", "class", "in", "a-b", "0", "None"))
    assert not any(is_variable(name) for name in ("self", "torch", "nn", "range", "lambda", "7"))
    assert is_variable("conv")


# -- classes


def test_a_block_that_alone_fills_a_scope_is_a_class() -> None:
    unit = inner_of(lambda g, x: g.relu("act", g.conv("conv", x, 8)))
    assert unit.kind == "block"
    assert show(unit.items) == ["conv", "act"]


def test_a_scope_that_stages_share_belongs_to_nobody() -> None:
    network = from_text("""
shared:
  input: [3, 8, 8]
  stages:
    a: {block: conv, width: 4, scope: features}
    b: {block: conv, width: 4, scope: features}
""")
    root = structure(assemble(network))
    assert show(root.items) == ["features[0, 1, 2, 3, 4, 5]"]
    assert root.items[0].unit
    assert root.items[0].unit.kind == "chain"


def test_a_block_of_expressions_alone_is_no_class() -> None:
    root = structure(graph_from(lambda g, x: g.add("add", x, x)))
    assert show(root.items) == ["Add"]


def test_blocks_at_the_scope_of_their_parent_are_the_parents() -> None:
    row = block_of(lambda g, x: g.relu("#", g.conv("#", x, 4)), "Row")
    unit = inner_of(lambda g, x: g.block("", row, g.block("", row, x)))
    assert show(unit.items) == ["0", "1", "2", "3"]
    assert unit.is_sequential


def test_an_outer_block_at_the_same_scope_takes_it() -> None:
    row = block_of(lambda g, x: g.relu("#", g.conv("#", x, 4)), "Row")
    unit = inner_of(lambda g, x: g.block("", row, x))
    assert unit.expansion
    assert unit.expansion.block.name == "inner"
    assert show(unit.items) == ["0", "1"]


def test_two_equal_inputs_are_one() -> None:
    class Both(Block):
        def expand(self, g: Scope, x: Value, y: Value) -> Value:
            return g.add("add", g.conv("conv", x, 4), y)

    root = structure(graph_of(block_of(lambda g, x: g.block("both", Both(), x, x), "Twice"), (4, 2, 2)))
    (item,) = root.items
    assert item.unit
    assert len(item.unit.inputs) == 1


# -- chains


def test_a_chain_inside_of_a_chain() -> None:
    unit = inner_of(lambda g, x: g.relu("a.c", g.conv("a.b.#", g.conv("a.b.#", x, 4), 4)))
    assert show(unit.items) == ["a[b[0, 1], c]"]
    assert not unit.items[0].unit.is_numbered
    assert unit.items[0].unit.items[0].unit.is_numbered


def test_a_member_that_others_read_breaks_the_chain() -> None:
    def expand(g: Scope, x: Value) -> Value:
        y = g.conv("row.#", x, 4)
        return g.add("add", g.conv("row.#", y, 4), y)

    assert show(inner_of(expand).items) == ["row.0", "row.1", "Add"]


def test_an_expression_between_breaks_the_chain() -> None:
    def expand(g: Scope, x: Value) -> Value:
        return g.conv("row.#", g.add("twice", *[g.conv("row.#", x, 4)] * 2), 4)

    assert show(inner_of(expand).items) == ["row.0", "Add", "row.1"]


def test_a_module_of_another_scope_between_breaks_the_chain() -> None:
    def expand(g: Scope, x: Value) -> Value:
        return g.conv("row.#", g.relu("act", g.conv("row.#", x, 4)), 4)

    assert show(inner_of(expand).items) == ["row.0", "act", "row.1"]


def test_only_a_numbered_chain_of_a_block_is_a_sequential() -> None:
    assert inner_of(lambda g, x: g.relu("#", g.conv("#", x, 4))).is_sequential
    assert not inner_of(lambda g, x: g.relu("b", g.conv("a", x, 4))).is_sequential
    assert not inner_of(lambda g, x: g.relu("2", g.conv("1", x, 4))).is_sequential
    assert not inner_of(lambda g, x: g.add("add", g.conv("#", x, 4), x)).is_sequential


def test_a_shared_scope_is_registered_where_the_file_first_names_it() -> None:
    network = from_text("""
order:
  input: [3, 8, 8]
  stages:
    late: {block: conv, width: 3, from: early, scope: "body.{n}"}
    other: {block: conv, width: 3, from: late, scope: other}
    early: {block: conv, width: 3, from: input, scope: "body.{n}"}
    last: {block: conv, width: 3, from: other, scope: last}
""")
    graph = assemble(network)
    text = source_of(graph, "Order", "order")
    assert text.index("self.body =") < text.index("self.other =") < text.index("self.last =")
    assert [item.stage for item in structure(graph).items] == ["late", "other", "last"]


def test_a_list_whose_members_run_in_another_order_than_the_file_has() -> None:
    network = from_text("""
order:
  input: [3, 8, 8]
  stages:
    second: {block: conv, width: 3, from: join, scope: "body.{n}"}
    first: {block: conv, width: 3, from: input, scope: "body.{n}"}
    join: {block: add, from: [first, input]}
    last: {block: add, from: [second, first]}
""")
    text = source_of(assemble(network), "Order", "order")
    assert 'nn.ModuleDict({"1": Conv(), "0": Conv()})' in text
    assert 'self.body["0"](x)' in text


# -- in place


def in_place(expand: Expand) -> dict[str, int | None]:
    """Of each op that could work in place, by name: the operand that it writes over."""
    graph = graph_from(expand)
    return {
        (item.node.name if item.node else "").rpartition(".")[2]: item.in_place
        for unit in structure(graph).walk()
        for item in unit.items
        if item.node and item.node.op.in_place
    }


WRITABLE = sorted(name for name, op in ACTIVATIONS.items() if op.in_place)
KEPT = sorted(ACTIVATIONS)


@pytest.mark.parametrize("kind", WRITABLE)
def test_an_activation_works_in_place_after_a_convolution_or_a_norm(kind: str) -> None:
    assert in_place(lambda g, x: g.activation("act", g.conv("conv", x, 4), kind)) == {"act": 0}
    assert in_place(lambda g, x: g.activation("act", g.norm("norm", x), kind)) == {"act": 0}


@pytest.mark.parametrize("first", KEPT)
@pytest.mark.parametrize("second", WRITABLE)
def test_nothing_writes_over_what_an_activation_keeps(first: str, second: str) -> None:
    found = in_place(lambda g, x: g.activation("b", g.activation("a", g.conv("conv", x, 4), first), second))
    assert found["b"] is None


def test_nothing_writes_over_the_input_of_a_block_or_of_the_network() -> None:
    assert in_place(lambda g, x: g.relu("act", x)) == {"act": None}
    assert in_place(lambda g, x: g.add("add", x, x)) == {"add": None}
    root = structure(graph_of(block_of(lambda g, x: g.relu("act", x)), (4, 2, 2)))
    assert [item.in_place for item in root.items] == [None]


def test_nothing_writes_over_what_another_op_reads() -> None:
    def expand(g: Scope, x: Value) -> Value:
        y = g.conv("conv", x, 4)
        return g.add("add", g.relu("act", y), g.sigmoid("gate", y))

    # relu and sigmoid keep what they made
    assert in_place(expand) == {"act": None, "add": None}


def test_nothing_writes_over_a_view() -> None:
    def split(g: Scope, x: Value) -> Value:
        y, z = g.split("split", g.conv("conv", x, 4), 2)
        return g.concat("cat", g.relu("act", y), z)

    assert in_place(split) == {"act": None}
    assert in_place(lambda g, x: g.relu("act", g.dropout("drop", g.conv("conv", x, 4), 0.5))) == {"act": None}
    assert in_place(lambda g, x: g.relu("act", g.op("same", ops.Identity(), g.conv("conv", x, 4)))) == {"act": None}


def test_nothing_writes_over_a_blocks_output_or_another_scopes() -> None:
    row = block_of(lambda g, x: g.conv("conv", x, 4), "Row")
    assert in_place(lambda g, x: g.relu("act", g.block("row", row, x))) == {"act": None}
    assert in_place(lambda g, x: g.relu("act", g.conv("part.conv", x, 4))) == {"act": None}
    assert in_place(lambda g, x: g.relu("part.act", g.conv("part.conv", x, 4))) == {"act": 0}


def test_nothing_writes_over_the_output_of_a_block_at_the_same_scope() -> None:
    row = block_of(lambda g, x: g.conv("conv", x, 4), "Row")
    assert in_place(lambda g, x: g.relu("act", g.block("", row, x))) == {"act": None}


def test_a_sum_is_written_over_the_operand_that_nobody_keeps() -> None:
    assert in_place(lambda g, x: g.add("add", g.conv("conv", x, 4), x)) == {"add": 0}
    assert in_place(lambda g, x: g.add("add", x, g.conv("conv", x, 4))) == {"add": 1}
    assert in_place(lambda g, x: g.add("add", *[g.conv("conv", x, 4)] * 2)) == {"add": None}
    assert in_place(lambda g, x: g.add("add", g.conv("a", x, 4), g.conv("b", x, 4), x)) == {"add": None}


def test_a_module_is_written_over_its_first_operand_alone() -> None:
    class Gate(ops.Op):
        in_place = True

        def shape(self, *inputs: ops.Shape) -> ops.Shape:
            return inputs[0]

        def call(self, *inputs: ops.Shape) -> ops.Call:
            return ops.Call("Gate")

    assert in_place(lambda g, x: g.op("gate", Gate(), g.conv("conv", x, 4), x)) == {"gate": 0}
    assert in_place(lambda g, x: g.op("gate", Gate(), x, g.conv("conv", x, 4))) == {"gate": None}


def test_the_networks_output_is_not_written_over() -> None:
    def expand(g: Scope, x: Value) -> Value:
        y = g.conv("conv", x, 4)
        g.relu("unread", y)
        return y

    assert in_place(expand) == {"unread": None}
    graph = graph_of(block_of(expand), (4, 2, 2))
    assert [item.in_place for item in structure(graph).items] == [None, None]


def test_what_an_add_in_place_would_break_is_broken_by_it() -> None:
    """The rules are needed: torch refuses the backward pass where they are ignored."""
    x = torch.ones(2, requires_grad=True)
    y = x.sigmoid()
    y += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
