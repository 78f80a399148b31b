"""All figures of a folder of records, as PDF and PNG; they draw only what the records hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from bench.analysis.gradient_reach import gradient_reach
from bench.analysis.run import TABLES, Run, read_runs
from bench.records.record import DamagedRecordError
from bench.report.figures.clipping import gradient_norms
from bench.report.figures.delay import draw_reach
from bench.report.figures.gradient_flow import flow_heatmap, gradient_flow
from bench.report.figures.learning_curves import learning_curves
from bench.report.figures.style import STYLE
from bench.report.figures.survival import draw_survival
from bench.report.figures.time_constants import time_constants

FIGURES: dict[str, Callable[[list[Run]], Figure | None]] = {
    "learning_curves": learning_curves,
    "survival": draw_survival,
    "reach": draw_reach,
    "gradient_flow": gradient_flow,
    "gradient_flow_in_training": flow_heatmap,
    "time_constants": time_constants,
    "gradient_norms": gradient_norms,
}
"""What draws each figure, by its name; ``None`` stands for a figure that the runs do not allow."""


def draw_all(root: Path, output: Path) -> tuple[list[Path], list[DamagedRecordError]]:
    """Draw every figure that the records below ``root`` allow.

    Returns:
        The files that were written, and what is wrong with the records that could not be read.

    Raises:
        OSError: The output folder cannot be written to.
    """
    runs, damaged = read_runs(root)
    whole = []
    for run in runs:
        try:
            for name in TABLES:
                getattr(run, name)  # Damage must show here, and not in the middle of a figure.
            run.reach = gradient_reach(run.flow, run.record)
            whole.append(run)
        except DamagedRecordError as error:
            damaged.append(error)
    return draw_runs(whole, output) if whole else [], damaged


def draw_runs(runs: list[Run], output: Path, suffixes: Sequence[str] = (".pdf", ".png")) -> list[Path]:
    """Draw every figure that some runs allow, whose tables can be read and whose reach is known; return the files.

    Args:
        runs: The runs, at least one.
        output: The folder.
        suffixes: Those of the files to write for each figure.

    Raises:
        OSError: The output folder cannot be written to.
    """
    matplotlib.use("Agg")
    output.mkdir(parents=True, exist_ok=True)
    written = []
    with plt.style.context(STYLE):
        for name, make in FIGURES.items():
            figure = make(runs)
            if figure is None:
                continue
            for suffix in suffixes:
                path = output / f"{name}{suffix}"
                figure.savefig(path, metadata={"CreationDate": None} if suffix == ".pdf" else None)
                written.append(path)
            plt.close(figure)
    return written
