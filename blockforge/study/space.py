"""A search space: a network in which some values are choices, drawn one at a time.

A hole stands in the place of any value: `{choice: [...]}`, `{range: [low, high, step]}` or `any`. A choice of blocks
may bring holes of its own, which exist only where that block was drawn. Holes of one `label` share one draw.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from blockforge.block import STAGE_KEYS, any_values
from blockforge.documents import Entry, Flat, entries, find, flatten, is_hole
from blockforge.errors import BlockforgeError, InvalidNetwork
from blockforge.explain import explain
from blockforge.files import dump_yaml, parse_yaml
from blockforge.network import Network, make
from blockforge.paths import Keys, Plain, show, with_block
from blockforge.registry import Registry, get_registry
from blockforge.study.objectives import DIRECTIONS, Direction
from blockforge.study.training import TrainSettings

Scalar = bool | int | float | str | None


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

    @property
    def last(self) -> float:
        """The last value to try the space with: the last option's index, or the last number that the steps reach."""
        if self.labels is not None:
            return len(self.labels) - 1
        return self.low + self.step * int((self.high - self.low) / self.step + 1e-9)


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
        # The order of stages and of objectives says something, that of other keys nothing.
        flat["stages"] = list(self.flat.get("stages", {}).items())
        whole = [flat, list(self.objectives.items()), dict(self.limits), self.data, dict(self.train)]
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def holes(self) -> tuple[Hole, ...]:
        """All holes, conditional ones included, in the order in which a draw comes to them."""
        explorer = _Explorer(self, {})
        explorer.visit_all()
        return tuple(explorer.found.values())

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
        # What is said of the base, its idea and its paper, needn't be true of a candidate.
        document = {key: value for key, value in filler.document().items() if key not in ("about", "paper")}
        return make(Flat(document, {(): self.name}), {**document, "name": self.name}, self.registry, self.name)

    def first(self) -> Network:
        """The candidate of every hole's first option."""
        return self.draw(lambda hole: hole.first)

    def hole(self, keys: Keys, value: Any, block: str | None = None) -> Hole:
        """The hole at a place of the document; `block` is the block whose field it fills; raises `BlockforgeError`."""
        kind, given, label = _parts(value)
        parameter = f"label:{label}" if label else show(keys)
        if kind is None:
            raise BlockforgeError(
                f"{value} must have one of `choice`, `range` and `any`, and at most a `label` beside it; "
                "write {choice: [1, 2]}"
            )
        if kind == "any":
            given = self._any(keys, block)
            if given is None:
                raise BlockforgeError(
                    "`any` needs bounds, but there are none; write {choice: [...]} or {range: [low, high]}"
                )
            if isinstance(given, range):
                return Hole(parameter, low=given.start, high=given.stop - 1, step=1)
            kind = "choice"
        if kind == "choice":
            if not isinstance(given, list | tuple) or not given:
                raise BlockforgeError(
                    f"a choice needs a list with at least one value, but is {given!r}; name what to choose from"
                )
            labels = tuple(_label(option) for option in given)
            if len(set(map(repr, labels))) < len(labels):
                raise BlockforgeError(f"a choice holds the same value twice: {', '.join(map(str, labels))}; remove one")
            return Hole(parameter, labels, tuple(given))
        numbers = isinstance(given, list) and len(given) in (2, 3) and all(type(n) in (int, float) for n in given)
        if not numbers:
            raise BlockforgeError(
                f"a range is [low, high] or [low, high, step], but is {given!r}; write {{range: [1, 3]}}"
            )
        low, high, step = (*given, 1)[:3]
        if len(given) == 2 and not (type(low) is type(high) is int):
            raise BlockforgeError(
                f"a range of fractions needs a step, but is {given!r}; write {{range: [{low}, {high}, STEP]}}"
            )
        if not (low <= high and step > 0):
            raise BlockforgeError(
                f"a range needs low <= high and a step above 0, but has low={low}, high={high}, step={step}"
            )
        return Hole(parameter, low=low, high=high, step=step)

    def _any(self, keys: Keys, block: str | None) -> Any:
        if block is None:
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
            stage = self.with_block_drawn(("stages", name), stage)  # noqa: PLW2901
            kind = stage.get("block") if isinstance(stage.get("block"), str) else None
            stages[name] = {
                key: self.fill(("stages", name, key), value, None if key in STAGE_KEYS else kind)
                for key, value in stage.items()
            }
        return {**flat, "stages": stages}

    def with_block_drawn(self, keys: Keys, place: Plain) -> Plain:
        """A stage or a nested block with its block drawn: the option's fields count, what it lacks is dropped."""
        if not is_hole(place.get("block")):
            return place
        block = self.choice((*keys, "block"), place["block"], None)
        return with_block(place, block, self.space.registry.block)[0]

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
            value = self.with_block_drawn(keys, value)
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
    known = entries(parse_yaml(text, name))
    if len(known) != 1:
        raise BlockforgeError(f"{name}: holds {len(known)} spaces; give one")
    return space_from_entry(next(iter(known.values())), get_registry())


def space_from_entry(entry: Entry, registry: Registry) -> Space:
    """Make and try the space of a file's entry; raises `InvalidNetwork` with all mistakes that were found."""
    flat = flatten(entry, registry, space=True)
    raw = entry.raw if isinstance(entry.raw, dict) else {}
    objectives = _mapping(flat, raw, "objectives")
    limits = _mapping(flat, raw, "limits")
    train = _mapping(flat, raw, "train")
    for kind, mapping in (("objectives", objectives), ("limits", limits)):
        flat.marks.update({(kind, name): entry.where((kind, name)) for name in mapping})
    for name, direction in objectives.items():
        if direction not in DIRECTIONS:
            flat.mistake(("objectives", name), f"must be minimize or maximize, but is {direction!r}")
        if name != "value":  # the only one of a user's own objective that has no name
            _look_up(flat, ("objectives", name), registry.objective, name)
    for name, limit in limits.items():
        if type(limit) not in (int, float):
            flat.mistake(("limits", name), f"must be a number, but is {limit!r}")
        _look_up(flat, ("limits", name), registry.objective, name)
    data = raw.get("data")
    if data is not None and not isinstance(data, str):
        flat.mistake(("data",), f"must be a data set's name, but is {data!r}")
    elif data is not None:
        _look_up(flat, ("data",), registry.dataset, data)
    flat.marks.update({("train", name): entry.where(("train", name)) for name in train})
    try:
        TrainSettings.model_validate(train)
    except ValidationError as error:
        for loc, message in explain(error, TrainSettings, "train"):
            flat.mistake(("train", *loc), message)
    space = Space(entry.name, flat.value, raw, objectives, limits, data, train, registry, flat.marks)
    _try_out(space, flat)
    if flat.mistakes:
        raise InvalidNetwork(flat.mistakes)
    return space


def _look_up(flat: Flat, keys: Keys, look_up: Callable[[str], Any], name: str) -> None:
    try:
        look_up(name)
    except BlockforgeError as error:
        # The message begins with the name, which the place ends with, unless the place is `data`.
        flat.mistake(keys, str(error).removeprefix(f"{name}: ") if keys[-1] == name else str(error))


class _Explorer(_Filler):
    """Fills a space's document once for each option of each hole, and notes what is wrong with the holes."""

    def __init__(self, space: Space, marks: Mapping[Keys, str]) -> None:
        super().__init__(space, lambda hole: self.forced.get(hole.parameter, hole.first))
        self.found: dict[str, Hole] = {}
        self.problems = Flat(marks=dict(marks))
        self.forced: dict[str, float] = {}
        self.fresh: list[Hole] = []

    def visit_all(self, visit: Callable[[Plain, _Explorer], None] | None = None) -> None:
        """Fill with each option once, the others at their first; what only an option brings follows it."""
        waiting: list[dict[str, float]] = [{}]
        while waiting:
            self.forced, self.labelled, self.fresh = waiting.pop(0), {}, []
            self.problems.muted.clear()
            document = self.document()
            if visit:
                visit(document, self)
            for hole in self.fresh:
                values = range(len(hole.labels)) if hole.labels is not None else (hole.low, hole.last)
                waiting += [self.forced | {hole.parameter: value} for value in values if value != hole.first]

    def choice(self, keys: Keys, value: Any, block: str | None) -> Any:
        if not is_hole(value):
            return value
        try:
            hole = self.space.hole(keys, value, block)
            if self.found.get(hole.parameter, hole) != hole:
                raise BlockforgeError(  # noqa: TRY301 (one place notes a hole's mistakes)
                    f"two holes share the parameter {hole.parameter}, but not what they choose from; "
                    "give each a label of its own"
                )
        except BlockforgeError as error:
            self._note(keys, error)
            return None
        if hole.parameter not in self.found:
            self.found[hole.parameter] = hole
            self.fresh.append(hole)
        return super().choice(keys, value, block)

    def with_block_drawn(self, keys: Keys, place: Plain) -> Plain:
        try:
            drawn = super().with_block_drawn(keys, place)
        except BlockforgeError as error:
            self._note((*keys, "block"), error)
            return {key: value for key, value in place.items() if key in STAGE_KEYS and key != "block"}
        if is_hole(place.get("block")):  # what an option says was said where the choice stands
            where = self.problems.where((*keys, "block"))
            self.problems.marks.update({(*keys, key): where for key in drawn if drawn[key] is not place.get(key)})
        return drawn

    def _note(self, keys: Keys, error: BlockforgeError) -> None:
        self.problems.mistake(keys, str(error))
        self.problems.muted.add(keys[:-1] if keys[-1] == "block" else keys)


def _try_out(space: Space, flat: Flat) -> None:
    """Make each option of each hole once, so that mistakes show before the search."""

    def visit(document: Plain, explorer: _Explorer) -> None:
        found = explorer.problems
        problems = Flat(document, found.marks, found.mistakes, muted=found.muted)
        with suppress(InvalidNetwork):  # its mistakes are noted
            make(problems, {}, space.registry, space.name)

    explorer = _Explorer(space, flat.marks)
    explorer.visit_all(visit)
    flat.mistakes = list(dict.fromkeys(flat.mistakes + explorer.problems.mistakes))
    if not explorer.found and not flat.mistakes:
        flat.mistake((), "a space without holes is a network; put {choice: [...]} or {range: [low, high]} somewhere")


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


__all__ = ["DIRECTIONS", "Hole", "Space", "load_space", "space_from_entry", "space_from_yaml"]
