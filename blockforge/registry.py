"""Finds plugins, through three doors, and looks up what they registered by name."""

from __future__ import annotations

import copy
import importlib
import importlib.metadata
import os
import pkgutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pluggy

from blockforge import hookspecs
from blockforge.block import Block
from blockforge.errors import PluginError, UnknownName, unknown
from blockforge.plugin_loading import (
    DISABLE,
    KINDS,
    Plugin,
    canonical,
    collect,
    deferred_schemas,
    how_to_get,
    idle_names,
    is_slip,
    packages_shared,
    reason,
    version_of,
    without_shadows,
)

if TYPE_CHECKING:
    from importlib.abc import Traversable

    from blockforge.study.data import Dataset
    from blockforge.study.objectives import Objective

GROUP = "blockforge"


class Registry:
    """All plugins that were found, and what they registered by kind and name.

    A faulty file, or plugin of blockforge's own, raises `PluginError`, or with `keep_faulty` is noted in `refused`; a
    faulty package has an `error`. `warnings` tell of names in `BLOCKFORGE_DISABLE_PLUGINS` that keep nothing out.
    """

    def __init__(self, plugin_files: Iterable[str | Path] = (), *, keep_faulty: bool = False) -> None:
        files: dict[str, str] = {}
        for path in plugin_files:  # a file that is given twice counts once, however it is spelt
            files.setdefault(os.path.realpath(path), str(path))
        self.plugin_files = tuple(files.values())
        self.plugins: list[Plugin] = []
        self.refused: list[str] = []
        self.warnings: list[str] = []
        self.origins: dict[str, str] = {}  # where a file has its names from that may be missing here
        self.made: dict[str, object] = {}  # networks that were read, by name
        self.read: dict[str, Any] = {}  # what their files say, by path
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(hookspecs)
        self._names: dict[str, dict[str, tuple[Any, Plugin]]] = {kind: {} for kind in KINDS}
        self._clashes: dict[tuple[str, str], str] = {}
        self._keep_faulty = keep_faulty
        self._disabled = {name.strip() for name in os.environ.get(DISABLE, "").split(",")} - {""}
        self._kept_out: list[str] = []
        self._load_built_ins()
        self._load_packages()
        names = Counter(Path(path).name for path in self.plugin_files)
        for path in self.plugin_files:
            self._load_file(path, alone=names[Path(path).name] == 1)

    # -- the three doors

    def _load_built_ins(self) -> None:
        try:
            from blockforge import plugins
        except ImportError:
            raise PluginError(
                "blockforge: Python found its sources in the current folder, which aren't installed; "
                "go to another folder, or install them with `pip install -e .`"
            ) from None

        version = version_of("blockforge")
        for info in sorted(pkgutil.iter_modules(plugins.__path__), key=lambda info: info.name):
            name = f"{plugins.__name__}.{info.name}"
            plugin = Plugin(info.name, "built-in", "blockforge", version, name)
            with deferred_schemas():
                self._register(plugin, partial(importlib.import_module, name))
            if plugin.error:
                self._refuse(f"{plugin.label}: {plugin.error}")
            else:
                plugin.location = sys.modules[name].__file__ or name

    def _load_packages(self) -> None:
        disabled = {canonical(name) for name in self._disabled}
        known: list[str] = []
        own = [plugin.name for plugin in self.plugins]
        points = importlib.metadata.entry_points(group=GROUP)
        for point in sorted(points, key=lambda point: (point.dist.name if point.dist else "", point.name)):
            distribution = point.dist.name if point.dist else point.name
            known += [distribution, point.name]
            if {"all", canonical(point.name), canonical(distribution)} & disabled:
                self._kept_out.append(canonical(distribution))
                continue
            version = point.dist.version if point.dist else ""
            plugin = Plugin(point.name, "package", distribution, version, point.value)
            plugin.module = point.value.partition(":")[0].strip()
            self._register(plugin, point.load)
        self.warnings += idle_names(self._disabled, known, own)

    def _load_file(self, path: str, *, alone: bool) -> None:
        folder = "" if alone else Path(path).resolve().parent.name
        plugin = Plugin(Path(path).stem, "file", "", "", path, folder)
        self._register(plugin, plugin.load_file)
        if plugin.error:
            self._refuse(f"{path}: {plugin.error}")

    def _refuse(self, message: str) -> None:
        if not self._keep_faulty:
            raise PluginError(message)
        self.refused.append(message)

    def _register(self, plugin: Plugin, load: Callable[[], ModuleType]) -> None:
        self.plugins.append(plugin)
        unique = f"{plugin.origin}:{plugin.distribution}:{plugin.location}:{plugin.name}"
        try:
            with without_shadows():
                module = load()
            plugin.module = plugin.module or getattr(module, "__name__", "")
            self._manager.register(module, unique)
            self._manager.check_pending()
            for kind in KINDS:
                caller = getattr(self._manager.hook, f"register_{kind}")
                for implementation in caller.get_hookimpls():
                    if implementation.plugin_name == unique:
                        plugin.hooks += (caller.name,)
                        collect(plugin, kind, implementation.function())
            if not plugin.hooks:
                raise PluginError(  # noqa: TRY301 (one place says what became of a plugin)
                    "it implements no hook; write @hookimpl above `def register_blocks()`"
                )
            self._claim(plugin)
        except (Exception, SystemExit) as error:  # a plugin may raise anything, and must not take the others with it
            plugin.error = reason(error)
            plugin.registered = {kind: {} for kind in KINDS}
            if self._manager.has_plugin(unique):
                self._manager.unregister(name=unique)

    def _claim(self, plugin: Plugin) -> None:
        """Enter a plugin's names; a clash refuses this plugin, or withdraws the name from two packages."""
        for kind in KINDS:
            for name in plugin.registered[kind]:
                if (kind, name) in self._clashes and plugin.origin != "package":
                    raise PluginError(
                        f"{kind[:-1]} {name!r} is registered by {self._clashes[kind, name]} already; "
                        "choose another name"
                    )
                other = self._names[kind].get(name)
                if other and not (plugin.origin == other[1].origin == "package"):
                    raise PluginError(
                        f"{kind[:-1]} {name!r} is registered by {other[1].label} already; choose another name"
                    )
        for kind in KINDS:
            for name, thing in plugin.registered[kind].items():
                if (kind, name) in self._clashes or name in self._names[kind]:
                    first = self._names[kind].pop(name, None)
                    labels = self._clashes.get((kind, name)) or (first[1].label if first else "")
                    self._clashes[kind, name] = f"{labels} and {plugin.label}"
                else:
                    self._names[kind][name] = (thing, plugin)

    # -- looking up

    def _get(self, kind: str, name: str, how_to_list: str) -> Any:
        if (kind, name) in self._clashes:
            raise PluginError(
                f"{name}: {self._clashes[kind, name]} both register a {kind[:-1]} of this name; "
                f"uninstall one, or name it in {DISABLE}"
            )
        if name not in self._names[kind]:
            what = {"datasets": "data set"}.get(kind, kind[:-1])
            if name in self.origins:
                raise UnknownName(f"no {what} {name!r}; {how_to_get(self.origins[name], self.plugins, self._kept_out)}")
            if kind == "blocks" and not is_slip(name, self._names[kind]):
                how_to_list += "; one of a plugin file needs --plugin FILE"
            raise unknown(what, name, self._names[kind], how_to_list + self.failed_hint)
        return self._names[kind][name][0]

    @property
    def failed_hint(self) -> str:
        """The end of a message about an unknown name where an installed package failed; empty where none did."""
        failed = [plugin.name for plugin in self.plugins if plugin.origin == "package" and plugin.error]
        if not failed:
            return ""
        return f"; plugin{'s' * (len(failed) > 1)} {', '.join(failed)} failed, see `blockforge plugins`"

    def block(self, name: str) -> type[Block]:
        """The block class of this name; raises `UnknownName`."""
        cls: type[Block] = self._get("blocks", name, "`blockforge list --blocks` lists all")
        return cls

    def file(self, kind: str, name: str) -> Traversable | Path:
        """The YAML file that holds the network or the space of this name; raises `UnknownName`."""
        file: Traversable | Path = self._get(kind, name, f"`blockforge list --{kind}` lists all")
        return file

    def objective(self, name: str) -> Objective:
        """The objective of this name; raises `UnknownName`."""
        known = ", ".join(sorted(self._names["objectives"]))
        objective: Objective = self._get("objectives", name, f"there are {known}")
        return objective

    def dataset(self, name: str) -> Dataset:
        """The data set of this name; raises `UnknownName`."""
        known = ", ".join(sorted(self._names["datasets"]))
        dataset: Dataset = self._get("datasets", name, f"there are {known}")
        return dataset

    def _all(self, kind: str) -> dict[str, Any]:
        return {name: thing for name, (thing, _) in self._names[kind].items()}

    @property
    def blocks(self) -> Mapping[str, type[Block]]:
        """All blocks by name."""
        return self._all("blocks")

    @property
    def networks(self) -> Mapping[str, Traversable | Path]:
        """All networks' files by the networks' names."""
        return self._all("networks")

    @property
    def spaces(self) -> Mapping[str, Traversable | Path]:
        """All spaces' files by name."""
        return self._all("spaces")

    @property
    def objectives(self) -> Mapping[str, Objective]:
        """All objectives by name."""
        return self._all("objectives")

    @property
    def datasets(self) -> Mapping[str, Dataset]:
        """All data sets by name."""
        return self._all("datasets")

    def origin(self, kind: str, name: str) -> Plugin:
        """The plugin that registered a thing; `kind` is `blocks`, `networks`, ..."""
        return self._names[kind][name][1]

    # -- where things came from

    def told(self, origins: Mapping[str, str]) -> Registry:
        """The same registry; its errors for names that it lacks say where to get them, as a file has noted it."""
        if all(any(name in names for names in self._names.values()) for name in origins):
            return self
        view = copy.copy(self)
        view.origins = {**self.origins, **origins}
        return view

    def maker(self, kind: type) -> Plugin | None:
        """The third party's plugin that a class of blocks or ops comes from; None if there is none."""
        name = getattr(kind, "name", None)
        block = self._names["blocks"].get(name) if isinstance(name, str) else None
        if block and block[0] is kind:
            return block[1] if block[1].origin != "built-in" else None
        theirs = [plugin for plugin in self.plugins if plugin.origin != "built-in" and not plugin.error]
        near = max(theirs, key=lambda plugin: packages_shared(plugin.module, kind.__module__), default=None)
        return near if near and packages_shared(near.module, kind.__module__) else None


_current: list[Registry] = []


def load_registry(plugin_files: Iterable[str | Path] = (), *, keep_faulty: bool = False) -> Registry:
    """Find all plugins, these files among them, and make them what names are looked up in from now on."""
    _current[:] = [Registry(plugin_files, keep_faulty=keep_faulty)]
    return _current[0]


def get_registry() -> Registry:
    """The plugins in force, found at the first call."""
    return _current[0] if _current else load_registry()
