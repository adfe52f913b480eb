"""The block contract: typed, frozen, hashable fields, nested blocks, and what a class may not be."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import hypothesis.strategies as st
import pytest
from hypothesis import given
from pydantic import Field, ValidationError

from blockforge import (
    Activation,
    Block,
    BlockSpec,
    Channels,
    Groups,
    Kernel,
    Network,
    Probability,
    Ratio,
    Scope,
    Search,
    Stride,
    Value,
    get_network,
    hookimpl,
)
from blockforge.block import listed, snake_case
from blockforge.errors import BlockforgeError, InvalidNetwork
from blockforge.field_types import MAX_CHANNELS, any_values
from blockforge.registry import get_registry


class Plain(Block):
    """A block of every kind of field.

    More about it, which `about` leaves out.
    """

    width: Channels = 8
    stride: Stride = 1
    kernel: Kernel = 3
    ratio: Ratio = 0.5
    groups: Groups = 1
    dropout: Probability | None = None
    activation: Activation = "relu"
    bias: bool = False
    names: tuple[str, str] = ("a", "b")
    shortcut: Literal["A", "B"] = "A"
    attention: BlockSpec | None = None

    def expand(self, g: Scope, x: Value) -> Value:
        return g.conv("conv", x, self.width, self.kernel, stride=self.stride)


SqueezeExcitation: Any = get_registry().block("squeeze_excitation")


def mistakes(call: Any, *args: Any, **kwargs: Any) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        call(*args, **kwargs)
    return [f"{'.'.join(map(str, each['loc']))}: {each['type']}" for each in caught.value.errors()]


def refusal(make: Any) -> str:
    with pytest.raises(BlockforgeError) as caught:
        make()
    return str(caught.value)


# Values


def test_a_block_is_frozen_and_hashable():
    block = Plain(width=16, names=("c", "d"))
    assert mistakes(setattr, block, "width", 8) == ["width: frozen_instance"]
    assert {block: 1}[Plain(width=16, names=("c", "d"))] == 1
    assert block != Plain(width=16)
    assert hash(block) != hash(Plain(width=16))


def test_blocks_of_two_classes_are_never_equal():
    class Other(Plain):
        def expand(self, g: Scope, x: Value) -> Value:
            return x

    assert Other() != Plain()
    assert Plain() != 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("width", 0), ("width", 8.0), ("width", "8"), ("width", True), ("width", MAX_CHANNELS + 1), ("width", 10**9),
        ("stride", 0), ("kernel", 0), ("ratio", 0), ("ratio", "1"), ("ratio", float("inf")), ("ratio", float("nan")),
        ("groups", 0), ("dropout", 1.0), ("dropout", -0.1), ("activation", "relo"), ("bias", 1), ("bias", "yes"),
        ("names", ["a", "b"]), ("names", ("a",)), ("names", ("a", 1)), ("shortcut", "C"), ("attention", 3),
        ("attention", "squeeze_excitation"),
    ],
)  # fmt: skip
def test_types_and_bounds_are_strict(field, value):
    assert {each.partition(".")[0].partition(":")[0] for each in mistakes(Plain, **{field: value})} == {field}


def test_a_whole_number_is_a_fraction_too():
    assert Plain(ratio=1) == Plain(ratio=1.0)
    assert type(Plain(ratio=1).ratio) is float


def test_an_unknown_field_is_refused():
    assert mistakes(Plain, widht=3) == ["widht: extra_forbidden"]


def test_defaults_are_checked_too():
    def make() -> None:
        class Wrong(Block):
            width: Channels = 0

            def expand(self, g: Scope, x: Value) -> Value:
                return x

    assert refusal(make) == (
        "block Wrong: the default of field 'width' must be at least 1, but is 0; give another default, or wider bounds"
    )


def test_channels_have_a_cap_that_is_no_bound_of_a_search():
    assert Plain(width=2**20).width == MAX_CHANNELS
    with pytest.raises(ValidationError, match=re.escape("must be at most 1,048,576, but is 1,000,000,000")):
        Plain(width=10**9)
    assert any_values(Plain, "width") is None


# What a class says of itself


def test_a_class_is_named_in_snake_case_and_told_by_its_first_sentence():
    assert (Plain.name, Plain.about, Plain.paper, Plain.repeatable, Plain.arity) == (
        "plain", "A block of every kind of field.", "", True, 1,
    )  # fmt: skip

    class NoWords(Plain):
        def expand(self, g: Scope, *xs: Value) -> Value:
            return xs[0]

    assert (NoWords.name, NoWords.about, NoWords.arity) == ("no_words", "", None)

    class Two(Block):
        def expand(self, g: Scope, x: Value, y: Value) -> Value:
            return g.add("add", x, y)

    assert Two.arity == 2


@pytest.mark.parametrize(
    ("name", "snake"),
    [
        ("Conv", "conv"), ("SqueezeExcitation", "squeeze_excitation"), ("MBConv", "mb_conv"), ("ResNeXt", "res_ne_xt"),
        ("Conv2d", "conv2d"), ("C3k2Block", "c3k2_block"), ("SE", "se"), ("already_snake", "already_snake"),
    ],
)  # fmt: skip
def test_snake_case(name, snake):
    assert snake_case(name) == snake


@given(st.lists(st.from_regex(r"[A-Z][a-z0-9]+", fullmatch=True), min_size=1, max_size=4))
def test_snake_case_joins_words(words):
    assert snake_case("".join(words)) == "_".join(word.lower() for word in words)


def test_a_class_without_expand_is_refused():
    def make() -> None:
        class Empty(Block):
            width: Channels = 1

    assert refusal(make) == ("block Empty: it has no expand; write `def expand(self, g: Scope, x: Value) -> Value`")


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (list[int], "list"),
        (dict[str, int], "dict"),
        (set[int] | None, "set"),
        (tuple[list[int], ...], "list"),
        (Annotated[list[int], Field(min_length=1)], "list"),
    ],
)
def test_a_field_that_cannot_be_hashed_is_refused_with_its_class(annotation, kind):
    def expand(self: Any, g: Scope, x: Value) -> Value:
        return x

    def make() -> None:
        type("Bad", (Block,), {"__annotations__": {"sizes": annotation}, "expand": expand, "__module__": __name__})

    assert refusal(make) == (
        f"block Bad: field 'sizes' is a {kind}, which can't be hashed; use a tuple or a frozen type"
    )


@pytest.mark.parametrize("annotation", [Any, object, Any | None, tuple[Any, ...], tuple[int, Any]])
def test_a_field_that_may_be_anything_is_refused(annotation):
    def make() -> None:
        fields = {"__annotations__": {"mode": annotation}, "expand": Plain.expand, "__module__": __name__}
        type("Bad", (Block,), fields)

    assert refusal(make) == (
        "block Bad: field 'mode' may be anything, which can't be checked; give it a type, as in `mode: int` or "
        "`mode: Literal['a', 'b']`"
    )


@pytest.mark.parametrize(
    ("parameters", "arity"),
    [("self, g", 0), ("self, g, *, x", 0), ("self, g, **x", 0), ("self", 0), ("self, g, x, y", 2),
     ("self, g, x, *, y=1", 1), ("self, g, *x", None), ("*x", None)],
)  # fmt: skip
def test_what_an_expand_takes(parameters, arity):
    fields = {"expand": eval(f"lambda {parameters}: 0"), "__module__": __name__}
    if arity != 0:
        assert type("Good", (Block,), fields).arity == arity
        return
    assert refusal(lambda: type("Bad", (Block,), fields)) == (
        "block Bad: its expand takes no input; write `def expand(self, g: Scope, x: Value) -> Value`, or *xs for "
        "several"
    )


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Annotated[int, Field(gt=1, lt=2)], "a whole number above 1 and below 2"),
        (Annotated[int | None, Field(gt=1000, lt=1001)], "a whole number above 1,000 and below 1,001"),
        (tuple[Annotated[int, Field(gt=0, lt=1)], ...], "a whole number above 0 and below 1"),
        (Annotated[int, Field(ge=1, le=5, multiple_of=10)], "at least 1 and at most 5 and a multiple of 10"),
        (Annotated[int, Field(gt=0, lt=8, multiple_of=8)] | None, "above 0 and below 8 and a multiple of 8"),
        (Annotated[float, Field(gt=0.3, lt=0.4, multiple_of=0.1)], "above 0.3 and below 0.4 and a multiple of 0.1"),
        (Annotated[int, Field(ge=1, le=5, multiple_of=5)], ""),
        (Annotated[int, Field(gt=1, lt=3)], ""),
        (Annotated[int, Field(gt=-3, lt=-1)], ""),
        (Annotated[float, Field(gt=1, lt=2)], ""),
        (Annotated[int | float, Field(gt=1, lt=2)], ""),
        (Annotated[float, Field(ge=0.3, le=0.3, multiple_of=0.1)], ""),
        (Annotated[float, Field(ge=-math.inf, lt=math.inf, multiple_of=0.1)], ""),
    ],
)
def test_bounds_without_a_value_between_them_are_refused(annotation, words):
    fields = {"__annotations__": {"size": annotation}, "expand": Plain.expand, "__module__": __name__}
    if not words:
        assert type("Good", (Block,), fields)
        return
    message = f"block Bad: field 'size' can have no value: it must be {words}; mend its bounds"
    assert refusal(lambda: type("Bad", (Block,), fields)) == message


@pytest.mark.filterwarnings("ignore:Field name .* shadows an attribute:UserWarning")
@pytest.mark.parametrize("name", ["block", "depth", "from", "scope", "after", "name", "paper", "expand", "key", "copy"])
def test_reserved_field_names_are_refused_with_their_class(name):
    def expand(self: Any, g: Scope, x: Value) -> Value:
        return x

    def make() -> None:
        fields = {"__annotations__": {name: int}, "__module__": __name__}
        type("Bad", (Block,), fields if name == "expand" else fields | {"expand": expand})

    assert refusal(make) in (
        f"block Bad: stages have a {name!r} already; name the field otherwise",
        f"block Bad: every block has a {name!r} already; name the field otherwise",
        "block Bad: it has no expand; write `def expand(self, g: Scope, x: Value) -> Value`",
    )


# What a block derives from itself


def test_the_key_is_a_plain_tuple_that_nests():
    inner = SqueezeExcitation(reduction=4)
    key = Plain(attention=inner).key
    assert key[0] is Plain
    assert key[-1] == inner.key == (SqueezeExcitation, 4, 1, (float, 0.0), "relu", "sigmoid")
    assert Plain(attention=SqueezeExcitation(reduction=4)).key == key
    assert hash(key) == hash(Plain(attention=inner))


def test_later_repeats_have_stride_1():
    block = Plain(width=16, stride=2, attention=SqueezeExcitation())
    assert block.after_first == Plain(width=16, stride=1, attention=SqueezeExcitation())
    assert Plain(width=16).after_first == Plain(width=16)
    plain = Plain()
    assert plain.after_first is plain
    squeeze = SqueezeExcitation()
    assert squeeze.after_first is squeeze


def test_a_stride_of_a_pair_becomes_a_pair_of_ones():
    class Oblong(Block):
        stride: tuple[int, int] = (2, 1)

        def expand(self, g: Scope, x: Value) -> Value:
            return g.conv("conv", x, 4, 3, stride=self.stride)

    assert Oblong().after_first.stride == (1, 1)
    assert Oblong().after_first.after_first.stride == (1, 1)


def test_a_block_that_refuses_stride_1_cannot_repeat():
    class Down(Block):
        stride: Literal[2] = 2

        def expand(self, g: Scope, x: Value) -> Value:
            return g.conv("conv", x, 4, 3, stride=self.stride)

    assert refusal(lambda: Down().after_first) == (
        "down: it repeats with stride 1, which it refuses; set its depth to 1"
    )


def test_the_spec_is_what_files_say():
    assert Plain().spec() == {"block": "plain"}
    assert Plain().parameters() == {}
    assert Plain(width=16, names=("c", "d"), attention=SqueezeExcitation()).spec() == {
        "block": "plain", "width": 16, "names": ["c", "d"], "attention": "squeeze_excitation",
    }  # fmt: skip
    assert Plain(attention=SqueezeExcitation(reduction=4)).parameters() == {
        "attention": {"block": "squeeze_excitation", "reduction": 4}
    }

    class Needed(Block):
        width: Channels

        def expand(self, g: Scope, x: Value) -> Value:
            return x

    assert Needed(width=3).spec() == {"block": "needed", "width": 3}


# Nested blocks


def test_plain_data_is_what_files_hold():
    pool = get_registry().block("pool")
    assert listed({"a": (1, (2, 3)), "b": pool(kernel=3), "c": [pool()]}) == {
        "a": [1, [2, 3]],
        "b": {"block": "pool", "kernel": 3},
        "c": ["pool"],
    }


def test_a_nested_block_is_given_in_python_as_itself():
    assert Plain(attention=SqueezeExcitation(reduction=2)).attention == SqueezeExcitation(reduction=2)
    with pytest.raises(ValidationError) as caught:
        Plain(attention="squeeze_excitation")
    assert "a name is looked up in a network only; pass the block itself, but got 'squeeze_excitation'" in str(
        caught.value
    )


@pytest.mark.parametrize(
    "spec", ["squeeze_excitation", "{block: squeeze_excitation}", "{block: squeeze_excitation, reduction: 16}"]
)
def test_a_nested_block_is_given_in_a_file_by_name_or_mapping(spec):
    text = f"input: [8, 8, 8]\nstages:\n  a: {{block: residual, width: 8, attention: {spec}}}\n"
    assert Network.from_yaml(text).stages["a"].block.attention == SqueezeExcitation()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("squeeze_exitation", "attention: squeeze_exitation: no block of this name; did you mean 'squeeze_excitation'? "
                              "`blockforge list --blocks` lists all"),
        ("3", "attention: must be a block's name or {block: NAME, ...}, but is 3"),
        ("{reduction: 4}", "attention: must be a block's name or {block: NAME, ...}, but is {'reduction': 4}"),
        ("{block: squeeze_excitation, reduktion: 4}",
         "attention.reduktion: block squeeze_excitation has no parameter 'reduktion'; did you mean 'reduction'? it has "
         "reduction, divisor, round_limit, activation, gate"),
        ("{block: squeeze_excitation, reduction: 0}", "attention.reduction: must be at least 1, but is 0"),
        ("{block: residual, attention: {block: residual, attention: se}}",
         "attention.attention.attention: se: no block of this name; did you mean 'squeeze_excitation'? "
         "`blockforge list --blocks` lists all"),
    ],
)  # fmt: skip
def test_a_wrong_nested_block_is_named_by_its_path(spec, message):
    text = f"input: [8, 8, 8]\nstages:\n  a: {{block: residual, width: 8, attention: {spec}}}\n"
    with pytest.raises(InvalidNetwork) as caught:
        Network.from_yaml(text)
    assert str(caught.value).partition(": a.")[2] == message


# What a search may try


def test_what_any_means():
    class Tried(Block):
        searched: Annotated[int, Field(ge=1), Search(2, 4)] = 2
        bounded: Annotated[int, Field(ge=1, le=3)] = 1
        optional: Annotated[int, Field(ge=1, le=3)] | None = None
        half_open: Annotated[int, Field(ge=1)] = 1
        fraction: Annotated[float, Field(ge=0, le=1)] = 0.5
        literal: Literal["a", "b"] = "a"
        truth: bool = True
        kernel: Kernel = 3
        blocks: BlockSpec | None = None

        def expand(self, g: Scope, x: Value) -> Value:
            return x

    assert {name: any_values(Tried, name) for name in Tried.model_fields} == {
        "searched": (2, 4), "bounded": range(1, 4), "optional": None, "half_open": None, "fraction": None,
        "literal": ("a", "b"), "truth": (False, True), "kernel": (3, 5, 7), "blocks": None,
    }  # fmt: skip
    assert repr(Search(2, "a")) == "Search(2, 'a')"


# Every block that is registered


@pytest.mark.parametrize("name", get_registry().blocks)
def test_every_block_says_what_it_is(name):
    cls = get_registry().block(name)
    assert cls.name == name
    assert cls.about.endswith(".")
    assert len(cls.about) <= 120
    assert cls.paper
    assert Path(get_registry().origin("blocks", name).location).is_file()


@pytest.mark.parametrize("name", get_registry().networks)
def test_every_block_of_a_network_is_rebuilt_from_its_spec(name):
    for stage in get_network(name).stages.values():
        spec = stage.block.spec()
        fields = {
            key: tuple(value) if isinstance(value, list) else value for key, value in spec.items() if key != "block"
        }
        context = {"resolve": get_registry().block}
        assert get_registry().block(spec["block"]).model_validate(fields, context=context) == stage.block


def test_hookimpl_and_class_variables_are_no_parameters():
    assert hookimpl.project_name == "blockforge"

    class Marked(Block):
        paper: ClassVar[str] = "arXiv:1"
        repeatable: ClassVar[bool] = False

        def expand(self, g: Scope, x: Value) -> Value:
            return x

    assert (Marked.model_fields, Marked.paper, Marked.repeatable) == ({}, "arXiv:1", False)
