"""Tables as text in columns, as Markdown and as CSV.

Our own and not rich's: importing that costs as much as all of `blockforge list`, and a pipe needs no colours.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

GAP = 2  # spaces between columns; 1 where a terminal is narrow
NARROWEST = 8  # characters to which a column of names is broken at most

_WORDS = re.compile(r"(?<=\s)(?=\S)")
# A name folds behind a '.' or a '_', and before a hump of `BatchNorm2d`.
_NAME_PARTS = re.compile(r"(?<=[._])(?=[^._])|(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True)
class Column:
    """A column's title and how it is set on a narrow terminal: folded between words, or broken anywhere."""

    title: str
    right: bool = False
    fold: bool = False
    breaks: bool = False


Rows = Sequence[Sequence[str]]


def text_table(columns: Sequence[Column], rows: Rows, width: int | None = None) -> str:
    """The table in aligned columns; `width` folds cells until a line fits (if it can), None never folds."""
    titles = [column.title for column in columns]
    cells = [[row[place] for row in (titles, *rows)] for place in range(len(columns))]
    widths, gap = [max(map(len, column)) for column in cells], GAP
    if width is not None:
        least = [max(map(_longest_word, column)) for column in cells]
        widths = _narrowed(widths, least, [column.fold for column in columns], width - gap * (len(columns) - 1))
        if sum(widths) + gap * (len(columns) - 1) > width:
            gap = 1
            least = [min(size, NARROWEST) for size in widths]
            widths = _narrowed(widths, least, [column.breaks for column in columns], width - len(columns) + 1)
    rule = (" " * gap).join("-" * size for size in widths)
    head, *body = ["\n".join(_lines(row, columns, widths, gap)) for row in (titles, *rows)]
    return "\n".join([head, rule, *body])


def pairs(rows: Rows, width: int | None = None) -> str:
    """Rows without a head: a name, a number to the right, and a remark that folds under itself."""
    first, second = (max(len(row[place]) for row in rows) for place in (0, 1))
    left = first + second + 2 * GAP
    lines = []
    for name, value, remark in rows:
        head, *rest = _wrap(remark, max(NARROWEST, width - left) if width is not None else len(remark))
        lines.append(f"{name.ljust(first)}{' ' * GAP}{value.rjust(second)}{' ' * GAP}{head}".rstrip())
        lines += [" " * left + more for more in rest]
    return "\n".join(lines)


def markdown_table(columns: Sequence[Column], rows: Rows) -> str:
    """The table in GitHub's Markdown, its source aligned too."""
    titles = [_escaped(column.title) for column in columns]
    cells = [[_escaped(cell) for cell in row] for row in rows]
    widths = [max(3, *(len(cell) for cell in column)) for column in zip(titles, *cells, strict=True)]
    rule = [
        "-" * (size - 1) + ":" if column.right else "-" * size for column, size in zip(columns, widths, strict=True)
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


def _narrowed(widths: Sequence[int], least: Sequence[int], able: Sequence[bool], room: int) -> list[int]:
    """Widths whose sum is at most `room`, as far as that goes: the widest column that can gives way first."""
    new = list(widths)
    for _ in range(sum(new) - room):
        places = [place for place, size in enumerate(new) if able[place] and size > least[place]]
        if not places:
            break
        new[max(places, key=new.__getitem__)] -= 1
    return new


def _lines(row: Sequence[str], columns: Sequence[Column], widths: Sequence[int], gap: int) -> list[str]:
    cells = [_wrap(cell, size) for cell, size in zip(row, widths, strict=True)]
    lines = []
    for number in range(max(map(len, cells))):
        parts = (cell[number] if number < len(cell) else "" for cell in cells)
        padded = (
            part.rjust(size) if column.right else part.ljust(size)
            for part, column, size in zip(parts, columns, widths, strict=True)
        )
        lines.append((" " * gap).join(padded).rstrip())
    return lines


def _words(cell: str) -> list[str]:
    """What a fold keeps whole: the words of a text, the parts of a name."""
    return (_WORDS if " " in cell else _NAME_PARTS).split(cell)


def _longest_word(cell: str) -> int:
    return max(len(word.rstrip()) for word in _words(cell))


def _wrap(cell: str, width: int) -> list[str]:
    """The cell in lines of at most `width`, folded between words; a longer word is broken."""
    lines = [""]
    for word in _words(cell):
        if len(lines[-1] + word.rstrip()) > width:
            lines.append("")
        while len(word.rstrip()) > width:
            lines[-1:] = [word[:width], ""]
            word = word[width:]  # noqa: PLW2901 (what is left of it)
        lines[-1] += word
    return [line.rstrip() for line in lines if line.strip()] or [""]


def _escaped(cell: str) -> str:
    """A cell in which Markdown sees no end of the cell, no emphasis and no HTML."""
    for mark in "\\|*<":  # not `_`, which within a word is no emphasis
        cell = cell.replace(mark, "\\" + mark)
    return cell
