"""Canonical convolutional networks from swappable blocks, and architecture search over them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blockforge.assembler import assemble as assemble
    from blockforge.block import Block as Block
    from blockforge.block import BlockSpec as BlockSpec
    from blockforge.builder import build as build
    from blockforge.codegen.text import source as source
    from blockforge.costing import cost as cost
    from blockforge.errors import BlockforgeError as BlockforgeError
    from blockforge.errors import OpError as OpError
    from blockforge.field_types import Activation as Activation
    from blockforge.field_types import Channels as Channels
    from blockforge.field_types import Groups as Groups
    from blockforge.field_types import Kernel as Kernel
    from blockforge.field_types import Probability as Probability
    from blockforge.field_types import Ratio as Ratio
    from blockforge.field_types import Search as Search
    from blockforge.field_types import Stride as Stride
    from blockforge.graph import Value as Value
    from blockforge.hookspecs import hookimpl as hookimpl
    from blockforge.network import Network as Network
    from blockforge.network import get_network as get_network
    from blockforge.network import list_blocks as list_blocks
    from blockforge.network import list_networks as list_networks
    from blockforge.ops import Op as Op
    from blockforge.scope import Scope as Scope
    from blockforge.study.driver import search as search
    from blockforge.study.run import Run as Run

__version__ = "0.1.0"

_HOMES = {
    "assembler": ["assemble"],
    "block": ["Block", "BlockSpec"],
    "builder": ["build"],
    "codegen.text": ["source"],
    "costing": ["cost"],
    "errors": ["BlockforgeError", "OpError"],
    "field_types": ["Activation", "Channels", "Groups", "Kernel", "Probability", "Ratio", "Search", "Stride"],
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
