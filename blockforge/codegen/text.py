"""The text of the generated file: imports, helpers, a class for each block structure, the network's class."""

from __future__ import annotations

import os
import re
from itertools import takewhile
from typing import Any

from blockforge.assembler import assemble
from blockforge.codegen.arguments import Plan, Slot, call_arguments, literal
from blockforge.codegen.classes import plan_classes
from blockforge.codegen.heading import docstring, images_line, imports
from blockforge.codegen.layout import CallText, fold, named_call, wrapped
from blockforge.codegen.lifetime import Statement, body
from blockforge.codegen.naming import camel_case
from blockforge.codegen.structure import Item, Unit, is_attribute, is_variable, structure
from blockforge.errors import BlockforgeError, OpError
from blockforge.graph import Graph
from blockforge.network import Network, as_network
from blockforge.ops import Activation
from blockforge.ops.helpers import Definition, brought

Tree = dict[str, Any]
OUTPUTS = "Outputs"
"""The named tuple that a network of several outputs returns."""


def source(network: Network | str | os.PathLike[str], *, import_modules: bool = False) -> str:
    """The network's Python source: what `build` runs; it imports torch alone. Raises `BlockforgeError`.

    With `import_modules` an author's own classes and functions are imported from their packages instead of written out.
    """
    network = as_network(network)
    return network_source(network, assemble(network), import_modules=import_modules)


def network_source(network: Network, graph: Graph, *, import_modules: bool = False) -> str:
    """The source of a network whose graph is there already; raises `BlockforgeError` for helpers that don't fit."""
    title = f"{network.name} ({network.paper})" if network.paper else network.name
    if network.document.get("extends") == network.name:  # what an edit of a registered network looks like
        title = f"A variant of {title}"
    return source_of(graph, camel_case(network.name), title, images_line(network), import_modules=import_modules)


def source_of(graph: Graph, class_name: str, title: str, images: str = "", *, import_modules: bool = False) -> str:
    """The source of a graph's module under a class name; raises `BlockforgeError` for helpers that don't fit."""
    root = structure(graph)
    helpers = _helpers(graph, import_modules=import_modules)
    plans = plan_classes(root, [*helpers, OUTPUTS])
    unique = list({id(plan): plan for plan in plans.values()}.values())
    names = {*helpers, OUTPUTS, *(plan.name for plan in unique)}
    class_name = class_name if is_variable(class_name) else f"Network{class_name}"
    while class_name in names:
        class_name += "Network"
    order = {stage: index for index, stage in enumerate(graph.stages)}
    writer = _Writer(plans)
    classes = [writer.class_of(plan.unit, plan, plan.name) for plan in unique]
    classes.append(writer.class_of(root, None, class_name, order))
    imported = [each for each in helpers.values() if import_modules and each.module]
    parts = [*dict.fromkeys([each.text for each in helpers.values() if each not in imported]), *classes]
    if len(root.results) > 1:
        parts.insert(-1, f'{OUTPUTS} = namedtuple("{OUTPUTS}", {[name for name, _ in root.results]})'.replace("'", '"'))
    text = "\n\n\n".join(parts)
    return "\n\n".join([docstring(title, graph, images), imports(imported, text)]) + f"\n\n\n{text}\n"


def _helpers(graph: Graph, *, import_modules: bool) -> dict[str, Definition]:
    """The classes and functions that the ops bring with them, by their names."""
    helpers: dict[str, Definition] = {}
    for node in graph.nodes:
        if node.op.is_built_in and not type(node.op).helper:
            continue
        try:
            found = brought(node.op, *node.input_shapes, import_modules=import_modules)
        except OpError as error:
            raise BlockforgeError(f"{node.name}: {error}") from None
        for each in found:
            if not is_variable(each.name):
                raise BlockforgeError(f"{node.name}: {each.name} is what the file has already; rename the {each.kind}")
            if helpers.setdefault(each.name, each).text != each.text:
                raise BlockforgeError(
                    f"{node.name}: another op brings a {each.kind} {each.name} of its own; rename one of them"
                )
    return helpers


class _Writer:
    def __init__(self, plans: dict[int, Plan]) -> None:
        self.plans = plans

    def class_of(self, unit: Unit, plan: Plan | None, name: str, order: dict[str, int] | None = None) -> str:
        texts = plan.texts if plan else None
        parameters = plan.parameters if plan else []
        signature = ", ".join(
            ["self", *(f"{p.name}={literal(p.default)}" if p.has_default else p.name for p in parameters)]
        )
        sequential = unit.is_sequential
        lines = [f"class {name}({'nn.Sequential' if sequential else 'nn.Module'}):"]
        lines += wrapped(f"    def __init__({signature}):")
        assigned = [f"        {local} = {text}" for local, text in (plan.locals if plan else [])]
        if sequential:
            parts = self.members(unit, texts, ())
            call = CallText("super().__init__", list(parts), broken=True)
            return "\n".join([*lines, *assigned, *call.lines("        ")])
        lines += ["        super().__init__()", *assigned]
        if plan and plan.skips:
            lines.append(f"        self.{plan.flag} = {plan.flag}")
        for attr, value in self.attributes(unit, texts, order).items():
            before = f"self.{attr} = " if is_attribute(attr) else ""
            call = value if before else CallText("self.add_module", [repr(attr).replace("'", '"'), value])
            lines += call.lines("        ", before)
        return "\n".join([*lines, "", *self.forward(unit, plan, order)])

    # -- what makes the modules

    def attributes(
        self, unit: Unit, texts: dict[Slot, str] | None, order: dict[str, int] | None
    ) -> dict[str, CallText]:
        """The modules of a class by attribute, in the order of registration."""
        tree: Tree = {}
        for index, item in _registered(unit, order):
            place = tree
            for part in item.attr[:-1]:
                place = place.setdefault(part, {})
            place[item.attr[-1]] = self.make(item, texts, (index,))
        return {name: _container(value) for name, value in tree.items()}

    def make(self, item: Item, texts: dict[Slot, str] | None, path: tuple[int, ...]) -> CallText:
        """The call that makes a step's module."""
        if item.unit and item.unit.kind == "chain":
            members = self.members(item.unit, texts, path)
            if item.unit.is_numbered:
                return CallText("nn.Sequential", list(members), broken=len(members) > 1)
            return CallText("nn.Sequential", [named_call("OrderedDict", item.unit.names, members)])
        arguments = call_arguments(item, self.plans)
        if item.unit:
            target = self.plans[id(item.unit)].name
        else:
            call = item.node.op.call(*item.node.input_shapes) if item.node else None
            target = call.target if call else ""
        parts: list[CallText | str] = []
        for argument in arguments:
            text = texts[path, argument.name] if texts else literal(argument.value)
            if item.node and isinstance(item.node.op, Activation) and argument.name == "activation":
                target = text
            elif argument.positional:
                parts.append(text)
            elif text != literal(argument.default):
                parts.append(f"{argument.name}={text}")
        if item.in_place is not None:
            parts.append("inplace=True")
        return CallText(target, parts)

    def members(self, unit: Unit, texts: dict[Slot, str] | None, path: tuple[int, ...]) -> list[CallText]:
        """The modules of a chain; equal neighbours that are blocks fold into one line."""
        made = [self.make(item, texts, (*path, index)) for index, item in enumerate(unit.items)]
        if not unit.is_numbered:
            return made
        folded: list[CallText] = []
        index = 0
        while index < len(made):
            rest = list(takewhile(lambda i: _is_block(unit.items[i]), range(index, len(made))))
            several = fold([made[i] for i in rest])
            folded.append(several or made[index])
            index += several.count if several else 1
        return folded

    # -- forward

    def forward(self, unit: Unit, plan: Plan | None, order: dict[str, int] | None) -> list[str]:
        plan_body = body(unit)
        tree: dict[tuple[str, ...], list[str]] = {}
        for _, item in _registered(unit, order):
            for end in range(1, len(item.attr)):
                keys = tree.setdefault(item.attr[:end], [])
                if item.attr[end] not in keys:
                    keys.append(item.attr[end])
        lines = [f"    def forward(self, {', '.join(plan_body.arguments)}):"]
        training = False
        for index, statement in enumerate(plan_body.statements):
            text = self.expression(statement, tree)
            last = index == len(plan_body.statements) - 1
            if statement.training and not training:
                lines.append("        if self.training:")
            training = statement.training
            start = len(lines)
            if statement.augmented:
                target = statement.targets[0]
                other = next(name for name in statement.reads[-1] if name != target)
                lines.append(f"        {target} += {other}")
            elif statement.targets:
                lines.append(f"        {', '.join(statement.targets)} = {text}")
            elif plan and plan.skips and last:
                lines.append(f"        return {text} if self.{plan.flag} else {statement.reads[-1][0]}")
            else:
                lines.append(f"        return {text}")
            if statement.frees:
                lines.append(f"        del {', '.join(statement.frees)}")
            if training:
                lines[start:] = ["    " + line for line in lines[start:]]
        return lines + _returned(unit, plan_body.returns)

    def expression(self, statement: Statement, tree: dict[tuple[str, ...], list[str]]) -> str:
        text = ""
        for step, reads in zip(statement.steps, statement.reads, strict=True):
            inner = text
            bracketed = inner if re.fullmatch(r"[\w.]*", _outside(inner)) or step.is_module else f"({inner})"
            operands = [bracketed if name is None else name for name in reads]
            if step.is_module:
                text = f"{_access(step.attr, tree)}({', '.join(operands)})"
            elif step.node:
                # An argument of a call needs no brackets: `flatten(y * x, 1)`.
                text = step.node.op.expression(*operands).replace(f"(({inner}),", f"({inner},")
        return text


def _returned(unit: Unit, names: list[str]) -> list[str]:
    """What ends a forward that has not returned: several outputs by name, those of training in training only."""
    if not names:
        return []
    always = [name for name, (_, training) in zip(names, unit.results, strict=False) if not training]
    if not unit.results or len(names) == 1:
        return [f"        return {', '.join(names)}"]
    if len(always) == len(names):
        return [f"        return {OUTPUTS}({', '.join(names)})"]
    shown = always if len(always) == 1 else [name if name in always else "None" for name in names]
    returned = shown[0] if len(always) == 1 else f"{OUTPUTS}({', '.join(shown)})"
    return [
        "        if self.training:",
        f"            return {OUTPUTS}({', '.join(names)})",
        f"        return {returned}",
    ]


def _is_block(item: Item) -> bool:
    return item.unit is not None and item.unit.kind == "block"


def _registered(unit: Unit, order: dict[str, int] | None) -> list[tuple[int, Item]]:
    """The modules of a class with their steps' indices, in order of registration: stages in file order."""
    steps = [(index, item) for index, item in enumerate(unit.items) if item.is_module]
    return sorted(steps, key=lambda step: order.get(step[1].stage or "", 0)) if order else steps


def _container(value: CallText | Tree) -> CallText:
    """A scope whose modules form no chain: a list if they are numbered, else a dict."""
    if isinstance(value, CallText):
        return value
    parts = [_container(inner) for inner in value.values()]
    if list(value) == [str(i) for i in range(len(parts))]:
        return CallText("nn.ModuleList", [CallText("", list(parts), brackets="[]")])
    return named_call("nn.ModuleDict", list(value), parts, braces=True)


def _outside(text: str) -> str:
    """What of an expression lies outside its brackets."""
    depth = 0
    kept = []
    for letter in text:
        depth += (letter in "([") - (letter in ")]")
        if not depth and letter not in ")]":
            kept.append(letter)
    return "".join(kept)


def _access(attr: tuple[str, ...], tree: dict[tuple[str, ...], list[str]]) -> str:
    text = f"self.{attr[0]}" if is_attribute(attr[0]) else f'getattr(self, "{attr[0]}")'
    for end in range(1, len(attr)):
        keys = tree[attr[:end]]
        numbered = keys == [str(i) for i in range(len(keys))]
        text += f"[{attr[end]}]" if numbered else f'["{attr[end]}"]'
    return text


__all__ = ["source", "source_of"]
