"""The scan of network files says what reading them says."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blockforge.errors import BlockforgeError
from blockforge.files import dump_yaml, read_yaml
from blockforge.outline import outline
from blockforge.registry import get_registry

WANTED = ("paper", "about", "extends", "base")
FILES = {str(file): file for kind in ("networks", "spaces") for file in getattr(get_registry(), kind).values()}


def read(file: Path) -> dict[str, dict[str, str]]:
    value = read_yaml(file).value
    many = {file.stem: value} if {"stages", "extends", "base"} & set(value) else value
    return {name: {key: str(raw[key]) for key in WANTED if key in raw} for name, raw in many.items()}


@pytest.mark.parametrize("path", FILES)
def test_the_scan_agrees_with_the_reader_for_every_file_that_comes_along(path: str):
    found = outline(FILES[path], WANTED)
    assert found == read(Path(path))
    assert any("about" in texts for texts in found.values())


TRICKY = {
    "comments": "# a family\nnet: # one\n  # inside\n  about: An idea # not this\n  stages: {}\n",
    "quotes": "'net':\n  about: \"It's: an idea # this too\"\n  paper: 'arXiv: 1'\n",
    "doubled quotes": "net:\n  about: 'It''s an idea'\n",
    "escapes": 'net:\n  about: "\\u00e9l\\u00e8ve"\n',
    "one line": 'a: {extends: b, about: "x, y", set: {c.depth: 3}}\nb: {paper: p, stages: {}}\n',
    "one line over two": "a: {extends: b,\n  about: x}\n",
    "folded": "net:\n  about: >\n    An idea\n    in lines.\n  paper: p\n",
    "goes on": "net:\n  about: An idea\n    that goes on\n  paper: p\n",
    "deeper": "net:\n  stages:\n    about: {block: conv}\n  about: An idea\n",
    "alone": "about: An idea\nextends: resnet18\n",
    "alone and goes on": "about: An\n  idea\nextends: resnet18\n",
    "empty": "net:\n  about:\n  paper: p\n  stages: {}\n",
    "number": "net: {paper: 1998, stages: {}}\n",
    "wide indentation": "net:\n     about: An idea\n     stages:\n         a: {block: conv}\n",
}


@pytest.mark.parametrize("case", TRICKY)
def test_the_scan_agrees_with_the_reader_for_tricky_files(case: str, tmp_path: Path):
    file = tmp_path / "net.yaml"
    file.write_text(TRICKY[case], encoding="utf-8")
    expected = read(file)
    if case == "empty":
        expected["net"].pop("about")  # None to the reader; nothing to say of it
    assert outline(file, WANTED) == expected


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(lambda name: name not in (*WANTED, "stages")),
        st.fixed_dictionaries(
            {"about": st.text(max_size=150), "stages": st.just({"a": {"block": "conv", "width": 3}})},
            optional={"paper": st.text(max_size=20), "extends": st.from_regex(r"[a-z]+", fullmatch=True)},
        ),
        min_size=1,
        max_size=4,
    )
)
def test_the_scan_agrees_with_the_reader_for_whatever_blockforge_writes(tmp_path: Path, value: dict):
    file = tmp_path / "net.yaml"
    try:
        file.write_bytes(dump_yaml(value).encode("utf-8"))
    except BlockforgeError:  # half a surrogate pair, which no file can hold
        return
    assert outline(file, WANTED) == read(file)


def test_an_unsound_file_has_nothing_to_say(tmp_path: Path):
    file = tmp_path / "net.yaml"
    file.write_text("net:\n  about: [\n")
    assert outline(file, WANTED) == {}
