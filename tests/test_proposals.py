"""What is proposed, and what is never trained."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState

from blockforge.costing import cost
from blockforge.registry import get_registry, load_registry
from blockforge.study.objectives import resolve_limits
from blockforge.study.proposals import Proposer
from blockforge.study.space import load_space, space_from_yaml
from tests.tiny import TINY, tiny_space


def proposer_of(space, sampler="random", limits=None, seed=0):
    study = optuna.create_study(directions=["maximize"])
    bounds = resolve_limits(limits or {}, get_registry().objectives)
    return study, Proposer(space, study, sampler, seed, bounds)


def drain(study, proposer, most=100):
    found = []
    while len(found) < most and (proposal := proposer.next()):
        study.tell(proposal.number, [1.0])
        found.append(proposal)
    return found


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2"])
def test_a_small_space_is_proposed_whole_and_once_and_then_nothing(sampler):
    study, proposer = proposer_of(tiny_space(), sampler)
    found = drain(study, proposer)
    assert {tuple(each.choices.values()) for each in found} == {(w, d) for w in (4, 8, 12) for d in (1, 2, 3)}
    assert len({each.network.hash for each in found}) == len(found) == 9
    assert proposer.next() is None
    states = [trial.state for trial in study.trials]
    assert states.count(TrialState.COMPLETE) == 9
    refused = [trial for trial in study.trials if trial.state == TrialState.FAIL]
    assert refused
    assert all(trial.user_attrs["refused"].startswith("trained already: ") for trial in refused)


def test_what_a_limit_forbids_is_never_proposed_and_told_as_pruned_with_its_excess():
    space = tiny_space()
    limit = cost(space.draw(lambda hole: {"layer1.width": 1, "layer4.depth": 2}[hole.parameter])).params
    study, proposer = proposer_of(space, limits={"params": limit})
    found = drain(study, proposer)
    assert found
    assert all(cost(each.network).params <= limit for each in found)
    pruned = [trial for trial in study.trials if trial.state == TrialState.PRUNED]
    assert pruned
    assert all(trial.constraints["params"] > 0 for trial in pruned)
    reasons = {trial.user_attrs["refused"].partition(":")[0] for trial in pruned}
    assert reasons == {f"not params <= {limit:,}"}
    assert proposer.refused[f"not params <= {limit:,}"] >= len(pruned)


def test_tpe_learns_from_what_was_over_a_limit():
    study, proposer = proposer_of(load_space("digits"), "tpe", {"params": 60_000})
    for _ in range(30):
        proposal = proposer.next()
        assert cost(proposal.network).params <= 60_000
        study.tell(proposal.number, [cost(proposal.network).params])
    numbers = [trial.number for trial in study.trials if trial.state == TrialState.PRUNED]
    assert len(numbers) < len(study.trials) / 2


def test_an_invalid_candidate_is_refused_with_its_mistake():
    text = TINY.replace("{choice: [4, 8, 12]}", "{choice: [4, 8, 12]}\n  classes: {choice: [10, 1]}")
    space = space_from_yaml(text.replace("layer4.depth: {range: [1, 3]}", "layer4.depth: {choice: [1, 2]}"), "tiny")
    deep = next(hole for hole in space.holes if hole.parameter == "layer4.depth")

    class Broken:
        """The space, but what is two deep fails as a network would that only a combination breaks."""

        name = "tiny"

        def draw(self, choose):
            drawn = {}
            network = space.draw(lambda hole: drawn.setdefault(hole.parameter, choose(hole)))
            return network if drawn[deep.parameter] == 0 else network.set({"layer9.depth": 2})

    study, proposer = proposer_of(Broken())
    found = drain(study, proposer)
    assert len(found) == 6
    assert all(each.choices["layer4.depth"] == 1 for each in found)
    assert proposer.refused["invalid"] > 0
    told = {trial.user_attrs.get("refused", "") for trial in study.trials if trial.state == TrialState.PRUNED}
    assert all("layer9" in reason for reason in told)


def test_ranges_with_steps_are_drawn_to_their_last_whole_step_without_a_warning():
    space = space_from_yaml(TINY.replace("{choice: [4, 8, 12]}", "{range: [4, 15, 5]}"), "tiny")
    for sampler in ("random", "tpe"):
        study, proposer = proposer_of(space, sampler)
        found = drain(study, proposer)
        assert {each.choices["layer1.width"] for each in found} == {4, 9, 14}
        assert all(type(each.choices["layer1.width"]) is int for each in found)


def test_proposals_go_on_alike_in_a_new_process():
    space = tiny_space()
    study, whole = proposer_of(space, "tpe")
    expected = [each.choices for each in drain(study, whole, 8)]
    study, first = proposer_of(space, "tpe")
    begun = drain(study, first, 3)
    again = Proposer(space, study, "tpe", 0, ())
    again.known |= {each.network.hash for each in begun}
    assert [each.choices for each in begun + drain(study, again, 5)] == expected


def test_an_exception_of_a_blocks_own_refuses_its_candidate_alone(write):
    file = write(
        "moody.py",
        """
        from blockforge import Block, Channels, Scope, Value, hookimpl

        class Moody(Block):
            width: Channels = 8

            def expand(self, g: Scope, x: Value) -> Value:
                return g.conv("conv", x, self.width, 3 + 0 // (self.width - 8))

        @hookimpl
        def register_blocks():
            return [Moody]
        """,
    )
    load_registry([file])
    space = space_from_yaml(
        "base: resnet18_cifar\nset: {input: [1, 8, 8], layer1.block: moody}\n"
        "vary: {layer1.width: {choice: [12, 8, 16]}}\n"
    )
    study, proposer = proposer_of(space)
    assert {proposal.choices["layer1.width"] for proposal in drain(study, proposer)} == {12, 16}
    reasons = {trial.user_attrs.get("refused") for trial in study.trials}
    (reason,) = [each for each in reasons if each and "moody" in each]
    assert reason.startswith("space: layer1.0: moody.expand: ")
    assert reason.endswith(": ZeroDivisionError: integer division or modulo by zero; mend the block there")
