"""When each tensor of a forward is made and freed: the statements of the forward, and the peak of what lives.

A call is nested into the next one only where that holds nothing longer: where the outer op works in place or
returns a view, or where all that the inner one read is the forward's own argument, which the caller holds
anyway.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import prod
from typing import Any

from blockforge.codegen.structure import Item, Key, Unit, is_variable, structure
from blockforge.graph import Graph, Node
from blockforge.ops import Conv2d, Linear

MAX_NESTED = 3
BRANCHES = 3  # from so many readers of one value on, each one's output is named by its module


@dataclass
class Statement:
    """Steps that run as one statement, innermost first; `frees` are variables that no later one reads."""

    steps: list[Item]
    reads: list[list[str | None]]  # for each step its operands' variables; None: the step before it
    targets: list[str] = field(default_factory=list)  # empty: the statement returns
    augmented: bool = False  # `y += x`
    frees: list[str] = field(default_factory=list)

    @property
    def training(self) -> bool:
        """Whether it runs in training only."""
        return self.steps[0].training


@dataclass
class Body:
    """A forward: its arguments, its statements, and the variables that it returns if its last one doesn't."""

    arguments: list[str]
    statements: list[Statement]
    returns: list[str]


def body(unit: Unit) -> Body:
    """The statements of a unit's forward."""
    return _Scheduler(unit).run()


class _Scheduler:
    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.items = unit.items
        self.left: Counter[Key] = Counter(key for item in self.items for key in item.inputs)
        self.left.update(unit.outputs)
        self.reads = Counter(self.left)
        names = ["x"] if len(unit.inputs) == 1 else [f"x{i}" for i in range(1, len(unit.inputs) + 1)]
        self.names: dict[Key, str] = dict(zip(unit.inputs, names, strict=True))
        self.arguments = names
        self.statements: list[Statement] = []

    def run(self) -> Body:
        index = 0
        while index < len(self.items):
            steps = [self.items[index]]
            while index + len(steps) < len(self.items) and self._nests(steps, self.items[index + len(steps)]):
                steps.append(self.items[index + len(steps)])
            index += len(steps)
            self._emit(steps, last=index == len(self.items))
        self._free_only_before_allocations()
        returned = not (self.statements and not self.statements[-1].targets)
        return Body(self.arguments, self.statements, [self.names[key] for key in self.unit.outputs] if returned else [])

    def _free_only_before_allocations(self) -> None:
        """Leave out what would be freed when no tensor is made any more."""
        for statement in reversed(self.statements):
            statement.frees = []
            if not all(_reuses(step) for step in statement.steps):
                break

    def _nests(self, steps: list[Item], following: Item) -> bool:
        inner = steps[-1]
        if inner.training != following.training:
            return False
        if len(inner.outputs) != 1 or self.left[inner.outputs[0]] != 1 or inner.outputs[0] not in following.inputs:
            return False
        if self._is_augmented(following) or self._is_augmented(inner) or len(steps) >= MAX_NESTED:
            return False
        if not _reads_once(following):
            return False
        if following.in_place is not None or (following.node and following.node.op.view):
            return True
        starts = following.unit is not None or (following.node and isinstance(following.node.op, Conv2d | Linear))
        own = all(key in self.unit.inputs for key in steps[0].inputs)
        return own and not starts and inner.unit is None and len(following.inputs) == 1

    @staticmethod
    def _is_augmented(item: Item) -> bool:
        return item.in_place is not None and not item.is_module

    def _emit(self, steps: list[Item], *, last: bool) -> None:
        reads: list[list[str | None]] = []
        before: tuple[Key, ...] = ()
        read: list[Key] = []
        for step in steps:
            reads.append([None if key in before else self.names[key] for key in step.inputs])
            read += [key for key in step.inputs if key not in before]
            before = step.outputs
            self.left.subtract(step.inputs)
        statement = Statement(steps, reads)
        outputs = steps[-1].outputs
        dying = [key for key in dict.fromkeys(read) if self.left[key] == 0]
        if last and outputs == self.unit.outputs and not self._is_augmented(steps[-1]):
            self.statements.append(statement)
            return
        free = [self.names[key] for key in dying]
        if self._is_augmented(steps[-1]):
            position = steps[-1].in_place
            statement.augmented = True
            target = self.names[steps[-1].inputs[position]] if position is not None else ""
            statement.targets = [target]
        else:
            statement.targets = self._targets(steps[-1], free)
        for key in dying:
            del self.names[key]
        taken = set(statement.targets)
        # A forward's own argument lives on in its caller, so that to free it here would be for nothing.
        held = {name for key, name in zip(self.unit.inputs, self.arguments, strict=True) if key in dying}
        statement.frees = [name for name in free if name not in taken | held]
        for key, name in zip(outputs, statement.targets, strict=True):
            if self.left[key]:
                self.names[key] = name
            else:
                statement.frees.append(name)
        self.statements.append(statement)

    def _targets(self, step: Item, free: list[str]) -> list[str]:
        """Names for a step's outputs: that of a variable that ends here, else the module's, else a letter."""
        targets: list[str] = []
        available = list(free)
        used = {name for key, name in self.names.items()}
        for _ in step.outputs:
            own = step.attr[0] if len(step.attr) == 1 and step.unit and is_variable(step.attr[0]) else ""
            if step.training and own and own not in used | set(targets):
                name = own
            elif available:
                name = min(available, key=lambda name: (name != "x", name != "y", available.index(name)))
                available.remove(name)
            elif own and own not in used | set(targets) and self.reads[step.inputs[0]] >= BRANCHES:
                name = own
            else:
                letters = ["y", "z", "u", "v", "w", *(f"y{i}" for i in range(2, 1000))]
                name = next(letter for letter in letters if letter not in used | set(targets))
            targets.append(name)
        return targets


def _reads_once(step: Item) -> bool:
    """Whether its code names its operand once; a call nested into `x * sigmoid(x)` would run twice."""
    return step.is_module or step.node is None or step.node.op.expression(*["_"] * len(step.inputs)).count("_") == 1


def _reuses(step: Item) -> bool:
    """Whether a step makes no new tensor: it works in place, or returns a view."""
    return step.in_place is not None or (step.node is not None and step.node.op.view)


# -- the peak


def peak_elements(graph: Graph) -> int:
    """Elements of the tensors alive at once in eval mode, at most, at batch 1; weights are not counted."""
    unit = structure(graph)
    held = sum(prod(node.shapes[0]) for node in graph.inputs)
    return held + _Peak(graph, unit).extra


class _Peak:
    """Runs a unit's statements on storages instead of tensors: `extra` is the peak beyond its inputs."""

    def __init__(self, graph: Graph, unit: Unit) -> None:
        self.graph = graph
        self.extra = 0
        self.storage: dict[Key, Any] = {key: ("input", key) for key in unit.inputs}
        self.sizes: dict[Any, int] = {("input", key): 0 for key in unit.inputs}  # held by the caller
        if unit.is_sequential:
            self._run_chain(unit)
        else:
            self._run_body(unit)
        self.outputs = [self.storage[key] for key in unit.outputs if key in self.storage]

    def _run_chain(self, unit: Unit) -> None:
        for item in unit.items:
            self._step(item, [self.storage[item.inputs[0]]])

    def _run_body(self, unit: Unit) -> None:
        variables: dict[str, Any] = {}
        plan = body(unit)
        for name, key in zip(plan.arguments, unit.inputs, strict=True):
            variables[name] = self.storage[key]
        for statement in plan.statements:
            if statement.training:  # the peak is eval mode's
                continue
            for step in statement.steps:
                alive = list(variables.values()) + [self.storage[key] for key in step.inputs]
                self._step(step, alive)
            for name, key in zip(statement.targets, statement.steps[-1].outputs, strict=bool(statement.targets)):
                variables[name] = self.storage[key]
            for name in statement.frees:
                variables.pop(name, None)

    def _step(self, item: Item, alive: list[Any]) -> None:
        live = sum(self.sizes[storage] for storage in set(alive))
        if item.unit:
            inner = _Peak(self.graph, item.unit)
            self.extra = max(self.extra, live + inner.extra)
            for key, storage in zip(item.outputs, inner.outputs, strict=True):
                if isinstance(storage, tuple) and storage[0] == "input":
                    self.storage[key] = self.storage[storage[1]]
                else:
                    self.storage[key] = storage
                    self.sizes[storage] = inner.sizes[storage]
            return
        node: Node = item.node  # type: ignore[assignment]
        if node.op.view:
            self.storage.update(dict.fromkeys(item.outputs, self.storage[item.inputs[0]]))
            return
        if item.in_place is not None:
            self.storage[item.outputs[0]] = self.storage[item.inputs[item.in_place]]
            return
        made = sum(map(prod, node.shapes))
        self.extra = max(self.extra, live + made + node.op.scratch(*node.input_shapes))
        for key in item.outputs:
            self.storage[key] = key
            self.sizes[key] = self._size(key)

    def _size(self, key: Key) -> int:
        return prod(self.graph.nodes[key[0]].shapes[key[1]])
