"""The search: one driver owns the study, proposes candidates, keeps what trials give, ends with a front."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blockforge.errors import BlockforgeError, SearchError
from blockforge.study.executors import Event, Executor, LocalExecutor, Reported, Started
from blockforge.study.folder import (
    LOG,
    NETWORK,
    RUN,
    WEIGHTS,
    Folder,
    network_of,
    read_json,
    records,
    write,
    write_json,
)
from blockforge.study.jobs import Job, Outcome
from blockforge.study.plan import Plan, make_plan
from blockforge.study.progress import Progress, State, make_progress
from blockforge.study.record import make_record
from blockforge.study.run import Run, Trial
from blockforge.study.storage import open_study, tell

if TYPE_CHECKING:
    from optuna import Study

    from blockforge.study.proposals import Proposal, Proposer
    from blockforge.study.space import Space

# A run's folder goes on only with the same of these.
IDENTITY = ("space", "digest", "objectives", "limits", "data", "objective", "sampler", "seed")
TRIALS = 32


def search(
    space: str | os.PathLike[str] | Space,
    *,
    objective: Callable[..., Any] | None = None,
    data: str | None = None,
    directions: Mapping[str, str] | None = None,
    limits: Mapping[str, float] | None = None,
    trials: int = TRIALS,
    workers: int | None = None,
    sampler: str = "tpe",
    run: str | os.PathLike[str] | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: bool = True,
) -> Run:
    """Train networks of a space (a name, a file or a `Space`) and return the run with its Pareto front.

    Without `objective` each trial trains on the space's data set, or on `data`. With one, a worker calls
    `objective(network, module, report)`, which trains the module in place with a loop of its own, may call
    `report(step, **metrics)`, and returns a number, a tuple, or a dict of values by name. `directions` says
    what is maximised or minimised (default: the space's objectives, else `{"value": "maximize"}`); those that
    are free, such as `macs`, aren't for the objective to return. `limits` are added to the space's. `workers`
    defaults to the number of cores, one thread each; `device` is `auto`, `cpu`, `cuda` or `cuda:0`.

    The folder `run` (default `runs/SPACE`) keeps everything. The same call goes on where an interrupted one
    stopped, more `trials` extend a run, and a finished one comes back as it is. Raises `BlockforgeError`.
    """
    plan = make_plan(
        space,
        objective=objective,
        data=data,
        directions=directions,
        limits=limits,
        trials=trials,
        workers=workers,
        sampler=sampler,
        seed=seed,
        device=device,
    )
    folder = Folder(Path("runs") / plan.space.name if run is None else Path(run))
    shown = make_progress(progress)
    try:
        with folder.claim(plan.settings(), IDENTITY), _Driver(plan, folder, shown) as driver:
            return driver.run()
    except OSError as error:
        reason = error.strerror or error
        raise SearchError(f"{folder.path}: can't be written: {reason}; the same command goes on") from error
    finally:
        shown.close()


class _Driver:
    """A search while it runs."""

    def __init__(self, plan: Plan, folder: Folder, progress: Progress) -> None:
        self.plan, self.folder, self.progress = plan, folder, progress
        self.executor: Executor = LocalExecutor(plan.workers, plan.setup(), folder.path / LOG)
        self.records = {int(record["trial"]): record for record in records(folder.path).values()}
        self.running: dict[int, Proposal] = {}
        self.state = State(plan.space.name, str(folder.path), plan.trials, plan.workers, plan.objectives)
        self.state.done = len(self.records)
        self._count()

    def __enter__(self) -> _Driver:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.executor.stop()
        if kind is KeyboardInterrupt:
            self.progress.close()
            done = len(records(self.folder.path))  # the state may be one behind the files
            self.progress.say(
                f"stopped: {done} of {self.plan.trials} trials are done and kept in "
                f"{self.folder.path}; the same command goes on"
            )

    def run(self) -> Run:
        if len(self.records) < self.plan.trials:
            self.progress.say(
                f"searching {self.plan.space.name}: {self.plan.trials} trials, {self.plan.workers} at a time, "
                f"kept in {self.folder.path}"
            )
            self._keep_settings()
            self.executor.start()  # workers import torch while the driver imports optuna
            database = self.folder.path / "study.db"
            with open_study(database, self.plan.space.name, self.plan.objectives) as study:
                self._train(study)
        self._run().check_outcome()
        return self._finish()

    def _keep_settings(self) -> None:
        write_json(self.folder.path / RUN, self.plan.settings())  # first: it tells whose folder it is
        write(self.folder.path / "space.yaml", self.plan.space.to_yaml())

    # -- trials

    def _train(self, study: Study) -> None:
        from blockforge.study.proposals import Proposer

        proposer = Proposer(self.plan.space, study, self.plan.sampler, self.plan.seed, self.plan.limits)
        proposer.known |= {record["hash"] for record in self.records.values()}
        left_over = self._left_over(study, proposer)
        exhausted = False
        self.progress.update(self.state)
        while True:
            while self.executor.free() and not exhausted and self.state.done + len(self.running) < self.plan.trials:
                proposal = left_over.pop(0) if left_over else proposer.next()
                self.state.refused = proposer.refused
                exhausted = proposal is None
                if proposal:
                    self._begin(proposal)
            if not self.running:
                break
            outcome = self._heard(self.executor.wait(1.0))
            if outcome:
                self._end(study, outcome)
            self.progress.update(self.state)
        if exhausted:
            self._tell_exhausted(proposer)

    def _begin(self, proposal: Proposal) -> None:
        self.plan.check_data(proposal.network)
        text = proposal.network.to_yaml(flat=True)
        self.folder.begin(proposal.number, text)
        self.running[proposal.number] = proposal
        self.state.running[proposal.number] = {}
        self.executor.submit(Job(proposal.number, text, self.plan.seed))

    def _heard(self, event: Event | None) -> Outcome | None:
        if isinstance(event, Started):
            self.state.device = event.device.partition(":")[0]
        elif isinstance(event, Reported) and event.number in self.state.running:
            self.state.running[event.number] = event.metrics
        return event if isinstance(event, Outcome) else None

    def _end(self, study: Study, outcome: Outcome) -> None:
        """Keep an outcome: files first, then the study, so that a kill in between costs nothing."""
        proposal = self.running.pop(outcome.number)
        self.state.running.pop(outcome.number, None)
        record = make_record(self.plan, proposal, outcome)
        self.folder.finish(proposal.number, record, outcome.weights)
        self.records[proposal.number] = record
        tell(study, record, self.plan.objectives)
        self.state.done += 1
        self.state.took.append(record["seconds"])
        self._count()
        self.progress.ended(self.state, Trial(self.folder.trial(proposal.number), record))

    # -- going on after an interruption

    def _left_over(self, study: Study, proposer: Proposer) -> list[Proposal]:
        """Trials that the study has as running: told if their files are whole, else to be trained again."""
        from optuna.trial import TrialState

        from blockforge.study.proposals import Proposal

        numbers = {trial.number for trial in study.get_trials(deepcopy=False)}
        if set(self.records) - numbers:
            raise BlockforgeError(
                f"{self.folder.path}: study.db knows nothing of trial {max(set(self.records) - numbers)}; "
                "give another --run, or remove the folder"
            )
        again = []
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.number in self.records:
                tell(study, self.records[trial.number], self.plan.objectives)
            elif (self.folder.trial(trial.number) / NETWORK).is_file():
                network = network_of(self.folder.trial(trial.number))
                proposer.known.add(network.hash)
                again.append(Proposal(trial.number, network, dict(trial.params)))
            else:  # killed while it was drawn
                study.tell(trial.number, state=TrialState.FAIL)
        return again

    # -- the end

    def _run(self) -> Run:
        trials = [Trial(self.folder.trial(number), record) for number, record in sorted(self.records.items())]
        return Run(self.folder.path, self.plan.settings(), tuple(trials))

    def _count(self) -> None:
        run, learned = self._run(), self.state.learned
        values = [trial.values[learned.name] for trial in run if trial.complete]
        pick = max if learned.direction == "maximize" else min
        self.state.failed, self.state.front = len(run.failed), len(run.front)
        self.state.best = pick(values) if values else None

    def _tell_exhausted(self, proposer: Proposer) -> None:
        refused = ", ".join(f"{count:,} {kind}" for kind, count in proposer.refused.most_common())
        if not self.records:
            nearest = proposer.nearest
            why, remedy = f"the first: {proposer.first_invalid}", "mend the space"
            if nearest:
                why, remedy = f"the nearest: {nearest.reason}", "raise the limits, or widen the space"
            raise SearchError(
                f"search: no network of the space {self.plan.space.name!r} can be trained ({refused}; {why}); {remedy}"
            )
        self.progress.say(
            f"the space {self.plan.space.name!r} is exhausted after {self.state.done} trials: "
            f"of the last candidates none was new and within the limits ({refused})"
        )

    def _finish(self) -> Run:
        """Measure the front on the test split, from the weights as they are on disk, and write the report."""
        from blockforge.study.report import write_report

        run = Run.open(self.folder.path)
        tests = {trial.number: dict(trial.test) for trial in run.front}
        if self.plan.own is None:
            tests |= self._test([trial for trial in run.front if not trial.test])
        file, front = self.folder.path / "front.json", {"trials": len(run), "front": [*tests], "test": tests}
        if not (file.is_file() and (file.parent / "front.png").is_file() and read_json(file) == _as_json(front)):
            write_json(file, front)
            run = Run.open(self.folder.path)
            write_report(run)
        return run

    def _test(self, trials: list[Trial]) -> dict[int, dict[str, float]]:
        for trial in trials:
            network, weights = ((trial.folder / NETWORK).read_text("utf-8"), (trial.folder / WEIGHTS).read_bytes())
            self.executor.submit(Job(trial.number, network, self.plan.seed, weights))
        tests: dict[int, dict[str, float]] = {}
        while len(tests) < len(trials):
            outcome = self._heard(self.executor.wait(1.0))
            if outcome:
                tests[outcome.number] = outcome.metrics
                if outcome.failure:
                    self.progress.say(f"trial {outcome.number}: no test accuracy: {outcome.failure['reason']}")
        return tests


def _as_json(content: Any) -> Any:
    return json.loads(json.dumps(content))
