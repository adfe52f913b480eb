"""The search as a whole: own objectives, failures, interruptions, and what is refused before it begins."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter

import optuna
import pytest
from click.testing import CliRunner

from blockforge.cli import main
from blockforge.costing import cost
from blockforge.errors import BlockforgeError, SearchError
from blockforge.study import driver
from blockforge.study.driver import search
from blockforge.study.executors import LocalExecutor
from blockforge.study.run import Run
from tests.tiny import TINY, logged, params, picky, tiny_space


def quiet(space=None, **options):
    return search(space or tiny_space(), **{"workers": 1, "progress": False, **options})


def study_of(path):
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{path / 'study.db'}")
    trials = study.trials
    study._storage.remove_session()
    study._storage._backend.engine.dispose()
    return trials


def test_an_own_objective_beside_a_free_one_and_a_run_that_is_extended(tmp_path):
    options = {"objective": params, "directions": {"size": "maximize", "macs": "minimize"}}
    first = quiet(**options, trials=2, run=tmp_path / "a ?%20#b & run")
    run = quiet(**options, trials=4, run=tmp_path / "a ?%20#b & run")
    assert len(run) == 4
    for trial in run:
        assert trial.values == {"size": cost(trial.network).params, "macs": cost(trial.network).macs}
        assert trial.metrics["half"] == trial.values["size"] / 2 + 1
        assert len(trial.record["history"]) == 2
        assert "test_accuracy" not in trial.metrics
    assert [trial.record for trial in run][:2] == [trial.record for trial in first]
    settings = json.loads((run.path / "run.json").read_text())
    assert (settings["objective"], settings["trials"]) == ("params", 4)
    assert (run.path / "front.md").read_text().startswith(f"Front of tiny: {len(run.front)} of 4 trials.")


def test_failures_are_recorded_with_kind_and_line_and_the_search_goes_on_to_the_end_of_the_space(tmp_path, capsys):
    options = {"objective": picky, "directions": {"value": "maximize"}, "trials": 20, "run": tmp_path / "run"}
    run = quiet(**options, progress=True)
    assert len(run) == 9
    assert len({trial.network.hash for trial in run}) == 9
    kinds = Counter(
        (trial.record["choices"]["layer4.depth"], trial.failure["kind"], trial.failure["reason"])
        for trial in run.failed
    )
    assert kinds == {
        (1, "error", "ValueError: depth 1 is not for me"): 3,
        (2, "not finite", "value is nan"): 3,
    }
    assert {trial.values["value"] for trial in run if trial.complete} == {3.0}
    assert run.failed[0].metrics["params"] == cost(run.failed[0].network).params
    assert "in picky" in run.failed[0].failure["traceback"] or run.failed[0].failure["kind"] == "not finite"
    with pytest.raises(BlockforgeError, match="has no weights"):
        next(trial for trial in run.failed if trial.failure["kind"] == "error").load()
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "failed (error): ValueError: depth 1 is not for me" in shown.err
    assert "the space 'tiny' is exhausted after 9 trials: " in shown.err
    states = Counter(trial.state.name for trial in study_of(tmp_path / "run"))
    assert states["COMPLETE"] == 3
    assert states["RUNNING"] == 0


def test_a_search_whose_trials_all_fail(tmp_path):
    def broken(network, module, report):
        raise ValueError("never")

    with pytest.raises(SearchError) as caught:
        quiet(objective=broken, directions={"value": "maximize"}, trials=2, run=tmp_path / "run")
    first = min(trial.number for trial in Run.open(tmp_path / "run"))
    line = (
        f"{tmp_path / 'run'}: all 2 trials failed; the first: error: ValueError: never; "
        f"see {tmp_path / 'run' / 'trials' / f'{first:04d}' / 'metrics.json'}"
    )
    assert str(caught.value) == line
    assert caught.value.exit_code == 1
    for options in ([], ["--json"]):
        done = CliRunner().invoke(main, ["best", str(tmp_path / "run"), *options])
        assert (done.exit_code, done.stdout, done.stderr) == (1, "", f"{line}\n")


def test_limits_that_nothing_keeps(tmp_path, monkeypatch):
    monkeypatch.setattr(LocalExecutor, "start", LocalExecutor.stop)  # there is nothing to run
    with pytest.raises(SearchError) as caught:
        quiet(objective=params, directions={"size": "maximize"}, limits={"params": 10}, run=tmp_path / "run")
    smallest = cost(tiny_space().draw(lambda hole: hole.first)).params  # of the narrowest and the shallowest
    assert str(caught.value) == (
        f"search: no network of the space 'tiny' can be trained (2,010 not params <= 10; "
        f"the nearest: not params <= 10: {smallest:,}); raise the limits, or widen the space"
    )


def test_a_space_without_a_valid_network_is_not_a_matter_of_limits(tmp_path, monkeypatch):
    monkeypatch.setattr(LocalExecutor, "start", LocalExecutor.stop)
    space = tiny_space("base: lenet5\nset: {input: [1, 8, 8]}\nvary: {fc1.width: {choice: [8, 16]}}\n")
    with pytest.raises(SearchError) as caught:
        quiet(space, objective=params, directions={"size": "maximize"}, limits={"params": 1e9}, run=tmp_path / "run")
    assert str(caught.value) == (
        "search: no network of the space 'tiny' can be trained (2,010 invalid; the first: tiny: conv2: kernel 5 is "
        "larger than the padded input 2x2; use a larger input or a smaller kernel or stride, at input (1, 8, 8); "
        "the smallest input that works is 16x16); mend the space"
    )


class Killed(BaseException):
    """What stands for `kill -9` at a place where a signal can't be sent exactly."""


def test_a_trial_whose_files_are_whole_but_that_was_not_told_is_told_and_not_repeated(tmp_path, monkeypatch):
    (tmp_path / "log").mkdir()
    options = {
        "objective": logged(tmp_path / "log"),
        "directions": {"size": "minimize"},
        "trials": 3,
        "run": tmp_path / "run",
    }

    def killed(*arguments):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(driver, "tell", killed)
        with pytest.raises(Killed):
            quiet(**options)
    before = (tmp_path / "run/trials/0000/metrics.json").read_bytes()
    assert [trial.state.name for trial in study_of(tmp_path / "run")] == ["RUNNING"]
    run = quiet(**options)
    assert (tmp_path / "run/trials/0000/metrics.json").read_bytes() == before
    assert len(run) == 3
    assert len(list((tmp_path / "log").iterdir())) == 3
    states = Counter(trial.state.name for trial in study_of(tmp_path / "run"))
    assert (states["COMPLETE"], states["RUNNING"]) == (3, 0)


# A script without a guard, with its objective in it: workers must not run it again.
SCRIPT = """
import signal
import sys
sys.path[:] = {path!r}
from pathlib import Path
import time
signal.signal(signal.SIGINT, signal.default_int_handler)  # `nohup pytest &` has it ignored, by children too
import blockforge
from blockforge.study.driver import search
from blockforge.study.executors import LocalExecutor
from blockforge.study.space import space_from_yaml
here = Path({here!r})

def objective(network, module, report):
    with (here / "calls").open("a") as file:
        file.write(network.hash + "\\n")
    report(1, loss=1.0)
    time.sleep({sleep})
    return sum(parameter.numel() for parameter in module.parameters())

with (here / "runs").open("a") as file:
    file.write("run\\n")
space = space_from_yaml({space!r}, "tiny")
try:
    options = dict(trials=6, workers={workers}, run=here / "run")
    search(space, objective=objective, directions={{"size": "minimize"}}, **options)
except KeyboardInterrupt:
    sys.exit(130)
"""


def script(tmp_path, sleep, workers):
    file = tmp_path / "script.py"
    file.write_text(SCRIPT.format(path=sys.path, here=str(tmp_path), space=TINY, sleep=sleep, workers=workers))
    return subprocess.Popen([sys.executable, str(file)], stderr=subprocess.PIPE, text=True, start_new_session=True)


def finished(tmp_path):
    return {file: file.read_bytes() for file in tmp_path.glob("run/trials/*/metrics.json")}


def wait_for(condition, seconds=300):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_search_that_is_killed_goes_on_and_neither_loses_nor_repeats_a_finished_trial(tmp_path):
    with script(tmp_path, sleep=0.5, workers=2) as process:
        wait_for(lambda: len(finished(tmp_path)) >= 2)
        process.kill()
        process.communicate()
    before = finished(tmp_path)
    assert 2 <= len(before) < 6
    with script(tmp_path, sleep=0.0, workers=1) as process:
        said = process.communicate()[1]
    assert process.returncode == 0, said
    after = finished(tmp_path)
    assert len(after) == 6
    assert {file: after[file] for file in before} == before
    calls = Counter((tmp_path / "calls").read_text().split())
    hashes = {file: json.loads(content)["hash"] for file, content in after.items()}
    assert len(set(hashes.values())) == 6
    assert all(calls[hashes[file]] == 1 for file in before)
    assert set(calls) == set(hashes.values())  # what was interrupted was taken up again, under its number
    states = Counter(trial.state.name for trial in study_of(tmp_path / "run"))
    assert (states["COMPLETE"], states["RUNNING"]) == (6, 0)
    assert (tmp_path / "runs").read_text() == "run\nrun\n"


def test_an_interrupt_stops_cleanly_and_says_how_to_go_on(tmp_path):
    with script(tmp_path, sleep=0.5, workers=1) as process:
        wait_for(lambda: len(finished(tmp_path)) >= 1)
        process.send_signal(signal.SIGINT)
        said = process.communicate()[1]
    assert process.returncode == 130
    done = len(finished(tmp_path))
    assert 1 <= done < 6
    assert said.splitlines()[-1] == (
        f"stopped: {done} of 6 trials are done and kept in {tmp_path / 'run'}; the same command goes on"
    )
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "tpee"}, "search: no sampler 'tpee'; did you mean 'tpe'? there are nsga2, random, tpe"),
        ({"trials": 0}, "search: trials is 0, and must be a whole number of at least 1"),
        ({"workers": 1.5}, "search: workers is 1.5, and must be a whole number of at least 1"),
        ({"seed": -1}, "search: seed is -1, and must be a whole number of at least 0"),
        ({"device": "gpu"}, "device: no device 'gpu'; write auto, cpu, cuda or cuda:0"),
        ({"data": "digit"}, "digit: no data set of this name; did you mean 'digits'? there are digits"),
        (
            {"data": "digits", "objective": params},
            "search: data 'digits' is for the built-in training, and your objective has its own; give one",
        ),
        (
            {"limits": {"mac": 3}},
            "limits: no objective 'mac'; did you mean 'macs'? "
            "those with a limit are activations, macs, params, peak_memory",
        ),
        (
            {"directions": {"acc": "maximize"}},
            "objectives: no objective 'acc'; did you mean 'accuracy'? "
            "there are accuracy, activations, macs, params, peak_memory",
        ),
        (
            {"space": tiny_space(TINY.replace("data: digits", ""))},
            "search: the space 'tiny' names no data, and there is no objective; give data (digits) or an objective",
        ),
    ],
)
def test_mistakes_are_found_before_anything_is_written(tmp_path, options, message):
    with pytest.raises(BlockforgeError) as caught:
        quiet(**{"run": tmp_path / "run", **options})
    assert str(caught.value) == message
    assert caught.value.exit_code == 2
    assert not (tmp_path / "run").exists()


def test_networks_that_do_not_fit_the_data(tmp_path):
    space = tiny_space(TINY.replace("classes: 10", "classes: 7"))
    with pytest.raises(BlockforgeError) as caught:
        quiet(space, run=tmp_path / "run")
    assert str(caught.value) == (
        "search: networks of 'tiny' take 1x8x8 in 7 classes, but the data 'digits' has 1x8x8 in 10; "
        "set input: [1, 8, 8] and classes: 10"
    )


def test_an_objective_that_cannot_travel(tmp_path):
    import threading

    lock = threading.Lock()

    def objective(network, module, report):
        return lock

    with pytest.raises(BlockforgeError) as caught:
        quiet(objective=objective, directions={"value": "maximize"}, run=tmp_path / "run")
    assert str(caught.value) == (
        "search: the objective can't be sent to a worker (TypeError: cannot pickle '_thread.lock' object); "
        "make what it needs inside it"
    )


def test_the_default_folder_is_runs_and_the_space_and_the_default_direction_is_up(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = tiny_space(TINY.replace("objectives: {accuracy: maximize, macs: minimize}\n", ""))
    run = quiet(space, objective=params, trials=1)
    assert run.path.resolve() == tmp_path / "runs" / "tiny"
    assert run.settings["objectives"] == {"value": "maximize"}
    with pytest.raises(BlockforgeError) as caught:
        quiet(space, objective=params, trials=1, seed=3)
    assert str(caught.value) == (
        "runs/tiny: was searched with seed 0, and this asks for 3; give another --run, or remove the folder"
    )


def test_mistakes_in_training_stand_where_they_were_made():
    with pytest.raises(BlockforgeError) as caught:
        tiny_space(TINY.replace("epochs: 1, batch: 256", "epoch: 1, batch: many, lr: -1"))
    assert str(caught.value).splitlines() == [
        "tiny:9:19: train.batch: must be a whole number, but is 'many'",
        "tiny:9:32: train.lr: must be greater than 0, but is -1",
        "tiny:9:9: train.epoch: train has no parameter 'epoch'; did you mean 'epochs'? "
        "it has epochs, batch, lr, weight_decay, warmup, label_smoothing, shift, flip",
    ]


def test_a_device_that_is_not_there_makes_no_folder(tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BlockforgeError) as caught:
        search(tiny_space(), device="cuda:1", run=tmp_path / "run")
    assert str(caught.value) == "device: cuda:1: torch finds no CUDA device here; use auto or cpu"
    assert not (tmp_path / "run").exists()
