"""Compound scaling: the width and the depth of all stages at once, as MobileNet and EfficientNet do it.

Papers: arXiv:1704.04861 (width multiplier), arXiv:1905.11946 (compound scaling).
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, floor, log10
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blockforge.block import Block, is_block
from blockforge.errors import BlockforgeError
from blockforge.explain import explain
from blockforge.field_types import is_width
from blockforge.flat import Flat
from blockforge.paths import Plain

Resolve = Callable[[str], type[Block]]


class Scale(BaseModel):
    """Factors of every width and depth, and what widths are rounded to a multiple of."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    width: Annotated[float, Field(gt=0, le=1000, strict=True)] = 1.0
    depth: Annotated[float, Field(gt=0, le=1000, strict=True)] = 1.0
    divisor: Annotated[int, Field(ge=1, strict=True)] = 8


def scale_stages(raw: Any, flat: Flat, resolve: Resolve) -> None:
    """Scale the stages of a flat document as its `scale` says, or note its mistakes.

    Widths are rounded by the make-divisible rule, depths up where one is written; a stage with `scale: false` and the
    width `classes` stay. A factor that leaves no channel, before the divisor raises it to itself, is a mistake.
    """
    if not isinstance(raw, dict):
        flat.mistake(("scale",), f"must be a mapping such as {{width: 1.4, depth: 1.8}}, but is {raw!r}")
        return
    try:
        scale = Scale.model_validate(raw)
    except ValidationError as error:
        for loc, message in explain(error, Scale, "scale"):
            flat.mistake(("scale", *loc), message)
        return
    stages = flat.value.get("stages", {})
    lost: _Lost = []
    scaled = {name: _scaled(name, stage, scale, resolve, lost) for name, stage in stages.items()}
    if lost:
        path, width = min(lost, key=lambda each: each[1])
        flat.mistake(
            ("scale", "width"),
            f"{path}={width:,} times {scale.width:.12g} is {width * scale.width:.3g}, which rounds to 0 channels; "
            f"give at least {_at_least(0.5 / width):.12g}",
        )
    flat.value = flat.value | {"stages": scaled}


_Lost = list[tuple[str, int]]
"""The paths and the numbers of channels of which a factor leaves none."""


def _at_least(factor: float) -> float:
    """A factor of four digits that is no less than the given one."""
    unit = 10.0 ** (3 - floor(log10(factor)))
    return ceil(factor * unit) / unit


def _scaled(name: str, stage: Any, scale: Scale, resolve: Resolve, lost: _Lost) -> Any:
    if not isinstance(stage, dict) or stage.get("scale") is False:
        return stage
    depth = stage.get("depth")
    deeper = {"depth": ceil(depth * scale.depth)} if type(depth) is int else {}
    return {**_widened(name, stage, scale, resolve, lost), **deeper}


def _widened(path: str, place: Plain, scale: Scale, resolve: Resolve, lost: _Lost) -> Plain:
    """A stage or a nested block, at a path, with its numbers of channels scaled; those that would be 0 are noted."""
    name = place.get("block")
    try:
        fields = resolve(name).model_fields if isinstance(name, str) else {}
    except BlockforgeError:  # the name's mistake is found when the stage is made
        return place
    wider = dict(place)
    for key, field in fields.items():
        value = place.get(key)
        if scale.width != 1 and is_width(field):
            value = field.default if key not in place else value
            if type(value) is int:
                if 0 < value * scale.width < 0.5:
                    lost.append((f"{path}.{key}", value))
                wider[key] = make_divisible(value * scale.width, scale.divisor)
        elif isinstance(value, dict) and "block" in value:
            wider[key] = _widened(f"{path}.{key}", value, scale, resolve, lost)
        elif isinstance(value, str) and is_block(field):  # by its name alone
            widened = _widened(f"{path}.{key}", {"block": value}, scale, resolve, lost)
            wider[key] = widened if len(widened) > 1 else value
    return wider


def make_divisible(value: float, divisor: int) -> int:
    """The multiple of `divisor` nearest to the value, the greater one of two, but never below 90 % of the value."""
    nearest = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * value else nearest
