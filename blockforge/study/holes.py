"""The holes of a search space: what each may be, and a document with its holes filled.

A hole stands in the place of any value: `{choice: [...]}`, `{range: [low, high, step]}` or `any`. A choice of blocks
may bring holes of its own, which exist only where that block was drawn. Holes of one `label` share one draw.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from blockforge.block import STAGE_KEYS
from blockforge.documents import Flat
from blockforge.errors import BlockforgeError
from blockforge.field_types import any_values
from blockforge.paths import Keys, Plain, Resolve, is_hole, show, with_block

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


def hole_at(keys: Keys, value: Any, block: str | None, resolve: Resolve) -> Hole:
    """The hole at a place of the document; `block` is the block whose field it fills; raises `BlockforgeError`."""
    kind, given, label = _parts(value)
    parameter = f"label:{label}" if label else show(keys)
    if kind is None:
        raise BlockforgeError(
            f"{value} must have one of `choice`, `range` and `any`, and at most a `label` beside it; "
            "write {choice: [1, 2]}"
        )
    if kind == "any":
        given = _any(keys, block, resolve)
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
        raise BlockforgeError(f"a range is [low, high] or [low, high, step], but is {given!r}; write {{range: [1, 3]}}")
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


def _any(keys: Keys, block: str | None, resolve: Resolve) -> Any:
    if block is None:
        return None
    cls = resolve(block)
    name = str(keys[-1])
    return any_values(cls, name) if name in cls.model_fields else None


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


class Filler:
    """Fills the holes of a space's document, each label once."""

    def __init__(self, flat: Plain, resolve: Resolve, choose: Choose) -> None:
        self.flat = flat
        self.resolve = resolve
        self.choose = choose
        self.labelled: dict[str, Any] = {}

    def document(self) -> Plain:
        """The document with all its holes filled."""
        flat = {key: self.fill((key,), value) for key, value in self.flat.items() if key != "stages"}
        stages: Plain = {}
        for name, stage in self.flat.get("stages", {}).items():
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
        return with_block(place, block, self.resolve)[0]

    def choice(self, keys: Keys, value: Any, block: str | None) -> Any:
        """The value drawn for a hole, its own holes not yet filled; any other value as it is."""
        if not is_hole(value):
            return value
        hole = hole_at(keys, value, block, self.resolve)
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


class Explorer(Filler):
    """Fills a space's document once for each option of each hole, and notes what is wrong with the holes."""

    def __init__(self, flat: Plain, resolve: Resolve, marks: Mapping[Keys, str]) -> None:
        super().__init__(flat, resolve, lambda hole: self.forced.get(hole.parameter, hole.first))
        self.found: dict[str, Hole] = {}
        self.problems = Flat(marks=dict(marks))
        self.forced: dict[str, float] = {}
        self.fresh: list[Hole] = []

    def visit_all(self, visit: Callable[[Plain, Explorer], None] | None = None) -> None:
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
        """The value drawn for a hole, None for an unsound one, whose mistake is noted; any other value as it is."""
        if not is_hole(value):
            return value
        try:
            hole = hole_at(keys, value, block, self.resolve)
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
        """A stage or a nested block with its block drawn, or without a block where the draw's mistake is noted."""
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
