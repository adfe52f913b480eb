"""The one grammar of paths: what each means, what it changes, and what it says where it means nothing."""

from __future__ import annotations

import copy
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from blockforge.block import STAGE_KEYS
from blockforge.errors import BlockforgeError
from blockforge.paths import SETTINGS, block_names, edit, fields_of, show, split, targets, tupled, with_block
from blockforge.registry import get_registry

DOCUMENT: dict[str, Any] = {
    "input": [3, 32, 32],
    "norm": {"eps": 1e-3},
    "stages": {
        "stem": {"block": "conv", "width": 8},
        "layer1": {"block": "residual", "width": 8, "depth": 2},
        "layer2": {"block": "bottleneck", "width": 16, "ratio": 2},
        "pool": {"block": "pool"},
        "head": {"block": "classifier", "width": "classes"},
    },
}
resolve = get_registry().block
PoolClass: Any = resolve("pool")


def refusal(call: Any, *args: Any) -> str:
    with pytest.raises(BlockforgeError) as caught:
        call(*args)
    return str(caught.value)


# What a path means


def test_a_path_falls_into_parts():
    assert split("layer1.attention.reduction") == ("layer1", "attention", "reduction")
    for wrong in ("", ".", "layer1.", ".depth", "layer1..depth"):
        assert refusal(split, wrong) == (
            f"{wrong}: a path has no empty parts; write it as STAGE.FIELD, as in layer3.depth"
        )


@pytest.mark.parametrize(
    ("path", "places"),
    [
        ("classes", ["classes"]),
        ("norm.eps", ["norm.eps"]),
        ("input", ["input"]),
        ("layer1.depth", ["layer1.depth"]),
        ("layer1.attention.reduction", ["layer1.attention.reduction"]),
        ("layer*.depth", ["layer1.depth", "layer2.depth"]),
        ("layer?.width", ["layer1.width", "layer2.width"]),
        ("layer[2-9].width", ["layer2.width"]),
        ("*.ratio", ["layer2.ratio"]),
        ("*.width", ["stem.width", "layer1.width", "layer2.width", "head.width"]),
        ("*.scope", ["stem.scope", "layer1.scope", "layer2.scope", "pool.scope", "head.scope"]),
        ("*.attention.reduction", ["layer1.attention.reduction", "layer2.attention.reduction"]),
    ],
)
def test_what_a_path_means(path, places):
    found = targets(path, DOCUMENT, resolve)
    assert [show(keys) for keys in found] == places
    assert all(keys[0] == "stages" or keys[0] in SETTINGS for keys in found)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("layr1.depth", "layr1.depth: no stage 'layr1'; did you mean 'layer1' or 'layer2'? there are stem, layer1, "
                        "layer2, pool, head"),
        ("clases", "clases: no stage 'clases'; did you mean 'classes'? there are stem, layer1, layer2, pool, head"),
        ("in_channels", "in_channels: no stage 'in_channels'; did you mean 'input'? there are stem, layer1, layer2, "
                        "pool, head"),
        ("scale.width", "scale.width: scale is a key of files, not of edits; write a file such as {extends: NAME, "
                        "scale: {width: 0.5}}"),
        ("stages.pool", "stages.pool: stages is a key of files, not of edits; write a file such as {extends: NAME, "
                        "stages: {layer4: null}}"),
        ("block9*.depth", "block9*.depth: no stage matches 'block9*'; there are stem, layer1, layer2, pool, head"),
        ("Layer*.depth", "Layer*.depth: no stage matches 'Layer*'; there are stem, layer1, layer2, pool, head"),
        ("layer1", "layer1: names a whole stage; write layer1.FIELD, as in layer1.depth"),
        ("layer*", "layer*: names whole stages; write layer*.FIELD, as in layer*.depth"),
        ("pool*.widht", "pool*.widht: none of the stages pool has a parameter 'widht'; they have block, ceil_mode, "
                        "count_include_pad, depth, from, kernel, kind, padding, scale, scope, stride"),
        ("layer*.radio", "layer*.radio: none of the stages layer1, layer2 has a parameter 'radio'; did you mean "
                         "'ratio'? "
                         "they have attention, attention_name, bias, block, depth, from, groups, pre_activation, "
                         "ratio, reduce_first, scale, scope, shortcut, shortcut_kernel, shortcut_norm, stride, "
                         "stride_on, width"),
    ],
)  # fmt: skip
def test_what_a_path_that_means_nothing_says(path, message):
    assert refusal(targets, path, DOCUMENT, resolve) == message


def test_a_document_without_stages():
    assert refusal(targets, "z.depth", {}, resolve) == "z.depth: no stage 'z'; there are none"
    assert refusal(targets, "a*.depth", {}, resolve) == "a*.depth: no stage matches 'a*'; there are none"


def test_a_stage_has_the_fields_of_every_block_that_it_may_be_of():
    assert fields_of({"block": "pool"}, resolve) == [*STAGE_KEYS, *PoolClass.model_fields]
    assert fields_of({"block": 3}, resolve) == fields_of("nonsense", resolve) == list(STAGE_KEYS)
    choice = {"choice": ["residual", {"block": "bottleneck", "ratio": 2}]}
    assert block_names(choice) == ["residual", "bottleneck"]
    assert {"shortcut", "ratio"} <= set(fields_of({"block": choice}, resolve))
    document = {"stages": {"layer1": {"block": "residual"}, "layer2": {"block": choice}}}
    assert [keys[1] for keys in targets("layer*.ratio", document, resolve)] == ["layer2"]


# Edits


def test_an_edit_sets_a_value_everywhere_that_the_path_means():
    new, notes, changed = edit(DOCUMENT, "layer*.width", 4, resolve)
    assert [stage.get("width") for stage in new["stages"].values()] == [8, 4, 4, None, "classes"]
    assert (notes, len(changed)) == ([], 2)
    new, _, _ = edit(DOCUMENT, "norm.momentum", 0.5, resolve)
    assert new["norm"] == {"eps": 1e-3, "momentum": 0.5}
    new, _, _ = edit(DOCUMENT, "init.conv", "zeros", resolve)
    assert new["init"] == {"conv": "zeros"}


def test_another_block_keeps_what_it_has_and_drops_the_rest():
    new, notes, _ = edit(DOCUMENT, "layer*.block", "residual", resolve)
    assert new["stages"]["layer2"] == {"block": "residual", "width": 16}
    assert notes == ["layer2: residual has no ratio; dropped"]
    new, notes, _ = edit(DOCUMENT, "layer2.block", {"block": "pool", "kernel": 3}, resolve)
    assert new["stages"]["layer2"] == {"block": "pool", "kernel": 3}
    assert notes == ["layer2: pool has no width, ratio; dropped"]
    new, notes, _ = edit(DOCUMENT, "layer2.block", {"block": "bottleneck", "ratio": 4}, resolve)
    assert (new["stages"]["layer2"], notes) == ({"block": "bottleneck", "width": 16, "ratio": 4}, [])


def test_a_nested_block_is_edited_by_its_fields():
    new, _, _ = edit(DOCUMENT, "layer*.attention", "squeeze_excitation", resolve)
    new, notes, _ = edit(new, "layer*.attention.reduction", 4, resolve)
    assert [new["stages"][name]["attention"] for name in ("layer1", "layer2")] == [
        {"block": "squeeze_excitation", "reduction": 4}
    ] * 2
    assert notes == []
    new, notes, _ = edit(new, "layer1.attention.block", "conv", resolve)
    assert new["stages"]["layer1"]["attention"] == {"block": "conv"}
    assert new["stages"]["layer1"]["block"] == "residual"
    assert notes == ["layer1: conv has no reduction; dropped"]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("layer1.attention.reduction", 4, "layer1.attention.reduction: attention is null here, which has no "
                                          "'reduction'; "
                                          "set attention first"),
        ("layer1.width.x", 4, "layer1.width.x: width is 8 here, which has no 'x'; set width first"),
        ("classes.x", 4, "classes.x: classes is null here, which has no 'x'; set classes first"),
        ("layer1.block", 3, "layer1.block: must be a block's name or {block: NAME, ...}, but is 3"),
        ("layer1.block", {"width": 3}, "layer1.block: must be a block's name or {block: NAME, ...}, but is {'width': "
                                       "3}"),
        ("layer1.block", "residul", "layer1.block: residul: no block of this name; did you mean 'residual'? "
                                    "`blockforge list --blocks` lists all"),
    ],
)  # fmt: skip
def test_an_edit_that_cannot_be(path, value, message):
    assert refusal(edit, DOCUMENT, path, value, resolve) == message


PATHS = ["layer1.width", "layer*.width", "*.depth", "norm.eps", "classes", "layer2.block", "layer1.attention"]


@given(st.lists(st.tuples(st.sampled_from(PATHS), st.integers(1, 9)), max_size=5))
def test_nothing_is_changed_in_place(edits):
    before = copy.deepcopy(DOCUMENT)
    document: Any = DOCUMENT
    for path, number in edits:
        value: Any = {
            "layer2.block": "conv",
            "layer1.attention": {"block": "squeeze_excitation", "reduction": number},
        }.get(path, number)
        last, (document, _, changed) = copy.deepcopy(document), edit(document, path, value, resolve)
        for keys in changed:
            place: Any = document
            for key in keys:
                place = place[key]
            assert place == value
        untouched = {"stages", *(keys[0] for keys in changed)}
        assert {key: item for key, item in document.items() if key not in untouched} == {
            key: item for key, item in last.items() if key not in untouched
        }
    assert before == DOCUMENT


# Plain data


def test_lists_become_tuples():
    assert tupled({"a": [1, [2, 3]]}) == {"a": (1, (2, 3))}


def test_with_block_leaves_the_given_stage_as_it_is():
    stage = {"block": "bottleneck", "ratio": 2, "depth": 3, "scope": "x", "from": "input"}
    assert with_block(stage, "residual", resolve) == (
        {"block": "residual", "depth": 3, "scope": "x", "from": "input"},
        ["ratio"],
    )
    assert stage["ratio"] == 2
