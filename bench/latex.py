"""A table in LaTeX, for booktabs. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bench.places import Entry, Grid

LINE = 68
"""Characters of a line of text at the size of a table, more or less."""
BRACKETS = 0.75
"""Width of an interval, which is set smaller, over that of a number of as many characters."""


def latex(grid: Grid) -> str:
    """A ``table`` environment that needs booktabs and nothing else; notes and commands below the rules.

    An interval stands beside its number where the line is long enough, else below it.
    """
    beside = not grid.wide and bool(grid.headings) and _width(grid, beside=True) <= LINE
    narrow = bool(grid.wide) or _width(grid, beside=beside) > LINE - 6
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_tex(grid.caption)}}}",
        *([r"\footnotesize", r"\setlength{\tabcolsep}{3pt}"] if narrow else [r"\small"]),
        rf"\begin{{tabular}}{{{''.join(_column(grid, i) for i in range(len(grid.header)))}}}",
        r"\toprule",
        " & ".join(_tex(text) for text in grid.header) + END,
        r"\midrule",
    ]
    for number, row in enumerate(grid.rows):
        lines += [r"\midrule"] if number in grid.rules and number else []
        if number in grid.headings:
            lines.append(rf"\multicolumn{{{len(grid.header)}}}{{l}}{{\textit{{{_tex(grid.headings[number])}}}}}{END}")
        lines += _rows(row, grid.wide, beside=beside)
    lines += [r"\bottomrule", r"\end{tabular}"]
    below = [_tex(note) for note in grid.notes]
    below += [rf"{mark}: {_command(command)}" for mark, each in grid.commands for command in each]
    if below:
        notes = "\\par\n".join(below)
        lines += ["", r"\medskip", rf"\parbox{{\linewidth}}{{\footnotesize\raggedright {notes}\par}}"]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


END = r" \tabularnewline"
"""Of a row: unlike a double backslash it is not what ``raggedright`` redefines, and takes no bracket for an option."""


def _width(grid: Grid, *, beside: bool) -> float:
    """Characters of the widest line, more or less."""

    def of(entry: Entry) -> float:
        parts = [len(line) * (BRACKETS if i else 1) for i, line in enumerate(entry.lines)]
        return sum(parts) + len(parts) - 1 if beside else max(parts, default=0)

    columns = zip(*grid.rows, strict=True)
    widths = [max(len(head), *map(of, column)) for head, column in zip(grid.header, columns, strict=True)]
    return sum(widths) + 2.6 * len(widths)


def _column(grid: Grid, column: int) -> str:
    if column in grid.wide:
        share = 0.84 * grid.wide[column] / sum(grid.wide.values())
        return rf"p{{{share:.3f}\linewidth}}"
    return "l" if column in grid.left else "r"


def _rows(row: Sequence[Entry], wide: dict[int, int], *, beside: bool) -> list[str]:
    """One row of the tabular, or as many as its tallest entry has lines; paragraphs hold theirs together."""
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
)
_SIGNS = {'"': "''", "$<$=": r"$\leq$", "$>$=": r"$\geq$", "∞": r"$\infty$", "†": r"\dag{}", "‡": r"\ddag{}"}


def _tex(text: str) -> str:
    """Escaped, with a minus sign instead of a hyphen and powers of ten."""
    escaped = re.sub(r"^-$", "--", text).translate(_LATEX)
    signed = re.sub(r"(?<![\w.])-(?=\d)", "$-$", escaped)
    powers = re.sub(r"(\d)e([+-])0*(\d+)", lambda m: rf"{m[1]}$\times 10^{{{m[2].strip('+')}{m[3]}}}$", signed)
    for plain, sign in _SIGNS.items():
        powers = powers.replace(plain, sign)
    return powers


def _command(command: str) -> str:
    # Quotes must stay straight for whoever copies them.
    return rf"\texttt{{{command.translate(_LATEX)}}}".replace("'", r"\textquotesingle{}")
