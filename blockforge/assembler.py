"""From a network to its graph: stages in topological order, their blocks expanded with real shapes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from blockforge import wiring
from blockforge.block import Block
from blockforge.errors import BlockforgeError, InputTooSmall, NameTaken, OpError
from blockforge.graph import MAX_OPS, Graph, Value
from blockforge.network import Network, as_network
from blockforge.ops import ChannelAffine, DropPath, Shape, show_shape
from blockforge.scope import expand
from blockforge.stages import Stage

if TYPE_CHECKING:
    import networkx as nx

# From ImageNet's statistics to a mean and a deviation of 0.5: what torchvision's pretrained GoogLeNet and Inception v3
# begin with, since their weights were trained so (TensorFlow's).
MEANS, DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
INPUT_TRANSFORM = ChannelAffine(
    tuple(deviation / 0.5 for deviation in DEVIATIONS), tuple(round((mean - 0.5) / 0.5, 6) for mean in MEANS)
)

LARGEST_INPUT = 2048
NONE_WORKS = f"no square input up to {LARGEST_INPUT}x{LARGEST_INPUT} was found that works"
NEAR = 4  # sizes in a row, one of which works where the input is large enough
MANY = 500  # blocks; fewer are quicker assembled than counted


def assemble(
    network: Network | str | os.PathLike[str],
    *,
    input: Shape | None = None,  # noqa: A002 (the name that networks' files have)
    strict_input: bool = False,
) -> Graph:
    """The graph of a network (or of a name or path); raises `BlockforgeError` where shapes don't fit.

    `input` is `(C, H, W)`, the network's own unless given. A linear layer behind a flatten is derived anew from it;
    with `strict_input` that is refused, so that weights for the one fit the other.
    """
    network = as_network(network)
    if input is not None and tuple(input) != network.input:
        graph = assemble(network.set({"input": list(input)}))
        if strict_input:
            check_weights(graph, assemble(network), network)
        return graph
    check_size(network)
    try:
        return _assemble(network, network.input)
    except InputTooSmall as error:
        smallest = smallest_input(network)
        at = f"at input {show_shape(network.input)}{_training_only(network)}"
        works = f"the smallest input that works is {smallest}x{smallest}" if smallest else NONE_WORKS
        raise InputTooSmall(f"{network.name}: {error}, {at}; {works}") from None
    except BlockforgeError as error:
        raise type(error)(f"{network.name}: {error}").with_traceback(error.__traceback__) from None  # the author's line


def _training_only(network: Network) -> str:
    """How to leave out what runs in training only, if the network's input is large enough without that; else empty."""
    names = [f"outputs.{output.name}" for output in network.outputs if output.when == "training"]
    if not names:
        return ""
    try:
        slim = network.set(dict.fromkeys(names))
        _assemble(slim, slim.input)
    except BlockforgeError:  # the rest of the network needs another input, too
        return ""
    heads = [name for name in network.stages if name not in slim.stages]
    runs, it = ("runs", "it") if len(heads) == 1 else ("run", "them")
    return (
        f"; {' and '.join(heads)} {runs} in training only, and without {it} this input works: "
        f"set {' and '.join(names)} to null ({' '.join(f'--set {name}=null' for name in names)})"
    )


def check_weights(graph: Graph, own: Graph, network: Network) -> None:
    """Refuse a graph in which an op has other weights than in the network's `own`; raises `OpError`."""
    for node, before in zip(graph, own, strict=True):
        new, old = node.op.weights(*node.input_shapes), before.op.weights(*before.input_shapes)
        if new != old:
            name = next(name for name in new if new[name] != old.get(name))
            raise OpError(
                f"{network.name}: {node.name}: its {name} would be {show_shape(new[name])} at input "
                f"{show_shape(graph.inputs[0].shapes[0])} instead of {show_shape(old[name])} at "
                f"{show_shape(network.input)}; use that input, or leave out strict_input"
            )


def stage_graph(network: Network) -> nx.DiGraph[str]:
    """The wiring of a network's stages as a `networkx.DiGraph`, with `input` as its source."""
    graph: nx.DiGraph[str] = wiring.stage_graph(network.sources)
    for stage in network.stages.values():
        graph.nodes[stage.name].update(block=stage.block, depth=stage.depth)
    return graph


def graph_of(block: Block, *inputs: Shape) -> Graph:
    """The graph of a block alone, for inputs of these shapes."""
    graph = Graph()
    if len(inputs) == 1:
        values: tuple[Value, ...] = (graph.input(inputs[0]),)
    else:
        values = tuple([graph.input(shape, f"input{i}") for i, shape in enumerate(inputs, 1)])
    if block.arity is not None and len(values) != block.arity:
        raise BlockforgeError(
            f"{block.name}: takes {block.arity} input(s), but got {len(values)}; give it as many shapes"
        )
    graph.outputs["output"] = expand(graph, "", block, values)
    return graph


def check_size(network: Network) -> None:
    """Refuse, by arithmetic, what has more ops than `MAX_OPS`; depth and width have caps of their own."""
    repeats = sum([stage.depth for stage in network.stages.values()])
    if repeats > MAX_OPS:
        raise BlockforgeError(f"{network.name}: {repeats:,} blocks are more than {MAX_OPS:,}; make it shallower")
    if repeats > MANY and _more_ops_than_allowed(network):
        raise BlockforgeError(
            f"{network.name}: its {repeats:,} blocks have more than {MAX_OPS:,} operations; make it shallower"
        )


def _more_ops_than_allowed(network: Network) -> bool:
    """Whether the ops are too many, counted from a few blocks of each stage."""
    shapes: dict[str, Shape] = {wiring.INPUT: network.input}
    ops = 0
    try:
        for stage, blocks in blocks_in_order(network):
            count, shapes[stage.name] = _count(blocks, tuple(shapes[source] for source in stage.sources))
            ops += count
            if ops > MAX_OPS:
                return True
    except BlockforgeError:  # assembling says where
        pass
    return False


def _count(blocks: list[Block], inputs: tuple[Shape, ...]) -> tuple[int, Shape]:
    """The ops of a stage's repeats, and its output's shape.

    Blocks that keep the shape are alike. Where two in a row add the same channels by as many ops, and the last one
    would too, so do those between (dense layers).
    """
    ops, before = 0, None
    for repeat, block in enumerate(blocks):
        count, shape, step = _expanded(block, inputs)
        ops += count
        left = len(blocks) - repeat - 1
        if (shape,) == inputs and (not left or blocks[-1] is block):
            return ops + count * left, shape
        if ops > MAX_OPS:
            break
        if repeat and left and step == before:
            last, *rest = inputs[0][0] + left * (shape[0] - inputs[0][0]), *shape[1:]
            at_end = _expanded(block, ((last, *rest),))
            if at_end[2] == step:
                return ops + count * left, at_end[1]
        before, inputs = step, (shape,)
    return ops, shape


def _expanded(block: Block, inputs: tuple[Shape, ...]) -> tuple[int, Shape, tuple[int, ...]]:
    """A block's ops, its output's shape, and both as what repeats have in common: ops, new channels, size."""
    graph = graph_of(block, *inputs)
    shape = graph.outputs["output"].shape
    count = len(graph.nodes) - len(inputs)
    return count, shape, (count, shape[0] - inputs[0][0], *shape[1:])


def blocks_in_order(network: Network) -> Iterator[tuple[Stage, list[Block]]]:
    """The stages in the order in which they run, each with the blocks of its repeats."""
    for name in network.order:
        stage = network.stages[name]
        blocks = [stage.block]
        if stage.depth > 1:  # at depth 1 nobody needs the block to take stride 1
            try:
                blocks += [stage.block.after_first] * (stage.depth - 1)
            except BlockforgeError as error:
                raise BlockforgeError(f"{name}: {error}") from None
        yield stage, blocks


def _assemble(network: Network, input_shape: Shape, *, probe: bool = False) -> Graph:
    """The graph of a network at an input; with `probe`, stochastic depth is wherever it could be."""
    norm = network.settings.norm
    graph = Graph(norm=(norm.eps, norm.momentum))
    graph.stages = list(network.stages)
    values: dict[str, Value] = {wiring.INPUT: graph.input(input_shape)}
    if network.settings.input_transform:
        values[wiring.INPUT] = graph.sole("input_transform", INPUT_TRANSFORM, values[wiring.INPUT])
    rate = network.settings.drop_path
    dropping = _dropping(network, input_shape) if rate and not probe else frozenset()
    series = sum(stage.depth for stage in network.stages.values() if type(stage.block) in dropping)
    number = 0
    for stage, blocks in blocks_in_order(network):
        xs = tuple(values[name] for name in stage.sources)
        for repeat, block in enumerate(blocks):
            if type(block) in dropping:
                graph.drop_path = round(rate * number / series, 12)  # 0.0375, not 0.037500000000000006
                number += 1
            else:
                graph.drop_path = rate if probe else 0.0
            path = _path(graph, stage.scope)
            try:
                xs = (expand(graph, path, block, xs, stage=stage.name),)
            except NameTaken as error:
                if repeat and "{n" not in stage.scope:
                    raise NameTaken(
                        f"{stage.name}.scope: {stage.scope!r} holds no {{n}}, so {stage.depth} repeats would share"
                        f" their names; write {stage.scope + '.' if stage.scope else ''}{{n}}"
                    ) from None
                raise error from None
        values[stage.name] = xs[0]
    for output in network.outputs:
        graph.outputs[output.name] = values[output.stage]
    graph.training = frozenset(output.name for output in network.outputs if output.when == "training")
    return graph


def _dropping(network: Network, input_shape: Shape) -> frozenset[type[Block]]:
    """The kinds of blocks that stochastic depth acts on: each one counts, also where it has no shortcut."""
    graph = _assemble(network, input_shape, probe=True)
    return frozenset(
        type(expansion.block)
        for expansion in graph.expansions
        if expansion.parent is None
        and any(isinstance(node.op, DropPath) for node in graph.nodes[expansion.start : expansion.stop])
    )


def _path(graph: Graph, scope: str) -> str:
    """A stage's scope with `{n}` and `{n+1}` filled in; a last part `{n}` counts with the scope's `#`."""
    if "{n" not in scope:
        return scope
    head, _, last = scope.rpartition(".")
    number = graph.count(head if last == "{n}" and "{n" not in head else scope)
    return scope.replace("{n}", str(number)).replace("{n+1}", str(number + 1))


def smallest_input(network: Network) -> int | None:
    """The smallest square input, in pixels, that works; None where none up to `LARGEST_INPUT` was found.

    A larger one works too, unless branches meet that agree at some sizes only, at even ones say: so of `NEAR` sizes in
    a row one has to work.
    """
    if len(network.input) == 1:
        return None
    high = 1
    while high <= LARGEST_INPUT and not _works_near(network, high):
        high *= 2
    if high > LARGEST_INPUT:
        return None
    low = high // 2  # nothing near it works, or 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _works_near(network, middle) else (middle, high)
    return _works_near(network, high)


def _works_near(network: Network, size: int) -> int | None:
    """The first of `NEAR` square inputs from a size on that works."""
    for each in range(size, size + NEAR):
        with suppress(BlockforgeError):
            _assemble(network, (network.input[0], each, each))
            return each
    return None
