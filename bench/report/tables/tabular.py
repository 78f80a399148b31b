"""The tabulars of a table in LaTeX: its columns and rows, cut where they would not fit a page. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.report.tables.grid import Entry, Grid
from bench.report.tables.tex import tex

BRACKETS = 0.75
"""Width of an interval, which is set smaller, relative to a number of as many characters."""
END = r" \tabularnewline"
"""End of a row: unlike a double backslash, ``raggedright`` does not redefine it."""


@dataclass(frozen=True)
class Room:
    """How much has room on a page, all of it approximate and rather too little.

    Attributes:
        line: Characters in a line, at the size of a table.
        small_line: The same for a table in small print.
        widest: Characters in small print up to which a table is not cut: what is longer than a line is made smaller.
        rows: Rows on a page; a row of paragraphs counts as four.
        beside: Whether an interval may stand beside its number in small print, too.
        noted: Whether marks are those of a ``threeparttable``.
    """

    line: int
    small_line: int
    widest: int
    rows: int
    beside: bool
    noted: bool = False


def tabulars(grid: Grid, room: Room) -> list[tuple[int, list[str], list[str]]]:
    """Return the tabulars that a grid takes, each with the number of its rows and the size of its print."""
    return [part for columns in _fitting(grid, room, list(range(len(grid.header)))) for part in _cut(columns, room)]


def _cut(grid: Grid, room: Room) -> list[tuple[int, list[str], list[str]]]:
    """Return the tabulars of some columns.

    An interval stands beside its number if the line is long enough, else below it.
    """
    longest = room.small_line if room.beside else room.line
    beside = not grid.wide and bool(grid.headings) and _width(grid, beside=True) <= longest
    narrow = bool(grid.wide) or _width(grid, beside=beside) > room.line - 6
    size = [r"\footnotesize", r"\setlength{\tabcolsep}{3pt}"] if narrow else [r"\small"]
    head = [
        rf"\begin{{tabular}}{{{''.join(_column(grid, i) for i in range(len(grid.header)))}}}",
        r"\toprule",
        " & ".join(map(tex, grid.header)) + END,
        r"\midrule",
    ]
    return [
        (len(part) * (4 if grid.wide else 1), size, [*head, *part, r"\bottomrule", r"\end{tabular}"])
        for part in _parts(grid, room, beside=beside)
    ]


def _fitting(grid: Grid, room: Room, columns: list[int]) -> list[Grid]:
    """Cut a table into as many parts as the width of a page needs."""
    part = replace(
        grid,
        header=tuple(grid.header[i] for i in columns),
        rows=tuple(tuple(row[i] for i in columns) for row in grid.rows),
        left=frozenset(place for place, i in enumerate(columns) if i in grid.left),
    )
    numbers = [i for i in columns if i not in grid.left]
    if grid.wide or len(numbers) <= 1 or _width(part, beside=False) <= room.widest:
        return [part]
    words, middle = [i for i in columns if i in grid.left], (len(numbers) + 1) // 2
    return _fitting(grid, room, words + numbers[:middle]) + _fitting(grid, room, words + numbers[middle:])


def _parts(grid: Grid, room: Room, *, beside: bool) -> list[list[str]]:
    """Cut the rows where they would not fit a page: between blocks, or within one that is longer than a page."""
    most = room.rows // (4 if grid.wide else 1)
    parts: list[list[str]] = [[]]
    starts: list[int] = sorted({0} | set(grid.rules or range(len(grid.rows))))
    for start, end in zip(starts, [*starts[1:], len(grid.rows)], strict=True):
        rows = [_rows(row, grid.wide, room, beside=beside) for row in grid.rows[start:end]]
        if start in grid.headings:
            text = _words(grid.headings[start], room)
            rows[0].insert(0, rf"\multicolumn{{{len(grid.header)}}}{{l}}{{\textit{{{text}}}}}{END}")
        height = sum(map(len, rows))
        rule = [r"\midrule"] if parts[-1] and start in grid.rules else []
        if parts[-1] and len(parts[-1]) + len(rule) + height > most:
            parts.append([])
            rule = []
        parts[-1] += rule
        for row in rows:
            # A block that is longer than a page is cut as well, and says again what it is of.
            if height > most and len(parts[-1]) + len(row) > most:
                parts.append(rows[0][:1] if start in grid.headings else [])
            parts[-1] += row
    return parts


def _width(grid: Grid, *, beside: bool) -> float:
    """Return the approximate number of characters in the widest line."""

    def of(entry: Entry) -> float:
        parts = [len(line) * (BRACKETS if i else 1.0) for i, line in enumerate(entry.lines)]
        return sum(parts, 0.0) + max(len(parts) - 1, 0) if beside else max(parts, default=0.0)

    columns = zip(*grid.rows, strict=True)
    widths = [max(len(head), *map(of, column)) for head, column in zip(grid.header, columns, strict=True)]
    return sum(widths) + 2.6 * len(widths)


def _column(grid: Grid, column: int) -> str:
    if column in grid.wide:
        share = 0.84 * grid.wide[column] / sum(grid.wide.values())
        return rf"p{{{share:.3f}\linewidth}}"
    return "l" if column in grid.left else "r"


def _rows(row: Sequence[Entry], wide: dict[int, int], room: Room, *, beside: bool) -> list[str]:
    """Write one row of the table as one row of the tabular, or as many as its tallest entry has lines.

    Paragraphs hold the lines of their entries together.
    """
    parts = [[_part(entry, i, room, row_wide=number in wide) for i in range(len(entry.lines))]
             for number, entry in enumerate(row)]  # fmt: skip
    if beside or wide:
        cells = [" ".join(each) for each in parts]
        return [" & ".join(rf"\raggedright {cell}" if i in wide else cell for i, cell in enumerate(cells)) + END]
    height = max(1, max(map(len, parts)))
    return [" & ".join(each[line] if line < len(each) else "" for each in parts) + END for line in range(height)]


def _part(entry: Entry, line: int, room: Room, *, row_wide: bool) -> str:
    text = _words(entry.lines[line], room)
    if line == 0:
        return rf"\textbf{{{text}}}" if entry.best and text else text
    return text if row_wide else rf"{{\scriptsize {text}}}"


def _words(text: str, room: Room) -> str:
    """Return a text, its mark as that of a note where notes have marks."""
    found = re.fullmatch(r"(.*) \[([a-z]{1,2})\](†?)", text) if room.noted else None
    return rf"{tex(found[1])}\tnote{{{found[2]}}}{tex(found[3])}" if found is not None else tex(text)
