"""Learning curves: one panel a task, one line a run."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator

import numpy as np
from matplotlib.axes import Axes

from bench.analysis.grouping import RunGroup
from bench.analysis.run import Run
from bench.records.series import as_numpy, stacked
from bench.report.figures.drawing import PLAIN, Drawing, Sheet, note
from bench.report.figures.style import PANEL_HEIGHT, arranged, legend, look, panels_of, titled

WITHOUT_MEMORY = "without memory"


def learning_curves(runs: Iterable[Run], sheet: Sheet = PLAIN) -> Drawing:
    """Draw one panel a task: its metric on the evaluation set over training steps, one line a seed, one colour a cell.

    Each cell has its colour. A line ends where its run ended: with a dot if the run has solved the task, with a cross
    if its loss was no longer finite. The dashed grey line is the best predictor without memory.
    """
    rows, columns = arranged(runs, sheet)
    figure, panels = panels_of(len(rows), height=PANEL_HEIGHT, sheet=sheet)
    for panel, row in zip(panels, rows, strict=True):
        _panel(panel, row, columns, sheet)
    legend(figure, panels, [*columns, WITHOUT_MEMORY])
    return figure


def _evaluations(runs: Iterable[Run], name: str) -> Iterator[tuple[Run, list[float], list[float]]]:
    """Yield the runs whose curves have a column, with its steps and values."""
    tables = {run: run.curves for run in runs}
    having = [run for run, table in tables.items() if name in table.column_names]
    if not having:
        return
    whole, place = stacked([tables[run] for run in having], ("step", name))
    there = as_numpy(whole[name].is_valid())
    steps, values = (as_numpy(whole[each])[there].tolist() for each in ("step", name))
    bounds = np.searchsorted(place[there], np.arange(len(having) + 1)).tolist()
    for run, (start, end) in zip(having, itertools.pairwise(bounds), strict=True):
        yield run, steps[start:end], values[start:end]


def _panel(axes: Axes, row: RunGroup, columns: list[str], sheet: Sheet) -> None:
    metric = row.facts["metric"]
    called = sheet.names.metrics.get(metric, metric.replace("_", " "))
    shared = {"panel": row.label, "metric": called}
    for index, column in enumerate(columns):
        style = look(index)
        # One line for all seeds, with gaps between: thousands of lines would take minutes.
        lines: list[tuple[list[float], list[float]]] = []
        ends: dict[str, list[tuple[float, float]]] = {}
        for run, steps, values in _evaluations(row.runs.get(column, []), f"eval_{metric}"):
            lines.append((steps, values))
            if not steps:
                continue
            end = "diverged" if run.status == "diverged" else "solved" if run.record.solved else None
            note(axes, **shared, line=column, seed=run.seed, step=steps, value=values,
                 end=[*[None] * (len(steps) - 1), end])  # fmt: skip
            if end is not None:
                ends.setdefault("x" if end == "diverged" else "o", []).append((steps[-1], values[-1]))
        several, single = (
            [line for line in lines if (len(line[0]) != 1) is long] for long in (True, False)
        )  # a line needs two points
        for together, marker in ((several, None), (single, ".")):
            if together:
                x, y = ([each for line in together for each in (*line[axis], math.nan)] for axis in (0, 1))
                axes.plot(x, y, label=column, **style, marker=marker, alpha=0.85)
        for marker, points in ends.items():
            axes.plot(*zip(*points, strict=True), marker, color=style["color"], ms=4)
    baseline = row.facts["baselines"][metric]
    if baseline is not None:
        note(axes, **shared, line=WITHOUT_MEMORY, value=baseline)
        axes.axhline(baseline, color="0.4", linestyle=(0, (2, 2)), linewidth=1, label=WITHOUT_MEMORY)
    if row.facts["higher_is_better"]:
        axes.set_ylim(0, 1.02)
    else:
        axes.set_yscale("log")
    titled(axes, row.label)
    axes.set_xlim(left=0)
    axes.set_xlabel("training step")
    axes.set_ylabel(f"{called}, evaluation set")
