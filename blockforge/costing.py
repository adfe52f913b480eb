"""What a network costs, exactly and without torch: parameters, MACs, activations, peak memory.

MACs are multiply-accumulates of convolutions and linear layers at batch 1: what
`torch.utils.flop_counter.FlopCounterMode` counts, divided by two.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

from blockforge import wiring
from blockforge.assembler import assemble, check_size
from blockforge.block import Block
from blockforge.errors import BlockforgeError
from blockforge.graph import Graph, Node, Value
from blockforge.network import Network, as_network
from blockforge.ops import Shape
from blockforge.scope import expand
from blockforge.stages import Stage

FLOAT32 = 4  # bytes

_Counts = tuple[Shape, int, int, int]  # output shape, params, macs, activations
_memo: dict[tuple[Any, ...], _Counts] = {}  # by (block, input shapes)
_stages: dict[tuple[Any, ...], _Counts] = {}  # by (block, depth, input shapes)
MEMO_LIMIT = 200_000


@dataclass(frozen=True)
class Cost:
    """Parameters, MACs and activations (elements of all op outputs), at batch 1.

    MACs, activations and peak memory are eval mode's; `training` counts in what runs in training only.
    """

    params: int
    macs: int
    activations: int
    _more: tuple[int, int] = field(default=(0, 0), repr=False)  # MACs and activations of training only
    _network: Network | None = field(default=None, repr=False, compare=False)
    _graph: Graph | None = field(default=None, repr=False, compare=False)

    @property
    def training(self) -> Cost:
        """The same with the MACs and activations of auxiliary heads, which run in training only."""
        macs, activations = self._more
        return Cost(self.params, self.macs + macs, self.activations + activations, (0, 0), self._network, self._graph)

    @cached_property
    def peak_memory(self) -> int:
        """Bytes of the tensors alive at once in eval mode, at most: float32, batch 1, weights not counted."""
        from blockforge.codegen.lifetime import peak_elements

        graph = self._graph or (assemble(self._network) if self._network else None)
        return FLOAT32 * peak_elements(graph) if graph else 0


def cost(network: Network | Graph | str | os.PathLike[str]) -> Cost:
    """The cost of a network (or of a name, a path or a graph); raises `BlockforgeError` where shapes don't fit."""
    if isinstance(network, Graph):
        training = network.training_nodes()
        extra = _counted([network.nodes[index] for index in training])
        params, macs, activations = _counted(network)
        return Cost(params, macs - extra[1], activations - extra[2], extra[1:], _graph=network)
    network = as_network(network)
    check_size(network)
    shapes: dict[str, Shape] = {wiring.INPUT: network.input}
    params = macs = activations = 0
    more = (0, 0)
    if network.settings.input_transform:
        activations = prod(network.input)
    scratch = _Scratch()
    try:
        for name in network.order:
            stage = network.stages[name]
            inputs = tuple([shapes[source] for source in stage.sources])
            if stage.depth == 1:
                counts = block_counts(stage.block, inputs, scratch)
            else:
                key = (stage.block.key, stage.depth, stage.shares_scope, inputs)
                found = _stages.get(key)
                counts = found or _remember(_stages, key, _stage_counts(stage, inputs, scratch))
            shapes[name] = counts[0]
            params += counts[1]
            if name in network.training_stages:
                more = (more[0] + counts[2], more[1] + counts[3])
                continue
            macs += counts[2]
            activations += counts[3]
    except BlockforgeError:
        assemble(network)  # raises the same with the op's full path and the smallest input that works
        raise
    scratch.clear()
    return Cost(params, macs, activations, more, network)


def _stage_counts(stage: Stage, inputs: tuple[Shape, ...], scratch: _Scratch) -> _Counts:
    """The counts of a stage: its first block's, and its repeats' with a factor once they keep their shape."""
    block, depth = stage.block, stage.depth
    if stage.shares_scope:
        scratch.check_names(block, inputs)
    params = macs = activations = done = 0
    while done < depth:
        shape, *counts = block_counts(block, inputs, scratch)
        settled = (shape,) == inputs and (done > 0 or stage.block.after_first is stage.block)
        times = depth - done if settled else 1
        params += times * counts[0]
        macs += times * counts[1]
        activations += times * counts[2]
        done += times
        inputs = (shape,)
        block = stage.block.after_first
    return inputs[0], params, macs, activations


def block_counts(block: Block, inputs: tuple[Shape, ...], scratch: _Scratch | None = None) -> _Counts:
    """Output shape, parameters, MACs and activations of one block, computed once for each block and input."""
    key = (block.key, inputs)
    counts = _memo.get(key)
    if counts is None:
        counts = _remember(_memo, key, (scratch or _Scratch()).counts(block, inputs))
    return counts


MANY_NODES = 1000


class _Scratch:
    """A graph in which blocks are expanded one after the other to be counted, which spares a graph for each."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.values: dict[Shape, Value] = {}  # a block sees of its input but the shape: any value of it will do

    def clear(self) -> None:
        """Let go of what was expanded, cycle by cycle, so that its memory is free at once and not when gc comes."""
        for expansion in self.graph.expansions:
            expansion.output = None
        self.graph.nodes.clear()
        self.graph.expansions.clear()
        self.values.clear()

    def check_names(self, block: Block, inputs: tuple[Shape, ...]) -> None:
        """Refuse a block whose repeats would share their names; raises `NameTaken`."""
        graph = Graph()
        xs = tuple([graph.input(shape, f"input{i}") for i, shape in enumerate(inputs)])
        expand(graph, "twice", block.after_first, (expand(graph, "twice", block, xs),))

    def counts(self, block: Block, inputs: tuple[Shape, ...]) -> _Counts:
        """The counts of one block."""
        graph = self.graph
        start = len(graph.nodes)
        if start > MANY_NODES:  # so that the cap on ops is that of a block, as it is in a new graph
            graph, start = Graph(), 0
            self.graph, self.values = graph, {}
        path = str(len(graph.expansions))
        value = self.values.get(inputs[0]) if len(inputs) == 1 else None
        if value is None:
            xs = tuple([graph.input(shape, f"input{path}_{i}") for i, shape in enumerate(inputs)])
            start = len(graph.nodes)
        else:
            xs = (value,)
        output = expand(graph, path, block, xs)
        shape = output.shape
        self.values[shape] = output
        return (shape, *_counted(graph.nodes[start:]))


def _counted(nodes: Iterable[Node]) -> tuple[int, int, int]:
    """Parameters, MACs and activations, in one pass; inputs and identities (dropout) make no activations."""
    params = macs = activations = 0
    for node in nodes:
        op = node.op
        params += node.params
        macs += op.macs(*node.input_shapes)
        if node.inputs and not op.identity:
            shapes = node.shapes
            activations += prod(shapes[0]) if len(shapes) == 1 else sum(map(prod, shapes))
    return params, macs, activations


def clear_memo() -> None:
    """Forget all counts."""
    _memo.clear()
    _stages.clear()


def _remember(memo: dict[tuple[Any, ...], _Counts], key: tuple[Any, ...], counts: _Counts) -> _Counts:
    if len(memo) >= MEMO_LIMIT:
        memo.clear()
    memo[key] = counts
    return counts


def activations_of(nodes: Iterable[Node]) -> int:
    """Elements of the outputs of a graph's ops, or of some; inputs and identities (dropout) make none."""
    return _counted(nodes)[2]
