"""What there is: networks, blocks and spaces by family, and the plugins that they come from."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blockforge.errors import BlockforgeError, did_you_mean
from blockforge.outline import outline
from blockforge.plugin_loading import KINDS, Plugin
from blockforge.registry import Registry
from blockforge.table import Column, text_table

if TYPE_CHECKING:
    from importlib.abc import Traversable

Record = dict[str, Any]

SECTIONS = ("networks", "blocks", "spaces")
_TITLES = {
    "networks": ("family", "network", "paper", "year", "idea"),
    "blocks": ("family", "block", "paper", "idea"),
    "spaces": ("base", "space", "data", "idea"),
}
_KEYS = {
    "networks": ("family", "name", "paper", "year", "about"),
    "blocks": ("family", "name", "paper", "about"),
    "spaces": ("base", "name", "data", "about"),
}


@dataclass(frozen=True)
class Filter:
    """Which networks to list, and whether with their costs; a limit asks for the costs, too."""

    family: str | None = None
    max_params: float | None = None
    max_macs: float | None = None
    costs: bool = False

    @property
    def needs_costs(self) -> bool:
        """Whether each network must be read and counted."""
        return self.costs or self.max_params is not None or self.max_macs is not None

    def keeps(self, record: Record) -> bool:
        """Whether a network's record passes."""
        limits = (("params", self.max_params), ("macs", self.max_macs))
        return all(limit is None or record[key] <= limit for key, limit in limits)


def catalogue(
    registry: Registry, sections: Sequence[str], pattern: str | None = None, only: Filter = Filter()
) -> dict[str, list[Record]]:
    """What is registered by section, sorted by family; with a pattern, what it matches by name or family.

    `*`, `?` and `[...]` stand for letters; a pattern without them matches anywhere in a name. `only` filters networks.
    Raises `BlockforgeError` where nothing matches.
    """
    makers: dict[str, Callable[[Registry], list[Record]]] = {
        "networks": _networks,
        "blocks": _blocks,
        "spaces": _spaces,
    }
    everything = {section: makers[section](registry) for section in sections}
    of_any_family = everything.get("networks", [])
    if only.family is not None:
        everything["networks"] = _of_family(of_any_family, only.family)
    chosen = {
        section: [record for record in records if pattern is None or _matches(record, pattern)]
        for section, records in everything.items()
    }
    if only.family is not None and pattern is not None and not chosen["networks"]:
        _refuse_family(pattern, only.family, [record for record in of_any_family if _matches(record, pattern)])
    if only.needs_costs:
        costed = [record | _costs(str(record["name"])) for record in chosen["networks"]]
        chosen["networks"] = [record for record in costed if only.keeps(record)]
        if costed and not chosen["networks"]:
            least = min(costed, key=lambda record: int(record["params"]))
            raise BlockforgeError(
                f"list: none of {len(costed)} networks is within the limits; the smallest, {least['name']}, has "
                f"{least['params']:,} parameters and {least['macs']:,} MACs; raise the limits"
            )
    if pattern is None:
        return chosen
    if not any(chosen.values()):
        names = [record["name"] for records in everything.values() for record in records]
        *first, last = (section[:-1] for section in sections)
        kinds = f"{', '.join(first)} or {last}" if first else last
        hint = did_you_mean(pattern, names) or "; `blockforge list` without a pattern lists all"
        raise BlockforgeError(f"{pattern}: no {kinds} matches{hint}{registry.failed_hint}")
    return chosen


def _of_family(networks: list[Record], family: str) -> list[Record]:
    found = [record for record in networks if record["family"] == family]
    if not found:
        families = sorted({str(record["family"]) for record in networks})
        raise BlockforgeError(
            f"{family}: no family of this name{did_you_mean(family, families) or ';'} there are {', '.join(families)}"
        )
    return found


def _refuse_family(pattern: str, family: str, others: Sequence[Record]) -> None:
    """Raise `BlockforgeError` where a pattern matches networks, but of other families alone."""
    if others:
        families = ", ".join(dict.fromkeys(str(record["family"]) for record in others))
        raise BlockforgeError(
            f"{pattern}: matches {len(others)} networks, but none of the family {family}; they are of {families}; "
            "leave out --family"
        )


def _costs(name: str) -> Record:
    from blockforge.costing import cost
    from blockforge.network import get_network

    network = get_network(name)
    found = cost(network)
    return {"params": found.params, "macs": found.macs, "input": list(network.input)}


def year_of(paper: str) -> int | None:
    """The year that a paper's reference tells: `arXiv:1512.03385` is of 2015."""
    arxiv = re.search(r"arXiv:(\d\d)\d\d\.", paper)
    plain = re.search(r"\b(?:19|20)\d\d\b", paper)
    return 2000 + int(arxiv[1]) if arxiv else int(plain[0]) if plain else None


def _matches(record: Record, pattern: str) -> bool:
    return matches(str(record["name"]), str(record.get("family") or ""), pattern)


def networks_matching(registry: Registry, pattern: str | None) -> list[str]:
    """The names of networks that a pattern means, all without one; raises `BlockforgeError` where it means none.

    A name means that network alone, and not those whose names it is a part of.
    """
    if pattern in registry.networks:
        return [str(pattern)]
    known = {name: family_of(file) for name, file in registry.networks.items()}
    found = [name for name, family in known.items() if pattern is None or matches(name, family, pattern)]
    if pattern is not None and not found:
        hint = did_you_mean(pattern, known) or "; `blockforge list --networks` lists all"
        raise BlockforgeError(f"{pattern}: no network matches{hint}")
    return found


def family_of(file: Traversable | Path) -> str:
    """The family of a file's networks: what the file is called."""
    return Path(file.name).stem


def matches(name: str, family: str, pattern: str) -> bool:
    """Whether a pattern means a name or a family: as a glob if it is one, else as a part of either."""
    names = (name, family)
    if any(mark in pattern for mark in "*?["):
        return any(fnmatchcase(name, pattern) for name in names)
    return any(pattern.lower() in name.lower() for name in names)


def _networks(registry: Registry) -> list[Record]:
    files = {str(file): file for file in registry.networks.values()}
    outlines = {path: outline(file, ("paper", "about", "extends")) for path, file in files.items()}
    merged = {name: entry for found in outlines.values() for name, entry in found.items()}
    records = []
    for name, file in registry.networks.items():
        entry = outlines[str(file)].get(name, {})
        records.append(
            {
                "name": name,
                "family": family_of(file),
                "paper": (paper := _inherited(name, "paper", merged)),
                "year": year_of(paper),
                "about": _inherited(name, "about", merged),
                "extends": entry.get("extends"),
                "plugin": registry.origin("networks", name).name,
            }
        )
    return sorted(records, key=lambda record: str(record["family"]))


def _inherited(name: str, key: str, outlines: Mapping[str, Mapping[str, str]]) -> str:
    """A text of a network's own or of the nearest one that it extends."""
    seen: set[str] = set()
    while name in outlines and name not in seen:
        if key in outlines[name]:
            return outlines[name][key]
        seen.add(name)
        name = outlines[name].get("extends", "")
    return ""


def _blocks(registry: Registry) -> list[Record]:
    records = []
    for name, cls in registry.blocks.items():
        plugin = registry.origin("blocks", name)
        records.append(
            {
                "name": name,
                "family": plugin.name,
                "paper": cls.paper,
                "about": cls.about,
                "parameters": list(cls.model_fields),
                "plugin": plugin.name,
                "origin": plugin.origin,
            }
        )
    return records


def _spaces(registry: Registry) -> list[Record]:
    records = []
    for name, file in sorted(registry.spaces.items()):
        entry = outline(file, ("base", "about", "data")).get(name, {})
        records.append(
            {
                "name": name,
                "base": entry.get("base"),
                "data": entry.get("data"),
                "about": entry.get("about", ""),
                "plugin": registry.origin("spaces", name).name,
            }
        )
    return records


def catalogue_text(found: Mapping[str, list[Record]], width: int | None) -> str:
    """Each section as a table; a family stands at its first member only."""
    tables = []
    for section, records in found.items():
        if not records:
            continue
        keys, titles = _KEYS[section], _TITLES[section]
        if "params" in records[0]:  # costs in the place of the idea
            keys, titles = (*keys[:-1], "input", "params", "macs"), (*titles[:-1], "input", "parameters", "MACs")
        numbers = ("year", "parameters", "MACs")
        columns = [
            Column(title, right=title in numbers, fold=title != "paper", breaks=title not in ("paper", *numbers))
            for title in titles
        ]
        rows, before = [], None
        for record in records:
            first, *rest = (_cell(key, record[key]) for key in keys)
            rows.append(["" if first == before else first, *rest])
            before = first
        tables.append(text_table(columns, rows, width))
    return "\n\n".join(tables)


def _cell(key: str, value: Any) -> str:
    if key in ("params", "macs"):
        return f"{value:,}"
    return "x".join(map(str, value)) if key == "input" else str(value or "")


def plugin_record(plugin: Plugin) -> Record:
    """A plugin as JSON has it; `error` is null unless it failed."""
    return {
        "name": plugin.name,
        "origin": plugin.origin,
        "distribution": plugin.distribution or None,
        "version": plugin.version or None,
        "location": plugin.location,
        "sha256": plugin.digest or None,
        "error": plugin.error or None,
        "hooks": list(plugin.hooks),
        "registered": {kind: list(plugin.registered[kind]) for kind in KINDS},
    }


FEW = 10
"""So many names of one hook are written out in a table; --json has all."""


def _names(kind: str, names: Sequence[str]) -> str:
    return f"{len(names)} {kind}" if len(names) > FEW else f"{kind}: {', '.join(names) or 'none'}"


def plugins_text(plugins: Sequence[Plugin], width: int | None) -> str:
    """All plugins as a table: where each came from, what each of its hooks registered, or why it failed."""
    columns = [Column("plugin"), Column("origin"), Column("distribution or file"), Column("version")]
    columns.append(Column("registers, by hook", fold=True))
    rows = []
    for plugin in plugins:
        hooks = [hook.removeprefix("register_") for hook in plugin.hooks]
        parts = [_names(kind, [*plugin.registered[kind]]) for kind in hooks]
        what = f"FAILED: {plugin.error}" if plugin.error else "; ".join(parts)
        source = plugin.location if plugin.origin == "file" else plugin.distribution
        rows.append([plugin.name, plugin.origin, source, plugin.version or plugin.digest, what])
    return text_table(columns, rows, width)
