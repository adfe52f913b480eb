"""A network or a space as its file says it, and flat: with all that it extends merged in."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blockforge.errors import BlockforgeError, InvalidNetwork, did_you_mean, unknown
from blockforge.files import Document, read_yaml
from blockforge.flat import Flat
from blockforge.paths import SETTINGS, Keys, Plain, edit, is_hole, with_block
from blockforge.plugin_loading import is_source
from blockforge.scaling import scale_stages

if TYPE_CHECKING:
    from blockforge.registry import Registry

NETWORK_KEYS = (*SETTINGS, "extends", "stages", "scale", "set")
SPACE_KEYS = ("base", "vary", "objectives", "limits", "data", "train")
PLUGINS = "plugins"
"""Where third parties' blocks came from: written with a network that has some, and of use where they are missing."""


@dataclass(frozen=True)
class Entry:
    """One network or space of a file; `where(keys)` is the place in the file, as `nets.yaml:3:5`."""

    name: str
    raw: Any
    where: Callable[[Keys], str]
    siblings: Mapping[str, Entry] = field(default_factory=dict)


def entries(document: Document) -> dict[str, Entry]:
    """The networks or spaces of a file: one, named by the file, or many by name."""
    value = document.value
    stem = Path(document.source).stem
    if not isinstance(value, dict):
        raise InvalidNetwork(
            [f"{document.source}: holds no mapping; write a network's keys: {', '.join(NETWORK_KEYS)}"]
        )
    if {"stages", "extends", "base", "vary"} & set(value) or not all(isinstance(item, dict) for item in value.values()):
        name = value.get("name", stem)
        return {str(name): Entry(str(name), value, document.where)}
    found: dict[str, Entry] = {}
    for name, raw in value.items():

        def where(keys: Keys, name: str = name) -> str:
            return document.where((name, *keys))

        found[name] = Entry(name, raw, where, found)
    return found


def find(reference: str, registry: Registry, kind: str = "networks") -> Entry:
    """What `FILE`, `FILE#NAME` or a registered name of a kind means; raises `BlockforgeError`."""
    path, _, name = reference.partition("#")
    if name or path.endswith((".yaml", ".yml")):
        own = entries(read_yaml(path))
        if not name and len(own) == 1:
            return next(iter(own.values()))
        if not name:
            raise BlockforgeError(f"{path}: holds {len(own)} networks; name one, as in {path}#{next(iter(own))}")
        if name not in own:
            raise unknown(f"network in {path}", name, own, f"it has {', '.join(own)}")
        return own[name]
    if os.path.isdir(reference) and reference not in (registry.networks if kind == "networks" else registry.spaces):
        raise BlockforgeError(f"{reference}: a folder, not a {kind[:-1]}; {_file_within(Path(reference), kind)}")
    found = registry.file(kind, reference)
    if str(found) not in registry.read:  # a registered file doesn't change: a family is read once, not once each
        registry.read[str(found)] = entries(read_yaml(found, name=found.name))
    known: Mapping[str, Entry] = registry.read[str(found)]
    if reference not in known and len(known) != 1:
        raise BlockforgeError(f"{found.name}: has no {reference!r}; it has {', '.join(known)}")
    return known.get(reference) or next(iter(known.values()))  # one alone goes by its file's name


def _file_within(folder: Path, kind: str) -> str:
    """Which file to name instead of a folder: a trial's, or that of a run's first trial."""
    names = ("network.yaml", "trials/*/network.yaml") if kind == "networks" else ("space.yaml",)
    found = [file for name in names for file in sorted(folder.glob(name))]
    return f"name a file in it, as in {found[0]}" if found else "name a YAML file in it"


def flatten(entry: Entry, registry: Registry, *, space: bool = False, chain: tuple[str, ...] = ()) -> Flat:
    """Merge in what an entry extends, its stages, then its edits, in this order; mistakes are collected."""
    flat = Flat(marks={(): entry.where(())})
    raw = entry.raw
    if not isinstance(raw, dict):
        flat.mistake((), f"{entry.name} must be a mapping with {', '.join(NETWORK_KEYS)}, but is {raw!r}")
        return flat
    _read_origins(entry, flat)
    registry = registry.told(flat.origins)
    allowed = NETWORK_KEYS + SPACE_KEYS if space else NETWORK_KEYS
    parent_key = "base" if "base" in raw and space else "extends"
    if space and {"base", "extends"} <= set(raw):
        flat.mistakes.append(f"{entry.where(('extends',))}: extends: `base` says it already; remove one of them")
    if parent_key in raw:
        parent = _parent(entry, str(raw[parent_key]), parent_key, registry, chain, flat)
        flat.value = parent
        registry = registry.told(flat.origins)
    for key, value in raw.items():
        _mark(flat, entry, (key,), value if key in SETTINGS else None)
        if key not in (*allowed, PLUGINS):
            hint = did_you_mean(key, (*allowed, PLUGINS)) or f"; there are {', '.join(allowed)}"
            if key in SPACE_KEYS:
                hint = "; this is a search space, so use it with `blockforge search`"
            flat.mistake((key,), f"no such key of a {'space' if space else 'network'}{hint}")
        elif key in SETTINGS:
            flat.value = flat.value | {key: value}
    if flat.mistakes and not flat.value.get("stages") and parent_key in raw:
        raise InvalidNetwork(flat.mistakes)  # there is nothing to merge into
    if "stages" in raw:
        _merge_stages(entry, raw["stages"], flat, registry)
    if "scale" in raw:
        scale_stages(raw["scale"], flat, registry.block)
    for key in ("set", "vary") if space else ("set",):
        edits = raw.get(key, {})
        if not isinstance(edits, dict):
            flat.mistake((key,), f"must be a mapping from paths to values, but is {edits!r}")
            continue
        for path, value in edits.items():
            _edit(flat, path, value, entry.where((key, path)), registry)
    return flat


def _read_origins(entry: Entry, flat: Flat) -> None:
    origins = entry.raw.get(PLUGINS, {})
    _mark(flat, entry, (PLUGINS,), origins)
    if not isinstance(origins, dict):
        flat.mistake(
            (PLUGINS,),
            f"must say where blocks came from, as {{ghost: acme-blocks 1.2.3}} does, but is {origins!r}; "
            "leave it out, it is written with a network",
        )
        return
    for name, source in origins.items():
        if is_source(source):
            flat.origins[name] = source
        else:
            flat.mistake(
                (PLUGINS, name),
                f"must be a distribution and its version, as in acme-blocks 1.2.3, or file NAME.py, but is {source!r}",
            )


def _parent(entry: Entry, name: str, key: str, registry: Registry, chain: tuple[str, ...], flat: Flat) -> Plain:
    place = f"{entry.where((key,))}: {key}"
    mark = f"{entry.where(()).rpartition(':')[0]}#{entry.name}"
    if mark in chain:
        names = [each.rpartition("#")[2] for each in (*chain[chain.index(mark) :], mark)]
        flat.mistakes.append(
            f"{place}: the networks {' -> '.join(names)} extend each other in a cycle; change an `extends`"
        )
        return {}
    try:
        other = entry.siblings.get(name)
        if other is None or (other is entry and name in registry.networks):  # a file's own resnet18, of the known one
            other = find(name, registry)
        parent = flatten(other, registry, chain=(*chain, mark))
    except InvalidNetwork as error:
        flat.mistakes.extend(error.mistakes)
        return {}
    except BlockforgeError as error:
        flat.mistakes.append(f"{place}: {error}")
        return {}
    flat.mistakes.extend(parent.mistakes)
    flat.origins = {**parent.origins, **flat.origins}
    if other is entry.siblings.get(name):
        flat.marks.update({keys: where for keys, where in parent.marks.items() if keys})
    return {key: value for key, value in parent.value.items() if key != "name"}


def _merge_stages(entry: Entry, raw: Any, flat: Flat, registry: Registry) -> None:
    if not isinstance(raw, dict):
        flat.mistake(("stages",), f"must be a mapping from names to stages, but is {raw!r}")
        return
    stages: Plain = dict(flat.value.get("stages", {}))
    for name, given in raw.items():
        place: Keys = ("stages", name)
        _mark(flat, entry, place, given)
        if given is None:
            if name not in stages:
                flat.mistake(place, f"null removes a stage, but there is none{_closest(name, stages)}")
            stages.pop(name, None)
        elif not isinstance(given, dict):
            flat.mistake(place, f"a stage must be a mapping such as {{block: residual, width: 64}}, but is {given!r}")
        else:
            own = {key: value for key, value in given.items() if key != "after"}
            stages[name] = _merged(flat, name, stages[name], own, registry) if name in stages else own
            after = given.get("after")
            others = {key: stage for key, stage in stages.items() if key != name}
            if after is not None and (not isinstance(after, str) or after not in others):
                flat.mistake((*place, "after"), f"no other stage {after!r}{_closest(str(after), others)}")
            elif after is not None:
                stages = _placed(stages, name, after)
    flat.value = flat.value | {"stages": stages}


def _closest(name: str, stages: Plain) -> str:
    return f"{did_you_mean(name, stages) or ';'} there are {', '.join(stages) or 'none'}"


def _placed(stages: Plain, name: str, after: str) -> Plain:
    """The stages with one of them moved behind another."""
    keys = [key for key in stages if key != name]
    keys.insert(keys.index(after) + 1, name)
    return {key: stages[key] for key in keys}


def _merged(flat: Flat, name: str, old: Plain, new: Plain, registry: Registry) -> Plain:
    if "block" in new and new["block"] != old.get("block") and not is_hole(new["block"]):
        try:
            old, dropped = with_block(old, new["block"], registry.block)
        except BlockforgeError:
            return new  # the block's mistake is found when the stage is made
        lost = [field for field in dropped if field not in new]
        if lost:
            flat.notes.append(f"{name}: {new['block']} has no {', '.join(lost)}; dropped")
    return {**old, **new}


def _mark(flat: Flat, entry: Entry, keys: Keys, value: Any) -> None:
    flat.marks[keys] = entry.where(keys)
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        _mark(flat, entry, (*keys, key), item)


def _edit(flat: Flat, path: str, value: Any, where: str, registry: Registry) -> None:
    try:
        flat.value, notes, changed = edit(flat.value, path, value, registry.block)
    except BlockforgeError as error:
        flat.mistakes.append(f"{where}: {error}")
        return
    flat.notes.extend(notes)
    flat.marks.update(dict.fromkeys(changed, where))
    if len(changed) > 1:
        flat.spread.append((path, changed))


__all__ = ["NETWORK_KEYS", "SPACE_KEYS", "Entry", "Flat", "entries", "find", "flatten", "is_hole"]
