"""What is said where a network has no reference, or where the rows of layers are looked for in vain."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from blockforge.cli import main
from blockforge.references import layer_rows
from blockforge.verification import Verdict, verify

SET = "set BLOCKFORGE_SHARED to a folder with networks/layers.json.gz"


@pytest.fixture(autouse=True)
def _without_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in a folder beside which there are no rows."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("BLOCKFORGE_SHARED", raising=False)
    layer_rows.cache_clear()
    yield
    layer_rows.cache_clear()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["verify", *arguments], catch_exceptions=False)


def test_no_rows_and_no_folder_that_is_set() -> None:
    why = f"no reference here; {SET}"
    assert [*verify(["nin_cifar10"])] == [Verdict("nin_cifar10", None, why=why)]
    done = run("nin_cifar10")
    assert (done.exit_code, done.stderr.splitlines()) == (
        1,
        [f"[1/1] nin_cifar10 {why}", f"nin_cifar10: nothing could be compared: no reference here; {SET}"],
    )
    assert done.stdout.splitlines()[-1].endswith(why)
    many = run("shufflenet_v1", "--against", "layers").stderr.splitlines()[-1]
    assert many == f"9 networks: nothing could be compared: no reference in layers; {SET}"


def test_a_folder_that_is_set_and_has_no_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOCKFORGE_SHARED", "there")
    done = run("nin")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == f"there/networks/layers.json.gz: no such file; {SET}, or leave it unset\n"
    assert run("googlenet_aux", "--against", "timm").exit_code == 1  # where no rows are asked for


def test_rows_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "networks").mkdir()
    (tmp_path / "networks" / "layers.json.gz").write_bytes(gzip.compress(json.dumps({"other": []}).encode()))
    monkeypatch.setenv("BLOCKFORGE_SHARED", str(tmp_path))
    assert [*verify(["nin_cifar10"])] == [Verdict("nin_cifar10", None, why="no reference here")]
    done = run("nin_cifar10")
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (
        1,
        "nin_cifar10: nothing could be compared: no reference here; verify a canonical network",
    )


def test_one_library_alone_without_a_reference() -> None:
    done = run("lenet5", "--against", "timm")
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (
        1,
        "lenet5: nothing could be compared: no reference in timm; leave out --against",
    )
    assert [*verify(["lenet5"], "timm")] == [Verdict("lenet5", None, why="no reference in timm")]


def test_a_pattern_is_a_part_of_a_name_as_for_list() -> None:
    done = run("seresnet", "--against", "layers", "--json")
    assert [each["name"] for each in json.loads(done.stdout)][:2] == ["seresnet50", "seresnet101"]
    assert run("zzz").stderr == "zzz: no network matches; `blockforge list --networks` lists all\n"
