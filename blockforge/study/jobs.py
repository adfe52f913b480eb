"""What goes to workers and comes back from them: pure data, so that a job can run anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Setup:
    """What all jobs share; `objective` is the user's own, pickled, and `returns` names its values."""

    index: int
    device: str
    plugin_files: tuple[str, ...]
    data: str | None
    train: Mapping[str, Any]
    objective: bytes | None = None
    returns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """A network (flat YAML) to train; with `weights` (safetensors), to measure on the test split instead."""

    number: int
    network: str
    seed: int
    weights: bytes | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a job; `failure` has its `kind`, `reason` and `traceback`, or is None."""

    number: int
    metrics: dict[str, float] = field(default_factory=dict)
    history: tuple[dict[str, float], ...] = ()
    weights: bytes | None = None
    failure: dict[str, str] | None = None
    facts: dict[str, Any] = field(default_factory=dict)  # device, threads, precision, versions, seconds
