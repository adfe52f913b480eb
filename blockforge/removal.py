"""Takes an output out of a network's document, with the stages that it alone needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from blockforge.errors import BlockforgeError, did_you_mean
from blockforge.wiring import behind


def without_output(document: Mapping[str, Any], name: str) -> tuple[dict[str, Any], list[str]]:
    """A flat document without an output, and a note on each stage that went with it.

    Raises `BlockforgeError` where there is no such output, or no other one.
    """
    outputs = document.get("outputs")
    if not isinstance(outputs, dict):
        raise BlockforgeError(f"there is no output {name!r}: the last stage is the only one; leave it as it is")
    if name not in outputs:
        raise BlockforgeError(f"no output {name!r}{did_you_mean(name, outputs) or ';'} there are {', '.join(outputs)}")
    others = {key: given for key, given in outputs.items() if key != name}
    if not others:
        raise BlockforgeError("it is the only output; a network needs one, so leave it or set another first")
    stages = document.get("stages", {})
    feeding = _feeding(stages)
    kept = behind(map(_stage_of, others.values()), lambda stage: feeding.get(stage, ()))
    alone = behind([_stage_of(outputs[name])], lambda stage: feeding.get(stage, ())) - kept
    left = {key: stage for key, stage in stages.items() if key not in alone}
    notes = [f"{key}: only the output {name} needs it; removed with it" for key in stages if key in alone]
    return {**document, "outputs": others, "stages": left}, notes


def refuse_stage(document: Mapping[str, Any], name: str) -> None:
    """Refuse null in the place of a whole stage, and name the outputs that it makes; raises `BlockforgeError`."""
    if name not in document.get("stages", {}):
        return
    outputs = document.get("outputs")
    given = outputs.items() if isinstance(outputs, dict) else ()
    made = [f"outputs.{key}" for key, output in given if _stage_of(output) == name]
    instead = (
        f"; set {' and '.join(made)} to null, and the stage goes with it" if made else ", in a variant of this one"
    )
    raise BlockforgeError(f"{name}: null removes a stage only under a file's `stages`{instead}")


def _stage_of(output: Any) -> str:
    return str(output.get("stage")) if isinstance(output, dict) else str(output)


def _feeding(stages: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Each stage with those that feed it, the one before it by default, whatever their mistakes."""
    found: dict[str, tuple[str, ...]] = {}
    before = ""
    for name, stage in stages.items():
        given = stage.get("from", before) if isinstance(stage, dict) else before
        found[name] = tuple(map(str, given)) if isinstance(given, list) else (str(given),)
        before = name
    return found
