"""What `blockforge show` prints of a network or a block: head, table and totals, or the same as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from textwrap import fill
from typing import Any

from pydantic import ValidationError

from blockforge.assembler import assemble, graph_of
from blockforge.block import Block, blocks_within
from blockforge.catalogue import family_of
from blockforge.costing import cost
from blockforge.display import Row, rows_csv, rows_of, rows_table
from blockforge.documents import find, flatten
from blockforge.errors import BlockforgeError, InvalidNetwork
from blockforge.explain import block_name, explain
from blockforge.fields import field_records, field_texts
from blockforge.graph import Graph
from blockforge.network import Network
from blockforge.ops import Linear, Shape, show_shape
from blockforge.paths import tupled
from blockforge.picture import picture
from blockforge.registry import Registry
from blockforge.stages import make_stage
from blockforge.table import Column, markdown_table, text_table
from blockforge.totals import lines_table, memory, memory_lines, totals_lines, totals_record

# What a block is shown at unless an input is given: ResNet's maps after its stem, wide enough for any kernel.
SHAPE: Shape = (64, 56, 56)

MANY = 4  # networks of a family; of more, `FEW` are named
FEW = 3


@dataclass(frozen=True)
class View:
    """What to show: rows `by` layer, block or stage, of one `stage` alone, with the memory of a `batch`.

    `style` is text, markdown, csv or json; `formula` says how the parameters of a layer come about.
    """

    by: str = "layer"
    style: str = "text"
    formula: bool = False
    stage: str | None = None
    batch: int | None = None


@dataclass(frozen=True)
class Sheet:
    """A head (name, about, paper), the rows of a graph and its totals.

    Of a `block` also its fields, its picture, and in words the networks that have it (`uses`).
    """

    head: Mapping[str, Any]
    graph: Graph
    rows: Sequence[Row]
    view: View
    block: type[Block] | None = None
    notes: tuple[str, ...] = field(default=())
    uses: str = ""

    def record(self) -> dict[str, Any]:
        """The sheet as JSON has it: numbers and shapes as they are, every key always."""
        selected = None
        if self.view.stage is not None:
            selected = {
                "stage": self.view.stage,
                "params": sum(row.params for row in self.rows),
                "macs": sum(row.macs for row in self.rows),
                "activations": sum(row.activations for row in self.rows),
            }
        return {
            **self.head,
            "by": self.view.by,
            "rows": [row.record() for row in self.rows],
            "selected": selected,
            "totals": totals_record(cost(self.graph)),
            "memory": memory(self.graph, self.view.batch) if self.view.batch else None,
            "notes": list(self.notes),
        }

    def text(self, width: int | None = None) -> str:
        """The sheet as text, Markdown or CSV (of which only the rows); a terminal's `width` folds text."""
        if self.view.style == "csv":
            return rows_csv(self.rows, self.view.by, formula=self.view.formula)
        markdown = self.view.style == "markdown"
        render = markdown_table if markdown else partial(text_table, width=width)
        parts = ["\n\n".join(self._title(markdown)) if markdown else "\n".join(self._title(markdown, width))]
        if self.block is not None:
            titles = ("field", "type", "default", "searched", "meaning")
            columns = [Column(title, fold=True, breaks=True) for title in titles]
            fields = [each.cells() for each in field_texts(self.block)]
            parts += [render(columns, fields)] if fields else []
            shapes = " and ".join(show_shape(node.shapes[0]) for node in self.graph.inputs)
            parts.append(f"At input {shapes} (channels, height, width):")
            drawn = picture(self.graph, None if markdown else width)
            parts.append(f"```text\n{drawn}\n```" if markdown else drawn)
        parts.append(rows_table(self.rows, self.view.by, render, formula=self.view.formula))
        parts.append(lines_table(totals_lines(self.graph, self.rows, self.view.stage), self.view.style, width))
        if self.view.batch:
            parts.append(lines_table(memory_lines(self.graph, self.view.batch), self.view.style, width))
        return "\n\n".join(parts)

    def _title(self, markdown: bool, width: int | None = None) -> list[str]:
        name, about, paper = (self.head[key] for key in ("name", "about", "paper"))
        more = [*([f"paper: {paper}"] if paper else []), *([self.uses] if self.uses else [])]
        if markdown:
            return [f"## {name}", *([about] if about else []), *(line[:1].upper() + line[1:] for line in more)]
        lines = [f"{name}: {about}" if about else name, *more]
        return [fill(line, width, subsequent_indent="  ", break_on_hyphens=False) if width else line for line in lines]


def network_sheet(network: Network, own_input: Shape, view: View) -> Sheet:
    """The sheet of a network; `own_input` is the input that its file gives. Raises `BlockforgeError`."""
    graph = assemble(network)
    head = {
        "name": network.name,
        "about": network.settings.about,
        "paper": network.paper,
        "input": list(network.input),
        "classes": network.classes,
        "outputs": [output.model_dump() for output in network.outputs],
        "input_transform": network.settings.input_transform,
        "preprocess": network.preprocess.model_dump() if network.preprocess else None,
        "hash": graph.hash() if view.style == "json" else "",
    }
    notes = (*network.notes, *_derived(network, graph, own_input))
    return Sheet(head, graph, rows_of(graph, view.by, view.stage), view, notes=notes)


def _derived(network: Network, graph: Graph, own_input: Shape) -> list[str]:
    """A note on each linear layer to which a changed input gives other features than the network's own."""
    if network.input == own_input:
        return []
    try:
        own = assemble(network.set({"input": list(own_input)}))
    except BlockforgeError:
        return []  # edited so that only the new input works
    before = {node.name: node.input_shapes for node in own if isinstance(node.op, Linear)}
    new, old = show_shape(network.input), show_shape(own_input)
    return [
        f"{node.name}: has {node.input_shapes[0][0]:,} input features at input {new} instead of "
        f"{before[node.name][0][0]:,} at {old}; weights for the one don't fit the other"
        for node in graph
        if isinstance(node.op, Linear) and before.get(node.name, node.input_shapes) != node.input_shapes
    ]


def block_sheet(
    cls: type[Block], registry: Registry, edits: Mapping[str, Any], shapes: Sequence[Sequence[int]], view: View
) -> Sheet:
    """The sheet of a block with these fields, at these inputs or `SHAPE`; raises `BlockforgeError`."""
    block = _make(cls, registry, edits)
    inputs = [tuple(shape) for shape in shapes] or [SHAPE] * (2 if cls.arity is None else cls.arity)
    graph = graph_of(block, *inputs)
    plugin = registry.origin("blocks", cls.name)
    head = {
        "name": cls.name,
        "about": cls.about,
        "paper": cls.paper,
        "plugin": plugin.name,
        "inputs": [list(shape) for shape in inputs],
        "spec": block.spec(),
        "fields": field_records(cls),
        "networks": [],
    }
    sheet = Sheet(head, graph, rows_of(graph, view.by, view.stage), view, cls)
    if view.style == "csv":
        return sheet
    using, unsound = networks_with(cls, registry)
    notes = tuple(
        f"{name}: can't be read, so whether it uses {cls.name} is unknown; `blockforge show {name}` says why"
        for name in unsound
    )
    return replace(sheet, head={**head, "networks": using}, notes=notes, uses=_uses(using, registry))


def networks_with(cls: type[Block], registry: Registry) -> tuple[list[str], list[str]]:
    """The names of the networks that have the block, as a stage or within one, and of those that can't be read."""
    using, unsound = [], []
    for name in sorted(registry.networks):
        blocks = _stage_blocks(name, registry)
        if not blocks:
            unsound.append(name)
        elif any(type(block) is cls for outer in blocks for block in blocks_within(outer)):
            using.append(name)
    return using, unsound


def _stage_blocks(name: str, registry: Registry) -> list[Block]:
    """The blocks of a network's stages, whatever their wiring; none where it has mistakes."""
    try:
        flat = flatten(find(name, registry), registry)
    except BlockforgeError:
        return []
    raw = flat.value.get("stages")
    stages = raw.items() if isinstance(raw, dict) else ()
    made = [make_stage(key, value, (), 1, registry, flat) for key, value in stages]  # whatever the number of classes
    return [] if flat.mistakes else [stage.block for stage in made if stage]


def _uses(names: Sequence[str], registry: Registry) -> str:
    """The networks in words, by family: all of it, or the first few."""
    if not names:
        return "used by no registered network"
    families: dict[str, list[str]] = {}
    for name, file in registry.networks.items():
        families.setdefault(family_of(file), []).append(name)
    parts = []
    for family, members in sorted(families.items()):
        found = [name for name in members if name in names]
        if len(found) == len(members) > 2:
            parts.append(f"all {len(found)} of {family}")
        elif len(found) > MANY:
            parts.append(f"{', '.join(found[:FEW])} and {len(found) - FEW} more of {family}")
        elif found:
            parts.append(", ".join(found))
    return f"used by {len(names)} of {len(registry.networks)} networks: {'; '.join(parts)}"


def _make(cls: type[Block], registry: Registry, edits: Mapping[str, Any]) -> Block:
    values = {key: tupled(value) for key, value in edits.items()}
    try:
        return cls.model_validate(values, context={"resolve": registry.block})
    except ValidationError as error:
        missing = {item["loc"] for item in error.errors(include_url=False) if item["type"] == "missing"}
        mistakes = []
        for loc, message in explain(error, cls, block_name(cls)):
            path = ".".join(map(str, loc))
            more = f", as --set {path}=VALUE" if loc in missing else ""
            mistakes.append(f"{cls.name}: {path}: {message}{more}")
        raise InvalidNetwork(mistakes) from None
