"""A stage: a block with its parameters, how often it repeats, and what feeds it; made of a file's plain data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from blockforge import wiring
from blockforge.block import STAGE_KEYS, Block
from blockforge.documents import Flat, is_hole
from blockforge.errors import BlockforgeError, OpError
from blockforge.explain import block_name, explain, hole_hint
from blockforge.names import check_parts
from blockforge.paths import SETTINGS, Plain, tupled
from blockforge.registry import Registry
from blockforge.settings import HOLE

MAX_DEPTH = 1000
WHOLE = "classes"  # a block's field of this value takes the network's number of classes
_STAGE_NAME = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Stage:
    """A block with its parameters and how often it repeats; `scope` is the prefix of its state_dict keys."""

    name: str
    block: Block
    depth: int
    sources: tuple[str, ...]
    scope: str

    @property
    def shares_scope(self) -> bool:
        """Whether its repeats lie in one scope, where each op must count its own name (`#`)."""
        return self.depth > 1 and "{n" not in self.scope


def read_sources(raw_stages: Plain, flat: Flat) -> dict[str, tuple[str, ...]]:
    """What feeds each stage, in file order: the one before it unless `from` says otherwise."""
    sources: dict[str, tuple[str, ...]] = {}
    before = wiring.INPUT
    for name, raw in raw_stages.items():
        if name in (wiring.INPUT, *SETTINGS) or not _STAGE_NAME.fullmatch(name):
            flat.mistake(
                ("stages", name), "is no name for a stage; use letters, digits, '_' and '-', and no key of a network"
            )
        given = raw.get("from", before) if isinstance(raw, dict) else before
        listed = [given] if isinstance(given, str) else given
        if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
            flat.mistake(("stages", name, "from"), f"must be a stage's name or a list of them, but is {given!r}")
            listed = [before]
        sources[name] = tuple(listed)
        before = name
    return sources


def make_stage(
    name: str, raw: Any, sources: tuple[str, ...], classes: int, registry: Registry, flat: Flat
) -> Stage | None:
    """Make one stage of its plain data, or note its mistakes in `flat` and return None."""
    before = len(flat.mistakes)
    place = ("stages", name)
    if not isinstance(raw, dict):
        flat.mistake(place, f"a stage must be a mapping such as {{block: residual, width: 64}}, but is {raw!r}")
        return None
    for key, value in raw.items():
        if is_hole(value):
            flat.mistake((*place, key), HOLE.format(value=value))
    kind, depth, scope = raw.get("block"), raw.get("depth", 1), raw.get("scope")
    if (type(depth) is not int or not 1 <= depth <= MAX_DEPTH) and not is_hole(depth):
        flat.mistake(
            (*place, "depth"),
            f"must be a whole number from 1 to {MAX_DEPTH:,}, but is {_number(depth)}{hole_hint(depth)}",
        )
    if type(raw.get("scale", True)) is not bool:
        flat.mistake((*place, "scale"), f"must be true or false, but is {raw['scale']!r}")
    if scope is not None and not isinstance(scope, str):
        flat.mistake((*place, "scope"), f"must be text, such as features.{{n}}, but is {scope!r}")
    if not isinstance(kind, str):
        if kind is None:
            flat.mistake(place, "a stage needs a block; write `block: NAME`")
        elif not is_hole(kind):
            flat.mistake((*place, "block"), f"must be a block's name, but is {kind!r}")
        return None
    try:
        cls = registry.block(kind)
    except BlockforgeError as error:
        flat.mistake((*place, "block"), str(error))
        return None
    fields = {
        key: classes if value == WHOLE else tupled(value)
        for key, value in raw.items()
        if key not in STAGE_KEYS and not is_hole(value)
    }
    try:
        block = _block(cls, fields, registry)
    except ValidationError as error:
        missing = {key for key, value in raw.items() if is_hole(value)}
        for loc, message in explain(error, cls, block_name(cls), beside=STAGE_KEYS):
            if not (loc and loc[0] in missing):
                flat.mistake((*place, *loc), message)
        return None
    if cls.arity is not None and sources and len(sources) != cls.arity:
        flat.mistake(
            (*place, "from"),
            f"block {kind} takes {cls.arity} input{'s' * (cls.arity != 1)}, but `from` gives {len(sources)}"
            f" ({', '.join(sources)}); "
            + (
                "join them first with a stage of block `add` or `concat`"
                if len(sources) > cls.arity
                else f"name {cls.arity} stages"
            ),
        )
    if cls.arity not in (None, 1) and depth != 1:
        flat.mistake(
            (*place, "depth"), f"block {kind} takes {cls.arity} inputs, so it can't be repeated; set its depth to 1"
        )
    if scope is None:
        scope = f"{name}.{{n}}" if cls.repeatable else name
    if isinstance(scope, str) and scope and _STAGE_NAME.fullmatch(name):
        try:
            check_parts(scope.replace("{n+1}", "1").replace("{n}", "0"))
        except OpError as error:
            flat.mistake((*place, "scope") if "scope" in raw else place, str(error))
    if len(flat.mistakes) > before:
        return None
    return Stage(name, block, depth, sources, scope)


_blocks: dict[Any, Block] = {}
MAX_BLOCKS = 100_000


def _block(cls: type[Block], fields: Plain, registry: Registry) -> Block:
    """The block of these fields, the same one for equal fields: thousands of candidates share theirs.

    The types are part of the key, since 1, 1.0 and true are equal in Python.
    """
    key = (cls, registry, *[(name, type(value), value) for name, value in fields.items()])
    plain = all([value is None or isinstance(value, int | float | str) for value in fields.values()])
    block = _blocks.get(key) if plain else None
    if block is None:
        block = cls.model_validate(fields, context={"resolve": registry.block})
        if plain:
            if len(_blocks) >= MAX_BLOCKS:
                _blocks.clear()
            _blocks[key] = block
    return block


def _number(value: Any) -> str:
    return f"{value:,}" if type(value) is int else repr(value)
