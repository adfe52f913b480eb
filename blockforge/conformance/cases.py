"""What a block is checked with: parameters over their declared ranges, and input shapes."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MultipleOf
from hypothesis import assume
from hypothesis import strategies as st
from pydantic import ValidationError

from blockforge.assembler import graph_of
from blockforge.block import Block
from blockforge.conformance.report import Nonconformity, nonconformity
from blockforge.errors import BlockforgeError, NameTaken, OpError
from blockforge.field_types import Search, flat_metadata, is_width
from blockforge.graph import Graph
from blockforge.ops import Shape

# Small enough to run, odd ones and one-channel ones among them; those that many group counts divide come first, since
# that is where a failure shrinks to.
CHANNELS = (16, 8, 24, 32, 12, 48, 3, 1, 5)
SIZES = (12, 16, 7, 9, 13, 8, 17, 24)
LARGE_SIZES = (64, 48, 33)  # for blocks that take none of those: a patch of 32 pixels
FEATURES = (16, 8, 10, 1)
MOST = 4  # a whole number without an upper bound goes so far beyond its least value
WIDE = 130  # for what goes wrong at many channels alone
LARGE = 64  # a greater width by default is replaced: 2,048 channels show nothing that 64 don't


@dataclass(frozen=True)
class Case:
    """A block with these parameters, and the shapes that come in: `(C, H, W)` or `(C,)`."""

    block: Block
    inputs: tuple[Shape, ...]

    def graph(self) -> Graph:
        """The block's graph at these inputs, expanded anew."""
        return graph_of(self.block, *self.inputs)


def cases(cls: type[Block], kept: tuple[Block, ...], sizes: tuple[int, ...] = SIZES) -> st.SearchStrategy[Case]:
    """Cases that the block accepts; `kept` are what its nested blocks may be (blocks that keep their shape).

    What it refuses with an error of an op (groups that don't divide, an input too small) is no case.
    """
    return _cases(cls, kept, sizes)


@st.composite
def _cases(draw: st.DrawFn, cls: type[Block], kept: tuple[Block, ...], sizes: tuple[int, ...]) -> Case:
    fields = {name: draw(field_values(cls, name, kept)) for name in cls.model_fields}
    inputs = draw(_inputs(cls, sizes))
    block = made(cls, fields)
    assume(block is not None)
    assert block is not None  # noqa: S101 (`assume` has ended this case else)
    case = Case(block, inputs)
    with suppress(Nonconformity):  # a case all the same: the check that comes to it says what is wrong
        assume(accepts(case))
    return case


def made(cls: type[Block], fields: Mapping[str, Any]) -> Block | None:
    """The block with these fields; None where its own validation refuses them."""
    try:
        return cls(**fields)
    except ValidationError:
        return None


def accepts(case: Case) -> bool:
    """Whether the block expands at these inputs; raises `Nonconformity` for what isn't an op's refusal."""
    try:
        case.graph()
    except OpError as error:
        if isinstance(error, NameTaken):
            raise nonconformity(error) from None
        return False
    except BlockforgeError as error:
        raise nonconformity(error) from None
    return True


def _inputs(cls: type[Block], sizes: tuple[int, ...]) -> st.SearchStrategy[tuple[Shape, ...]]:
    maps = st.tuples(st.sampled_from(CHANNELS), st.sampled_from(sizes), st.sampled_from(sizes))
    shapes: st.SearchStrategy[Shape] = st.one_of(maps, maps, maps, st.tuples(st.sampled_from(FEATURES)))
    if cls.arity == 1:
        return st.tuples(shapes)
    counts = st.just(cls.arity) if cls.arity is not None else st.integers(1, 3)
    alike = st.builds(lambda shape, count: (shape,) * count, shapes, counts)
    return st.one_of(alike, counts.flatmap(lambda count: st.builds(_joinable, maps, _channels(count))))


def _channels(count: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(*[st.sampled_from(CHANNELS)] * count)


def _joinable(shape: Shape, channels: tuple[int, ...]) -> tuple[Shape, ...]:
    """Maps of one size and different channels, as a concatenation takes them."""
    return tuple([(count, *shape[1:]) for count in channels])


# -- the values of a field


def field_values(cls: type[Block], name: str, kept: tuple[Block, ...]) -> st.SearchStrategy[Any]:
    """Values of a field within its type and bounds; its default comes first, where it is no great width."""
    field = cls.model_fields[name]
    if is_width(field):
        return _widths(field.annotation, field.default, required=field.is_required())
    values = list(_alternatives(field.annotation, list(field.metadata), kept))
    own = [] if field.is_required() else [st.just(field.default)]
    return st.one_of(*own, *values) if own or values else st.nothing()


def _widths(annotation: Any, default: Any, *, required: bool) -> st.SearchStrategy[Any]:
    values = [*CHANNELS, WIDE]
    if not required and isinstance(default, int) and default <= LARGE:
        values.insert(0, default)
    numbers: st.SearchStrategy[Any] = st.sampled_from(values)
    if get_origin(annotation) is tuple:  # a width each for several branches
        parts = get_args(annotation)
        return (
            st.lists(numbers, min_size=1, max_size=3).map(tuple)
            if Ellipsis in parts
            else st.tuples(*[numbers for _ in parts])
        )
    return st.one_of(numbers, st.none()) if type(None) in get_args(annotation) else numbers


def _alternatives(annotation: Any, metadata: list[Any], kept: tuple[Block, ...]) -> Iterator[st.SearchStrategy[Any]]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _alternatives(arguments[0], [*metadata, *flat_metadata(arguments[1:])], kept)
    elif origin in (Union, types.UnionType):
        for argument in sorted(arguments, key=lambda argument: argument is not type(None)):
            yield from _alternatives(argument, metadata, kept)
    elif origin is Literal:
        yield st.sampled_from(arguments)
    elif origin is tuple and Ellipsis in arguments:
        items = list(_alternatives(arguments[0], [], kept))
        if items:
            yield st.lists(st.one_of(*items), min_size=1, max_size=3).map(tuple)
    elif origin is tuple:
        parts = [list(_alternatives(argument, [], kept)) for argument in arguments]
        if all(parts):
            yield st.tuples(*[st.one_of(*part) for part in parts])
    elif annotation is type(None):
        yield st.none()
    elif annotation is bool:
        yield st.booleans()
    elif annotation in (int, float):
        yield _numbers(annotation, list(flat_metadata(metadata)))
    elif isinstance(annotation, type) and issubclass(annotation, Block) and kept:
        yield st.sampled_from(kept)


def has_values(cls: type[Block], name: str, kept: tuple[Block, ...]) -> bool:
    """Whether there are values of a field beside its default."""
    field = cls.model_fields[name]
    return is_width(field) or any(True for _ in _alternatives(field.annotation, list(field.metadata), kept))


def other_values(cls: type[Block], name: str) -> st.SearchStrategy[Any]:
    """Values of a field that show whether it has an effect: names are given another scope."""
    default = cls.model_fields[name].default
    if isinstance(default, str) and get_origin(cls.model_fields[name].annotation) is not Literal:
        return st.just(f"other.{default}")
    if isinstance(default, tuple) and default and all(isinstance(part, str) for part in default):
        return st.just(tuple([f"other{index}.{part}" for index, part in enumerate(default)]))
    return st.nothing()


def _numbers(kind: type[Any], metadata: Sequence[Any]) -> st.SearchStrategy[Any]:
    """Numbers within the bounds: what a search tries, and those from the least on."""
    tried = [choice for item in metadata if isinstance(item, Search) for choice in item.choices]
    low, above, high, below = (
        next((getattr(item, key) for item in metadata if isinstance(item, bound)), None)
        for bound, key in ((Ge, "ge"), (Gt, "gt"), (Le, "le"), (Lt, "lt"))
    )
    step: Any = next((item.multiple_of for item in metadata if isinstance(item, MultipleOf)), None)
    if kind is int:
        least = low if low is not None else above + 1 if above is not None else 0
        most = high if high is not None else below - 1 if below is not None else least + MOST * (step or 1)
        several = step if isinstance(step, int) else 1
        first, last = -(-least // several), most // several
        numbers: st.SearchStrategy[Any] = st.integers(first, max(first, min(last, first + 4 * MOST))).map(
            lambda count: count * several
        )
    else:
        least = low if low is not None else above if above is not None else 0.0
        most = high if high is not None else below if below is not None else least + MOST
        steps = [least + (most - least) * part / 8 for part in range(9)]
        inside = [step for step in steps if (above is None or step > above) and (below is None or step < below)]
        numbers = st.sampled_from([float(step) for step in inside])
    return st.one_of(st.sampled_from(tried), numbers) if tried else numbers
