"""A scope's methods: which op each adds, where, and what it says when torch would refuse."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from blockforge import Block, Scope, Value, ops
from blockforge.assembler import graph_of
from blockforge.errors import BlockforgeError, OpError
from blockforge.graph import Graph
from blockforge.ops import Op, Shape


@pytest.fixture
def x() -> Value:
    return Graph().input((4, 8, 8))


@pytest.fixture
def g(x: Value) -> Scope:
    return Scope(x.graph, "a")


def added(value: Value) -> tuple[str, Op, Shape]:
    return value.node.name, value.node.op, value.shape


def refusal(call, *args, kind=OpError, **kwargs) -> str:
    with pytest.raises(kind) as caught:
        call(*args, **kwargs)
    return str(caught.value)


# The methods


def test_a_convolution_keeps_the_size_unless_told_otherwise(g, x):
    assert added(g.conv("c1", x, 8)) == ("a.c1", ops.Conv2d(8, 1, 1, 0, bias=False), (8, 8, 8))
    assert added(g.conv("c3", x, 8, 3)) == ("a.c3", ops.Conv2d(8, 3, 1, 1, bias=False), (8, 8, 8))
    assert added(g.conv("c5", x, 8, 5, stride=2)) == ("a.c5", ops.Conv2d(8, 5, 2, 2, bias=False), (8, 4, 4))
    assert added(g.conv("d", x, 8, 3, dilation=2)) == ("a.d", ops.Conv2d(8, 3, 1, 2, 2, bias=False), (8, 8, 8))
    assert added(g.conv("p", x, 8, (1, 3))) == ("a.p", ops.Conv2d(8, (1, 3), 1, (0, 1), bias=False), (8, 8, 8))
    valid = g.conv("v", x, 8, 3, padding=0, groups=4, bias=True)
    assert added(valid) == ("a.v", ops.Conv2d(8, 3, 1, 0, 1, 4, bias=True), (8, 6, 6))
    same = g.conv("s", x, 8, 4, stride=3, padding="same")
    assert added(same) == ("a.s", ops.Conv2dSame(8, 4, 3, bias=False), (8, 3, 3))


def test_equal_pairs_are_numbers(g, x):
    assert g.conv("a", x, 8, (3, 3), stride=(2, 2), padding=(1, 1), dilation=(1, 1)).node.op == ops.Conv2d(
        8, 3, 2, 1, 1, bias=False
    )
    assert g.max_pool("b", x, (2, 2)).node.op == g.max_pool("c", x, 2, 2).node.op == ops.MaxPool2d(2, 2)


def test_a_pools_stride_is_its_kernel_unless_given(g, x):
    assert added(g.max_pool("m", x, 2)) == ("a.m", ops.MaxPool2d(2, 2), (4, 4, 4))
    assert added(g.max_pool("n", x, 3, 2, 1, ceil_mode=True))[1:] == (
        ops.MaxPool2d(3, 2, 1, ceil_mode=True),
        (4, 5, 5),
    )
    assert added(g.avg_pool("v", x, 2)) == ("a.v", ops.AvgPool2d(2, 2), (4, 4, 4))
    pool = ops.AvgPool2d(3, 1, 1, ceil_mode=True, count_include_pad=False)
    assert g.avg_pool("w", x, 3, 1, 1, ceil_mode=True, count_include_pad=False).node.op == pool


def test_a_norm_is_of_its_inputs_rank_with_the_networks_eps_and_momentum():
    graph = Graph(norm=(1e-3, 0.01))
    g, x = Scope(graph), graph.input((4, 8, 8))
    assert g.norm("n2", x).node.op == ops.BatchNorm2d(1e-3, 0.01)
    assert g.norm("n1", g.flatten("f", x)).node.op == ops.BatchNorm1d(1e-3, 0.01)


def test_the_others_add_the_op_of_their_name(g, x):
    f = g.flatten("f", x)
    assert added(f) == ("a.f", ops.Flatten(), (256,))
    assert added(g.linear("l", f, 10, bias=False)) == ("a.l", ops.Linear(10, bias=False), (10,))
    assert added(g.relu("r", x)) == ("a.r", ops.ReLU(), (4, 8, 8))
    assert added(g.sigmoid("s", x)) == ("a.s", ops.Sigmoid(), (4, 8, 8))
    assert added(g.adaptive_avg_pool("p", x)) == ("a.p", ops.AdaptiveAvgPool2d(1), (4, 1, 1))
    assert added(g.mean("m", x)) == ("a.m", ops.Mean(), (4,))
    assert added(g.add("add", x, x, x)) == ("a.add", ops.Add(), (4, 8, 8))
    assert added(g.mul("mul", x, x)) == ("a.mul", ops.Mul(), (4, 8, 8))
    assert added(g.concat("cat", x, x)) == ("a.cat", ops.Concat(), (8, 8, 8))
    assert added(g.channel_shuffle("sh", x, 2)) == ("a.sh", ops.ChannelShuffle(2), (4, 8, 8))
    assert added(g.dropout("d", x, 0.0)) == ("a.d", ops.Dropout(0.0), (4, 8, 8))
    assert [part.shape for part in g.split("sp", x, 4)] == [(1, 8, 8)] * 4
    assert g.outputs("one", ops.ReLU(), x)[0].node.name == "a.one"


@pytest.mark.parametrize("kind", ops.ACTIVATIONS)
def test_every_activation_goes_by_its_name(g, x, kind):
    assert isinstance(g.activation("act", x, kind).node.op, ops.ACTIVATIONS[kind])


def test_drop_path_is_there_only_where_the_network_gives_a_probability(g, x):
    assert g.drop_path("p", x) is x
    x.graph.drop_path = 0.25
    assert added(g.drop_path("p", x)) == ("a.p", ops.DropPath(0.25), (4, 8, 8))


# What is refused, always by the op's path


def test_what_is_refused_is_named_by_its_path(g, x):
    assert refusal(g.conv, "conv", x, 10, groups=3) == (
        "a.conv: groups=3 must divide the 10 output channels; use a divisor of 10"
    )
    assert refusal(g.conv, "conv", x, 6, groups=3) == (
        "a.conv: groups=3 must divide the 4 input channels; use a divisor of 4"
    )
    assert refusal(g.activation, "act", x, "relo") == (
        "a.act: no activation 'relo'; did you mean 'relu' or 'relu6'? there are gelu, hardsigmoid, hardswish, relu, "
        "relu6, "
        "sigmoid, silu, softmax, tanh"
    )
    assert refusal(g.op, "split", ops.Split(2), x) == "a.split: Split has several outputs; use `outputs` for it"
    assert refusal(g.linear, "fc", x, 3) == (
        "a.fc: Linear takes (C,), but its input is (4, 8, 8); put a flatten before it"
    )


@dataclass(frozen=True)
class Power(Op):
    """An op of a plugin's own, which refuses what it doesn't like."""

    exponent: int

    def __post_init__(self) -> None:
        if self.exponent < 1:
            raise OpError(f"exponent={self.exponent} must be 1 or more; use a whole number >= 1")


@pytest.mark.parametrize("scope", ["a.b", ""])
def test_an_op_that_cannot_even_be_made_is_named_by_its_block(scope):
    class Powers(Block):
        def expand(self, g: Scope, x: Value) -> Value:
            return g.op("power", Power(0), x)

    class Outer(Block):
        def expand(self, g: Scope, x: Value) -> Value:
            return g.block(scope, Powers(), x)

    assert refusal(graph_of, Outer(), (4, 8, 8)) == (
        f"{scope or 'powers'}: exponent=0 must be 1 or more; use a whole number >= 1"
    )


def test_the_traceback_leads_to_the_authors_line():
    class Wrong(Block):
        def expand(self, g: Scope, x: Value) -> Value:
            return g.linear("fc", x, 3)  # the author's line

    with pytest.raises(OpError) as caught:
        graph_of(Wrong(), (4, 8, 8))
    assert any("# the author's line" in str(entry.statement) for entry in caught.traceback)


# Blocks in blocks


class Half(Block):
    def expand(self, g: Scope, x: Value) -> Value:
        return g.conv("conv", x, x.shape[0], 3, stride=2)


def test_a_block_in_a_block_is_an_expansion_of_its_own():
    class Outer(Block):
        def expand(self, g: Scope, x: Value) -> Value:
            return g.relu("relu", g.block("lower", Half(), x))

    graph = graph_of(Outer(), (4, 8, 8))
    outer, inner = graph.expansions
    assert (outer.parent, outer.name, outer.start, outer.stop) == (None, "", 1, 3)
    assert (inner.parent, inner.name, inner.start, inner.stop) == (outer, "lower", 1, 2)
    assert [node.name for node in graph] == ["input", "lower.conv", "relu"]
    assert [node.expansion for node in graph] == [None, inner, outer]
    assert (inner.output, outer.output) == (graph.nodes[2].inputs[0], graph.outputs["output"])


def test_a_block_that_must_keep_the_shape():
    class Outer(Block):
        def expand(self, g: Scope, x: Value) -> Value:
            return g.block("attention", Half(), x, keeps_shape=True)

    assert refusal(graph_of, Outer(), (4, 8, 8)) == (
        "attention: half must keep its input's shape here, but makes (4, 4, 4) of (4, 8, 8); "
        "use a block that preserves the shape"
    )


def test_an_expand_that_returns_no_value_of_its_graph():
    class Nothing(Block):
        def expand(self, g: Scope, x: Value) -> Value:
            g.relu("relu", x)

    class Pair(Block):
        def expand(self, g: Scope, x: Value) -> Value:
            return g.block("nothing", Nothing(), x)

    class Stranger(Block):
        def expand(self, g: Scope, x: Value) -> Value:
            return Graph().input((1,))

    end = "it must return the block's output, but returned NoneType; end it with `return` and the last value"
    assert refusal(graph_of, Nothing(), (4, 8, 8), kind=BlockforgeError) == f"nothing.expand: {end}"
    assert refusal(graph_of, Pair(), (4, 8, 8), kind=BlockforgeError) == f"nothing: nothing.expand: {end}"
    assert refusal(graph_of, Stranger(), (4, 8, 8), kind=BlockforgeError) == (
        "stranger.expand: it returned a value of another graph; return one made from its own inputs"
    )


def test_a_block_without_a_name_lies_at_the_scope_itself():
    class Inner(Block):
        def expand(self, g: Scope, x: Value) -> Value:
            return g.relu("relu", x)

    class Outer(Block):
        def expand(self, g: Scope, x: Value) -> Value:
            return g.relu("", g.block("", Inner(), x))

    assert [node.name for node in graph_of(Outer(), (4, 8, 8))] == ["input", "relu", "op"]
