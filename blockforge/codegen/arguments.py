"""Which expansions share a class, what varies between its uses, and under which names.

Two expansions of a block share a class if their ops, names, wiring and what works in place agree. Whatever
differs in value is an argument: named by the block's field that has these values in every use, else by the
input's channels, else by the op's own argument. A class with a final add and one without are one with `skip`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from blockforge.block import Block
from blockforge.codegen.structure import Item, Unit, is_variable
from blockforge.field_types import is_width
from blockforge.ops import ACTIVATIONS, Activation, Argument

LOCAL_USES = 3  # a formula gets a name of its own where it is used this often
POSITIONAL = ("in_channels", "in_features", "width")

Slot = tuple[tuple[int, ...], str]
"""A place for a value in a class: the steps' indices on the way to its call, and the argument's name."""


@dataclass(frozen=True)
class Code:
    """A value that is written as it stands: `nn.Hardswish`."""

    text: str


@dataclass
class Parameter:
    """A constructor argument of a class, with its value in every use."""

    name: str
    values: tuple[Any, ...]
    default: Any = None
    has_default: bool = False

    @property
    def positional(self) -> bool:
        """Whether calls give it by position."""
        return self.name in POSITIONAL and not self.has_default


@dataclass(eq=False)
class Plan:
    """A class to be written: the expansions that use it, its arguments, and the text for each slot."""

    block: Block
    units: list[Unit]
    skips: list[bool] | None = None  # whether each use ends with an add, where they differ
    flag: str = "skip"  # the argument and attribute that says so
    name: str = ""
    parameters: list[Parameter] = field(default_factory=list)
    locals: list[tuple[str, str]] = field(default_factory=list)
    texts: dict[Slot, str] = field(default_factory=dict)

    @property
    def unit(self) -> Unit:
        """The use that stands for all; one with the final add, if any."""
        return self.units[self.skips.index(True)] if self.skips else self.units[0]

    def arguments(self, unit: Unit) -> list[Argument]:
        """The constructor's arguments for one use, in the form of an op's call."""
        use = next(i for i, other in enumerate(self.units) if other is unit)
        return [
            Argument(p.name, p.values[use], p.default if p.has_default else _NO_DEFAULT, p.positional)
            for p in self.parameters
        ]


_NO_DEFAULT = Code("<required>")


def slots(unit: Unit, plans: dict[int, Plan], path: tuple[int, ...] = ()) -> Iterator[tuple[Slot, Argument, Item]]:
    """Every value of a unit's calls; chains are entered, classes are not."""
    for index, item in enumerate(unit.items):
        here = (*path, index)
        if item.unit and item.unit.kind == "chain":
            yield from slots(item.unit, plans, here)
        else:
            for argument in call_arguments(item, plans):
                yield (here, argument.name), argument, item


def call_arguments(item: Item, plans: dict[int, Plan]) -> list[Argument]:
    """The arguments of the call that makes a step's module."""
    if item.unit:
        return plans[id(item.unit)].arguments(item.unit)
    node = item.node
    call = node.op.call(*node.input_shapes) if node else None
    if node is None or call is None:
        return []
    if isinstance(node.op, Activation) and not call.arguments:
        return [Argument("activation", Code(call.target))]
    return list(call.arguments)


def choose_arguments(plan: Plan, plans: dict[int, Plan]) -> None:
    """Give a class its arguments, and each slot its text."""
    vectors: dict[Slot, list[Any]] = {}
    details: dict[Slot, tuple[Argument, Item]] = {}
    for use, unit in enumerate(plan.units):
        for slot, argument, item in slots(unit, plans):
            vectors.setdefault(slot, []).append(argument.value)
            if use == 0:
                details[slot] = (argument, item)
    _Chooser(plan, {s: tuple(v) for s, v in vectors.items()}, details).run()


class _Chooser:
    def __init__(self, plan: Plan, vectors: dict[Slot, tuple[Any, ...]], details: dict[Slot, Any]) -> None:
        self.plan = plan
        self.vectors = vectors
        self.details = details
        blocks = [unit.block for unit in plan.units]
        self.defaults: dict[str, Any] = {}
        self.fields: dict[str, tuple[Any, ...]] = {}
        names = sorted(type(blocks[0]).model_fields, key=lambda name: name != "width")
        for name in names:
            if not is_variable(name):
                continue
            values = tuple(_spelled(getattr(block, name)) for block in blocks)
            if all(isinstance(value, int | float | Code | None) for value in values):
                self.fields[name] = values
                info = type(blocks[0]).model_fields[name]
                # Channels have no usual value: whoever reads a call wants to see all of them.
                if not info.is_required() and not is_width(info):
                    self.defaults[name] = _spelled(info.default)
        shapes = [_input_shape(unit) for unit in plan.units]
        self.input_name = _free("in_features" if len(shapes[0]) == 1 else "in_channels", self.fields)
        self.channels = tuple(shape[0] for shape in shapes)
        plan.flag = _free("skip", {*self.fields, *plan.unit.attributes})
        self.parameters: dict[str, Parameter] = {}
        self.formulas: dict[Any, str] = {}

    def run(self) -> None:
        counts: Counter[Any] = Counter()
        pending: dict[Slot, str] = {}
        for slot, vector in self.vectors.items():
            if all(_same(value, vector[0]) for value in vector):
                self.plan.texts[slot] = literal(vector[0])
            else:
                pending[slot] = self._expression(slot, vector)
                counts[_typed(vector)] += 1
        if self.plan.skips:
            self.parameters[self.plan.flag] = Parameter(self.plan.flag, tuple(self.plan.skips))
        taken = set(self.parameters)
        for slot, text in pending.items():
            vector = self.vectors[slot]
            if _typed(vector) in self.formulas and counts[_typed(vector)] >= LOCAL_USES:
                known = {formula: name for name, formula in self.plan.locals}
                if text not in known:
                    name = _free("half" if text.endswith(" // 2") else "mid", taken)
                    taken.add(name)
                    self.plan.locals.append((name, text))
                    known[text] = name
                self.plan.texts[slot] = known[text]
            else:
                self.plan.texts[slot] = text
        order = [self.input_name, *self.fields]
        self.plan.parameters = sorted(
            self.parameters.values(),
            # A call gives the positional ones first, so the signature has them first.
            key=lambda p: (p.has_default, not p.positional, order.index(p.name) if p.name in order else len(order)),
        )

    def _expression(self, slot: Slot, vector: tuple[Any, ...]) -> str:
        for name, values in self.fields.items():
            if _equal(values, vector):
                return self._use(name, values, self.defaults.get(name), name in self.defaults)
        if _equal(self.channels, vector):
            return self._use(self.input_name, self.channels, None, False)
        return self.formulas.get(_typed(vector)) or self._formula(slot, vector) or self._own(slot, vector)

    def _use(self, name: str, values: tuple[Any, ...], default: Any, has_default: bool) -> str:
        if name not in self.parameters:
            sensible = has_default and any(_same(value, default) for value in values)
            self.parameters[name] = Parameter(name, values, default, sensible)
        return name

    def _formula(self, slot: Slot, vector: tuple[Any, ...]) -> str:
        """The values as one step from a field or the input's channels, by another field or by two."""
        if not all(type(value) is int for value in vector):
            return ""
        bases = {name: v for name, v in self.fields.items() if _ints(v) and not _constant(v)}
        if not _constant(self.channels):
            bases[self.input_name] = self.channels
        if slot[1] == "padding":
            for name, values in sorted(bases.items(), key=lambda base: "kernel" not in base[0]):  # stable
                if _equal(tuple(value // 2 for value in values), vector):
                    return f"{self._field(name)} // 2"
        for name, values in bases.items():
            for other, factors in self.fields.items():
                if other == name or not _ints(factors) or 0 in factors:
                    continue
                text = literal(factors[0]) if _constant(factors) else other
                for sign, results in (
                    ("//", tuple(a // b for a, b in zip(values, factors, strict=True))),
                    ("*", tuple(a * b for a, b in zip(values, factors, strict=True))),
                ):
                    if _equal(results, vector):
                        if not _constant(factors):
                            self._field(other)
                        return self._remember(vector, f"{self._field(name)} {sign} {text}")
            if _equal(tuple(value // 2 for value in values), vector):
                return self._remember(vector, f"{self._field(name)} // 2")
        return ""

    def _remember(self, vector: tuple[Any, ...], text: str) -> str:
        self.formulas[_typed(vector)] = text
        return text

    def _field(self, name: str) -> str:
        if name == self.input_name and name not in self.fields:
            return self._use(name, self.channels, None, False)
        return self._use(name, self.fields[name], self.defaults.get(name), name in self.defaults)

    def _own(self, slot: Slot, vector: tuple[Any, ...]) -> str:
        """An argument named as the op's own, with the op's name before it where that is taken."""
        for name, parameter in self.parameters.items():
            if _equal(parameter.values, vector):
                return name
        argument, item = self.details[slot]
        name = argument.name
        place = re.sub(r"\W", "_", "_".join(item.attr)).strip("_")
        candidates = [name, f"{place}_{name}" if place and not place[0].isdigit() else f"{name}2"]
        candidates += [f"{name}{i}" for i in range(3, 1000)]
        taken = {*self.parameters, *self.fields, self.input_name}
        name = next(n for n in candidates if n not in taken and is_variable(n))
        has_default = argument.default is not None and argument.default is not _NO_DEFAULT and not argument.positional
        return self._use(name, vector, argument.default, has_default)


def _input_shape(unit: Unit) -> tuple[int, ...]:
    return unit.expansion.inputs[0].shape if unit.expansion and unit.expansion.inputs else (0,)


def _spelled(value: Any) -> Any:
    return Code(f"nn.{ACTIVATIONS[value].__name__}") if isinstance(value, str) and value in ACTIVATIONS else value


def _typed(vector: tuple[Any, ...]) -> tuple[Any, ...]:
    """The values as a key that tells 1, 1.0 and True apart, which are equal in Python."""
    return tuple((type(value), value) for value in vector)


def _free(name: str, taken: Collection[str]) -> str:
    """The name, with a number behind it if it is taken."""
    return next(n for n in (name, *(f"{name}{i}" for i in range(2, 1000))) if n not in taken)


def _ints(values: tuple[Any, ...]) -> bool:
    return all(type(value) is int for value in values)


def _constant(values: tuple[Any, ...]) -> bool:
    return all(_same(value, values[0]) for value in values)


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(a == b)


def _equal(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    return all(_same(x, y) for x, y in zip(a, b, strict=True))


def literal(value: Any) -> str:
    """A value as Python writes it."""
    if isinstance(value, float) and not isfinite(value):
        return f'float("{value}")'
    return value.text if isinstance(value, Code) else repr(value)
