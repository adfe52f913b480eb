"""Random networks of all registered blocks, wired at random: what the generated modules are tested on."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal, get_args, get_origin

from blockforge.assembler import assemble
from blockforge.block import Block
from blockforge.documents import Flat, entries
from blockforge.errors import BlockforgeError
from blockforge.field_types import ScaledWidth, any_values
from blockforge.files import dump_yaml, parse_yaml
from blockforge.graph import Graph
from blockforge.network import Network, from_entry, make
from blockforge.ops import Shape
from blockforge.registry import Registry

WIDTHS = (4, 8, 8, 8, 12, 16)
SCOPES = (
    "body.{n}",
    "body.{n}",
    "body",
    "features.{n}",
    "a.b.{n+1}",
    "class.{n}",
    "part-1.x{n}",
    "",
    "lambda",
)
SETTINGS = (
    {"norm": {"eps": 0.001, "momentum": 0.3}},
    {"drop_path": 0.4},
    {"init": {"conv": "kaiming_normal_fan_out", "linear": "normal_0.01", "linear_bias": "zeros"}},
)
Plain = dict[str, Any]


@lru_cache(maxsize=1)
def registry() -> Registry:
    """All blocks and the odd ones; the registry that everybody else uses stays as it is."""
    return Registry([Path(__file__).with_name("odd_blocks.py")])


def from_text(text: str) -> Network:
    """The network that a YAML text describes; the odd blocks are known."""
    (entry,) = entries(parse_yaml(text, "random")).values()
    return from_entry(entry, registry())


def from_document(document: Plain) -> Network:
    """The same of plain data: a hundred times as fast as by way of a file."""
    return make(Flat(document, {(): "random"}), document, registry(), "random")


@lru_cache(maxsize=256)
def random_network(seed: int) -> Network:
    """The network of this seed: two to seven stages, each of which fits those before it."""
    blocks = sorted(registry().blocks)
    return _Grower(Random(seed)).network(blocks[seed % len(blocks)])


class _Grower:
    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.document: Plain = {
            "input": rng.choice([[3, 12, 12], [4, 8, 8], [2, 9, 7], [2, 20, 18]]),
            "classes": 5,
            "stages": {},
        }
        if rng.random() < 0.5:
            self.document |= rng.choice(SETTINGS)
        self.shapes: dict[str, Shape] = {"input": tuple(self.document["input"])}
        self.favourites: list[Plain] = []

    def network(self, wanted: str) -> Network:
        """A network that has this block if any of a few tries fits."""
        target = self.rng.randint(2, 7)
        self._first()
        for _ in range(20):
            if any(raw["block"] == wanted for raw in self.document["stages"].values()):
                break
            self._add(self._parameters(wanted) | self._sources(wanted))
        for _ in range(60):
            if len(self.document["stages"]) >= target:
                break
            self._try()
        if self.rng.random() < 0.5:
            self._add({"block": "classifier", "width": "classes", "scope": ""})
        if self.rng.random() < 0.4:
            self._shuffle()
        return from_text(dump_yaml({"random": self.document}))

    def _try(self) -> None:
        shapes = self.shapes
        names = list(shapes)
        last = names[-1]
        alike = [name for name in names[:-1] if shapes[name] == shapes[last]]
        flat = [name for name in names[:-1] if shapes[name][1:] == shapes[last][1:]]
        choice = self.rng.random()
        if choice < 0.15 and alike:
            self._add({"block": "add", "from": self._mixed(last, alike)})
        elif choice < 0.18 and alike:
            self._add({"block": "multiply", "from": self._mixed(last, alike)[:2]})
        elif choice < 0.25 and flat:
            self._add({"block": "concat", "from": self._mixed(last, flat)})
        elif choice < 0.35 and len(names) > 1:
            self._add(self._parameters("join") | {"from": [last, self.rng.choice(names)]})
        elif choice < 0.45:
            self._branches(last)
        elif choice < 0.6 and self.favourites:
            self._add(self._varied(self.rng.choice(self.favourites)))
        else:
            self._add(self._stage())

    def _sources(self, block: str) -> Plain:
        """What feeds a block of several inputs: what feeds the next stage anyway, twice."""
        last = list(self.shapes)[-1]
        return {} if registry().block(block).arity == 1 else {"from": [last, last]}

    def _first(self) -> None:
        """A stage of random ops, so that 150 networks have all kinds of them, whatever blocks there are."""
        while not self.document["stages"]:
            self._add(self._parameters("soup"))

    def _mixed(self, last: str, others: list[str]) -> list[str]:
        names = [last, *self.rng.sample(others, min(len(others), self.rng.choice([1, 1, 2])))]
        self.rng.shuffle(names)
        return names

    def _branches(self, last: str) -> None:
        """Two stages that read the same one, and their sum or concatenation."""
        first, second = self._name(), self._name() + "b"
        raw = self._stage()
        other = self._varied(raw)
        self._try_stages(
            {
                first: raw | {"from": last},
                second: other | {"from": last},
                self._name() + "c": {
                    "block": self.rng.choice(["add", "concat", "join"]),
                    "from": [first, second],
                },
            }
        )

    def _stage(self) -> Plain:
        single = [name for name, cls in registry().blocks.items() if cls.arity == 1]
        raw = self._parameters(self.rng.choice([*single, *["soup"] * 4, "maybe", "nest"]))
        self.favourites.append(raw)
        return raw

    def _varied(self, raw: Plain) -> Plain:
        """The same block with some other numbers, so that classes are shared."""
        fresh = self._parameters(raw["block"])
        keep = {"block", "recipe", "first", "second", "inner"}
        return {
            key: fresh[key] if key in fresh and key not in keep and self.rng.random() < 0.5 else value
            for key, value in raw.items()
        }

    def _parameters(self, block: str, depth: int = 0) -> Plain:
        rng = self.rng
        cls = registry().block(block)
        raw: Plain = {"block": block}
        for name, field in cls.model_fields.items():
            value = self._value(cls, name, field, depth)
            if value is not None:
                raw[name] = value
        if depth == 0:
            if rng.random() < 0.3:
                raw["depth"] = rng.randint(1, 3)
            if rng.random() < 0.5:
                raw["scope"] = rng.choice(SCOPES)
        return raw

    def _value(self, cls: type[Block], name: str, field: Any, depth: int) -> Any:
        rng = self.rng
        if any(isinstance(item, ScaledWidth) for item in field.metadata):
            return rng.choice(WIDTHS)
        if name == "recipe":
            return rng.randrange(10**6)
        if _holds(field.annotation, Block):
            nested = [n for n, c in registry().blocks.items() if c.arity == 1]
            chosen = rng.choice([None, None, "squeeze_excitation", rng.choice(nested)])
            return self._parameters(chosen, depth + 1) if chosen and depth < 2 else None
        if rng.random() < 0.5:
            return None
        known = any_values(cls, name)
        if name in ("stride", "groups"):
            return rng.choice([1, 2])
        if name in ("kernel", "branch3_kernel"):
            return rng.choice([1, 3, 5])
        literals = [
            value for kind in _flattened(field.annotation) if get_origin(kind) is Literal for value in get_args(kind)
        ]
        if known or literals:
            value = rng.choice(list(known or literals))
            return list(value) if isinstance(value, tuple) else value
        kinds = set(_flattened(field.annotation))
        if bool in kinds:
            return rng.random() < 0.5
        if int in kinds:
            return rng.choice([1, 2, 3, 4])
        if float in kinds:
            return rng.choice([0.25, 0.5])
        return None

    def _name(self) -> str:
        return f"s{len(self.document['stages'])}"

    def _add(self, raw: Plain) -> None:
        self._try_stages({self._name(): raw})

    def _try_stages(self, stages: Plain) -> None:
        """Add stages if the network is still one."""
        longer = self.document | {"stages": self.document["stages"] | stages}
        try:
            graph = assemble(from_document(longer))
        except BlockforgeError:
            return
        if max(_size(node.shapes[0]) for node in graph) < 20_000 and len(graph.nodes) < 400:
            self.document = longer
            self.shapes = {"input": tuple(self.document["input"])} | stage_shapes(graph)

    def _shuffle(self) -> None:
        """The same wiring in another file order; the last stage stays the output."""
        before = "input"
        wired: Plain = {}
        for name, raw in self.document["stages"].items():
            wired[name] = {"from": before} | raw
            before = name
        *others, last = wired
        self.rng.shuffle(others)
        shuffled = self.document | {"stages": {name: wired[name] for name in [*others, last]}}
        try:
            assemble(from_document(shuffled))
        except BlockforgeError:
            return
        self.document = shuffled


def stage_shapes(graph: Graph) -> dict[str, Shape]:
    """Each stage's output shape."""
    outermost = [e for e in graph.expansions if e.parent is None and e.stage and e.output]
    return {e.stage: e.output.shape for e in outermost}


def _size(shape: Shape) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


def _flattened(annotation: Any) -> list[Any]:
    """An annotation's alternatives, without what annotates them."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _flattened(get_args(annotation)[0])
    if origin is None or origin in (Literal, tuple):
        return [annotation]
    return [kind for argument in get_args(annotation) for kind in _flattened(argument)]


def _holds(annotation: Any, kind: type) -> bool:
    return any(isinstance(one, type) and issubclass(one, kind) for one in _flattened(annotation))
