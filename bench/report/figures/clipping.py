"""Gradient norms before and after the clip, over the course of training."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from bench.analysis.run import Run
from bench.records.series import as_numpy, stacked
from bench.records.thinning import thinning_of
from bench.report.figures.drawing import PLAIN, Drawing, Sheet, note
from bench.report.figures.style import (
    LINE_STYLES,
    PAGE_INCHES,
    grid,
    legend,
    look,
    name_panels,
    panels_of_cells,
    rows_having,
)
from bench.stats.gradient_decay import clipped_share

BEFORE, AFTER = "before the clip", "after the clip"
NORMS = ("grad_norm", "grad_norm_clipped")
"""The columns of the curves that are drawn."""
POINTS = 60
"""Number of points of a smoothed curve."""


def gradient_norms(runs: Iterable[Run], sheet: Sheet = PLAIN) -> Drawing | None:
    """Draw one row a task, one panel a cell: norm of the gradient of all parameters before and after the clip.

    Lines are medians over seeds and over windows of steps. The band of the norm before the clip goes from the smallest
    to the largest value of both. Thinned curves contribute the steps that they keep. The function returns ``None`` if
    there is no step, or none with both norms.
    """
    rows, every = rows_having(runs, _has_norms, sheet)
    if not rows:
        return None
    places, across = panels_of_cells(rows, sheet)
    figure, axes = grid(len(places), across, width=PAGE_INCHES, height=1.9, sheet=sheet, sharey="row")
    for down, (row, columns) in enumerate(places):
        for panel, column in zip(axes[down], columns, strict=False):
            tables = [run.curves for run in row.runs[column]]
            whole, _ = stacked(tables, ("step", *NORMS))
            _clip_panel(panel, whole, look(every.index(column))["color"], {"panel": row.label, "line": column})
            share = _clipped(whole)
            panel.set_yscale("log")
            panel.yaxis.set_major_locator(LogLocator(numticks=6))
            panel.set_xlim(left=0)
            if share is not None:
                all_steps = all(thinning_of(table.schema) is None for table in tables)
                said = f"{share:.0%} of {'steps' if all_steps else 'kept steps'} clipped"
                panel.text(0.98, 0.95, said, transform=panel.transAxes, ha="right", va="top", fontsize=7)
        name_panels(list(axes[down]), row, columns)
        axes[down, 0].set_ylabel("gradient norm")
    legend(figure, list(axes.flat), [BEFORE, AFTER])
    figure.legends[0].get_lines()[0].set_color("0.5")
    return figure


def _has_norms(run: Run) -> bool:
    curves = run.curves
    return curves.num_rows > 0 and {*NORMS} <= set(curves.column_names)


def _clip_panel(axes: Axes, curves: pa.Table, color: str, shared: Mapping[str, str]) -> None:
    step = as_numpy(curves["step"])
    edges = _windows(step)
    styles: tuple[tuple[str, str, dict[str, Any]], ...] = (
        (NORMS[0], BEFORE, {"color": color, "linestyle": LINE_STYLES[0]}),
        (NORMS[1], AFTER, {"color": "0.15", "linestyle": LINE_STYLES[2]}),
    )
    places_of = np.searchsorted(edges, step, side="left") - 1
    order = np.argsort(places_of, kind="stable")
    bounds = np.searchsorted(places_of[order], np.arange(len(edges)))
    for name, label, style in styles:
        values = as_numpy(curves[name])[order]
        windows = [values[start:end] for start, end in itertools.pairwise(bounds)]
        windows = [window[np.isfinite(window) & (window > 0)] for window in windows]
        middle = [float(np.median(window)) if window.size else np.nan for window in windows]
        places = (edges[1:] + edges[:-1]) / 2
        axes.plot(places, middle, label=label, marker="." if len(places) == 1 else None, **style)
        low: list[float] = []
        high: list[float] = []
        if name == NORMS[0]:
            low = [window.min() if window.size else np.nan for window in windows]
            high = [window.max() if window.size else np.nan for window in windows]
            axes.fill_between(places, low, high, color=color, alpha=0.15, linewidth=0)
        ends = {"low": low or None, "high": high or None}
        note(axes, **shared, when=label, step=places, value=middle, **ends)


def _windows(steps: np.ndarray) -> np.ndarray:
    """Return borders of windows ``(a, b]`` over the steps of some curves; each window holds one of them at least."""
    steps = np.unique(steps)
    edges = np.unique(np.linspace(0, steps[-1], POINTS + 1).round().astype(int)) if steps.size else np.zeros(1, int)
    filled = np.diff(np.searchsorted(steps, edges, side="right")) > 0
    return np.concatenate([edges[:1], edges[1:][filled]])


def _clipped(curves: pa.Table) -> float | None:
    before, after = (as_numpy(curves[name]) for name in NORMS)
    there = np.all([as_numpy(curves[name].is_valid()) for name in NORMS], axis=0)
    return clipped_share(before[there], after[there])
