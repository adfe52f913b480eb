"""Forms that people write, each a few edits of a canonical network, with the counts that stand behind its name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from blockforge import build, cost, get_network

FOLDER = Path(__file__).parent / "forms"
MOST_LINES = 10
_ENTRY = re.compile(r"^(?P<name>\w+):(?P<text>.*?)(?=^\w+:|^#|\Z)", re.MULTILINE | re.DOTALL)
_COUNTS = re.compile(r"# ([\d,]+) parameters(?:, ([\d,]+) MACs)?")


def number(text: str) -> int:
    return int(text.replace(",", ""))


FORMS = {
    f"{file.name}#{entry['name']}": entry["text"]
    for file in sorted(FOLDER.glob("*.yaml"))
    for entry in _ENTRY.finditer(file.read_text("utf-8"))
}


@pytest.mark.parametrize("form", FORMS)
def test_a_form_takes_few_lines_and_comes_to_its_counts(form: str) -> None:
    text = FORMS[form]
    counts = _COUNTS.search(text)
    assert counts, f"write behind {form}: # N parameters"
    assert len(text.strip().splitlines()) <= MOST_LINES
    found = cost(FOLDER / form)
    assert found.params == number(counts[1])
    assert counts[2] is None or found.macs == number(counts[2])


@pytest.mark.parametrize("form", FORMS)
def test_a_form_builds(form: str) -> None:
    network = get_network(FOLDER / form)
    weights = build(network, init=False).parameters()
    assert sum(weight.numel() for weight in weights) == cost(network).params


def test_each_family_with_forms_is_a_family() -> None:
    zoo = Path(__file__).parents[1] / "blockforge" / "zoo"
    assert {file.name for file in FOLDER.glob("*.yaml")} <= {file.name for file in zoo.glob("*.yaml")}
