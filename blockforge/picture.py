"""The ops of a graph as a text picture: one a line in the order in which they run, wired by rails as `git log --graph`.

A rail runs down from an op to one that reads it. `●─╮` is an op that two read, `●─╯` one that reads two, `─│─` a rail
that passes behind another.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from textwrap import wrap

from blockforge.display import show_shapes
from blockforge.graph import Graph, Node
from blockforge.ops import pair
from blockforge.ops.base import show_size

GAP = "  "
NARROWEST = 16  # characters beside the rails to which a text is wrapped at most
OP, RAIL, FORK = "●", "│", "├"  # what stands at the left of a line's ends, or alone
MERGES, FORKS = ("┴", "╯"), ("┬", "╮")  # where a rail ends in a line, or begins: all but the last, and the last
ASCII = str.maketrans("●│├─┴╯┬╮", "*||-''..")
"""What stands for them where an output has no such letters: `*-.` for `●─╮`."""


@dataclass(frozen=True)
class _Line:
    """A line of rails: those that pass or meet in it, and the `ends` that are joined to one of them, `own`."""

    node: Node | None  # the op in this line; None where rails fork beneath it
    rails: tuple[int, ...]
    own: int
    ends: tuple[int, ...] = ()
    corners: tuple[str, str] = FORKS
    below: tuple[int, ...] = ()  # the rails that go on where the op's text takes more lines


@dataclass
class _Rails:
    """The rails that are live, from left to right, and for all that ever were those which stood to their left.

    A rail keeps its column. Two that are live at a time keep their order, so that columns can be found for all.
    """

    live: list[int] = field(default_factory=list)
    lefts: list[set[int]] = field(default_factory=list)

    def start(self, place: int) -> int:
        """Begin a rail at this place in the order."""
        rail = len(self.lefts)
        self.lefts.append(set())
        self.live.insert(place, rail)
        self._beside(place)
        self._beside(place + 1)
        return rail

    def _beside(self, place: int) -> None:
        if 0 < place < len(self.live):
            self.lefts[self.live[place]].add(self.live[place - 1])

    def columns(self) -> list[int]:
        """A column for each rail, as far to the left as it can be."""
        columns = [0] * len(self.lefts)
        for rail in TopologicalSorter(dict(enumerate(self.lefts))).static_order():
            columns[rail] = max((columns[left] + 1 for left in self.lefts[rail]), default=0)
        return columns


def picture(graph: Graph, width: int | None = None) -> str:
    """The ops from top to bottom, each with its name, its type and its output's shape (HxWxC), wired by rails.

    The rail of an op's first reader goes straight down, those of later readers fork to its right. `width` is a
    terminal's: where a line doesn't fit, all texts are wrapped beside the rails that go on; None never wraps.
    """
    lines, columns = _lay(graph)
    drawn = [_draw(line, columns) for line in lines]
    room = max(map(len, drawn), default=0) + len(GAP)
    cells = [(node.name, _type(node), show_shapes(node.shapes)) for node in graph]
    sizes = [max(map(len, column)) for column in zip(*cells, strict=True)]
    wrapped = [[GAP.join(map(str.ljust, row, sizes)).rstrip()] for row in cells]
    if width is not None and any(room + len(text) > width for (text,) in wrapped):
        wrapped = [wrap(GAP.join(row), max(width - room, NARROWEST), subsequent_indent=GAP) for row in cells]
    result = []
    for line, rails in zip(lines, drawn, strict=True):
        if line.node is None:
            result.append(rails)
            continue
        first, *rest = wrapped[line.node.index]
        result.append(f"{rails.ljust(room)}{first}")
        passing = "".join(_passing(line.below, columns))
        result += [f"{passing.ljust(room)}{more}" for more in rest]
    return "\n".join(result)


def _lay(graph: Graph) -> tuple[list[_Line], list[int]]:
    """The lines from top to bottom, and the column of each rail."""
    rails, readers = _Rails(), graph.readers()
    lines: list[_Line] = []
    arriving: list[list[int]] = [[] for _ in graph.nodes]
    unread: int | None = None  # the last op's rail, if nobody reads it: nothing may seem to go on from it
    for node in graph:
        reading = arriving[node.index] or [rails.start(len(rails.live))]
        if unread is not None:
            rails.live.remove(unread)
        own, *merged = sorted(reading, key=rails.live.index)
        before = tuple(rails.live)
        for rail in merged:
            rails.live.remove(rail)
        after = tuple(rails.live)
        place = rails.live.index(own) + 1
        forks = [rails.start(place + number) for number in range(len(readers[node.index]) - 1)]
        for (reader, _), rail in zip(readers[node.index], [own, *forks], strict=False):
            arriving[reader.index].append(rail)
        unread = None if readers[node.index] else own
        below = tuple(rail for rail in (after if merged else rails.live) if rail != unread)
        if merged:
            lines.append(_Line(node, before, own, tuple(merged), MERGES, below))
        else:
            lines.append(_Line(node, tuple(rails.live), own, tuple(forks), FORKS, below))
        if merged and forks:
            lines.append(_Line(None, tuple(rails.live), own, tuple(forks), FORKS))
    return lines, rails.columns()


def _passing(rails: tuple[int, ...], columns: list[int]) -> list[str]:
    """The characters of a line in which rails just pass, a column every two."""
    cells = [" "] * (2 * max((columns[rail] for rail in rails), default=0) + 1)
    for rail in rails:
        cells[2 * columns[rail]] = RAIL
    return cells


def _draw(line: _Line, columns: list[int]) -> str:
    """The rails of a line as text."""
    cells = _passing(line.rails, columns)
    left = 2 * columns[line.own]
    right = max((2 * columns[rail] for rail in line.ends), default=left)
    for place in range(left + 1, right):
        if cells[place] == " ":
            cells[place] = "─"
    for rail in line.ends:
        cells[2 * columns[rail]] = line.corners[2 * columns[rail] == right]
    cells[left] = OP if line.node else FORK
    return "".join(cells)


def _type(node: Node) -> str:
    """An op's type with its kernel, stride, dilation and groups: `Conv2d 3x3, stride 2`."""
    kernel, stride, dilation = (getattr(node.op, key, None) for key in ("kernel", "stride", "dilation"))
    groups = getattr(node.op, "groups", 1)
    parts = [f"{node.op.kind} {show_size(pair(kernel))}" if kernel else node.op.kind]
    parts += [f"{key} {show_size(value)}" for key, value in (("stride", stride), ("dilation", dilation))
              if value not in (None, 1)]  # fmt: skip
    return ", ".join([*parts, *([f"groups {groups}"] if groups != 1 else [])])
