"""Which scopes of a graph become classes, which `nn.Sequential`, and what each forward runs in turn."""

from __future__ import annotations

import itertools
import keyword
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from blockforge.block import Block
from blockforge.graph import Expansion, Graph, Node, Value
from blockforge.ops import Add, Input

# What the generated code itself reads.
_READ = frozenset({"self", "nn", "torch", "OrderedDict", "super", "range", "getattr", "Outputs", "namedtuple"})

Key = tuple[int, int]
"""A value of the graph: its node's index and its port."""


@dataclass(eq=False)
class Item:
    """One step of a forward: an op, or a call of a module that has steps of its own.

    `attr` is where its module hangs from the unit's, empty for an expression; `in_place` is the operand that
    its output is written over, if any.
    """

    attr: tuple[str, ...]
    inputs: tuple[Key, ...]
    outputs: tuple[Key, ...]
    node: Node | None = None
    unit: Unit | None = None
    in_place: int | None = None
    stage: str | None = None
    training: bool = False  # whether it runs in training only

    @property
    def span(self) -> tuple[int, int]:
        """The indices of the first and the last node that run in this step."""
        if self.unit:
            return self.unit.items[0].span[0], self.unit.items[-1].span[1]
        index = self.outputs[0][0]
        return index, index

    @property
    def is_module(self) -> bool:
        """Whether the step calls a module rather than being an expression."""
        return bool(self.attr)


@dataclass(eq=False)
class Unit:
    """A module with steps of its own: the network, a block's class, or a chain (`nn.Sequential`)."""

    kind: Literal["network", "block", "chain"]
    inputs: tuple[Key, ...]
    outputs: tuple[Key, ...]
    items: list[Item] = field(default_factory=list)
    expansion: Expansion | None = None
    results: tuple[tuple[str, bool], ...] = ()  # of a network: its outputs' names, and whether in training only

    def walk(self) -> Iterator[Unit]:
        """The units inside, innermost first, then this one."""
        for item in self.items:
            if item.unit:
                yield from item.unit.walk()
        yield self

    @property
    def block(self) -> Block:
        """The block that it is an expansion of."""
        if self.expansion is None:
            raise AssertionError("a block's unit has an expansion")
        block: Block = self.expansion.block
        return block

    @property
    def attributes(self) -> list[str]:
        """What it has by attribute: modules, and scopes of modules."""
        return list(dict.fromkeys(item.attr[0] for item in self.items if item.attr))

    @property
    def names(self) -> list[str]:
        """The names of a chain's members."""
        return [item.attr[-1] for item in self.items]

    @property
    def is_numbered(self) -> bool:
        """Whether its members are modules called 0, 1, 2, ... in the order in which they run."""
        return [item.attr for item in self.items] == [(str(i),) for i in range(len(self.items))]

    @property
    def is_sequential(self) -> bool:
        """Whether it is an `nn.Sequential`: each step a module, numbered, that reads the one before it."""
        if self.kind == "chain" or not self.items or len(self.inputs) != 1:
            return self.kind == "chain"
        chained = _is_chain(self.items, self.inputs[0]) and self.items[-1].outputs == self.outputs
        return chained and self.is_numbered


def structure(graph: Graph) -> Unit:
    """The network as a tree of modules and steps."""
    return _Structure(graph).network()


class _Structure:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.readers = _readers(graph)
        self.training = graph.training_nodes()
        under: Counter[str] = Counter()
        for node in graph.nodes:
            parts = node.name.split(".")
            under.update(".".join(parts[:end]) for end in range(1, len(parts)))
        # The outermost block that alone fills a scope is that scope's class.
        self.classes: dict[int, Expansion] = {}
        taken: set[str] = set()
        for expansion in graph.expansions:
            ops = graph.nodes[expansion.start : expansion.stop]
            path = expansion.name
            if (
                path
                and path not in taken
                and under[path] == len(ops)
                and all(node.name.startswith(path + ".") for node in ops)
                and any(is_module(node) for node in ops)
            ):
                taken.add(path)
                self.classes[id(expansion)] = expansion
        self.starting: dict[int, list[Expansion]] = {}
        for expansion in self.classes.values():
            self.starting.setdefault(expansion.start, []).append(expansion)

    def network(self) -> Unit:
        graph = self.graph
        unit = Unit("network", tuple((n.index, 0) for n in graph.inputs), tuple(map(key, graph.outputs.values())))
        unit.results = tuple((name, name in graph.training) for name in graph.outputs)
        unit.items = self.steps(0, len(graph.nodes), "", None)
        return unit

    def steps(self, start: int, stop: int, scope: str, inside: Expansion | None) -> list[Item]:
        """The steps of a forward: ops and classes in the order in which they run, then its chains."""
        items: list[Item] = []
        index = start
        while index < stop:
            starting = self.starting.get(index, [])
            # Several may start at one op; the outermost comes first. Those around the scope are behind us.
            after = starting[starting.index(inside) + 1 :] if inside in starting else starting
            if after:
                items.append(self._block(after[0], scope, inside))
                index = after[0].stop
                continue
            node = self.graph.nodes[index]
            if not isinstance(node.op, Input):
                items.append(self._op(node, scope, inside))
            index += 1
        return self._chains(items)

    def _block(self, expansion: Expansion, scope: str, inside: Expansion | None) -> Item:
        inputs = tuple(dict.fromkeys(map(key, expansion.inputs)))
        if expansion.output is None:
            raise AssertionError(f"{expansion.name} has no output")
        outputs = (key(expansion.output),)
        unit = Unit("block", inputs, outputs, expansion=expansion)
        unit.items = self.steps(expansion.start, expansion.stop, expansion.name, expansion)
        training = inside is None and expansion.start in self.training  # its own steps run whenever it is called
        attr = _relative(expansion.name, scope)
        return Item(attr, inputs, outputs, unit=unit, stage=_stage(expansion), training=training)

    def _op(self, node: Node, scope: str, inside: Expansion | None) -> Item:
        attr = _relative(node.name, scope) if is_module(node) else ()
        outputs = tuple((node.index, port) for port in range(len(node.shapes)))
        return Item(
            attr,
            tuple(map(key, node.inputs)),
            outputs,
            node=node,
            in_place=self._in_place(node),
            stage=_stage(node.expansion),
            training=inside is None and node.index in self.training,
        )

    def _in_place(self, node: Node) -> int | None:
        """The operand that an op may write over: made here, read by nobody else, and kept by nobody."""
        if not node.op.in_place or len(node.inputs) > 2:
            return None
        operands = node.inputs if type(node.op) is Add else node.inputs[:1]  # a module writes over its first
        for position, value in enumerate(operands):
            maker = value.node
            if (
                maker.expansion is node.expansion
                and maker.name.rpartition(".")[0] == node.name.rpartition(".")[0]
                and value.shape == node.shapes[0]
                and len(self.readers[key(value)]) == 1
                and not maker.op.saves_output
                and not maker.op.view
                and maker.inputs
            ):
                return position
        return None

    def _chains(self, items: list[Item]) -> list[Item]:
        """Put the modules of each scope that form a chain into a unit of their own, outer scopes first."""
        scopes = {item.attr[:end] for item in items for end in range(1, len(item.attr))}
        for scope in sorted(scopes, key=len):
            depth = len(scope)
            members = [i for i, item in enumerate(items) if item.attr[:depth] == scope and len(item.attr) > depth]
            if not members:
                continue
            first, last = members[0], members[-1]
            run = items[first : last + 1]
            chained = len(run) == len(members) and bool(run[0].inputs) and _is_chain(run, run[0].inputs[0])
            if not chained or not all(self._only_reads(b, a) for a, b in itertools.pairwise(run)):
                continue
            inner = self._chains([_moved(item, depth) for item in run])
            if any(len(item.attr) > 1 for item in inner):
                continue
            unit = Unit("chain", run[0].inputs, run[-1].outputs, inner)
            stages = [item.stage for item in run if item.stage]
            stage = min(stages, key=self.graph.stages.index) if stages and self.graph.stages else None
            whole = Item(scope, unit.inputs, unit.outputs, unit=unit, stage=stage, training=run[0].training)
            items = [*items[:first], whole, *items[last + 1 :]]
        return items

    def _only_reads(self, reader: Item, maker: Item) -> bool:
        """Whether nothing but the ops inside `reader` reads what `maker` made."""
        low, high = reader.span
        return all(low <= index <= high for index in self.readers[maker.outputs[0]])


def _moved(item: Item, depth: int) -> Item:
    return replace(item, attr=item.attr[depth:])


def _is_chain(items: list[Item], value: Key | None) -> bool:
    for item in items:
        if not item.is_module or item.inputs != (value,) or len(item.outputs) != 1:
            return False
        value = item.outputs[0]
    return True


def _readers(graph: Graph) -> dict[Key, list[int]]:
    """The index of each node that reads a value, once for each operand; -1 where it leaves the network."""
    readers: dict[Key, list[int]] = {(n.index, port): [] for n in graph.nodes for port in range(len(n.shapes))}
    for node in graph.nodes:
        for value in node.inputs:
            readers[key(value)].append(node.index)
    for value in graph.outputs.values():
        readers[key(value)].append(-1)
    return readers


def _relative(name: str, scope: str) -> tuple[str, ...]:
    return tuple((name[len(scope) + 1 :] if scope else name).split("."))


def _stage(expansion: Expansion | None) -> str | None:
    while expansion and expansion.stage is None:
        expansion = expansion.parent
    return expansion.stage if expansion else None


def is_module(node: Node) -> bool:
    """Whether PyTorch spells the op as a module."""
    return not isinstance(node.op, Input) and node.op.call(*node.input_shapes) is not None


def is_attribute(name: str) -> bool:
    """Whether Python can write `self.name`."""
    return name.isidentifier() and not keyword.iskeyword(name)


def is_variable(name: str) -> bool:
    """Whether a variable or an argument of the generated code can have this name."""
    return is_attribute(name) and name not in _READ


def key(value: Value) -> Key:
    """A value's key."""
    return (value.node.index, value.port)
