"""The identity of a network: equal for equal functions of equal structure, and for nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, make_dataclass, replace
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from blockforge import Block, Network, get_network, ops
from blockforge.assembler import graph_of
from blockforge.files import dump_yaml
from blockforge.graph import Graph, Value
from blockforge.ops import Op, Shape
from blockforge.scope import Scope


def new(*shapes: Shape) -> tuple[Graph, Scope, list[Value]]:
    """A graph with inputs of these shapes, and its outermost scope."""
    graph = Graph()
    values = [graph.input(shape, f"x{i}" if i else "x") for i, shape in enumerate(shapes or [(4, 8, 8)])]
    return graph, Scope(graph), values


def hash_of(make: Callable[[Scope, Value], Value], shape: Shape = (4, 8, 8)) -> str:
    """The hash of what a function adds to one input."""
    graph, g, (x,) = new(shape)
    graph.outputs["y"] = make(g, x)
    return graph.hash()


SAMPLES: dict[type[Op], tuple[Op, Shape, dict[str, object]]] = {
    ops.AdaptiveAvgPool2d: (ops.AdaptiveAvgPool2d(2), (4, 8, 8), {"size": 4}),
    ops.AvgPool2d: (
        ops.AvgPool2d(3, 2, 1),
        (4, 8, 8),
        {"kernel": 2, "stride": 1, "padding": 0, "ceil_mode": True, "count_include_pad": False},
    ),
    ops.BatchNorm1d: (ops.BatchNorm1d(), (4,), {"eps": 1e-3}),
    ops.BatchNorm2d: (ops.BatchNorm2d(), (4, 8, 8), {"eps": 1e-3}),
    ops.ChannelAffine: (
        ops.ChannelAffine((1.0,) * 4, (2.0,) * 4),
        (4, 8, 8),
        {"scale": (3.0,) * 4, "shift": (3.0,) * 4},
    ),
    ops.ChannelShuffle: (ops.ChannelShuffle(2), (4, 8, 8), {"groups": 4}),
    ops.Conv2d: (
        ops.Conv2d(4, 3, 1, 1, 1, 1, bias=False),
        (4, 8, 8),
        {"out_channels": 8, "kernel": (3, 1), "stride": 2, "padding": 2, "dilation": 2, "groups": 2, "bias": True},
    ),
    ops.Conv2dSame: (
        ops.Conv2dSame(4, 3, 1, dilation=1, groups=1, bias=False),
        (4, 8, 8),
        {"out_channels": 8, "kernel": (3, 1), "stride": 2, "dilation": 2, "groups": 2, "bias": True},
    ),
    ops.LayerNorm: (ops.LayerNorm(), (4, 8, 8), {"axes": 2, "eps": 1e-3, "affine": False}),
    ops.Linear: (ops.Linear(4), (4,), {"out_features": 5, "bias": False}),
    ops.LocalResponseNorm: (ops.LocalResponseNorm(5), (4, 8, 8), {"size": 3, "alpha": 1e-3, "beta": 0.5, "k": 2.0}),
    ops.MaxPool2d: (
        ops.MaxPool2d(3, 2, 1),
        (4, 8, 8),
        {"kernel": 2, "stride": 1, "padding": 0, "dilation": 2, "ceil_mode": True},
    ),
    ops.Split: (ops.Split(2), (4, 8, 8), {"parts": 4}),
    ops.ZeroPadShortcut: (ops.ZeroPadShortcut(8), (4, 8, 8), {"width": 6, "stride": 2}),
}
NOT_IDENTITY = {ops.BatchNorm1d: {"momentum"}, ops.BatchNorm2d: {"momentum"}, ops.Conv2dSame: {"padding"}}


def op_hash(op: Op, shape: Shape) -> str:
    return hash_of(lambda g, x: g.outputs("op", op, x)[0], shape)


@pytest.mark.parametrize("kind", SAMPLES, ids=lambda kind: kind.__name__)
def test_every_argument_of_an_op_is_part_of_the_hash(kind):
    op, shape, changes = SAMPLES[kind]
    assert {field.name for field in fields(kind)} - NOT_IDENTITY.get(kind, set()) == set(changes)
    hashes = [op_hash(op, shape), *(op_hash(replace(op, **{key: value}), shape) for key, value in changes.items())]
    assert len(set(hashes)) == len(hashes)


def test_every_op_with_arguments_has_a_sample():
    exported = [getattr(ops, name) for name in ops.__all__]
    kinds = [kind for kind in exported if isinstance(kind, type) and issubclass(kind, Op) and fields(kind)]
    assert set(kinds) == {*SAMPLES, ops.Input, ops.Dropout, ops.DropPath}


def test_ops_without_arguments_differ_by_their_kind():
    hashes = {hash_of(lambda g, x, kind=kind: g.activation("a", x, kind)) for kind in ops.ACTIVATIONS}
    hashes |= {op_hash(ops.Mean(), (4, 8, 8)), op_hash(ops.Flatten(), (4, 8, 8)), op_hash(ops.Concat(), (4, 8, 8))}
    assert len(hashes) == len(ops.ACTIVATIONS) + 3


def test_ops_of_one_name_from_two_plugins_differ():
    def scale(module: str) -> Op:
        kind = make_dataclass("Scale", [], bases=(ops.ReLU,), frozen=True)
        kind.__module__ = module
        return kind()

    assert repr(scale("one")) == repr(scale("two"))
    assert op_hash(scale("one"), (4, 8, 8)) != op_hash(scale("two"), (4, 8, 8))
    assert op_hash(scale("one"), (4, 8, 8)) == op_hash(scale("one"), (4, 8, 8))


def test_the_input_shape_is_part_of_the_hash():
    assert len({hash_of(lambda g, x: g.relu("a", x), shape) for shape in [(4, 8, 8), (8, 4, 8), (4, 4, 8), (4,)]}) == 4


def test_dropout_and_stochastic_depth_are_not_part_of_the_hash():
    plain = hash_of(lambda g, x: g.relu("a", x))
    assert plain == hash_of(lambda g, x: g.relu("a", g.dropout("d", x, 0.3)))
    assert plain == hash_of(lambda g, x: g.dropout("d", g.relu("a", x), 0.9))
    assert plain == hash_of(lambda g, x: g.relu("a", g.op("p", ops.DropPath(0.2), g.op("i", ops.Identity(), x))))


def test_the_momentum_of_a_norm_is_not_part_of_the_hash():
    assert op_hash(ops.BatchNorm2d(momentum=0.1), (4, 8, 8)) == op_hash(ops.BatchNorm2d(momentum=None), (4, 8, 8))


def test_sharing_one_convolution_is_not_using_two_equal_ones():
    def shared(g: Scope, x: Value) -> Value:
        y = g.conv("a", x, 4)
        return g.add("sum", y, y)

    def separate(g: Scope, x: Value) -> Value:
        return g.add("sum", g.conv("a", x, 4), g.conv("b", x, 4))

    assert hash_of(shared) != hash_of(separate)


def test_who_reads_which_of_two_equal_convolutions_matters():
    # c and d read a twice, or a and b once each: all four convolutions have equal makers in either case.
    def crossed(g: Scope, x: Value, second: str) -> Value:
        y = {"a": g.conv("a", x, 4), "b": g.conv("b", x, 4)}
        c, d = g.conv("c", y["a"], 4), g.conv("d", y[second], 4)
        return g.concat("join", c, d, y["b"])

    assert hash_of(lambda g, x: crossed(g, x, "a")) != hash_of(lambda g, x: crossed(g, x, "b"))


def test_the_order_of_operands_matters():
    def join(g: Scope, x: Value, turned: bool) -> Value:
        pair = [g.relu("a", x), g.sigmoid("b", x)]
        return g.concat("join", *(pair[::-1] if turned else pair))

    assert hash_of(lambda g, x: join(g, x, turned=False)) != hash_of(lambda g, x: join(g, x, turned=True))


@pytest.mark.parametrize("parts", [2, 300])
def test_the_port_of_an_operand_matters(parts):
    def pick(g: Scope, x: Value, port: int) -> Value:
        return g.relu("a", g.split("s", x, parts)[port])

    picked = {hash_of(lambda g, x, port=port: pick(g, x, port), (600, 1, 1)) for port in (0, 1, parts - 1)}
    assert len(picked) == len({0, 1, parts - 1})


def test_which_value_is_the_output_matters():
    graph, g, (x,) = new()
    y, z = g.relu("a", x), g.relu("b", x)
    g.sigmoid("c", y)
    graph.outputs["y"] = y
    first = graph.hash()
    graph.outputs["y"] = z
    assert graph.hash() != first


def test_a_hash_is_the_same_in_another_process():
    code = "import blockforge; print(blockforge.get_network('googlenet').hash)"
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert hashes == {get_network("googlenet").hash}


def test_resnet18_written_flat_has_the_hash_of_the_one_that_extends():
    flat = Network.from_yaml(get_network("resnet18_cifar").to_yaml(flat=True))
    assert "extends" not in flat.document
    assert flat.hash == get_network("resnet18_cifar").hash != get_network("resnet18").hash


# Random networks: a stem, branches of stages beside each other, joined by a concat, and a head

STAGE = st.one_of(
    st.fixed_dictionaries(
        {"block": st.just("conv"), "width": st.sampled_from([4, 6]), "kernel": st.sampled_from([1, 3]),
         "activation": st.sampled_from(["relu", "silu", None]), "depth": st.integers(1, 2)}
    ),
    st.fixed_dictionaries(
        {
            "block": st.just("residual"),
            "width": st.sampled_from([4, 6]),
            "shortcut": st.sampled_from(["none", "B", "C"]),
        }
    ),
    st.fixed_dictionaries({"block": st.just("squeeze_excitation"), "reduction": st.sampled_from([1, 2])}),
)  # fmt: skip


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    branches = draw(st.lists(st.lists(STAGE, min_size=1, max_size=3), min_size=1, max_size=3))
    stages: dict[str, Any] = {"stem": {"block": "conv", "width": 4, "from": "input"}}
    ends = []
    for i, branch in enumerate(branches):
        before = "stem"
        for j, stage in enumerate(branch):
            stages[f"b{i}_{j}"] = {**stage, "from": before}
            before = f"b{i}_{j}"
        ends.append(before)
    stages["join"] = {"block": "concat", "from": ends}
    stages["head"] = {"block": "classifier", "width": "classes", "dropout": 0.1, "from": "join"}
    return {"input": [3, 8, 8], "classes": 10, "stages": stages}


def network_of(document: dict[str, Any]) -> Network:
    return Network.from_yaml(dump_yaml(document))


@settings(max_examples=40)
@given(documents(), st.data())
def test_names_and_file_order_and_training_are_not_part_of_the_hash(document, data):
    stages = document["stages"]
    order = [*data.draw(st.permutations([name for name in stages if name != "head"])), "head"]
    names = dict(zip(stages, data.draw(st.permutations([f"s{i}" for i in range(len(stages))])), strict=True))
    names["input"] = "input"
    renamed: dict[str, Any] = {}
    for name in order:
        stage = dict(stages[name])
        source = stage["from"]
        stage["from"] = names[source] if isinstance(source, str) else [names[each] for each in source]
        stage["scope"] = f"net.{names[name]}.{{n}}"
        renamed[names[name]] = stage
    renamed[names["head"]]["dropout"] = data.draw(st.sampled_from([None, 0.0, 0.7]))
    other = network_of(
        {
            **document,
            "stages": renamed,
            "name": "other",
            "about": "something else",
            "norm": {"momentum": data.draw(st.sampled_from([0.01, None]))},
            "drop_path": data.draw(st.sampled_from([0.0, 0.3])),
            "init": {"conv": "zeros"},
        }
    )
    assert other.hash == network_of(document).hash


def _edited(stage: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {**stage, **fields}


@settings(max_examples=40)
@given(documents(), st.data())
def test_every_change_of_function_changes_the_hash(document, data):
    stages = document["stages"]
    name = data.draw(st.sampled_from([name for name in stages if name.startswith("b")]))
    stage = stages[name]
    last = next(end for end in stages["join"]["from"] if end[:2] == name[:2])
    changes: dict[str, Any] = {
        "eps": {"norm": {"eps": 1e-3}},
        "input": {"input": [3, 9, 8]},
        "classes": {"classes": 11},
        "deeper": {"stages": {**stages, name: _edited(stage, depth=stage.get("depth", 1) + 1)}},
        "removed": {"stages": {key: value for key, value in stages.items() if key[:2] != name[:2]}},
        "rewired": {
            "stages": {**stages, "join": _edited(stages["join"], **{"from": [*stages["join"]["from"], "stem"]})}
        },
    }
    if stage["block"] == "conv":
        changes["width"] = {"stages": {**stages, name: _edited(stage, width=5)}}
        changes["bias"] = {"stages": {**stages, name: _edited(stage, bias=True)}}
        changes["kernel"] = {"stages": {**stages, name: _edited(stage, kernel=5)}}
    if stage["block"] == "residual":
        changes["width"] = {"stages": {**stages, name: _edited(stage, width=5)}}
        changes["attention"] = {"stages": {**stages, name: _edited(stage, attention="squeeze_excitation")}}
    if stage["block"] == "squeeze_excitation":
        changes["gate"] = {"stages": {**stages, name: _edited(stage, gate="hardsigmoid")}}
    del changes["removed"]["stages"]["join"], changes["removed"]["stages"]["head"]
    others = [end for end in stages["join"]["from"] if end != last]
    changes["removed"]["stages"] |= {
        "join": _edited(stages["join"], **{"from": others or ["stem"]}),
        "head": stages["head"],
    }
    hashes = {key: network_of({**document, **change}).hash for key, change in changes.items()}
    hashes["as it was"] = network_of(document).hash
    assert len(set(hashes.values())) == len(hashes)


def test_turning_the_operands_of_a_concat_changes_the_hash_unless_they_are_alike():
    def turned(first: int, second: int) -> set[str]:
        stages = {
            "a": {"block": "conv", "width": first, "from": "input"},
            "b": {"block": "conv", "width": second, "from": "input"},
        }
        sources = (["a", "b"], ["b", "a"])
        joins = [{**stages, "join": {"block": "concat", "from": each}} for each in sources]
        return {network_of({"input": [3, 8, 8], "stages": join}).hash for join in joins}

    assert len(turned(4, 6)) == 2
    assert len(turned(4, 4)) == 1


def test_a_blocks_graph_alone_has_a_hash_too():
    class Twice(Block):
        def expand(self, g: Scope, x: Value) -> Value:
            return g.add("sum", x, x)

    assert graph_of(Twice(), (4, 8, 8)).hash() == hash_of(lambda g, x: g.add("sum", x, x))
