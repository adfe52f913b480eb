"""A search space: a network in which some values are choices, drawn one at a time.

A hole stands in the place of any value: `{choice: [...]}`, `{range: [low, high, step]}` or `any`. A choice of blocks
may bring holes of its own, which exist only where that block was drawn. Holes of one `label` share one draw.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from blockforge.block import STAGE_KEYS, any_values
from blockforge.documents import Entry, Flat, entries, find, flatten, is_hole
from blockforge.errors import BlockforgeError, InvalidNetwork
from blockforge.files import dump_yaml, parse_yaml
from blockforge.network import MAX_DEPTH, Network, make
from blockforge.paths import Keys, Plain, show, with_block
from blockforge.registry import Registry, get_registry

Scalar = bool | int | float | str | None
Direction = Literal["minimize", "maximize"]
DIRECTIONS = ("minimize", "maximize")


@dataclass(frozen=True)
class Hole:
    """A value that a search chooses: one of `labels` (and `options` behind them), or a number from low to high."""

    parameter: str
    labels: tuple[Scalar, ...] | None = None
    options: tuple[Any, ...] = ()
    low: float = 0
    high: float = 0
    step: float = 1

    @property
    def first(self) -> float:
        """A value to try the space with: the first option's index, or the low end."""
        return 0 if self.labels is not None else self.low


Choose = Callable[[Hole], float]


@dataclass(frozen=True, eq=False)
class Space:
    """A network with holes, what to search for, and how to train."""

    name: str
    flat: Plain
    document: Plain
    objectives: Mapping[str, Direction]
    limits: Mapping[str, float]
    data: str | None
    train: Mapping[str, Any]
    registry: Registry
    marks: Mapping[Keys, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """What identifies the space: a hash of its flat document and objectives, limits, data and training."""
        flat = {key: value for key, value in self.flat.items() if key not in ("name", "about", "paper")}
        whole = [flat, dict(self.objectives), dict(self.limits), self.data, dict(self.train)]
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def holes(self) -> tuple[Hole, ...]:
        """All holes, conditional ones included, in the order in which they stand."""
        return tuple({hole.parameter: hole for hole in self._walk_holes()}.values())

    def to_yaml(self) -> str:
        """The space as one YAML document that stands alone."""
        whole: Plain = {**self.flat, "name": self.name, "objectives": dict(self.objectives)}
        if self.limits:
            whole["limits"] = dict(self.limits)
        if self.data:
            whole["data"] = self.data
        if self.train:
            whole["train"] = dict(self.train)
        return dump_yaml(whole)

    def draw(self, choose: Choose) -> Network:
        """The candidate that the choices make; a hole is asked for only where it exists; raises `BlockforgeError`."""
        filler = _Filler(self, choose)
        flat = Flat(filler.document(), {(): self.name})
        return make(flat, {**flat.value, "name": self.name}, self.registry, self.name)

    def first(self) -> Network:
        """The candidate of every hole's first option."""
        return self.draw(lambda hole: hole.first)

    def _walk_holes(self) -> Iterator[Hole]:
        for key, value in self.flat.items():
            if key != "stages":
                yield from self._holes_in((key,), value, None)
        for name, stage in self.flat.get("stages", {}).items():
            block = stage.get("block")
            yield from self._holes_in(("stages", name, "block"), block, None)
            blocks = _block_names(block)
            for key, value in stage.items():
                if key != "block" and any(_takes(self.registry, b, key) for b in blocks):
                    yield from self._holes_in(("stages", name, key), value, blocks)

    def _holes_in(self, keys: Keys, value: Any, blocks: list[str] | None) -> Iterator[Hole]:
        if is_hole(value):
            hole = self.hole(keys, value, next((b for b in blocks or [] if _takes(self.registry, b, str(keys[2]))), None))
            yield hole
            for option in hole.options:
                yield from self._holes_in(keys, option, [option["block"]] if _is_block(option) else blocks)
        elif isinstance(value, dict):
            for key, item in value.items():
                yield from self._holes_in((*keys, key), item, blocks)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                yield from self._holes_in((*keys, index), item, blocks)

    def hole(self, keys: Keys, value: Any, block: str | None = None) -> Hole:
        """The hole at a place of the document; `block` is the block whose field it fills; raises `InvalidNetwork`."""
        kind, given, label = _parts(value)
        parameter = f"label:{label}" if label else show(keys)

        def refuse(message: str) -> InvalidNetwork:
            problems = Flat(marks=dict(self.marks))
            problems.mistake(keys, message)
            return InvalidNetwork(problems.mistakes)

        if kind is None:
            raise refuse(
                f"{value} must have one of `choice`, `range` and `any`, and at most a `label` beside it; write {{choice: [1, 2]}}"
            )
        if kind == "any":
            given = self._any(keys, block)
            if given is None:
                raise refuse(
                    f"`any` needs bounds, but {show(keys)} has none; write {{choice: [...]}} or {{range: [low, high]}}"
                )
            if isinstance(given, range):
                return Hole(parameter, low=given.start, high=given.stop - 1, step=1)
            kind = "choice"
        if kind == "choice":
            if not isinstance(given, list | tuple) or not given:
                raise refuse(f"a choice needs a list with at least one value, but is {given!r}; name what to choose from")
            labels = tuple(_label(option) for option in given)
            if len(set(map(repr, labels))) < len(labels):
                raise refuse(f"a choice holds the same value twice: {', '.join(map(str, labels))}; remove one")
            return Hole(parameter, labels, tuple(given))
        numbers = isinstance(given, list) and len(given) in (2, 3) and all(type(n) in (int, float) for n in given)
        if not numbers:
            raise refuse(f"a range is [low, high] or [low, high, step], but is {given!r}; write {{range: [1, 3]}}")
        low, high, step = (*given, 1)[:3]
        if not (low <= high and step > 0):
            raise refuse(f"a range needs low <= high and a step above 0, but has low={low}, high={high}, step={step}")
        return Hole(parameter, low=low, high=high, step=step)

    def _any(self, keys: Keys, block: str | None) -> Any:
        if keys[0] == "stages" and keys[2:] == ("depth",):
            return None
        if keys[0] != "stages" or block is None or len(keys) < 3:  # noqa: PLR2004 (stages, name, field)
            return None
        cls = self.registry.block(block)
        name = str(keys[-1])
        return any_values(cls, name) if name in cls.model_fields else None


class _Filler:
    """Fills the holes of a space's document, each label once."""

    def __init__(self, space: Space, choose: Choose) -> None:
        self.space = space
        self.choose = choose
        self.labelled: dict[str, Any] = {}

    def document(self) -> Plain:
        flat = {key: self.fill((key,), value) for key, value in self.space.flat.items() if key != "stages"}
        stages: Plain = {}
        for name, stage in self.space.flat.get("stages", {}).items():
            if "block" in stage:
                block = self.choice(("stages", name, "block"), stage["block"], None)
                if isinstance(block, dict):
                    rest = {key: value for key, value in stage.items() if key != "block"}
                    stage, _ = with_block({"block": "", **rest}, block, self.space.registry.block)  # noqa: PLW2901
                elif is_hole(stage["block"]):
                    stage, _ = with_block(stage, block, self.space.registry.block)  # noqa: PLW2901
            kind = stage.get("block") if isinstance(stage.get("block"), str) else None
            stages[name] = {key: self.fill(("stages", name, key), value, kind) for key, value in stage.items()}
        return {**flat, "stages": stages}

    def choice(self, keys: Keys, value: Any, block: str | None) -> Any:
        """The value drawn for a hole, its own holes not yet filled; any other value as it is."""
        if not is_hole(value):
            return value
        hole = self.space.hole(keys, value, block)
        if hole.parameter in self.labelled:
            return self.labelled[hole.parameter]
        drawn = self.choose(hole)
        result = hole.options[int(drawn)] if hole.labels is not None else drawn
        if hole.parameter.startswith("label:"):
            self.labelled[hole.parameter] = result
        return result

    def fill(self, keys: Keys, value: Any, block: str | None = None) -> Any:
        """The value with all its holes filled."""
        value = self.choice(keys, value, block)
        if isinstance(value, dict):
            inner = value["block"] if _is_block(value) else block
            return {key: self.fill((*keys, key), item, inner) for key, item in value.items()}
        if isinstance(value, list):
            return [self.fill((*keys, index), item, block) for index, item in enumerate(value)]
        return value


def load_space(name_or_path: str | os.PathLike[str]) -> Space:
    """The space of a registered name, a file or `FILE#NAME`, validated; raises `BlockforgeError`."""
    registry = get_registry()
    return space_from_entry(find(os.fspath(name_or_path), registry.space_file), registry)


def space_from_yaml(text: str, name: str = "space") -> Space:
    """The space that a YAML text describes; raises `BlockforgeError`."""
    return space_from_entry(next(iter(entries(parse_yaml(text, name)).values())), get_registry())


def space_from_entry(entry: Entry, registry: Registry) -> Space:
    """Make and try the space of a file's entry; raises `InvalidNetwork` with all mistakes that were found."""
    flat = flatten(entry, registry, space=True)
    raw = entry.raw if isinstance(entry.raw, dict) else {}
    objectives = _mapping(flat, raw, "objectives")
    for name, direction in objectives.items():
        if direction not in DIRECTIONS:
            flat.mistake(("objectives", name), f"must be minimize or maximize, but is {direction!r}")
    limits = _mapping(flat, raw, "limits")
    for name, limit in limits.items():
        if type(limit) not in (int, float):
            flat.mistake(("limits", name), f"must be a number, but is {limit!r}")
    for kind, names, look_up in (
        ("objectives", [n for n in objectives if n != "value"], registry.objective),
        ("limits", list(limits), registry.objective),
        ("data", [raw["data"]] if isinstance(raw.get("data"), str) else [], registry.dataset),
    ):
        for name in names:
            try:
                look_up(name)
            except BlockforgeError as error:
                flat.marks.setdefault((kind, name), entry.where((kind, name)))
                flat.mistake((kind,), str(error))
    space = Space(
        entry.name, flat.value, raw, objectives, limits, raw.get("data"), _mapping(flat, raw, "train"), registry, flat.marks
    )
    _try_out(space, flat)
    if flat.mistakes:
        raise InvalidNetwork(flat.mistakes)
    return space


def _try_out(space: Space, flat: Flat) -> None:
    """Draw each option of each hole once, the others at their first, so that mistakes show before the search."""
    try:
        holes = space.holes
    except InvalidNetwork as error:
        flat.mistakes.extend(error.mistakes)
        return
    except BlockforgeError as error:
        flat.mistakes.append(f"{flat.where(())}: {error}")
        return
    if not holes:
        flat.mistake((), "a space without holes is a network; put {choice: [...]} or {range: [low, high]} somewhere")
        return
    trials: list[tuple[Hole | None, float]] = [(None, 0)]
    for hole in holes:
        values = range(len(hole.labels)) if hole.labels is not None else (hole.low, hole.high)
        trials += [(hole, value) for value in values]
    seen: set[str] = set(flat.mistakes)
    for hole, value in trials:
        def choose(asked: Hole, hole: Hole | None = hole, value: float = value) -> float:
            return value if hole and asked.parameter == hole.parameter else asked.first

        try:
            problems = Flat(_Filler(space, choose).document(), dict(flat.marks))
            make(problems, {}, space.registry, space.name)
        except InvalidNetwork as error:
            flat.mistakes.extend(mistake for mistake in error.mistakes if mistake not in seen)
            seen.update(error.mistakes)
        except BlockforgeError as error:
            message = f"{flat.where(())}: {error}"
            if message not in seen:
                flat.mistakes.append(message)
                seen.add(message)


def _mapping(flat: Flat, raw: Plain, key: str) -> Plain:
    value = raw.get(key, {})
    if isinstance(value, dict):
        return value
    flat.mistake((key,), f"must be a mapping, but is {value!r}")
    return {}


def _parts(value: Any) -> tuple[str | None, Any, str | None]:
    """The kind of a hole, what it holds, and its label; the kind is None for what is no sound hole."""
    if value == "any":
        return "any", None, None
    kinds = {"choice", "range", "any"} & set(value)
    if len(kinds) != 1 or set(value) - kinds - {"label"} or not isinstance(value.get("label", ""), str):
        return None, None, None
    kind = next(iter(kinds))
    return kind, value[kind], value.get("label")


def _label(option: Any) -> Scalar:
    """What Optuna knows an option by: itself if it is a scalar, a block's name, else its YAML."""
    if option is None or isinstance(option, bool | int | float | str):
        return option
    return json.dumps(option, sort_keys=True) if not _is_block(option) else _block_label(option)


def _block_label(option: Plain) -> str:
    """A block's name with the parameters that are no holes, so that two options of one block stay apart."""
    fixed = [f"{key}={value}" for key, value in option.items() if key != "block" and not is_hole(value)]
    return f"{option['block']}({', '.join(fixed)})" if fixed else str(option["block"])


def _is_block(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("block"), str)


def _block_names(block: Any) -> list[str]:
    if isinstance(block, str):
        return [block]
    options = block.get("choice", []) if isinstance(block, dict) else []
    return [option["block"] if _is_block(option) else option for option in options]


def _takes(registry: Registry, block: str, key: str) -> bool:
    return key in STAGE_KEYS or key in registry.block(block).model_fields


__all__ = ["DIRECTIONS", "MAX_DEPTH", "Hole", "Path", "Space", "load_space", "space_from_entry", "space_from_yaml"]
