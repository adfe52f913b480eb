"""Finds plugins, through three doors, and looks up what they registered by name."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pluggy

from blockforge import hookspecs
from blockforge.block import Block
from blockforge.errors import PluginError, unknown
from blockforge.plugin_loading import KINDS, Plugin, collect, import_file, reason

if TYPE_CHECKING:
    from importlib.abc import Traversable

    from blockforge.study.data import Dataset
    from blockforge.study.objectives import Objective

GROUP = "blockforge"
DISABLE = "BLOCKFORGE_DISABLE_PLUGINS"


class Registry:
    """All plugins that were found, and what they registered by kind and name."""

    def __init__(self, plugin_files: Iterable[str | Path] = ()) -> None:
        self.plugin_files = tuple(dict.fromkeys(str(path) for path in plugin_files))
        self.plugins: list[Plugin] = []
        self.made: dict[str, object] = {}  # networks that were read, by name
        self.read: dict[str, Any] = {}  # what their files say, by path
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(hookspecs)
        self._names: dict[str, dict[str, tuple[Any, Plugin]]] = {kind: {} for kind in KINDS}
        self._clashes: dict[tuple[str, str], str] = {}
        disabled = {name.strip() for name in os.environ.get(DISABLE, "").split(",")} - {""}
        self._load_built_ins(disabled)
        self._load_packages(disabled)
        for path in self.plugin_files:
            self._load_file(path)

    # -- the three doors

    def _load_built_ins(self, disabled: set[str]) -> None:
        try:
            from blockforge import plugins
        except ImportError:
            raise PluginError(
                "blockforge: Python found its sources in the current folder, which aren't installed; "
                "go to another folder, or install them with `pip install -e .`"
            ) from None

        version = _version("blockforge")
        for info in sorted(pkgutil.iter_modules(plugins.__path__), key=lambda info: info.name):
            if info.name not in disabled:
                name = f"{plugins.__name__}.{info.name}"
                plugin = Plugin(info.name, "built-in", "blockforge", version, name)
                with _deferred_schemas():
                    self._register(plugin, partial(importlib.import_module, name))
                if plugin.error:
                    raise PluginError(f"{plugin.label}: {plugin.error}")
                plugin.location = sys.modules[name].__file__ or name

    def _load_packages(self, disabled: set[str]) -> None:
        points = importlib.metadata.entry_points(group=GROUP)
        for point in sorted(points, key=lambda point: (point.dist.name if point.dist else "", point.name)):
            distribution = point.dist.name if point.dist else point.name
            if {"all", point.name, distribution} & disabled:
                continue
            version = point.dist.version if point.dist else ""
            self._register(Plugin(point.name, "package", distribution, version, point.value), point.load)

    def _load_file(self, path: str) -> None:
        plugin = Plugin(Path(path).stem, "file", "", "", path)
        self._register(plugin, lambda: import_file(Path(path)))
        if plugin.error:
            raise PluginError(f"{path}: {plugin.error}")

    def _register(self, plugin: Plugin, load: Callable[[], ModuleType]) -> None:
        self.plugins.append(plugin)
        unique = f"{plugin.origin}:{plugin.distribution}:{plugin.location}:{plugin.name}"
        try:
            self._manager.register(load(), unique)
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
            raise unknown(what, name, self._names[kind], how_to_list)
        return self._names[kind][name][0]

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


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "uninstalled"


@contextmanager
def _deferred_schemas() -> Iterator[None]:
    """Leave the schemas of blocks that are defined now for their first use: a list or a help text needs none.

    Only for the built-in ones, which the tests use: what is wrong with an author's fields is told at once.
    """
    Block.model_config["defer_build"] = True
    try:
        yield
    finally:
        Block.model_config["defer_build"] = False


_current: list[Registry] = []


def load_registry(plugin_files: Iterable[str | Path] = ()) -> Registry:
    """Find all plugins, these files among them, and make them what names are looked up in from now on."""
    _current[:] = [Registry(plugin_files)]
    return _current[0]


def get_registry() -> Registry:
    """The plugins in force, found at the first call."""
    return _current[0] if _current else load_registry()
