"""A block's parameters in words."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field

import blockforge
from blockforge import Block, BlockSpec, Channels, Scope, Search, Value
from blockforge.fields import field_meanings, field_records, field_texts
from blockforge.registry import get_registry


class Everything(Block):
    """All kinds of fields."""

    width: Channels  # output channels
    ratio: Annotated[float, Field(gt=0, le=1), Search(0.25, 0.5)] = 0.5
    level: Annotated[int, Field(ge=1, le=4)] = 2
    flag: bool = True
    kind: Literal["a", "b"] = "a"
    maybe: Annotated[float, Field(ge=0, lt=1)] | Literal["same"] | None = None
    inner: BlockSpec | None = None
    names: tuple[str, int, str] = ("x", 1, "y")
    sizes: tuple[Annotated[int, Field(ge=1)] | None, ...] = ()

    def expand(self, g: Scope, x: Value) -> Value:
        """Nothing much."""
        return g.relu("relu", x)


def test_fields_in_words():
    assert [each.cells() for each in field_texts(Everything)] == [
        ["width", "whole number at least 1", "(must be given)", "", "output channels"],
        ["ratio", "number above 0 and at most 1", "0.5", "0.25, 0.5", ""],
        ["level", "whole number at least 1 and at most 4", "2", "1 to 4", ""],
        ["flag", "true or false", "true", "all", ""],
        ["kind", "a, b", "a", "all", ""],
        ["maybe", "number at least 0 and below 1 or same or null", "null", "", ""],
        ["inner", "block or null", "null", "", ""],
        ["names", "list of 3 (text, whole number)", "[x, 1, y]", "", ""],
        ["sizes", "list of any length (whole number at least 1, null)", "[]", "", ""],
    ]


def test_fields_as_data():
    records = {record["name"]: record for record in field_records(Everything)}
    assert records["width"] == {
        "name": "width", "meaning": "output channels", "type": "whole number at least 1", "required": True,
        "default": None, "search": None,
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


class Commented(Block):
    """Fields with comments, and without."""

    width: Channels = 64  # output channels
    stride: int = 1
    kernel: Annotated[
        int,
        Field(ge=1),  # what is no meaning of the field
        Search(3, 5),
    ] = 3  # the window's side
    names: tuple[str, str] = ("#", "# no comment")  # of convolution and norm  # pragma: no cover
    bias: Annotated[bool, Field(description="whether there is a bias")] = False  # what the description replaces
    skip: bool = True  # pragma: no cover
    # a comment above
    gate: bool = True
    padding: int | None = (
        None  # at each edge; a comment so long that a formatter puts the value in parentheses and on a line
    )

    def expand(self, g: Scope, x: Value) -> Value:
        """Nothing much."""
        stride: int = self.stride  # no field
        return g.conv("conv", x, self.width, self.kernel, stride=stride)


class Inheriting(Commented):
    """Some of its fields are its parent's."""

    stride: int = 2  # the window's step
    width: Channels = 128
    kernel: int = 5  # a larger side

    def other(self) -> None:
        """What a class within has is not the class's own."""

        class Inner(Block):
            gate: bool = False  # of the inner class

            def expand(self, g: Scope, x: Value) -> Value:
                return x


def test_a_meaning_is_the_comment_behind_a_field_unless_it_has_a_description():
    assert field_meanings(Commented) == {
        "width": "output channels",
        "stride": "",
        "kernel": "the window's side",
        "names": "of convolution and norm",
        "bias": "whether there is a bias",
        "skip": "",
        "gate": "",
        "padding": "at each edge; a comment so long that a formatter puts the value in parentheses and on a line",
    }


def test_an_inherited_field_keeps_its_meaning_unless_the_subclass_says_another():
    assert field_meanings(Inheriting) == {
        **field_meanings(Commented),
        "stride": "the window's step",
        "kernel": "a larger side",
    }


def test_a_class_in_a_function_has_its_meanings_too():
    class Inside(Block):
        """With a line further to the left:
        here."""

        width: Channels = 64  # output channels

        def expand(self, g: Scope, x: Value) -> Value:
            return x

    assert field_meanings(Inside) == {"width": "output channels"}


def test_without_source_there_is_no_meaning():
    code = "class Typed(Block):\n    width: int = 1  # lost\n    def expand(self, g, x): return x\n"
    found: dict[str, type[Block]] = {}
    exec(code, {"Block": Block, "__name__": "nowhere"}, found)
    assert field_meanings(found["Typed"]) == {"width": ""}


@pytest.mark.parametrize("name", blockforge.list_blocks())
def test_every_field_of_every_block_has_a_meaning(name: str):
    missing = [field for field, meaning in field_meanings(get_registry().block(name)).items() if not meaning]
    assert not missing, (
        f"{name}: write a comment behind {', '.join(missing)}, as in `width: Channels = 64  # output channels`"
    )
