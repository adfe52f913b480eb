"""Jobs, run here and not in a worker: what comes back, and what a failure says."""

from __future__ import annotations

import random

import cloudpickle
import numpy as np
import pytest
import torch
from safetensors.torch import load

from blockforge.builder import build
from blockforge.errors import BlockforgeError
from blockforge.study.bench import Bench, named_values
from blockforge.study.jobs import Job, Setup
from tests.tiny import params, tiny_space, unheard

NETWORK = tiny_space().first()
YAML = NETWORK.to_yaml(flat=True)


def own(objective, returns=("value",)):
    return Bench(Setup(0, "cpu", (), None, {}, cloudpickle.dumps(objective), returns))


def outcome_of(objective, returns=("value",), seed=0):
    return own(objective, returns).run(Job(5, YAML, seed), unheard)


def test_training_gives_metrics_weights_and_what_they_depend_on():
    bench, reports = Bench(Setup(0, "cpu", (), "digits", {"epochs": 2, "batch": 256})), []
    job = Job(3, YAML, 7)
    outcome = bench.run(job, reports.append)
    assert outcome.failure is None
    assert outcome.number == 3
    assert [step["step"] for step in reports] == [1, 2]
    assert outcome.history == tuple(reports)
    assert outcome.metrics == {name: reports[-1][name] for name in ("accuracy", "loss")}
    assert {**outcome.facts, "seconds": 0, "precision": ""} == {
        "device": "cpu", "device_name": "cpu", "threads": 1, "precision": "", "seconds": 0,
    }  # fmt: skip
    assert outcome.facts["precision"] in ("float32", "bfloat16 autocast")

    again = bench.run(job, unheard)
    assert (again.metrics, again.weights) == (outcome.metrics, outcome.weights)

    module = build(NETWORK)
    module.load_state_dict(load(outcome.weights))
    images, labels = bench.data.test
    with torch.no_grad():
        hits = (module.eval()(images).argmax(1) == labels).float().mean()
    tested = bench.run(Job(3, YAML, 7, outcome.weights), unheard)
    assert tested.metrics["test_accuracy"] == pytest.approx(float(hits))


def test_an_own_objective_trains_the_module_in_place_and_its_weights_are_kept():
    def objective(network, module, report):
        with torch.no_grad():
            module.fc.bias.fill_(3.0)
        report(1, loss=0.5, note=1)
        report(2, loss=torch.tensor(0.25))
        return {"value": np.float32(2), "other": 1}

    outcome = outcome_of(objective)
    assert outcome.failure is None
    assert outcome.metrics == {"loss": 0.25, "note": 1.0, "value": 2.0, "other": 1.0}
    assert outcome.history == ({"step": 1, "loss": 0.5, "note": 1.0}, {"step": 2, "loss": 0.25})
    assert load(outcome.weights)["fc.bias"].tolist() == [3.0] * 10
    assert "precision" not in outcome.facts


def test_every_generator_is_seeded():
    def draws(network, module, report):
        return random.random(), np.random.rand(), torch.rand(()), module.fc.weight.sum()

    names = ("a", "b", "c", "d")
    first, again, other = (outcome_of(draws, names, seed).metrics for seed in (0, 0, 1))
    assert first == again
    assert all(first[name] != other[name] for name in names)


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (ValueError("two\n lines"), "error", "ValueError: two lines"),
        (MemoryError(), "out of memory", "MemoryError:"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            "out of memory",
            "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried",
        ),
        (
            torch.OutOfMemoryError("CUDA out of memory."),
            "out of memory",
            "OutOfMemoryError: CUDA out of memory.",
        ),
    ],
)
def test_what_an_objective_raises_is_the_failure_with_its_line(error, kind, reason):
    def objective(network, module, report):
        raise error

    failure = outcome_of(objective).failure
    assert (failure["kind"], failure["reason"].strip()) == (kind, reason)
    assert "in objective" in failure["traceback"]


def test_a_loss_that_is_not_finite_is_a_failure_of_its_kind():
    bench = Bench(Setup(0, "cpu", (), "digits", {"epochs": 1, "batch": 256, "lr": 1e30}))
    outcome = bench.run(Job(0, YAML, 0), unheard)
    assert outcome.failure["kind"] == "not finite"
    assert outcome.failure["reason"] == "the loss is nan in epoch 1; lower lr, which is 1e+30"
    assert outcome.weights is None


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ((1, 2, 3), "objective: returned 3 values for 2; return f1, loss"),
        (1.0, "objective: returned 1 values for 2; return f1, loss"),
        ({"f1": 1, "recall": 1}, "objective: returned f1, recall without loss; return f1, loss"),
        ((1.0, None), "objective: returned f1 of float, loss of NoneType; return numbers for f1, loss"),
    ],
)
def test_a_return_that_does_not_fit_the_names(returned, message):
    with pytest.raises(BlockforgeError) as caught:
        named_values(returned, ("f1", "loss"))
    assert str(caught.value) == message


def test_returns_by_place_by_name_and_alone():
    assert named_values([1, 2], ("a", "b")) == {"a": 1.0, "b": 2.0}
    assert named_values({"b": 2, "a": 1, "c": 3}, ("a", "b")) == {"a": 1.0, "b": 2.0, "c": 3.0}
    assert named_values(torch.tensor(4.0), ("a",)) == {"a": 4.0}


def test_an_objective_that_no_worker_can_load():
    with pytest.raises(BlockforgeError) as caught:
        Bench(Setup(0, "cpu", (), None, {}, b"no pickle", ("value",)))
    assert str(caught.value).startswith("objective: a worker can't load it (UnpicklingError: ")
    assert str(caught.value).endswith("); define it in the script or an installed module")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_where_there_is_none():
    with pytest.raises(BlockforgeError) as caught:
        Bench(Setup(0, "cuda:1", (), None, {}, cloudpickle.dumps(params), ("value",)))
    assert str(caught.value) == "device: cuda:1: torch finds no CUDA device here; use auto or cpu"
