"""What all figures share: the style, a grid of panels, and one legend above it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

STYLE = Path(__file__).with_name("paper.mplstyle")
LINE_STYLES = ("-", (0, (4, 1.5)), (0, (1, 1)), "-.", (0, (6, 1, 1, 1, 1, 1)))
PANEL_INCHES = (3.4, 2.3)
COLUMN_INCHES = 3.4
PAGE_INCHES = 6.8
TITLE_CHARACTERS = 52


def grid(down: int, across: int, *, width: float, height: float, **shared: Any) -> tuple[Figure, np.ndarray]:
    """A grid of panels.

    Args:
        down: Number of rows.
        across: Number of columns.
        width: Of the figure, in inches.
        height: Of each row, in inches.
        shared: ``sharex`` and ``sharey`` of ``plt.subplots``.
    """
    return plt.subplots(
        down, across, figsize=(width, height * down), squeeze=False, layout="constrained", **shared
    )  # fmt: skip


def look(index: int) -> dict[str, Any]:
    """Colour and line style of the ``index``-th column label, told apart in grey too."""
    return {"color": f"C{index % 7}", "linestyle": LINE_STYLES[index % len(LINE_STYLES)]}


def legend(figure: Figure, panels: Sequence[Axes], order: Sequence[str]) -> None:
    """One legend above all panels, each label once."""
    found = {text: line for axes in panels for line, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    found = dict(sorted(found.items(), key=lambda item: order.index(item[0])))
    if found:
        figure.legend(found.values(), found.keys(), loc="outside upper center", ncols=min(4, len(found)))


def titled(axes: Axes, text: str, characters: int = TITLE_CHARACTERS) -> None:
    """Set the title, in lines that end at a comma."""
    lines = [""]
    for part in text.split(", "):
        if lines[-1] and len(lines[-1]) + len(part) + 2 > characters:
            lines[-1] += ","
            lines.append(part)
        else:
            lines[-1] += f", {part}" if lines[-1] else part
    axes.set_title("\n".join(lines))
