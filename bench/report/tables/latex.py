"""A table in LaTeX, for booktabs. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bench.report.tables.grid import Entry, Grid

LINE = 68
"""Approximate number of characters in a line of text, at the size of a table."""
BRACKETS = 0.75
"""Width of an interval, which is set smaller, relative to a number of as many characters."""


def latex(grid: Grid) -> str:
    """Write ``table`` environments that need only booktabs; notes and commands stand below the last of them.

    A table that fits a page is one environment; a longer one is cut between blocks. An interval stands beside its
    number if the line is long enough, else below it.
    """
    beside = not grid.wide and bool(grid.headings) and _width(grid, beside=True) <= LINE
    narrow = bool(grid.wide) or _width(grid, beside=beside) > LINE - 6
    size = [r"\footnotesize", r"\setlength{\tabcolsep}{3pt}"] if narrow else [r"\small"]
    below = [_tex(note) for note in grid.notes]
    below += [rf"{mark}: {_command(command)}" for mark, each in grid.commands for command in each]
    parts = _parts(grid, beside=beside)
    tables = []
    for number, part in enumerate(parts):
        caption = _tex(grid.caption) if number == 0 else r"(continued)"
        lines = [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption}}}",
            *size,
            rf"\begin{{tabular}}{{{''.join(_column(grid, i) for i in range(len(grid.header)))}}}",
            r"\toprule",
            " & ".join(_tex(text) for text in grid.header) + END,
            r"\midrule",
            *part,
            r"\bottomrule",
            r"\end{tabular}",
        ]
        if below and number == len(parts) - 1:
            notes = "\\par\n".join(below)
            lines += ["", r"\medskip", rf"\parbox{{\linewidth}}{{\footnotesize\raggedright {notes}\par}}"]
        tables.append("\n".join([*lines, r"\end{table}"]))
    return "\n\n".join([r"% needs \usepackage{booktabs}", *tables]) + "\n"


def _parts(grid: Grid, *, beside: bool) -> list[list[str]]:
    """Cut the rows between blocks if they would not fit a page."""
    parts: list[list[str]] = [[]]
    starts: list[int] = sorted({0} | set(grid.rules or range(len(grid.rows))))
    for start, end in zip(starts, [*starts[1:], len(grid.rows)], strict=True):
        block: list[str] = []
        if start in grid.headings:
            text = _tex(grid.headings[start])
            block.append(rf"\multicolumn{{{len(grid.header)}}}{{l}}{{\textit{{{text}}}}}{END}")
        for row in grid.rows[start:end]:
            block += _rows(row, grid.wide, beside=beside)
        if parts[-1] and len(parts[-1]) + len(block) > PAGE // (4 if grid.wide else 1):
            parts.append([])
        rule = [r"\midrule"] if parts[-1] and start in grid.rules else []
        parts[-1] += [*rule, *block]
    return parts


PAGE = 40
"""Number of rows of a table that fit a page with its notes; a row of paragraphs counts as four."""
END = r" \tabularnewline"
"""End of a row: unlike a double backslash, ``raggedright`` does not redefine it."""


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
    return rf"\texttt{{{command.translate(_LATEX)}}}".replace("'", r"\textquotesingle{}")
