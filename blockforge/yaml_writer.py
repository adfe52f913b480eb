"""Plain data written as YAML that a person could have written, and that is read back as exactly that data."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from blockforge.errors import BlockforgeError
from blockforge.yaml_scalars import MAX_DIGITS, has_surrogate, kind

MAX_DEPTH = 32  # of collections in each other; the reader refuses more
WIDTH = 110  # a collection that fits into this many columns is written on one line
MAX_KEY = 1000  # YAML allows 1,024 characters before the colon of a key without `? `

_INDICATORS = "-?:,[]{}#&*!|>'\"%@`"
_TOO_LARGE = 10 ** (MAX_DIGITS - 1)


def dump_yaml(value: Any) -> str:
    """Write plain data as YAML that `parse_yaml` reads back as exactly the same data (tuples become lists).

    A collection stands on one line if it fits into 110 columns, except the outermost and a mapping that holds
    nothing but mappings (`stages`). Raises BlockforgeError for what isn't plain and finite, for keys that
    aren't text and for more than 32 levels.
    """
    _check(value, "", 1)
    if isinstance(value, Mapping | list | tuple) and value:
        return "\n".join(_block(value, 0)) + "\n"
    return _flow(value, in_flow=False) + "\n"


def _check(value: Any, path: str, depth: int) -> None:
    at = f"{path}: " if path else ""
    if isinstance(value, Mapping | list | tuple):
        if depth > MAX_DEPTH:
            raise BlockforgeError(f"{at}nested more than {MAX_DEPTH} levels deep; write it flatter")
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            if isinstance(value, Mapping) and not isinstance(key, str):
                raise BlockforgeError(f"{at}the key {key!r} is not text; only text can be a key")
            _check(key, path, depth)
            _check(item, f"{path}.{key}" if path else str(key), depth + 1)
    elif isinstance(value, str):
        if has_surrogate(value):
            raise BlockforgeError(f"{at}{value!r} holds half a surrogate pair; write whole characters")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise BlockforgeError(f"{at}{value!r} is not finite; give a finite number")
    elif isinstance(value, int):
        if abs(value) >= _TOO_LARGE:
            raise BlockforgeError(f"{at}an integer of {MAX_DIGITS:,} digits or more; give a smaller one")
    elif value is not None:
        raise BlockforgeError(f"{at}a value of type {type(value).__name__} can't be written; give plain data")


def _block(value: Any, indent: int) -> list[str]:
    """The lines of a collection that isn't empty, one entry after the other."""
    pad = " " * indent
    lines = []
    for key, item in value.items() if isinstance(value, Mapping) else ((None, item) for item in value):
        head = "-" if key is None else _text(key, in_flow=False) + ":"
        if len(head) > MAX_KEY:
            head = f"? {head[:-1]}\n{pad}:"
        line = f"{pad}{head} {_flow(item, in_flow=False)}"
        is_collection = isinstance(item, Mapping | list | tuple) and len(item) > 0
        if not is_collection or (len(line) <= WIDTH and _may_be_one_line(item)):
            lines.append(line)
            continue
        below = _block(item, indent + 2)
        if key is None:  # the first entry stands beside the dash
            lines.append(f"{pad}- {below[0][indent + 2 :]}")
            lines += below[1:]
        else:
            lines += [pad + head, *below]
    return lines


def _may_be_one_line(value: Any) -> bool:
    if not isinstance(value, Mapping | list | tuple):
        return True
    items = list(value.values() if isinstance(value, Mapping) else value)
    nothing_but_mappings = isinstance(value, Mapping) and all(isinstance(item, Mapping) and item for item in items)
    return not items or (not nothing_but_mappings and all(map(_may_be_one_line, items)))


def _flow(value: Any, *, in_flow: bool) -> str:
    """A value on one line."""
    if isinstance(value, Mapping):
        entries = (f"{_text(key, in_flow=True)}: {_flow(item, in_flow=True)}" for key, item in value.items())
        return "{" + ", ".join(entries) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_flow(item, in_flow=True) for item in value) + "]"
    if isinstance(value, str):
        return _text(value, in_flow=in_flow)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    # Not repr(value): numpy's float64 is a float with a repr of its own.
    return float.__repr__(value) if isinstance(value, float) else int.__repr__(value)


def _text(text: str, *, in_flow: bool) -> str:
    """A text, in quotes only where YAML would take it for something else."""
    starts_well = text[:1] not in _INDICATORS or (text[:1] == "-" and text[1:2].isalpha())
    is_plain = (
        starts_well
        and text.isprintable()
        and text == text.strip()
        and text != "<<"
        and kind(text) == "text"
        and not text.startswith("...")
        and not text.endswith(":")
        and ": " not in text
        and " #" not in text
        and not (in_flow and any(mark in text for mark in ",[]{}"))
    )
    if is_plain:
        return text
    quoted = json.dumps(text, ensure_ascii=False)  # YAML takes every escape of JSON
    return (
        quoted
        if quoted.isprintable()
        else "".join(
            # Invisible characters show themselves: Python escapes a single one as YAML does.
            mark if mark.isprintable() else mark.encode("unicode_escape").decode()
            for mark in quoted
        )
    )
