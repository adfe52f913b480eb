"""The schema takes what the reader takes: the files that come with blockforge, random ones; and refuses mistakes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

import blockforge
from blockforge.block import Block
from blockforge.documents import entries
from blockforge.errors import BlockforgeError
from blockforge.field_types import any_values, is_width
from blockforge.fields import field_meanings
from blockforge.files import Document, dump_yaml, parse_yaml, read_yaml
from blockforge.network import from_entry
from blockforge.registry import Registry, get_registry
from blockforge.schema import schema_of
from blockforge.schema_types import Types, block_properties
from blockforge.stages import WHOLE
from blockforge.study.space import space_from_entry
from tests import random_networks

ROOT = Path(__file__).parent.parent
KINDS: tuple[Literal["network", "space"], ...] = ("network", "space")
SOURCES = {
    "network": [*sorted((ROOT / "blockforge/zoo").glob("*.yaml")), *sorted((ROOT / "tests/forms").glob("*.yaml"))],
    "space": sorted((ROOT / "search_spaces").glob("*.yaml")),
}
README = (ROOT / "README.md").read_text(encoding="utf-8")
README_FILES = dict(re.findall(r"^<!-- file: (\S+) -->\n```\w+\n(.*?)^```$", README, re.S | re.M))


@lru_cache(maxsize=4)
def validator(kind: Literal["network", "space"], *, odd: bool = False) -> Draft202012Validator:
    return Draft202012Validator(schema_of(kind, random_networks.registry() if odd else Registry()))


def read(kind: str, value: Any, registry: Registry) -> None:
    """Read a file as networks or as spaces; raises `BlockforgeError`."""
    for entry in entries(Document(value, {(): (1, 1)}, "file.yaml")).values():
        from_entry(entry, registry) if kind == "network" else space_from_entry(entry, registry)


def accepted(kind: str, value: Any, registry: Registry) -> bool:
    try:
        read(kind, value, registry)
    except BlockforgeError:
        return False
    return True


# -- what it must take


@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_schema_is_one(kind: Literal["network", "space"], odd: bool) -> None:
    schema = validator(kind, odd=odd).schema
    Draft202012Validator.check_schema(schema)
    assert json.loads(json.dumps(schema, allow_nan=False)) == schema
    for name in re.findall(r'"\$ref": "#/\$defs/([^"/]+)', json.dumps(schema)):
        assert name in schema["$defs"]


@pytest.mark.parametrize(
    ("kind", "path"),
    [(kind, path) for kind in KINDS for path in SOURCES[kind]],
    ids=lambda part: getattr(part, "name", part),
)
def test_a_shipped_file_validates(kind: Literal["network", "space"], path: Path) -> None:
    assert not [error.message for error in validator(kind).iter_errors(read_yaml(path).value)]


def test_all_registered_files_are_among_these() -> None:
    names = {path.name for kind in KINDS for path in SOURCES[kind]}
    registry = get_registry()
    assert {Path(str(path)).name for path in [*registry.networks.values(), *registry.spaces.values()]} <= names


def test_the_readmes_files_validate(tmp_path: Path) -> None:
    for name, text in README_FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    registry = Registry([tmp_path / name for name in README_FILES if name.endswith(".py")])
    schemas = {kind: Draft202012Validator(schema_of(kind, registry)) for kind in KINDS}
    files = {name: parse_yaml(text, name).value for name, text in README_FILES.items() if name.endswith(".yaml")}
    assert len(files) >= 3
    for name, value in files.items():
        kind: Literal["network", "space"] = "space" if "vary" in value else "network"
        assert not [error.message for error in schemas[kind].iter_errors(value)], name


@pytest.mark.parametrize("name", sorted(get_registry().networks))
def test_a_networks_flat_text_validates(name: str) -> None:
    text = blockforge.get_network(name).to_yaml(flat=True)
    assert not [error.message for error in validator("network").iter_errors(parse_yaml(text, name).value)]


@pytest.mark.parametrize("seed", range(40))
def test_a_random_network_validates(seed: int) -> None:
    network = random_networks.random_network(seed)
    for text in (network.to_yaml(), network.to_yaml(flat=True)):
        errors = validator("network", odd=True).iter_errors(parse_yaml(text, "random").value)
        assert not [error.message for error in errors]


def test_what_is_said_of_drop_path_is_what_the_assembler_does() -> None:
    said = schema_of("network", Registry())["$defs"]["network"]["properties"]["drop_path"]["description"]
    assert said == "The rate of leaving out residual branches in training: the k-th block of n has (k - 1) / n of it"
    network = blockforge.get_network("resnet18").set({"drop_path": 0.4, "layer*.depth": 1})
    rates = [node.op.p for node in blockforge.assemble(network) if node.op.kind == "DropPath"]
    assert rates == pytest.approx([0.4 * (k - 1) / 4 for k in (2, 3, 4)])  # the first has 0, so no op


def test_an_input_may_be_set() -> None:
    stages = {"head": {"block": "classifier", "width": "classes"}}
    assert validator("network").is_valid({"stages": stages, "set": {"input": [3, 8, 8]}})
    assert not validator("network").is_valid({"stages": stages, "set": {"classes": 10}})


@pytest.mark.parametrize("source", ["acme-blocks 1.2.3", "file mine/ghost.py", "!!", "acme 1 2", "file ../x.py"])
def test_where_blocks_came_from_is_said_as_the_reader_takes_it(source: str) -> None:
    network = {"extends": "resnet18", "plugins": {"x": source}}
    valid = source in ("acme-blocks 1.2.3", "file mine/ghost.py")
    assert validator("network").is_valid(network) == accepted("network", network, get_registry()) == valid


def test_only_what_is_free_is_limited() -> None:
    space = {"base": "resnet18", "vary": {"stem.width": {"choice": [8, 16]}}}
    assert validator("space").is_valid(space | {"limits": {"macs": 1e9, "params": 2e6}})
    assert not validator("space").is_valid(space | {"limits": {"accuracy": 0.9}})  # which only the search refuses


def test_a_limit_may_be_what_editors_take_for_text() -> None:
    for text, valid in (("200_000", True), ("200_", False), ("many", False)):
        space = {"base": "resnet18", "vary": {"stem.width": {"choice": [8, 16]}}, "limits": {"params": text}}
        assert validator("space").is_valid(space) == valid


def test_an_output_that_is_removed_by_an_edit_validates() -> None:
    for kind in KINDS:
        edits = {"outputs.aux": None}
        assert validator(kind).is_valid({"extends": "inception_v3_aux", "set": edits})
        assert not validator(kind).is_valid({"extends": "inception_v3_aux", "set": {"outputs.aux": 3}})


# -- what it must refuse

NETWORK = """\
name: mine
input: [3, 32, 32]
classes: 10
norm: {eps: 0.001}
init: {conv: normal_0.01}
outputs: {logits: head, side: {stage: side, when: training}}
stages:
  stem: {block: conv, width: 16, kernel: 3, names: [conv, bn, relu]}
  body: {block: residual, width: 16, depth: 2, attention: {block: squeeze_excitation, reduction: 4}}
  side: {block: classifier, width: classes, from: stem}
  head: {block: classifier, width: classes, from: body}
scale: {width: 2.0}
plugins: {ghost: acme-blocks 1.2.3}
set: {stem.stride: 2, "bod[y].attention.divisor": 8, norm.momentum: 0.2, outputs.side.weight: 0.3, stem.depth: 1}
"""
VARIANT = """\
extends: resnet18
stages:
  stem: {pool: null}
  layer4: null
  more: {block: bottleneck, width: 64, ratio: 2, after: layer3}
set: {"layer[12].block": {block: bottleneck, ratio: 4}, classes: 10, layer1.depth: 3}
"""
SPACE = """\
base: resnet18_cifar
set: {input: [1, 8, 8], classes: 10, stem.width: 8}
stages:
  layer4: {block: {choice: [residual, {block: bottleneck, ratio: any}]}, width: 16}
vary:
  layer1.width: {choice: [8, 16], label: w}
  layer1.depth: {range: [1, 3]}
  layer2.shortcut: any
  layer3.attention: {choice: [null, {block: squeeze_excitation, reduction: {choice: [4, 8]}}]}
  norm.momentum: {range: [0.1, 0.3, 0.1]}
objectives: {accuracy: maximize, macs: minimize}
limits: {params: 200_000}
data: digits
train: {epochs: 2}
"""
BROKEN = {
    "network": (
        NETWORK,
        {
            "unknown key": ("classes: 10", "clases: 10"),
            "wrong type of a setting": ("classes: 10", "classes: ten"),
            "two numbers in the input": ("[3, 32, 32]", "[3, 32]"),
            "no input": ("input: [3, 32, 32]\n", ""),
            "misspelt setting": ("eps: 0.001", "epps: 0.001"),
            "setting out of range": ("eps: 0.001", "eps: 0"),
            "unknown scheme": ("normal_0.01", "normal_small"),
            "output without a stage": ("stage: side, when", "when"),
            "output of an unknown time": ("when: training", "when: testing"),
            "stage without a block": ("stem: {block: conv, ", "stem: {"),
            "null stage in no variant": ("side: {block: classifier, width: classes, from: stem}", "side: null"),
            "stage with a setting's name": ("stem: {block", "norm: {block"),
            "unknown block": ("block: residual", "block: residuall"),
            "field of another block": ("width: 16, depth: 2", "ratio: 4, depth: 2"),
            "misspelt field": ("width: 16, kernel", "widht: 16, kernel"),
            "value out of range": ("kernel: 3", "kernel: 0"),
            "too many channels": ("width: 16, kernel", "width: 2000000, kernel"),
            "wrong type of a field": ("kernel: 3", "kernel: true"),
            "list of a wrong length": ("[conv, bn, relu]", "[conv, bn]"),
            "depth out of range": ("depth: 2", "depth: 1001"),
            "empty from": ("from: body", "from: []"),
            "field of another nested block": ("reduction: 4}", "ratio: 4}"),
            "nested block with a depth": ("reduction: 4}", "depth: 4}"),
            "classes in a nested block": ("block: squeeze_excitation, reduction: 4", "block: conv, width: classes"),
            "unknown nested block": ("block: squeeze_excitation", "block: squeeze"),
            "hole in a network": ("width: 16, kernel", "width: {choice: [8, 16]}, kernel"),
            "misspelt scale": ("scale: {width", "scale: {widht"),
            "path of no field": ("stem.stride", "stem.strid"),
            "path of a whole stage": ("stem.stride: 2", "stem: 2"),
            "path of no setting": ("norm.momentum", "norm.momntum"),
            "value out of range at a path": ('attention.divisor": 8', 'attention.divisor": 0'),
            "weight of an output out of range": ("weight: 0.3", "weight: -1"),
            "depth out of range at a path": ("stem.depth: 1", "stem.depth: 0"),
            "wrong type of an origin": ("acme-blocks 1.2.3", "1.2"),
            "key of a space": ("name: mine", "data: digits"),
        },
    ),
    "variant": (
        VARIANT,
        {
            "wrong type of a parent": ("extends: resnet18", "extends: [resnet18]"),
            "field of no block": ("pool: null", "pol: null"),
            "value that no block's field may have": ("pool: null", "pool: 3"),
            "stage that is no mapping": ("layer4: null", "layer4: 3"),
            "field of another block": ("ratio: 2", "expansion: 2"),
            "wrong type of a place": ("after: layer3", "after: 3"),
            "unknown block at a path": ("{block: bottleneck, ratio: 4}", "{block: bottelneck}"),
            "field of another block at a path": ("{block: bottleneck, ratio: 4}", "{block: bottleneck, expansion: 4}"),
            "value out of range at a path": ("classes: 10", "classes: 0"),
        },
    ),
    "space": (
        SPACE,
        {
            "unknown key": ("limits:", "limit:"),
            "base and extends": ("base: resnet18_cifar", "base: resnet18_cifar\nextends: resnet18_cifar"),
            "empty choice": ("{choice: [8, 16], label: w}", "{choice: []}"),
            "the same twice in a choice": ("choice: [8, 16]", "choice: [8, 8]"),
            "option of a wrong type": ("choice: [8, 16]", "choice: [8, wide]"),
            "option out of range": ("choice: [8, 16]", "choice: [8, 0]"),
            "two kinds of a hole": ("label: w", "range: [1, 2]"),
            "unknown key of a hole": ("label: w", "lable: w"),
            "hole without a kind": ("{choice: [8, 16], label: w}", "{label: w}"),
            "range of one number": ("range: [1, 3]", "range: [1]"),
            "range from below the bound": ("range: [1, 3]", "range: [0, 3]"),
            "range of text": ("layer2.shortcut: any", "layer2.shortcut: {range: [1, 2]}"),
            "range of fractions without a step": ("[0.1, 0.3, 0.1]", "[0.1, 0.3]"),
            "step of zero": ("[0.1, 0.3, 0.1]", "[0.1, 0.3, 0]"),
            "any without bounds": ("layer1.depth: {range: [1, 3]}", "layer1.depth: any"),
            "any without bounds, in full": ("layer1.depth: {range: [1, 3]}", "layer1.depth: {any: true}"),
            "choice within a choice": ("{block: bottleneck, ratio: any}", "{block: {choice: [bottleneck]}}"),
            "unknown block in a choice": ("[residual, {", "[residul, {"),
            "field of another block in a choice": ("ratio: any", "expansion: any"),
            "value out of range in an option": ("{choice: [4, 8]}", "{choice: [4, 0]}"),
            "unknown block in a nested choice": ("squeeze_excitation", "squeeze"),
            "unknown direction": ("macs: minimize", "macs: lower"),
            "unknown objective": ("macs: minimize", "maccs: minimize"),
            "limit that is no number": ("params: 200_000", "params: small"),
            "unknown data": ("data: digits", "data: digit"),
            "misspelt training": ("epochs: 2", "epoch: 2"),
            "training out of range": ("epochs: 2", "epochs: 0"),
        },
    ),
}


@pytest.mark.parametrize("sample", BROKEN)
@pytest.mark.parametrize("several", [False, True], ids=["one", "several"])
def test_what_is_broken_below_is_sound(sample: str, several: bool) -> None:
    kind: Literal["network", "space"] = "space" if sample == "space" else "network"
    value = parse_yaml(BROKEN[sample][0], "sound").value
    value = {"first": value, "second": value} if several else value
    assert not [error.message for error in validator(kind).iter_errors(value)]
    read(kind, value, get_registry())


@pytest.mark.parametrize(
    ("sample", "case"), [(sample, case) for sample, (_, cases) in BROKEN.items() for case in cases]
)
def test_a_broken_file_is_refused(sample: str, case: str) -> None:
    kind: Literal["network", "space"] = "space" if sample == "space" else "network"
    text, cases = BROKEN[sample]
    sound, broken = cases[case]
    assert text.count(sound) == 1
    value = parse_yaml(text.replace(sound, broken), "broken").value
    assert not validator(kind).is_valid(value)
    assert not validator(kind).is_valid({"first": parse_yaml(text, "sound").value, "second": value})
    assert not accepted(kind, value, get_registry())  # or else the schema would refuse too much


@pytest.mark.parametrize("value", [{}, [], "resnet18", None, {"stages": {}}, {"mine": {}}, {"mine": None}, {"mine": 3}])
def test_what_holds_no_network_is_refused(value: Any) -> None:
    assert not validator("network").is_valid(value)
    assert not validator("space").is_valid(value)


# -- the same verdict as the reader's, for any block and any value

JUNK: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 3, 7, 1000, 2**20, 2**20 + 1, 0.25, -0.5, 1.5, "classes", "relu", "A", "max",
    "same", "any", "", [], [1, 3], [3, "a"], ["a", "b"], ["a", "b", "c"], ["a", "b", "c", "d"], {},
    "squeeze_excitation", {"block": "conv", "width": 8}, {"block": "conv", "widht": 8}, {"block": "nothing"},
    {"width": 8}, [[1]], {"choice": [1]},
)  # fmt: skip
STAGE_KEYS = ("depth", "scope", "scale", "from", "block", "nothing")


def stage_of(name: str, fields: dict[str, Any], registry: Registry) -> dict[str, Any]:
    """A stage with these fields, fed as its block wants it."""
    feeds = registry.block(name).arity or 1
    return {"block": name, **({"from": ["input"] * feeds} if feeds > 1 else {}), **fields}


@st.composite
def stages(draw: st.DrawFn) -> dict[str, Any]:
    """A stage of any block, in which some fields have values of their types or any other ones."""
    registry = random_networks.registry()
    name = draw(st.sampled_from(sorted(registry.blocks)))
    cls = registry.block(name)
    fields = {}
    for field in draw(st.lists(st.sampled_from([*cls.model_fields, *STAGE_KEYS]), max_size=3, unique=True)):
        info = cls.model_fields.get(field)
        usual = [*((any_values(cls, field) if info else None) or ()), *([_listed(info.default)] if info else ()), 1, 8]
        numbers = st.integers(-1, 2**21) | st.floats(-1, 2, allow_nan=False).filter(lambda x: not x.is_integer())
        # The schema takes the number of classes for numbers of channels alone, and true for no literal 1.
        odd: tuple[Any, ...] = (WHOLE,) if info and not is_width(info) else ()
        odd += (False, True) if info and get_origin(info.annotation) is Literal else ()
        junk = [item for item in JUNK if not any(item is each for each in odd)]
        fields[field] = draw(st.sampled_from(usual) | st.sampled_from(usual) | st.sampled_from(junk) | numbers)
    return stage_of(name, fields, registry)


@settings(max_examples=400)
@given(stages())
def test_a_random_stage_gets_the_readers_verdict(stage: dict[str, Any]) -> None:
    value = {"input": [16, 16, 16], "classes": 10, "stages": {"one": stage}}
    registry = random_networks.registry()
    valid = validator("network", odd=True).is_valid(value)
    if accepted("network", value, registry):
        assert valid
    elif valid:  # the reader alone knows what joins stages, and how they may repeat
        plain = {key: item for key, item in stage.items() if key not in ("from", "depth", "scope")}
        sound = {**value, "stages": {"one": stage_of(plain["block"], plain, registry)}}
        assert accepted("network", sound, registry)


@settings(max_examples=200)
@given(stages(), st.booleans())
def test_a_random_edit_that_the_reader_takes_is_valid(stage: dict[str, Any], edited: bool) -> None:
    """In a variant: a stage of a few keys, or the same as paths."""
    registry, name = random_networks.registry(), stage["block"]
    assume(isinstance(name, str) and name in registry.blocks)
    base = {"input": [16, 16, 16], "stages": {"one": stage_of(name, {}, registry)}}
    own = {key: item for key, item in stage.items() if key != "block"}
    edit = {"set": {f"o*.{key}": item for key, item in own.items()}} if edited else {"stages": {"one": own}}
    value = {"plain": base, "variant": {"extends": "plain", **edit}}
    assert own or accepted("network", value, registry)
    if accepted("network", value, registry):
        assert not [error.message for error in validator("network", odd=True).iter_errors(value)]


@st.composite
def holes(draw: st.DrawFn) -> Any:
    """A hole of any kind, most of them sound."""
    kind = draw(st.sampled_from(["choice", "range", "any", "word"]))
    if kind == "word":
        return "any"
    options = st.lists(st.sampled_from(JUNK), max_size=2) if kind == "choice" else st.lists(st.integers(-1, 9))
    label = draw(st.sampled_from([{}, {"label": "w"}, {"label": 1}]))
    return {
        kind: draw(st.just(True) if kind == "any" else options | st.just([1, 3]) | st.just([0.25, 0.75, 0.25])),
        **label,
    }


@settings(max_examples=300)
@given(st.data())
def test_a_random_hole_that_the_reader_takes_is_valid(data: st.DataObject) -> None:
    registry = random_networks.registry()
    name = data.draw(st.sampled_from(sorted(registry.blocks)))
    field = data.draw(st.sampled_from([*registry.block(name).model_fields, "depth", "scope"]))
    stage, hole = stage_of(name, {}, registry), data.draw(holes())
    spaces = (
        {"stages": {"one": {**stage, field: hole}}},
        {"stages": {"one": stage}, "vary": {f"one.{field}": hole}},
        {"stages": {"one": {**stage, "block": {"choice": [{"block": name, field: hole}]}}}},
    )
    for space in spaces:
        value = {"input": [16, 16, 16], "classes": 10, **space}
        if accepted("space", value, registry):
            assert not [error.message for error in validator("space", odd=True).iter_errors(value)]


@pytest.mark.parametrize("name", sorted(random_networks.registry().blocks))
def test_each_value_that_a_search_tries_is_valid(name: str) -> None:
    registry = random_networks.registry()
    cls = registry.block(name)
    for field in cls.model_fields:
        for item in list(any_values(cls, field) or ())[:20]:
            value = {"input": [16, 16, 16], "stages": {"one": stage_of(name, {field: item}, registry)}}
            assert validator("network", odd=True).is_valid(value)
        space = {"input": [16, 16, 16], "stages": {"one": stage_of(name, {field: "any"}, registry)}}
        texts = "string" in json.dumps(block_properties(cls, Types(holes=False))[field])  # "any" is text, too
        assert validator("space", odd=True).is_valid(space) == (any_values(cls, field) is not None) or texts


@pytest.mark.parametrize("name", sorted(random_networks.registry().blocks))
def test_a_field_has_its_default_and_its_meaning(name: str) -> None:
    cls = random_networks.registry().block(name)
    shown = validator("network", odd=True).schema["$defs"][f"block.{name}"]
    assert shown["description"] == cls.about
    assert list(shown["properties"]) == list(cls.model_fields)
    meanings = field_meanings(cls)
    for field, info in cls.model_fields.items():
        assert shown["properties"][field].get("description", "") == meanings[field]
        assert dump_yaml({"x": shown["properties"][field]["default"]}) == dump_yaml({"x": _listed(info.default)})


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


# -- blocks of a plugin

PLUGIN = '''
from blockforge import Block, BlockSpec, Channels, Scope, Search, Value, hookimpl
from typing import Annotated


class Wobble(Block):
    """Wobbles."""

    needed: int
    amount: Annotated[int, Search(1, 2)] = 1  # of wobbling
    parts: tuple[BlockSpec, ...] = ()
    width: Channels = 8

    def expand(self, g: Scope, x: Value) -> Value:
        return g.conv("conv", x, self.width)


@hookimpl
def register_blocks():
    return [Wobble]
'''


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "blockforge", "schema", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_plugins_block_is_there(write: Callable[[str, str], Path]) -> None:
    path = write("wobble.py", PLUGIN)
    done = run("network", "--plugin", str(path))
    assert (done.returncode, done.stderr) == (0, "")
    found = Draft202012Validator(json.loads(done.stdout))
    assert found.schema["$defs"]["block.wobble"]["properties"]["amount"]["description"] == "of wobbling"
    good = {"block": "wobble", "needed": 3, "amount": 2, "parts": ["conv", {"block": "pool", "kernel": 2}]}
    bad = [
        {"block": "wobble"},
        good | {"amuont": 2},
        good | {"parts": ["cnv"]},
        good | {"parts": [{"block": "pool", "width": 3}]},
        good | {"parts": [{"block": "wobble"}]},
    ]
    registry = Registry([path])
    for stage, sound in ((good, True), *((each, False) for each in bad)):
        for place in (stage, {"block": "residual", "attention": stage}):
            value = {"input": [3, 8, 8], "stages": {"one": place}}
            assert found.is_valid(value) == sound, place
            assert accepted("network", value, registry) == sound, place
    variant = {"extends": "resnet18", "stages": {"layer1": {"block": "wobble"}}, "set": {"layer1.needed": 3}}
    assert found.is_valid(variant)
    assert not validator("network").is_valid(variant)


class Inner(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    size: Annotated[int, Field(ge=1)] = 1


class Secret:
    """A type that no schema describes."""


def test_types_that_blocks_rarely_have() -> None:
    class Rare(Block):
        """Has them."""

        model_config = ConfigDict(arbitrary_types_allowed=True)
        inner: Inner = Inner()
        secret: Secret | None = None
        parsed: Annotated[int, BeforeValidator(lambda text: len(str(text)))] = 1
        title: Literal["a"] = "a"
        default: blockforge.BlockSpec = get_registry().block("conv")(width=8)
        several: tuple[blockforge.BlockSpec, ...] = (
            get_registry().block("conv")(width=8),
            get_registry().block("add")(),
        )

        def expand(self, g: blockforge.Scope, x: blockforge.Value) -> blockforge.Value:
            return x

    for holes in (False, True):
        types = Types(holes=holes)
        shown = block_properties(Rare, types)
        assert list(shown) == ["inner", "secret", "parsed", "title", "default", "several"]
        assert shown["default"]["default"] == {"block": "conv", "width": 8}
        assert shown["several"]["default"] == [{"block": "conv", "width": 8}, "add"]
        schema = {"properties": shown, "$defs": {"nested": {"enum": ["conv"]}, **types.defs}}
        Draft202012Validator.check_schema(schema)
        found = Draft202012Validator(schema)
        good: dict[str, Any] = {"inner": {"size": 2}, "secret": 3, "parsed": "text", "title": "a", "default": "conv"}
        assert found.is_valid(good)
        for bad in ({"inner": {"size": 0}}, {"inner": {"sise": 1}}, {"title": "b"}, {"default": "cnv"}):
            assert not found.is_valid(good | bad)
        hole = {"inner": {"size": {"choice": [1, 2]}}}
        assert found.is_valid(good | hole) == holes


# -- the command


@pytest.mark.skipif(os.name != "posix", reason="pipes of a shell")
@pytest.mark.parametrize("kind", ["", "network", "space"])
def test_what_the_command_prints_is_json(kind: str) -> None:
    command = f"{sys.executable} -m blockforge schema {kind} | {sys.executable} -m json.tool"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert json.loads(done.stdout) == schema_of("space" if kind == "space" else "network", get_registry())


def test_an_unknown_kind_is_a_line() -> None:
    done = run("netwrok")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.replace("[[", "[").replace("]]", "]") == (  # as older versions of click have them
        "blockforge schema: invalid value for '[network|space]': 'netwrok' is not one of 'network', 'space'; "
        "`blockforge schema --help` shows what it takes\n"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_imports_no_torch(kind: str) -> None:
    code = (
        "import sys\nfrom blockforge.cli import main\n"
        f"main(['schema', {kind!r}], standalone_mode=False)\n"
        "print(*{'torch', 'optuna', 'jsonschema', 'matplotlib'} & {name.partition('.')[0] for name in sys.modules}, "
        "file=sys.stderr)"
    )
    environment = {**os.environ, "BLOCKFORGE_DISABLE_PLUGINS": "all"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert json.loads(done.stdout)["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert done.stderr.strip() == ""
