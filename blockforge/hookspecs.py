"""The hooks that a plugin may implement; each returns a list. Loading is in `registry.py`."""

# mypy: disable-error-code="empty-body"
# A hook is a signature and a sentence; plugins have the bodies.
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from importlib.abc import Traversable
    from pathlib import Path

    from blockforge.block import Block
    from blockforge.study.data import Dataset
    from blockforge.study.objectives import Objective

hookspec = pluggy.HookspecMarker("blockforge")
hookimpl = pluggy.HookimplMarker("blockforge")


@hookspec
def register_blocks() -> Sequence[type[Block]]:
    """Block classes; each is known by its name in snake_case."""


@hookspec
def register_networks() -> Sequence[Traversable | Path]:
    """YAML files of networks, one or many in a file."""


@hookspec
def register_spaces() -> Sequence[Traversable | Path]:
    """YAML files of search spaces, each known by its file's name."""


@hookspec
def register_objectives() -> Sequence[Objective]:
    """What a search can minimise or maximise."""


@hookspec
def register_datasets() -> Sequence[Dataset]:
    """Data sets that a search can train on, by name."""
