"""What a file's entry extends, merged in key by key; and the place in the file of every mistake."""

from __future__ import annotations

from textwrap import dedent

import pytest

from blockforge import Network, get_network
from blockforge.documents import entries, flatten, is_hole
from blockforge.errors import InvalidNetwork
from blockforge.files import parse_yaml
from blockforge.registry import get_registry
from blockforge.study.space import space_from_yaml

_LAYERS = "stem, layer1, layer2, layer3, layer4, head"


def flat_of(text, name="a", *, space=False):
    found = entries(parse_yaml(dedent(text), "nets.yaml"))
    return flatten(found[name] if name in found else next(iter(found.values())), get_registry(), space=space)


def mistakes_of(text, name="a", *, space=False):
    try:
        return flat_of(text, name, space=space).mistakes
    except InvalidNetwork as error:
        return list(error.mistakes)


def test_stages_are_merged_key_by_key_then_edited():
    flat = flat_of(
        """\
        a: {extends: b, classes: 7, stages: {layer1: {depth: 4}}, set: {layer*.width: 32}}
        b: {extends: resnet18, classes: 5, stages: {layer1: {depth: 3, width: 16}, layer2: {shortcut: A}}}
        """
    )
    stages = flat.value["stages"]
    assert flat.value["classes"] == 7
    assert flat.value["input"] == [3, 224, 224]
    assert stages["layer1"] == {"block": "residual", "width": 32, "depth": 4}
    assert stages["layer2"] == {"block": "residual", "width": 32, "depth": 2, "stride": 2, "shortcut": "A"}
    assert "name" not in flat.value
    assert flat.mistakes == flat.notes == []
    assert flat.where(("stages", "layer1", "depth")) == "nets.yaml:1:47"
    assert flat.where(("stages", "layer2", "width")) == "nets.yaml:1:65"  # the edit has the last word
    assert flat.where(("stages", "layer2", "shortcut")) == "nets.yaml:2:85"
    assert flat.where(("stages", "layer3", "depth")) == "nets.yaml:1:29"  # the nearest thing around it


def test_null_removes_a_stage_and_after_places_one():
    flat = flat_of(
        """\
        a:
          extends: resnet18
          stages:
            layer4: null
            extra: {block: conv, width: 3, after: stem}
            layer1: {after: layer3}
            last: {block: conv}
        """
    )
    assert [*flat.value["stages"]] == ["stem", "extra", "layer2", "layer3", "layer1", "head", "last"]
    assert flat.value["stages"]["extra"] == {"block": "conv", "width": 3}
    assert flat.value["stages"]["layer1"] == {"block": "residual", "width": 64, "depth": 2}


def test_another_block_drops_what_it_lacks():
    flat = flat_of("a: {extends: seresnet50, stages: {layer1: {block: conv}, layer2: {block: residual, width: 3}}}")
    assert flat.value["stages"]["layer1"] == {"block": "conv", "width": 256, "depth": 3}
    assert flat.value["stages"]["layer2"]["width"] == 3
    assert flat.notes == ["layer1: conv has no attention; dropped"]


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        (
            "a: {extends: resnet19}",
            [
                "1:5: extends: resnet19: no network of this name; did you mean 'resnet18', 'resnet152' or "
                "'resnet110'? `blockforge list --networks` lists all"
            ],
        ),
        (
            "a: {extends: b}\nb: {extends: c}\nc: {extends: a}",
            ["1:5: extends: the networks a -> b -> c -> a extend each other in a cycle; change an `extends`"],
        ),
        (
            "a: {extends: a}",
            ["1:5: extends: the networks a -> a extend each other in a cycle; change an `extends`"],
        ),
        ("a: {extends: nowhere.yaml}", ["1:5: extends: nowhere.yaml: no such file; check the path"]),
        (
            "a: {extends: resnet18, stages: {layer9: null, b: {block: conv, after: lyer1}}}",
            [
                "1:33: layer9: null removes a stage, but there is none; "
                f"did you mean 'layer4', 'layer3' or 'layer2'? there are {_LAYERS}",
                "1:64: b.after: no other stage 'lyer1'; did you mean 'layer1', 'layer4' or 'layer3'? "
                f"there are {_LAYERS}",
            ],
        ),
        (
            "a: {extends: resnet18, stages: {layer1: 3}, set: 3}",
            [
                "1:33: layer1: a stage must be a mapping such as {block: residual, width: 64}, but is 3",
                "1:45: set: must be a mapping from paths to values, but is 3",
            ],
        ),
        (
            "a: {extends: resnet18, stages: 3}",
            ["1:24: must be a mapping from names to stages, but is 3"],
        ),
        (
            "a: {extends: resnet18, sett: {}, vary: {}}",
            [
                "1:24: sett: no such key of a network; did you mean 'set'?",
                "1:34: vary: no such key of a network; this is a search space, so use it with `blockforge search`",
            ],
        ),
        (
            "a: {extends: resnet18, set: {layr1.depth: 3, layer1.block: 3}}",
            [
                "1:30: layr1.depth: no stage 'layr1'; did you mean 'layer1', 'layer4' or 'layer3'? "
                f"there are {_LAYERS}",
                "1:46: layer1.block: must be a block's name or {block: NAME, ...}, but is 3",
            ],
        ),
        (
            "a: {extends: b, classes: 3}\nb: {extends: resnet18, sett: 1}",
            ["2:24: sett: no such key of a network; did you mean 'set'?"],
        ),
    ],
)
def test_mistakes_stand_where_they_were_made(text, mistakes):
    assert mistakes_of(text) == [f"nets.yaml:{mistake}" for mistake in mistakes]


def test_a_files_own_network_may_be_named_as_the_registered_one_that_it_extends():
    flat = flat_of("resnet18: {extends: resnet18, classes: 3}\nb: {extends: resnet18}", "b")
    assert (flat.value["classes"], len(flat.value["stages"])) == (3, 6)


def test_a_space_has_a_base_and_choices():
    flat = flat_of("base: resnet18\nvary: {layer1.depth: {choice: [1, 2]}, layer2.block: any}\n", space=True)
    assert flat.value["stages"]["layer1"]["depth"] == {"choice": [1, 2]}
    assert flat.value["stages"]["layer2"]["block"] == "any"
    assert mistakes_of("base: resnet18\nextends: resnet50\nvary: {layer1.depth: any}\n", space=True) == [
        "nets.yaml:2:1: extends: `base` says it already; remove one of them",
    ]


def test_a_file_holds_one_network_or_many():
    assert [*entries(parse_yaml("extends: resnet18", "dir/my.net.yaml"))] == ["my.net"]
    assert [*entries(parse_yaml("name: x\nextends: resnet18", "y.yaml"))] == ["x"]
    assert [*entries(parse_yaml("a: {}\nb: {}", "y.yaml"))] == ["a", "b"]
    with pytest.raises(InvalidNetwork) as caught:
        entries(parse_yaml("- 1", "y.yaml"))
    assert str(caught.value) == (
        "y.yaml: holds no mapping; write a network's keys: "
        "name, about, paper, input, input_transform, preprocess, classes, norm, drop_path, init, outputs, extends, "
        "stages, scale, set"
    )


def test_holes():
    assert all(map(is_hole, ("any", {"choice": [1]}, {"range": [1, 2]})))
    assert not any(map(is_hole, ("all", {"block": "x", "range": 3}, {"a": 1}, 3, None, ["any"])))


# One mistake at several stages


def test_a_mistake_that_a_path_makes_at_all_its_stages_is_told_once() -> None:
    text = """\
extends: resnet18
set:
  layer*.width: -3
  "layer[12].attention": {block: squeeze_excitation, reductn: 3}
  layer*.shortcut: bogus
  layer4.shortcut: C
"""
    with pytest.raises(InvalidNetwork) as caught:
        Network.from_yaml(text)
    shortcut = "shortcut: must be 'none', 'A', 'B' or 'C', but is 'bogus'"
    lines = [line.partition("; ")[0] for line in caught.value.mistakes]
    assert lines == [
        "text:3:3: layer*.width: must be at least 1, but is -3 (4 stages)",
        f"text:5:3: layer1.{shortcut}",
        "text:4:3: layer[12].attention.reductn: block squeeze_excitation has no parameter 'reductn'",
        f"text:5:3: layer2.{shortcut}",
        f"text:5:3: layer3.{shortcut}",
    ]
    assert caught.value.mistakes[2].endswith(" (2 stages)")


def test_an_edit_in_python_and_a_space_tell_it_once_too() -> None:
    message = (
        "layer*.attention: ecaa: no block of this name; `blockforge list --blocks` lists all; one of a plugin file "
    )
    with pytest.raises(InvalidNetwork) as caught:
        get_network("resnet18").set({"layer*.attention": "ecaa"})
    assert str(caught.value) == f"resnet18: {message}needs --plugin FILE (4 stages)"
    with pytest.raises(InvalidNetwork) as caught:
        space_from_yaml("base: resnet18\nvary: {layer*.attention: {choice: [null, ecaa]}}\n")
    assert str(caught.value) == f"space:2:8: {message}needs --plugin FILE (4 stages)"
    with pytest.raises(InvalidNetwork) as caught:
        get_network("resnet18").set({"layer*.attention": "ecaa", "layer4.attention": None})
    assert len(caught.value.mistakes) == 3
