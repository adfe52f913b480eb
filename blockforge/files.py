"""Strict YAML 1.2: files read with the position of every key, and plain data written back readably.

People write these files by hand, so what makes YAML surprising is refused: aliases, anchors, merge keys,
tags, duplicate keys, keys that aren't text, several documents, endless nesting. `no` is text and `1e-3` a
number. One thing is accepted beyond YAML 1.2: an integer may have underscores between its digits (`200_000`).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blockforge.errors import BlockforgeError, InvalidNetwork
from blockforge.yaml_scalars import shorten
from blockforge.yaml_writer import dump_yaml

if TYPE_CHECKING:
    if sys.version_info >= (3, 11):
        from importlib.resources.abc import Traversable
    else:
        from importlib.abc import Traversable

__all__ = ["Document", "dump_yaml", "parse_value", "parse_yaml", "read_yaml", "top_level_names"]

KeyPath = tuple[str | int, ...]

MAX_BYTES = 2**20

_TOP_LEVEL = re.compile(
    r"""^(?:"([^"\\\n]*)"|'([^'\n]*)'|([^\s\-?:,\[\]{}#&*!|>'"%@`][^\n]*?))[ \t]*:(?=\s|$)""", re.MULTILINE
)


@dataclass(frozen=True)
class Document:
    """What a file says, and where it says it.

    `value` is plain data (dict, list, str, int, float, bool, None). `positions` gives line and column, from 1
    on, by path: of the key for an entry of a mapping, of the item for an item of a list, of the beginning for
    `()`.
    """

    value: Any
    positions: Mapping[KeyPath, tuple[int, int]]
    source: str

    def where(self, path: KeyPath) -> str:
        """`FILE:LINE:COLUMN` of a path, or of the nearest known path above it."""
        while path and path not in self.positions:
            path = path[:-1]
        line, column = self.positions[path]
        return f"{self.source}:{line}:{column}"


def read_yaml(source: str | Path | Traversable, *, name: str | None = None) -> Document:
    """Read one YAML file; `name` stands for it in messages (default: the path as given).

    Raises BlockforgeError if the file can't be read, InvalidNetwork with all mistakes if there are any.
    """
    name = str(source) if name is None else name
    try:
        with (Path(source) if isinstance(source, str) else source).open("rb") as stream:
            data: bytes = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise BlockforgeError(f"{name}: no such file; check the path") from None
    except IsADirectoryError:
        raise BlockforgeError(f"{name}: a directory, not a file; name a YAML file in it") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        reason = getattr(error, "strerror", None) or error
        raise BlockforgeError(f"{name}: can't be read ({reason}); name a file that you may read") from None
    if len(data) > MAX_BYTES:
        raise _too_large(name)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        lines = data[: error.start].decode("utf-8").split("\n")
        what = f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise InvalidNetwork([f"{name}:{len(lines)}:{len(lines[-1]) + 1}: {what}"]) from None
    return parse_yaml(text, name)


def parse_yaml(text: str, name: str) -> Document:
    """Read YAML from a string; `name` stands for it in messages.

    Raises InvalidNetwork with all mistakes, each as `NAME:LINE:COLUMN: PATH: what; what to change`. A syntax
    error comes alone.
    """
    # Not above: ruamel.yaml takes 45 ms, and `blockforge --help` needs none of it.
    from blockforge.yaml_reader import read

    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise _too_large(name)
    return Document(*read(text.removeprefix("\ufeff"), name), name)


def parse_value(text: str) -> Any:
    """One YAML value from the command line: `3`, `[1, 2]`, `null`, `{choice: [1, 2]}`, `bottleneck`.

    Raises BlockforgeError with every mistake, each as `'TEXT':LINE:COLUMN: what; what to change`.
    """
    shown = f"'{shorten(text)}'" if text.isprintable() else shorten(text)
    if not text.strip():
        raise BlockforgeError(f'{shown}: no value; write null, or "" for an empty text')
    try:
        return parse_yaml(text, shown).value
    except InvalidNetwork as error:
        raise BlockforgeError(str(error)) from None


def top_level_names(text: str) -> list[str]:
    """The keys of a file's top-level mapping, by a scan of the lines that begin at column 0.

    For an index of many files: the YAML is not parsed, so mistakes go unseen, and a mapping in braces has no
    names.
    """
    found = _TOP_LEVEL.finditer(text.removeprefix("\ufeff"))
    return [next(name for name in match.groups() if name is not None) for match in found]


def _too_large(name: str) -> InvalidNetwork:
    return InvalidNetwork([f"{name}: larger than 1 MiB ({MAX_BYTES:,} bytes); split it into several files"])
