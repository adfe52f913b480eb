"""Holes: what each may be, what an option brings, which are asked for, and what is said of a wrong one."""

from __future__ import annotations

from typing import Any

import pytest

from blockforge.errors import InvalidNetwork
from blockforge.registry import load_registry
from blockforge.study.holes import Hole
from blockforge.study.space import Space, space_from_yaml

BASE = """\
base: resnet18_cifar
set: {input: [1, 8, 8], classes: 10, stem.width: 8}
vary:
"""


def space_of(*vary: str, end: str = "") -> Space:
    """A space over a small residual network with these lines under `vary`."""
    return space_from_yaml(BASE + "".join(f"  {line}\n" for line in vary) + end, "space.yaml")


def holes_of(space: Space) -> dict[str, Any]:
    """Each hole by its parameter, as what it may be."""
    return {
        hole.parameter: list(hole.labels) if hole.labels is not None else (hole.low, hole.high, hole.step)
        for hole in space.holes
    }


def choose(**indices: float) -> Any:
    """Chooses by parameter, dots written as two underscores; the first elsewhere."""
    given = {name.replace("__", "."): value for name, value in indices.items()}
    return lambda hole: given.get(hole.parameter, hole.first)


def mistakes(text: str) -> list[str]:
    with pytest.raises(InvalidNetwork) as caught:
        space_from_yaml(text, "space.yaml")
    assert caught.value.exit_code == 2
    return list(caught.value.mistakes)


def mistake(*vary: str) -> str:
    """The only mistake of a space with these lines under `vary`, without its file."""
    (only,) = mistakes(BASE + "".join(f"  {line}\n" for line in vary))
    return only.removeprefix("space.yaml:")


# What may stand where


def test_the_kinds_of_holes():
    space = space_of(
        "layer1.width: {choice: [8, 16]}",
        "layer2.depth: {range: [1, 3]}",
        "layer3.width: {range: [8, 32, 8]}",
        "layer4.shortcut: any",
        "drop_path: {range: [0.0, 0.4, 0.1]}",
        "stem.kernel: any",
        "stem.pool: {choice: [null, max]}",
    )
    assert holes_of(space) == {
        "drop_path": (0.0, 0.4, 0.1),
        "stem.kernel": [3, 5, 7],
        "stem.pool": [None, "max"],
        "layer1.width": [8, 16],
        "layer2.depth": (1, 3, 1),
        "layer3.width": (8, 32, 8),
        "layer4.shortcut": ["none", "A", "B", "C"],
    }
    network = space.draw(choose(stem__pool=1, layer2__depth=3, layer3__width=24, layer1__width=1, drop_path=0.2))
    assert (network.stages["stem"].block.pool, network.stages["stem"].block.kernel) == ("max", 3)
    assert (network.stages["layer2"].depth, network.stages["layer3"].block.width) == (3, 24)
    assert (network.stages["layer1"].block.width, network.settings.drop_path) == (16, 0.2)


def test_a_glob_makes_a_hole_of_each_stage():
    space = space_of("layer*.width: {choice: [8, 16]}")
    assert holes_of(space) == {f"layer{i}.width": [8, 16] for i in range(1, 5)}
    network = space.draw(choose(layer3__width=1))
    assert [network.stages[f"layer{i}"].block.width for i in range(1, 5)] == [8, 8, 16, 8]


def test_any_within_bounds_is_a_range(write):
    path = write(
        "bounded.py",
        """
        from typing import Annotated
        from pydantic import Field
        from blockforge import Block, Scope, Value, hookimpl

        class Bounded(Block):
            size: Annotated[int, Field(ge=2, le=5)] = 2
            on: bool = False

            def expand(self, g: Scope, x: Value) -> Value:
                return g.conv("conv", x, 8 * self.size, bias=self.on)

        @hookimpl
        def register_blocks():
            return [Bounded]
        """,
    )
    load_registry([path])
    space = space_of("layer1.block: {choice: [{block: bounded, size: any, on: any}]}")
    assert holes_of(space) == {
        "layer1.block": ["bounded"], "layer1.size": (2, 5, 1), "layer1.on": [False, True],
    }  # fmt: skip
    assert space.draw(choose(layer1__size=5)).stages["layer1"].block.size == 5


def test_a_choice_of_blocks_brings_holes_of_its_own_named_by_path():
    space = space_of(
        "layer2.block: {choice: [residual, {block: bottleneck, ratio: {choice: [2, 4]}}, "
        "{block: inverted_residual, expansion: {range: [1, 4]}, width: 12}]}",
        "layer2.width: {choice: [8, 16]}",
    )
    assert holes_of(space) == {
        "layer2.block": ["residual", "bottleneck", "inverted_residual(width=12)"],
        "layer2.width": [8, 16],
        "layer2.ratio": [2, 4],
        "layer2.expansion": (1, 4, 1),
    }

    def asked(index: int) -> tuple[list[str], Any]:
        names: list[str] = []

        def note(hole: Hole) -> float:
            names.append(hole.parameter)
            return {"layer2.block": index, "layer2.ratio": 1, "layer2.expansion": 3, "layer2.width": 1}[hole.parameter]

        return names, space.draw(note).stages["layer2"].block.spec()

    assert asked(0) == (["layer2.block", "layer2.width"], {"block": "residual", "width": 16, "stride": 2})
    assert asked(1) == (
        ["layer2.block", "layer2.width", "layer2.ratio"],
        {"block": "bottleneck", "width": 16, "stride": 2},
    )
    assert asked(2) == (
        ["layer2.block", "layer2.expansion"],
        {"block": "inverted_residual", "width": 12, "stride": 2, "expansion": 3},
    )


def test_a_field_of_some_of_the_blocks_is_varied_where_there_is_such_a_block_in_either_order():
    block = "layer2.block: {choice: [residual, bottleneck]}"
    ratio = "layer*.ratio: {choice: [2, 4]}"
    space = space_of(block, ratio)
    assert holes_of(space) == {"layer2.block": ["residual", "bottleneck"], "layer2.ratio": [2, 4]}
    assert mistake(ratio, block) == (
        "4:3: layer*.ratio: none of the stages layer1, layer2, layer3, layer4 has a parameter 'ratio'; they have "
        "attention, attention_name, bias, block, depth, from, pre_activation, scale, scope, shortcut, "
        "shortcut_kernel, shortcut_norm, stride, stride_on, width"
    )
    both = {hole.parameter for hole in space_of(block, "layer*.width: {choice: [8, 16]}").holes}
    assert "layer2.width" in both


def test_nested_blocks_have_holes_too():
    space = space_of(
        "layer1.attention: {choice: [null, {block: squeeze_excitation, reduction: any}]}",
        "layer2.attention: {block: squeeze_excitation, gate: {choice: [sigmoid, hardsigmoid]}}",
        "layer3.attention: {block: {choice: [squeeze_excitation, conv]}}",
    )
    assert holes_of(space) == {
        "layer1.attention": [None, "squeeze_excitation"],
        "layer1.attention.reduction": [4, 8, 16],
        "layer2.attention.gate": ["sigmoid", "hardsigmoid"],
        "layer3.attention.block": ["squeeze_excitation", "conv"],
    }
    blocks = {name: stage.block for name, stage in space.draw(
        choose(layer1__attention=1, layer1__attention__reduction=1, layer2__attention__gate=1)
    ).stages.items()}  # fmt: skip
    assert blocks["layer1"].attention.reduction == 8
    assert blocks["layer2"].attention.gate == "hardsigmoid"
    assert blocks["layer3"].attention.name == "squeeze_excitation"
    assert space.first().stages["layer1"].block.attention is None


def test_the_block_of_a_nested_block_may_be_a_hole_and_the_stages_stays():
    space = space_of(
        "layer1.attention: {block: squeeze_excitation, reduction: 4}",
        "layer1.attention.block: {choice: [squeeze_excitation, residual]}",
        "layer1.width: {choice: [8, 16]}",
    )
    first, other = (space.draw(choose(layer1__attention__block=i)).stages["layer1"].block for i in (0, 1))
    assert (first.name, first.attention.spec()) == ("residual", {"block": "squeeze_excitation", "reduction": 4})
    assert (other.name, other.attention.spec()) == ("residual", {"block": "residual"})
    assert mistake(
        "layer1.attention: squeeze_excitation",
        "layer1.attention.block: {choice: [conv, squeze]}",
        "layer1.width: {choice: [8, 16]}",
    ) == (
        "5:3: layer1.attention.block: squeze: no block of this name; did you mean 'squeeze_excitation'? "
        "`blockforge list --blocks` lists all"
    )


def test_a_nested_block_may_have_a_field_called_range(write):
    path = write(
        "ranged.py",
        """
        from blockforge import Block, Scope, Value, hookimpl

        class Ranged(Block):
            range: int = 1

            def expand(self, g: Scope, x: Value) -> Value:
                return g.conv("conv", x, x.shape[0], 2 * self.range + 1)

        @hookimpl
        def register_blocks():
            return [Ranged]
        """,
    )
    load_registry([path])
    space = space_of("layer1.attention: {block: ranged, range: {choice: [1, 2]}}", "layer2.attention: ranged")
    assert holes_of(space) == {"layer1.attention.range": [1, 2]}
    assert space.draw(choose(layer1__attention__range=1)).stages["layer1"].block.attention.range == 2


def test_a_label_shares_one_draw():
    space = space_of("layer*.width: {choice: [8, 16, 24], label: w}", "layer*.depth: {range: [1, 3], label: d}")
    assert holes_of(space) == {"label:w": [8, 16, 24], "label:d": (1, 3, 1)}
    count: list[str] = []

    def note(hole: Hole) -> float:
        count.append(hole.parameter)
        return 2

    network = space.draw(note)
    assert sorted(count) == ["label:d", "label:w"]
    assert {(network.stages[f"layer{i}"].block.width, network.stages[f"layer{i}"].depth) for i in range(1, 5)} == {
        (24, 2)
    }


def test_holes_may_stand_in_the_stages_and_settings_of_a_file_of_its_own():
    space = space_from_yaml(
        """
        input: {choice: [[3, 8, 8], [3, 16, 16]]}
        classes: {range: [2, 4]}
        stages:
          a: {block: {choice: [conv, residual]}, width: {choice: [4, 6]}}
          b: {block: conv, width: 4, names: [{choice: [c, d]}, n, r]}
          head: {block: classifier, width: classes}
        objectives: {macs: minimize}
        """,
        "own",
    )
    assert holes_of(space) == {
        "input": ["[3, 8, 8]", "[3, 16, 16]"],
        "classes": (2, 4, 1),
        "a.block": ["conv", "residual"],
        "a.width": [4, 6],
        "b.names.0": ["c", "d"],
    }
    network = space.draw(choose(input=1, classes=3, a__block=1, a__width=1))
    assert (network.input, network.classes, network.name) == ((3, 16, 16), 3, "own")
    assert (network.stages["a"].block.name, network.stages["a"].block.width) == ("residual", 6)
    assert network.stages["b"].block.names == ("c", "n", "r")


def test_a_range_is_tried_up_to_its_last_step_and_no_further():
    depths = "input: [3, 8, 8]\nstages:\n  a: {{block: conv, depth: {{range: [1, {high}, 999]}}}}\n"
    (hole,) = space_from_yaml(depths.format(high=1998)).holes  # 1 and 1000; more than 1000 would be refused
    assert (hole.first, hole.last, type(hole.last)) == (1, 1000, int)
    assert mistakes(depths.format(high=1999)) == [
        "space.yaml:3:20: a.depth: must be a whole number from 1 to 1,000, but is 1,999"
    ]
    (hole,) = space_from_yaml(
        "drop_path: {range: [0.0, 0.35, 0.1]}\ninput: [3, 8, 8]\nstages: {a: {block: conv}}\n"
    ).holes
    assert hole.last == pytest.approx(0.3)


# Mistakes


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("layer1.width: {choice: []}", "4:3: layer1.width: a choice needs a list with at least one value, but is []; "
                                       "name "
                                       "what to choose from"),
        ("layer1.width: {choice: 8}", "4:3: layer1.width: a choice needs a list with at least one value, but is 8; "
                                      "name "
                                      "what to choose from"),
        ("layer1.width: any", "4:3: layer1.width: `any` needs bounds, but there are none; write {choice: [...]} or "
                              "{range: [low, high]}"),
        ("layer1.depth: any", "4:3: layer1.depth: `any` needs bounds, but there are none; write {choice: [...]} or "
                              "{range: [low, high]}"),
        ("classes: any", "4:3: classes: `any` needs bounds, but there are none; write {choice: [...]} or "
                         "{range: [low, high]}"),
        ("layer1.depth: {range: [3, 1]}", "4:3: layer1.depth: a range needs low <= high and a step above 0, but has "
                                          "low=3, high=1, step=1"),
        ("layer1.depth: {range: [1, 3, 0]}", "4:3: layer1.depth: a range needs low <= high and a step above 0, but has "
                                             "low=1, high=3, step=0"),
        ("layer1.depth: {range: [1]}", "4:3: layer1.depth: a range is [low, high] or [low, high, step], but is [1]; "
                                       "write "
                                       "{range: [1, 3]}"),
        ("layer1.depth: {range: [true, 3]}", "4:3: layer1.depth: a range is [low, high] or [low, high, step], but is "
                                             "[True, 3]; write {range: [1, 3]}"),
        ("drop_path: {range: [0.1, 0.5]}", "4:3: drop_path: a range of fractions needs a step, but is [0.1, 0.5]; "
                                           "write "
                                           "{range: [0.1, 0.5, STEP]}"),
        ("layer1.width: {choice: [8, 16, 8]}", "4:3: layer1.width: a choice holds the same value twice: 8, 16, 8; "
                                               "remove one"),
        ("layer1.width: {choice: [8], range: [1, 2]}",
         "4:3: layer1.width: {'choice': [8], 'range': [1, 2]} must have one of `choice`, `range` and `any`, and at "
         "most a "
         "`label` beside it; write {choice: [1, 2]}"),
        ("layer1.width: {choice: [8], step: 2}",
         "4:3: layer1.width: {'choice': [8], 'step': 2} must have one of `choice`, `range` and `any`, and at most a "
         "`label` beside it; write {choice: [1, 2]}"),
        ("layer1.width: {choice: [8, 0]}", "4:3: layer1.width: must be at least 1, but is 0"),
        ("layer1.depth: {range: [1, 1_000_000_000]}", "4:3: layer1.depth: must be a whole number from 1 to 1,000, but "
                                                      "is "
                                                      "1,000,000,000"),
        ("layer2.block: {choice: [residual, residul]}",
         "4:3: layer2.block: residul: no block of this name; did you mean 'residual'? `blockforge list --blocks` "
         "lists all"),
        ("layer2.block: {choice: [residual, 3]}", "4:3: layer2.block: must be a block's name or {block: NAME, ...}, "
                                                  "but "
                                                  "is 3"),
        ("layer2.block: {choice: [residual, {block: bottleneck, radio: 2}]}",
         "4:3: layer2.radio: block bottleneck has no parameter 'radio'; did you mean 'ratio'? it has width, stride, "
         "stride_on, pre_activation, bias, shortcut, shortcut_kernel, shortcut_norm, attention, attention_name, ratio, "
         "reduce_first, groups"),
        ("layer2.block: {choice: [residual, {block: bottleneck, ratio: {choice: []}}]}",
         "4:3: layer2.ratio: a choice needs a list with at least one value, but is []; name what to choose from"),
        ("layer2.block: any", "4:3: layer2.block: `any` needs bounds, but there are none; write {choice: [...]} or "
                              "{range: [low, high]}"),
        ("layer2.block: {choice: [{block: bottleneck, stride: {choice: [1, 2]}}, {block: residual, stride: {choice: "
         "[2]}}]}",
         "4:3: layer2.stride: two holes share the parameter layer2.stride, but not what they choose from; give each a "
         "label of its own"),
        ("layr1.width: any", "4:3: layr1.width: no stage 'layr1'; did you mean 'layer1', 'layer4' or 'layer3'? there "
                             "are "
                             "stem, layer1, layer2, layer3, layer4, head"),
        ("norm.block: {choice: [conv]}", "4:3: norm.block: norm has no parameter 'block'; it has eps, momentum"),
    ],
)  # fmt: skip
def test_a_wrong_hole(line, message):
    found = mistakes(f"{BASE}  {line}\n")
    # A space whose only hole is none has no holes; that goes without saying.
    assert [each.removeprefix("space.yaml:") for each in found] == [message]


def test_holes_of_one_label_must_be_alike():
    assert mistake("layer1.depth: {choice: [1, 2], label: d}", "layer2.depth: {choice: [1, 3], label: d}") == (
        "5:3: layer2.depth: two holes share the parameter label:d, but not what they choose from; give each a label of "
        "its own"
    )
