"""From a network to its graph: wiring, names, counters, caps, and what is said where it doesn't fit."""

from __future__ import annotations

import time
from typing import Any

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockforge import Network, assemble, cost, get_network, ops
from blockforge.assembler import _count, blocks_in_order, graph_of, smallest_input, stage_graph
from blockforge.errors import BlockforgeError, InputTooSmall, InvalidNetwork, NameTaken, OpError
from blockforge.graph import Graph
from blockforge.registry import get_registry, load_registry


def network(stages: str, shape: str = "[3, 16, 16]", **keys: str) -> Network:
    """A network of these stages, one a line."""
    lines = [f"input: {shape}", *(f"{key}: {value}" for key, value in keys.items()), "stages:"]
    return Network.from_yaml("\n".join([*lines, *(f"  {line.strip()}" for line in stages.strip().splitlines())]) + "\n")


def names(graph: Graph) -> list[str]:
    return [node.name for node in graph if node.inputs]


def refusal(call: Any, *args: Any, kind: type[BlockforgeError] = BlockforgeError) -> str:
    with pytest.raises(kind) as caught:
        call(*args)
    assert caught.value.exit_code == 2
    return str(caught.value)


# Every network


@pytest.mark.parametrize("name", get_registry().networks)
def test_every_network_is_assembled(name):
    whole = get_network(name)
    graph = assemble(name)
    assert graph.stages == list(whole.stages)
    assert graph.outputs["logits"].shape == (whole.classes,)
    assert [node.shapes for node in graph.inputs] == [(whole.input,)]
    assert len({node.name for node in graph}) == len(graph.nodes)
    assert all(value.node.index < node.index for node in graph for value in node.inputs)
    outermost = [expansion for expansion in graph.expansions if expansion.parent is None]
    assert [(e.stage, e.block) for e in outermost] == [
        (stage.name, block) for stage, blocks in blocks_in_order(whole) for block in blocks
    ]
    covered = [i for e in outermost for i in range(e.start, e.stop)]
    assert covered == list(range(1, len(graph.nodes)))


@pytest.mark.parametrize("name", get_registry().networks)
def test_the_smallest_input_of_every_network_works_and_the_next_smaller_does_not(name):
    whole = get_network(name)
    smallest = smallest_input(whole)
    assert smallest is not None
    channels = whole.input[0]
    assert assemble(whole.set({"input": [channels, smallest, smallest]})).outputs["logits"].shape == (whole.classes,)
    assert smallest <= whole.input[1]
    if smallest > 1:
        with pytest.raises(InputTooSmall, match=f"; the smallest input that works is {smallest}x{smallest}$"):
            assemble(whole.set({"input": [channels, smallest - 1, smallest - 1]}))


# Wiring


DIAMOND = """
stem: {block: conv, width: 8, kernel: 1}
right: {block: conv, width: 8, from: stem}
left: {block: conv, width: 4, kernel: 5, from: stem}
join: {block: concat, from: [left, right, input]}
sum: {block: add, from: [join, join]}
"""


def test_diamonds_join_by_concat_and_add():
    graph = assemble(network(DIAMOND))
    assert [node.name for node in graph if node.expansion and node.expansion.stage in ("join", "sum")] == [
        "join",
        "sum",
    ]
    join, total = graph.nodes[-2:]
    assert [value.shape for value in join.inputs] == [(4, 16, 16), (8, 16, 16), (3, 16, 16)]
    assert join.shapes == total.shapes == ((15, 16, 16),)
    assert [value.node.name for value in total.inputs] == ["join", "join"]


def test_execution_is_topological_while_registration_follows_the_file():
    graph = assemble(
        network(
            """
            late: {block: conv, width: 4, from: early}
            early: {block: conv, width: 8, from: input}
            other: {block: conv, width: 4, from: early}
            join: {block: add, from: [other, late]}
            """
        )
    )
    assert graph.stages == ["late", "early", "other", "join"]
    ran = list(dict.fromkeys(e.stage for e in graph.expansions))
    assert ran == ["early", "late", "other", "join"]


def test_the_graph_of_stages_knows_blocks_and_depths():
    whole = network(DIAMOND)
    graph = stage_graph(whole)
    assert isinstance(graph, nx.DiGraph)
    assert list(graph) == ["input", "stem", "right", "left", "join", "sum"]
    assert graph.nodes["left"] == {"block": whole.stages["left"].block, "depth": 1}


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (
            "a: {block: conv}\nb: {block: conv, from: c}\nc: {block: conv, from: b}",
            "text:4:20: b.from: the stages b -> c -> b feed each other in a cycle; change a `from`",
        ),
        (
            "a: {block: conv}\nb: {block: conv, from: []}",
            "text:4:20: b.from: is unreachable: `from: []` feeds it nothing; name a stage or `input`",
        ),
        (
            "a: {block: conv}\nb: {block: conv, from: input}",
            "text:3:3: a.from: no stage reads it, and it isn't the last one (b, which is the output); read it with "
            "`from`, "
            "or remove it",
        ),
        (
            "a: {block: conv}\nb: {block: conv, from: aa}",
            "text:4:20: b.from: no stage 'aa' to read from; did you mean 'a'? there are input, a, b",
        ),
        (
            "a: {block: conv}\nb: {block: residual, from: [a, input]}",
            "text:4:24: b.from: block residual takes 1 input, but `from` gives 2 (a, input); join them first with a "
            "stage "
            "of block `add` or `concat`",
        ),
        (
            "a: {block: conv}\nb: {block: conv, from: {x: a}}",
            "text:4:20: b.from: must be a stage's name or a list of them, but is {'x': 'a'}",
        ),
    ],
)
def test_a_wrong_wiring(stages, message):
    assert refusal(network, stages, kind=InvalidNetwork) == message


TWO = """
from blockforge import Block, Scope, Value, hookimpl

class Two(Block):
    def expand(self, g: Scope, x: Value, y: Value) -> Value:
        return g.mul("mul", x, y)

@hookimpl
def register_blocks():
    return [Two]
"""


def test_a_block_of_two_inputs_takes_just_two_and_no_repeats(write):
    load_registry([write("two.py", TWO)])
    joined = network("a: {block: conv, width: 3}\nb: {block: two, from: [a, input]}")
    assert assemble(joined).nodes[-1].name == "b.0.mul"
    assert refusal(network, "a: {block: conv, width: 3}\nb: {block: two}") == (
        "text:4:3: b.from: block two takes 2 inputs, but `from` gives 1 (a); name 2 stages"
    )
    assert refusal(network, "a: {block: conv}\nb: {block: two, from: [a, a], depth: 2}") == (
        "text:4:33: b.depth: block two takes 2 inputs, so it can't be repeated; set its depth to 1"
    )


# Shapes


def test_a_clash_of_shapes_names_both_and_the_op():
    clash = network("a: {block: conv, width: 8}\nb: {block: add, from: [a, input]}")
    message = (
        "text: b: Add takes inputs of one shape, but they are (8, 16, 16) and (3, 16, 16); bring them to one shape, "
        "by a 1x1 "
        "convolution with a stride for example"
    )
    assert refusal(assemble, clash, kind=OpError) == message
    assert refusal(cost, clash, kind=OpError) == message


def test_groups_that_do_not_divide():
    whole = get_network("resnet50").set({"layer1.groups": 7})
    message = "resnet50: layer1.0.conv2: groups=7 must divide the 64 output channels; use a divisor of 64"
    assert refusal(assemble, whole, kind=OpError) == message
    assert refusal(cost, whole, kind=OpError) == message


def test_an_input_too_small_names_the_op_its_shape_and_what_works():
    small = get_network("alexnet").set({"input": [3, 40, 40]})
    assert refusal(assemble, small, kind=InputTooSmall) == (
        "alexnet: features.12: kernel 3 is larger than the padded input 1x1; use a larger input or a smaller kernel or "
        "stride, at input (3, 40, 40); the smallest input that works is 63x63"
    )


@settings(max_examples=15)
@given(st.lists(st.tuples(st.integers(2, 5), st.integers(1, 3)), min_size=1, max_size=3))
def test_the_smallest_input_is_the_smallest(pools):
    stages = "\n".join(
        f"p{i}: {{block: pool, kernel: {kernel}, stride: {stride}}}" for i, (kernel, stride) in enumerate(pools)
    )
    whole = network(stages, "[3, 256, 256]")
    smallest = smallest_input(whole)
    # Backwards through the pools: an output of s needs (s - 1) * stride + kernel.
    expected = 1
    for kernel, stride in reversed(pools):
        expected = (expected - 1) * stride + kernel
    assert smallest == expected


def test_no_size_may_work_at_all():
    stages = "a: {block: pool, kind: adaptive_avg, kernel: 2}\nb: {block: pool, kernel: 3}"
    assert refusal(assemble, network(stages), kind=InputTooSmall).endswith(
        "; no square input up to 2048x2048 was found that works"
    )
    features = network("a: {block: linear, width: 4}", "[8]")
    assert smallest_input(features) is None


@pytest.mark.parametrize(("kernel", "smallest"), [(1, 3), (9, 19), (100, 201)])
def test_where_odd_sizes_alone_work_the_smallest_is_found_among_them(kernel, smallest):
    stages = f"""
        pooled: {{block: pool, kernel: 2, from: input}}
        other: {{block: conv, width: 3, kernel: 3, stride: 2, padding: 0, from: input}}
        join: {{block: add, from: [pooled, other]}}
        last: {{block: pool, kernel: {kernel}}}
        """
    assert smallest_input(network(stages)) == smallest
    assemble(network(stages, f"[3, {smallest}, {smallest}]"))
    refusal(assemble, network(stages, f"[3, {smallest + 1}, {smallest + 1}]"), kind=OpError)
    message = refusal(assemble, network(stages, "[3, 1, 1]"), kind=InputTooSmall)
    assert message.endswith(f"; the smallest input that works is {smallest}x{smallest}")


def test_a_block_alone_says_how_many_inputs_it_takes():
    residual = get_registry().block("residual")(width=8)
    assert refusal(graph_of, residual, (8, 4, 4), (8, 4, 4)) == (
        "residual: takes 1 input(s), but got 2; give it as many shapes"
    )
    graph = graph_of(get_registry().block("add")(), (8, 4, 4), (8, 4, 4))
    assert [node.name for node in graph] == ["input1", "input2", "op"]


# Names


def test_the_default_scope_counts_where_the_block_repeats():
    graph = assemble(
        network("a: {block: residual, width: 3}\nb: {block: residual, width: 3, depth: 2}\np: {block: pool}")
    )
    assert list(dict.fromkeys(name.rpartition(".")[0] or name for name in names(graph))) == ["a.0", "b.0", "b.1", "p"]


def test_numbers_in_braces_and_number_signs_share_one_counter_across_stages():
    graph = assemble(
        network(
            """
            a: {block: conv, width: 4, depth: 2, scope: features}
            b: {block: pool, scope: "features.{n}"}
            c: {block: residual, width: 4, depth: 2, scope: "features.{n}"}
            d: {block: conv, width: 4, norm: false, scope: features}
            """
        )
    )
    top = list(dict.fromkeys(name.split(".")[1] for name in names(graph)))
    assert top == [str(i) for i in range(11)]
    assert {name.split(".")[1] for name in names(graph) if name.endswith("conv1")} == {"7", "8"}


def test_numbers_count_on_across_the_stages_of_one_scope_text():
    graph = assemble(
        network(
            """
            a: {block: dense_layer, growth: 4, depth: 2, scope: "net.layer{n+1}"}
            b: {block: transition, scope: net.between}
            c: {block: dense_layer, growth: 4, scope: "net.layer{n+1}"}
            d: {block: dense_layer, growth: 4, scope: "other.layer{n+1}.{n}"}
            """
        )
    )
    scopes = list(dict.fromkeys(name.rpartition(".")[0] for name in names(graph)))
    assert scopes == ["net.layer1", "net.layer2", "net.between", "net.layer3", "other.layer1.0"]


@pytest.mark.parametrize(
    ("scope", "advice"), [("x", "x.{n}"), ("x.y", "x.y.{n}"), ('""', "{n}")], ids=["one", "two", "none"]
)
def test_repeats_need_a_number_in_their_scope(scope, advice):
    whole = network(f"a: {{block: residual, width: 3, depth: 3, scope: {scope}}}")
    shown = scope.strip('"')
    for reading in (assemble, cost):
        assert refusal(reading, whole, kind=NameTaken) == (
            f"text: a.scope: {shown!r} holds no {{n}}, so 3 repeats would share their names; write {advice}"
        )


def test_repeats_of_a_block_that_counts_its_own_ops_need_none():
    graph = assemble(network("a: {block: conv, width: 4, depth: 2, scope: x}"))
    assert names(graph) == [f"x.{i}" for i in range(6)]


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ("a: {block: pool, scope: x}\nb: {block: pool, scope: x}", "text: x: this name is taken already; give each op "
                                                                   "of a "
                                                                   "scope a name of its own"),
        ("a: {block: pool, scope: x}\nb: {block: conv, scope: x.y}", "text: x.y.0: x is an op, so nothing can lie in "
                                                                     "it; "
                                                                     "give one of them another name"),
    ],
)  # fmt: skip
def test_names_that_clash(stages, message):
    assert refusal(assemble, network(stages)) == message


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        ("train", "train: nn.Module has an attribute 'train' of its own; choose another name"),
        ("x.__y", "x.__y: in a class Python changes '__y', with its two underscores; choose another name"),
        ("a b.half", "a b.half: 'a b' is no name for a module; use letters, digits, '_' and '-'"),
        ("{m}", "{m}: '{m}' is no name for a module; use letters, digits, '_' and '-'"),
        ("x.{n", "x.{n: '{n' is no name for a module; use letters, digits, '_' and '-'"),
        ("a..b", "a..b: '' is no name for a module; use letters, digits, '_' and '-'"),
    ],
)
def test_scopes_that_cannot_be(scope, message):
    found = refusal(network, f"a: {{block: conv, scope: '{scope}'}}", kind=InvalidNetwork)
    assert found.partition(": a.scope: ")[2] == message


def test_a_stage_whose_name_no_module_can_have_needs_a_scope():
    assert refusal(network, "half: {block: conv}", kind=InvalidNetwork).endswith(
        ": half: half.0: nn.Module has an attribute 'half' of its own; choose another name"
    )
    assert names(assemble(network("half: {block: conv, scope: x}"))) == ["x.0", "x.1", "x.2"]


@pytest.mark.parametrize("name", ["input", "classes", "norm", "a.b", "a b", '""', "ünit", '"a*"'])
def test_names_that_no_stage_can_have(name):
    shown = name.strip('"')
    message = refusal(network, f"{name}: {{block: conv}}", kind=InvalidNetwork)
    assert message == (
        f"text:3:3: {shown}: is no name for a stage; use letters, digits, '_' and '-', and no key of a network"
        if shown
        else "text:3:3: is no name for a stage; use letters, digits, '_' and '-', and no key of a network"
    )


# What depends on the whole network


def test_stride_is_the_first_repeats():
    graph = assemble(network("a: {block: residual, width: 4, depth: 3, stride: 2}"))
    strides = [node.op.stride for node in graph if node.name.endswith("conv1")]
    assert strides == [2, 1, 1]
    assert [node.name for node in graph if "downsample" in node.name] == ["a.0.downsample.0", "a.0.downsample.1"]


def test_the_input_transform_comes_first_and_only_where_it_is_asked_for():
    plain = network("a: {block: conv, width: 8}")
    graph = assemble(plain.set({"input_transform": True}))
    assert names(graph) == ["input_transform", *names(assemble(plain))]
    assert graph.nodes[1].op == ops.ChannelAffine((0.458, 0.448, 0.45), (-0.03, -0.088, -0.188))
    assert graph.nodes[2].inputs[0].node is graph.nodes[1]
    assert (graph.nodes[1].params, graph.nodes[1].macs) == (0, 0)
    assert cost(plain).params == cost(plain.set({"input_transform": True})).params
    assert plain.hash != plain.set({"input_transform": True}).hash
    assert plain.hash == plain.set({"preprocess": {"mean": [0, 0, 0], "std": [1, 1, 1]}}).hash
    assert refusal(plain.set, {"input_transform": True, "input": [1, 8, 8]}, kind=InvalidNetwork) == (
        "text: input_transform: needs an input of 3 channels, but it has 1; set it to false"
    )


def test_norms_are_the_networks():
    graph = assemble(network("a: {block: residual, width: 4}", norm="{eps: 0.001, momentum: null}"))
    norms = [node.op for node in graph if isinstance(node.op, ops.BatchNorm2d)]
    assert norms
    assert set(norms) == {ops.BatchNorm2d(0.001, None)}


def test_stochastic_depth_grows_with_the_place_among_all_repeatable_blocks():
    stages = """
        a: {block: residual, width: 3, depth: 2}
        p: {block: pool}
        b: {block: bottleneck, width: 8, depth: 3}
        head: {block: classifier, width: classes}
        """
    graph = assemble(network(stages, drop_path="0.5"))
    drops = {node.name: node.op.p for node in graph if isinstance(node.op, ops.DropPath)}
    assert drops == {
        f"{block}.drop_path": pytest.approx(0.5 * i / 5)
        for i, block in enumerate(["a.0", "a.1", "b.0", "b.1", "b.2"])
        if i
    }
    assert not [node for node in assemble(network(stages)) if isinstance(node.op, ops.DropPath)]


def test_classes_stand_for_their_number():
    graph = assemble(network("a: {block: conv, width: classes}\nh: {block: classifier, width: classes}", classes="7"))
    assert [node.shapes[0] for node in graph if "conv" in type(node.op).__name__.lower()] == [(7, 16, 16)]
    assert graph.outputs["logits"].shape == (7,)


# Caps, by arithmetic


def quickly(call: Any, *args: Any) -> str:
    before = time.process_time()
    message = refusal(call, *args)
    assert time.process_time() - before < 1
    return message


def test_depth_has_a_cap():
    assert quickly(network, f"a: {{block: residual, width: 3, depth: {10**9}}}") == (
        "text:3:34: a.depth: must be a whole number from 1 to 1,000, but is 1,000,000,000"
    )
    assert network("a: {block: residual, width: 3, depth: 1000}").stages["a"].depth == 1000


def test_width_has_a_cap():
    assert quickly(network, f"a: {{block: residual, width: {10**9}}}") == (
        "text:3:24: a.width: must be at most 1,048,576, but is 1,000,000,000"
    )


@pytest.mark.parametrize(
    "block", ["{block: bottleneck, width: 8", "{block: dense_layer, growth: 8", "{block: conv, width: 8"]
)
@pytest.mark.parametrize("call", [assemble, cost])
def test_ops_have_a_cap(block, call):
    stages = "\n".join(f"s{i}: {block}, depth: 1000}}" for i in range(60))
    whole = network(stages)
    assert quickly(call, whole) == "text: its 60,000 blocks have more than 100,000 operations; make it shallower"


def test_blocks_have_a_cap():
    whole = network("\n".join(f"s{i}: {{block: conv, width: 8, depth: 1000}}" for i in range(101)))
    assert quickly(assemble, whole) == "text: 101,000 blocks are more than 100,000; make it shallower"


@pytest.mark.parametrize(
    ("block", "depth"),
    [
        ("conv, width: 8", 1),
        ("conv, width: 8", 4),
        ("conv, width: 8, stride: 2", 4),
        ("dense_layer, growth: 3", 9),
        ("inverted_residual, width: 6", 5),
    ],
)
def test_ops_counted_by_arithmetic_are_those_that_assembling_makes(block, depth):
    whole = network(f"a: {{block: {block}, depth: {depth}}}")
    graph = assemble(whole)
    ((_, blocks),) = blocks_in_order(whole)
    assert _count(blocks, (whole.input,)) == (len(graph.nodes) - 1, graph.outputs["logits"].shape)


def test_a_deep_network_below_the_caps_is_assembled():
    whole = network("\n".join(f"s{i}: {{block: conv, width: 3, norm: false, depth: 1000}}" for i in range(3)))
    assert len(assemble(whole).nodes) == 1 + 6000


def test_tensors_have_a_cap():
    huge = network("a: {block: conv, width: 1}", f"[3, {2**20}, {2**20}]")
    message = (
        "text: input: its output of (3, 1048576, 1048576) would have 3,298,534,883,328 elements, more than "
        "1,099,511,627,776; make it smaller"
    )
    assert quickly(assemble, huge) == quickly(cost, huge) == message
    wide = network("a: {block: linear, width: 1048576}\nb: {block: linear, width: 1048576}", "[8]")
    assert assemble(wide).outputs["logits"].shape == (2**20,)


def test_a_block_that_cannot_repeat_says_so(write):
    text = TWO.replace("x: Value, y: Value", "x: Value").replace(
        'g.mul("mul", x, y)', 'g.conv("conv", x, 4, 3, stride=2)'
    )
    text = text.replace("class Two(Block):\n", "class Two(Block):\n    stride: Literal[2] = 2\n\n")
    load_registry([write("down.py", "from typing import Literal\n" + text)])
    whole = network("a: {block: two, depth: 2}")
    assert refusal(assemble, whole) == ("text: a: two: it repeats with stride 1, which it refuses; set its depth to 1")
    assert assemble(network("a: {block: two}")).outputs["logits"].shape == (4, 8, 8)


def test_the_traceback_leads_to_the_authors_line(write):
    text = TWO.replace("x: Value, y: Value", "x: Value").replace('g.mul("mul", x, y)', 'g.linear("fc", x, 4)')
    path = write("wrong.py", text)
    load_registry([path])
    with pytest.raises(OpError) as caught:
        assemble(network("a: {block: two}"))
    lines = [str(entry.statement).strip() for entry in caught.traceback if str(entry.path) == str(path)]
    assert lines == ['return g.linear("fc", x, 4)']
