"""The text of the generated file: imports, helpers, a class for each block structure, the network's class."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from typing import Any

from blockforge.assembler import assemble
from blockforge.codegen.arguments import Code, Plan, Slot, call_arguments, camel_case, literal, plan_classes
from blockforge.codegen.lifetime import Statement, body
from blockforge.codegen.structure import Item, Unit, is_attribute, is_variable, structure
from blockforge.errors import BlockforgeError
from blockforge.graph import Graph
from blockforge.network import Network, get_network
from blockforge.ops import Activation

WIDTH = 110
VARIED = 3  # from so many neighbours on, a varying probability becomes a loop
_FRACTION = re.compile(r"\d+\.\d+(e-\d+)?")
Tree = dict[str, Any]


def source(network: Network | str) -> str:
    """The network's Python source: what `build` runs; it imports torch alone. Raises `BlockforgeError`."""
    if isinstance(network, str):
        network = get_network(network)
    title = f"{network.name} ({network.paper})" if network.paper else network.name
    if network.document.get("extends") == network.name:  # what an edit of a registered network looks like
        title = f"A variant of {title}"
    return source_of(assemble(network), camel_case(network.name), title)


def source_of(graph: Graph, class_name: str, title: str) -> str:
    """The source of a graph's module under a class name; raises `BlockforgeError` if helpers clash."""
    root = structure(graph)
    helpers = _helpers(graph)
    plans = plan_classes(root, helpers)
    unique = list({id(plan): plan for plan in plans.values()}.values())
    names = {*helpers, *(plan.name for plan in unique)}
    class_name = class_name if is_variable(class_name) else f"Network{class_name}"
    while class_name in names:
        class_name += "Network"
    order = {stage: index for index, stage in enumerate(graph.stages)}
    writer = _Writer(plans)
    classes = [writer.class_of(plan.unit, plan, plan.name) for plan in unique]
    classes.append(writer.class_of(root, None, class_name, order))
    parts = [*dict.fromkeys(helpers.values()), *classes]
    imports = ["import torch", "from torch import nn"]
    text = "\n\n\n".join(parts)
    if "OrderedDict(" in text:
        imports = ["from collections import OrderedDict", "", *imports]
    if "torch." not in text.replace("import torch", ""):
        imports.remove("import torch")
    return f'"""{_one_line(title)}, written by blockforge."""\n\n' + "\n".join(imports) + "\n\n\n" + text + "\n"


def _helpers(graph: Graph) -> dict[str, str]:
    """The sources that the ops bring with them, by the names of the classes in them."""
    helpers: dict[str, str] = {}
    for node in graph.nodes:
        text = node.op.helper.strip("\n")
        for name in re.findall(r"^class (\w+)", text, re.MULTILINE):
            if helpers.setdefault(name, text) != text:
                raise BlockforgeError(f"{node.name}: another op brings a class {name} of its own; rename one of them")
    return helpers


def _one_line(title: str) -> str:
    """The title without what would end a docstring or be an escape in it."""
    line = "".join(letter if letter.isprintable() else " " for letter in title)
    return line.replace("\\", "\\\\").replace('"', "'")


@dataclass
class _Call:
    """A call as a tree, so that it can be broken over lines."""

    head: str
    parts: list[_Call | str] = field(default_factory=list)
    prefix: str = ""
    broken: bool = False

    def flat(self) -> str:
        inner = ", ".join(part if isinstance(part, str) else part.flat() for part in self.parts)
        return f"{self.prefix}{self.head}({inner})"

    def lines(self, indent: str, before: str = "", after: str = "") -> list[str]:
        flat = f"{indent}{before}{self.flat()}{after}"
        if (len(flat) <= WIDTH and not self._breaks()) or not self.parts:
            return [flat]
        lines = [f"{indent}{before}{self.prefix}{self.head}("]
        if all(isinstance(part, str) for part in self.parts):
            inner = filled(map(str, self.parts), indent + "    ")
            inner = [inner[0].removesuffix(",")] if len(inner) == 1 else inner
            return [*lines, *inner, f"{indent}){after}"]
        for part in self.parts:
            if isinstance(part, str):
                lines.append(f"{indent}    {part},")
            else:
                lines += part.lines(indent + "    ", after=",")
        return [*lines, f"{indent}){after}"]

    def _breaks(self) -> bool:
        return self.broken or any(isinstance(part, _Call) and part._breaks() for part in self.parts)


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
        lines += _wrapped(f"    def __init__({signature}):")
        assigned = [f"        {local} = {text}" for local, text in (plan.locals if plan else [])]
        if sequential:
            parts = self.members(unit, texts, ())
            call = _Call("super().__init__", list(parts), broken=True)
            return "\n".join([*lines, *assigned, *call.lines("        ")])
        lines += ["        super().__init__()", *assigned]
        if plan and plan.skips:
            lines.append(f"        self.{plan.flag} = {plan.flag}")
        for attr, value in self.attributes(unit, texts, order).items():
            before = f"self.{attr} = " if is_attribute(attr) else ""
            call = value if before else _Call("self.add_module", [repr(attr).replace("'", '"'), value])
            lines += call.lines("        ", before)
        return "\n".join([*lines, "", *self.forward(unit, plan, order)])

    # -- what makes the modules

    def attributes(self, unit: Unit, texts: dict[Slot, str] | None, order: dict[str, int] | None) -> dict[str, _Call]:
        """The modules of a class by attribute, in the order of registration."""
        tree: Tree = {}
        for index, item in _registered(unit, order):
            place = tree
            for part in item.attr[:-1]:
                place = place.setdefault(part, {})
            place[item.attr[-1]] = self.make(item, texts, (index,))
        return {name: _container(value) for name, value in tree.items()}

    def make(self, item: Item, texts: dict[Slot, str] | None, path: tuple[int, ...]) -> _Call:
        """The call that makes a step's module."""
        if item.unit and item.unit.kind == "chain":
            members = self.members(item.unit, texts, path)
            if item.unit.is_numbered:
                return _Call("nn.Sequential", list(members), broken=len(members) > 1)
            return _Call("nn.Sequential", [_named("OrderedDict", item.unit.names, members)])
        arguments = call_arguments(item, self.plans)
        if item.unit:
            target = self.plans[id(item.unit)].name
        else:
            call = item.node.op.call(*item.node.input_shapes) if item.node else None
            target = call.target if call else ""
        parts: list[_Call | str] = []
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
        return _Call(target, parts)

    def members(self, unit: Unit, texts: dict[Slot, str] | None, path: tuple[int, ...]) -> list[_Call]:
        """The modules of a chain; equal neighbours that are blocks fold into one line."""
        made = [self.make(item, texts, (*path, index)) for index, item in enumerate(unit.items)]
        if not unit.is_numbered:
            return made
        folded: list[_Call] = []
        index = 0
        while index < len(made):
            rest = list(takewhile(lambda i: _is_block(unit.items[i]), range(index, len(made))))
            fold = _fold([made[i] for i in rest])
            folded.append(fold or made[index])
            index += fold.count if fold else 1
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
        for index, statement in enumerate(plan_body.statements):
            text = self.expression(statement, tree)
            last = index == len(plan_body.statements) - 1
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
        if plan_body.returns:
            lines.append(f"        return {', '.join(plan_body.returns)}")
        return lines

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


class _Folded(_Call):
    """`*[Bottleneck(256) for _ in range(5)]`: so many calls in one."""

    def __init__(self, call: _Call, loop: str, count: int) -> None:
        super().__init__(call.head, call.parts)
        self.loop = loop
        self.count = count

    def flat(self) -> str:
        return f"*[{super().flat()} {self.loop}]"

    def lines(self, indent: str, before: str = "", after: str = "") -> list[str]:
        flat = f"{indent}{before}{self.flat()}{after}"
        if len(flat) <= WIDTH:
            return [flat]
        inner = indent + "    "
        head, bracket, values = self.loop.partition("(")
        loop = (
            [inner + self.loop]
            if len(inner + self.loop) <= WIDTH or "range" in head
            else [f"{inner}{head}{bracket}", *filled(values.removesuffix(")").split(", "), inner + "    "), f"{inner})"]
        )
        return [f"{indent}{before}*[", *_Call(self.head, self.parts).lines(inner), *loop, f"{indent}]{after}"]


def _is_block(item: Item) -> bool:
    return item.unit is not None and item.unit.kind == "block"


def _fold(calls: list[_Call]) -> _Folded | None:
    """The first of these calls and those equal to it in one, or that differ in one probability alone."""
    equal = list(takewhile(lambda call: call.flat() == calls[0].flat(), calls))
    if len(equal) > 1:
        return _Folded(equal[0], f"for _ in range({len(equal)})", len(equal))
    for place, part in enumerate(calls[0].parts if calls else []):
        name, _, value = str(part).partition("=")
        varied = list(takewhile(partial(_differs, other=calls[0], place=place), calls))
        if _FRACTION.fullmatch(value) and len(varied) >= VARIED:
            parts = [*calls[0].parts]
            parts[place] = f"{name}={name}"
            values = ", ".join(str(call.parts[place]).partition("=")[2] for call in varied)
            return _Folded(_Call(calls[0].head, parts), f"for {name} in ({values})", len(varied))
    return None


def _differs(call: _Call, other: _Call, place: int) -> bool:
    """Whether two calls are one but for the fraction at this place."""
    if call.head != other.head or len(call.parts) != len(other.parts):
        return False
    name, _, value = str(call.parts[place]).partition("=")
    rest = [i for i in range(len(call.parts)) if i != place]
    return (
        bool(_FRACTION.fullmatch(value))
        and str(other.parts[place]).startswith(f"{name}=")
        and all(str(call.parts[i]) == str(other.parts[i]) for i in rest)
    )


def _registered(unit: Unit, order: dict[str, int] | None) -> list[tuple[int, Item]]:
    """The modules of a class with their steps' indices, in order of registration: stages in file order."""
    steps = [(index, item) for index, item in enumerate(unit.items) if item.is_module]
    return sorted(steps, key=lambda step: order.get(step[1].stage or "", 0)) if order else steps


def _container(value: _Call | Tree) -> _Call:
    """A scope whose modules form no chain: a list if they are numbered, else a dict."""
    if isinstance(value, _Call):
        return value
    parts = [_container(inner) for inner in value.values()]
    if list(value) == [str(i) for i in range(len(parts))]:
        return _Call("nn.ModuleList", [_Brackets(parts)])
    return _named("nn.ModuleDict", list(value), parts, braces=True)


class _Brackets(_Call):
    def __init__(self, parts: list[_Call]) -> None:
        super().__init__("", list(parts))

    def flat(self) -> str:
        return f"[{super().flat()[1:-1]}]"

    def lines(self, indent: str, before: str = "", after: str = "") -> list[str]:
        lines = super().lines(indent, before, "")
        if len(lines) == 1:
            return [f"{indent}{before}{self.flat()}{after}"]
        first, *middle, last = lines
        return [first[:-1] + "[", *middle, last[:-1] + "]" + after]


def _named(head: str, names: list[str], parts: list[_Call], *, braces: bool = False) -> _Call:
    """`OrderedDict(conv0=..., norm0=...)`, or with a dict in it where a name is no keyword argument's."""
    if braces or not all(is_attribute(name) for name in names):
        inner = [_prefixed(part, f'"{name}": ') for name, part in zip(names, parts, strict=True)]
        return _Call(head, [_Braces(inner)], broken=False)
    return _Call(head, [_prefixed(part, f"{name}=") for name, part in zip(names, parts, strict=True)], broken=True)


class _Braces(_Brackets):
    def flat(self) -> str:
        return f"{{{super().flat()[1:-1]}}}"

    def lines(self, indent: str, before: str = "", after: str = "") -> list[str]:
        lines = super().lines(indent, before, after)
        if len(lines) == 1:
            return [f"{indent}{before}{self.flat()}{after}"]
        end = len(after) + 1
        return [lines[0][:-1] + "{", *lines[1:-1], lines[-1][:-end] + "}" + after]


def _prefixed(call: _Call, prefix: str) -> _Call:
    return _Call(call.head, call.parts, prefix + call.prefix, call.broken)


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


def _wrapped(line: str) -> list[str]:
    """A signature that is too long, with its arguments on lines of their own."""
    if len(line) <= WIDTH:
        return [line]
    head, _, rest = line.partition("(")
    inner = filled(rest.removesuffix("):").split(", "), " " * 8)
    return [f"{head}(", *([inner[0].removesuffix(",")] if len(inner) == 1 else inner), "    ):"]


def filled(words: Iterable[str], indent: str) -> list[str]:
    """Arguments, as many to a line as fit."""
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + len(word) + 2 <= WIDTH:
            lines[-1] += f" {word},"
        else:
            lines.append(f"{indent}{word},")
    return lines


__all__ = ["Code", "source", "source_of"]
