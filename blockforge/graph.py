"""What the assembler makes of a network: primitive operations with names, shapes and edges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Protocol

from blockforge.errors import NameTaken, OpError
from blockforge.graph_hash import hash_of
from blockforge.names import check_parts, sound_parts
from blockforge.ops import ACTIVATIONS, Add, Input, Op, Shape, show_shape
from blockforge.wiring import behind

if TYPE_CHECKING:
    import networkx as nx

    from blockforge.scope import Scope

MAX_OPS = 100_000
MAX_ELEMENTS = 2**40
_WRITABLE = frozenset({Add, *ACTIVATIONS.values()})  # ops in place that need no second look


class Expandable(Protocol):
    """What a graph needs to know of a block."""

    name: ClassVar[str]

    def expand(self, g: Scope, *xs: Value) -> Value:
        """Add the block's ops to the scope and return its output."""


class Value:
    """One output of an op; its shape has no batch axis: `(C, H, W)` or `(C,)`."""

    __slots__ = ("graph", "node", "port", "shape")

    def __init__(self, graph: Graph, node: Node, port: int, shape: Shape) -> None:
        self.graph = graph
        self.node = node
        self.port = port
        self.shape = shape

    def __repr__(self) -> str:
        return f"<Value {self.node.name} {show_shape(self.shape)}>"


@dataclass(eq=False, slots=True)
class Node:
    """An op in a graph: its dotted name, its operands, their shapes and its outputs', and its parameters."""

    index: int
    name: str
    op: Op
    inputs: tuple[Value, ...]
    input_shapes: tuple[Shape, ...]
    shapes: tuple[Shape, ...]
    params: int
    expansion: Expansion | None

    @property
    def macs(self) -> int:
        """Multiply-accumulates at batch 1."""
        return self.op.macs(*self.input_shapes)


@dataclass(eq=False, slots=True)
class Expansion:
    """One use of a block: the run of ops, `start` to `stop`, that its `expand` added under a scope."""

    block: Any
    name: str
    stage: str | None
    parent: Expansion | None
    start: int
    stop: int
    inputs: tuple[Value, ...]
    output: Value | None = None


class Graph:
    """Ops in the order in which they run, with the blocks that they came from.

    `norm` is (eps, momentum) of every normalisation, `drop_path` the probability for the block being expanded.
    """

    def __init__(self, *, norm: tuple[float, float | None] = (1e-5, 0.1)) -> None:
        self.norm = norm
        self.drop_path = 0.0
        self.nodes: list[Node] = []
        self.expansions: list[Expansion] = []
        self.outputs: dict[str, Value] = {}
        self.training: frozenset[str] = frozenset()  # the names of outputs that exist in training only
        self.stages: list[str] = []  # in file order, which is the order of registration
        self._names: set[str] = set()
        self._scopes: set[str] = set()
        self._counters: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<Graph of {len(self.nodes)} ops from {len(self.expansions)} blocks>"

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    @property
    def inputs(self) -> list[Node]:
        """The nodes that stand for the network's inputs."""
        return [node for node in self.nodes if isinstance(node.op, Input)]

    def input(self, shape: Shape, name: str = "input") -> Value:
        """Add an input of shape `(C, H, W)` or `(C,)`."""
        self._check_name(name)
        op = Input(shape)
        if prod(shape) > MAX_ELEMENTS:
            _refuse_size(name, op, (), (shape,))
        node = Node(len(self.nodes), name, op, (), (), (shape,), 0, None)
        self.nodes.append(node)
        self._names.add(name)
        return Value(self, node, 0, shape)

    def count(self, scope: str) -> int:
        """The next free integer of a scope."""
        number = self._counters.get(scope, 0)
        self._counters[scope] = number + 1
        return number

    def path(self, scope: str, name: str) -> str:
        """The full name of `name` in `scope`; a last part `#` becomes the scope's next free integer."""
        if name == "#":
            return f"{scope}.{self.count(scope)}" if scope else str(self.count(""))
        full = f"{scope}.{name}" if scope and name else scope or name
        if full[-1:] == "#":
            parent, _, last = full.rpartition(".")
            if last == "#":
                return f"{parent}.{self.count(parent)}" if parent else str(self.count(""))
        return full

    def add(
        self, name: str, op: Op, inputs: tuple[Value, ...], expansion: Expansion | None
    ) -> Value | tuple[Value, ...]:
        """Add an op under its full name; raises `OpError` where its inputs don't fit it."""
        name = name or "op"  # a block on its own may put its op at the scope itself, which has no name there
        self._check_name(name)
        for value in inputs:
            if type(value) is not Value or value.graph is not self:
                _refuse_operand(name, value)
        operands = (inputs[0].shape,) if len(inputs) == 1 else tuple([value.shape for value in inputs])
        try:
            shapes = op.shapes(*operands)
            params = op.params(*operands)
            if op.in_place and type(op) not in _WRITABLE:
                _expect_module(op, operands)
        except OpError as error:
            raise type(error)(f"{name}: {error}") from None
        sole = len(shapes) == 1
        if params > MAX_ELEMENTS or (prod(shapes[0]) if sole else max(map(prod, shapes))) > MAX_ELEMENTS:
            _refuse_size(name, op, operands, shapes)
        nodes = self.nodes
        index = len(nodes)
        if index >= MAX_OPS:
            raise OpError(f"{name}: the network has more than {MAX_OPS:,} operations; make it shallower")
        node = Node(index, name, op, inputs, operands, shapes, params, expansion)
        nodes.append(node)
        self._names.add(name)
        if sole:
            return Value(self, node, 0, shapes[0])
        return tuple(Value(self, node, port, shape) for port, shape in enumerate(shapes))

    def sole(self, name: str, op: Op, *inputs: Value) -> Value:
        """Add an op of one output that belongs to no block."""
        value = self.add(name, op, inputs, None)
        if not isinstance(value, Value):
            raise OpError(f"{name}: {op.kind} has several outputs; use one of a single output")
        return value

    def training_nodes(self) -> frozenset[int]:
        """The indices of the nodes that run in training only: nothing that leaves in eval mode needs them."""
        if not self.training:
            return frozenset()
        training, always = (
            [value.node.index for name, value in self.outputs.items() if (name in self.training) is only]
            for only in (True, False)
        )
        ours, theirs = (behind(indices, self._feeding) for indices in (training, always))
        return frozenset(ours - theirs)

    def _feeding(self, index: int) -> list[int]:
        return [value.node.index for value in self.nodes[index].inputs]

    def _check_name(self, name: str) -> None:
        names, scopes = self._names, self._scopes
        if name in names:
            raise NameTaken(f"{name}: this name is taken already; give each op of a scope a name of its own")
        if name in scopes:
            raise NameTaken(f"{name}: this name is a scope with ops of its own; give the op another name")
        scope, _, last = name.rpartition(".")
        if last not in sound_parts:
            check_parts(name)
        if not scope or scope in scopes:  # and so are the scopes around it
            return
        fresh = []
        while scope and scope not in scopes:
            if scope in names:
                raise NameTaken(f"{name}: {scope} is an op, so nothing can lie in it; give one of them another name")
            fresh.append(scope)
            scope, _, part = scope.rpartition(".")
            if part not in sound_parts:
                check_parts(name)
        scopes.update(fresh)

    def readers(self) -> list[list[tuple[Node, int]]]:
        """For each node, who reads any of its outputs: (node, operand's position), in order."""
        readers: list[list[tuple[Node, int]]] = [[] for _ in self.nodes]
        for node in self.nodes:
            for position, value in enumerate(node.inputs):
                readers[value.node.index].append((node, position))
        return readers

    def op_graph(self) -> nx.MultiDiGraph[str]:
        """The ops as a networkx graph; an edge an operand, so `x + x` has two."""
        import networkx as nx

        graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()
        for node in self.nodes:
            graph.add_node(node.name, op=node.op, shapes=node.shapes, params=node.params, macs=node.macs)
        for node in self.nodes:
            for position, value in enumerate(node.inputs):
                graph.add_edge(value.node.name, node.name, operand=position, port=value.port, shape=value.shape)
        return graph

    def block_graph(self) -> nx.MultiDiGraph[str]:
        """The outermost blocks as a networkx graph: an edge for each value that one hands to another."""
        import networkx as nx

        graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()
        owner: dict[int, str] = {node.index: node.name for node in self.inputs}
        outermost = [e for e in self.expansions if e.parent is None]
        keys = {id(e): f"{e.name or e.block.name}@{e.start}" for e in outermost}
        for node in self.inputs:
            graph.add_node(node.name, block=None, shapes=node.shapes)
        for expansion in outermost:
            key = keys[id(expansion)]
            shapes = (expansion.output.shape,) if expansion.output else ()
            graph.add_node(key, block=expansion.block, scope=expansion.name, shapes=shapes)
            owner.update(dict.fromkeys(range(expansion.start, expansion.stop), key))
            for position, value in enumerate(expansion.inputs):
                graph.add_edge(owner[value.node.index], key, operand=position, shape=value.shape)
        return graph

    def hash(self) -> str:
        """The network's identity: equal for equal functions of equal structure, whatever the names."""
        return hash_of(self)


def _refuse_operand(name: str, value: object) -> NoReturn:
    if isinstance(value, Value):
        raise OpError(f"{name}: an operand belongs to another graph; pass values of this expand's own")
    raise OpError(
        f"{name}: an operand must be a value of the graph, but got {type(value).__name__}; "
        "pass what expand was given or what an earlier op returned"
    )


def _expect_module(op: Op, operands: tuple[Shape, ...]) -> None:
    """Refuse an expression that says it works in place: of those only Add's has an operator for that, `+=`."""
    if op.call(*operands) is None:
        raise OpError(
            f"{op.kind} is an expression, which can't work in place; set in_place = False, or write it as a module by "
            "call()"
        )


def _refuse_size(name: str, op: Op, operands: tuple[Shape, ...], shapes: tuple[Shape, ...]) -> None:
    tensors = [("output", shape) for shape in shapes] + list(op.weights(*operands).items())
    for what, shape in tensors:
        if prod(shape) > MAX_ELEMENTS:
            raise OpError(
                f"{name}: its {what} of {show_shape(shape)} would have {prod(shape):,} elements, more than "
                f"{MAX_ELEMENTS:,}; make it smaller"
            )
