"""Records to pictures, as PDF and PNG. Nothing is drawn that the records do not hold."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import matplotlib
import pyarrow as pa
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench import flow_figures, reach_figures, record
from bench.layout import Row, arrange
from bench.measured import Journey, Probes, journey
from bench.panels import PANEL_INCHES, STYLE, grid, legend, look, titled
from bench.record import DamagedRecordError, Record

PANELS_ACROSS = 2
WITHOUT_MEMORY = "without memory"

Curves = dict[str, pa.Table]
"""Curves by run id."""


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
    journeys: dict[str, Journey] = {}
    damaged: list[DamagedRecordError] = []
    for folder in record.find_records(root):
        try:
            made = record.read_record(folder)
            curves[made.run_id] = record.read_curves(folder)
            probes[made.run_id] = {name: record.read_probe(folder, name) for name in record.PROBES}
            if (travelled := journey(probes[made.run_id]["flow"], made)) is not None:
                journeys[made.run_id] = travelled
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
            "survival": lambda: reach_figures.draw_survival(records),
            "reach": lambda: reach_figures.draw_reach(records, journeys),
            "gradient_flow": lambda: flow_figures.gradient_flow(records, probes),
            "gradient_flow_in_training": lambda: flow_figures.flow_heatmap(records, probes),
            "time_constants": lambda: flow_figures.time_constants(records, probes),
            "gradient_norms": lambda: flow_figures.gradient_norms(records, curves),
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


def learning_curves(records: list[Record], curves: Curves) -> Figure:
    """One panel a task: its metric on the evaluation set over training steps, one line a seed, one colour a cell.

    A line ends where its run ended: a dot marks a run that has solved the task, a cross one whose loss was no longer
    finite. The dashed grey line is the best predictor without memory.
    """
    rows, columns = arrange(records)
    across = min(PANELS_ACROSS, len(rows))
    down = math.ceil(len(rows) / across)
    figure, axes = grid(down, across, width=PANEL_INCHES[0] * across, height=PANEL_INCHES[1])
    panels = list(axes.flat)
    for panel, row in zip(panels, rows, strict=False):
        _panel(panel, row, columns, curves)
    for panel in panels[len(rows) :]:
        panel.remove()
    legend(figure, panels[: len(rows)], [*columns, WITHOUT_MEMORY])
    return figure


def _panel(axes: Axes, row: Row, columns: list[str], curves: Curves) -> None:
    metric = row.facts["metric"]
    for index, column in enumerate(columns):
        for number, run in enumerate(row.runs.get(column, [])):
            table = curves[run.run_id]
            name = f"eval_{metric}"
            if name not in table.column_names:
                continue
            points = table.select(["step", name]).drop_null()
            steps, values = points["step"].to_pylist(), points[name].to_pylist()
            style = look(index)
            marker = "." if len(steps) == 1 else None  # one point makes no line
            axes.plot(steps, values, label=column if number == 0 else None, **style, marker=marker, alpha=0.85)
            if steps and (run.solved or run.status == "diverged"):
                axes.plot(
                    steps[-1],
                    values[-1],
                    "o" if run.status != "diverged" else "x",
                    color=style["color"],
                    ms=4,
                )
    baseline = row.facts["baselines"][metric]
    axes.axhline(baseline, color="0.4", linestyle=(0, (2, 2)), linewidth=1, label=WITHOUT_MEMORY)
    if row.facts["higher_is_better"]:
        axes.set_ylim(0, 1.02)
    else:
        axes.set_yscale("log")
    titled(axes, row.label)
    axes.set_xlim(left=0)
    axes.set_xlabel("training step")
    axes.set_ylabel(f"{metric.replace('_', ' ')}, evaluation set")
