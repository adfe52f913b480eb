"""What holds for a whole network: its input, its classes, its norms, how its weights are drawn."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blockforge.documents import Flat, is_hole
from blockforge.explain import explain
from blockforge.paths import SETTINGS, Plain, tupled

HOLE = "{value} is a choice for a search to make; give a value, or use the file with `blockforge search`"
"""The message for a hole where a value must stand."""

_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
_Size = Annotated[int, Field(ge=1, le=2**20)]
_Scheme = Literal[
    "default", "zeros", "kaiming_normal_fan_out", "kaiming_normal_fan_in", "normal_0.01", "trunc_normal_0.01"
]


class Norm(BaseModel):
    """Batch normalisation's eps and momentum, for the whole network."""

    model_config = _STRICT
    eps: Annotated[float, Field(gt=0)] = 1e-5
    momentum: Annotated[float, Field(ge=0, le=1)] | None = 0.1


class Init(BaseModel):
    """How weights are drawn: a scheme for each kind of tensor; `default` is what torch does."""

    model_config = _STRICT
    conv: _Scheme = "default"
    conv_bias: _Scheme = "default"
    linear: _Scheme = "default"
    linear_bias: _Scheme = "default"


class Settings(BaseModel):
    """What holds for a whole network."""

    model_config = _STRICT
    name: str
    about: str = ""
    paper: str = ""
    input: tuple[_Size, ...]  # of 1 or 3 entries
    classes: _Size = 1000
    norm: Norm = Norm()
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    init: Init = Init()


def read_settings(value: Plain, flat: Flat) -> Settings | None:
    """Validate a flat document's settings, or note their mistakes in `flat` and return None."""
    given = {key: tupled(value[key]) for key in SETTINGS if key in value}
    holes = [key for key in given if is_hole(value[key])]
    for key in holes:
        flat.mistake((key,), HOLE.format(value=value[key]))
        del given[key]
    if "input" not in given:
        given["input"] = (1,)
        if "input" not in holes:
            flat.mistake((), "a network needs an input; write `input: [3, 224, 224]` (channels, height, width)")
    if isinstance(given["input"], tuple) and len(given["input"]) not in (1, 3):
        flat.mistake(("input",), f"must be [channels, height, width], or [features], but is {value['input']}")
        given["input"] = (1,)
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        for loc, message in explain(error, Settings, "a network"):
            flat.mistake(loc, message)
        return None
