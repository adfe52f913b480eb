"""What a network gives: its outputs as files write them, and what is said of wrong ones."""

from __future__ import annotations

from typing import Any

import pytest

from blockforge import Network, assemble, get_network
from blockforge.documents import Flat
from blockforge.errors import InvalidNetwork
from blockforge.outputs import LOGITS, Output, read_outputs

STAGES = {"stem": {"block": "conv"}, "head": {"block": "classifier"}}
NO_NAME = "is no name for an output; use letters, digits and '_', and no word of Python's"
MAPPING = "must be a stage's name or {stage: NAME, when: training}"


def read(outputs: Any, stages: Any = STAGES) -> tuple[tuple[Output, ...], list[str]]:
    flat = Flat(marks={(): "net"})
    return read_outputs({"stages": stages, "outputs": outputs}, flat), flat.mistakes


def test_the_last_stage_is_the_output_unless_others_are_named() -> None:
    assert read(None) == ((Output(name=LOGITS, stage="head"),), [])
    assert read(None, {}) == read(None, 3) == ((), [])
    assert [each.name for each in get_network("lenet5").outputs] == ["logits"]


def test_an_output_is_a_stage_with_when_it_leaves_and_how_much_it_weighs() -> None:
    found, mistakes = read({"maps": "stem", "logits": {"stage": "head"}, "aux": {"stage": "stem", "when": "training"}})
    assert mistakes == []
    assert found == (
        Output(name="maps", stage="stem", when="always", weight=1.0),
        Output(name="logits", stage="head", when="always", weight=1.0),
        Output(name="aux", stage="stem", when="training", weight=1.0),
    )
    ((output,), mistakes) = read({"logits": {"stage": "head", "weight": 0}})
    assert (output.weight, mistakes) == (0.0, [])


def test_outputs_leave_in_the_order_of_the_file() -> None:
    network = Network.from_yaml("""
input: [3, 8, 8]
stages: {a: {block: conv, width: 4}, b: {block: conv, width: 6}}
outputs: {second: b, first: {stage: a, when: training}}
""")
    graph = assemble(network)
    assert [(name, value.shape) for name, value in graph.outputs.items()] == [
        ("second", (6, 8, 8)),
        ("first", (4, 8, 8)),
    ]
    assert graph.training == {"first"}
    assert network.training_stages == set()  # the output of eval mode needs it too
    assert Network.from_yaml(network.to_yaml(flat=True)) == network


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"class": "head"}, f"outputs.class: {NO_NAME}"),
        ({"_hidden": "head"}, f"outputs._hidden: {NO_NAME}"),
        ({"a b": "head"}, f"outputs.a b: {NO_NAME}"),
        ({"1st": "head"}, f"outputs.1st: {NO_NAME}"),
        ({"": "head"}, f"outputs.: {NO_NAME}"),
        ({"logits": 3}, f"outputs.logits: {MAPPING}, but is 3"),
        ({"logits": None}, f"outputs.logits: {MAPPING}, but is None"),
        ({"logits": ["head"]}, f"outputs.logits: {MAPPING}, but is ['head']"),
        ({"logits": {}}, "outputs.logits.stage: an output needs a 'stage'; give one"),
        ({"logits": {"stage": 3}}, "outputs.logits.stage: must be text, but is 3"),
        (
            {"logits": {"stage": "head", "wen": "training"}},
            "outputs.logits.wen: an output has no parameter 'wen'; did you mean 'when'? it has stage, when, weight",
        ),
        (
            {"logits": {"stage": "head", "when": "alway"}},
            "outputs.logits.when: must be 'always' or 'training', but is 'alway'; did you mean 'always'?",
        ),
        ({"logits": {"stage": "head", "weight": -1}}, "outputs.logits.weight: must be at least 0, but is -1"),
        ({"logits": {"stage": "head", "weight": "a"}}, "outputs.logits.weight: must be a number, but is 'a'"),
        ({"logits": "hed"}, "outputs.logits: no stage 'hed' makes it; did you mean 'head'? there are stem, head"),
        ({"logits": "input"}, "outputs.logits: no stage 'input' makes it; there are stem, head"),
        (
            {"logits": {"stage": "head", "when": "training"}},
            "outputs: nothing leaves the network in eval mode; give one output without `when: training`",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place(outputs: Any, message: str) -> None:
    assert read(outputs)[1] == [f"net: {message}"]


def test_without_stages_there_are_none_to_name() -> None:
    assert read({"logits": "head"}, {}) == ((), ["net: outputs.logits: no stage 'head' makes it; there are none"])


def test_mistakes_are_told_together_and_where_they_stand() -> None:
    with pytest.raises(InvalidNetwork) as caught:
        Network.from_yaml("""\
input: [3, 8, 8]
stages: {a: {block: conv, width: 4}, b: {block: conv, width: 4, from: input}}
outputs:
  logits: c
  aux: {stage: b, when: never}
""")
    assert caught.value.mistakes == (
        "text:4:3: outputs.logits: no stage 'c' makes it; there are a, b",
        "text:5:19: outputs.aux.when: must be 'always' or 'training', but is 'never'",
    )


def test_a_stage_that_is_neither_read_nor_an_output_is_refused() -> None:
    with pytest.raises(InvalidNetwork) as caught:
        Network.from_yaml("""\
input: [3, 8, 8]
stages: {a: {block: conv, width: 4}, b: {block: conv, width: 4, from: a}}
outputs: {maps: a}
""")
    assert str(caught.value) == (
        "text:2:65: b.from: no stage reads it, and it is no output; read it with `from`, or remove it"
    )
