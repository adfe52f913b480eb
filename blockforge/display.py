"""What a network or a block is made of, as the table that textbooks print, and as plain data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from blockforge.costing import activations_of
from blockforge.errors import unknown
from blockforge.graph import Expansion, Graph, Node
from blockforge.ops import Pair, Shape, pair
from blockforge.ops.base import show_size
from blockforge.table import Column, csv_table

Render = Callable[[Sequence[Column], Sequence[Sequence[str]]], str]


@dataclass(frozen=True)
class Row:
    """A layer, a block or a stage: shapes are `(C, H, W)` or `(C,)`, counts are for batch 1.

    `depth` is how often a stage's block repeats; `kernel`, `stride` and `formula` are a layer's. `training` says that
    it runs in training only, as auxiliary heads do.
    """

    name: str
    stage: str | None
    type: str
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    params: int
    macs: int
    activations: int
    kernel: Pair | None = None
    stride: Pair | None = None
    formula: str = ""
    depth: int | None = None
    training: bool = False

    def record(self) -> dict[str, Any]:
        """The row as JSON has it: every key in every row, numbers and shapes as they are."""
        return {
            "name": self.name,
            "stage": self.stage,
            "type": self.type,
            "depth": self.depth,
            "inputs": [list(shape) for shape in self.inputs],
            "outputs": [list(shape) for shape in self.outputs],
            "kernel": list(self.kernel) if self.kernel else None,
            "stride": list(self.stride) if self.stride else None,
            "params": self.params,
            "formula": self.formula,
            "macs": self.macs,
            "activations": self.activations,
            "training": self.training,
        }


def layer_rows(graph: Graph) -> list[Row]:
    """A row for each op, inputs and flattens included."""
    stages, training = _stages(graph), graph.training_nodes()
    rows = []
    for node in graph:
        shapes = node.input_shapes
        kernel = getattr(node.op, "kernel", None)
        stride = getattr(node.op, "stride", None) or kernel  # a pool's stride is its kernel unless it is given
        rows.append(
            Row(
                node.name,
                stages[node.index],
                node.op.kind,
                shapes,
                node.shapes,
                node.params,
                node.macs,
                activations_of([node]),
                pair(kernel) if kernel is not None else None,
                pair(stride) if stride is not None else None,
                node.op.params_formula(*shapes) if node.params else "",
                training=node.index in training,
            )
        )
    return rows


def block_rows(graph: Graph) -> list[Row]:
    """A row for each use of a block: `layer1.0` and so on for a stage that repeats its block."""
    uses = _uses(graph)
    rows = [_input_row(node) for node in graph.inputs]
    for stage, expansions in uses.items():
        for repeat, expansion in enumerate(expansions):
            name = f"{stage}.{repeat}" if len(expansions) > 1 else stage
            rows.append(_summed(graph, name, stage, [expansion]))
    return rows


def stage_rows(graph: Graph) -> list[Row]:
    """A row for each stage, in the order in which they run."""
    rows = [_input_row(node) for node in graph.inputs]
    rows += [_summed(graph, stage, stage, expansions) for stage, expansions in _uses(graph).items()]
    return rows


ROWS: dict[str, Callable[[Graph], list[Row]]] = {"layer": layer_rows, "block": block_rows, "stage": stage_rows}


def rows_of(graph: Graph, by: str, stage: str | None = None) -> list[Row]:
    """The rows by `layer`, `block` or `stage`; `stage` (a name, or a glob) keeps those of some stages alone.

    Raises `UnknownName` where no stage matches.
    """
    rows = ROWS[by](graph)
    if stage is None:
        return rows
    kept = [row for row in rows if row.stage is not None and fnmatchcase(row.stage, stage)]
    if not kept:
        known = list(_uses(graph))
        raise unknown("stage", stage, known, f"there are {', '.join(known)}")
    return kept


def _uses(graph: Graph) -> dict[str, list[Expansion]]:
    uses: dict[str, list[Expansion]] = {}
    for expansion in graph.expansions:
        if expansion.parent is None:
            uses.setdefault(expansion.stage or expansion.block.name, []).append(expansion)
    return uses


def _stages(graph: Graph) -> list[str | None]:
    """For each node the stage that it belongs to; an input belongs to none."""
    stages: list[str | None] = [None] * len(graph.nodes)
    for stage, expansions in _uses(graph).items():
        for expansion in expansions:
            stages[expansion.start : expansion.stop] = [stage] * (expansion.stop - expansion.start)
    return stages


def _input_row(node: Node) -> Row:
    return Row(node.name, None, node.op.kind, (), node.shapes, 0, 0, 0)


def _summed(graph: Graph, name: str, stage: str, expansions: list[Expansion]) -> Row:
    first, last = expansions[0], expansions[-1]
    nodes = [node for each in expansions for node in graph.nodes[each.start : each.stop]]
    return Row(
        name,
        stage,
        first.block.name,
        tuple(value.shape for value in first.inputs),
        (last.output.shape,) if last.output else (),
        sum(node.params for node in nodes),
        sum(node.macs for node in nodes),
        activations_of(nodes),
        depth=len(expansions),
        training=first.start in graph.training_nodes(),
    )


# -- as text


def columns_of(by: str) -> list[Column]:
    """The columns of a table by `layer`, `block` or `stage`."""
    shapes = [Column("input (HxWxC)", fold=True), Column("output (HxWxC)", fold=True)]
    counts = [Column("parameters", right=True, fold=True), Column("MACs", right=True)]
    middle = {
        "layer": [*shapes, Column("kernel"), Column("stride")],
        "block": shapes,
        "stage": [Column("depth", right=True), *shapes],
    }[by]
    return [Column(by, fold=True, breaks=True), Column("type", fold=True), *middle, *counts]


def cells_of(row: Row, by: str, *, formula: bool = False) -> list[str]:
    """The cells of a row; with `formula`, parameters as `(5*5*1+1)*6 = 156`."""
    shapes = [show_shapes(row.inputs), show_shapes(row.outputs)]
    params = f"{row.params:,}"
    if formula and row.formula and row.formula != str(row.params):
        params = f"{row.formula} = {params}"
    middle = {
        "layer": [*shapes, _size(row.kernel), _step(row.stride)],
        "block": shapes,
        "stage": ["" if row.depth is None else str(row.depth), *shapes],
    }[by]
    kind = f"{row.type} (in training)" if row.training else row.type
    return [row.name, kind, *middle, params, f"{row.macs:,}"]


def show_shapes(shapes: tuple[Shape, ...]) -> str:
    """`(64, 56, 28)` as `56x28x64`: height, width, channels; equal ones as `2 x 56x28x64`."""
    texts = ["x".join(map(str, (*shape[1:], shape[0]))) for shape in shapes]
    if len(texts) > 1 and len(set(texts)) == 1:
        return f"{len(texts)} x {texts[0]}"
    return ", ".join(texts)


def _size(size: Pair | None) -> str:
    return "x".join(map(str, size)) if size else ""


def _step(step: Pair | None) -> str:
    return show_size(step[0] if step[0] == step[1] else step) if step else ""


def rows_table(rows: Sequence[Row], by: str, render: Render, *, formula: bool = False) -> str:
    """The table as `render` sets it: `text_table` or `markdown_table`."""
    return render(columns_of(by), [cells_of(row, by, formula=formula) for row in rows])


def rows_csv(rows: Sequence[Row], by: str, *, formula: bool = False) -> str:
    """The table as CSV: numbers without commas, and the formula in a column of its own."""
    titles = [by, *(column.title.partition(" ")[0].lower() for column in columns_of(by)[1:])]
    lines = [[*cells_of(row, by)[:-2], row.params, row.macs, *([row.formula] if formula else [])] for row in rows]
    return csv_table([*titles, *(["formula"] if formula else [])], lines)
