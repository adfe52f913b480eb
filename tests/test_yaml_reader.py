"""Two parsers read one language: where the quick one is let in, it says what the careful one says."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from blockforge import yaml_reader
from blockforge.errors import InvalidNetwork
from blockforge.files import parse_yaml

SHIPPED = [
    *resources.files("blockforge.zoo").iterdir(),
    *resources.files("blockforge.search_spaces").iterdir(),
    *(Path(__file__).parent / "forms").iterdir(),
]
FILES = [file for file in SHIPPED if file.name.endswith(".yaml")]
# What grammars of YAML quarrel about, in any order.
PIECES = [
    *[
        "a",
        "b: ",
        "c:",
        "- ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        ":",
        " ",
        "#",
        " #x",
        "'",
        '"',
        "*",
        "&",
        "!",
        "<<: ",
        "@",
        "`",
    ],
    *[
        "1",
        "1.0",
        "null",
        "true",
        "yes",
        "2020-01-01",
        "0x1",
        "1e5",
        "~",
        "x*y.z: ",
        "_",
        "+",
        ".",
        "-",
        "=",
        "$",
        "(",
        ";",
    ],
    *["\n", "\n  ", "\n    ", "<", "/"],
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)


def quickly(text: str) -> object:
    """What libyaml makes of a text, and where; None where it isn't asked, or leaves the text to the other."""
    asked: list[object] = []

    def slowly(*_: object) -> tuple[None, dict[object, object]]:
        asked.append(True)
        return None, {}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaml_reader, "_read_slowly", slowly)
        found = yaml_reader.read(text, "text")
    return None if asked else found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_shipped_files_are_read_quickly_and_alike(file):
    text = file.read_text(encoding="utf-8")
    found = quickly(text)
    assert found is not None
    assert found == yaml_reader._read_slowly(text, "text")


@settings(max_examples=2000)
@given(TEXTS)
def test_what_is_read_quickly_is_read_alike(text):
    found = quickly(text)
    if found is not None:
        assert found == yaml_reader._read_slowly(text, "text")


@pytest.mark.parametrize(
    "text", ["a: é", "a: |\n  b\n", 'a: "\\/"', "? a\n: b\n", "%YAML 1.1\n---\na: yes\n", "a: b\n...\n"]
)
def test_what_grammars_take_differently_is_read_carefully(text):
    assert quickly(text) is None


def test_without_libyaml_all_is_read_carefully(monkeypatch):
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    assert quickly("a: 1") is None
    assert parse_yaml("a: {b: [1, 2]}", "text").value == {"a": {"b": [1, 2]}}


def test_mistakes_are_those_of_the_careful_one():
    with pytest.raises(InvalidNetwork) as caught:
        parse_yaml("a: &x 1\nb: [1, 2\n", "text")
    assert str(caught.value) == "text:3:1: the list that opens in line 2, column 4 isn't closed; add a ',' or a ']'"
