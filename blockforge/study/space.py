"""A search space: a network in which some values are choices, drawn one at a time."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import Any

from pydantic import ValidationError

from blockforge.documents import PLUGINS, Entry, Flat, entries, find, flatten
from blockforge.errors import BlockforgeError, InvalidNetwork
from blockforge.explain import explain
from blockforge.files import dump_yaml, parse_yaml
from blockforge.network import Network, make
from blockforge.paths import Keys, Plain
from blockforge.registry import Registry, get_registry
from blockforge.study.holes import Choose, Explorer, Filler, Hole
from blockforge.study.objectives import DIRECTIONS, Direction
from blockforge.study.training import TrainSettings


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
        explorer = Explorer(self.flat, self.registry.block, {})
        explorer.visit_all()
        return tuple(explorer.found.values())

    def to_yaml(self) -> str:
        """The space as one YAML document that stands alone; `plugins` says where to get the blocks of third parties."""
        whole: Plain = {**self.flat, "name": self.name, "objectives": dict(self.objectives)}
        blocks = {text for text in _texts(self.flat.get("stages", {})) if text in self.registry.blocks}
        sources = {name: self.registry.origin("blocks", name) for name in sorted(blocks)}
        origins = {name: plugin.source for name, plugin in sources.items() if plugin.origin != "built-in"}
        if origins:
            whole[PLUGINS] = origins
        if self.limits:
            whole["limits"] = dict(self.limits)
        if self.data:
            whole["data"] = self.data
        if self.train:
            whole["train"] = dict(self.train)
        return dump_yaml(whole)

    def draw(self, choose: Choose) -> Network:
        """The candidate that the choices make; a hole is asked for only where it exists; raises `BlockforgeError`."""
        filler = Filler(self.flat, self.registry.block, choose)
        # What is said of the base, its idea and its paper, needn't be true of a candidate.
        document = {key: value for key, value in filler.document().items() if key not in ("about", "paper")}
        return make(Flat(document, {(): self.name}), {**document, "name": self.name}, self.registry, self.name)

    def __copy__(self) -> Space:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Space:
        return self  # nothing in it is changed in place

    def __reduce__(self) -> tuple[Any, ...]:
        # Plugins aren't sent along: where it is read, its blocks are those in force there.
        parts = {part.name: getattr(self, part.name) for part in fields(self) if part.name != "registry"}
        return _restore, (parts, self.registry.origins)

    def first(self) -> Network:
        """The candidate of every hole's first option."""
        return self.draw(lambda hole: hole.first)


def _restore(parts: Mapping[str, Any], origins: Mapping[str, str]) -> Space:
    """A pickled space with the plugins that are in force."""
    return Space(**parts, registry=get_registry().told(origins))


def _texts(value: Any) -> Iterator[str]:
    """Each text within a value: a block's name is one, wherever a hole puts it."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def load_space(name_or_path: str | os.PathLike[str]) -> Space:
    """The space of a registered name, a file or `FILE#NAME`, validated; raises `BlockforgeError`."""
    registry = get_registry()
    return space_from_entry(find(os.fspath(name_or_path), registry, "spaces"), registry)


def space_from_yaml(text: str, name: str = "space") -> Space:
    """The space that a YAML text describes; raises `BlockforgeError`."""
    known = entries(parse_yaml(text, name))
    if len(known) != 1:
        raise BlockforgeError(f"{name}: holds {len(known)} spaces; give one")
    return space_from_entry(next(iter(known.values())), get_registry())


def space_from_entry(entry: Entry, registry: Registry) -> Space:
    """Make and try the space of a file's entry; raises `InvalidNetwork` with all mistakes that were found."""
    flat = flatten(entry, registry, space=True)
    registry = registry.told(flat.origins)
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
        raise InvalidNetwork(flat.told())
    return space


def _look_up(flat: Flat, keys: Keys, look_up: Callable[[str], Any], name: str) -> None:
    try:
        look_up(name)
    except BlockforgeError as error:
        # The message begins with the name, which the place ends with, unless the place is `data`.
        flat.mistake(keys, str(error).removeprefix(f"{name}: ") if keys[-1] == name else str(error))


def _try_out(space: Space, flat: Flat) -> None:
    """Make each option of each hole once, so that mistakes show before the search."""

    def visit(document: Plain, explorer: Explorer) -> None:
        found = explorer.problems
        problems = Flat(document, found.marks, found.mistakes, muted=found.muted)
        with suppress(InvalidNetwork):  # its mistakes are noted
            make(problems, {}, space.registry, space.name)

    explorer = Explorer(space.flat, space.registry.block, flat.marks)
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
