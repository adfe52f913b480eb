"""The samplers, each through a study of a real space."""

from __future__ import annotations

import optuna
import pytest

from blockforge.errors import BlockforgeError
from blockforge.study.proposals import Proposer
from blockforge.study.samplers import SAMPLERS, check_sampler, make_sampler
from blockforge.study.space import load_space


def proposals(name, seed, count=24):
    """The choices of so many proposals, each told made-up values."""
    study = optuna.create_study(directions=["maximize", "minimize"])
    proposer = Proposer(load_space("digits"), study, name, seed, ())
    found = []
    for _ in range(count):
        proposal = proposer.next()
        width = proposal.choices["layer1.width"] * proposal.choices["layer1.depth"]
        study.tell(proposal.number, [width % 31, width])
        found.append(proposal.choices)
    return found


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_a_sampler_is_its_seed_and_goes_through_conditional_choices(name):
    first = proposals(name, 0)
    assert first == proposals(name, 0)
    assert first != proposals(name, 1)
    assert len({str(choices) for choices in first}) == len(first)
    assert len({"layer2.expansion" in choices for choices in first}) == 2


def test_tpe_finds_what_the_values_reward():
    study = optuna.create_study(directions=["minimize"])
    proposer = Proposer(load_space("digits"), study, "tpe", 0, ())
    sums = []
    for _ in range(40):
        proposal = proposer.next()
        value = sum(proposal.choices[f"layer{n}.width"] for n in (1, 2, 3, 4))
        study.tell(proposal.number, [value])
        sums.append(value)
    assert sum(sums[-10:]) < 0.75 * sum(sums[:10])


def test_an_unknown_sampler():
    for check in (check_sampler, lambda name: make_sampler(name, 0, 0)):
        with pytest.raises(BlockforgeError) as caught:
            check("tpee")
        assert str(caught.value) == "search: no sampler 'tpee'; did you mean 'tpe'? there are nsga2, random, tpe"
