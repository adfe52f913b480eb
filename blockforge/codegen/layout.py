"""Calls as trees, so that they can be broken over lines as a person would, and equal neighbours folded into one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import takewhile

from blockforge.codegen.structure import is_attribute

WIDTH = 110
VARIED = 3  # from so many neighbours on, a varying probability becomes a loop
_FRACTION = re.compile(r"\d+\.\d+(e-\d+)?")


@dataclass
class CallText:
    """A call with its arguments, or with other brackets a list or a dict, as a tree."""

    head: str
    parts: list[CallText | str] = field(default_factory=list)
    prefix: str = ""
    broken: bool = False  # over lines, though it would fit into one
    brackets: str = "()"

    def flat(self) -> str:
        """It in one line."""
        inner = ", ".join(part if isinstance(part, str) else part.flat() for part in self.parts)
        return f"{self.prefix}{self.head}{self.brackets[0]}{inner}{self.brackets[1]}"

    def lines(self, indent: str, before: str = "", after: str = "") -> list[str]:
        """It in as many lines as it needs, with a text before and one behind."""
        flat = f"{indent}{before}{self.flat()}{after}"
        if (len(flat) <= WIDTH and not self._breaks()) or not self.parts:
            return [flat]
        lines = [f"{indent}{before}{self.prefix}{self.head}{self.brackets[0]}"]
        if all(isinstance(part, str) for part in self.parts):
            inner = filled(map(str, self.parts), indent + "    ")
            lines += [inner[0].removesuffix(",")] if len(inner) == 1 else inner
        else:
            for part in self.parts:
                inside = indent + "    "
                lines += [f"{inside}{part},"] if isinstance(part, str) else part.lines(inside, after=",")
        return [*lines, f"{indent}{self.brackets[1]}{after}"]

    def _breaks(self) -> bool:
        return self.broken or any(isinstance(part, CallText) and part._breaks() for part in self.parts)


class Folded(CallText):
    """`*[Bottleneck(256) for _ in range(5)]`: so many calls in one."""

    def __init__(self, call: CallText, loop: str, count: int) -> None:
        super().__init__(call.head, call.parts)
        self.loop = loop
        self.count = count

    def flat(self) -> str:
        """It in one line."""
        return f"*[{super().flat()} {self.loop}]"

    def lines(self, indent: str, before: str = "", after: str = "") -> list[str]:
        """It in one line if it fits, else the call and the loop in lines of their own."""
        flat = f"{indent}{before}{self.flat()}{after}"
        if len(flat) <= WIDTH:
            return [flat]
        inside = indent + "    "
        head, _, values = self.loop.removesuffix(")").partition("(")
        loop = [inside + self.loop]
        if len(loop[0]) > WIDTH:
            loop = [f"{inside}{head}(", *filled(values.split(", "), inside + "    "), f"{inside})"]
        return [f"{indent}{before}*[", *CallText(self.head, self.parts).lines(inside), *loop, f"{indent}]{after}"]


def fold(calls: list[CallText]) -> Folded | None:
    """The first of these calls and those equal to it in one, or that differ in one probability alone."""
    equal = list(takewhile(lambda call: call.flat() == calls[0].flat(), calls))
    if len(equal) > 1:
        return Folded(equal[0], f"for _ in range({len(equal)})", len(equal))
    for place, part in enumerate(calls[0].parts if calls else []):
        name, _, value = str(part).partition("=")
        varied = list(takewhile(partial(_differs, other=calls[0], place=place), calls))
        if _FRACTION.fullmatch(value) and len(varied) >= VARIED:
            parts = [*calls[0].parts]
            parts[place] = f"{name}={name}"
            values = ", ".join(str(call.parts[place]).partition("=")[2] for call in varied)
            return Folded(CallText(calls[0].head, parts), f"for {name} in ({values})", len(varied))
    return None


def _differs(call: CallText, other: CallText, place: int) -> bool:
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


def named_call(head: str, names: list[str], parts: list[CallText], *, braces: bool = False) -> CallText:
    """`OrderedDict(conv0=..., norm0=...)`, or with a dict in it where a name is no keyword argument's."""
    if braces or not all(is_attribute(name) for name in names):
        inner = [prefixed(part, f'"{name}": ') for name, part in zip(names, parts, strict=True)]
        return CallText(head, [CallText("", list(inner), brackets="{}")])
    return CallText(head, [prefixed(part, f"{name}=") for name, part in zip(names, parts, strict=True)], broken=True)


def prefixed(call: CallText, prefix: str) -> CallText:
    """The call with a text before it."""
    return replace(call, prefix=prefix + call.prefix)


def wrapped(line: str) -> list[str]:
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
