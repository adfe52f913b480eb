"""JSON schemas (draft 2020-12) of network and space files, which editors complete and check files by.

A schema accepts what the reader accepts, but for a mistake that a later edit writes over. It can't know what only the
reading tells: whether the names and paths of stages mean something, whether shapes fit.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from blockforge.block import STAGE_KEYS, is_block
from blockforge.documents import PLUGINS
from blockforge.field_types import is_width
from blockforge.outputs import Leaving
from blockforge.paths import SETTINGS, Plain
from blockforge.plugin_loading import SOURCE_PATTERN
from blockforge.registry import Registry
from blockforge.scaling import Scale
from blockforge.schema_types import Types, block_properties, properties_of, union_of
from blockforge.settings import SCHEMES, Settings
from blockforge.stages import MAX_DEPTH, WHOLE
from blockforge.wiring import INPUT

Kind = Literal["network", "space"]

_TITLES = {"network": "Networks of blockforge", "space": "Search spaces of blockforge"}
_MEANINGS = {
    "name": "The name, where it is neither the file's nor the key above",
    "about": "What is special about it, in a sentence",
    "paper": "Where it was published: arXiv:1512.03385",
    "input": "The input's shape: [channels, height, width], or [features]",
    "input_transform": "Whether it brings an input from ImageNet's statistics to a mean and a deviation of 0.5 itself",
    "classes": f"The number of classes, which `width: {WHOLE}` takes",
    "drop_path": "The rate of leaving out residual branches in training: the k-th block of n has (k - 1) / n of it",
    "outputs": "What it returns, by name: a stage, or {stage: NAME, when: training, weight: 0.3}",
    "extends": "The network that this one is a variant of: a name, or FILE.yaml#NAME",
    "stages": "The stages by name, in order; in a variant what is new in them, and null to remove one",
    "scale": "Factors of all widths and depths, and what widths are rounded to a multiple of",
    "set": "Values by path: {layer3.depth: 23, layer*.attention: squeeze_excitation}",
    PLUGINS: "Where third parties' blocks came from, as it is written with a network",
    "vary": "The choices by path: {layer*.width: {choice: [16, 32]}}",
    "base": "The network that the choices are made in: a name, or FILE.yaml#NAME",
    "objectives": "What is searched for: {accuracy: maximize, macs: minimize}",
    "limits": "The most, or the least of what is maximised, that a candidate may have; others are never trained",
    "data": "The data set that candidates are trained on",
    "train": "How a candidate is trained",
}
_STAGE_KEYS: Plain = {
    "depth": {
        "description": "How often the block repeats",
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_DEPTH,
        "default": 1,
    },
    "from": {
        "description": f"The stage that feeds this one, or a list of them; `{INPUT}` is the network's input",
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}],
    },
    "scope": {
        "description": "The prefix of its state_dict keys; {n} counts the repeats under this text",
        "type": ["string", "null"],
    },
    "scale": {"description": "Whether `scale` acts on it", "type": "boolean", "default": True},
}
_AFTER = {"description": "The stage that this one is placed behind", "type": ["string", "null"]}
_ANY_STAGE_KEY = f"^({'|'.join((*STAGE_KEYS, 'after'))})$"
_STAGE_NAMES = {"pattern": "^[A-Za-z0-9_-]+$", "not": {"enum": [INPUT, *SETTINGS]}}
_OUTPUT_NAMES = {"pattern": r"^[^_\d\s.-][^\s.-]*$"}
_SCHEME = {"anyOf": [{"enum": list(SCHEMES)}, {"type": "string", "pattern": r"^(trunc_)?normal_[\d.]+$"}]}


def schema_of(kind: Kind, registry: Registry) -> Plain:
    """The schema of network files, or of space files, with the blocks of a registry; plain data."""
    types = Types(holes=kind == "space")
    blocks = {name: block_properties(cls, types) for name, cls in registry.blocks.items()}
    union = union_of(blocks)
    keys = {key: types.refer(schema) for key, schema in _STAGE_KEYS.items()}
    edits = {path: types.refer(schema) for path, schema in _setting_paths().items()}
    settings = {key: edits[key] for key in SETTINGS}
    defs: Plain = {
        kind: _network(settings, registry, ["base", "extends"] if types.holes else ["extends"]),
        **_stages(keys, types, registry),
        "edits": _edits(edits, keys, union, types, registry),
        "parameters": _parameters(blocks),
        "fields": _closed(union),
        **{
            f"block.{name}": {"description": registry.block(name).about, **_closed(fields)}
            for name, fields in blocks.items()
        },
        **types.defs,
    }
    if types.holes:
        _make_space(defs[kind], registry)
    one = {"$ref": f"#/$defs/{kind}"}
    whole = [{"required": [key]} for key in ("stages", "extends", "base", "vary")]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": _TITLES[kind],
        "type": "object",
        # Without one of these keys a mapping of mappings holds several, by name; an empty one is completed as one.
        "if": {"anyOf": [*whole, {"not": {"additionalProperties": {"type": "object"}}}, {"maxProperties": 0}]},
        "then": one,
        "else": {"additionalProperties": one},
        "$defs": defs,
    }


# -- a network and what it says of itself


def _network(settings: Plain, registry: Registry, parents: list[str]) -> Plain:
    """A network: whole stages, or a variant's edits of them where one of `parents` names another network."""
    edits = ("set", "vary") if "base" in parents else ("set",)
    given = [{"required": [key], "properties": {key: {"required": ["input"]}}} for key in edits]
    return {
        "type": "object",
        "properties": {
            **settings,
            "extends": _known("extends", registry),
            "stages": {"description": _MEANINGS["stages"], "type": "object", "propertyNames": _STAGE_NAMES},
            "scale": _object(Scale) | {"description": _MEANINGS["scale"]},
            "set": {"$ref": "#/$defs/edits", "description": _MEANINGS["set"]},
            PLUGINS: {
                "description": _MEANINGS[PLUGINS],
                "type": "object",
                "additionalProperties": {"type": "string", "pattern": SOURCE_PATTERN},
            },
        },
        "additionalProperties": False,
        "if": {"anyOf": [{"required": [key]} for key in parents]},
        "then": {"properties": {"stages": {"additionalProperties": {"$ref": "#/$defs/variant"}}}},
        "else": {
            "required": ["stages"],
            "properties": {"stages": {"minProperties": 1, "additionalProperties": {"$ref": "#/$defs/stage"}}},
            "anyOf": [{"required": ["input"]}, *given],
        },
    }


def _known(key: str, registry: Registry) -> Plain:
    return {"description": _MEANINGS[key], "anyOf": [{"enum": sorted(registry.networks)}, {"type": "string"}]}


def _object(model: Any) -> Plain:
    return {"type": "object", "properties": properties_of(model), "additionalProperties": False}


def _output() -> Plain:
    return {"anyOf": [{"type": "string"}, _object(Leaving) | {"required": ["stage"]}]}


def _setting_paths() -> Plain:
    """The schema of each setting, and of the parts that have a path of their own, as `norm.eps`."""
    settings = properties_of(Settings)
    size = settings["input"]["items"]
    lengths = [{"minItems": length, "maxItems": length} for length in (3, 1)]
    settings["input"] = {"type": "array", "items": size, "anyOf": lengths}
    parts = settings["init"]["properties"]
    parts.update({key: _SCHEME | {"default": "default"} for key in parts if key != "keys"})
    parts["keys"] = {
        "description": "Exceptions by globs of state_dict keys; the last one that matches counts",
        "type": "object",
        "additionalProperties": _SCHEME,
    }
    settings["outputs"] = {
        "type": ["object", "null"],
        "minProperties": 1,
        "propertyNames": _OUTPUT_NAMES,
        "additionalProperties": _output(),
    }
    paths: Plain = {}
    for key in SETTINGS:
        schema = settings[key] | ({"description": _MEANINGS[key]} if key in _MEANINGS else {})
        paths[key] = {name: item for name, item in schema.items() if name != "default" or item not in ("", {}, [])}
        for each in (schema, *schema.get("anyOf", ())):
            paths.update({f"{key}.{part}": item for part, item in each.get("properties", {}).items()})
    return paths


# -- stages and their blocks


def _closed(fields: Plain) -> Plain:
    return {"properties": fields, "patternProperties": {_ANY_STAGE_KEY: {}}, "additionalProperties": False}


def _this(name: str) -> Plain:
    return {"required": ["block"], "properties": {"block": {"const": name}}}


def _parameters(blocks: Plain) -> Plain:
    """Each block's own parameters; those of any, where the block isn't said here or is a choice."""
    own = [{"if": _this(name), "then": {"$ref": f"#/$defs/block.{name}"}} for name in blocks]
    unsaid = {"properties": {"block": {"not": {"type": "string"}}}}
    return {"allOf": [*own, {"if": unsaid, "then": {"$ref": "#/$defs/fields"}}]}


def _stages(keys: Plain, types: Types, registry: Registry) -> Plain:
    """A whole stage, a variant's edit of one, a nested block, and what may replace a stage's block."""
    block = {"$ref": "#/$defs/block"}
    fields = [(name, field, info) for name, cls in registry.blocks.items() for field, info in cls.model_fields.items()]
    required: dict[str, list[str]] = {}
    for name, field, info in fields:
        if info.is_required():
            required.setdefault(name, []).append(field)
    needs = [{"if": _this(name), "then": {"required": names}} for name, names in required.items()]
    others = {field for _, field, info in fields if not is_width(info)}
    widths = sorted({field for _, field, info in fields} - others)
    no_keys = {key: False for key in (*STAGE_KEYS, "after") if key != "block"}
    return {
        "block": {"description": "The block's name", "enum": sorted(registry.blocks)},
        "stage": {"type": "object", "required": ["block"], "allOf": [{"$ref": "#/$defs/variant"}, *needs]},
        "variant": {
            "type": ["object", "null"],
            "properties": {"block": _or_hole(block, "replacement", types), **keys, "after": _AFTER},
            "allOf": [{"$ref": "#/$defs/parameters"}],
        },
        "replacement": {
            "anyOf": [
                block,
                {
                    "type": "object",
                    "required": ["block"],
                    "properties": {"block": block},
                    "allOf": [{"$ref": "#/$defs/variant"}],
                },
            ]
        },
        "nested": {
            "anyOf": [
                block,
                {
                    "type": "object",
                    "required": ["block"],
                    "properties": {"block": _or_hole(block, "nested", types), **no_keys},
                    # Only a stage's own parameters know the network's classes.
                    "patternProperties": {f"^({'|'.join(widths)})$": {"not": {"const": WHOLE}}},
                    "allOf": [{"$ref": "#/$defs/parameters"}, *needs],
                },
            ]
        },
    }


def _or_hole(schema: Plain, options: str, types: Types) -> Plain:
    return {"anyOf": [schema, types.hole(f"#/$defs/{options}")]} if types.holes else schema


# -- edits by path, and what a space says beside a network


def _edits(settings: Plain, keys: Plain, union: Plain, types: Types, registry: Registry) -> Plain:
    """Values by path: a setting's, or a parameter's of the stages that a name or a glob means."""
    stage = rf"^(?!({'|'.join(SETTINGS)})\.)[^.]+"
    infos = [item for cls in registry.blocks.values() for item in cls.model_fields.items()]
    nested = rf"(\.({'|'.join(sorted({name for name, info in infos if is_block(info)}))}))*"
    same: dict[str, list[str]] = {}
    for name, kind in union.items():
        same.setdefault(json.dumps(kind), []).append(name)
    output = properties_of(Leaving)
    return {
        "type": "object",
        "properties": settings,
        "patternProperties": {
            rf"{stage}{nested}\.block$": _or_hole({"$ref": "#/$defs/replacement"}, "replacement", types),
            **{rf"{stage}\.{key}$": schema for key, schema in keys.items()},
            **{rf"{stage}{nested}\.({'|'.join(names)})$": json.loads(kind) for kind, names in same.items()},
            r"^outputs\.[^.]+$": types.refer({"anyOf": [_output(), {"type": "null"}]}),
            **{rf"^outputs\.[^.]+\.{key}$": types.refer(item) for key, item in output.items()},
            r"^init\.keys\.[^.]+$": types.refer(_SCHEME),
        },
        "additionalProperties": False,
    }


def _make_space(space: Plain, registry: Registry) -> None:
    """Add to a network's schema what a space says beside it."""
    from blockforge.study.objectives import DIRECTIONS
    from blockforge.study.training import TrainSettings

    free = [name for name, objective in registry.objectives.items() if objective.measure]
    bound = {"type": ["number", "string"], "pattern": "^[0-9]+(_[0-9]+)+$"}  # to editors' YAML 200_000 is text
    added: Plain = {
        "base": _known("base", registry),
        "vary": {"$ref": "#/$defs/edits"},
        "objectives": {
            "type": "object",
            "propertyNames": {"enum": [*registry.objectives, "value"]},
            "additionalProperties": {"enum": list(DIRECTIONS)},
        },
        "limits": {"type": "object", "propertyNames": {"enum": free}, "additionalProperties": bound},
        "data": {"anyOf": [{"enum": list(registry.datasets)}, {"type": "null"}]},
        "train": _object(TrainSettings),
    }
    space["properties"] |= {key: schema | {"description": _MEANINGS[key]} for key, schema in added.items()}
    space["not"] = {"required": ["base", "extends"]}
