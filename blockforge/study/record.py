"""A trial's `metrics.json`: what was measured, and all that it depends on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from blockforge.study.folder import COMPLETE, FAILED
from blockforge.study.jobs import Outcome
from blockforge.study.plan import Plan, versions
from blockforge.study.proposals import Proposal
from blockforge.study.training import train_settings


def make_record(plan: Plan, proposal: Proposal, outcome: Outcome) -> dict[str, Any]:
    """The record of a job's outcome; a value that is missing or not finite makes it a failure."""
    network = proposal.network
    values: dict[str, float] = {}
    failure = outcome.failure
    for objective in plan.objectives:
        value = objective.measure(network) if objective.measure else outcome.metrics.get(objective.name)
        if value is None:
            known = ", ".join(outcome.metrics) or "none"
            failure = failure or _failure("error", f"the training gives no {objective.name}; its metrics: {known}")
        elif not math.isfinite(value):
            failure = failure or _failure("not finite", f"{objective.name} is {value}")
        else:
            values[objective.name] = value
    return {
        "trial": proposal.number,
        "state": FAILED if failure else COMPLETE,
        "values": {} if failure else values,
        "failure": failure,
        "metrics": _finite(outcome.metrics),
        "cost": {name: each.measure(network) for name, each in plan.registry.objectives.items() if each.measure},
        "choices": proposal.choices,
        "hash": network.hash,
        "seed": plan.seed,
        "seconds": 0.0,
        **outcome.facts,
        "data": plan.data,
        "train": None if plan.own else train_settings(plan.space.train).model_dump(),
        "history": [_finite(step) for step in outcome.history],
        "versions": versions(),
        "plugins": plan.plugins(),
    }


def _failure(kind: str, reason: str) -> dict[str, str]:
    return {"kind": kind, "reason": reason, "traceback": ""}


def _finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """The metrics as JSON can have them: it knows no NaN."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}
