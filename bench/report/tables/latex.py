"""A table in LaTeX, for booktabs: its floats with caption, label and notes. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.report.tables.grid import Grid
from bench.report.tables.tabular import Room, tabulars
from bench.report.tables.tex import tex, typed

SHRUNK = 0.8
"""Least factor by which a table is made smaller, rather than cut, to fit into columns of a page."""
SHRINK = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
"""Makes what is wider than the column that it stands in as wide as that."""
PAPER = 46
"""Number of lines of text that fit a page."""
SMALL = 0.9
"""Height of a row of a table in lines of text, where it need not be rounded up."""
LINES = {None: (68, 88, 78), 1: (43, 56, 49), 2: (90, 116, 103)}
"""Approximate number of characters in a line of a table, of one in small print, and of notes, which is as high as 0.8
lines of text: for a page of 345 pt, and for one and both columns of a page of two, which are 219 and 455 pt wide where
a style makes them narrow."""


@dataclass(frozen=True)
class Layout:
    """How a table is set.

    Attributes:
        label: What it is referred to by, if by anything.
        notes: ``below`` the table, or as those of a ``threeparttable``.
        width: For how many columns of a page of two; ``None`` for a page of one.
        standalone: Whether the text is a whole document.
    """

    label: str | None = None
    notes: str = "below"
    width: int | None = None
    standalone: bool = False

    @property
    def noted(self) -> bool:
        """Whether the notes are those of a ``threeparttable``."""
        return self.notes == "threeparttable"

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages that it needs."""
        wanted = {"booktabs": True, "graphicx": self.width is not None, "threeparttable": self.noted}
        return tuple(name for name, is_so in wanted.items() if is_so)

    def room(self, caption: str) -> Room:
        """Return how much fits a page below a caption."""
        line, small, _ = LINES[self.width]
        if self.width is None:
            return Room(line, small, widest=small, rows=40, beside=False, noted=self.noted)
        rows = max(PAPER - 5 - len(caption) // line, 10)
        return Room(line, small, widest=int(small / SHRUNK), rows=rows, beside=True, noted=self.noted)


def latex(grids: Sequence[Grid], layout: Layout) -> str:
    """Write tables, one below the other, as ``table`` environments; the label is that of the first.

    A table that fits a page is one environment. One with too many rows is cut between blocks, and one with too many
    columns between columns of numbers; each part repeats the columns of words, and has the number of the first. Notes
    and commands stand below the last part. Those that do not fit its page follow as text, or, where they are those of a
    ``threeparttable``, as a part of their own.
    """
    texts = [_table(grid, layout if number == 0 else replace(layout, label=None)) for number, grid in enumerate(grids)]
    if not layout.standalone:
        needs = " ".join(rf"\usepackage{{{name}}}" for name in layout.packages)
        return "\n".join(f"% needs {needs}\n\n{text}" for text in texts)
    columns = "[twocolumn]" if layout.width is not None else ""
    packages = [rf"\usepackage{{{name}}}" for name in ("textcomp", *layout.packages)]
    head = [rf"\documentclass{columns}{{article}}", *packages, r"\begin{document}", ""]
    return "\n".join([*head, "\n".join(texts), r"\end{document}", ""])


def _table(grid: Grid, layout: Layout) -> str:
    parts = tabulars(grid, layout.room(grid.caption))
    paragraphs = _paragraphs(grid)
    line, _, note = LINES[layout.width]
    row = SMALL if layout.width == 2 else 1.0
    plain = [*grid.notes, *(f"{mark}: {command}" for mark, each in grid.commands for command in each)]
    height = 1 + len(grid.caption) // line + 0.8 * sum(1 + len(text) // note for text in plain)
    text = rf"\footnotesize\raggedright {_PAR.join(paragraphs)}\par"
    floats = []
    for number, (rows, size, tabular) in enumerate(parts):
        inside = bool(paragraphs) and number == len(parts) - 1 and rows * row + height + 4 <= PAPER
        body = _fitted(tabular, _items(grid) if inside and layout.noted else [], layout)
        below = ["", r"\medskip", rf"\parbox{{\linewidth}}{{{text}}}"] if inside and not layout.noted else []
        floats.append(_float([*_caption(grid, layout, number), *size, *body, *below], layout))
        if paragraphs and number == len(parts) - 1 and not inside:
            alone = layout.noted and height + 4 <= PAPER
            floats.append(_float([*_caption(grid, layout, number + 1), text], layout) if alone else f"{{{text}}}")
    return "\n\n".join(floats) + "\n"


_PAR = "\\par\n"


def _float(lines: Sequence[str], layout: Layout) -> str:
    name = "table" if layout.width != 2 else "table*"
    return "\n".join([rf"\begin{{{name}}}", r"\centering", *lines, rf"\end{{{name}}}"])


def _caption(grid: Grid, layout: Layout, number: int) -> list[str]:
    """Return the caption of a part by its number; the first has the label, and the number that all have."""
    if not grid.caption:
        return []
    # LaTeX's own classes leave no room below a caption.
    room = [r"\smallskip"] if layout.width is not None else []
    if number:
        return [r"\addtocounter{table}{-1}", r"\caption{(continued)}", *room]
    label = rf"\label{{{layout.label}}}" if layout.label is not None else ""
    return [rf"\caption{{{grid.caption if grid.typed else tex(grid.caption)}}}{label}", *room]


def _fitted(tabular: list[str], items: Sequence[str], layout: Layout) -> list[str]:
    """Return a tabular with its notes in one box, and in one that shrinks where the width of a column is asked for."""
    if layout.noted:
        notes = [r"\begin{tablenotes}[flushleft]", r"\footnotesize\raggedright", *items, r"\end{tablenotes}"]
        tabular = [r"\begin{threeparttable}", *tabular, *(notes if items else []), r"\end{threeparttable}"]
    return [SHRINK, *tabular, "}"] if layout.width is not None else tabular


def _paragraphs(grid: Grid) -> list[str]:
    """Return the notes, and the commands behind their marks."""
    commands = [f"{mark}: {typed(command)}" for mark, each in grid.commands for command in each]
    return [*map(tex, grid.notes), *commands]


def _items(grid: Grid) -> list[str]:
    """Return the same as items of a ``threeparttable``, whose labels are the marks."""
    found = [re.fullmatch(r"(?:\[([a-z, ]+)\] )?(.*)", note) for note in grid.notes]
    notes = [rf"\item[{each[1] or ''}] {tex(each[2])}" for each in found if each is not None]
    return [*notes, *(rf"\item[{mark}] {typed(command)}" for mark, each in grid.commands for command in each)]
