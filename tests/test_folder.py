"""A run's folder: whole files, one driver, and only the search that it belongs to."""

from __future__ import annotations

import json
import os

import pytest

from blockforge.errors import BlockforgeError
from blockforge.study.folder import Folder, read_json, records, write, write_json

SETTINGS = {"space": "digits", "digest": "1", "limits": {"params": 2e5}, "seed": 0, "trials": 3}
KEYS = ("space", "digest", "limits", "seed")


def begun(path):
    with Folder(path).claim(SETTINGS, KEYS):
        write_json(path / "run.json", SETTINGS)
        Folder(path).begin(0, "")
    return path


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    write(tmp_path / "file", "old")

    def killed(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old"


def test_a_trial_has_ended_when_its_metrics_are_there(tmp_path):
    folder = Folder(tmp_path)
    folder.begin(17, "name: net\n")
    assert records(tmp_path) == {}
    folder.finish(17, {"trial": 17}, b"weights")
    assert records(tmp_path) == {tmp_path / "trials" / "0017": {"trial": 17}}
    assert (tmp_path / "trials/0017/weights.safetensors").read_bytes() == b"weights"
    assert sorted(os.listdir(tmp_path / "trials/0017")) == [
        "metrics.json",
        "network.yaml",
        "weights.safetensors",
    ]


def test_records_are_in_the_order_of_their_numbers_beyond_four_digits(tmp_path):
    for number in (10_000, 2, 9_999):
        Folder(tmp_path).begin(number, "")
        Folder(tmp_path).finish(number, {"trial": number}, None)
    assert [record["trial"] for record in records(tmp_path).values()] == [2, 9_999, 10_000]


def test_the_same_search_goes_on_and_other_settings_than_its_identity_may_change(tmp_path):
    begun(tmp_path / "run")
    with Folder(tmp_path / "run").claim({**SETTINGS, "trials": 9}, KEYS):
        assert read_json(tmp_path / "run/run.json")["trials"] == 3


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"space": "cifar", "digest": "2"}, "belongs to the space 'digits', and this is 'cifar'"),
        ({"digest": "2"}, "belongs to the space 'digits' as it was before its file was changed"),
        ({"seed": 4}, "was searched with seed 0, and this asks for 4"),
        ({"limits": {}}, "was searched with limits {params: 200000.0}, and this asks for none"),
    ],
)
def test_a_folder_of_another_search(tmp_path, changed, message):
    path = begun(tmp_path / "run")
    with pytest.raises(BlockforgeError) as caught, Folder(path).claim({**SETTINGS, **changed}, KEYS):
        pass
    assert str(caught.value) == f"{path}: {message}; give another --run, or remove the folder"
    assert caught.value.exit_code == 2
    assert json.loads((path / "run.json").read_text()) == SETTINGS


def test_a_search_that_ended_before_its_first_trial_may_be_mended(tmp_path):
    write_json(tmp_path / "run.json", SETTINGS)
    write(tmp_path / "study.db", "of the first try")
    with Folder(tmp_path).claim({**SETTINGS, "digest": "2"}, KEYS):
        assert not (tmp_path / "study.db").exists()


def test_two_drivers_in_one_folder(tmp_path):
    with (
        Folder(tmp_path).claim(SETTINGS, KEYS),
        pytest.raises(BlockforgeError) as caught,
        Folder(tmp_path).claim(SETTINGS, KEYS),
    ):
        pass
    assert str(caught.value) == (
        f"{tmp_path}: another search is running in it; wait for its end, or give another --run"
    )
    with Folder(tmp_path).claim(SETTINGS, KEYS):
        pass


def test_a_folder_that_holds_something_else(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(BlockforgeError) as caught, Folder(tmp_path).claim(SETTINGS, KEYS):
        pass
    assert str(caught.value) == f"{tmp_path}: is not empty, and holds no run; give another --run"
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]  # and no lock of ours


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BlockforgeError) as caught, Folder(tmp_path / "file" / "run").claim(SETTINGS, KEYS):
        pass
    assert str(caught.value) == f"{tmp_path / 'file' / 'run'}: can't be written: Not a directory; give another --run"


def test_a_file_that_is_no_json(tmp_path):
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(BlockforgeError) as caught:
        read_json(tmp_path / "run.json")
    assert str(caught.value) == f"{tmp_path / 'run.json'}: can't be read: it holds no JSON; give another run"


def test_a_search_that_was_stopped_before_it_wrote_anything_goes_on(tmp_path):
    (tmp_path / "workers.log").touch()
    with Folder(tmp_path).claim(SETTINGS, KEYS):
        pass


def test_a_file_that_is_no_mapping(tmp_path):
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(BlockforgeError) as caught:
        read_json(tmp_path / "run.json")
    assert str(caught.value) == f"{tmp_path / 'run.json'}: can't be read: it holds no mapping; give another run"
