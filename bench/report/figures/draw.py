"""Records to pictures, as PDF and PNG. Nothing is drawn that the records do not hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from bench.analysis.gradient_reach import GradientReach, Probes, gradient_reach
from bench.records.read import find_records, read_curves, read_probe, read_record
from bench.records.record import DamagedRecordError, Record
from bench.records.series import PROBES
from bench.report.figures.clipping import gradient_norms
from bench.report.figures.delay import draw_reach
from bench.report.figures.gradient_flow import flow_heatmap, gradient_flow
from bench.report.figures.learning_curves import Curves, learning_curves
from bench.report.figures.style import STYLE
from bench.report.figures.survival import draw_survival
from bench.report.figures.time_constants import time_constants


def draw_all(root: Path, output: Path) -> tuple[list[Path], list[DamagedRecordError]]:
    """Draw every figure that the records below ``root`` allow.

    Returns:
        The files written, and what is wrong with the records that could not be read.

    Raises:
        OSError: The output folder cannot be written to.
    """
    matplotlib.use("Agg")
    records: list[Record] = []
    curves: Curves = {}
    probes: dict[str, Probes] = {}
    reaches: dict[str, GradientReach] = {}
    damaged: list[DamagedRecordError] = []
    for folder in find_records(root):
        try:
            made = read_record(folder)
            curves[made.run_id] = read_curves(folder)
            probes[made.run_id] = {name: read_probe(folder, name) for name in PROBES}
            if (travelled := gradient_reach(probes[made.run_id]["flow"], made)) is not None:
                reaches[made.run_id] = travelled
            records.append(made)
        except DamagedRecordError as error:
            damaged.append(error)
    if not records:
        return [], damaged
    output.mkdir(parents=True, exist_ok=True)
    written = []
    with plt.style.context(STYLE):
        draw: dict[str, Callable[[], Figure | None]] = {
            "learning_curves": lambda: learning_curves(records, curves),
            "survival": lambda: draw_survival(records),
            "reach": lambda: draw_reach(records, reaches),
            "gradient_flow": lambda: gradient_flow(records, probes),
            "gradient_flow_in_training": lambda: flow_heatmap(records, probes),
            "time_constants": lambda: time_constants(records, probes),
            "gradient_norms": lambda: gradient_norms(records, curves),
        }
        for name, make in draw.items():
            figure = make()
            if figure is None:
                continue
            for suffix in (".pdf", ".png"):
                path = output / f"{name}{suffix}"
                figure.savefig(path, metadata={"CreationDate": None} if suffix == ".pdf" else None)
                written.append(path)
            plt.close(figure)
    return written, damaged
