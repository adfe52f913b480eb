"""What the classes are called: by their block, and by what they have more than its plainest class."""

from __future__ import annotations

import re

from blockforge.block import Block
from blockforge.codegen.arguments import Plan


def name_classes(plans: list[Plan], taken: set[str]) -> None:
    """Give each class its name: the block's, and what it has more than the block's plainest class."""
    by_block: dict[type[Block], list[Plan]] = {}
    for plan in plans:
        by_block.setdefault(type(plan.block), []).append(plan)
    for cls, siblings in by_block.items():
        base = cls.__name__
        plainest = min(siblings, key=lambda plan: (len(plan.unit.items), -len(plan.units)))
        if len({frozenset(plan.unit.attributes) for plan in siblings}) == 1:
            plainest = max(siblings, key=lambda plan: len(plan.units))
        # What has the fewest more comes first, so that it is named by that.
        for plan in sorted(siblings, key=lambda plan: (plan is not plainest, len(_more(plan, plainest)))):
            words = ["", *_more(plan, plainest), _field_value(plan, plainest)]
            suffixes = [word for word in words if word or plan is plainest]
            suffixes += map(str, range(2, 1000))
            plan.name = next(base + suffix for suffix in suffixes if base + suffix not in taken)
            taken.add(plan.name)


def _more(plan: Plan, plainest: Plan) -> list[str]:
    """What a class has that the plainest one lacks."""
    more = [name for name in plan.unit.attributes if name not in plainest.unit.attributes]
    return [camel_case(name) for name in more if not name.isdigit()]


def _field_value(plan: Plan, plainest: Plan) -> str:
    """A field with its value that all uses of a class have, and none of the plainest one's: `Expansion1`."""
    for name in sorted(type(plan.block).model_fields, key=lambda name: name in ("width", "stride")):
        mine = {getattr(unit.block, name) for unit in plan.units}
        others = {getattr(unit.block, name) for unit in plainest.units}
        if len(mine) == 1 and not mine & others:
            value = next(iter(mine))
            if isinstance(value, int | str):
                return camel_case(name) + camel_case(str(value))
    return ""


def camel_case(name: str) -> str:
    """`vgg16_bn` as `Vgg16Bn`."""
    words = re.split(r"[^A-Za-z0-9]+", name)
    return "".join(word[:1].upper() + word[1:] for word in words)
