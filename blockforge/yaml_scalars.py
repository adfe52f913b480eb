"""What YAML 1.2 makes of text without quotes: the core schema, and integers with underscores (`200_000`)."""

from __future__ import annotations

import math
import re

MAX_DIGITS = 1000  # far below the 4,300 decimal digits beyond which Python refuses to print an integer
MAX_SHOWN = 60  # characters of a text that a message quotes

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]+(?:_[0-9]+)*|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_SURROGATE = re.compile("[\ud800-\udfff]")


def resolve(text: str) -> str | int | float | bool | None:
    """The value of a plain scalar; ValueError, saying what to change, for a number that isn't accepted."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _INTEGER.fullmatch(text):
        if len(text) > MAX_DIGITS:
            raise ValueError(f"an integer of {len(text):,} characters; write a smaller one, of at most {MAX_DIGITS:,}")
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text, base)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if math.isinf(number):
            raise ValueError(f"{shorten(text)} is too large for a float; write a finite number, at most 1.7e308")
        return number
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"{text} is not finite; write a finite number")
    return text


def kind(text: str) -> str:
    """What a plain scalar is, in words: `text`, `a number`, `a boolean` or `null`."""
    try:
        value = resolve(text)
    except ValueError:
        return "a number"
    if isinstance(value, str):
        return "text"
    if value is None:
        return "null"
    return "a boolean" if isinstance(value, bool) else "a number"


def has_surrogate(text: str) -> bool:
    """Whether half a surrogate pair is in the text, which no file and no terminal can hold."""
    return not text.isascii() and _SURROGATE.search(text) is not None


def shorten(text: str) -> str:
    """The text as a message of one line may quote it."""
    text = text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."
    return text if text.isprintable() else repr(text)
