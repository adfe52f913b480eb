"""What a whole network comes to: its totals, and the megabytes of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from blockforge.costing import FLOAT32, Cost, cost
from blockforge.display import Row
from blockforge.graph import Graph
from blockforge.table import Column, markdown_table, pairs

MEGABYTE = 10**6
MACS_NOTE = "convolutions and linear layers: torch's FlopCounterMode / 2"


def totals_record(total: Cost) -> dict[str, int]:
    """The totals as JSON has them; `peak_memory` in bytes."""
    return {
        "params": total.params,
        "macs": total.macs,
        "activations": total.activations,
        "peak_memory": total.peak_memory,
        "training_macs": total.training.macs,
    }


def totals_lines(graph: Graph, rows: Sequence[Row] = (), stage: str | None = None) -> list[list[str]]:
    """Name, number and what is counted, for each total; first those of the rows, if a stage was asked for."""
    total = cost(graph)
    heads = total.training
    lines = []
    if stage is not None:
        lines = [
            [f"parameters of {stage}", f"{sum(row.params for row in rows):,}", "of these rows alone"],
            [f"MACs of {stage}", f"{sum(row.macs for row in rows):,}", ""],
        ]
    return [
        *lines,
        ["trainable parameters", f"{total.params:,}", ""],
        ["MACs", f"{total.macs:,}", MACS_NOTE],
        *([["MACs in training", f"{heads.macs:,}", "with the auxiliary heads"]] if heads != total else []),
        ["activations", f"{total.activations:,}", "elements of all layers' outputs"],
        ["peak memory", megabytes(total.peak_memory), "tensors alive at once in eval mode, float32, batch 1"],
    ]


def memory(graph: Graph, batch: int) -> dict[str, int]:
    """Bytes in float32 of a batch: its input, the forward and backward pass, the parameters, and their sum.

    Forward and backward are each layer's output and its gradient, as tools such as torchinfo count them; auxiliary
    heads, which run in training, are among them.
    """
    total = cost(graph).training
    parts = {
        "input": batch * FLOAT32 * sum(prod(shape) for node in graph.inputs for shape in node.shapes),
        "forward_backward": 2 * batch * FLOAT32 * total.activations,
        "params": FLOAT32 * total.params,
    }
    return {"batch": batch, **parts, "total": sum(parts.values())}


def memory_lines(graph: Graph, batch: int) -> list[list[str]]:
    """Name, megabytes and what is counted, for a batch."""
    parts, total = memory(graph, batch), cost(graph)
    heads = " with the auxiliary heads'" if total.training != total else ""
    passes = f"2 x {total.training.activations:,} activations{heads} x {batch:,} x 4 bytes"
    return [
        ["input", megabytes(parts["input"]), f"batch {batch:,}, float32; 1 MB = 1,000,000 bytes"],
        ["forward/backward", megabytes(parts["forward_backward"]), passes],
        ["parameters", megabytes(parts["params"]), "without gradients and the optimiser's state"],
        ["sum", megabytes(parts["total"]), ""],
    ]


def megabytes(count: int) -> str:
    """Bytes as `25.05 MB`, of 10**6 bytes; less than one with three digits, `0.0386 MB`."""
    number = count / MEGABYTE
    return f"{number:,.2f} MB" if number >= 1 else f"{number:.3g} MB"


def lines_table(lines: Sequence[Sequence[str]], style: str, width: int | None = None) -> str:
    """Totals as text or, with `style` `markdown`, as a table."""
    if style == "markdown":
        columns = [Column("total"), Column("number", right=True), Column("what is counted")]
        return markdown_table(columns, lines)
    return pairs(lines, width)
