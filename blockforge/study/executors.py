"""Executors run jobs somewhere: here, in long-lived worker processes on this machine."""

from __future__ import annotations

import os
import pickle
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from blockforge.errors import BlockforgeError, SearchError
from blockforge.study.jobs import Job, Outcome, Setup

# A string and not `-m`: a worker must find modules where its driver does, not in the current folder first.
_BOOT = "import sys; sys.path[:] = eval(sys.argv.pop()); from blockforge.study.worker import main; main()"


@dataclass(frozen=True)
class Started:
    """A worker is ready, or a job has gone to one."""

    number: int | None
    device: str


@dataclass(frozen=True)
class Reported:
    """A running job told its metrics after a step."""

    number: int
    metrics: dict[str, float]


Event = Started | Reported | Outcome


class Executor(Protocol):
    """What the driver needs of a place where jobs run."""

    def start(self) -> None:
        """Begin to get ready, without waiting for it."""

    def submit(self, job: Job) -> None:
        """Take a job; it runs when a worker is free."""

    def free(self) -> int:
        """How many more jobs would run at once."""

    def wait(self, seconds: float) -> Event | None:
        """The next event, or None after so many seconds; raises `SearchError` if no worker can start."""

    def stop(self) -> None:
        """End all workers, whatever they do."""


class _Process:
    """A worker process, with a thread that puts what it sends into the executor's queue."""

    def __init__(self, setup: Setup, log: Path, events: queue.SimpleQueue[tuple[_Process, tuple[Any, ...]]]) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with log.open("ab") as errors:
            self.process = subprocess.Popen(  # noqa: S603 (our own interpreter and our own code)
                [sys.executable, "-c", _BOOT, repr(sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                start_new_session=True,  # so that Ctrl-C in the terminal reaches the driver alone
            )
        self.setup, self.log = setup, log
        self.job: Job | None = None
        self.ready = False
        self.device = ""
        self._thread = threading.Thread(target=self._listen, args=(events,), daemon=True)
        self._thread.start()
        self.send(setup)

    def send(self, thing: Setup | Job) -> None:
        """Send it; a worker that died is told of by the listening thread."""
        if self.process.stdin:
            with suppress(BrokenPipeError):
                pickle.dump(thing, self.process.stdin)
                self.process.stdin.flush()

    def _listen(self, events: queue.SimpleQueue[tuple[_Process, tuple[Any, ...]]]) -> None:
        try:
            while self.process.stdout:
                events.put((self, pickle.load(self.process.stdout)))  # noqa: S301 (our own worker's)
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):
            events.put((self, ("died",)))

    def end(self) -> str:
        """Kill the process if it lives, and say how it ended: `killed by SIGKILL` or `exit code 3`."""
        self.close()
        try:
            code = self.process.wait(1)  # its pipe is closed, so it ends on its own
        except subprocess.TimeoutExpired:
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)  # the group: with processes of a user's objective
            else:
                self.process.kill()
            code = self.process.wait()
        self._thread.join()
        if self.process.stdout:
            self.process.stdout.close()
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def close(self) -> None:
        """Tell the worker to end, by closing its standard input."""
        with suppress(OSError):
            if self.process.stdin:
                self.process.stdin.close()

    def last_words(self) -> str:
        """The last line of the log, where a worker that can't start has left its reason."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else "it said nothing"


class LocalExecutor:
    """Long-lived worker processes, one job at a time each; a dead one is replaced, and its job has failed."""

    def __init__(self, workers: int, setup: Setup, log: Path) -> None:
        """Note what to start; what workers print goes to the file `log`."""
        self._count, self._setup, self._log = workers, setup, log
        self._processes: list[_Process] = []
        self._events: queue.SimpleQueue[tuple[_Process, tuple[Any, ...]]] = queue.SimpleQueue()
        self._waiting: list[Job] = []

    def start(self) -> None:
        """Start the worker processes; returns at once."""
        for index in range(len(self._processes), self._count):
            self._processes.append(_Process(replace(self._setup, index=index), self._log, self._events))

    def submit(self, job: Job) -> None:
        """Give a job to a worker that is free, or to the next that will be."""
        self.start()
        self._waiting.append(job)
        self._hand_out()

    def free(self) -> int:
        """How many more jobs would run at once."""
        return self._count - sum(process.job is not None for process in self._processes) - len(self._waiting)

    def wait(self, seconds: float) -> Event | None:
        """The next event, or None; raises `SearchError` when a worker dies before it is ready."""
        try:
            process, message = self._events.get(timeout=seconds)
        except queue.Empty:
            return None
        return self._handle(process, *message)

    def _handle(self, process: _Process, kind: str, *rest: Any) -> Event | None:
        if process not in self._processes:
            return None  # the end of one that has been replaced
        if kind == "ready":
            process.ready, process.device = True, rest[0]
            self._hand_out()
            return Started(None, process.device)
        if kind == "report":
            return Reported(*rest)
        if kind == "refused":
            raise BlockforgeError(rest[0])
        job, process.job = process.job, None
        if kind == "done":
            self._hand_out()
            outcome: Outcome = rest[0]
            return outcome
        return self._replace(process, job)

    def _replace(self, process: _Process, job: Job | None) -> Event | None:
        how = process.end()
        if not process.ready:
            raise SearchError(f"search: a worker can't start ({how}): {process.last_words()}; see {self._log}")
        place = self._processes.index(process)
        self._processes[place] = _Process(process.setup, self._log, self._events)
        if job is None:
            return None
        hint = " (often the system's, out of memory)" if "SIGKILL" in how else ""
        reason = f"the worker was {how}{hint}; see {self._log.name}".replace("was exit", "ended with exit")
        facts = {"device": process.device}
        return Outcome(job.number, failure={"kind": "worker died", "reason": reason, "traceback": ""}, facts=facts)

    def _hand_out(self) -> None:
        idle: Iterator[_Process] = (each for each in self._processes if each.ready and each.job is None)
        for process in idle:
            if not self._waiting:
                return
            process.job = self._waiting.pop(0)
            process.send(process.job)

    def stop(self) -> None:
        """End all workers, in the middle of whatever they do."""
        for process in self._processes:
            process.close()
        for process in self._processes:
            process.end()
        self._processes, self._waiting = [], []


def check_device(name: str) -> None:
    """Raise `BlockforgeError` unless this is how a device is written."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise BlockforgeError(f"device: no device {name!r}; write auto, cpu, cuda or cuda:0")


def require_device(name: str) -> None:
    """Raise `BlockforgeError` unless the device is there; `cpu` and `auto` always are."""
    if name.startswith("cuda"):
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not count:
            raise BlockforgeError(f"device: {name}: torch finds no CUDA device here; use auto or cpu")
        if int(name.partition(":")[2] or 0) >= count:
            raise BlockforgeError(f"device: {name}: torch finds {count} CUDA devices; use cuda:0 to cuda:{count - 1}")


def default_workers(device: str) -> int:
    """A worker for each core that this process may use; on CUDA at most four for each GPU."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Only a machine with NVIDIA's driver pays for importing torch here.
    if device == "cpu" or not (Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists() or os.name == "nt"):
        return cores
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not gpus:
        return cores
    return max(1, min(cores, 4 * (1 if ":" in device else gpus)))
