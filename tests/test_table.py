"""Tables: aligned, folded without losing a letter, and as Markdown and CSV that others read."""

from __future__ import annotations

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from blockforge.table import Column, csv_table, markdown_table, pairs, text_table

COLUMNS = [Column("name", fold=True, breaks=True), Column("text", fold=True), Column("count", right=True)]
ROWS = [
    ["layer1.0.downsample.0", "two words", "1,234"],
    ["a", "BatchNorm2d", "5"],
]


def test_text_is_aligned_and_has_no_trailing_spaces():
    assert text_table(COLUMNS, ROWS) == (
        "name                   text         count\n"
        "---------------------  -----------  -----\n"
        "layer1.0.downsample.0  two words    1,234\n"
        "a                      BatchNorm2d      5"
    )
    assert text_table([Column("a"), Column("b")], [["1", ""]]) == "a  b\n-  -\n1"


def test_a_width_folds_names_at_their_parts_and_text_at_its_words():
    assert text_table(COLUMNS, ROWS, 33) == (
        "name           text         count\n"
        "-------------  -----------  -----\n"
        "layer1.0.      two words    1,234\n"
        "downsample.0\n"
        "a              BatchNorm2d      5"
    )
    assert text_table(COLUMNS, ROWS, 21) == (
        "name     text   count\n"
        "-------- ------ -----\n"
        "layer1.  two    1,234\n"
        "0.       words\n"
        "downsamp\n"
        "le.0\n"
        "a        Batch      5\n"
        "         Norm2d"
    )


def test_what_is_no_text_is_never_folded():
    wide = [Column("name"), Column("count", right=True)]
    assert text_table(wide, [["a name of words", "1,234,567"]], 5) == (
        "name                count\n"
        "--------------- ---------\n"
        "a name of words 1,234,567"
    )  # fmt: skip


@given(
    st.lists(st.lists(st.text("abcXY._ 1", max_size=30), min_size=3, max_size=3), min_size=1, max_size=4),
    st.integers(1, 90),
)
def test_folding_loses_no_letter_and_widens_nothing(rows: list[list[str]], width: int):
    columns = [Column("a", fold=True), Column("b", fold=True, breaks=True), Column("c")]
    folded, whole = text_table(columns, rows, width), text_table(columns, rows)
    assert sorted("".join(folded.replace("-", "").split())) == sorted("".join(whole.replace("-", "").split()))
    widest = max(map(len, whole.splitlines()))
    assert max(map(len, folded.splitlines())) <= widest
    if width >= widest:
        assert folded == whole


def test_pairs_align_and_fold_remarks_under_themselves():
    rows = [["parameters", "1,234", ""], ["MACs", "5", "of convolutions and linear layers"]]
    assert pairs(rows) == "parameters  1,234\nMACs            5  of convolutions and linear layers"
    assert pairs(rows, 40) == (
        "parameters  1,234\n"
        "MACs            5  of convolutions and\n"
        "                   linear layers"
    )  # fmt: skip


def test_markdown_escapes_what_it_would_read_otherwise():
    text = markdown_table([Column("a|b"), Column("n", right=True)], [["2*3*4 <b>", "1"], ["snake_case", "22"]])
    assert text == (
        "| a\\|b         |   n |\n| ------------ | --: |\n| 2\\*3\\*4 \\<b> |   1 |\n| snake_case   |  22 |"
    )


def test_csv_is_read_back():
    text = csv_table(["a", "b"], [["with, comma", 1], ['"quoted"', 2]])
    assert list(csv.reader(io.StringIO(text))) == [["a", "b"], ["with, comma", "1"], ['"quoted"', "2"]]
    assert not text.endswith("\n")
