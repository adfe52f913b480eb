"""Worker processes: real ones, and what becomes of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cloudpickle
import pytest

from blockforge.errors import BlockforgeError, SearchError
from blockforge.study.executors import LocalExecutor, Reported, Started, check_device, default_workers
from blockforge.study.jobs import Job, Outcome, Setup
from tests.tiny import tiny_space

YAML = tiny_space().first().to_yaml(flat=True)
DIE, PRINT, FAIL, EXIT = 1, 2, 3, 4


def obey(network, module, report):
    """Do what the job's seed says, and return the worker's process."""
    import torch

    order = torch.initial_seed()
    report(1, order=order)
    if order == DIE:
        os.kill(os.getpid(), signal.SIGKILL)
    if order == PRINT:
        print("a user's own line")
        os.write(1, b"and one past Python\n")
        os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C would, if it reached a worker
    if order == FAIL:
        raise ValueError("as told")
    if order == EXIT:
        os._exit(3)
    return {"pid": os.getpid(), "threads": torch.get_num_threads(), "stdin": len(sys.stdin.read())}


def setup(**changes):
    values = {"index": 0, "device": "cpu", "plugin_files": (), "data": None, "train": {}}
    return Setup(**{**values, "objective": cloudpickle.dumps(obey), "returns": ("pid",), **changes})


@pytest.fixture(scope="module")
def executor(tmp_path_factory):
    made = LocalExecutor(2, setup(), tmp_path_factory.mktemp("run") / "workers.log")
    yield made
    made.stop()


def outcomes(executor, *orders):
    for number, order in enumerate(orders):
        executor.submit(Job(number, YAML, order))
    found, events = {}, []
    deadline = time.monotonic() + 120
    while len(found) < len(orders) and time.monotonic() < deadline:
        event = executor.wait(1)
        events.append(event)
        if isinstance(event, Outcome):
            found[event.number] = event
    return [found[number] for number in range(len(orders))], events


def test_jobs_are_shared_out_and_reports_come_as_they_are_made(executor):
    assert executor.free() == 2
    found, events = outcomes(executor, 10, 11, 12, 13)
    assert [outcome.failure for outcome in found] == [None] * 4
    assert 1 <= len({outcome.metrics["pid"] for outcome in found}) <= 2
    assert os.getpid() not in {outcome.metrics["pid"] for outcome in found}
    assert {outcome.metrics["threads"] for outcome in found} == {1}
    assert next(event for event in events if isinstance(event, Started)).device == "cpu"
    reported = {event.number: event.metrics for event in events if isinstance(event, Reported)}
    assert reported == {n: {"step": 1, "order": 10.0 + n} for n in range(4)}
    assert executor.free() == 2


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (DIE, "the worker was killed by SIGKILL (often the system's, out of memory); see workers.log"),
        (EXIT, "the worker ended with exit code 3; see workers.log"),
    ],
)
def test_a_worker_that_dies_fails_its_job_and_is_replaced(executor, order, reason):
    found, _ = outcomes(executor, order, 10, 11, 12)
    assert found[0].failure == {"kind": "worker died", "reason": reason, "traceback": ""}
    assert [outcome.failure for outcome in found[1:]] == [None] * 3
    assert executor.free() == 2


def test_what_a_job_prints_goes_to_the_log_and_an_interrupt_does_not_reach_it(executor):
    (outcome,), _ = outcomes(executor, PRINT)
    assert outcome.failure is None
    assert outcome.metrics["stdin"] == 0
    log = executor._log.read_text()
    assert "a user's own line\n" in log or "and one past Python\n" in log


def test_a_job_that_raises_leaves_its_worker_alive(executor):
    before = {each.process.pid for each in executor._processes}
    found, _ = outcomes(executor, FAIL, FAIL)
    assert [outcome.failure["reason"] for outcome in found] == ["ValueError: as told"] * 2
    assert {each.process.pid for each in executor._processes} == before


def test_a_worker_that_refuses_its_setup_says_why(tmp_path):
    executor = LocalExecutor(1, setup(plugin_files=(str(tmp_path / "none.py"),)), tmp_path / "workers.log")
    executor.start()
    try:
        with pytest.raises(BlockforgeError, match=r"none\.py: no such file; give the path of a Python file"):
            executor.wait(60)
    finally:
        executor.stop()


def test_a_worker_that_dies_before_it_is_ready_ends_the_search(tmp_path):
    plugin = tmp_path / "deadly.py"
    plugin.write_text("import os, sys\nprint('last words', file=sys.stderr, flush=True)\nos._exit(7)\n")
    executor = LocalExecutor(1, setup(plugin_files=(str(plugin),)), tmp_path / "workers.log")
    executor.start()
    try:
        with pytest.raises(SearchError) as caught:
            executor.wait(60)
    finally:
        executor.stop()
    expected = f"search: a worker can't start (exit code 7): last words; see {tmp_path / 'workers.log'}"
    assert str(caught.value) == expected


ORPHANS = """
import sys
from pathlib import Path
from blockforge.study.executors import LocalExecutor
from blockforge.study.jobs import Job
from tests.test_executors import YAML, setup, sleepy
executor = LocalExecutor(1, setup(objective=sleepy()), Path(sys.argv[1]) / "workers.log")
executor.start()
executor.submit(Job(0, YAML, 0))
executor.wait(60)
child = int(executor.wait(60).metrics["child"])
print(*[each.process.pid for each in executor._processes], child, flush=True)
executor.wait(600)
"""


def sleepy():
    """An objective that reports and then sleeps for ten minutes, with a child process of its own."""

    def objective(network, module, report):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        report(1, child=child.pid)
        time.sleep(600)

    return cloudpickle.dumps(objective)


def test_workers_end_when_their_driver_is_killed(tmp_path):
    driver = subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{ORPHANS}", str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    with driver:
        workers = [int(word) for word in driver.stdout.readline().split()]  # one, and its child
        assert len(workers) == 2
        assert all(alive(pid) for pid in workers)
        driver.kill()
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in workers)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")  # a zombie that nobody has waited for is dead all the same
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


def test_devices_by_name():
    for name in ("auto", "cpu", "cuda", "cuda:3"):
        check_device(name)
    with pytest.raises(BlockforgeError) as caught:
        check_device("gpu")
    assert str(caught.value) == "device: no device 'gpu'; write auto, cpu, cuda or cuda:0"
    assert default_workers("cpu") == len(os.sched_getaffinity(0))
