"""What a block's parameters are: their meaning, from comments; types, bounds and defaults, from annotations."""

from __future__ import annotations

import ast
import inspect
import io
import re
import tokenize
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt

from blockforge.block import Block, listed
from blockforge.field_types import any_values, flat_metadata
from blockforge.yaml_writer import dump_yaml

_KINDS = {int: "whole number", float: "number", bool: "true or false", str: "text"}
_BOUNDS = ((Ge, "ge", "at least"), (Gt, "gt", "above"), (Le, "le", "at most"), (Lt, "lt", "below"))
# What a comment tells a tool and no reader.
_DIRECTIVE = re.compile(r"#\s*(noqa|nosec|type:|fmt:|isort:|mypy:|pragma:|pylint:|pyright:|ruff:).*", re.IGNORECASE)


@dataclass(frozen=True)
class FieldText:
    """A parameter in words: `type` with its bounds, `default` as files write it (None: it must be given)."""

    name: str
    type: str
    default: str | None
    search: str
    meaning: str

    def cells(self) -> list[str]:
        """The cells of its row: name, type, default, what a search tries, meaning."""
        default = "(must be given)" if self.default is None else self.default
        return [self.name, self.type, default, self.search, self.meaning]


def field_texts(cls: type[Block]) -> list[FieldText]:
    """A block's parameters in words, in their order."""
    meanings = field_meanings(cls)
    return [
        FieldText(
            name,
            " or ".join(_alternatives(field.annotation, field.metadata)),
            None if field.is_required() else _text(field.default),
            _search(field.annotation, any_values(cls, name)),
            meanings[name],
        )
        for name, field in cls.model_fields.items()
    ]


def field_records(cls: type[Block]) -> list[dict[str, Any]]:
    """A block's parameters as JSON has them; `search` is what `any` means in a space, null for nothing."""
    records = []
    for text, (name, field) in zip(field_texts(cls), cls.model_fields.items(), strict=True):
        values = any_values(cls, name)
        records.append(
            {
                "name": name,
                "meaning": text.meaning,
                "type": text.type,
                "required": field.is_required(),
                "default": None if field.is_required() else listed(field.default),
                "search": None if values is None else list(values),
            }
        )
    return records


def field_meanings(cls: type[Block]) -> dict[str, str]:
    """What each of a block's parameters means, in their order; "" where nothing tells.

    A parameter's `Field(description=...)`, or else the comment behind it in the source of the nearest class that has
    one: `width: Channels = 64  # output channels`.
    """
    comments: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, Block):
            comments |= _comments(base)
    return {name: field.description or comments.get(name, "") for name, field in cls.model_fields.items()}


@cache
def _comments(cls: type[Block]) -> dict[str, str]:
    """The comments behind a class's own fields: in the last line of each, or of its value; none without a source."""
    try:
        source = inspect.getsource(cls)
        lines = f"if True:\n{source}" if source[:1].isspace() else source  # a class within another or a function
        body = next(node.body for node in ast.walk(ast.parse(lines)) if isinstance(node, ast.ClassDef))
        behind = {
            token.start[0]: _DIRECTIVE.sub("", token.string).lstrip("#").strip()
            for token in tokenize.generate_tokens(io.StringIO(lines).readline)
            if token.type == tokenize.COMMENT
        }
    except (OSError, TypeError, SyntaxError, tokenize.TokenError):  # typed in a shell, or changed since it was read
        return {}
    comments = {}
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            value = node.value or node  # a formatter puts it in parentheses of their own lines where a comment is long
            comment = behind.get(node.end_lineno or 0) or behind.get(value.end_lineno or 0)
            if comment:
                comments[node.target.id] = comment
    return comments


def _alternatives(annotation: Any, metadata: Sequence[Any] = ()) -> Iterator[str]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _alternatives(arguments[0], arguments[1:])
    elif origin in (Union, types.UnionType):
        for argument in arguments:
            yield from _alternatives(argument)
    elif origin is Literal:
        yield ", ".join(_text(choice) for choice in arguments)
    elif origin is tuple and arguments[-1:] == (Ellipsis,):
        yield f"list of any length ({', '.join(_distinct(arguments[:1]))})"
    elif origin is tuple:
        yield f"list of {len(arguments)} ({', '.join(_distinct(arguments))})"
    elif annotation is type(None):
        yield "null"
    elif isinstance(annotation, type) and issubclass(annotation, Block):
        yield "block"
    else:
        bounds = [
            f"{words} {getattr(item, key):,}"
            for kind, key, words in _BOUNDS
            for item in flat_metadata(metadata)
            if isinstance(item, kind)
        ]
        yield " ".join(
            [_KINDS.get(annotation, getattr(annotation, "__name__", str(annotation))), " and ".join(bounds)]
        ).strip()


def _distinct(arguments: tuple[Any, ...]) -> list[str]:
    return list(dict.fromkeys(text for argument in arguments for text in _alternatives(argument)))


def _text(value: Any) -> str:
    return dump_yaml({"value": listed(value)}).strip().removeprefix("value: ")


def _search(annotation: Any, values: Any) -> str:
    if values is None:
        return ""
    if isinstance(values, range):
        return f"{values.start} to {values.stop - 1}"
    if annotation is bool or (get_origin(annotation) is Literal and values == get_args(annotation)):
        return "all"
    return ", ".join(_text(value) for value in values)
