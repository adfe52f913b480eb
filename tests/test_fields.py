"""A block's parameters in words."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field

import blockforge
from blockforge import Block, BlockSpec, Channels, Scope, Search, Value
from blockforge.fields import field_records, field_texts
from blockforge.registry import get_registry


class Everything(Block):
    """All kinds of fields."""

    width: Channels
    ratio: Annotated[float, Field(gt=0, le=1), Search(0.25, 0.5)] = 0.5
    level: Annotated[int, Field(ge=1, le=4)] = 2
    flag: bool = True
    kind: Literal["a", "b"] = "a"
    maybe: Annotated[float, Field(ge=0, lt=1)] | Literal["same"] | None = None
    inner: BlockSpec | None = None
    names: tuple[str, int, str] = ("x", 1, "y")

    def expand(self, g: Scope, x: Value) -> Value:
        """Nothing much."""
        return g.relu("relu", x)


def test_fields_in_words():
    assert [each.cells() for each in field_texts(Everything)] == [
        ["width", "whole number at least 1", "(must be given)", ""],
        ["ratio", "number above 0 and at most 1", "0.5", "0.25, 0.5"],
        ["level", "whole number at least 1 and at most 4", "2", "1 to 4"],
        ["flag", "true or false", "true", "all"],
        ["kind", "a, b", "a", "all"],
        ["maybe", "number at least 0 and below 1 or same or null", "null", ""],
        ["inner", "block or null", "null", ""],
        ["names", "list of 3 (text, whole number)", "[x, 1, y]", ""],
    ]


def test_fields_as_data():
    records = {record["name"]: record for record in field_records(Everything)}
    assert records["width"] == {
        "name": "width", "type": "whole number at least 1", "required": True, "default": None, "search": None,
    }  # fmt: skip
    assert records["level"]["search"] == [1, 2, 3, 4]
    assert records["flag"]["search"] == [False, True]
    assert records["names"]["default"] == ["x", 1, "y"]


@pytest.mark.parametrize("name", blockforge.list_blocks())
def test_every_field_of_every_block_has_its_words(name: str):
    for each in field_texts(get_registry().block(name)):
        assert each.type
        assert "typing" not in each.type
        assert "\n" not in "".join(each.cells())
