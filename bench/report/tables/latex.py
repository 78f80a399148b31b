"""A table in LaTeX, for booktabs. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from bench.report.tables.grid import Entry, Grid

LINE = 68
"""Approximate number of characters in a line of text, at the size of a table."""
SMALL_LINE = 88
"""The same for a table in small print."""
BRACKETS = 0.75
"""Width of an interval, which is set smaller, relative to a number of as many characters."""
PAGE = 40
"""Number of rows of a table that fit a page; a row of paragraphs counts as four."""
PAPER = 46
"""Number of lines of text that fit a page."""
NOTE = 78
"""Approximate number of characters in a line of the notes, which is as high as 0.8 lines of text."""
END = r" \tabularnewline"
"""End of a row: unlike a double backslash, ``raggedright`` does not redefine it."""


def latex(grid: Grid) -> str:
    """Write ``table`` environments that need only booktabs; notes and commands stand below the last of them.

    A table that fits a page is one environment. One with too many rows is cut between blocks, and one with too many
    columns between columns of numbers; each part repeats the columns of words. Notes that do not fit the page of the
    last part follow as text.
    """
    tables = [part for columns in _fitting(grid, list(range(len(grid.header)))) for part in _tables(columns)]
    below = [_tex(note) for note in grid.notes]
    below += [rf"{mark}: {_command(command)}" for mark, each in grid.commands for command in each]
    height = 1 + len(grid.caption) // LINE + 0.8 * sum(1 + len(note) // NOTE for note in below)
    texts = []
    for number, (rows, lines) in enumerate(tables):
        caption = _tex(grid.caption) if number == 0 else r"(continued)"
        text = [r"\begin{table}", r"\centering", rf"\caption{{{caption}}}", *lines]
        after = [r"\end{table}"]
        if below and number == len(tables) - 1:
            notes = "\\par\n".join(below)
            box = ["", r"\medskip", rf"\parbox{{\linewidth}}{{\footnotesize\raggedright {notes}\par}}"]
            fits = rows + height + 4 <= PAPER
            after = [*box, *after] if fits else [*after, "", rf"{{\footnotesize\raggedright {notes}\par}}"]
        texts.append("\n".join([*text, *after]))
    return "\n\n".join([r"% needs \usepackage{booktabs}", *texts]) + "\n"


def _tables(grid: Grid) -> list[tuple[int, list[str]]]:
    """Return the tabulars of one grid, each with the number of its rows.

    An interval stands beside its number if the line is long enough, else below it.
    """
    beside = not grid.wide and bool(grid.headings) and _width(grid, beside=True) <= LINE
    narrow = bool(grid.wide) or _width(grid, beside=beside) > LINE - 6
    size = [r"\footnotesize", r"\setlength{\tabcolsep}{3pt}"] if narrow else [r"\small"]
    head = [
        *size,
        rf"\begin{{tabular}}{{{''.join(_column(grid, i) for i in range(len(grid.header)))}}}",
        r"\toprule",
        " & ".join(_tex(text) for text in grid.header) + END,
        r"\midrule",
    ]
    return [
        (len(part) * (4 if grid.wide else 1), [*head, *part, r"\bottomrule", r"\end{tabular}"])
        for part in _parts(grid, beside=beside)
    ]


def _fitting(grid: Grid, columns: list[int]) -> list[Grid]:
    """Cut a table into as many parts as the width of a page needs."""
    part = replace(
        grid,
        header=tuple(grid.header[i] for i in columns),
        rows=tuple(tuple(row[i] for i in columns) for row in grid.rows),
        left=frozenset(place for place, i in enumerate(columns) if i in grid.left),
    )
    numbers = [i for i in columns if i not in grid.left]
    if grid.wide or len(numbers) <= 1 or _width(part, beside=False) <= SMALL_LINE:
        return [part]
    words, middle = [i for i in columns if i in grid.left], (len(numbers) + 1) // 2
    return _fitting(grid, words + numbers[:middle]) + _fitting(grid, words + numbers[middle:])


def _parts(grid: Grid, *, beside: bool) -> list[list[str]]:
    """Cut the rows where they would not fit a page: between blocks, or within one that is longer than a page."""
    most = PAGE // (4 if grid.wide else 1)
    parts: list[list[str]] = [[]]
    starts: list[int] = sorted({0} | set(grid.rules or range(len(grid.rows))))
    for start, end in zip(starts, [*starts[1:], len(grid.rows)], strict=True):
        rows = [_rows(row, grid.wide, beside=beside) for row in grid.rows[start:end]]
        if start in grid.headings:
            text = _tex(grid.headings[start])
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


def _rows(row: Sequence[Entry], wide: dict[int, int], *, beside: bool) -> list[str]:
    """Write one row of the table as one row of the tabular, or as many as its tallest entry has lines.

    Paragraphs hold the lines of their entries together.
    """
    parts = [[_part(entry, i, row_wide=number in wide) for i in range(len(entry.lines))]
             for number, entry in enumerate(row)]  # fmt: skip
    if beside or wide:
        cells = [" ".join(each) for each in parts]
        return [" & ".join(rf"\raggedright {cell}" if i in wide else cell for i, cell in enumerate(cells)) + END]
    height = max(1, max(map(len, parts)))
    return [" & ".join(each[line] if line < len(each) else "" for each in parts) + END for line in range(height)]


def _part(entry: Entry, line: int, *, row_wide: bool) -> str:
    text = _tex(entry.lines[line])
    if line == 0:
        return rf"\textbf{{{text}}}" if entry.best and text else text
    return text if row_wide else rf"{{\scriptsize {text}}}"


_LATEX = str.maketrans(
    {c: rf"\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$"}
    | {"|": r"\textbar{}"}
)
_SIGNS = {
    '"': "''",
    "$<$=": r"$\leq$",
    "$>$=": r"$\geq$",
    "∞": r"$\infty$",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
    "§": r"\S{}",
}


def _tex(text: str) -> str:
    """Escape a text, with a minus sign instead of a hyphen and powers of ten."""
    escaped = re.sub(r"^-$", "--", text).translate(_LATEX)
    signed = re.sub(r"(?<![\w.])-(?=\d)", "$-$", escaped)
    powers = re.sub(r"(\d)e([+-])0*(\d+)", lambda m: rf"{m[1]}$\times 10^{{{m[2].strip('+')}{m[3]}}}$", signed)
    for plain, sign in _SIGNS.items():
        powers = powers.replace(plain, sign)
    return powers


def _command(command: str) -> str:
    # Quotes must stay straight for anyone who copies them.
    text = command.translate(_LATEX).replace("'", r"\textquotesingle{}").replace(",", r",\allowbreak{}")
    return rf"\texttt{{{text}}}"
