"""Tables as text: for a terminal and in Markdown here, in HTML and LaTeX by other modules. Pure.

:mod:`bench.report.tables.html` writes HTML, :mod:`bench.report.tables.latex` writes LaTeX.
"""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Sequence
from typing import Any

from tabulate import SEPARATING_LINE, tabulate

from bench.errors import WIDTH
from bench.report.tables.grid import Entry, Grid
from bench.report.tables.html import html_page
from bench.report.tables.latex import Layout, latex

PLAIN = Layout()
"""How LaTeX sets a table where nothing else is asked for."""


def terminal(grid: Grid) -> str:
    """Write a table in parts of at most 80 columns; a part with a single column of numbers may be wider."""
    parts = "\n\n".join(_fitting(grid, list(range(len(grid.header))))) if grid.header else ""
    notes = "".join(f"{textwrap.fill(note, WIDTH)}\n" for note in grid.notes)
    commands = "".join(f"{mark}: {_continued(command)}\n" for mark, each in grid.commands for command in each)
    caption = textwrap.fill(grid.caption, WIDTH)
    return "\n\n".join(text.rstrip("\n") for text in (caption, parts, notes, commands) if text) + "\n"


def markdown(grid: Grid) -> str:
    """Write a GitHub table with its caption above and its notes and commands below."""

    def cell(entry: Entry) -> str:
        text = _md(" ".join(entry.lines))
        return f"**{text}**" if entry.best and text else text

    align = ["left" if i in grid.left else "right" for i in range(len(grid.header))]
    body = [[cell(entry) for entry in row] for row in grid.rows]
    table = tabulate(
        body, headers=list(map(_md, grid.header)), tablefmt="github", disable_numparse=True, colalign=align
    )
    notes = "\n".join(f"- {note}" for note in grid.notes)
    commands = "\n".join(f"- {mark}: `{command}`" for mark, each in grid.commands for command in each)
    return "\n\n".join(text for text in (grid.caption, table, notes, commands) if text) + "\n"


FORMS = ("terminal", "markdown", "latex", "html")


def write(grids: Sequence[Grid], form: str, layout: Layout = PLAIN) -> str:
    """Write tables as one text, one below the other.

    Args:
        grids: At least one table.
        form: One of :data:`FORMS`.
        layout: How LaTeX sets them.
    """
    if form == "html":
        return html_page(grids)
    if form == "latex":
        return latex(grids, layout)
    writers = {"terminal": terminal, "markdown": markdown}
    return "\n".join(writers[form](grid) for grid in grids)


def _md(text: str) -> str:
    """Escape what Markdown would set as code or in bold, take for a column's border, or read as a tag.

    An underscore within words is none of these.
    """
    return re.sub(r"<(?=[A-Za-z/!])", "&lt;", re.sub(r"([\\|*`])", r"\\\1", text))


def _fitting(grid: Grid, columns: list[int]) -> list[str]:
    """Cut the table into as many parts as the terminal's width needs; each part repeats the columns of words."""
    body = [[_stacked(grid, i, row[i]) for i in columns] for row in grid.rows]
    text = tabulate(
        _with_rules(body, grid.rules),
        headers=[grid.header[i] for i in columns],
        tablefmt="simple",
        disable_numparse=True,
        colalign=["left" if i in grid.left else "right" for i in columns],
    )
    lines = [line.rstrip() for line in text.splitlines()]
    numbers = [i for i in columns if i not in grid.left]
    if max(map(len, lines)) <= WIDTH or len(numbers) <= 1:
        return ["\n".join(lines)]
    words = [i for i in columns if i in grid.left]
    middle = (len(numbers) + 1) // 2
    return _fitting(grid, words + numbers[:middle]) + _fitting(grid, words + numbers[middle:])


def _stacked(grid: Grid, column: int, entry: Entry) -> str:
    lines, width = list(entry.lines), grid.wide.get(column)
    if width is not None:
        lines = [part for line in lines for part in textwrap.wrap(line, width) or [""]]
    if entry.best and lines:
        lines[0] = f"*{lines[0]}"
    return "\n".join(lines)


def _with_rules(body: list[list[str]], rules: frozenset[int]) -> list[Any]:
    """Add a line between blocks."""
    rows: list[Any] = []
    for number, row in enumerate(body):
        rows += [SEPARATING_LINE] if number in rules and number else []
        rows.append(row)
    return rows


def _continued(command: str) -> str:
    """Break a command into several lines that can be pasted.

    Where a word is cut, at a comma, the next line has no indent.
    """
    lines = [""]
    for word in map(shlex.quote, shlex.split(command)):
        long = len(word) > WIDTH - 6 and "'" not in word
        between = " "
        for piece in re.findall(r"[^,]*,|[^,]+", word) if long else [word]:
            if lines[-1] and len(f"{lines[-1]}{between}{piece}") > WIDTH - 6:
                lines[-1] += f"{between}\\"
                lines.append(f"{'   ' if between else ''}{piece}")
            else:
                lines[-1] += f"{between if lines[-1] else ''}{piece}"
            between = ""
    return "\n".join(lines)
