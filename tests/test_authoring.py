"""The commands of who writes blocks: what a check leaves behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis.configuration import set_hypothesis_home_dir, storage_directory

from blockforge import conformance
from blockforge.authoring import STORAGE
from blockforge.cli import main
from blockforge.conformance.report import Report


def home() -> Path:
    """Where hypothesis keeps its files."""
    return Path(storage_directory("x", intent_to_write=False).path).parent


@pytest.mark.parametrize("given", [None, "mine"])
def test_a_check_leaves_hypothesis_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(STORAGE, raising=False)
    set_hypothesis_home_dir(None)
    before = home()
    if given:
        monkeypatch.setenv(STORAGE, str(tmp_path / given))
        set_hypothesis_home_dir(None)
    during: list[Path] = []

    def check(*_: object, **__: object) -> Report:
        during.append(home())
        during[0].mkdir(exist_ok=True)
        return Report("conv", 1, {"conv": 1}, ())

    monkeypatch.setattr(conformance, "check", check)
    environment = dict(os.environ)
    assert CliRunner().invoke(main, ["check", "conv"], catch_exceptions=False).exit_code == 0
    assert dict(os.environ) == environment
    if given:
        assert home() == during[0] == tmp_path / given
        set_hypothesis_home_dir(None)
    else:
        assert home() == before != during[0]
        assert not during[0].exists()
        assert not list(tmp_path.iterdir())
