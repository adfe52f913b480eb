"""A network as data: a named DAG of stages, read from YAML, edited by paths, written back without loss."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from blockforge import wiring
from blockforge.block import blocks_within, listed
from blockforge.documents import PLUGINS, Entry, Flat, entries, find, flatten
from blockforge.errors import BlockforgeError, InvalidNetwork
from blockforge.files import dump_yaml, parse_yaml
from blockforge.ops import Shape
from blockforge.outputs import Output
from blockforge.paths import Keys, Plain, edit
from blockforge.registry import Registry, get_registry
from blockforge.settings import Preprocess, Settings, read_settings, with_true_preprocess
from blockforge.stages import Stage, make_stage, read_sources


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

    @property
    def preprocess(self) -> Preprocess | None:
        """What is done to an image before the network, at its input; None if nothing is said for so many channels."""
        return self.settings.preprocess

    @property
    def outputs(self) -> tuple[Output, ...]:
        """What leaves the network, in the order in which it is returned."""
        return self.settings.outputs

    @cached_property
    def training_stages(self) -> frozenset[str]:
        """The stages that run in training only, since no output of eval mode needs them."""
        training, always = (
            frozenset(output.stage for output in self.outputs if (output.when == "training") is only)
            for only in (True, False)
        )
        return wiring.only_for(self.sources, training, always)

    @property
    def order(self) -> tuple[str, ...]:
        """The stages' names in the order in which they run."""
        return wiring.order(self.sources, self.training_stages)

    @cached_property
    def hash(self) -> str:
        """The identity of what the network computes, whatever the names; equal for equal architectures."""
        from blockforge.assembler import assemble

        return assemble(self).hash()

    def __repr__(self) -> str:
        return f"<Network {self.name}: {', '.join(self.stages)}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Network) and (self.settings, [*self.stages.values()]) == (
            other.settings,
            [*other.stages.values()],
        )

    def __hash__(self) -> int:
        return hash((self.settings, tuple(self.stages.values())))

    def __copy__(self) -> Network:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Network:
        return self  # nothing in it is changed in place

    def __reduce__(self) -> tuple[Any, ...]:
        # Plugins aren't sent along: where it is read, its blocks are those in force there.
        origins = self._origins(self.document.get("extends"))
        return restore, (self.flat, self.document, self.notes, origins)

    # -- edits

    def set(self, edits: Mapping[str, Any]) -> Network:
        """A new network with values set at paths: `{"layer3.depth": 23, "classes": 10}`; raises `BlockforgeError`."""
        flat, notes, touched = self.flat, list(self.notes), list[str]()
        mistakes: list[str] = []
        spread: list[tuple[str, list[Keys]]] = []
        edits = as_edits(edits, self.name)
        for path, value in edits.items():
            value = listed(value)  # noqa: PLW2901 (the same value as files would hold it)
            try:
                flat, more, changed = edit(flat, path, value, self.registry.block)
            except BlockforgeError as error:
                mistakes.append(f"{self.name}: {error}")
                continue
            notes += more
            if len(changed) > 1:
                spread.append((path, changed))
            touched += [str(keys[1]) if keys[0] == "stages" else "" for keys in changed]
        document = self._edited_document(edits)
        problems = Flat(flat, {(): self.name}, mistakes, notes, spread=spread)
        if "" in touched or any("from" in path for path in edits):
            return make(problems, document, self.registry)
        return self._with_stages(problems, document, touched)

    def _edited_document(self, edits: Mapping[str, Any]) -> Plain:
        plain = {path: listed(value) for path, value in edits.items()}
        if "extends" not in self.document and "name" not in self.document and self.name in self.registry.networks:
            return {"name": self.name, "extends": self.name, "set": plain}
        before = self.document.get("set", {})
        kept = {path: value for path, value in before.items() if path not in plain}  # the last word comes last
        return {**self.document, "set": {**kept, **plain}}

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
            raise InvalidNetwork(problems.told())
        network = Network(self.settings, stages, document, flat, self.registry, tuple(problems.notes))
        # The wiring is the same; cached_property keeps these there.
        vars(network).update(sources=self.sources, training_stages=self.training_stages)
        return network

    # -- YAML

    def to_yaml(self, *, flat: bool = False) -> str:
        """The network as YAML; `flat=True` merges in what it extends, so that the text stands alone.

        It is flat, too, where the short text would say something else: an edit that must come between two others
        of one path, say, or a neighbour in the same file that it extends. Where blocks of third parties are used, the
        key `plugins` says where to get them. `preprocess` is written for the input, or left out if it isn't known.
        """
        flat = flat or not self._is_told_by(self.document)
        whole = {"name": self.name, **(self.flat if flat else self.document)}
        origins = self._origins(whole.get("extends"))
        whole.pop(PLUGINS, None)
        if not {"extends", "set"} & set(whole):  # then nothing changes the input, so that what is said must be of it
            whole = with_true_preprocess(whole, self.preprocess)
        return dump_yaml({**whole, PLUGINS: origins} if origins else whole)

    def _origins(self, parent: Any) -> dict[str, str]:
        """Where third parties' blocks came from, by name, and the network of a name that is extended."""
        named = [("blocks", block.name) for stage in self.stages.values() for block in blocks_within(stage.block)]
        named += [("networks", parent)] if isinstance(parent, str) and parent in self.registry.networks else []
        plugins = {name: self.registry.origin(kind, name) for kind, name in named}
        return {name: plugin.source for name, plugin in sorted(plugins.items()) if plugin.origin != "built-in"}

    def _is_told_by(self, document: Plain) -> bool:
        """Whether a document by itself is read as this network."""
        try:
            told = flatten(Entry(self.name, document, lambda _: ""), self.registry)
        except InvalidNetwork:  # it extends a neighbour in its file that nobody else knows
            return False
        value = {"name": self.name, **told.value}
        return not told.mistakes and value == self.flat and [*value["stages"]] == [*self.flat["stages"]]

    @staticmethod
    def from_yaml(source: str | Path) -> Network:
        """A network from YAML text, or from a file (`FILE` or `FILE#NAME`); raises `BlockforgeError`."""
        registry = get_registry()
        if isinstance(source, Path) or "\n" not in source.strip():
            return from_entry(find(str(source), registry), registry)
        known = list(entries(parse_yaml(source, "text")).values())
        if len(known) != 1:
            raise BlockforgeError(f"text: holds {len(known)} networks; give one")
        return from_entry(known[0], registry)


def get_network(name_or_path: str | os.PathLike[str]) -> Network:
    """The network of a registered name, or of `FILE.yaml` or `FILE.yaml#NAME`; raises `BlockforgeError`."""
    registry = get_registry()
    if not isinstance(name_or_path, str | os.PathLike):
        raise BlockforgeError(f"{name_or_path!r}: is no network; give a Network, a name, or the path of a file")
    name = os.fspath(name_or_path)
    if name not in registry.networks:
        return from_entry(find(name, registry), registry)
    network = registry.made.get(name)  # a registered file doesn't change, and a network can't be changed
    if not isinstance(network, Network):
        network = registry.made[name] = from_entry(find(name, registry), registry)
    return network


def as_network(what: Network | str | os.PathLike[str]) -> Network:
    """A network as it is, or that of a name or path; raises `BlockforgeError`."""
    return what if isinstance(what, Network) else get_network(what)


def restore(flat: Plain, document: Plain, notes: tuple[str, ...], origins: Mapping[str, str]) -> Network:
    """A pickled network with the plugins that are in force; `origins` are its `plugins`. Raises `BlockforgeError`."""
    name = str(flat["name"])
    said = Flat(flat, {(): name}, notes=list(notes), origins=dict(origins))
    return make(said, document, get_registry(), name)


def as_edits(edits: object, where: str) -> Mapping[str, Any]:
    """Paths and values as they are; raises `BlockforgeError` for anything else, such as `"layer3.depth=2"`."""
    if not isinstance(edits, Mapping):
        raise BlockforgeError(f'{where}: edits are a mapping, but got {edits!r}; write {{"layer3.depth": 2}}')
    return edits


def list_networks() -> list[str]:
    """The names of all networks, sorted."""
    return sorted(get_registry().networks)


def list_blocks() -> list[str]:
    """The names of all blocks, sorted."""
    return sorted(get_registry().blocks)


def from_entry(entry: Entry, registry: Registry) -> Network:
    """Make the network of a file's entry; raises `InvalidNetwork` with all mistakes."""
    if isinstance(entry.raw, dict) and {"base", "vary"} & set(entry.raw):
        raise InvalidNetwork([f"{entry.where(())}: a search space, not a network; use it with `blockforge search`"])
    flat = flatten(entry, registry)
    return make(flat, entry.raw if isinstance(entry.raw, dict) else {}, registry, entry.name)


def make(flat: Flat, document: Plain, registry: Registry, name: str = "") -> Network:
    """Validate a flat document; raises `InvalidNetwork` with all mistakes at once."""
    value = dict(flat.value)
    known = registry.told(flat.origins)
    value.setdefault("name", name)
    settings = read_settings(value, flat)
    raw_stages = value.get("stages")
    if not isinstance(raw_stages, dict) or not raw_stages:
        flat.mistake(("stages",), "a network needs stages; write `stages:` with one of them a line")
        raise InvalidNetwork(flat.told())
    sources = read_sources(raw_stages, flat)
    stages = {
        stage_name: make_stage(stage_name, raw, sources[stage_name], settings.classes if settings else 1, known, flat)
        for stage_name, raw in raw_stages.items()
    }
    leaving = {output.stage for output in settings.outputs} if settings and not flat.mistakes else set(raw_stages)
    for stage_name, message in wiring.mistakes(sources, leaving):
        flat.mistake(("stages", stage_name, "from"), message)
    if flat.mistakes or settings is None:
        raise InvalidNetwork(flat.told())
    sound = {key: stage for key, stage in stages.items() if stage}
    return Network(settings, sound, document, value, registry, tuple(flat.notes))
