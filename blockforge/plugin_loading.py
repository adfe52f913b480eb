"""One plugin: where it came from, what its hooks return, and why it can't be loaded."""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from blockforge.block import Block
from blockforge.errors import BlockforgeError, PluginError, did_you_mean
from blockforge.files import top_level_names

KINDS = ("blocks", "networks", "spaces", "objectives", "datasets")


@dataclass
class Plugin:
    """Where a plugin came from and what it registered; `error` says why it failed, if it did."""

    name: str
    origin: str  # "built-in", "package" or "file"
    distribution: str
    version: str
    location: str = ""
    error: str = ""
    hooks: tuple[str, ...] = ()
    registered: dict[str, dict[str, Any]] = field(default_factory=lambda: {kind: {} for kind in KINDS})

    @property
    def label(self) -> str:
        """The plugin as messages name it."""
        return {"built-in": f"blockforge's own plugin {self.name}", "file": f"plugin file {self.location}"}.get(
            self.origin, f"package {self.distribution} {self.version}"
        )


def collect(plugin: Plugin, kind: str, things: Any) -> None:
    """Note under their names what a hook of a plugin returned; raises `PluginError` for what it may not return."""
    if not isinstance(things, list | tuple):
        raise PluginError(f"register_{kind} returned {type(things).__name__}; return a list")
    for thing in things:
        for name in _names_of(kind, thing):
            if name in plugin.registered[kind]:
                raise PluginError(f"register_{kind} gives the name {name!r} twice; choose another name")
            plugin.registered[kind][name] = thing


def _names_of(kind: str, thing: Any) -> list[str]:
    if kind == "blocks":
        if not (isinstance(thing, type) and issubclass(thing, Block)):
            raise PluginError(f"register_blocks returned {thing!r}, which is no block; return subclasses of Block")
        return [thing.name]
    if kind in ("networks", "spaces"):
        if not hasattr(thing, "read_text"):
            raise PluginError(f"register_{kind} returned {thing!r}; return paths of YAML files")
        names = top_level_names(thing.read_text(encoding="utf-8")) if kind == "networks" else []
        # A file may be one network, named by the file, or many.
        return [Path(thing.name).stem] if kind == "spaces" or {"stages", "extends"} & set(names) else names
    name = getattr(thing, "name", None)
    if not isinstance(name, str):
        raise PluginError(f"register_{kind} returned {thing!r}, which has no name; return {kind}")
    return [name]


def import_file(path: Path) -> ModuleType:
    """Run a plugin file as a module of a name of its own; raises `PluginError`, or whatever the file raises."""
    if not path.is_file():
        raise PluginError("no such file; give the path of a Python file")
    name = f"blockforge_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError("is no Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def reason(error: Exception | SystemExit) -> str:
    """Why a plugin failed, in one line: what is wrong with it, or the kind and text of what it raised."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {error.msg}; mend the file's syntax"
    if isinstance(error, BlockforgeError):
        return str(error)
    if isinstance(error, pluggy.PluginValidationError):
        known = [f"register_{kind}" for kind in KINDS]
        wrong = re.match(r"unknown hook '(\w+)'", str(error))
        if not wrong:  # arguments that the hook doesn't have
            hook = re.search(r"for hook '(\w+)'", str(error))
            return f"{hook[1] if hook else 'a hook'} declares arguments; a hook takes none"
        return f"no hook {wrong[1]!r}{did_you_mean(wrong[1], known) or ';'} the hooks are {', '.join(known)}"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
