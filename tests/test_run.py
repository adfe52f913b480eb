"""A search on the digits, small but real, and what its folder gives back."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
import torch

from blockforge.costing import cost
from blockforge.documents import find
from blockforge.errors import BlockforgeError, UnknownName
from blockforge.network import get_network
from blockforge.registry import get_registry
from blockforge.study.driver import search
from blockforge.study.run import Run, Trial
from blockforge.study.space import load_space
from tests.tiny import tiny_space


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return search(tiny_space(), trials=3, workers=2, run=tmp_path_factory.mktemp("runs") / "tiny", progress=False)


def test_a_run_has_its_trials_by_number(run):
    assert len(run) == 3
    assert [trial.number for trial in run] == sorted(trial.number for trial in run)
    assert all(run[trial.number] is trial for trial in run)
    with pytest.raises(UnknownName) as caught:
        run[99]
    numbers = ", ".join(str(trial.number) for trial in run)
    assert str(caught.value) == f"{run.path}: no trial 99; there are {numbers}"
    assert repr(run) == f"<Run {run.path}: 3 trials, {len(run.front)} on the front>"


def test_a_trial_is_shown_by_its_folder_and_its_values(tmp_path, run):
    trial = run.front[0]
    accuracy, macs = trial.values["accuracy"], trial.values["macs"]
    assert repr(trial) == f"<Trial {trial.folder}: accuracy {accuracy:.4g}, macs {macs:,}>"
    failed = Trial(tmp_path, {"trial": 3, "state": "failed", "failure": {"kind": "error", "reason": "E: never"}})
    assert repr(failed) == f"<Trial {tmp_path}: failed: E: never>"


def test_a_folder_in_the_place_of_a_network_names_the_file_to_give(run, tmp_path):
    first = sorted((run.path / "trials").iterdir())[0]
    for place, file in ((first, first / "network.yaml"), (run.path, first / "network.yaml")):
        assert refusal(get_network, place) == f"{place}: a folder, not a network; name a file in it, as in {file}"
    assert refusal(get_network, tmp_path) == f"{tmp_path}: a folder, not a network; name a YAML file in it"
    assert refusal(load_space, run.path) == (
        f"{run.path}: a folder, not a space; name a file in it, as in {run.path / 'space.yaml'}"
    )


def test_a_folder_that_is_called_as_a_network_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lenet5").mkdir()
    assert find("lenet5", get_registry()).name == "lenet5"
    assert refusal(get_network, "n" * 5000).startswith("nnn")  # no system has a path so long


def refusal(read, place):
    with pytest.raises(BlockforgeError) as caught:
        read(place)
    return str(caught.value)


def test_a_trial_has_its_architecture_its_metrics_and_all_that_they_depend_on(run):
    for trial in run:
        assert trial.complete
        assert trial.failure is None
        assert trial.record["hash"] == trial.network.hash
        assert 0 < trial.metrics["accuracy"] <= 1
        assert trial.metrics["params"] == cost(trial.network).params
        assert trial.values == {"accuracy": trial.metrics["accuracy"], "macs": cost(trial.network).macs}
        assert trial.record["seed"] == 0
        assert trial.record["threads"] == 1
        assert trial.record["versions"]["torch"] == torch.__version__.partition("+")[0]
        assert set(trial.record["versions"]) == {"blockforge", "python", "torch", "optuna", "numpy"}
        assert trial.record["train"]["epochs"] == 1
        assert [step["step"] for step in trial.record["history"]] == [1]
        assert set(trial.record["choices"]) == {"layer1.width", "layer4.depth"}


def test_the_front_is_selected_on_validation_and_tested_from_the_saved_weights(run):
    test = get_registry().dataset("digits").load().test
    images, labels = torch.from_numpy(test.images), torch.from_numpy(test.labels)
    assert run.front
    for trial in run.front:
        module = trial.load()
        assert not module.training
        with torch.no_grad():
            hits = (module(images).argmax(1) == labels).float().mean().item()
        assert trial.metrics["test_accuracy"] == pytest.approx(hits)
    assert all("test_accuracy" not in trial.metrics for trial in run if trial not in run.front)
    best = max(run, key=lambda trial: trial.values["accuracy"])
    cheapest = min(run, key=lambda trial: trial.values["macs"])
    assert {best.values["accuracy"]} == {run.front[0].values["accuracy"]}
    assert cheapest.values["macs"] == run.front[-1].values["macs"]


def test_the_folder_holds_what_it_should(run):
    names = {file.name for file in run.path.iterdir() if not file.name.startswith(".")}
    assert names == {
        "front.json", "front.md", "front.png", "run.json", "space.yaml", "study.db", "trials", "workers.log",
    }  # fmt: skip
    for trial in run:
        assert {file.name for file in trial.folder.iterdir()} == {
            "metrics.json",
            "network.yaml",
            "weights.safetensors",
        }
    front = json.loads((run.path / "front.json").read_text())
    assert front["front"] == [trial.number for trial in run.front]
    assert front["trials"] == len(run)


def test_the_study_is_optunas_with_names_and_the_same_values(run):
    with closing(sqlite3.connect(run.path / "study.db")) as database:
        names = database.execute("select value_json from study_system_attributes").fetchall()
        told = database.execute(
            "select number, objective, value from trial_values join trials using (trial_id)"
        ).fetchall()
    assert ('["accuracy", "macs"]',) in names
    values = [list(trial.values.values()) for trial in run]
    assert sorted(told) == [
        (trial.number, place, value) for trial, row in zip(run, values, strict=True) for place, value in enumerate(row)
    ]


def test_a_run_opens_again_as_it_was(run):
    again = Run.open(str(run.path))
    assert [trial.record for trial in again] == [trial.record for trial in run]
    assert [trial.metrics for trial in again.front] == [trial.metrics for trial in run.front]
    assert again.name == "tiny"


def test_a_finished_run_comes_back_without_training(run):
    before = {file: file.stat().st_mtime_ns for file in run.path.rglob("*") if file.is_file() and file.name != ".lock"}
    again = search(tiny_space(), trials=2, workers=2, run=run.path, progress=False)
    assert [trial.number for trial in again.front] == [trial.number for trial in run.front]
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(BlockforgeError) as caught:
        Run.open(tmp_path)
    assert str(caught.value) == f"{tmp_path}: holds no run (there is no run.json); give the folder of a search"


def test_weights_that_are_not_there(run, tmp_path):
    trial = run.front[0]
    lost = type(trial)(tmp_path, trial.record)
    with pytest.raises(BlockforgeError) as caught:
        lost.load()
    assert str(caught.value) == f"{tmp_path}: has no weights (weights.safetensors is missing); load another trial"
