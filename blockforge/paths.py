"""The one grammar of paths: `layer3.depth`, `layer*.attention.reduction`, `classes`, `norm.eps`.

Files' `set:`, `--set`, `network.set`, Optuna's parameter names and errors all use it. The first part is a key of
the network or the name of a stage, where `*` and `?` stand for any letters; the others are fields.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

from blockforge.block import STAGE_KEYS, Block
from blockforge.errors import BlockforgeError, did_you_mean
from blockforge.removal import refuse_stage, without_output

Keys = tuple[str | int, ...]
Plain = dict[str, Any]
Resolve = Callable[[str], type[Block]]

SETTINGS = (
    "name", "about", "paper", "input", "input_transform", "preprocess", "classes", "norm", "drop_path", "init",
    "outputs",
)  # fmt: skip
"""The keys of a network beside its stages, in the order in which files have them."""

FILE_KEYS = {
    "scale": "{extends: NAME, scale: {width: 0.5}}",
    "extends": "{extends: NAME}",
    "stages": "{extends: NAME, stages: {layer4: null}}",
}
"""What only a file says, not an edit, with an example of such a file."""

MEANT = {"in_channels": "input", "in_chans": "input", "channels": "input", "image_size": "input", "img_size": "input"}
"""What other libraries call a setting."""

HOLES = frozenset({"choice", "range", "any"})
"""What a mapping in the place of a value says, one of them, where a search is to choose it."""

_GLOB = re.compile(r"[*?\[]")


@lru_cache(maxsize=4096)
def split(path: str) -> tuple[str, ...]:
    """The parts of a path; raises `BlockforgeError` for an empty part."""
    parts = tuple(path.split("."))
    if not all(parts):
        raise BlockforgeError(f"{path}: a path has no empty parts; write it as STAGE.FIELD, as in layer3.depth")
    return parts


def targets(path: str, document: Mapping[str, Any], resolve: Resolve) -> list[Keys]:
    """The places in a flat document that a path means; raises `BlockforgeError` where it means none."""
    first, *rest = split(path)
    if first in SETTINGS:
        return [(first, *rest)]
    stages: Plain = document.get("stages", {})
    if not _GLOB.search(first):
        if first not in stages:
            if first in FILE_KEYS:
                raise BlockforgeError(
                    f"{path}: {first} is a key of files, not of edits; write a file such as {FILE_KEYS[first]}"
                )
            meant = f"; did you mean {MEANT[first]!r}?" if first in MEANT else ""
            hint = meant or did_you_mean(first, [*stages, *SETTINGS]) or ";"
            raise BlockforgeError(f"{path}: no stage {first!r}{hint} there are {', '.join(stages) or 'none'}")
        if not rest:
            raise BlockforgeError(f"{path}: names a whole stage; write {path}.FIELD, as in {path}.depth")
        return [("stages", first, *rest)]
    matched = [name for name in stages if fnmatchcase(name, first)]
    if not matched:
        raise BlockforgeError(f"{path}: no stage matches {first!r}; there are {', '.join(stages) or 'none'}")
    if not rest:
        raise BlockforgeError(f"{path}: names whole stages; write {path}.FIELD, as in {path}.depth")
    having = [name for name in matched if rest[0] in fields_of(stages[name], resolve)]
    if not having:
        known = sorted({field for name in matched for field in fields_of(stages[name], resolve)})
        raise BlockforgeError(
            f"{path}: none of the stages {', '.join(matched)} has a parameter {rest[0]!r}"
            f"{did_you_mean(rest[0], known) or ';'} they have {', '.join(known)}"
        )
    return [("stages", name, *rest) for name in having]


def fields_of(stage: Any, resolve: Resolve) -> list[str]:
    """What can be set on a stage: what every stage has, and the parameters of each block that it may be of."""
    fields = dict.fromkeys(STAGE_KEYS)
    for block in block_names(stage.get("block") if isinstance(stage, dict) else None):
        fields.update(dict.fromkeys(resolve(block).model_fields))
    return list(fields)


def block_names(block: Any) -> list[str]:
    """The names of the blocks that a stage's `block` means: one, or in a space those to choose from."""
    if isinstance(block, str):
        return [block]
    if not isinstance(block, dict):
        return []
    if "block" in block:
        return block_names(block["block"])
    options = block.get("choice")
    return [name for option in options for name in block_names(option)] if isinstance(options, list) else []


def edit(document: Mapping[str, Any], path: str, value: Any, resolve: Resolve) -> tuple[Plain, list[str], list[Keys]]:
    """A flat document with the value set at every place that a path means; what else changed; the places.

    An output that is set to null goes, and with it the stages that it alone needs.
    """
    notes: list[str] = []
    if value is None:
        refuse_stage(document, path)
    changed = targets(path, document, resolve)
    new: Plain = dict(document)
    if changed[0][0] == "stages":
        new["stages"] = dict(new["stages"])
    for keys in changed:
        if keys[0] == "stages":
            name = str(keys[1])
            stage = dict(new["stages"][name])
            notes += [f"{name}: {note}" for note in _put(stage, keys[2:], value, path, resolve)]
            new["stages"][name] = stage
        elif keys[0] == "outputs" and len(keys) == 2 and value is None:
            try:
                new, notes = without_output(new, str(keys[1]))
            except BlockforgeError as error:
                raise BlockforgeError(f"{path}: {error}") from None
        else:
            _put(new, keys, value, path, resolve)
    return new, notes, changed


def with_block(stage: Plain, block: Any, resolve: Resolve) -> tuple[Plain, list[str]]:
    """A stage, or a nested block, with another block: fields that the new one lacks are dropped, and named."""
    given = {"block": block} if isinstance(block, str) else dict(block) if isinstance(block, dict) else {}
    if not isinstance(given.get("block"), str):
        raise BlockforgeError(f"must be a block's name or {{block: NAME, ...}}, but is {block!r}")
    known = {*STAGE_KEYS, *resolve(given["block"]).model_fields}
    dropped = [key for key in stage if key not in known]
    return {**{key: item for key, item in stage.items() if key in known}, **given}, dropped


def _put(place: Plain, keys: Keys, value: Any, path: str, resolve: Resolve) -> list[str]:
    """Set a value in a mapping that is the caller's own copy; what lies deeper is copied on the way.

    Returns what else that changed: another block takes the fields along that it has, and drops the others.
    """
    first, *rest = keys
    if not rest and first == "block" and not is_hole(value):
        try:
            other, dropped = with_block(place, value, resolve)
        except BlockforgeError as error:
            raise BlockforgeError(f"{path}: {error}") from None
        place.clear()
        place.update(other)
        return [f"{other['block']} has no {', '.join(dropped)}; dropped"] if dropped else []
    if not rest:
        place[str(first)] = value
        return []
    inner = place.get(str(first))
    if isinstance(inner, str):  # a nested block by its bare name
        inner = {"block": inner}
    if inner is None and first in ("norm", "init", "preprocess"):
        inner = {}
    if not isinstance(inner, dict):
        shown = "null" if inner is None else repr(inner)
        raise BlockforgeError(f"{path}: {first} is {shown} here, which has no {rest[0]!r}; set {first} first")
    copy = dict(inner)
    notes = _put(copy, tuple(rest), value, path, resolve)
    place[str(first)] = copy
    return notes


def is_hole(value: Any) -> bool:
    """Whether a value is a choice that a search makes: `any`, `{choice: [...]}` or `{range: [low, high]}`."""
    if isinstance(value, dict):
        return "block" not in value and not HOLES.isdisjoint(value)
    return isinstance(value, str) and value == "any"


def show(keys: Keys) -> str:
    """Keys as people write a path: `layer1.depth` for a stage's."""
    shown = keys[1:] if keys[:1] == ("stages",) else keys
    return ".".join(map(str, shown))


def tupled(value: Any) -> Any:
    """Lists as tuples, so that a block's fields can be hashed."""
    if isinstance(value, list | tuple):
        return tuple(tupled(item) for item in value)
    return {key: tupled(item) for key, item in value.items()} if isinstance(value, dict) else value
