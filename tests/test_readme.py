"""What the README shows runs, and what it prints as commands is what is documented."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from blockforge import cost, get_network
from blockforge.registry import get_registry
from blockforge.verification import cells, verify

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(
    r"^<!-- (?P<kind>run|file|command): (?P<what>\S+) -->\n```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.S | re.M,
)


@dataclass
class Example:
    """A marked code block: what to do with it, and its text."""

    kind: str
    what: str
    language: str
    text: str


def examples_of(text: str) -> list[Example]:
    """The marked code blocks of a text, in order."""
    return [Example(**match.groupdict()) for match in BLOCK.finditer(text)]


EXAMPLES = examples_of(README)
WALK = examples_of(README.partition("## Write a block\n")[2].partition("\n## ")[0])
"""What is done in order, from the first line to the last."""


def test_every_code_block_is_marked() -> None:
    assert len(EXAMPLES) == README.count("\n```") / 2


def test_two_commands() -> None:
    commands = {example.what: example.text for example in EXAMPLES if example.kind == "command"}
    assert set(commands) == {"run", "test"}
    for text in commands.values():
        assert text.count("\n") == 1  # one line each
        assert text.startswith('python3 -m venv "${VENV:-.venv}" && ')


def test_ci_runs_the_readmes_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    line = next(line for line in script.splitlines() if line.startswith("command=$("))
    printed = subprocess.run(
        ["bash", "-c", f'{line}; echo "$command"'], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert printed.stdout == next(e.text for e in EXAMPLES if (e.kind, e.what) == ("command", "test"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the README's files lie and its examples run."""
    folder = tmp_path_factory.mktemp("readme")
    for example in EXAMPLES:
        if example.kind == "file":
            (folder / example.what).write_text(example.text, encoding="utf-8")
    return folder


RUN = [example for example in EXAMPLES if example.kind == "run" and example not in WALK]


@pytest.mark.parametrize("example", RUN, ids=[f"{i}-{e.language}" for i, e in enumerate(RUN)])
def test_example_runs(example: Example, folder: Path) -> None:
    run(example, folder)


def test_the_walk_through_runs_from_its_first_line_to_its_last(tmp_path: Path) -> None:
    assert [example.kind for example in WALK[:2]] == ["run", "file"]
    for example in WALK:
        if example.kind == "file":
            assert (tmp_path / example.what).exists()  # what the scaffold wrote
            (tmp_path / example.what).write_text(example.text, encoding="utf-8")
        else:
            run(example, tmp_path)
    assert (tmp_path / "gated_resnet18.py").exists()


def run(example: Example, folder: Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = [sys.executable, "-"] if example.language == "python" else ["bash", "-euo", "pipefail"]
    done = subprocess.run(
        command,
        input=example.text,
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def verified() -> dict[str, list[str]]:
    """The rows of the README's table of comparisons, by network."""
    table = README.partition("<!-- table: verify -->")[2].partition("<!-- end -->")[0].strip().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]
    return {row[0]: row for row in rows}


def test_the_counts_behind_forms_are_theirs(folder: Path) -> None:
    text = (folder / "forms.yaml").read_text(encoding="utf-8")
    told = re.findall(r"^(\w+): .*# ([\d,]+)", text, re.M)
    assert len(told) == 4
    for name, count in told:
        assert f"{cost(get_network(f'{folder}/forms.yaml#{name}')).params:,}" == count, name


def test_the_table_of_comparisons_has_all_networks_and_no_difference() -> None:
    rows = verified()
    assert list(rows) == list(get_registry().networks)
    assert {row[-1] for row in rows.values()} == {"same"}


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_the_table_of_comparisons_is_true() -> None:
    rows = verified()
    for verdict in verify(list(rows)):
        if verdict.reference is None:
            assert rows[verdict.name][1] == "layers"  # whose rows aren't here
        else:
            assert cells(verdict) == rows[verdict.name]


def test_contributing_names_what_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for name in re.findall(r"`([\w/]+(?:\.py|/))`", text):
        assert any((ROOT / base / name).exists() for base in ("", "blockforge")), name


def test_top_level() -> None:
    allowed = {
        "pyproject.toml",
        "blockforge",
        "plugins",
        "search_spaces",
        "tests",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
    }
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    names = {line.partition("/")[0] for line in listed.stdout.splitlines()}
    assert {name for name in names if not name.startswith(".")} <= allowed
