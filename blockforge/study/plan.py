"""A search as it was asked for, with everything about it checked before anything runs."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

from blockforge.errors import BlockforgeError
from blockforge.registry import Registry, get_registry
from blockforge.study.executors import check_device, default_workers, require_device
from blockforge.study.jobs import Setup
from blockforge.study.objectives import Limit, Objective, resolve, resolve_limits
from blockforge.study.samplers import check_sampler
from blockforge.study.space import Space, load_space
from blockforge.study.training import train_settings

if TYPE_CHECKING:
    from blockforge.network import Network


@dataclass(frozen=True)
class Plan:
    """A search with everything about it checked."""

    space: Space
    registry: Registry
    objectives: tuple[Objective, ...]
    limits: tuple[Limit, ...]
    data: str | None
    own: Callable[..., Any] | None
    trials: int
    workers: int
    sampler: str
    seed: int
    device: str

    def settings(self) -> dict[str, Any]:
        """What `run.json` says of the search."""
        return {
            "space": self.space.name,
            "digest": self.space.digest,
            "objectives": {each.name: each.direction for each in self.objectives},
            "units": {each.name: each.unit for each in self.objectives},
            "limits": {limit.objective.name: limit.bound for limit in self.limits},
            "data": self.data,
            "objective": None if self.own is None else getattr(self.own, "__qualname__", type(self.own).__name__),
            "sampler": self.sampler,
            "seed": self.seed,
            "trials": self.trials,
            "workers": self.workers,
            "device": self.device,
            "versions": versions(),
            "plugins": self.plugins(),
        }

    def plugins(self) -> list[dict[str, str]]:
        """The plugins in force that don't come with blockforge; files with a short hash of what they say."""
        return [
            {
                "name": plugin.name,
                "distribution": plugin.distribution,
                "version": plugin.version,
                "file": plugin.location if plugin.origin == "file" else "",
                "sha256": plugin.digest,
                "error": plugin.error,
            }
            for plugin in self.registry.plugins
            if plugin.origin != "built-in"
        ]

    def setup(self) -> Setup:
        """What workers need to know; raises `BlockforgeError` when the user's objective can't travel."""
        free = {each.name for each in self.objectives if each.measure}
        return Setup(
            index=0,
            device=self.device,
            plugin_files=tuple(self.registry.plugin_files),
            data=self.data,
            train=dict(self.space.train),
            objective=None if self.own is None else _pickled(self.own),
            returns=tuple(each.name for each in self.objectives if each.name not in free),
        )

    def check_data(self, network: Network) -> None:
        """Raise `BlockforgeError` unless the data set has the images and classes that a network takes."""
        if self.data is None or self.own:
            return
        data = self.registry.dataset(self.data)
        if (tuple(network.input), network.classes) != (data.input, data.classes):
            takes, has = ("x".join(map(str, shape)) for shape in (network.input, data.input))
            raise BlockforgeError(
                f"search: networks of {self.space.name!r} take {takes} in {network.classes} classes, but the "
                f"data {data.name!r} has {has} in {data.classes}; set input: {list(data.input)} and "
                f"classes: {data.classes}"
            )


def make_plan(
    space: str | os.PathLike[str] | Space,
    *,
    objective: Callable[..., Any] | None,
    data: str | None,
    directions: Mapping[str, str] | None,
    limits: Mapping[str, float] | None,
    trials: int,
    workers: int | None,
    sampler: str,
    seed: int,
    device: str,
) -> Plan:
    """Check all that `search` was given; raises `BlockforgeError` before anything is written."""
    check_sampler(sampler)
    check_device(device)
    require_device(device)
    for name, number, least in (("trials", trials, 1), ("workers", workers, 1), ("seed", seed, 0)):
        if number is not None and (not isinstance(number, int) or number < least):
            raise BlockforgeError(f"search: {name} is {number!r}, and must be a whole number of at least {least}")
    if not isinstance(space, Space):
        space = load_space(space)
    registry = get_registry()
    if objective is not None and data is not None:
        raise BlockforgeError(
            f"search: data {data!r} is for the built-in training, and your objective has its own; give one"
        )
    if objective is None:
        data = data or space.data
        if data is None:
            known = ", ".join(sorted(registry.datasets))
            raise BlockforgeError(
                f"search: the space {space.name!r} names no data, and there is no objective; "
                f"give data ({known}) or an objective"
            )
        registry.dataset(data)
        train_settings(space.train)
    elif not callable(objective):
        raise BlockforgeError(
            f"search: the objective is {objective!r}; give a function objective(network, module, report)"
        )
    default = {"value": "maximize"} if objective is not None else {}
    resolved = resolve(directions or space.objectives or default, registry.objectives, own=objective is not None)
    bounds = resolve_limits({**space.limits, **(limits or {})}, registry.objectives)
    count = min(trials, default_workers(device)) if workers is None else workers
    plan = Plan(space, registry, resolved, bounds, data, objective, trials, count, sampler, seed, device)
    plan.check_data(space.first())
    return plan


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    from blockforge import __version__

    others = {name: metadata.version(name) for name in ("torch", "optuna", "numpy")}
    return {"blockforge": __version__, "python": platform.python_version(), **others}


def _pickled(objective: Callable[..., Any]) -> bytes:
    import cloudpickle

    try:
        pickled: bytes = cloudpickle.dumps(objective)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise BlockforgeError(
            f"search: the objective can't be sent to a worker ({reason}); make what it needs inside it"
        ) from None
    return pickled
