"""Tables as text in columns, as Markdown and as CSV.

Our own and not rich's: importing that costs as much as all of `blockforge list`, and a pipe needs no colours.
"""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

GAP = "  "
NARROWEST = 8  # characters to which a column is folded at most


@dataclass(frozen=True)
class Column:
    """A column's title and how it is set: numbers to the right; only text may be folded."""

    title: str
    right: bool = False
    fold: bool = False


Rows = Sequence[Sequence[str]]


def text_table(columns: Sequence[Column], rows: Rows, width: int | None = None) -> str:
    """The table in aligned columns; `width` folds the foldable ones until a line fits, None never folds."""
    titles = [column.title for column in columns]
    widths = [max(len(cell) for cell in cells) for cells in zip(titles, *rows, strict=True)]
    if width is not None:
        widths = _folded(columns, widths, width)
    lines = [*_lines(titles, columns, widths), GAP.join("-" * size for size in widths)]
    for row in rows:
        lines += _lines(row, columns, widths)
    return "\n".join(lines)


def pairs(rows: Rows, width: int | None = None) -> str:
    """Rows without a head: a name, a number to the right, and a remark that folds under itself."""
    first, second = (max(len(row[place]) for row in rows) for place in (0, 1))
    room = max(NARROWEST, width - first - second - 2 * len(GAP)) if width is not None else None
    lines = []
    for name, value, remark in rows:
        head, *rest = _wrap(remark, room)
        lines.append(GAP.join((name.ljust(first), value.rjust(second), head)).rstrip())
        lines += [" " * (first + second + 2 * len(GAP)) + more for more in rest]
    return "\n".join(lines)


def markdown_table(columns: Sequence[Column], rows: Rows) -> str:
    """The table in GitHub's Markdown, its source aligned too."""
    titles = [_escaped(column.title) for column in columns]
    cells = [[_escaped(cell) for cell in row] for row in rows]
    widths = [max(3, *(len(cell) for cell in column)) for column in zip(titles, *cells, strict=True)]
    rule = [
        "-" * (size - 1) + ":" if column.right else "-" * size
        for column, size in zip(columns, widths, strict=True)
    ]
    lines = []
    for line in (titles, rule, *cells):
        padded = (
            cell.rjust(size) if column.right else cell.ljust(size)
            for cell, column, size in zip(line, columns, widths, strict=True)
        )
        lines.append(f"| {' | '.join(padded)} |")
    return "\n".join(lines)


def csv_table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """The table as comma-separated values, quoted where needed, without the last line's end."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(titles)
    writer.writerows(rows)
    return stream.getvalue().removesuffix("\n")


def _folded(columns: Sequence[Column], widths: Sequence[int], width: int) -> list[int]:
    """Column widths that fit into a line, the widest foldable column narrowed first; as far as that goes."""
    new = list(widths)
    excess = sum(new) + len(GAP) * (len(new) - 1) - width
    while excess > 0:
        able = [place for place, column in enumerate(columns) if column.fold and new[place] > NARROWEST]
        if not able:
            break
        widest = max(able, key=new.__getitem__)
        new[widest] -= 1
        excess -= 1
    return new


def _lines(row: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> list[str]:
    cells = [_wrap(cell, size) for cell, size in zip(row, widths, strict=True)]
    height = max(map(len, cells))
    lines = []
    for number in range(height):
        parts = (cell[number] if number < len(cell) else "" for cell in cells)
        padded = (
            part.rjust(size) if column.right else part.ljust(size)
            for part, column, size in zip(parts, columns, widths, strict=True)
        )
        lines.append(GAP.join(padded).rstrip())
    return lines


def _wrap(cell: str, width: int | None) -> list[str]:
    if width is None or len(cell) <= width:
        return [cell]
    return textwrap.wrap(cell, width, break_on_hyphens=False)


def _escaped(cell: str) -> str:
    """A cell in which Markdown sees no end of the cell, no emphasis and no HTML (`_` within a word is none)."""
    for mark in "\\|*<":
        cell = cell.replace(mark, "\\" + mark)
    return cell
