"""A table as text: terminal, Markdown, LaTeX, HTML. Pure; what the numbers mean is :mod:`bench.tables`' affair."""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tabulate import SEPARATING_LINE, tabulate

WIDTH = 80
"""Of a terminal."""


@dataclass(frozen=True)
class Entry:
    """What stands in one place: its lines, and whether they are the best of the row."""

    lines: tuple[str, ...] = ()
    best: bool = False


@dataclass(frozen=True)
class Grid:
    """A table, ready to be written.

    Attributes:
        caption: What it shows, where and how it was made.
        header: One text a column.
        rows: Entries, as many as columns.
        rules: Rows above which a new block begins.
        headings: What stands above a row, across all columns.
        notes: What a reader must know to read it.
        commands: For each mark, such as ``a``, the commands that make the runs it stands at.
        left: Columns set from the left; numbers are set from the right.
        wide: Width in characters of columns of words, by number; they are wrapped.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]
    rules: frozenset[int] = frozenset()
    headings: dict[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    commands: tuple[tuple[str, tuple[str, ...]], ...] = ()
    left: frozenset[int] = frozenset({0})
    wide: dict[int, int] = field(default_factory=dict)


def terminal(grid: Grid) -> str:
    """At most 80 columns, where one column of numbers beside the words leaves room; else in several parts."""
    parts = "\n\n".join(_fitting(grid, list(range(len(grid.header))))) if grid.header else ""
    notes = "".join(f"{textwrap.fill(note, WIDTH)}\n" for note in grid.notes)
    commands = "".join(f"{mark}: {_continued(command)}\n" for mark, each in grid.commands for command in each)
    caption = textwrap.fill(grid.caption, WIDTH)
    return "\n\n".join(text.rstrip("\n") for text in (caption, parts, notes, commands) if text) + "\n"


def markdown(grid: Grid) -> str:
    """A GitHub table, its caption above, notes and commands below."""

    def cell(entry: Entry) -> str:
        text = " ".join(entry.lines).replace("|", r"\|")
        return f"**{text}**" if entry.best and text else text

    align = ["left" if i in grid.left else "right" for i in range(len(grid.header))]
    body = [[cell(entry) for entry in row] for row in grid.rows]
    table = tabulate(body, headers=list(grid.header), tablefmt="github", disable_numparse=True, colalign=align)
    notes = "\n".join(f"- {note}" for note in grid.notes)
    commands = "\n".join(f"- {mark}: `{command}`" for mark, each in grid.commands for command in each)
    return "\n\n".join(text for text in (grid.caption, table, notes, commands) if text) + "\n"


def latex(grid: Grid) -> str:
    """A ``table`` environment that needs booktabs and nothing else; notes and commands below the rules."""
    columns = "".join(_latex_column(grid, i) for i in range(len(grid.header)))
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_tex(grid.caption)}}}",
        r"\small",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(_tex(text) for text in grid.header) + r" \\",
        r"\midrule",
    ]
    for number, row in enumerate(grid.rows):
        lines += [r"\midrule"] if number in grid.rules and number else []
        if number in grid.headings:
            lines.append(rf"\multicolumn{{{len(grid.header)}}}{{l}}{{{_tex(grid.headings[number])}}} \\")
        lines += _latex_rows(row, grid.wide)
    lines += [r"\bottomrule", r"\end{tabular}"]
    below = [_tex(note) for note in grid.notes]
    below += [rf"{mark}: {_tex_command(command)}" for mark, each in grid.commands for command in each]
    if below:
        notes = "\\par\n".join(below)
        lines += ["", r"\medskip", rf"\parbox{{\linewidth}}{{\footnotesize\raggedright {notes}\par}}"]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def html_page(grids: Sequence[Grid]) -> str:
    """Tables as one page that needs no other file."""
    title = html.escape(textwrap.shorten(grids[0].caption, 60, placeholder=" ..."))
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f"<style>{_STYLE}</style>\n{''.join(map(_html_table, grids))}</html>\n"
    )


def _html_table(grid: Grid) -> str:
    side = ["left" if i in grid.left else "right" for i in range(len(grid.header))]
    head = "".join(f'<th class="{side[i]}">{html.escape(text)}</th>' for i, text in enumerate(grid.header))
    rows = []
    for number, row in enumerate(grid.rows):
        cells = "".join(f'<td class="{side[i]}">{_html_cell(entry)}</td>' for i, entry in enumerate(row))
        rule = " class=rule" if number in grid.rules else ""
        if number in grid.headings:
            text = html.escape(grid.headings[number])
            rows.append(f'<tr{rule}><th class="left" colspan="{len(row)}">{text}</th></tr>')
            rule = ""
        rows.append(f"<tr{rule}>{cells}</tr>")
    items = [html.escape(note) for note in grid.notes]
    items += [f"{mark}: <code>{html.escape(command)}</code>" for mark, each in grid.commands for command in each]
    below = "".join(f"<li>{item}</li>\n" for item in items)
    body = "\n".join(rows)
    return (
        f"<table>\n<caption>{html.escape(grid.caption)}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody>\n</table>\n<ul>\n{below}</ul>\n"
    )


FORMS = ("terminal", "markdown", "latex", "html")


def write(grids: Sequence[Grid], form: str) -> str:
    """Tables as one text, one below the other.

    Args:
        grids: At least one.
        form: One of :data:`FORMS`.
    """
    if form == "html":
        return html_page(grids)
    writers = {"terminal": terminal, "markdown": markdown, "latex": latex}
    return "\n".join(writers[form](grid) for grid in grids)


_STYLE = (
    "body{font:15px/1.4 system-ui,sans-serif;max-width:75em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;border-top:2px solid;border-bottom:2px solid}"
    "caption{text-align:left;padding-bottom:.6em}"
    "th,td{padding:.25em .8em;vertical-align:top;font-variant-numeric:tabular-nums}"
    "thead th{border-bottom:1px solid}tr.rule td{border-top:1px solid #999}"
    ".left{text-align:left}.right{text-align:right;white-space:nowrap}small{color:#555}"
    "ul{font-size:.87em;padding-left:1.2em}code{overflow-wrap:anywhere}"
)


def _html_cell(entry: Entry) -> str:
    lines = [html.escape(line) for line in entry.lines]
    text = "<br>".join([*lines[:1], *(f"<small>{line}</small>" for line in lines[1:])])
    return f"<b>{text}</b>" if entry.best and text else text


def _fitting(grid: Grid, columns: list[int]) -> list[str]:
    """The table, cut into as many as it takes to stay within the terminal's width; words stand in all of them."""
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
    lines = [part for line in entry.lines for part in _wrapped(line, grid.wide.get(column))]
    if entry.best and lines:
        lines[0] = f"*{lines[0]}"
    return "\n".join(lines)


def _wrapped(line: str, width: int | None) -> list[str]:
    return [line] if width is None else textwrap.wrap(line, width) or [""]


def _with_rules(body: list[list[str]], rules: frozenset[int]) -> list[Any]:
    """A line between blocks."""
    rows: list[Any] = []
    for number, row in enumerate(body):
        rows += [SEPARATING_LINE] if number in rules and number else []
        rows.append(row)
    return rows


def _continued(command: str) -> str:
    """A command over several lines that can be pasted; words are never cut."""
    lines = textwrap.wrap(command, WIDTH - 5, break_long_words=False, break_on_hyphens=False)
    return " \\\n   ".join(lines)


def _latex_column(grid: Grid, column: int) -> str:
    if column in grid.wide:
        total = sum(grid.wide.values())
        return rf"p{{{0.62 * grid.wide[column] / max(total, 40):.2f}\linewidth}}"
    return "l" if column in grid.left else "r"


def _latex_rows(row: Sequence[Entry], wide: dict[int, int]) -> list[str]:
    """As many rows of the tabular as its tallest entry has lines; paragraphs hold theirs together."""
    texts = [(" ".join(entry.lines),) if i in wide else entry.lines for i, entry in enumerate(row)]
    rows = []
    for line in range(max(1, max(map(len, texts)))):
        cells = []
        for entry, lines in zip(row, texts, strict=True):
            text = _tex(lines[line]) if line < len(lines) else ""
            text = rf"\textbf{{{text}}}" if entry.best and text and line == 0 else text
            cells.append(rf"{{\scriptsize {text}}}" if text and line else text)
        # A bracket at the start of a row would be taken for an option of the one above.
        rows.append("{}" * (not cells[0]) + " & ".join(cells) + r" \\")
    return rows


_LATEX = str.maketrans(
    {c: rf"\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$"}
)


def _tex(text: str) -> str:
    """Escaped, with a minus sign instead of a hyphen and powers of ten."""
    escaped = re.sub(r"^-$", "--", text).translate(_LATEX)
    signed = re.sub(r"(?<![\w.])-(?=\d)", "$-$", escaped)
    powers = re.sub(r"(\d)e([+-])0*(\d+)", lambda m: rf"{m[1]}$\times 10^{{{m[2].strip('+')}{m[3]}}}$", signed)
    signs = {'"': "''", "$<$=": r"$\leq$", "$>$=": r"$\geq$", "∞": r"$\infty$"}
    for plain, set_ in signs.items():
        powers = powers.replace(plain, set_)
    return powers


def _tex_command(command: str) -> str:
    # Quotes must stay straight for whoever copies them.
    return rf"\texttt{{{command.translate(_LATEX)}}}".replace("'", r"\textquotesingle{}")
