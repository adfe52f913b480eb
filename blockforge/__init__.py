"""Canonical convolutional networks from swappable blocks, and architecture search over them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blockforge.assembler import assemble
    from blockforge.block import (
        Activation,
        Block,
        BlockSpec,
        Channels,
        Groups,
        Kernel,
        Probability,
        Ratio,
        Search,
        Stride,
    )
    from blockforge.builder import build
    from blockforge.codegen.text import source
    from blockforge.costing import cost
    from blockforge.errors import BlockforgeError
    from blockforge.graph import Value
    from blockforge.hookspecs import hookimpl
    from blockforge.network import Network, get_network, list_blocks, list_networks
    from blockforge.ops import Op
    from blockforge.scope import Scope
    from blockforge.study.driver import search
    from blockforge.study.run import Run

__version__ = "0.1.0"

_HOMES = {
    "assembler": ["assemble"],
    "block": [
        "Activation", "Block", "BlockSpec", "Channels", "Groups", "Kernel", "Probability", "Ratio", "Search", "Stride",
    ],
    "builder": ["build"],
    "codegen.text": ["source"],
    "costing": ["cost"],
    "errors": ["BlockforgeError"],
    "graph": ["Value"],
    "hookspecs": ["hookimpl"],
    "network": ["Network", "get_network", "list_blocks", "list_networks"],
    "ops": ["Op"],
    "scope": ["Scope"],
    "study.driver": ["search"],
    "study.run": ["Run"],
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME)  # noqa: PLE0605 (a table, so that nothing is loaded before its first use)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'blockforge' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"blockforge.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
