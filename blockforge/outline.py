"""What a list says of each network: its paper, its idea and what it extends, scanned from its file.

Reading a hundred networks properly takes longer than all the rest of `blockforge list`, so their files are
scanned for the few lines that matter; a file that is written in another way is read as usual.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blockforge.errors import BlockforgeError
from blockforge.files import parse_yaml

if TYPE_CHECKING:
    from importlib.abc import Traversable

SINGLE = frozenset({"stages", "extends", "base"})  # at the top of a file, they make it one network or space

_TOP = re.compile(r"""^(?:"([^"\\]*)"|'([^']*)'|([^\s\-?:,\[\]{}#&*!|>'"%@`][^:]*?))[ \t]*:(?=\s|$)(.*)$""")
_LINE = re.compile(r"^ *([a-z_]+):[ \t]+(\S.*?)[ \t]*$")
_FLOW = re.compile(r"""[{,]\s*([a-z_]+):\s*("(?:[^"\\]|\\.)*"|'[^']*'|[^,{}\[\]"']+)(?=[,}])""")
_SPECIAL = "|>&*!{["


class _Unclear(Exception):
    """A line that only the YAML reader can judge."""


def outline(file: Traversable | Path, wanted: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """For each network or space of a file, the wanted texts that it has; nothing of an unsound file."""
    text = file.read_text(encoding="utf-8")
    try:
        return _scan(text, Path(file.name).stem, wanted)
    except _Unclear:
        pass
    try:
        value = parse_yaml(text, file.name).value
    except BlockforgeError:  # whoever uses the network is told; a list of the others must not fail for it
        return {}
    return _picked(value, Path(file.name).stem, wanted)


def _picked(value: Any, stem: str, wanted: tuple[str, ...]) -> dict[str, dict[str, str]]:
    if not isinstance(value, Mapping):
        return {}
    networks = {stem: value} if SINGLE & set(value) else value
    return {
        str(name): {key: str(raw[key]) for key in wanted if key in raw}
        for name, raw in networks.items()
        if isinstance(raw, Mapping)
    }


def _scan(text: str, stem: str, wanted: tuple[str, ...]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    top: dict[str, str] = {}
    keys: dict[str, str] = {}
    indent: int | None = None  # of the network's keys
    ended: int | None = None  # the indentation of the line before, where that must be a whole entry
    for line in text.removeprefix("\ufeff").splitlines():
        bare = line.lstrip(" ")
        if not bare or bare.startswith("#"):
            continue
        left = len(line) - len(bare)
        if ended is not None and left > ended:
            raise _Unclear  # its value goes on in this line
        ended = None
        if left == 0:
            match = _TOP.match(line)
            if not match:
                raise _Unclear
            name, rest = next(name for name in match.groups()[:3] if name is not None), match[4].strip()
            top[name], indent = rest, None
            keys = found[name] = _flow(rest, wanted) if rest.startswith("{") else {}
            ended = 0 if rest else None
        elif (indent := left if indent is None else indent) == left:
            entry = _LINE.match(line)
            if entry and entry[1] in wanted:
                keys[entry[1]] = _scalar(entry[2])
                ended = left
    if SINGLE & set(top):
        return {stem: {key: _scalar(top[key]) for key in wanted if top.get(key)}}
    return found


def _flow(text: str, wanted: tuple[str, ...]) -> dict[str, str]:
    if not text.endswith("}"):
        raise _Unclear  # it goes on in the next line
    return {key: _scalar(value) for key, value in _FLOW.findall(text) if key in wanted}


def _scalar(text: str) -> str:
    """A scalar of one line as text, a comment behind it left out."""
    quote = text[0]
    if quote in _SPECIAL:
        raise _Unclear
    if quote in "\"'":
        end = text.find(quote, 1)
        if (
            "\\" in text
            or text[end + 1 : end + 2] == quote
            or not re.fullmatch(r"\s*(#.*)?", text[end + 1 :])
            or end < 0
        ):
            raise _Unclear
        return text[1:end]
    return re.split(r"\s#", text)[0].strip()


__all__ = ["SINGLE", "outline"]
