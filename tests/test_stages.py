"""Stages made of plain data: parameters, depth, sources and scope, and the mistakes of each."""

from __future__ import annotations

import pytest

from blockforge.documents import Flat
from blockforge.registry import get_registry
from blockforge.stages import make_stage, read_sources


def make(raw, sources=("input",), classes=5):
    flat = Flat(marks={(): "net"})
    return make_stage("a", raw, sources, classes, get_registry(), flat), flat.mistakes


def sources_of(stages):
    flat = Flat(marks={(): "net"})
    return read_sources(stages, flat), flat.mistakes


def test_a_stage_has_defaults():
    stage, _ = make({"block": "residual"})
    assert (stage.name, stage.depth, stage.sources, stage.scope) == ("a", 1, ("input",), "a.{n}")
    assert stage.block == get_registry().block("residual")()
    assert make({"block": "pool"})[0].scope == "a"  # not repeatable
    assert make({"block": "residual", "scope": ""})[0].scope == ""
    assert make({"block": "residual", "scope": "b.{n+1}", "depth": 1000})[0].depth == 1000


def test_classes_stand_for_their_number():
    assert make({"block": "classifier", "width": "classes"}, classes=7)[0].block.width == 7


def test_equal_stages_share_a_block_and_types_count():
    assert make({"block": "conv", "width": 9})[0].block is make({"block": "conv", "width": 9})[0].block
    assert make({"block": "conv", "width": 1})[1] == []
    assert make({"block": "conv", "width": True})[1] == ["net: a.width: must be a whole number, but is True"]


def test_each_stage_reads_the_one_before_unless_it_says_otherwise():
    stages = {"a": {}, "b": {}, "c": {"from": "a"}, "d": {"from": ["b", "c"]}, "e": {"from": []}, "f": 3}
    found, mistakes = sources_of(stages)
    assert found == {"a": ("input",), "b": ("a",), "c": ("a",), "d": ("b", "c"), "e": (), "f": ("e",)}
    assert mistakes == []


@pytest.mark.parametrize("name", ["input", "classes", "a.b", "", "a b", "é"])
def test_names_that_no_stage_may_have(name):
    assert sources_of({name: {}})[1] == [
        f"net: {name}: is no name for a stage; use letters, digits, '_' and '-', and no key of a network"
        if name
        else "net: is no name for a stage; use letters, digits, '_' and '-', and no key of a network"
    ]


@pytest.mark.parametrize("value", [3, None, ["b", 3]])
def test_sources_are_names(value):
    assert sources_of({"a": {"from": value}})[1] == [
        f"net: a.from: must be a stage's name or a list of them, but is {value!r}"
    ]


_SEARCH = "is a choice for a search to make; give a value, or use the file with `blockforge search`"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (3, ": a stage must be a mapping such as {block: residual, width: 64}, but is 3"),
        ({"depth": 2}, ": a stage needs a block; write `block: NAME`"),
        ({"block": [1]}, ".block: must be a block's name, but is [1]"),
        (
            {"block": "residul"},
            ".block: residul: no block of this name; did you mean 'residual'? `blockforge list --blocks` lists all",
        ),
        ({"block": "conv", "depth": 0}, ".depth: must be a whole number from 1 to 1,000, but is 0"),
        (
            {"block": "conv", "depth": 10**9},
            ".depth: must be a whole number from 1 to 1,000, but is 1,000,000,000",
        ),
        ({"block": "conv", "depth": True}, ".depth: must be a whole number from 1 to 1,000, but is True"),
        ({"block": "conv", "depth": "any"}, f".depth: any {_SEARCH}"),
        ({"block": "conv", "scope": 3}, ".scope: must be text, such as features.{n}, but is 3"),
        ({"block": "conv", "width": 10**9}, ".width: must be at most 1,048,576, but is 1,000,000,000"),
        ({"block": "conv", "width": {"range": [1, 2]}}, f".width: {{'range': [1, 2]}} {_SEARCH}"),
        (
            {"block": "residual", "shortcut": "b"},
            ".shortcut: must be 'none', 'A', 'B' or 'C', but is 'b'; did you mean 'B'?",
        ),
        (
            {"block": "residual", "attention": {"block": "squeeze_excitation", "reduction": 0}},
            ".attention.reduction: must be at least 1, but is 0",
        ),
    ],
)
def test_mistakes(raw, message):
    stage, mistakes = make(raw)
    assert stage is None
    assert mistakes == [f"net: a{message}"]


def test_a_block_of_one_input_takes_one():
    assert make({"block": "conv"}, ("b", "c"))[1] == [
        "net: a.from: block conv takes 1 input, but `from` gives 2 (b, c); "
        "join them first with a stage of block `add` or `concat`"
    ]
    assert make({"block": "add"}, ("b", "c", "d"))[1] == []
