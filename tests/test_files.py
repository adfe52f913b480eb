"""The strict YAML reader and the writer: what is read, where it stood, what is refused and in which words."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blockforge.errors import BlockforgeError, InvalidNetwork
from blockforge.files import dump_yaml, parse_value, parse_yaml, read_yaml, top_level_names

NETWORK = """\
# a comment
resnet50:
  paper: arXiv:1512.03385
  input: [3, 224, 224]
  stages:
    stem:   {block: stem, width: 64, scope: ""}
    head:
      block: classifier
      from:
        - stem
        - {a: 1}
resnet101: {extends: resnet50, set: {layer3.depth: 23}}
"""


def value_of(text: str) -> Any:
    return parse_yaml(text, "nets.yaml").value


def mistakes_of(text: str) -> list[str]:
    with pytest.raises(InvalidNetwork) as caught:
        parse_yaml(text, "nets.yaml")
    assert all(mistake.isprintable() for mistake in caught.value.mistakes)
    return list(caught.value.mistakes)


def message_of(call: Any, *args: Any) -> str:
    with pytest.raises(BlockforgeError) as caught:
        call(*args)
    assert caught.value.exit_code == 2
    return str(caught.value)


# What is read


def test_a_network_is_plain_data() -> None:
    assert value_of(NETWORK) == {
        "resnet50": {
            "paper": "arXiv:1512.03385",
            "input": [3, 224, 224],
            "stages": {
                "stem": {"block": "stem", "width": 64, "scope": ""},
                "head": {"block": "classifier", "from": ["stem", {"a": 1}]},
            },
        },
        "resnet101": {"extends": "resnet50", "set": {"layer3.depth": 23}},
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12), ("-3", -3), ("+3", 3), ("010", 10), ("0o17", 15), ("0x1F", 31), ("200_000", 200_000),
        ("9" * 1000, 10**1000 - 1),
        ("1_", "1_"), ("_1", "_1"), ("1__0", "1__0"), ("1_000.5", "1_000.5"),
        ("1.5", 1.5), (".5", 0.5), ("1.", 1.0), ("2e5", 2e5), ("1e-3", 1e-3), ("-1E+2", -100.0),
        ("true", True), ("False", False), ("TRUE", True), ("tRUE", "tRUE"),
        ("null", None), ("~", None), ("Null", None), ("nUll", "nUll"),
        ("no", "no"), ("on", "on"), ("y", "y"), ("0b11", "0b11"), ("1:30", "1:30"),
        ('"3"', "3"), ("'null'", "null"), ('""', ""), ("=", "="), ("<<", "<<"), ("-", [None]),
        ("2024-01-01", "2024-01-01"), ("infinity", "infinity"),
        ("arXiv:1512.03385", "arXiv:1512.03385"), ("features.{n+1}", "features.{n+1}"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    got = value_of(text)
    assert got == value
    assert type(got) is type(value)


def test_other_forms_of_yaml() -> None:
    assert value_of("%YAML 1.2\n---\na: |\n  two\n  lines\nb: >-\n  one\n  line\nc:\n...\n") == {
        "a": "two\nlines\n",
        "b": "one line",
        "c": None,
    }
    assert value_of("\ufeffa: {b, c: [d: 1]}") == {"a": {"b": None, "c": [{"d": 1}]}}


# Where it stood


def test_positions_are_of_keys_and_items() -> None:
    document = parse_yaml(NETWORK, "nets.yaml")
    assert document.positions[()] == (2, 1)
    assert document.positions["resnet50",] == (2, 1)
    assert document.positions["resnet50", "input"] == (4, 3)
    assert document.positions["resnet50", "input", 2] == (4, 19)
    assert document.positions["resnet50", "stages", "stem", "width"] == (6, 27)
    assert document.positions["resnet50", "stages", "head", "from"] == (9, 7)
    assert document.positions["resnet50", "stages", "head", "from", 0] == (10, 11)
    assert document.positions["resnet50", "stages", "head", "from", 1] == (11, 11)
    assert document.positions["resnet50", "stages", "head", "from", 1, "a"] == (11, 12)
    assert document.positions["resnet101", "set", "layer3.depth"] == (12, 38)


def test_where_falls_back_on_the_nearest_known_path() -> None:
    document = parse_yaml(NETWORK, "nets.yaml")
    assert document.source == "nets.yaml"
    assert document.where(("resnet50", "input", 1)) == "nets.yaml:4:14"
    assert document.where(("resnet50", "stages", "stem", "scope", 3, "x")) == "nets.yaml:6:38"
    assert document.where(("nowhere",)) == "nets.yaml:2:1"
    assert parse_yaml("3", "x").where(("a",)) == "x:1:1"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_positions_do_not_depend_on_the_line_end(end: str) -> None:
    document = parse_yaml("\ufeff" + NETWORK.replace("\n", end), "nets.yaml")
    assert document.positions == parse_yaml(NETWORK, "nets.yaml").positions
    assert parse_yaml(f"\ufeffa: 1{end}", "x").positions["a",] == (1, 1)


# What is refused


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("a: &x 1", "1:4: a: &x is an anchor; take it out, and write the value where needed"),
        ("a: [*x]", '1:5: a.0: *x is an alias; write the value out, or put text in quotes: "*x"'),
        ("s:\n  *.w: 1\n  b:", '2:3: s: *.w is an alias; write the value out, or put text in quotes: "*.w"'),
        ("a:\n  <<: {b: 1}", "2:3: a: << is a merge key; write the keys out, or use `extends`"),
        ("b:\n  a: 1\n  'a': 2", "3:3: b.a: given twice, first in line 2; remove or rename one"),
        ('"": 1\n"": 2', '2:1: "": given twice, first in line 1; remove or rename one'),
        ("a: !!python/object:os.system x", "1:4: a: !!python/object:os.system is a tag; take it out"),
        ("a: !mine {b: 1}", "1:4: a: !mine is a tag; take it out"),
        ("a: !!str 3", "1:4: a: !!str is a tag; take it out"),
        ("!k a: 3", "1:1: !k is a tag; take it out"),
        ("a: {1: b}", '1:5: a: the key 1 is a number, not text; write it in quotes: "1"'),
        ("1e3: b", '1:1: the key 1e3 is a number, not text; write it in quotes: "1e3"'),
        (".inf: b", '1:1: the key .inf is a number, not text; write it in quotes: ".inf"'),
        ("null: b", '1:1: the key null is null, not text; write it in quotes: "null"'),
        ("true: b", '1:1: the key true is a boolean, not text; write it in quotes: "true"'),
        (": b", "1:1: a key without text is null, not text; write the key"),
        ("? [a]\n: b", "1:3: a list as a key; only text can be a key"),
        ("{a: 1}: b", "1:1: a mapping as a key; only text can be a key"),
        ("*x : b", '1:1: *x is an alias; write the value out, or put text in quotes: "*x"'),
        ("a: .inf", "1:4: a: .inf is not finite; write a finite number"),
        ("a: -.INF", "1:4: a: -.INF is not finite; write a finite number"),
        ("a: .NaN", "1:4: a: .NaN is not finite; write a finite number"),
        ("a: 1e999", "1:4: a: 1e999 is too large for a float; write a finite number, at most 1.7e308"),
        ("a: " + "1" * 1001, "1:4: a: an integer of 1,001 characters; write a smaller one, of at most 1,000"),
        (
            'a: "\\ud800"',
            "1:4: a: '\\ud800' holds half a surrogate pair; "
            "write the character itself, or in full as \\U0001f600",
        ),
        ("a: 1\n---\nb: 2", "2:1: a second document starts here; keep one document in a file"),
        ("", "1:1: nothing in it; write `key: value` lines"),
        ("# only a comment\n", "1:1: nothing in it; write `key: value` lines"),
        ("---\n", "1:1: nothing in it; write `key: value` lines"),
        ("# c\n%YAML 1.1\n---\na: no", "2:1: YAML 1.1; only YAML 1.2 is read: take the %YAML line out"),
    ],
)  # fmt: skip
def test_refusals(text: str, mistake: str) -> None:
    assert mistakes_of(text) == [f"nets.yaml:{mistake}"]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("a:\n\tb: 1", "2:1: a tab; indent with spaces"),
        ("a: @b", "1:4: text can't start with @; put it in quotes"),
        ("a: `b`", "1:4: text can't start with `; put it in quotes"),
        ("a: %b", "1:4: text can't start with %; put it in quotes"),
        ("a: * b", "1:5: text can't start with * or &; put it in quotes"),
        ("a: !x!y z", "1:4: text can't start with !; put it in quotes"),
        ("a: !<b", "1:7: text can't start with !; put it in quotes"),
        ("a: |b", "1:5: text can't start with | or >; put it in quotes"),
        ("%YAML x\n---\na", "1:7: a line can't start with %; put the text in quotes"),
        ("%YAML 2.0\n---\na", "1:1: only YAML 1.2 is read; take the %YAML line out"),
        ("a: [1, 2\nb: 3", "2:2: the list that opens in line 1, column 4 isn't closed; add a ',' or a ']'"),
        ("a: {b: 1, c", "1:12: the mapping that opens in line 1, column 4 isn't closed; add a ',' or a '}'"),
        ("a: b: c", "1:5: a ':' can't stand here; put the text in quotes, or mend the indentation"),
        ("a: ? b", "1:4: a '?' can't stand here; put the text in quotes"),
        ("a: 1\nb", "2:2: the key that starts in line 2, column 1 lacks its ':'; write `key: value`"),
        ('a: "b\n', "2:1: the quote that opens in line 1, column 4 isn't closed; close it"),
        ("a: 'b\n---\n", "2:1: the quote that opens in line 1, column 4 isn't closed; close it"),
        (
            "a:\n  b: 1\n c: 2",
            "3:2: this doesn't continue what starts in line 1, column 1; mend the indentation or the quotes",
        ),
        ("a: - b", "1:4: a '- ' can't stand here; begin a new line with it, below its key"),
        ('a: "C:\\q"', "1:8: \\q is no escape; write \\\\ for a backslash, or single quotes"),
        ('a: "\\x1"', "1:7: an escape is cut short; write \\x41, \\u0041 or \\U00000041"),
        ('a: "\\U99999999"', "1:5: \\U99999999 is no character; write one up to \\U0010ffff"),
        ("a: [1,,2]", "1:7: a value is missing before ','; write one, or null"),
        ("{a: 1}}", "1:7: the value ended before this; take it out, or mend the indentation"),
        ("\ufeffa: \x07", "1:4: the character '\\x07' is not allowed; take it out"),
        ("a: 1\nb: \x07", "2:4: the character '\\x07' is not allowed; take it out"),
        ("%TAG ! x\n%TAG ! x\n--- 1", "2:1: not valid YAML: duplicate tag handle '!'; mend it here"),
    ],
)  # fmt: skip
def test_a_syntax_error_is_one_line_at_its_place(text: str, mistake: str) -> None:
    assert mistakes_of(text) == [f"nets.yaml:{mistake}"]


def test_all_mistakes_come_at_once() -> None:
    text = "a: &x {b: 1, b: 2}\nc: [*x, !t 3, .nan]\n1: d\na: {<<: {e: .inf}}\n"
    assert mistakes_of(text) == [
        "nets.yaml:1:4: a: &x is an anchor; take it out, and write the value where needed",
        "nets.yaml:1:14: a.b: given twice, first in line 1; remove or rename one",
        'nets.yaml:2:5: c.0: *x is an alias; write the value out, or put text in quotes: "*x"',
        "nets.yaml:2:9: c.1: !t is a tag; take it out",
        "nets.yaml:2:15: c.2: .nan is not finite; write a finite number",
        'nets.yaml:3:1: the key 1 is a number, not text; write it in quotes: "1"',
        "nets.yaml:4:1: a: given twice, first in line 1; remove or rename one",
        "nets.yaml:4:5: a: << is a merge key; write the keys out, or use `extends`",
        "nets.yaml:4:13: a.?4:5.e: .inf is not finite; write a finite number",
    ]


def test_a_syntax_error_stands_alone() -> None:
    assert mistakes_of("a: *x\nb: [") == [
        "nets.yaml:2:5: a value is missing at the end; write it, and close what is open"
    ]


def test_no_more_than_a_hundred_mistakes() -> None:
    found = mistakes_of("a: 1\n" * 1000)
    assert len(found) == 101
    assert found[-1] == "nets.yaml: more than 100 mistakes; mend these first"


def test_a_billion_laughs_are_not_funny() -> None:
    text = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"
    assert len(mistakes_of(text)) == 6


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000, "? " * 100_000, "{a: " * 100_000, "[\n" * 100_000])
def test_deep_nesting_is_refused_before_it_hurts(text: str) -> None:
    assert mistakes_of(text)[-1].endswith(": nested more than 32 levels deep; write it flatter")


def test_nesting_of_32_levels_is_read() -> None:
    text = "[" * 32 + "]" * 32
    assert dump_yaml(value_of(text)) == f"- {text[1:-1]}\n"
    path = ".".join("0" * 32)
    assert mistakes_of(f"[{text}]") == [f"nets.yaml:1:33: {path}: nested more than 32 levels deep; write it flatter"]


# Files


def test_a_file_is_read_by_path_string_and_resource(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "nets.yaml"
    file.write_text(NETWORK, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert read_yaml("nets.yaml") == parse_yaml(NETWORK, "nets.yaml")
    assert read_yaml(file) == parse_yaml(NETWORK, str(file))
    assert read_yaml(file, name="x").source == "x"
    with zipfile.ZipFile(tmp_path / "package.zip", "w") as archive:
        archive.write(file, "nets.yaml")
    with zipfile.ZipFile(tmp_path / "package.zip") as archive:
        assert read_yaml(zipfile.Path(archive, "nets.yaml"), name="nets.yaml") == read_yaml("nets.yaml")


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("loop").symlink_to("loop")
    Path("latin.yaml").write_bytes("a: é\nb: ü".encode() + b"\xfc: 1")
    Path("wide.yaml").write_bytes("a: 1".encode("utf-16"))
    Path("big.yaml").write_text("#" * (2**20 + 1))
    Path("wide_and_big.yaml").write_text("é" * (2**19 + 1), encoding="utf-8")
    Path("full.yaml").write_text("3 #" + "#" * (2**20 - 3))
    assert message_of(read_yaml, "nets.yaml") == "nets.yaml: no such file; check the path"
    assert message_of(read_yaml, "folder") == "folder: a directory, not a file; name a YAML file in it"
    assert message_of(read_yaml, "loop") == (
        f"loop: can't be read ({os.strerror(errno.ELOOP)}); name a file that you may read"
    )
    assert message_of(read_yaml, "a\0b") == ("a\0b: can't be read (embedded null byte); name a file that you may read")
    assert message_of(read_yaml, "latin.yaml") == ("latin.yaml:2:5: byte 0xfc is not UTF-8; save the file as UTF-8")
    assert message_of(read_yaml, "wide.yaml") == ("wide.yaml:1:1: byte 0xff is not UTF-8; save the file as UTF-8")
    too_large = "larger than 1 MiB (1,048,576 bytes); split it into several files"
    assert message_of(read_yaml, "big.yaml") == f"big.yaml: {too_large}"
    assert message_of(read_yaml, "wide_and_big.yaml") == f"wide_and_big.yaml: {too_large}"
    assert message_of(parse_yaml, "é" * 2**19 + "a", "text") == f"text: {too_large}"
    assert read_yaml("full.yaml").value == 3


# One value, and the names of a file


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3), ("[1, 2]", [1, 2]), ("null", None), ("{choice: [1, 2]}", {"choice": [1, 2]}),
        ("bottleneck", "bottleneck"), ('""', ""), (" 2e5 ", 2e5), ("features.{n}", "features.{n}"),
        ("no", "no"),
    ],
)  # fmt: skip
def test_a_value_of_the_command_line(text: str, value: Any) -> None:
    assert parse_value(text) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'': no value; write null, or \"\" for an empty text"),
        (" \n", "' \\n': no value; write null, or \"\" for an empty text"),
        ("[1,", "'[1,':1:4: a value is missing at the end; write it, and close what is open"),
        ("{a: *x}", "'{a: *x}':1:5: a: *x is an alias; write the value out, or put text in quotes: \"*x\""),
        ("\udcff", "'\\udcff':1:1: the character '\\udcff' is not allowed; take it out"),
    ],
)
def test_a_value_that_is_refused(text: str, message: str) -> None:
    assert message_of(parse_value, text) == message


def test_top_level_names_without_parsing() -> None:
    assert top_level_names(NETWORK) == ["resnet50", "resnet101"]
    text = (
        '\ufeff%YAML 1.2\n---\n# no: comment\na b : 1\r\n"1": {x: 1,\n  y: 2\n}\n'
        "'q: r':\n- s: 1\na:b\n? k: 1\nt:u: v\n...\n"
    )
    assert top_level_names(text) == ["a b", "1", "q: r", "t:u"]
    assert top_level_names("") == []


@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9_.]*", fullmatch=True), st.just({"a": 1}), min_size=1))
def test_top_level_names_are_those_of_the_parser(networks: dict[str, Any]) -> None:
    text = dump_yaml(networks)
    assert top_level_names(text) == [str(key) for key in value_of(text)]


# What is written

PLAIN = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
    | st.text(alphabet="ab01 -:#?,[]{}&*!|>'\"%@`\n\t.~<=_eénul\\x85\u2028\ufeff")
    | st.sampled_from(["no", "1e3", "null", "", "-", "a: b", "a\nb", "<<", "---", "...", "0x1", "1_0"])
    | st.sampled_from([" a", "a ", "a:", "true", "~", "- a", "? a", "#", "a #", "\x85", "0o7", ".inf"])
)  # fmt: skip
KEYS = st.text(max_size=20) | st.text(alphabet="ab1 -:#?,{}.*<~", max_size=5)
DATA = st.recursive(
    PLAIN, lambda below: st.lists(below, max_size=5) | st.dictionaries(KEYS, below, max_size=5), max_leaves=30
)


def same(one: Any, other: Any) -> bool:
    """Equality that tells 1, 1.0 and True apart, -0.0 and 0.0, and the order of keys."""
    return repr(one) == repr(other)


@given(DATA)
@example({"k" * 1200: {"k" * 1200: [{"k" * 1200: ["x" * 200]}]}})
@example([[["x" * 200, {"a": "x" * 200}]], {"a": [[1, "x" * 200]]}])
@example({"a": {"b": {"c": {}}, "d": {"e": []}}})
@example([5e-324, 1.7976931348623157e308, -0.0, 1e22, 1e-5, 10**998])
def test_what_is_written_is_read_back_exactly(value: Any) -> None:
    assert same(value_of(dump_yaml(value)), value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"), (1.0, "1.0"), (1e-05, "1e-05"), (None, "null"), (True, "true"), ([], "[]"), ({}, "{}"),
        ("no", "no"), ("null", '"null"'), ("1e3", '"1e3"'), ("200_000", '"200_000"'), ("-", '"-"'),
        ("a: b", '"a: b"'), ("a:b", "a:b"), ("a #b", '"a #b"'), ("a#b", "a#b"), ("é", "é"),
        ("a\nb", '"a\\nb"'), ("", '""'), ("-a", "-a"), ("...", '"..."'),
        ("\u200b\x07\x85\U000e0001", '"\\u200b\\u0007\\x85\\U000e0001"'), ("<<", '"<<"'), ("*", '"*"'),
        ("layer*.depth", "layer*.depth"), ("features.{n}", "features.{n}"), ('say "x"', 'say "x"'),
    ],
)  # fmt: skip
def test_quotes_only_where_needed(value: Any, text: str) -> None:
    assert dump_yaml(value) == text + "\n"


def test_what_is_written_reads_well() -> None:
    value = {
        "resnet50": {
            "paper": "arXiv:1512.03385",
            "input": (3, 224, 224),
            "classes": 1000,
            "stages": {
                "stem": {"block": "stem", "width": 64, "scope": "", "pool": "max"},
                "layer1": {"block": "bottleneck", "width": {"choice": [64, 128]}, "scope": "features.{n}"},
                "layer2": {
                    "block": "bottleneck",
                    "attention": {"block": "squeeze_excitation", "r": 16},
                    **LONG,
                },
                "head": {"block": "add", "from": ["layer1", "layer2"]},
            },
            "notes": [{"a": 1}, ["x" * 60, "y" * 60], {"b": "x" * 110}],
        },
        "resnet101": {"extends": "resnet50", "set": {"layer3.depth": 23}},
    }
    assert (
        dump_yaml(value)
        == f"""\
resnet50:
  paper: arXiv:1512.03385
  input: [3, 224, 224]
  classes: 1000
  stages:
    stem: {{block: stem, width: 64, scope: "", pool: max}}
    layer1: {{block: bottleneck, width: {{choice: [64, 128]}}, scope: "features.{{n}}"}}
    layer2:
      block: bottleneck
      attention: {{block: squeeze_excitation, r: 16}}
      a_long_name_of_a_parameter: a long value of a parameter
      another_long_name_of_a_parameter: 3.5
    head: {{block: add, from: [layer1, layer2]}}
  notes:
    - {{a: 1}}
    - - {"x" * 60}
      - {"y" * 60}
    - b: {"x" * 110}
resnet101: {{extends: resnet50, set: {{layer3.depth: 23}}}}
"""
    )


def test_a_mapping_of_mappings_has_one_entry_a_line() -> None:
    assert dump_yaml({"net": {"stages": {"a": {"block": "x"}, "b": {"block": "y"}}}}) == (
        "net:\n  stages:\n    a: {block: x}\n    b: {block: y}\n"
    )


LONG = {"a_long_name_of_a_parameter": "a long value of a parameter", "another_long_name_of_a_parameter": 3.5}


@given(st.lists(st.sampled_from(["ab", 64, "a_longer_name", 3.5]), max_size=40))
def test_no_line_with_a_collection_is_wider_than_110_columns(items: list[Any]) -> None:
    text = dump_yaml({"stages": {"layer1": {"block": "x", "widths": items}}})
    assert max(map(len, text.splitlines())) <= 110
    assert len(dump_yaml({"k": ["x" * 102]}).splitlines()[0]) == 2 + len(" [") + 102 + 1
    assert dump_yaml({"k": ["x" * 106]}).splitlines()[0] == "k:"


class Strange(float):
    def __repr__(self) -> str:
        return "Strange(1.5)"


def test_what_cannot_be_written() -> None:
    deep: Any = []
    for _ in range(32):
        deep = [deep]
    path = ".".join("0" * 32)
    assert dump_yaml(Strange(1.5)) == "1.5\n"
    assert message_of(dump_yaml, {"a": [float("nan")]}) == "a.0: nan is not finite; give a finite number"
    assert message_of(dump_yaml, {"a": {1: 2}}) == "a: the key 1 is not text; only text can be a key"
    assert message_of(dump_yaml, {1}) == "a value of type set can't be written; give plain data"
    assert message_of(dump_yaml, {"a": 10**999}) == "a: an integer of 1,000 digits or more; give a smaller one"
    assert message_of(dump_yaml, ["\ud800"]) == "0: '\\ud800' holds half a surrogate pair; write whole characters"
    assert message_of(dump_yaml, deep) == f"{path}: nested more than 32 levels deep; write it flatter"


def test_the_yaml_library_is_imported_on_first_use() -> None:
    code = "import sys, blockforge.files; sys.exit('ruamel.yaml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
