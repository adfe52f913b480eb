"""A network as data: a named DAG of stages, read from YAML, edited by paths, written back without loss."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blockforge import wiring
from blockforge.block import STAGE_KEYS, Block
from blockforge.documents import Entry, Flat, entries, find, flatten, is_hole
from blockforge.errors import BlockforgeError, InvalidNetwork
from blockforge.explain import block_name, explain
from blockforge.files import dump_yaml, parse_yaml
from blockforge.ops import Shape
from blockforge.paths import SETTINGS, Plain, edit
from blockforge.registry import Registry, get_registry

MAX_DEPTH = 1000
_STAGE_NAME = re.compile(r"[A-Za-z0-9_-]+")
WHOLE = "classes"  # a block's field of this value takes the network's number of classes

_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
_Size = Annotated[int, Field(ge=1, le=2**20)]
_Scheme = Literal["default", "zeros", "kaiming_normal_fan_out", "kaiming_normal_fan_in", "normal_0.01", "trunc_normal_0.01"]


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


@dataclass(frozen=True)
class Stage:
    """A block with its parameters and how often it repeats; `scope` is the prefix of its state_dict keys."""

    name: str
    block: Block
    depth: int
    sources: tuple[str, ...]
    scope: str


@dataclass(frozen=True, eq=False)
class Network:
    """A network as data; an edit gives a new one.

    `document` is what its file says, with `extends` and `set`; `flat` the same with everything merged in;
    `notes` tells what edits changed beside what they say.
    """

    settings: Settings
    stages: Mapping[str, Stage]
    document: Plain
    flat: Plain
    registry: Registry
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The network's name."""
        return self.settings.name

    @property
    def input(self) -> Shape:
        """The input's shape: `(C, H, W)`, or `(C,)`."""
        return self.settings.input

    @property
    def classes(self) -> int:
        """The number of classes."""
        return self.settings.classes

    @property
    def paper(self) -> str:
        """Where the network was published."""
        return self.settings.paper

    @cached_property
    def sources(self) -> wiring.Sources:
        """Each stage with the stages that feed it, in file order."""
        return tuple((stage.name, stage.sources) for stage in self.stages.values())

    @cached_property
    def hash(self) -> str:
        """The identity of what the network computes, whatever the names; equal for equal architectures."""
        from blockforge.assembler import assemble

        return assemble(self).hash()

    def __repr__(self) -> str:
        return f"<Network {self.name}: {', '.join(self.stages)}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Network) and (self.settings, [*self.stages.values()]) == (other.settings, [*other.stages.values()])

    def __hash__(self) -> int:
        return hash((self.settings, tuple(self.stages.values())))

    # -- edits

    def set(self, edits: Mapping[str, Any]) -> Network:
        """A new network with values set at paths: `{"layer3.depth": 23, "classes": 10}`; raises `BlockforgeError`."""
        flat, notes, touched = self.flat, list(self.notes), list[str]()
        mistakes: list[str] = []
        for path, value in edits.items():
            value = _listed(value)  # noqa: PLW2901 (the same value as files would hold it)
            try:
                flat, more, changed = edit(flat, path, value, self.registry.block)
            except BlockforgeError as error:
                mistakes.append(f"{self.name}: {error}")
                continue
            notes += more
            touched += [str(keys[1]) if keys[0] == "stages" else "" for keys in changed]
        document = self._edited_document(edits)
        problems = Flat(flat, {(): self.name}, mistakes, notes)
        if "" in touched or any("from" in path for path in edits):
            return make(problems, document, self.registry)
        return self._with_stages(problems, document, touched)

    def _edited_document(self, edits: Mapping[str, Any]) -> Plain:
        listed = {path: _listed(value) for path, value in edits.items()}
        if "extends" not in self.document and "name" not in self.document and self.name in self.registry.networks:
            return {"name": self.name, "extends": self.name, "set": listed}
        before = self.document.get("set", {})
        kept = {path: value for path, value in before.items() if path not in listed}  # the last word comes last
        return {**self.document, "set": {**kept, **listed}}

    def _with_stages(self, problems: Flat, document: Plain, touched: list[str]) -> Network:
        """The same network with some stages made anew: what thousands of candidates go through."""
        flat, stages = problems.value, dict(self.stages)
        for name in self.stages:
            if name in touched:
                sources = stages[name].sources
                stage = make_stage(name, flat["stages"][name], sources, self.classes, self.registry, problems)
                if stage:
                    stages[name] = stage
        if problems.mistakes:
            raise InvalidNetwork(problems.mistakes)
        network = Network(self.settings, stages, document, flat, self.registry, tuple(problems.notes))
        vars(network)["sources"] = self.sources  # the wiring is the same; cached_property keeps it there
        return network

    # -- YAML

    def to_yaml(self, *, flat: bool = False) -> str:
        """The network as YAML; `flat=True` merges in what it extends, so that the text stands alone.

        It is flat, too, where the short text would say something else: an edit that must come between two others
        of one path, say, or a neighbour in the same file that it extends.
        """
        flat = flat or not self._is_told_by(self.document)
        return dump_yaml({"name": self.name, **(self.flat if flat else self.document)})

    def _is_told_by(self, document: Plain) -> bool:
        """Whether a document by itself is read as this network."""
        told = flatten(Entry(self.name, document, lambda keys: ""), self.registry)
        value = {"name": self.name, **told.value}
        return not told.mistakes and value == self.flat and [*value["stages"]] == [*self.flat["stages"]]

    @staticmethod
    def from_yaml(source: str | Path) -> Network:
        """A network from YAML text, or from a file (`FILE` or `FILE#NAME`); raises `BlockforgeError`."""
        registry = get_registry()
        if isinstance(source, Path) or "\n" not in source.strip():
            return from_entry(find(str(source), registry.network_file), registry)
        known = list(entries(parse_yaml(source, "text")).values())
        if len(known) != 1:
            raise BlockforgeError(f"text: holds {len(known)} networks; give one")
        return from_entry(known[0], registry)


def get_network(name_or_path: str | os.PathLike[str]) -> Network:
    """The network of a registered name, or of `FILE.yaml` or `FILE.yaml#NAME`; raises `BlockforgeError`."""
    registry = get_registry()
    name = os.fspath(name_or_path)
    if name not in registry.networks:
        return from_entry(find(name, registry.network_file), registry)
    network = registry.made.get(name)  # a registered file doesn't change, and a network can't be changed
    if not isinstance(network, Network):
        network = registry.made[name] = from_entry(find(name, registry.network_file), registry)
    return network


def list_networks() -> list[str]:
    """The names of all networks, sorted."""
    return sorted(get_registry().networks)


def list_blocks() -> list[str]:
    """The names of all blocks, sorted."""
    return sorted(get_registry().blocks)


def from_entry(entry: Entry, registry: Registry) -> Network:
    """Make the network of a file's entry; raises `InvalidNetwork` with all mistakes."""
    if isinstance(entry.raw, dict) and {"base", "vary"} & set(entry.raw):
        raise InvalidNetwork(
            [f"{entry.where(())}: a search space, not a network; use it with `blockforge search`"]
        )
    flat = flatten(entry, registry)
    return make(flat, entry.raw if isinstance(entry.raw, dict) else {}, registry, entry.name)


def make(flat: Flat, document: Plain, registry: Registry, name: str = "") -> Network:
    """Validate a flat document; raises `InvalidNetwork` with all mistakes at once."""
    value = dict(flat.value)
    value.setdefault("name", name)
    settings = _settings(value, flat)
    raw_stages = value.get("stages")
    if not isinstance(raw_stages, dict) or not raw_stages:
        flat.mistake(("stages",), "a network needs stages; write `stages:` with one of them a line")
        raise InvalidNetwork(flat.mistakes)
    sources = _sources(raw_stages, flat)
    stages = {
        stage_name: make_stage(
            stage_name, raw, sources[stage_name], settings.classes if settings else 1, registry, flat
        )
        for stage_name, raw in raw_stages.items()
    }
    for stage_name, message in wiring.mistakes(sources):
        flat.mistake(("stages", stage_name, "from"), message)
    if flat.mistakes or settings is None:
        raise InvalidNetwork(flat.mistakes)
    sound = {key: stage for key, stage in stages.items() if stage}
    return Network(settings, sound, document, value, registry, tuple(flat.notes))


def _settings(value: Plain, flat: Flat) -> Settings | None:
    given = {key: _tupled(value[key]) for key in SETTINGS if key in value}
    holes = [key for key in given if is_hole(value[key])]
    for key in holes:
        flat.mistake((key,), _HOLE.format(value=value[key]))
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


_HOLE = "{value} is a choice for a search to make; give a value, or use the file with `blockforge search`"


def _sources(raw_stages: Plain, flat: Flat) -> dict[str, tuple[str, ...]]:
    sources: dict[str, tuple[str, ...]] = {}
    before = wiring.INPUT
    for name, raw in raw_stages.items():
        if name in (wiring.INPUT, *SETTINGS) or not _STAGE_NAME.fullmatch(name):
            flat.mistake(("stages", name), "is no name for a stage; use letters, digits, '_' and '-', and no key of a network")
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
            flat.mistake((*place, key), _HOLE.format(value=value))
    kind, depth, scope = raw.get("block"), raw.get("depth", 1), raw.get("scope")
    if type(depth) is not int or not 1 <= depth <= MAX_DEPTH:
        if not is_hole(depth):
            flat.mistake((*place, "depth"), f"must be a whole number from 1 to {MAX_DEPTH:,}, but is {_number(depth)}")
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
        key: classes if value == WHOLE else _tupled(value)
        for key, value in raw.items()
        if key not in STAGE_KEYS and not is_hole(value)
    }
    try:
        block = _block(cls, fields, registry)
    except ValidationError as error:
        missing = {key for key, value in raw.items() if is_hole(value)}
        for loc, message in explain(error, cls, block_name(cls)):
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
    if cls.arity is not None and cls.arity > 1 and type(depth) is int and depth > 1:
        flat.mistake((*place, "depth"), f"block {kind} takes {cls.arity} inputs, so it can't repeat on its own output; remove it")
    if len(flat.mistakes) > before:
        return None
    if scope is None:
        scope = f"{name}.{{n}}" if cls.repeatable else name
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


def _tupled(value: Any) -> Any:
    """Lists as tuples, so that a block's fields can be hashed."""
    if isinstance(value, list | tuple):
        return tuple(_tupled(item) for item in value)
    return {key: _tupled(item) for key, item in value.items()} if isinstance(value, dict) else value


def _listed(value: Any) -> Any:
    """Plain data as files hold it: tuples as lists, blocks as their specs."""
    if isinstance(value, Block):
        return value.spec()
    if isinstance(value, list | tuple):
        return [_listed(item) for item in value]
    return {key: _listed(item) for key, item in value.items()} if isinstance(value, dict) else value
