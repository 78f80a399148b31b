"""All figures of a folder of records, as PDF and PNG; they draw only what the records hold."""

from __future__ import annotations

from collections.abc import Callable
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


def draw_all(root: Path, output: Path) -> tuple[list[Path], list[DamagedRecordError]]:
    """Draw every figure that the records below ``root`` allow.

    Returns:
        The files that were written, and what is wrong with the records that could not be read.

    Raises:
        OSError: The output folder cannot be written to.
    """
    matplotlib.use("Agg")
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
    if not whole:
        return [], damaged
    output.mkdir(parents=True, exist_ok=True)
    written = []
    with plt.style.context(STYLE):
        draw: dict[str, Callable[[list[Run]], Figure | None]] = {
            "learning_curves": learning_curves,
            "survival": draw_survival,
            "reach": draw_reach,
            "gradient_flow": gradient_flow,
            "gradient_flow_in_training": flow_heatmap,
            "time_constants": time_constants,
            "gradient_norms": gradient_norms,
        }
        for name, make in draw.items():
            figure = make(whole)
            if figure is None:
                continue
            for suffix in (".pdf", ".png"):
                path = output / f"{name}{suffix}"
                figure.savefig(path, metadata={"CreationDate": None} if suffix == ".pdf" else None)
                written.append(path)
            plt.close(figure)
    return written, damaged
