"""The texts of the command line as values: `layer3.depth=23`, `3,224,224`."""

from __future__ import annotations

import math
import re
from typing import Any

from blockforge.errors import BlockforgeError


def edits_of(
    texts: tuple[str, ...], option: str = "--set", how: str = "PATH=VALUE, as in layer3.depth=23"
) -> dict[str, Any]:
    """The values by path; what stands behind the `=` is YAML. Raises `BlockforgeError`."""
    from blockforge.files import parse_value  # only commands that take values need it

    edits: dict[str, Any] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        if not equals or not path.strip():
            raise BlockforgeError(f"{option} {text}: must be {how}")
        try:
            edits[path.strip()] = parse_value(value)
        except BlockforgeError as error:
            raise BlockforgeError(f"{option} {path.strip()}: {error}") from None
    return edits


def limits_of(texts: tuple[str, ...]) -> dict[str, Any]:
    """The bounds by name of `params=2e5`; raises `BlockforgeError`, which says how to write `params<=2e5`."""
    for text in texts:
        compared = re.fullmatch(r"\s*(\w+)\s*(?:[<>]=?|==)\s*([^<>=]+?)\s*", text)
        if compared:
            name, bound = compared.groups()
            raise BlockforgeError(f"--limit {text}: must be NAME=NUMBER; write {name}={bound}")
    return edits_of(texts, "--limit", "NAME=NUMBER, as in params=2e5")


_LETTERS = {"k": "e3", "m": "e6", "g": "e9", "b": "e9"}


def count_of(text: str, option: str) -> float:
    """`5e6` as a number of at least 0; raises `BlockforgeError`, which says how to write `5M`."""
    number, example = _number(text), "5e6"
    if number is None and _number(text[:-1]) is not None and text[-1].lower() in _LETTERS:
        example = text[:-1] + _LETTERS[text[-1].lower()]
    if number is None:
        raise BlockforgeError(f"{option} {text}: not a number; write {example}")
    if not 0 <= number < math.inf:
        raise BlockforgeError(f"{option} {text}: must be a finite number of at least 0; write {example}")
    return number


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def shape_of(text: str) -> list[int]:
    """`3,224,224` as (C, H, W), and `400` as (C,); raises `BlockforgeError`."""
    if not re.fullmatch(r"\s*\d{1,18}(\s*,\s*\d{1,18})*\s*", text, re.ASCII):
        raise BlockforgeError(f"--input {text}: must be whole numbers C,H,W, as in 3,224,224")
    return [int(part) for part in text.split(",")]
