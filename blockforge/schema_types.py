"""What a value may be, as a JSON schema: pydantic's types, and in a space the holes in their place.

A type that several fields are of stands once, in `$defs`, under a name that says what it is: `integer_or_null`.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from blockforge.block import Block, listed
from blockforge.field_types import MAX_CHANNELS, any_values, is_width
from blockforge.fields import field_meanings
from blockforge.paths import Plain
from blockforge.stages import WHOLE

NESTED = {"$ref": "#/$defs/nested"}
"""A block within a block: its name or `{block: NAME, ...}`."""
HOLE: Plain = {
    "description": "A choice that a search makes; holes of one label share one draw",
    "type": "object",
    "properties": {
        "choice": {"type": "array", "minItems": 1, "uniqueItems": True, "description": "One of these values"},
        "range": {
            "description": "[low, high] for whole numbers, or [low, high, step]",
            "type": "array",
            "prefixItems": [{"type": "number"}, {"type": "number"}, {"type": "number", "exclusiveMinimum": 0}],
            "minItems": 2,
            "maxItems": 3,
            "anyOf": [{"minItems": 3}, {"prefixItems": [{"type": "integer"}, {"type": "integer"}]}],
        },
        "any": {"description": "One of the values that the block's author gave the parameter"},
        "label": {"type": "string"},
    },
    "additionalProperties": False,
    "oneOf": [{"required": [kind]} for kind in ("choice", "range", "any")],
}
"""What is true of every hole; `Types.hole` says what it may hold at a place."""

_MARK = {"x-block": True}
_DATA = ("default", "const", "enum", "examples")  # keywords that hold values, not schemas
_ABOUT = ("description", "default")  # what a field says beside its type


class _Generator(GenerateJsonSchema):
    """Pydantic's schemas, where a nested block is marked, and a type without a schema may be anything."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 (pydantic's own is no ClassVar)

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        return dict(_MARK) if schema["cls"] is Block else super().model_schema(schema)

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        return super().function_before_schema(schema) if _says_its_input(schema) else {}

    def function_wrap_schema(self, schema: core_schema.WrapValidatorFunctionSchema) -> JsonSchemaValue:
        return super().function_wrap_schema(schema) if _says_its_input(schema) else {}

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:  # noqa: ARG002
        return {}

    def encode_default(self, dft: Any) -> Any:
        return super().encode_default(listed(dft))


def _says_its_input(schema: Any) -> bool:
    """Whether what is given to a validator is known: it may take more than what it returns, unless that is a model."""
    inner = schema["schema"]["type"]
    return bool(schema.get("json_schema_input_schema")) or inner in ("model", "definition-ref", "definitions")


def properties_of(model: type[BaseModel]) -> Plain:
    """The schema of each field of a model, without references but to nested blocks."""
    schema = model.model_json_schema(schema_generator=_Generator)
    properties: Plain = _inlined(schema, schema.get("$defs", {})).get("properties", {})
    return properties


def _inlined(schema: Any, defs: Plain, within: tuple[str, ...] = ()) -> Any:
    if isinstance(schema, list):
        return [_inlined(item, defs, within) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema == _MARK:
        return dict(NESTED)
    if isinstance(schema.get("$ref"), str):
        name = schema["$ref"].rpartition("/")[2]
        if name in within:  # a type within itself
            return {}
        beside = {key: item for key, item in schema.items() if key != "$ref"}
        return _inlined(defs[name], defs, (*within, name)) | _inlined(beside, defs, within)
    found: Plain = {}
    for key, item in schema.items():
        if key == "properties":  # whose names may be those of keywords
            found[key] = {name: _inlined(part, defs, within) for name, part in item.items()}
        elif key == "description":
            found[key] = " ".join(item.split())
        elif key not in ("$defs", "title"):  # pydantic's title says the name again
            found[key] = item if key in _DATA else _inlined(item, defs, within)
    return found


class Types:
    """The types that a schema's `$defs` hold; with `holes` a hole may stand in the place of each."""

    def __init__(self, *, holes: bool) -> None:
        self.holes = holes
        self.defs: Plain = {"hole": HOLE} if holes else {}
        self._names: dict[str, str] = {}

    def refer(self, schema: Plain, *, any_: bool = False) -> Plain:
        """The schema with its type in `$defs`; `any_` says that the word is a hole here. Short types stay in place."""
        about = {key: schema[key] for key in _ABOUT if key in schema}
        kind = self._inside({key: item for key, item in schema.items() if key not in _ABOUT})
        if not kind or (not self.holes and len(kind) == 1):
            return kind | about
        text = json.dumps([kind, any_ and self.holes], sort_keys=True)
        if text not in self._names:
            word = "_or_".join(_words(kind))
            made, count = f"type.{word}", 2
            while made in self.defs:
                made, count = f"type.{word}.{count}", count + 1
            self._names[text] = made
            self.defs[made] = kind
            if self.holes:
                hole = self.hole(f"#/$defs/{made}/anyOf/0", any_=any_)
                self.defs[made] = {"anyOf": [kind, hole, *([{"const": "any"}] if any_ else [])]}
        return {"$ref": f"#/$defs/{self._names[text]}"} | about

    @staticmethod
    def hole(options: str, *, any_: bool = False) -> Plain:
        """A hole whose options are what a reference means."""
        item = {"$ref": options}
        properties: Plain = {"choice": {"items": item}, "range": {"prefixItems": [item]}}
        return {
            "allOf": [{"$ref": "#/$defs/hole"}],
            "properties": properties if any_ else {**properties, "any": False},
        }

    def _inside(self, schema: Plain) -> Plain:
        """A type whose parts are in `$defs`, so that they may be holes too."""
        found = dict(schema)
        for key in ("anyOf", "oneOf", "allOf"):
            if key in schema:
                found[key] = [self._inside(item) for item in schema[key]]
        if "prefixItems" in schema:
            found["prefixItems"] = [self.refer(item) for item in schema["prefixItems"]]
        for key in ("items", "additionalProperties"):
            if isinstance(schema.get(key), dict):
                found[key] = self.refer(schema[key])
        if "properties" in schema:
            found["properties"] = {key: self.refer(item) for key, item in schema["properties"].items()}
        return found


def _words(schema: Plain) -> list[str]:
    """What a type is, in a word for each of its alternatives."""
    if "anyOf" in schema and "type" not in schema:
        return list(dict.fromkeys(word for each in schema["anyOf"] for word in _words(each)))
    if "enum" in schema or "const" in schema:
        return ["word"]
    kinds = schema.get("type", "block" if "$ref" in schema else "value")
    return [kinds] if isinstance(kinds, str) else list(kinds)


def block_properties(cls: type[Block], types: Types) -> Plain:
    """The schema of each parameter of a block, with its meaning and its default."""
    meanings = field_meanings(cls)
    found = {}
    for name, schema in properties_of(cls).items():
        field = cls.model_fields.get(name)
        if meanings.get(name):
            schema["description"] = meanings[name]
        kind = _channels(schema) if field and is_width(field) else schema
        any_ = field is not None and any_values(cls, name) is not None
        found[name] = types.refer(kind, any_=any_)
    return found


def union_of(blocks: Plain) -> Plain:
    """What a parameter may be in any of the blocks that have it, by its name."""
    found: dict[str, list[Plain]] = {}
    for fields in blocks.values():
        for name, schema in fields.items():
            kind = {key: item for key, item in schema.items() if key not in _ABOUT}
            if kind not in found.setdefault(name, []):
                found[name].append(kind)
    return {name: kinds[0] if len(kinds) == 1 else {"anyOf": kinds} for name, kinds in sorted(found.items())}


def _channels(schema: Plain) -> Plain:
    """A number of channels, with its cap, or the word for the network's classes."""
    about = {key: schema[key] for key in _ABOUT if key in schema}
    kind = {key: item for key, item in schema.items() if key not in _ABOUT}
    kinds = [
        each | {"maximum": MAX_CHANNELS} if each.get("type") == "integer" else each
        for each in kind.get("anyOf", [kind])
    ]
    return {"anyOf": [*kinds, {"const": WHOLE}]} | about
