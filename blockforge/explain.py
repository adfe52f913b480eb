"""What pydantic found wrong with a value, as one line in the field's terms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from blockforge.errors import did_you_mean

if TYPE_CHECKING:
    from blockforge.block import Block

_KINDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "finite_number": "a finite number",
}
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("greater than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}


def explain(
    error: ValidationError, model: type[BaseModel], what: str, *, beside: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Each mistake as its place within the value and a message.

    `what` names the model, as `block bottleneck`; `beside` are other keys that may stand where its fields do.
    """
    seen: set[tuple[str | int, ...]] = set()
    for item in error.errors(include_url=False):
        loc = tuple(part for part in item["loc"] if not _is_union_tag(part))
        if loc not in seen:  # a union reports each member; the first is the one that people meant
            seen.add(loc)
            yield loc, _message(item, loc, model, what, beside)


def _is_union_tag(part: str | int) -> bool:
    return isinstance(part, str) and (
        "[" in part or part.startswith("constrained-") or part in ("int", "float", "bool", "str", "none", "Block")
    )


def _message(item: Any, loc: tuple[str | int, ...], model: type[BaseModel], what: str, beside: tuple[str, ...]) -> str:
    kind, value, context = item["type"], item["input"], item.get("ctx", {})
    if kind == "extra_forbidden":
        model, what = _nested(model, loc[:-1], what)
        known = list(model.model_fields)
        hint = did_you_mean(str(loc[-1]), [*known, *(beside if len(loc) == 1 else ())]) or ";"
        return f"{what} has no parameter {loc[-1]!r}{hint} it has {', '.join(known) or 'none'}"
    if kind == "missing" and isinstance(loc[-1], int):  # an entry of a tuple of fixed length
        return f"is missing: the list has {len(value)} entries; add it"
    if kind == "missing":
        return f"{what} needs a {loc[-1]!r}; give one"
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"must be {words} {_plain(context[key])}, but is {_plain(value)}"
    if kind == "literal_error":
        known = re.findall(r"'([^']*)'", context["expected"])
        hint = did_you_mean(value, known) if isinstance(value, str) else ""
        return f"must be {context['expected']}, but is {value!r}{hint}"
    if kind in _KINDS:
        return f"must be {_KINDS[kind]}, but is {value!r}{hole_hint(value)}"
    if kind in ("too_long", "too_short"):
        length = context.get("max_length", context.get("min_length"))
        return f"must have {length} entries, but has {context['actual_length']}"
    return str(item["msg"])


def _plain(number: float) -> str:
    return f"{int(number) if number == int(number) else number:,}"


def hole_hint(value: Any) -> str:
    """What a mapping in the place of a value was meant to be, if it is or looks like a hole of a search space."""
    if isinstance(value, dict) and not {"choice", "range", "any"}.isdisjoint(value):
        return "; that is a choice for a search to make; use the file with `blockforge search`"
    hints = (did_you_mean(str(key), ("choice", "range", "any")) for key in value) if isinstance(value, dict) else ()
    return next(filter(None, hints), "")


def _nested(model: type[BaseModel], loc: tuple[str | int, ...], what: str) -> tuple[type[BaseModel], str]:
    """The model that a place within a value belongs to, and how messages name it."""
    for part in loc:
        field = model.model_fields.get(str(part))
        inner = field.annotation if field else None
        kinds = [kind for kind in (inner, *get_args(inner)) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not kinds:
            break
        inner = kinds[0]
        model, what = inner, str(part)
    return model, what


def block_name(cls: type[Block]) -> str:
    """A block class as messages name it."""
    return f"block {cls.name}"
