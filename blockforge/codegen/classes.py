"""Which expansions of a block share a class.

They share one if their ops, names, wiring and what works in place agree, whatever their numbers. A class with a final
add and one without are one class with a flag.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from blockforge.codegen.arguments import Plan, choose_arguments
from blockforge.codegen.naming import name_classes
from blockforge.codegen.structure import Item, Key, Unit
from blockforge.ops import Activation, Add


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
            groups.setdefault((type(unit.block), signature(unit, plans)), []).append(unit)
        for plan in _merged(groups, plans):
            for unit in plan.units:
                plans[id(unit)] = plan
            choose_arguments(plan, plans)
    name_classes(list({id(plan): plan for plan in plans.values()}.values()), set(taken))
    return plans


def _height(unit: Unit) -> int:
    return max((_height(item.unit) + (item.unit.kind == "block") for item in unit.items if item.unit), default=0)


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
            merged.append(Plan(units[0].block, [both[i] for i in order], [skips[i] for i in order]))
    merged += [Plan(units[0].block, units) for key, units in groups.items() if key not in used]
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
