"""Objectives, limits and the Pareto front."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockforge.errors import BlockforgeError
from blockforge.network import get_network
from blockforge.registry import get_registry
from blockforge.study.objectives import Objective, pareto, resolve, resolve_limits

UP, DOWN = Objective("up", "maximize"), Objective("down", "minimize")


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=25))
def test_the_front_is_what_nobody_beats_and_covers_all_others(rows):
    def beats(a, b):
        return a != b and a[0] >= b[0] and a[1] <= b[1]

    front = pareto(rows, (UP, DOWN))
    assert set(front) == {i for i, row in enumerate(rows) if not any(beats(other, row) for other in rows)}
    for i, row in enumerate(rows):
        assert i in front or any(beats(rows[place], row) for place in front)
    assert [rows[place][0] for place in front] == sorted((rows[place][0] for place in front), reverse=True)


def test_a_front_of_one_objective_is_its_best_and_all_equals():
    assert pareto([[3], [1], [3], [2]], (UP,)) == [0, 2]
    assert pareto([[3], [1], [3], [2]], (DOWN,)) == [1]
    assert pareto([], (UP, DOWN)) == []


def test_every_registered_objective_measures_or_says_that_it_is_learned():
    network = get_network("resnet18_cifar")
    for objective in get_registry().objectives.values():
        assert objective.direction in ("maximize", "minimize")
        assert objective.measure is None or objective.measure(network) > 0
    assert get_registry().objectives["accuracy"].measure is None
    assert get_registry().objectives["params"].measure(network) == 11_173_962


@pytest.mark.parametrize(
    ("directions", "own", "message"),
    [
        ({}, False, "objectives: there are none; name at least one, such as {accuracy: maximize}"),
        (
            {"accuracy": "maximise"},
            False,
            "objectives: accuracy: no direction 'maximise'; write maximize or minimize",
        ),
        (
            {"acuracy": "maximize"},
            False,
            "objectives: no objective 'acuracy'; did you mean 'accuracy'? "
            "there are accuracy, activations, macs, params, peak_memory",
        ),
        (
            {"macs": "minimize"},
            True,
            "objectives: macs: free, all of them, so nothing is left for your own objective to return; "
            "name what it returns in directions",
        ),
    ],
)
def test_mistakes_in_objectives(directions, own, message):
    with pytest.raises(BlockforgeError) as caught:
        resolve(directions, get_registry().objectives, own=own)
    assert str(caught.value) == message


def test_an_own_objective_may_return_any_name_beside_free_ones():
    f1, macs = resolve({"f1": "maximize", "macs": "maximize"}, get_registry().objectives, own=True)
    assert (f1.name, f1.measure) == ("f1", None)
    assert macs.measure is not None
    assert macs.direction == "maximize"  # as asked for, not as registered


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (
            {"parms": 1},
            "limits: no objective 'parms'; did you mean 'params'? "
            "those with a limit are activations, macs, params, peak_memory",
        ),
        (
            {"accuracy": 0.9},
            "limits: accuracy is known only after training; limit what is free: activations, macs, params, peak_memory",
        ),
        ({"params": "many"}, "limits: params: 'many' is no number; write one, such as params: 200_000"),
    ],
)
def test_mistakes_in_limits(limits, message):
    with pytest.raises(BlockforgeError) as caught:
        resolve_limits(limits, get_registry().objectives)
    assert str(caught.value) == message


def test_a_limit_is_the_last_value_that_is_allowed():
    network = get_network("resnet18_cifar")
    exact, below = (resolve_limits({"params": n}, get_registry().objectives)[0] for n in (11_173_962, 11_173_961))
    assert exact.excess(network) == 0 < below.excess(network)
    assert str(exact) == "params <= 11,173,962"


def test_values_and_titles_as_people_read_them():
    assert Objective("accuracy", "maximize", "%").text(0.97222) == "97.22 %"
    assert Objective("macs", "minimize", "MACs").text(1234567) == "1,234,567"
    assert Objective("latency", "minimize", "ms").text(0.0123456) == "0.01235"
    titles = [Objective(*each).title for each in (("macs", "minimize", "MACs"), ("peak_memory", "minimize", "bytes"))]
    assert titles == ["MACs", "peak memory (bytes)"]
