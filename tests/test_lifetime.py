"""When tensors are made and freed: the statements of a forward, and the peak of what lives at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from blockforge.plugins.inception import Inception

from blockforge import Block, Scope, Value, build, cost, ops
from blockforge.assembler import assemble, graph_of
from blockforge.builder import make
from blockforge.codegen.lifetime import peak_elements
from blockforge.codegen.text import source_of
from blockforge.graph import Graph
from blockforge.ops import Op, Shape
from tests.memory import measured_peak
from tests.random_networks import from_text

Expand = Callable[[Scope, Value], Value]
SHAPE = (4, 6, 6)
N = 4 * 6 * 6


def block_of(expand: Expand, name: str = "Probe") -> Block:
    return type(name, (Block,), {"expand": lambda _, g, x: expand(g, x)})()


def graph_from(expand: Expand) -> Graph:
    inner = block_of(expand, "Inner")
    return graph_of(block_of(lambda g, x: g.block("inner", inner, x), "Outer"), SHAPE)


def forward(expand: Expand) -> list[str]:
    """The lines of the block's forward."""
    lines = source_of(graph_from(expand), "Net", "net").partition("class Inner(")[2].splitlines()
    start = next(i for i, line in enumerate(lines) if "def forward" in line)
    body = lines[start + 1 :]
    return [line.strip() for line in body[: body.index("")]]


def peaks(graph: Graph) -> tuple[int, int]:
    """Predicted and measured elements alive at once."""
    module = make(source_of(graph, "Net", "net"), None)
    for weight in module.parameters():
        weight.data.fill_(0.1)
    return peak_elements(graph), measured_peak(module, graph.inputs[0].shapes[0]) // 4


# -- statements


def test_a_call_is_nested_over_what_works_in_place() -> None:
    def expand(g: Scope, x: Value) -> Value:
        y = g.relu("relu1", g.norm("bn1", g.conv("conv1", x, 4)))
        return g.relu("relu2", g.norm("bn2", g.conv("conv2", y, 4)))

    # bn2(conv2(y)) would hold the old y while bn2 runs
    assert forward(expand) == [
        "x = self.relu1(self.bn1(self.conv1(x)))",
        "x = self.conv2(x)",
        "return self.relu2(self.bn2(x))",
    ]
    predicted, measured = peaks(graph_from(expand))
    assert predicted == measured == 3 * N


def test_a_call_is_nested_over_a_view() -> None:
    assert forward(lambda g, x: g.linear("fc", g.flatten("flat", g.conv("conv", x, 4)), 2)) == [
        "x = torch.flatten(self.conv(x), 1)",
        "return self.fc(x)",
    ]


def test_code_that_reads_its_operand_twice_holds_no_call() -> None:
    class Twice(Op):
        def shape(self, *inputs: Shape) -> Shape:
            return inputs[0]

        def expression(self, *names: str) -> str:
            return f"{names[0]} * torch.sigmoid({names[0]})"

    def expand(g: Scope, x: Value) -> Value:
        return g.op("twice", Twice(), g.norm("bn", x))

    assert forward(expand) == ["x = self.bn(x)", "return x * torch.sigmoid(x)"]


def test_an_expression_inside_of_an_expression_has_brackets() -> None:
    def expand(g: Scope, x: Value) -> Value:
        return g.flatten("flat", g.mul("mul", g.conv("conv", x, 4), x))

    assert forward(expand) == ["y = self.conv(x)", "return torch.flatten(y * x, 1)"]


def test_a_nested_expression_keeps_its_meaning() -> None:
    class Minus(Op):
        view = True

        def shape(self, *inputs: Shape) -> Shape:
            return inputs[0]

        def expression(self, *names: str) -> str:
            return f"-{names[0]}"

    class Square(Op):
        def shape(self, *inputs: Shape) -> Shape:
            return inputs[0]

        def expression(self, *names: str) -> str:
            return f"{names[0]}**2"

    def expand(g: Scope, x: Value) -> Value:
        return g.op("square", Square(), g.op("minus", Minus(), g.relu("act", x)))

    assert forward(expand) == ["return (-self.act(x))**2"]
    assert make(source_of(graph_from(expand), "Net", "net"), None)(torch.full((1, *SHAPE), 3.0)).max() == 9


def test_tensors_are_freed_before_the_next_is_made_and_not_after_the_last() -> None:
    def expand(g: Scope, x: Value) -> Value:
        y = g.conv("a", x, 4)
        z = g.concat("cat", g.sigmoid("gate", y), y)
        return g.conv("c", g.conv("b", z, 4), 4)

    assert forward(expand) == [
        "x = self.a(x)",
        "y = self.gate(x)",
        "x = torch.cat((y, x), 1)",
        "del y",
        "x = self.b(x)",
        "return self.c(x)",
    ]
    assert forward(lambda g, x: g.concat("cat", g.conv("a", x, 4), g.conv("b", x, 4))) == [
        "y = self.a(x)",
        "x = self.b(x)",
        "return torch.cat((y, x), 1)",
    ]


def test_what_nobody_reads_is_freed_at_once() -> None:
    def expand(g: Scope, x: Value) -> Value:
        g.conv("unread", x, 64)
        y, _ = g.split("split", x, 2)
        return g.conv("conv", y, 4)

    assert forward(expand) == [
        "y = self.unread(x)",
        "del y",
        "x, y = x.chunk(2, 1)",
        "del y",
        "return self.conv(x)",
    ]
    predicted, measured = peaks(graph_from(expand))
    assert predicted == measured == N + 16 * N


def test_a_forwards_own_argument_is_not_freed_since_its_caller_holds_it() -> None:
    def expand(g: Scope, x: Value) -> Value:
        y = g.conv("a", x, 4)
        z = g.conv("b", g.add("add", g.sigmoid("gate", y), x), 4)
        return g.conv("c", g.mul("mul", y, z), 4)

    assert "del x" not in "\n".join(forward(expand))
    predicted, measured = peaks(graph_from(expand))
    assert predicted == measured


def test_none_of_several_arguments_is_freed() -> None:
    class Two(Block):
        def expand(self, g: Scope, x: Value, y: Value) -> Value:
            z = g.conv("a", g.mul("mul", x, y), 4)
            return g.concat("cat", g.sigmoid("gate", z), z)

    graph = graph_of(block_of(lambda g, x: g.block("two", Two(), x, g.conv("first", x, 4))), SHAPE)
    text = source_of(graph, "Net", "net").partition("class Net")[0]
    assert text.rstrip().endswith("""\
    def forward(self, x1, x2):
        x1 = x1 * x2
        x1 = self.a(x1)
        y = self.gate(x1)
        return torch.cat((y, x1), 1)""")


def test_a_sum_works_in_place() -> None:
    assert forward(lambda g, x: g.relu("act", g.add("add", g.conv("conv", x, 4), x))) == [
        "y = self.conv(x)",
        "y += x",
        "return self.act(y)",
    ]
    assert forward(lambda g, x: g.relu("act", g.add("add", x, g.conv("conv", x, 4)))) == [
        "y = self.conv(x)",
        "y += x",
        "return self.act(y)",
    ]
    assert forward(lambda g, x: g.add("add", g.conv("conv", x, 4), x))[-2:] == ["y += x", "return y"]


def test_a_sum_of_three_is_summed_from_the_left() -> None:
    def expand(g: Scope, x: Value) -> Value:
        return g.add("add", x, g.conv("a", x, 4), g.conv("b", x, 4))

    assert forward(expand)[-1] == "return x + y + z"


# -- variables


def test_branches_are_named_by_their_modules() -> None:
    block = Inception(branch1=4, branch2_reduce=4, branch2=4, branch3_reduce=4, branch3=4, branch4=4, branch3_kernel=3)
    graph = graph_of(block_of(lambda g, x: g.block("inner", block, x)), SHAPE)
    text = source_of(graph, "Net", "net")
    for line in ("branch1 = self.branch1(x)", "branch2 = self.branch2(x)", "branch3 = self.branch3(x)"):
        assert line in text


@pytest.mark.parametrize("name", ["lambda", "torch", "self", "nn", "in"])
def test_a_branch_is_not_named_by_what_the_code_reads_itself(name: str) -> None:
    row = block_of(lambda g, x: g.relu("act", g.conv("conv", x, 4)), "Row")

    def expand(g: Scope, x: Value) -> Value:
        branches = [g.block(each, row, x) for each in (name, "a", "b")]
        return g.concat("cat", *branches, x)

    lines = forward(expand)
    assert [line.partition(" = ")[0] for line in lines] == [
        "y",
        "a",
        "b",
        "return torch.cat((y, a, b, x), 1)",
    ]
    made = make(source_of(graph_from(expand), "Net", "net"), None)
    assert made(torch.zeros(1, *SHAPE)).shape == (1, 16, 6, 6)


def test_many_variables_are_numbered() -> None:
    def expand(g: Scope, x: Value) -> Value:
        return g.concat("cat", *[g.conv(f"conv{i}", x, 2) for i in range(9)])

    assert forward(expand)[-1] == "return torch.cat((y, z, u, v, w, y2, y3, y4, x), 1)"


# -- the peak, in elements


def test_the_peak_of_a_chain_is_its_largest_pair() -> None:
    graph = assemble(
        from_text("""
row:
  input: [4, 6, 6]
  stages:
    a: {block: conv, width: 16, kernel: 1, norm: false, activation: null, scope: "row.{n}"}
    b: {block: conv, width: 8, kernel: 1, norm: false, activation: null, scope: "row.{n}"}
    c: {block: conv, width: 1, kernel: 1, norm: false, activation: null, scope: "row.{n}"}
""")
    )
    # the network's input lives to the end
    assert peaks(graph) == (N + 16 * 36 + 8 * 36,) * 2


def test_a_blocks_input_lives_until_it_ends() -> None:
    def expand(g: Scope, x: Value) -> Value:
        return g.conv("b", g.sigmoid("gate", g.conv("a", x, 4)), 4)

    double = block_of(expand, "Double")
    graph = graph_of(block_of(lambda g, x: g.block("two", double, g.block("one", double, x))), SHAPE)
    # in `two`: the network's input, its own input, a, gate
    assert peaks(graph) == (4 * N,) * 2


def test_scratch_counts_while_its_op_runs() -> None:
    graph = graph_of(block_of(lambda g, x: g.max_pool("pool", x, 2)), SHAPE)
    assert peaks(graph) == (N + 36 + 72,) * 2  # the input, the output, its indices of 8 bytes


def test_a_part_of_a_tensor_holds_all_of_it() -> None:
    half = block_of(lambda g, x: g.split("split", g.conv("conv", x, 32), 2)[0], "Half")

    def expand(g: Scope, x: Value) -> Value:
        y = g.block("part", half, x)
        return g.conv("last", g.conv("next", y, 32), 4)

    graph = graph_of(block_of(expand), SHAPE)
    assert peaks(graph) == (N + 32 * 36 + 32 * 36,) * 2


def test_a_view_of_a_blocks_input_is_nothing_new() -> None:
    flat = block_of(lambda g, x: g.dropout("drop", x, 0.5), "Flat")
    graph = graph_of(block_of(lambda g, x: g.conv("conv", g.block("flat", flat, x), 4)), SHAPE)
    assert peaks(graph) == (2 * N,) * 2


def test_what_works_in_place_is_nothing_new() -> None:
    graph = graph_from(lambda g, x: g.relu("act", g.conv("conv", x, 4)))
    assert peaks(graph) == (2 * N,) * 2
    graph = graph_from(lambda g, x: g.sigmoid("act", g.conv("conv", x, 4)))
    assert peaks(graph) == (3 * N,) * 2


def test_two_inputs_count_both() -> None:
    graph = Graph()
    x, y = graph.input((4, 2, 2), "input1"), graph.input((4, 2, 2), "input2")
    graph.outputs["output"] = graph.add("add", ops.Add(), (x, y), None)  # type: ignore[assignment]
    assert peak_elements(graph) == 3 * 16


def test_bytes_are_four_an_element() -> None:
    network = from_text("one:\n  input: [4, 6, 6]\n  stages: {pool: {block: pool, kind: avg}}\n")
    assert cost(network).peak_memory == 4 * (N + 36) == measured_peak(build(network), SHAPE)
