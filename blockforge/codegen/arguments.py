"""Which expansions share a class, what varies between its uses, and under which names.

Two expansions of a block share a class if their ops, names, wiring and what works in place agree. Whatever
differs in value is an argument: named by the block's field that has these values in every use, else by the
input's channels, else by the op's own argument. A class with a final add and one without are one with `skip`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from blockforge.block import Block, ScaledWidth
from blockforge.codegen.structure import Item, Key, Unit, is_variable
from blockforge.ops import ACTIVATIONS, Activation, Add, Argument

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


def plan_classes(root: Unit, taken: Iterable[str] = ()) -> dict[int, Plan]:
    """The class of each block unit by the unit's id, innermost first; no class is named as in `taken`."""
    plans: dict[int, Plan] = {}
    by_height: dict[int, list[Unit]] = {}
    for unit in root.walk():
        if unit.kind == "block":
            by_height.setdefault(_height(unit), []).append(unit)
    for height in sorted(by_height):
        groups: dict[Any, list[Unit]] = {}
        for unit in by_height[height]:
            groups.setdefault((type(_block(unit)), signature(unit, plans)), []).append(unit)
        for plan in _merged(groups, plans):
            for unit in plan.units:
                plans[id(unit)] = plan
            _choose_arguments(plan, plans)
    _name_classes(list({id(plan): plan for plan in plans.values()}.values()), set(taken))
    return plans


def _block(unit: Unit) -> Block:
    if unit.expansion is None:
        raise AssertionError("a block's unit has an expansion")
    block: Block = unit.expansion.block
    return block


def _height(unit: Unit) -> int:
    return max((_height(item.unit) + (item.unit.kind == "block") for item in unit.items if item.unit), default=0)


# -- structure


def signature(unit: Unit, plans: dict[int, Plan]) -> tuple[Any, ...]:
    """What two expansions must agree in to share a class; values left out."""
    ids: dict[Key, int] = {key: index for index, key in enumerate(unit.inputs)}
    steps: list[Any] = []
    for item in unit.items:
        steps.append((*_step(item, plans), tuple(ids[key] for key in item.inputs)))
        for key in item.outputs:
            ids[key] = len(ids)
    return (unit.kind, len(unit.inputs), tuple(steps), tuple(ids[key] for key in unit.outputs))


def _step(item: Item, plans: dict[int, Plan]) -> tuple[Any, ...]:
    if item.unit and item.unit.kind == "block":
        return ("class", item.attr, id(plans[id(item.unit)]))
    if item.unit:
        return ("chain", item.attr, signature(item.unit, plans))
    node = item.node
    if node is None:
        raise AssertionError("a step is an op or a unit")
    call = node.op.call(*node.input_shapes)
    if call is None:
        return ("expression", node.op.expression(*(f"x{i}" for i in range(len(item.inputs)))), item.in_place)
    target = "activation" if isinstance(node.op, Activation) and not call.arguments else call.target
    return ("module", item.attr, target, tuple(a.name for a in call.arguments), item.in_place)


def _merged(groups: dict[Any, list[Unit]], plans: dict[int, Plan]) -> list[Plan]:
    """A plan for each group; one for two groups that differ by a final add of the block's input alone."""
    without: dict[Any, Any] = {}
    for (cls, sign), units in groups.items():
        core = _without_add(units[0])
        if core:
            without[cls, signature(core, plans)] = (cls, sign)
    merged: list[Plan] = []
    used: set[Any] = set()
    for key, units in groups.items():
        if key in without and not used & {key, without[key]}:
            with_add = groups[without[key]]
            used |= {key, without[key]}
            both = [*units, *with_add]
            order = sorted(range(len(both)), key=lambda i: both[i].expansion.start)  # type: ignore[union-attr]
            skips = [False] * len(units) + [True] * len(with_add)
            merged.append(Plan(_block(units[0]), [both[i] for i in order], [skips[i] for i in order]))
    merged += [Plan(_block(units[0]), units) for key, units in groups.items() if key not in used]
    return merged


def _without_add(unit: Unit) -> Unit | None:
    """The unit without its final add of its own input, if it ends with one that isn't in place."""
    if len(unit.items) < 2 or not unit.inputs:
        return None
    *rest, last = unit.items
    if not (last.node and isinstance(last.node.op, Add)) or last.in_place is not None:
        return None
    made = rest[-1].outputs
    if last.outputs != unit.outputs or last.inputs != (*made, unit.inputs[0]) or len(made) != 1:
        return None
    return Unit(unit.kind, unit.inputs, made, rest, unit.expansion)


# -- arguments


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


def _choose_arguments(plan: Plan, plans: dict[int, Plan]) -> None:
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
        blocks = [_block(unit) for unit in plan.units]
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
                if not info.is_required() and not any(isinstance(m, ScaledWidth) for m in info.metadata):
                    self.defaults[name] = _spelled(info.default)
        shapes = [_input_shape(unit) for unit in plan.units]
        self.input_name = _free("in_features" if len(shapes[0]) == 1 else "in_channels", self.fields)
        self.channels = tuple(shape[0] for shape in shapes)
        plan.flag = _free("skip", {*self.fields, *_attrs(plan)})
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
            for name, values in bases.items():
                if _equal(tuple(value // 2 for value in values), vector):
                    return f"{self._field(name)} // 2"
        for name, values in bases.items():
            for other, factors in self.fields.items():
                if other == name or not _ints(factors) or 0 in factors:
                    continue
                text = literal(factors[0]) if _constant(factors) else other
                if set(factors) == {1}:
                    continue
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


# -- names


def _name_classes(plans: list[Plan], taken: set[str]) -> None:
    by_block: dict[type[Block], list[Plan]] = {}
    for plan in plans:
        by_block.setdefault(type(plan.block), []).append(plan)
    for cls, siblings in by_block.items():
        base = cls.__name__
        plainest = min(siblings, key=lambda plan: (len(plan.unit.items), -len(plan.units)))
        if len({frozenset(_attrs(plan)) for plan in siblings}) == 1:
            plainest = max(siblings, key=lambda plan: len(plan.units))
        # What has the fewest more comes first, so that it is named by that.
        for plan in sorted(siblings, key=lambda plan: (plan is not plainest, len(_more(plan, plainest)))):
            words = ["", *_more(plan, plainest), _field_value(plan, plainest)]
            suffixes = [word for word in words if word or plan is plainest]
            suffixes += map(str, range(2, 1000))
            plan.name = next(base + suffix for suffix in suffixes if base + suffix not in taken)
            taken.add(plan.name)


def _attrs(plan: Plan) -> list[str]:
    return list(dict.fromkeys(item.attr[0] for item in plan.unit.items if item.attr))


def _more(plan: Plan, plainest: Plan) -> list[str]:
    """What a class has that the plainest one lacks."""
    more = [name for name in _attrs(plan) if name not in _attrs(plainest)]
    return [camel_case(name) for name in more if not name.isdigit()]


def _field_value(plan: Plan, plainest: Plan) -> str:
    """A field with its value that all uses of a class have, and none of the plainest one's: `Expansion1`."""
    for name in sorted(type(plan.block).model_fields, key=lambda name: name in ("width", "stride")):
        mine = {getattr(_block(unit), name) for unit in plan.units}
        others = {getattr(_block(unit), name) for unit in plainest.units}
        if len(mine) == 1 and not mine & others:
            value = next(iter(mine))
            if isinstance(value, int | str):
                return camel_case(name) + camel_case(str(value))
    return ""


def camel_case(name: str) -> str:
    """`vgg16_bn` as `Vgg16Bn`."""
    words = re.split(r"[^A-Za-z0-9]+", name)
    return "".join(word[:1].upper() + word[1:] for word in words)
