"""What a network gives: its logits, and in training what auxiliary heads say beside them."""

from __future__ import annotations

import keyword
from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blockforge.documents import Flat, is_hole
from blockforge.errors import did_you_mean
from blockforge.explain import explain
from blockforge.paths import Plain

LOGITS = "logits"


class Leaving(BaseModel):
    """What a file says of an output: the stage that makes it, when, and the factor of its loss in training."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    stage: str
    when: Literal["always", "training"] = "always"
    weight: Annotated[float, Field(ge=0)] = 1.0


class Output(Leaving):
    """A stage whose output leaves the network under a name, always or in training only.

    Papers on auxiliary heads: arXiv:1409.4842 and arXiv:1512.00567.
    """

    name: str


def read_outputs(value: Plain, flat: Flat) -> tuple[Output, ...]:
    """The outputs of a flat document, the last stage's if it names none, or their mistakes noted in `flat`."""
    stages = value.get("stages")
    names = list(stages) if isinstance(stages, dict) else []
    raw = value.get("outputs")
    if raw is None:
        return (Output(name=LOGITS, stage=names[-1]),) if names else ()
    if is_hole(raw):  # which is told with the other settings' holes
        return ()
    if not isinstance(raw, dict) or not raw:
        flat.mistake(
            ("outputs",), f"must be a mapping such as {{logits: {names[-1] if names else 'head'}}}, but is {raw!r}"
        )
        return ()
    found: list[Output] = []
    for name, given in raw.items():
        output = _output(str(name), given, names, flat)
        if output:
            found.append(output)
    if found and all(output.when == "training" for output in found):
        flat.mistake(("outputs",), "nothing leaves the network in eval mode; give one output without `when: training`")
    return tuple(found)


def _output(name: str, given: Any, stages: Collection[str], flat: Flat) -> Output | None:
    place = ("outputs", name)
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        flat.mistake(place, "is no name for an output; use letters, digits and '_', and no word of Python's")
        return None
    fields = {"stage": given} if isinstance(given, str) else given
    if not isinstance(fields, dict):
        flat.mistake(place, f"must be a stage's name or {{stage: NAME, when: training}}, but is {given!r}")
        return None
    try:
        output = Output(name=name, **dict(Leaving.model_validate(fields)))
    except ValidationError as error:
        for loc, message in explain(error, Leaving, "an output"):
            flat.mistake((*place, *loc), message)
        return None
    if output.stage not in stages:
        hint = did_you_mean(output.stage, stages) or ";"
        flat.mistake(place, f"no stage {output.stage!r} makes it{hint} there are {', '.join(stages) or 'none'}")
        return None
    return output
