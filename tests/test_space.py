"""A search space: its draws, its mistakes and its identity."""

from __future__ import annotations

import copy
import pickle
import random
from math import prod
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockforge import Network, assemble, cost, get_network
from blockforge.errors import BlockforgeError, InvalidNetwork
from blockforge.registry import get_registry
from blockforge.study.holes import Hole
from blockforge.study.space import load_space, space_from_yaml
from tests.test_holes import choose, holes_of, mistakes, space_of

CHOICE = "layer1.width: {choice: [8, 16]}"


def roll(dice: random.Random) -> Any:
    def choose_at_random(hole: Hole) -> float:
        if hole.labels is not None:
            return dice.randrange(len(hole.labels))
        return hole.low + hole.step * dice.randint(0, int((hole.high - hole.low) / hole.step))

    return choose_at_random


# Every space that is registered


@pytest.mark.parametrize("name", get_registry().spaces)
def test_every_space_draws_200_valid_candidates(name):
    space, dice = load_space(name), random.Random(0)
    known = {hole.parameter for hole in space.holes}
    asked: set[str] = set()
    hashes = set()
    for _ in range(200):
        choices: dict[str, float] = {}

        def note(hole: Hole, choices: dict[str, float] = choices) -> float:
            assert hole.parameter not in choices or hole.parameter.startswith("label:")
            choices[hole.parameter] = roll(dice)(hole)
            return choices[hole.parameter]

        network = space.draw(note)
        asked |= set(choices)
        assert cost(network).params == cost(assemble(network)).params > 0
        assert space.draw(lambda hole, choices=choices: choices[hole.parameter]) == network
        hashes.add(network.hash)
    assert asked == known
    sizes = [hole.high - hole.low + 1 if hole.labels is None else len(hole.labels) for hole in space.holes]
    assert len(hashes) > 20 or len(hashes) == prod(sizes)  # a small space is drawn whole


@pytest.mark.parametrize("name", get_registry().spaces)
def test_every_space_is_written_without_loss(name):
    space = load_space(name)
    again = space_from_yaml(space.to_yaml())
    assert (again.name, again.digest, again.holes) == (name, space.digest, space.holes)
    assert (again.objectives, again.limits, again.data, again.train) == (
        space.objectives, space.limits, space.data, space.train,
    )  # fmt: skip
    assert again.first() == space.first()


@pytest.mark.parametrize("name", get_registry().spaces)
def test_every_space_can_be_searched(name):
    space, registry = load_space(name), get_registry()
    assert space.objectives
    assert space.data in registry.datasets
    data = registry.dataset(space.data)
    assert (space.first().input, space.first().classes) == (data.input, data.classes)


# Files


def test_a_base_may_be_changed_by_stages_and_set_before_it_is_varied():
    space = space_from_yaml(
        """
        base: resnet18_cifar
        stages: {layer4: null, layer2: {block: {choice: [residual, bottleneck]}}}
        set: {layer1.width: 16}
        vary: {layer1.width: {choice: [8, 24]}}
        """
    )
    network = space.draw(choose(layer1__width=1, layer2__block=1))
    assert list(network.stages) == ["stem", "layer1", "layer2", "layer3", "head"]
    assert (network.stages["layer1"].block.width, network.stages["layer2"].block.width) == (24, 128)
    assert network.stages["layer2"].block.name == "bottleneck"


def test_a_network_with_a_hole_is_no_network_but_a_space():
    text = "input: [3, 8, 8]\nstages:\n  a: {block: conv, width: {choice: [4, 8]}}\n"
    with pytest.raises(InvalidNetwork) as caught:
        Network.from_yaml(text)
    assert str(caught.value) == (
        "text:3:20: a.width: {'choice': [4, 8]} is a choice for a search to make; give a value, or use the file with "
        "`blockforge search`"
    )
    assert holes_of(space_from_yaml(text)) == {"a.width": [4, 8]}

    text = "input: [3, 8, 8]\nstages:\n  a: {block: conv, names: [{choice: [a, b]}, c, d]}\n"
    with pytest.raises(InvalidNetwork) as caught:
        Network.from_yaml(text)
    assert str(caught.value) == (
        "text:3:28: a.names.0: must be text, but is {'choice': ('a', 'b')}; that is a choice for a search to make; use "
        "the file with `blockforge search`"
    )
    assert holes_of(space_from_yaml(text)) == {"a.names.0": ["a", "b"]}


def test_a_text_holds_one_space():
    with pytest.raises(BlockforgeError) as caught:
        space_from_yaml("one: {base: lenet5}\ntwo: {base: lenet5}\n", "two.yaml")
    assert str(caught.value) == "two.yaml: holds 2 spaces; give one"


# Draws


def test_a_candidate_is_a_network_that_stands_alone():
    space = space_of(CHOICE)
    network = space.draw(choose(layer1__width=1))
    assert network == space.draw(choose(layer1__width=1)) != space.first()
    assert network.name == "space"
    assert Network.from_yaml(network.to_yaml()) == network
    assert "extends" not in network.to_yaml()
    base = get_network("resnet18_cifar").set({"input": [1, 8, 8], "classes": 10, "stem.width": 8, "layer1.width": 16})
    assert network.hash == base.hash


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_equal_choices_make_equal_candidates(seed):
    space = space_of(
        "layer*.depth: {range: [1, 3]}",
        "layer*.width: {choice: [8, 16]}",
        "layer2.block: {choice: [residual, {block: bottleneck, ratio: {choice: [2, 4]}}]}",
    )
    one, two = (space.draw(roll(random.Random(seed))) for _ in range(2))
    assert (one, one.hash, one.to_yaml()) == (two, two.hash, two.to_yaml())


# Identity

DIGITS = """\
base: resnet18_cifar
set: {input: [1, 8, 8], classes: 10}
vary:
  layer1.width: {choice: [8, 16]}
  layer2.depth: {range: [1, 3]}
objectives: {accuracy: maximize, macs: minimize}
limits: {params: 200_000}
data: digits
train: {epochs: 8, batch: 128}
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[8, 16]", "[8, 24]"),
        ("[8, 16]", "[16, 8]"),
        ("[1, 3]", "[1, 4]"),
        ("[1, 3]", "[1, 3, 2]"),
        ("[1, 8, 8]", "[1, 8, 9]"),
        ("classes: 10", "classes: 11"),
        ("resnet18_cifar", "resnet18"),
        ("accuracy: maximize, macs: minimize", "macs: minimize, accuracy: maximize"),
        ("macs: minimize", "params: minimize"),
        ("accuracy: maximize", "accuracy: minimize"),
        ("200_000", "200_001"),
        ("limits: {params: 200_000}\n", ""),
        ("data: digits\n", ""),
        ("epochs: 8", "epochs: 9"),
        ("set: {", "stages: {layer1: {after: layer2}}\nset: {"),
    ],
)
def test_a_change_of_content_changes_the_digest(old, new):
    assert DIGITS.count(old) == 1
    assert space_from_yaml(DIGITS.replace(old, new)).digest != space_from_yaml(DIGITS).digest


def test_what_says_nothing_is_not_part_of_the_digest():
    digest = space_from_yaml(DIGITS).digest
    assert space_from_yaml(DIGITS + "name: other\nabout: another text\npaper: arXiv:1\n", "x").digest == digest
    swapped = DIGITS.replace("{epochs: 8, batch: 128}", "{batch: 128, epochs: 8}").replace("200_000", "200000")
    assert space_from_yaml(f"# a comment\n{swapped}").digest == digest
    lines = DIGITS.splitlines(keepends=True)
    assert space_from_yaml("".join([*lines[:3], lines[4], lines[3], *lines[5:]])).digest == digest
    assert space_from_yaml(space_from_yaml(DIGITS).to_yaml()).digest == digest
    assert len(digest) == 16


# Mistakes


def test_all_mistakes_of_a_space_are_told_at_once_with_their_places():
    text = """\
base: resnet18_cifar
set: {input: [1, 8, 8], stem.widht: 16}
vary:
  layer1.width: {choice: []}
  layer2.block:
    {choice: [residul, {block: bottleneck, radio: 4}, {block: inverted_residual, expansion: {choice: [2, 2]}}]}
  layr.width: any
objectives: {accurcy: maximize, macs: minimise}
limits: {parms: 200_000, macs: x}
data: digit
"""
    assert mistakes(text) == [
        "space.yaml:7:3: layr.width: no stage 'layr'; did you mean 'layer4', 'layer3' or 'layer2'? there are stem, "
        "layer1, "
        "layer2, layer3, layer4, head",
        "space.yaml:8:14: objectives.accurcy: no objective of this name; did you mean 'accuracy'? there are accuracy, "
        "activations, macs, params, peak_memory",
        "space.yaml:8:33: objectives.macs: must be minimize or maximize, but is 'minimise'",
        "space.yaml:9:10: limits.parms: no objective of this name; did you mean 'params'? there are accuracy, "
        "activations, "
        "macs, params, peak_memory",
        "space.yaml:9:26: limits.macs: must be a number, but is 'x'",
        "space.yaml:10:1: data: digit: no data set of this name; did you mean 'digits'? there are digits",
        "space.yaml:4:3: layer1.width: a choice needs a list with at least one value, but is []; name what to choose "
        "from",
        "space.yaml:5:3: layer2.block: residul: no block of this name; did you mean 'residual'? "
        "`blockforge list --blocks` lists all",
        "space.yaml:2:25: stem.widht: block stem has no parameter 'widht'; did you mean 'width'? it has width, kernel, "
        "stride, activation, pool, names",
        "space.yaml:5:3: layer2.radio: block bottleneck has no parameter 'radio'; did you mean 'ratio'? it has width, "
        "stride, stride_on, pre_activation, bias, shortcut, shortcut_kernel, shortcut_norm, attention, attention_name, "
        "ratio, reduce_first, groups",
        "space.yaml:5:3: layer2.expansion: a choice holds the same value twice: 2, 2; remove one",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: resnet18_cifar\n", "1:1: a space without holes is a network; put {choice: [...]} or {range: [low, "
                                   "high]} "
                                   "somewhere"),
        ("base: resnet18_cifr\nvary: {layer1.depth: {range: [1, 2]}}\n",
         "1:1: base: resnet18_cifr: no network of this name; did you mean 'resnet18_cifar', 'resnet34_cifar' or "
         "'preact_resnet18_cifar'? `blockforge list --networks` lists all"),
        ("base: resnet18_cifar\nextends: resnet18\nvary: {layer1.depth: {range: [1, 2]}}\n",
         "2:1: extends: `base` says it already; remove one of them"),
        ("base: resnet18_cifar\nvary: [1]\n", "2:1: vary: must be a mapping from paths to values, but is [1]"),
        ("base: resnet18_cifar\nvary: {layer1.depth: {range: [1, 2]}}\nobjectives: [macs]\n",
         "3:1: objectives: must be a mapping, but is ['macs']"),
        ("base: resnet18_cifar\nvary: {layer1.depth: {range: [1, 2]}}\ndata: [digits]\n",
         "3:1: data: must be a data set's name, but is ['digits']"),
        ("base: resnet18_cifar\nvary: {layer1.depth: {range: [1, 2]}}\ntrain: {epoch: 3}\n",
         "3:9: train.epoch: train has no parameter 'epoch'; did you mean 'epochs'? it has epochs, batch, lr, "
         "weight_decay, "
         "warmup, label_smoothing, shift, flip"),
        ("base: resnet18_cifar\nvaried: {layer1.depth: {range: [1, 2]}}\nvary: {layer1.depth: {range: [1, 2]}}\n",
         "2:1: varied: no such key of a space; did you mean 'vary'?"),
    ],
)  # fmt: skip
def test_a_wrong_space(text, message):
    assert [each.removeprefix("space.yaml:") for each in mistakes(text)] == [message]


@pytest.mark.parametrize("name", get_registry().spaces)
def test_every_space_is_pickled_and_copied_without_loss(name):
    space = load_space(name)
    for again in (pickle.loads(pickle.dumps(space)), copy.deepcopy(space), copy.copy(space)):
        assert (again.digest, again.to_yaml(), again.marks) == (space.digest, space.to_yaml(), space.marks)
        assert again.first() == space.first()
        assert again.registry is get_registry()


def test_an_unknown_space():
    with pytest.raises(BlockforgeError) as caught:
        load_space("digit")
    assert str(caught.value) == (
        "digit: no space of this name; did you mean 'digits'? `blockforge list --spaces` lists all"
    )


def test_a_space_is_read_from_a_file_and_from_one_of_several(write, monkeypatch):
    path = write("mine.yaml", DIGITS)
    assert (load_space(path).name, load_space(path).digest) == ("mine", space_from_yaml(DIGITS).digest)
    many = write(
        "many.yaml", "one:\n" + "".join(f"  {line}\n" for line in DIGITS.splitlines()) + "two: {base: lenet5}\n"
    )
    assert load_space(f"{many}#one").digest == load_space(path).digest
    monkeypatch.chdir(many.parent)
    with pytest.raises(BlockforgeError) as caught:
        load_space("many.yaml#two")
    assert str(caught.value) == (
        "many.yaml:11:1: a space without holes is a network; put {choice: [...]} or {range: [low, high]} somewhere"
    )
