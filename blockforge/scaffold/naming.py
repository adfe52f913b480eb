"""What a new block may be called: a name in files, a class and a Python module at once."""

from __future__ import annotations

import ast
import builtins
import importlib.machinery
import keyword
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from blockforge.block import snake_case
from blockforge.errors import BlockforgeError, UnknownName
from blockforge.registry import Registry

_SNAKE_CASE = re.compile(r"[a-z][a-z0-9_]*")
_CAMEL_CASE = re.compile(r"[A-Z][A-Za-z0-9]*")
_OTHERS_FILES = {"conftest": "pytest", "setup": "setuptools"}  # who runs a file of this name by itself


class BlockName(NamedTuple):
    """A block's `name`, as files write it and its module is called, and its class."""

    name: str
    cls: str


def new_name(given: str, registry: Registry, sources: Iterable[str]) -> BlockName:
    """The name and the class of a new block, which may be given as either.

    `sources` are texts of Python that the class will stand in. Raises `BlockforgeError` for what is no name, and for a
    name that is taken: by a block, by a module that the file would hide, or by a class that the file itself needs.
    """
    made = _spelt(given)
    name, cls = made
    instead = f"choose another name, such as {name}_block"
    if keyword.iskeyword(name) or keyword.iskeyword(cls):
        raise BlockforgeError(f"{given}: a keyword of Python; {instead}")
    if snake_case(cls) != name:
        raise BlockforgeError(f"{given}: files know a class {cls} as {snake_case(cls)}; write {snake_case(cls)}")
    _refuse_registered(given, name, registry)
    if name in sys.stdlib_module_names:
        raise BlockforgeError(f"{given}: {name}.py would hide Python's own module of this name; {instead}")
    if name in _OTHERS_FILES:
        raise BlockforgeError(f"{given}: {_OTHERS_FILES[name]} takes {name}.py for a file of its own; {instead}")
    if _installed(name):
        raise BlockforgeError(f"{given}: {name}.py would hide an installed module of this name; {instead}")
    if hasattr(builtins, cls) or any(cls in _imported(source) for source in sources):
        raise BlockforgeError(f"{given}: its class would hide the {cls} that a block's file may need; {instead}")
    return made


def _spelt(given: str) -> BlockName:
    if _CAMEL_CASE.fullmatch(given):
        return BlockName(snake_case(given), given)
    if _SNAKE_CASE.fullmatch(given):
        return BlockName(given, "".join(part[:1].upper() + part[1:] for part in given.split("_")))
    close = re.sub(r"[\W_]+", "_", snake_case(given)).strip("_")
    hint = f"write {close}" if _SNAKE_CASE.fullmatch(close) else "write one such as ghost_module"
    shown = given if given and given.isprintable() else repr(given)
    raise BlockforgeError(f"{shown}: a block's name has small letters, digits and '_', a letter first; {hint}")


def _refuse_registered(given: str, name: str, registry: Registry) -> None:
    try:
        registry.block(name)
    except UnknownName:
        return
    owner = registry.origin("blocks", name).label
    raise BlockforgeError(f"{given}: block {name!r} is registered by {owner} already; choose another name")


def _installed(name: str) -> bool:
    """Whether Python finds a module of this name elsewhere than in the current folder."""
    here = Path.cwd()
    path = [entry for entry in sys.path if entry and Path(entry).resolve() != here]
    spec = importlib.machinery.PathFinder.find_spec(name, path)
    # A folder without `__init__.py` has no loader: a module of its name goes before it.
    return name == "blockforge" or (spec is not None and spec.origin is not None)


def _imported(source: str) -> set[str]:
    """The names that a text of Python imports."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    return {alias.asname or alias.name for node in nodes for alias in node.names}
