"""The canonical networks and the search spaces that come with blockforge, as data."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from blockforge import hookimpl

if TYPE_CHECKING:
    from importlib.abc import Traversable


@hookimpl
def register_networks() -> list[Traversable]:
    """One file a family."""
    return _yaml_files("blockforge.zoo")


@hookimpl
def register_spaces() -> list[Traversable]:
    """One file a space."""
    return _yaml_files("blockforge.search_spaces")


def _yaml_files(package: str) -> list[Traversable]:
    found = (file for file in files(package).iterdir() if file.name.endswith(".yaml"))
    return sorted(found, key=lambda file: file.name)
