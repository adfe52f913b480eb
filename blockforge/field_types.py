"""What a block's fields can be: annotated types with a meaning, their bounds, and what a search tries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import product
from math import ceil, floor, isfinite
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MultipleOf
from pydantic import AfterValidator, BaseModel, Field
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from blockforge.errors import BlockforgeError

MAX_CHANNELS = 2**20


class Search:
    """The values that a search may try for a field (`any` in a space); no bound on what a file may say."""

    def __init__(self, *choices: Any) -> None:
        self.choices = choices

    def __repr__(self) -> str:
        return f"Search({', '.join(map(repr, self.choices))})"


class ScaledWidth:
    """Marks a field as a number of channels: what a change of the whole network's width acts on."""


def refusal(message: str) -> PydanticCustomError:
    """An error of pydantic that says just this: its templates know no formats such as `{value:,}`."""
    return PydanticCustomError("block", "{message}", {"message": message})


def _at_most_channels(value: int) -> int:
    if value > MAX_CHANNELS:
        raise refusal(f"must be at most {MAX_CHANNELS:,}, but is {value:,}")
    return value


# The cap is no `le` bound: `any` would take it for a range to search.
Channels = Annotated[int, Field(ge=1), AfterValidator(_at_most_channels), ScaledWidth()]
"""A number of channels."""
Kernel = Annotated[int, Field(ge=1), Search(3, 5, 7)]
"""A square kernel's size in pixels."""
Stride = Annotated[int, Field(ge=1)]
"""The step of a convolution or pool in pixels; what repeats a block does so with stride 1."""
Ratio = Annotated[float, Field(gt=0)]
"""A factor between two numbers of channels."""
Groups = Annotated[int, Field(ge=1)]
"""The number of groups that a convolution's channels fall into."""
Probability = Annotated[float, Field(ge=0, lt=1)]
"""A probability, such as dropout's."""
Activation = Literal["relu", "relu6", "silu", "hardswish", "sigmoid", "hardsigmoid", "tanh", "gelu", "softmax"]
"""The name of an activation."""


def is_width(field: FieldInfo) -> bool:
    """Whether a field is a number of channels, or that or nothing (`Channels | None`)."""

    def marked(annotation: Any) -> bool:
        parts = get_args(annotation)
        return any(isinstance(part, ScaledWidth) or marked(part) for part in parts)

    return any(isinstance(item, ScaledWidth) for item in field.metadata) or marked(field.annotation)


def any_values(cls: type[BaseModel], name: str) -> tuple[Any, ...] | range | None:
    """What `any` means for a field: its `Search` choices, its literals, or the range between its bounds."""
    field = cls.model_fields[name]
    metadata = list(field.metadata)
    annotation = field.annotation
    for item in metadata:
        if isinstance(item, Search):
            return item.choices
    if annotation is bool:
        return (False, True)
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    low = next((item.ge for item in metadata if isinstance(item, Ge)), None)
    high = next((item.le for item in metadata if isinstance(item, Le)), None)
    if annotation is int and isinstance(low, int) and isinstance(high, int):
        return range(low, high + 1)
    return None


def types_of(annotation: Any) -> Iterator[Any]:
    """The types that an annotation is made of, literals left out."""
    origin = get_origin(annotation)
    if origin is Literal:
        return
    if origin is None:
        yield annotation
        return
    yield get_args(annotation)[0] if origin is Annotated else origin
    for argument in get_args(annotation):
        if argument is not Ellipsis:
            yield from types_of(argument)


def check_bounds(where: str, annotation: Any, metadata: Iterable[Any]) -> None:
    """Refuse bounds that no value of a type is within, and an empty `Search()`; raises `BlockforgeError`."""
    items = list(flat_metadata(metadata))
    if any(isinstance(item, Search) and not item.choices for item in items):
        raise BlockforgeError(f"{where} has an empty Search(); name the values to try, as in Search(2, 4)")
    whole = set(types_of(annotation)) - {Union, UnionType, NoneType} == {int}
    steps: list[tuple[Any, str]] = [(1, "a whole number {}")] if whole else []
    steps += [(item.multiple_of, "{} and a multiple of {:,}") for item in items if isinstance(item, MultipleOf)]
    lows = [(low, "at least" if isinstance(item, Ge) else "above") for item in items for low in _bound(item, Ge, Gt)]
    highs = [(high, "at most" if isinstance(item, Le) else "below") for item in items for high in _bound(item, Le, Lt)]
    for (low, from_), (high, to) in product(lows, highs):
        words = f"{from_} {low:,} and {to} {high:,}"
        if low > high or (low == high and (from_, to) != ("at least", "at most")):
            raise BlockforgeError(f"{where} can have no value: it must be {words}; mend its bounds")
        for step, say in steps:
            first, most = _first_multiple(step, low, strict=from_ == "above"), _exact(high)
            if first > most or (first == most and to == "below"):
                must = say.format(words, step)
                raise BlockforgeError(f"{where} can have no value: it must be {must}; mend its bounds")


def _first_multiple(step: float, low: float, *, strict: bool) -> Fraction:
    """The least multiple of `step` that is at least, or above, a number."""
    steps = _exact(low) / _exact(step)
    return (floor(steps) + 1 if strict else ceil(steps)) * _exact(step)


def _exact(number: float) -> Fraction:
    """A number as it is written: 0.1 is a tenth."""
    return Fraction(str(number))


def _bound(item: Any, closed: type[Ge | Le], strict: type[Gt | Lt]) -> list[float]:
    key = {Ge: "ge", Gt: "gt", Le: "le", Lt: "lt"}
    found = [getattr(item, key[kind]) for kind in (closed, strict) if isinstance(item, kind)]
    return [each for each in found if isfinite(each)]


def annotated(annotation: Any) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Each type within an annotation beside which something stands, and that: `Annotated[int, Field(ge=1)] | None`."""
    if get_origin(annotation) is Annotated:
        kind, *metadata = get_args(annotation)
        yield kind, tuple(metadata)
    if get_origin(annotation) is not Literal:
        for argument in get_args(annotation):
            yield from annotated(argument)


def flat_metadata(metadata: Iterable[Any]) -> Iterator[Any]:
    """The constraints themselves: pydantic leaves a `Field` whole inside of a union."""
    for item in metadata:
        yield item
        yield from getattr(item, "metadata", ())
