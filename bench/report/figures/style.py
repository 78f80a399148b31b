"""The parts that all figures share: the style, a grid of panels, their titles and legends."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bench.analysis.grouping import RunGroup, arrange
from bench.analysis.run import Run
from bench.report.figures.drawing import PLAIN, Drawing, Sheet, root_of

STYLE = Path(__file__).with_name("paper.mplstyle")
LINE_STYLES = ("-", (0, (4, 1.5)), (0, (1, 1)), "-.", (0, (6, 1, 1, 1, 1, 1)))
PANEL_HEIGHT = 2.3
COLUMN_INCHES = 3.4
PAGE_INCHES = 6.8
PANELS_ACROSS = 2
LEGEND_CHARACTERS = 58
"""Characters of a legend in a column of a page, those for the lines beside its texts included."""
LINE_CHARACTERS = 8
"""Characters that the line beside a text of a legend takes, with what is between two of them."""
TITLE_CHARACTERS = 52
STEP = "training step"
MOST_ACROSS = 4
"""Largest number of panels beside each other."""
TITLE_CHARACTERS_ACROSS = 88
"""Number of characters that the titles beside each other share."""
KEY_CHARACTERS = 60
"""Characters in one line of a panel's key."""
KEY_POINTS = 9.6
"""Height of one line of a panel's key."""
GREY = "0.4"


def grid(
    down: int, across: int, *, width: float, height: float, sheet: Sheet = PLAIN, **shared: Any
) -> tuple[Drawing, np.ndarray]:
    """Make a grid of panels.

    Args:
        down: Number of rows.
        across: Number of columns.
        width: Width of the figure, in inches, where the sheet has none.
        height: Height of each row, in inches.
        sheet: What the figure is for.
        shared: ``sharex`` and ``sharey`` of ``plt.subplots``.
    """
    size = {None: width, 1: COLUMN_INCHES, 2: PAGE_INCHES}[sheet.width], height * down
    figure, axes = plt.subplots(
        down, across, figsize=size, squeeze=False, layout="constrained", FigureClass=Drawing, sheet=sheet, **shared
    )
    assert isinstance(figure, Drawing)
    return figure, axes


def panels_of(count: int, *, height: float, sheet: Sheet, **shared: Any) -> tuple[Drawing, list[Axes]]:
    """Make panels, up to :data:`PANELS_ACROSS` of them beside each other, or one in a column of a page.

    Args:
        count: Number of panels.
        height: Height of each, in inches.
        sheet: What the figure is for.
        shared: See :func:`grid`.
    """
    across = min(1 if sheet.narrow else PANELS_ACROSS, count)
    width = COLUMN_INCHES * across
    figure, axes = grid(math.ceil(count / across), across, width=width, height=height, sheet=sheet, **shared)
    for panel in axes.flat[count:]:
        panel.remove()
    return figure, list(axes.flat[:count])


def look(index: int) -> dict[str, Any]:
    """Return colour and line style of the ``index``-th column label; the styles can be told apart in grey too."""
    return {"color": f"C{index % 7}", "linestyle": LINE_STYLES[index % len(LINE_STYLES)]}


def legend(figure: Figure, panels: Sequence[Axes], order: Sequence[str]) -> None:
    """Draw one legend above all panels, with each label once."""
    found = {text: line for axes in panels for line, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    found = dict(sorted(found.items(), key=lambda item: order.index(item[0])))
    if found:
        across = min(4, len(found))
        if isinstance(figure, Drawing) and figure.sheet.width is not None:
            room = LEGEND_CHARACTERS * figure.get_figwidth() / COLUMN_INCHES
            across = max(1, min(across, int(room / (max(map(len, found)) + LINE_CHARACTERS))))
        figure.legend(found.values(), found.keys(), loc="outside upper center", ncols=across)


def titled(axes: Axes, text: str, characters: int = TITLE_CHARACTERS) -> None:
    """Set the title of a panel, in lines that end at a comma."""
    lines = [""]
    for part in text.split(", "):
        if lines[-1] and len(lines[-1]) + len(part) + 2 > characters:
            lines[-1] += ","
            lines.append(part)
        else:
            lines[-1] += f", {part}" if lines[-1] else part
    axes.set_title("\n".join(lines))


def panels_of_cells(rows: Sequence[RunGroup], sheet: Sheet) -> tuple[list[tuple[RunGroup, list[str]]], int]:
    """Return rows of panels with the cells in each, cut where too many would stand in a row, and the panels across."""
    places, most = [], MOST_ACROSS // 2 if sheet.narrow else MOST_ACROSS
    for row in rows:
        columns = list(row.runs)
        places += [(row, columns[start : start + most]) for start in range(0, len(columns), most)]
    return places, max(len(columns) for _, columns in places)


def name_panels(panels: Sequence[Axes], row: RunGroup, columns: Sequence[str]) -> None:
    """Title the panels of one row by cell and row, and name their x-axis."""
    characters = TITLE_CHARACTERS_ACROSS * root_of(panels[0]).get_figwidth() / PAGE_INCHES
    for panel, column in zip(panels, columns, strict=False):
        titled(panel, f"{column}: {row.label}", int(characters / len(panels)))
        panel.set_xlabel(STEP)
        panel.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    for panel in panels[len(columns) :]:
        panel.set_axis_off()


class Together(tuple[Run, ...]):
    """Runs of which several figures are drawn for one sheet, and which are arranged once for all of them."""

    def __new__(cls, runs: Iterable[Run], sheet: Sheet) -> Together:
        """Arrange them."""
        made = super().__new__(cls, runs)
        made.sheet, made.arranged, made.having = sheet, arrange(made, sheet.names), {}
        return made

    sheet: Sheet
    arranged: tuple[list[RunGroup], list[str]]
    having: dict[Callable[[Run], bool], list[RunGroup]]


def arranged(runs: Iterable[Run], sheet: Sheet) -> tuple[list[RunGroup], list[str]]:
    """Return the rows and columns of some runs, see :func:`bench.analysis.grouping.arrange`."""
    if isinstance(runs, Together) and runs.sheet is sheet:
        return runs.arranged
    return arrange(runs, sheet.names)


def rows_having(runs: Iterable[Run], wanted: Callable[[Run], bool], sheet: Sheet) -> tuple[list[RunGroup], list[str]]:
    """Rows and columns of all runs, and of their runs those that are wanted; rows without any are left out."""
    rows, columns = arranged(runs, sheet)
    together = runs if isinstance(runs, Together) and runs.sheet is sheet else None
    if together is not None and wanted in together.having:
        return together.having[wanted], columns
    kept = []
    for row in rows:
        having = {column: [run for run in members if wanted(run)] for column, members in row.runs.items()}
        having = {column: members for column, members in having.items() if members}
        kept += [replace(row, runs=having)] if having else []
    if together is not None:
        together.having[wanted] = kept
    return kept, columns


def key_above(axes: Axes, keys: Mapping[str, Line2D]) -> int:
    """Draw the key of a panel's lines between the panel and its title, and return the number of lines it takes."""
    each = max(map(len, keys)) + 5
    across = max(1, min(len(keys), KEY_CHARACTERS // each))
    axes.legend(keys.values(), keys.keys(), loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=across,
                fontsize=7, borderpad=0.1, borderaxespad=0.2, labelspacing=0.2, columnspacing=1.0)  # fmt: skip
    return math.ceil(len(keys) / across)
