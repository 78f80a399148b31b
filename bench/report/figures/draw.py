"""All figures of some runs, as files: pictures, and the data that these show; they draw only what the records hold."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import matplotlib
from matplotlib import pyplot as plt

from bench.analysis.run import Run, garbage_left
from bench.records.record import DamagedRecordError
from bench.records.write import write_output
from bench.report.figures.clipping import gradient_norms
from bench.report.figures.confusion import confusion
from bench.report.figures.delay import draw_reach
from bench.report.figures.drawing import PLAIN, Drawing, Sheet
from bench.report.figures.drawn_runs import readable
from bench.report.figures.forecasts import forecasts
from bench.report.figures.gradient_flow import flow_heatmap, gradient_flow
from bench.report.figures.learning_curves import learning_curves
from bench.report.figures.overfitting import overfitting
from bench.report.figures.style import STYLE, Together
from bench.report.figures.survival import draw_survival
from bench.report.figures.time_constants import time_constants
from bench.report.figures.tuning import TRIAL_FIGURES
from bench.tuning.trials import Line

FIGURES: dict[str, Callable[[Iterable[Run], Sheet], Drawing | None]] = {
    "learning_curves": learning_curves,
    "overfitting": overfitting,
    "survival": draw_survival,
    "gradient_norms": gradient_norms,
    "reach": draw_reach,
    "gradient_flow": gradient_flow,
    "gradient_flow_in_training": flow_heatmap,
    "time_constants": time_constants,
    "confusion": confusion,
    "forecasts": forecasts,
}
"""What draws each figure, by its name; ``None`` stands for a figure that the runs do not allow."""
GROUPS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("learning_curves", "overfitting", "survival", "gradient_norms"), ("curves",)),
    (
        ("gradient_flow_in_training", "reach", "gradient_flow", "time_constants", "confusion", "forecasts"),
        ("flow", "activity", "predictions"),
    ),
)
"""Figures that show the same tables, and these tables. Of thousands of runs the last group takes a little longer; each
has first what takes most memory."""


def draw_group(
    runs: Sequence[Run],
    group: int,
    output: Path,
    forms: Sequence[str],
    sheet: Sheet,
    told: Callable[[Path], object],
) -> list[DamagedRecordError]:
    """Read what the figures of one of :data:`GROUPS` show, and write these; see :func:`draw_runs`.

    Returns:
        What is wrong with the tables that cannot be read; their runs are in none of the figures of the group.
    """
    figures, tables = GROUPS[group]
    whole, damaged = readable(runs, tables)
    if whole:
        draw_runs(whole, output, forms, sheet, told, figures)
    return damaged


def draw_runs(
    runs: list[Run],
    output: Path,
    forms: Sequence[str],
    sheet: Sheet = PLAIN,
    told: Callable[[Path], object] = lambda path: None,
    figures: Iterable[str] = tuple(FIGURES),
) -> list[Path]:
    """Draw figures, as far as some runs allow them, and write each file whole or not at all.

    Args:
        runs: The runs, at least one, whose tables can be read and whose reach is known.
        output: The folder.
        forms: What to write of each figure: ``pdf``, ``png``, ``svg``, or ``csv`` for the data.
        sheet: What the figures are for.
        told: Called with each file when it is there.
        figures: Names of the figures.

    Returns:
        The files.

    Raises:
        OSError: The output folder cannot be written to.
    """
    together = Together(runs, sheet)
    return _written(((name, partial(FIGURES[name], together, sheet)) for name in figures), output, forms, told)


def draw_trials(
    lines: Sequence[Line], output: Path, forms: Sequence[str], sheet: Sheet, told: Callable[[Path], object]
) -> list[Path]:
    """Draw the figures of the trials of a tuning; see :func:`draw_runs`."""
    figures = ((name, partial(draw, lines, sheet)) for name, (_, draw) in TRIAL_FIGURES.items())
    return _written(figures, output, forms, told)


def _written(
    figures: Iterable[tuple[str, Callable[[], Drawing | None]]],
    output: Path,
    forms: Sequence[str],
    told: Callable[[Path], object],
) -> list[Path]:
    matplotlib.use("Agg")
    written = []
    with plt.style.context(STYLE), garbage_left():
        for name, draw in figures:
            figure = draw()
            if figure is None:
                continue
            for form in forms:
                path = output / f"{name}.{form}"
                write_output(path, figure.to_bytes(form))
                written.append(path)
                told(path)
            plt.close(figure)
            del figure
            gc.collect(0)  # What it leaves is all younger than what there was before.
    return written
