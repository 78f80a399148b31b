"""All figures of some runs, as files: pictures, and the data that these show; they draw only what the records hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import matplotlib
from matplotlib import pyplot as plt

from bench.analysis.gradient_reach import gradient_reach
from bench.analysis.run import TABLES, Run
from bench.records.record import DamagedRecordError
from bench.records.write import write_whole
from bench.report.figures.clipping import gradient_norms
from bench.report.figures.delay import draw_reach
from bench.report.figures.drawing import PLAIN, Drawing, Sheet
from bench.report.figures.gradient_flow import flow_heatmap, gradient_flow
from bench.report.figures.learning_curves import learning_curves
from bench.report.figures.overfitting import overfitting
from bench.report.figures.style import STYLE
from bench.report.figures.survival import draw_survival
from bench.report.figures.time_constants import time_constants

FIGURES: dict[str, Callable[[list[Run], Sheet], Drawing | None]] = {
    "learning_curves": learning_curves,
    "overfitting": overfitting,
    "survival": draw_survival,
    "reach": draw_reach,
    "gradient_flow": gradient_flow,
    "gradient_flow_in_training": flow_heatmap,
    "time_constants": time_constants,
    "gradient_norms": gradient_norms,
}
"""What draws each figure, by its name; ``None`` stands for a figure that the runs do not allow."""


def readable(runs: Iterable[Run]) -> tuple[list[Run], list[DamagedRecordError]]:
    """Read the tables of runs, and how far their gradients travel.

    Returns:
        The runs all of whose tables can be read, and what is wrong with the others.
    """
    whole, damaged = [], []
    for run in runs:
        try:
            for name in TABLES:
                getattr(run, name)  # Damage must show here, and not in the middle of a figure.
            run.reach = gradient_reach(run.flow, run.record)
            whole.append(run)
        except DamagedRecordError as error:
            damaged.append(error)
    return whole, damaged


def draw_runs(
    runs: list[Run],
    output: Path,
    forms: Sequence[str],
    sheet: Sheet = PLAIN,
    told: Callable[[Path], object] = lambda path: None,
) -> list[Path]:
    """Draw every figure that some runs allow, and write each file whole or not at all.

    Args:
        runs: The runs, at least one, whose tables can be read and whose reach is known.
        output: The folder.
        forms: What to write of each figure: ``pdf``, ``png``, ``svg``, or ``csv`` for the data.
        sheet: What the figures are for.
        told: Called with each file when it is there.

    Returns:
        The files.

    Raises:
        OSError: The output folder cannot be written to.
    """
    matplotlib.use("Agg")
    written = []
    with plt.style.context(STYLE):
        for name, make in FIGURES.items():
            figure = make(runs, sheet)
            if figure is None:
                continue
            for form in forms:
                path = output / f"{name}.{form}"
                write_whole(path, figure.to_bytes(form))
                written.append(path)
                told(path)
            plt.close(figure)
    return written
