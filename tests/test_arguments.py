"""Which expansions share a class, and what its arguments are called."""

from __future__ import annotations

import inspect
import re
from typing import Annotated, Any

import pytest
import torch
from blockforge.plugins.plain import Conv
from blockforge.plugins.residual import Residual
from pydantic import Field
from torch import nn

from blockforge import (
    Activation,
    Block,
    BlockSpec,
    Channels,
    Kernel,
    Network,
    Scope,
    Stride,
    Value,
    build,
    ops,
    source,
)
from blockforge.assembler import graph_of
from blockforge.builder import make, module_of
from blockforge.codegen.arguments import Code, literal
from blockforge.codegen.classes import plan_classes
from blockforge.codegen.naming import camel_case
from blockforge.codegen.structure import structure
from blockforge.codegen.text import source_of
from blockforge.graph import Graph
from tests.interpreter import Interpreter

Count = Annotated[int, Field(ge=1)]


def row(*blocks: Block, shape: tuple[int, ...] = (8, 6, 6)) -> Graph:
    """The graph of blocks in a row, called 0, 1, ..."""

    class Row(Block):
        def expand(self, g: Scope, x: Value) -> Value:
            for block in blocks:
                x = g.block("row.#", block, x)
            return x

    return graph_of(Row(), shape)


def signatures(graph: Graph) -> dict[str, str]:
    """Each class of the source with its constructor's arguments; the module must equal the plain graph."""
    text = source_of(graph, "Net", "net")
    module = make(text, None)
    plain = Interpreter(graph)
    module.load_state_dict(plain.state_dict(), strict=True)
    x = torch.randn(2, *graph.inputs[0].shapes[0])
    assert torch.equal(module.eval()(x), plain.eval()(x))
    classes = {name: cls for name, cls in vars(module_of(text)).items() if inspect.isclass(cls)}
    return {
        name: ", ".join(str(p) for p in list(inspect.signature(cls.__init__).parameters.values())[1:])
        for name, cls in classes.items()
        if name not in ("Net", "OrderedDict")
    }


def uses(graph: Graph) -> list[str]:
    """The calls in the network's class that make the blocks."""
    text = source_of(graph, "Net", "net").partition("class Net(")[2]
    made = text.partition("def forward")[0].partition("self.row")[2]
    return re.findall(r"(?<!nn\.)\b[A-Z]\w+\([^()]*\)", made)


class Plain(Block):
    """A convolution whose numbers are fields."""

    width: Channels = 8
    kernel: Kernel = 3
    stride: Stride = 1
    activation: Activation = "relu"

    def expand(self, g: Scope, x: Value) -> Value:
        y = g.norm("bn", g.conv("conv", x, self.width, self.kernel, stride=self.stride))
        return g.activation("act", y, self.activation)


# -- what is an argument


def test_what_is_equal_in_every_use_is_no_argument() -> None:
    graph = row(Plain(), Plain())
    assert signatures(graph) == {"Plain": ""}
    assert uses(graph) == ["Plain()"]


def test_what_differs_is_named_by_the_field() -> None:
    graph = row(Plain(width=4), Plain(width=6, kernel=5), Plain(width=8, stride=2))
    assert signatures(graph) == {"Plain": "in_channels, width, kernel=3, stride=1"}
    assert uses(graph) == ["Plain(8, 4)", "Plain(4, 6, kernel=5)", "Plain(6, 8, stride=2)"]


def test_a_field_goes_before_the_inputs_channels() -> None:
    graph = row(Plain(width=8), Plain(width=8), shape=(8, 6, 6))
    both = row(Residual(width=8), shape=(8, 6, 6))
    assert signatures(graph) == {"Plain": ""}
    assert signatures(both) == {"Residual": ""}
    text = source(
        Network.from_yaml("""
two:
  input: [8, 8, 8]
  stages:
    a: {block: residual, width: 8}
    b: {block: conv, width: 16, scope: b}
    c: {block: residual, width: 16}
""")
    )
    assert "class Residual(nn.Module):\n    def __init__(self, width):" in text
    assert "nn.BatchNorm2d(width)" in text
    assert "in_channels, width" not in text.partition("class Conv")[0]


def test_an_activation_is_an_argument() -> None:
    graph = row(Plain(), Plain(activation="hardswish"))
    assert signatures(graph) == {"Plain": "activation=<class 'torch.nn.modules.activation.ReLU'>"}
    assert uses(graph) == ["Plain()", "Plain(activation=nn.Hardswish)"]


def test_an_activation_that_can_not_work_in_place_makes_another_class() -> None:
    assert signatures(row(Plain(), Plain(activation="sigmoid"))) == {
        "Plain": "",
        "PlainActivationSigmoid": "",
    }


def test_a_field_without_a_default_is_required_and_positional_arguments_come_first() -> None:
    class Hidden(Block):
        hidden: Channels
        width: Channels = 4

        def expand(self, g: Scope, x: Value) -> Value:
            y = g.linear("up", g.flatten("flat", x), self.hidden)
            return g.linear("down", y, self.width)

    class Net(Block):
        def expand(self, g: Scope, x: Value) -> Value:
            y = g.block("row.#", Hidden(hidden=5, width=3), x)
            z = g.block("row.#", Hidden(hidden=7, width=2), g.max_pool("pool", x, 2))
            return g.concat("cat", y, z)

    graph = graph_of(Net(), (8, 6, 6))
    assert signatures(graph) == {"Hidden": "width, in_features, hidden"}
    assert uses(graph) == ["Hidden(3, 288, hidden=5)", "Hidden(2, 72, hidden=7)"]


def test_an_argument_is_named_by_the_op_where_no_field_says_it() -> None:
    class Secret(Block):
        kind: str = "small"

        def expand(self, g: Scope, x: Value) -> Value:
            size = {"small": 1, "large": 3}[self.kind]
            y = g.conv("first", x, 8 + 2 * size, size)
            return g.conv("second", y, 8, size)

    assert signatures(row(Secret(), Secret(kind="large"))) == {"Secret": "out_channels, kernel_size, padding=0"}


def test_two_of_a_name_are_told_apart_by_their_op() -> None:
    class Secret(Block):
        kind: str = "ab"

        def expand(self, g: Scope, x: Value) -> Value:
            a, b = (ord(letter) - 90 for letter in self.kind)
            return g.concat("cat", g.conv("one", x, a), g.conv("two", x, b), g.conv("#", x, b - 1))

    class Net(Block):
        def expand(self, g: Scope, x: Value) -> Value:
            return g.concat("cat", *[g.block("row.#", Secret(kind=kind), x) for kind in ("ab", "dg")])

    assert signatures(graph_of(Net(), (3, 4, 4))) == {"Secret": "out_channels, two_out_channels, out_channels2"}


# -- formulas


class Narrow(Block):
    width: Channels = 8
    ratio: Count = 4
    times: Count = 1

    def expand(self, g: Scope, x: Value) -> Value:
        y = x
        for i in range(self.times):
            y = g.norm(f"bn{i}", g.conv(f"conv{i}", y, self.width // self.ratio))
        return g.conv("last", y, self.width)


def test_a_formula_by_a_field_has_a_local_name_where_it_is_used_three_times() -> None:
    text = source_of(row(Narrow(width=8), Narrow(width=16)), "Net", "net")
    assert "        mid = width // 4\n" in text
    assert "nn.BatchNorm2d(mid)" in text
    assert "nn.Conv2d(mid, width, 1, bias=False)" in text


def test_a_formula_used_twice_stands_where_it_is_used() -> None:
    class Twice(Block):
        width: Channels = 8
        ratio: Count = 4

        def expand(self, g: Scope, x: Value) -> Value:
            return g.conv("last", g.conv("first", x, self.width // self.ratio), self.width)

    text = source_of(row(Twice(), Twice(width=16)), "Net", "net")
    assert "nn.Conv2d(width // 4, width, 1, bias=False)" in text
    assert "mid" not in text


def test_a_default_that_no_use_has_is_none() -> None:
    graph = row(Plain(kernel=5), Plain(kernel=1))
    assert signatures(graph) == {"Plain": "kernel"}
    assert uses(graph) == ["Plain(kernel=5)", "Plain(kernel=1)"]


def test_a_formula_of_two_fields() -> None:
    graph = row(Narrow(width=8), Narrow(width=24, ratio=3), Narrow(width=12, ratio=2))
    assert signatures(graph) == {"Narrow": "in_channels, width, ratio=4"}
    assert "mid = width // ratio" in source_of(graph, "Net", "net")


def test_a_number_that_is_no_field_makes_no_formula() -> None:
    class Secret(Block):
        width: Channels = 8

        def expand(self, g: Scope, x: Value) -> Value:
            return g.conv("last", g.conv("first", x, self.width * 3), self.width)

    assert signatures(row(Secret(), Secret(width=16), shape=(3, 4, 4))) == {
        "Secret": "in_channels, width, out_channels"
    }


def test_half_a_kernel_is_its_padding_and_half_a_width_is_half() -> None:
    class Halves(Block):
        width: Channels = 8
        kernel: Kernel = 3

        def expand(self, g: Scope, x: Value) -> Value:
            y = g.norm("bn", g.conv("one", x, self.width // 2, self.kernel))
            return g.conv("two", y, self.width)

    graph = row(Halves(), Halves(width=16, kernel=5), shape=(3, 6, 6))
    text = source_of(graph, "Net", "net")
    assert signatures(graph) == {"Halves": "in_channels, width, kernel=3"}
    assert "half = width // 2" in text
    assert "nn.Conv2d(in_channels, half, kernel, padding=kernel // 2, bias=False)" in text


# -- names that are taken


def test_fields_named_as_what_the_generator_adds() -> None:
    class Named(Block):
        width: Channels = 8
        in_channels: Count = 2
        skip: Count = 3
        mid: Count = 1
        half: Count = 1

        def expand(self, g: Scope, x: Value) -> Value:
            y = g.conv("a.#", x, self.in_channels)
            y = g.conv("a.#", g.conv("a.#", y, self.skip), self.mid)
            y = g.norm("b.#", g.conv("b.#", y, self.width // 4))
            y = g.conv("b.#", y, self.width)
            return g.add("add", y, x) if x.shape == y.shape else y

    graph = row(
        Named(),
        Named(width=16, in_channels=5, skip=2, mid=3, half=2),
        Named(width=16),
        Named(in_channels=4, skip=7),
    )
    (signature,) = signatures(graph).values()
    assert signature == "width, in_channels2, out_channels, skip2, in_channels=2, skip=3, mid=1"


@pytest.mark.parametrize("name", ["skip", "nn", "torch", "self", "lambda", "super"])
def test_children_named_as_what_the_code_reads(name: str) -> None:
    class Child(Block):
        width: Channels = 8

        def expand(self, g: Scope, x: Value) -> Value:
            y = g.norm("body.#", g.conv("body.#", g.conv(name, x, self.width), self.width))
            return g.add("add", y, x) if x.shape == y.shape else y

    (signature,) = signatures(row(Child(), Child(width=4), Child(width=4))).values()
    assert signature == ("in_channels, width, skip2" if name == "skip" else "in_channels, width, skip")


@pytest.mark.parametrize("name", ["self", "nn", "torch", "super"])
def test_fields_named_as_what_the_code_reads(name: str) -> None:
    def expand(block: Any, g: Scope, x: Value) -> Value:
        return g.conv("conv", x, block.width, getattr(block, name))

    fields = {"width": Channels, name: Kernel}
    cls = type("Odd", (Block,), {"__annotations__": fields, "width": 8, name: 3, "expand": expand})
    (signature,) = signatures(row(cls(), cls(**{name: 1}))).values()
    assert signature == "kernel_size, padding=0"


def test_the_channels_of_another_input_are_not_named_in_channels() -> None:
    class Two(Block):
        width: Channels = 4

        def expand(self, g: Scope, x: Value, y: Value) -> Value:
            return g.add("add", g.conv("a", y, self.width), g.conv("b", x, self.width))

    class Net(Block):
        def expand(self, g: Scope, x: Value) -> Value:
            y = g.conv("y", x, 5)
            z = g.block("row.#", Two(), x, y)
            return g.block("row.#", Two(), y, z)

    (signature,) = signatures(graph_of(Net(), (3, 4, 4))).values()
    assert signature == "in_channels, a_in_channels"


# -- with and without a final sum


class Maybe(Block):
    width: Channels = 8
    body: Count = 1

    def expand(self, g: Scope, x: Value) -> Value:
        y = x
        for _ in range(self.body):
            y = g.norm("body.#", g.conv("body.#", y, self.width))
        return g.add("add", y, x) if y.shape == x.shape else y


def test_a_final_sum_is_a_flag() -> None:
    graph = row(Maybe(), Maybe(width=4), Maybe(width=4))
    assert signatures(graph) == {"Maybe": "in_channels, width, skip"}
    assert uses(graph) == ["Maybe(8, 8, skip=True)", "Maybe(8, 4, skip=False)", "Maybe(4, 4, skip=True)"]
    assert "return y + x if self.skip else y" in source_of(graph, "Net", "net")


def test_a_sum_of_something_else_is_no_flag() -> None:
    class Other(Block):
        width: Channels = 8
        doubled: bool = False

        def expand(self, g: Scope, x: Value) -> Value:
            y = g.norm("body.#", g.conv("body.#", x, self.width))
            return g.add("add", y, y) if self.doubled else y

    assert signatures(row(Other(), Other(doubled=True))) == {"Other": "", "OtherDoubledTrue": ""}


def test_a_sum_in_place_is_no_flag() -> None:
    class Direct(Block):
        sums: bool = False

        def expand(self, g: Scope, x: Value) -> Value:
            y = g.norm("bn", g.conv("conv", x, 8))
            return g.add("add", y, x) if self.sums else y

    graph = row(Direct(), Direct(sums=True))
    assert signatures(graph) == {"Direct": "", "DirectSumsTrue": ""}
    assert "y += x" in source_of(graph, "Net", "net")


def test_one_two_and_no_sums_are_two_classes() -> None:
    class Sums(Block):
        sums: Annotated[int, Field(ge=0)] = 0

        def expand(self, g: Scope, x: Value) -> Value:
            y = g.norm("body.#", g.conv("body.#", x, 8))
            for i in range(self.sums):
                y = g.add(f"part{i}.add", y, x)
            return y

    found = signatures(row(Sums(), Sums(sums=1), Sums(sums=2), Sums(sums=1)))
    assert found == {"Sums": "skip", "SumsSums2": ""}


# -- classes and their names


def test_classes_are_named_by_what_they_have_more() -> None:
    assert list(signatures(row(Residual(width=8), Residual(width=16), Residual(width=16)))) == [
        "Residual", "ResidualDownsample",
    ]  # fmt: skip


def test_classes_are_named_by_a_field_where_they_have_the_same_parts() -> None:
    class Pooled(Block):
        early: bool = False

        def expand(self, g: Scope, x: Value) -> Value:
            y = g.max_pool("pool", x, 1) if self.early else x
            y = g.conv("conv", y, 8)
            return y if self.early else g.max_pool("pool", y, 1)

    assert list(signatures(row(Pooled(), Pooled(), Pooled(early=True)))) == ["Pooled", "PooledEarlyTrue"]


def test_two_block_classes_of_one_name_are_two_classes() -> None:
    def make_block(kernel: int, **fields: Any) -> Block:
        class Same(Block):
            def expand(self, g: Scope, x: Value) -> Value:
                return g.conv("conv", x, 8, kernel)

        return Same(**fields)

    assert list(signatures(row(make_block(1), make_block(3)))) == ["Same", "Same2"]


def test_a_block_named_as_a_helper_class_has_another_name() -> None:
    class DropPath(Block):
        width: Channels = 8

        def expand(self, g: Scope, x: Value) -> Value:
            return g.op("drop", ops.DropPath(0.5), g.conv("conv", x, self.width))

    text = source_of(row(DropPath()), "DropPath", "net")
    assert re.findall(r"^class (\w+)", text, re.MULTILINE) == ["DropPath", "DropPath2", "DropPathNetwork"]


def test_nested_blocks_are_arguments_by_their_numbers() -> None:
    class Holder(Block):
        width: Channels = 8
        inner: BlockSpec = Conv(width=8)

        def expand(self, g: Scope, x: Value) -> Value:
            return g.conv("last", g.block("inner", self.inner, x), self.width)

    graph = row(Holder(), Holder(inner=Conv(width=4, kernel=5)), Holder(width=6))
    assert signatures(graph) == {"Conv": "width, kernel=3", "Holder": "width, inner_width, kernel=3"}
    assert uses(graph) == [
        "Holder(8, inner_width=8)",
        "Holder(8, inner_width=4, kernel=5)",
        "Holder(6, inner_width=8)",
    ]
    assert {plan.name for plan in plan_classes(structure(graph)).values()} == {"Conv", "Holder"}


def test_camel_case() -> None:
    assert [camel_case(name) for name in ("vgg16_bn", "a-b", "resnet50", "x1_0")] == [
        "Vgg16Bn",
        "AB",
        "Resnet50",
        "X10",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (0.5, "0.5"),
        ("same", "'same'"),
        (Code("nn.ReLU"), "nn.ReLU"),
        (float("inf"), 'float("inf")'),
        (None, "None"),
    ],
)
def test_values_are_written_as_python_reads_them(value: object, text: str) -> None:
    assert literal(value) == text
    if not isinstance(value, Code):
        assert eval(text) == value


def test_true_is_not_one() -> None:
    class Flags(Block):
        first: bool = True
        count: Count = 1

        def expand(self, g: Scope, x: Value) -> Value:
            y = g.max_pool("pool", x, 2, self.count, ceil_mode=self.first)
            return g.conv("conv", y, 8, bias=self.first)

    graph = row(Flags(), Flags(first=False, count=2))
    (signature,) = signatures(graph).values()
    assert signature == "first=True, count=1"


def test_a_flag_is_no_formula_of_ones_and_zeros() -> None:
    class Edge(Block):
        a: Count = 6
        b: Count = 4

        def expand(self, g: Scope, x: Value) -> Value:
            return g.conv("conv", x, 8, padding=self.a // self.b, bias=self.a > self.b)

    graph = row(Edge(), Edge(a=3))
    assert signatures(graph) == {"Edge": "a=6, bias=True"}
    assert "padding=a // 4, bias=bias" in source_of(graph, "Net", "net")


def test_every_network_calls_its_classes_with_the_arguments_that_they_take() -> None:
    for name in ("googlenet", "densenet121", "shufflenet_v2_x1_0"):
        assert isinstance(build(name, init=False), nn.Module)
