"""What holds for a whole network: its input, its classes, its norms, how its weights are drawn."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from blockforge.documents import Flat, is_hole
from blockforge.errors import did_you_mean
from blockforge.explain import explain
from blockforge.field_types import refusal
from blockforge.outputs import Output, read_outputs
from blockforge.paths import SETTINGS, Plain, tupled

HOLE = "{value} is a choice for a search to make; give a value, or use the file with `blockforge search`"
"""The message for a hole where a value must stand."""

_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
_Size = Annotated[int, Field(ge=1, le=2**20)]
SCHEMES = (
    "default",
    "zeros",
    "ones",
    "kaiming_normal_fan_out",
    "kaiming_normal_fan_in",
    "kaiming_normal_fan_out_grouped",
    "xavier_uniform",
    "uniform_fan_out",
)
"""How a tensor may be drawn, beside `normal_STD` and `trunc_normal_STD` with a standard deviation.

`kaiming_normal_fan_out_grouped` divides the fan out by the groups; `uniform_fan_out` is within 1 / sqrt(fan out).
"""
_WITH_STD = re.compile(r"(trunc_)?normal_(\d+(\.\d+)?|\.\d+)")


def _scheme(value: str) -> str:
    if value not in SCHEMES and not _WITH_STD.fullmatch(value):
        raise refusal(
            f"must be {', '.join(SCHEMES)}, normal_STD or trunc_normal_STD (normal_0.01, say), but is {value!r}"
            f"{'' if 'normal' in value else did_you_mean(value, SCHEMES)}"
        )
    return value


_Scheme = Annotated[str, AfterValidator(_scheme)]


def _pairs(value: Any) -> Any:
    return tuple(value.items()) if isinstance(value, dict) else value


class Norm(BaseModel):
    """Batch normalisation's eps and momentum, for the whole network."""

    model_config = _STRICT
    eps: Annotated[float, Field(gt=0)] = 1e-5
    momentum: Annotated[float, Field(ge=0, le=1)] | None = 0.1


class Init(BaseModel):
    """How weights are drawn: a scheme for each kind of tensor; `default` is what torch does.

    `keys` are exceptions by globs of state_dict keys, `layer*.bn3.weight` say; the last one that matches counts.
    """

    model_config = _STRICT
    conv: _Scheme = "default"
    conv_bias: _Scheme = "default"
    linear: _Scheme = "default"
    linear_bias: _Scheme = "default"
    keys: Annotated[tuple[tuple[str, _Scheme], ...], BeforeValidator(_pairs)] = ()


class Preprocess(BaseModel):
    """What is done to an image before the network: resize its shorter side, crop the centre, normalise.

    `resize` and `crop` are pixels, None to leave it out; `mean` and `std` are of each channel, for values from 0 to 1.
    The crop is what the network takes: with another input than it, both follow the input, as `at` says.
    """

    model_config = _STRICT
    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]
    resize: _Size | None = None
    crop: _Size | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"

    @model_validator(mode="after")
    def _same_length(self) -> Preprocess:
        if len(self.mean) != len(self.std):
            raise refusal(f"mean has {len(self.mean)} entries, but std {len(self.std)}; give one for each channel")
        return self

    def at(self, shape: tuple[int, ...]) -> Preprocess | None:
        """The same before a network of this input, `(C, H, W)`; None if the means aren't of so many channels.

        A crop of another size than a square input's becomes the input's, and the resize changes in proportion, rounded
        down (timm's rule: crop / crop_pct). No crop makes an input that isn't square, and a resize alone says nothing
        of another input than of its size, so they are left out then.
        """
        if len(shape) != 3 or len(self.mean) != shape[0]:
            return None
        _, height, width = shape
        fits = self.crop == height == width if self.crop else self.resize in (None, min(height, width))
        if fits:
            return self
        if height != width or self.crop is None:
            return self.model_copy(update={"resize": None, "crop": None})
        resize = None if self.resize is None else max(1, height * self.resize // self.crop)
        return self.model_copy(update={"resize": resize, "crop": height})


def with_true_preprocess(document: Plain, true: Preprocess | None) -> Plain:
    """A document with the `preprocess` that is true of its input, which may have changed; none where none is known."""
    said = document.get("preprocess")
    if not isinstance(said, dict) or true is None:
        return {key: value for key, value in document.items() if key != "preprocess"}
    sizes = {"resize": true.resize, "crop": true.crop}
    kept = {key: value for key, value in {**said, **sizes}.items() if key not in sizes or value is not None}
    return {**document, "preprocess": kept}


class Settings(BaseModel):
    """What holds for a whole network."""

    model_config = _STRICT
    name: str
    about: str = ""
    paper: str = ""
    input: tuple[_Size, ...]  # of 1 or 3 entries
    input_transform: bool = False  # from ImageNet's statistics to a mean and a deviation of 0.5, in the network
    preprocess: Preprocess | None = None  # as it is for the input
    classes: _Size = 1000
    norm: Norm = Norm()
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    init: Init = Init()
    outputs: tuple[Output, ...] = ()


def read_settings(value: Plain, flat: Flat) -> Settings | None:
    """Validate a flat document's settings, or note their mistakes in `flat` and return None."""
    given = {key: tupled(value[key]) for key in SETTINGS if key in value and key != "outputs"}
    given["outputs"] = read_outputs(value, flat)
    holes = [key for key in given if key != "name" and is_hole(value.get(key))]  # a network may be called "any"
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
    known = "input" not in holes and isinstance(given["input"], tuple)
    if given.get("input_transform") is True and known and given["input"][0] != 3:
        flat.mistake(
            ("input_transform",), f"needs an input of 3 channels, but it has {given['input'][0]}; set it to false"
        )
    try:
        settings = Settings.model_validate(given)
    except ValidationError as error:
        for loc, message in explain(error, Settings, "a network"):
            flat.mistake(loc, message)
        return None
    fitting = settings.preprocess and settings.preprocess.at(settings.input)
    return settings if fitting is settings.preprocess else settings.model_copy(update={"preprocess": fitting})
