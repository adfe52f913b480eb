"""A worker: the process that runs jobs, one at a time, until its driver is gone."""

from __future__ import annotations

import os
import pickle
import queue
import signal
import sys
import threading
from typing import Any, BinaryIO

from blockforge.errors import BlockforgeError
from blockforge.study.bench import Bench
from blockforge.study.jobs import Job, Setup


def main() -> None:
    """Serve jobs from standard input until it ends, which it does when the driver is gone, killed or not."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's, which ends its workers itself
    inbox, outbox = _private_pipes()
    setup: Setup = pickle.load(inbox)  # noqa: S301 (our own driver's)
    jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(inbox, jobs), daemon=True).start()

    def send(*message: Any) -> None:
        pickle.dump(message, outbox)
        outbox.flush()

    try:
        bench = Bench(setup)
    except BlockforgeError as error:
        send("refused", str(error))
        return
    send("ready", str(bench.device))
    while True:
        job = jobs.get()
        outcome = bench.run(job, lambda metrics, number=job.number: send("report", number, metrics))
        send("done", outcome)


def _private_pipes() -> tuple[BinaryIO, BinaryIO]:
    """The driver's pipes, away from where a user's `print` and `input` would get at them."""
    inbox, outbox = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return inbox, outbox


def _listen(inbox: BinaryIO, jobs: queue.SimpleQueue[Job]) -> None:
    try:
        while True:
            jobs.put(pickle.load(inbox))  # noqa: S301 (our own driver's)
    except EOFError:
        pass
    finally:  # also when the driver was killed in the middle of a job
        sys.stderr.flush()
        if hasattr(os, "killpg") and os.getpgid(0) == os.getpid():
            os.killpg(0, signal.SIGKILL)  # with whatever processes a user's objective has started
        os._exit(0)
