"""A search that was run, read back from its folder: its trials, its front, its networks and their weights."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blockforge.errors import BlockforgeError, SearchError, UnknownName
from blockforge.study.folder import COMPLETE, METRICS, RUN, network_of, read_json, records
from blockforge.study.objectives import Objective, pareto, shown

if TYPE_CHECKING:
    from torch import nn

    from blockforge.network import Network


@dataclass(frozen=True)
class Trial:
    """One trained network of a run; `record` is its `metrics.json`, and `test` what the front's test gave."""

    folder: Path
    record: Mapping[str, Any]
    test: Mapping[str, float] = field(default_factory=dict)

    @property
    def number(self) -> int:
        """The trial's number, which its folder has too."""
        return int(self.record["trial"])

    @property
    def complete(self) -> bool:
        """Whether it was trained to the end; else `failure` says why not."""
        return bool(self.record["state"] == COMPLETE)

    @property
    def failure(self) -> Mapping[str, str] | None:
        """The `kind`, the `reason` and the `traceback` of a failure, or None."""
        failure: Mapping[str, str] | None = self.record.get("failure")
        return failure

    @property
    def values(self) -> Mapping[str, float]:
        """The objectives' values by name; empty where the trial failed."""
        values: Mapping[str, float] = self.record.get("values", {})
        return values

    @property
    def metrics(self) -> dict[str, float]:
        """All numbers: of the training, costs, seconds, and for the front's trials of the test split."""
        return {**self.record["cost"], **self.record["metrics"], "seconds": self.record["seconds"], **self.test}

    @cached_property
    def network(self) -> Network:
        """The architecture."""
        return network_of(self.folder)

    def __repr__(self) -> str:
        """What a notebook shows: `<Trial runs/digits/trials/0017: accuracy 0.9722, macs 1,234,567>`."""
        if not self.complete:
            return f"<Trial {self.folder}: failed: {(self.failure or {}).get('reason')}>"
        return f"<Trial {self.folder}: {', '.join(f'{name} {shown(value)}' for name, value in self.values.items())}>"

    def load(self) -> nn.Module:
        """The module with its trained weights, on the CPU and in eval mode; raises `BlockforgeError`."""
        path = self.folder / "weights.safetensors"
        if not path.is_file():
            reason = self.failure["reason"] if self.failure else "weights.safetensors is missing"
            raise BlockforgeError(f"{self.folder}: has no weights ({reason}); load another trial")
        from safetensors.torch import load_file

        from blockforge.builder import build

        module: nn.Module = build(self.network, init=False)
        module.load_state_dict(load_file(path))
        return module.eval()


@dataclass(frozen=True)
class Run:
    """A search that was run: `run[17]` is trial 17, `run.front` what no other beats, iteration gives all.

    Trials are known by their number, which has gaps where a candidate was not worth training.
    """

    path: Path
    settings: Mapping[str, Any]
    trials: tuple[Trial, ...]

    @staticmethod
    def open(path: str | os.PathLike[str]) -> Run:
        """Read a run's folder as it is now; raises `BlockforgeError` when it holds none."""
        path = Path(path)
        if not (path / RUN).is_file():
            raise BlockforgeError(f"{path}: holds no run (there is no run.json); give the folder of a search")
        tests = read_json(path / "front.json")["test"] if (path / "front.json").is_file() else {}
        trials = [
            Trial(folder, record, tests.get(str(record["trial"]), {})) for folder, record in records(path).items()
        ]
        return Run(path, read_json(path / RUN), tuple(trials))

    @property
    def name(self) -> str:
        """The name of the space that was searched."""
        return str(self.settings["space"])

    @cached_property
    def objectives(self) -> tuple[Objective, ...]:
        """What was minimised or maximised."""
        units = self.settings["units"]
        return tuple(Objective(name, way, units[name]) for name, way in self.settings["objectives"].items())

    @cached_property
    def front(self) -> tuple[Trial, ...]:
        """The trials that no other one beats, the best in the first objective first."""
        complete = [trial for trial in self.trials if trial.complete]
        names = [objective.name for objective in self.objectives]
        places = pareto([[trial.values[name] for name in names] for trial in complete], self.objectives)
        return tuple(complete[place] for place in places)

    @property
    def failed(self) -> tuple[Trial, ...]:
        """The trials that failed."""
        return tuple(trial for trial in self.trials if not trial.complete)

    def check_outcome(self) -> None:
        """Raise `SearchError` where all trials failed, with why the first one did."""
        if self.trials and len(self.failed) == len(self):
            first = self.failed[0]
            failure = first.failure or {}
            raise SearchError(
                f"{self.path}: all {len(self)} trials failed; the first: {failure.get('kind')}: "
                f"{failure.get('reason')}; see {first.folder / METRICS}"
            )

    def __len__(self) -> int:
        """The number of trials, failed ones included."""
        return len(self.trials)

    def __iter__(self) -> Iterator[Trial]:
        """All trials, in the order of their numbers."""
        return iter(self.trials)

    def __getitem__(self, number: int) -> Trial:
        """The trial of this number; raises `UnknownName`."""
        for trial in self.trials:
            if trial.number == number:
                return trial
        known = ", ".join(str(trial.number) for trial in self.trials[:8]) + (", ..." if len(self) > 8 else "")
        raise UnknownName(f"{self.path}: no trial {number}; there are {known or 'none'}")

    def __repr__(self) -> str:
        """What a notebook shows."""
        return f"<Run {self.path}: {len(self)} trials, {len(self.front)} on the front>"
