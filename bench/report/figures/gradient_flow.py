"""Gradient over lag: after the first and the last step, and over the course of training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.colors import LogNorm
from matplotlib.ticker import MaxNLocator, NullLocator

from bench.analysis.gradient_reach import flow_points, has_flow
from bench.analysis.grouping import RunGroup
from bench.analysis.run import Run
from bench.report.figures.drawing import PLAIN, Drawing, Sheet, note
from bench.report.figures.style import (
    COLUMN_INCHES,
    PAGE_INCHES,
    STYLE,
    grid,
    legend,
    look,
    name_panels,
    panels_of_cells,
    rows_having,
    titled,
)

if TYPE_CHECKING:
    import pandas as pd

UNDERFLOW, SOME_UNDERFLOW = "underflow: nothing arrives", "underflow for some seeds"
NORM = "gradient norm $\\Vert dL/dx \\Vert$"
LAG = "lag (steps before the first answer)"


def gradient_flow(runs: Iterable[Run], sheet: Sheet = PLAIN) -> Drawing | None:
    """Draw one row a task: the gradient norm over lag at initialisation and after training, one line a cell.

    The norm is that of the network's input. Lines are medians over seeds, and bands go from the
    smallest to the largest value. After training the figure shows completed runs only. The function returns ``None`` if
    nothing was probed.
    """
    rows, columns = probed_rows(runs, sheet)
    if not rows:
        return None
    # In a column of a page the two panels of a row stand below each other.
    down, across = (2 * len(rows), 1) if sheet.narrow else (len(rows), 2)
    figure, axes = grid(down, across, width=PAGE_INCHES, height=2.2, sheet=sheet, sharey="row")
    for pair, row in zip(axes.reshape(-1, 2), rows, strict=True):
        points = {column: flow_points([run.flow for run in members]) for column, members in row.runs.items()}
        for panel, last, when in ((pair[0], False, "at initialisation"), (pair[1], True, "after training")):
            for column, members in row.runs.items():
                curves = _curves_at(points[column], members, last=last)
                named = {"panel": row.label, "when": when}
                _flow_line(panel, *curves, column, look(columns.index(column)), named)
            titled(panel, f"{row.label}, {when}", 48)
            panel.set_xlabel(LAG)
            panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        for panel in pair[: 2 if sheet.narrow else 1]:
            panel.set_ylabel(NORM)
        _floor(list(pair))
    legend(figure, list(axes.flat), [*columns, UNDERFLOW, SOME_UNDERFLOW])
    return figure


def plot_flow(frame: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """Draw what :func:`bench.probes.own.gradient_flow` returns, one line for the input and for each part of the state.

    Args:
        frame: The frame.
        axes: Axes to draw into; by default those of a new figure.
    """
    if axes is None:
        with plt.style.context(STYLE):
            _, panels = grid(1, 1, width=COLUMN_INCHES, height=2.3)
            return plot_flow(frame, panels[0, 0])
    for index, (state, curve) in enumerate(frame.groupby("state", sort=False)):
        curve = curve.drop_duplicates("lag", keep="last").sort_values("lag")
        _flow_line(axes, curve["lag"].to_numpy(), curve[["value"]].to_numpy().T, str(state), look(index), {})
    axes.set_xlabel("lag (steps before the answer)")
    axes.set_ylabel("gradient norm")
    _floor([axes])
    axes.legend()
    return axes


def flow_heatmap(runs: Iterable[Run], sheet: Sheet = PLAIN) -> Drawing | None:
    """Draw one row a task, one panel a cell: gradient norm over lag and training step.

    The norm is that of the network's input: its median over the seeds that were still training. A
    field is hatched if no gradient arrives there, and grey if the norm was not finite.
    """
    rows, _ = probed_rows(runs, sheet)
    if not rows:
        return None
    places, across = panels_of_cells(rows, sheet)
    figure, axes = grid(len(places), across, width=PAGE_INCHES, height=2.1, sheet=sheet, sharey="row")
    for down, (row, columns) in enumerate(places):
        medians = {column: _over_training(members) for column, members in row.runs.items()}
        values = np.concatenate([values.ravel() for _, _, values in medians.values()])
        values = values[np.isfinite(values) & (values > 0)]
        low, high = (float(values.min()), float(values.max())) if values.size else (1e-3, 1.0)
        norm = LogNorm(low, high) if low < high else LogNorm(low / 10, high * 10)
        for panel, column in zip(axes[down], columns, strict=False):
            steps, lags, field = medians[column]
            note(panel, panel=row.label, line=column, step=np.repeat(steps, len(lags)), lag=np.tile(lags, len(steps)),
                 value=field.ravel())  # fmt: skip
        meshes = [_heat(panel, medians[column], norm) for panel, column in zip(axes[down], columns, strict=False)]
        name_panels(list(axes[down]), row, columns)
        axes[down, 0].set_ylabel("lag (steps)")
        axes[down, 0].yaxis.set_major_locator(MaxNLocator(6, integer=True))
        # The bar stands beside all panels, empty ones too, so that columns stay below each other.
        bar = figure.colorbar(meshes[0], ax=list(axes[down]), label=NORM, pad=0.01)
        bar.ax.yaxis.set_minor_locator(NullLocator())
    figure.text(0.5, -0.03, "hatched: underflow, nothing arrives", ha="center", fontsize=7, color="0.4")
    return figure


def _heat(axes: Axes, curves: tuple[list[int], list[int], np.ndarray], norm: LogNorm) -> QuadMesh:
    steps, lags, values = curves
    x, y = _edges(steps), _edges(lags)
    axes.grid(visible=False)
    axes.set_facecolor("0.85")
    if (values == 0).any():
        style: dict[str, Any] = {"hatch": "xxxx", "facecolor": "white", "edgecolor": "0.7", "linewidth": 0}
        axes.add_collection(PolyCollection(list(_fields(x, y, values == 0)), **style))
    shown = np.ma.masked_where(~np.isfinite(values.T) | (values.T <= 0), values.T)
    return axes.pcolormesh(x, y, shown, norm=norm, cmap="cividis")


def probed_rows(runs: Iterable[Run], sheet: Sheet) -> tuple[list[RunGroup], list[str]]:
    """Return the rows with a curve over lag, and the columns of all runs, which keeps the colours of all figures."""
    return rows_having(runs, _has_flow, sheet)


def _has_flow(run: Run) -> bool:
    return has_flow(run.flow)


def _curves_at(
    points: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], runs: Sequence[Run], *, last: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the lags that the curves of all runs have, and the norms there, ``(run, lag)``, after one of the looks.

    A run that has diverged, failed or been interrupted does not count as trained.

    Args:
        points: What :func:`bench.analysis.gradient_reach.flow_points` returns of the runs.
        runs: The runs.
        last: Whether the look after training is wanted, or the one before it.
    """
    run, step, lag, norm = points
    looked = [0 if not last else each.record.steps if each.status == "completed" else -1 for each in runs]
    chosen = step == np.array(looked)[run]
    run, lag, norm = run[chosen], lag[chosen], norm[chosen]
    lags, shared = _shared(run, lag)
    return lags, norm[shared].reshape(-1, max(1, len(lags)))


def _shared(curve: np.ndarray, lag: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lags that every curve has, and which points are at these; points are sorted by curve and lag."""
    lags, counts = np.unique(lag, return_counts=True)
    lags = lags[counts == len(np.unique(curve))]
    return lags, np.isin(lag, lags)


def _flow_line(
    axes: Axes,
    lags: np.ndarray,
    values: np.ndarray,
    label: str,
    style: dict[str, Any],
    named: Mapping[str, str],
) -> None:
    """Draw median and range over seeds, at the lags that all seeds have.

    Values of 0 are marked later, at the floor of the axis.

    Args:
        axes: The panel.
        lags: The lags.
        values: The norms, ``(seed, lag)``.
        label: What the line is called.
        style: How it looks.
        named: What its data are named by.
    """
    if not values.size:
        return
    shared = lags.tolist()
    middle = np.median(values, axis=0)
    drawn = np.where(np.isfinite(middle) & (middle > 0), middle, np.nan)
    axes.plot(shared, drawn, label=label, gid="flow", marker="." if len(shared) == 1 else None, **style)
    positive = np.ma.masked_where(~np.isfinite(values) | (values <= 0), values)
    low, high = positive.min(axis=0).filled(np.nan), positive.max(axis=0).filled(np.nan)
    low = np.where((values == 0).any(axis=0), 0.0, low)  # the band goes down to the lower end of the axis
    note(axes, **named, line=label, lag=shared, value=middle, low=low, high=high)
    band = axes.fill_between(shared, low, high, color=style["color"], alpha=0.15, linewidth=0)
    band.set_gid("flow")
    for label, where, fill in (
        (UNDERFLOW, middle == 0, "full"),
        (SOME_UNDERFLOW, (values == 0).any(axis=0) & (middle > 0), "none"),
    ):
        nothing = [lag for lag, is_so in zip(shared, where, strict=True) if is_so]
        if nothing:
            marks = {"color": style["color"], "fillstyle": fill, "ms": 3, "gid": "underflow"}
            axes.plot(nothing, [np.nan] * len(nothing), "v", label=label, **marks)


def _floor(panels: Sequence[Axes]) -> None:
    """Give the panels logarithmic axes of one range, and draw underflow at the lower end."""
    lines = [line for axes in panels for line in axes.get_lines()]
    drawn = np.concatenate([[], *(np.asarray(line.get_ydata(), float) for line in lines if line.get_gid() == "flow")])
    bands = [band for axes in panels for band in axes.collections if band.get_gid() == "flow"]
    edges = [np.asarray(path.vertices)[:, 1] for band in bands for path in band.get_paths()]
    drawn = np.concatenate([drawn, *edges])
    drawn = drawn[np.isfinite(drawn) & (drawn > 0)]
    low, high = (float(drawn.min()), float(drawn.max())) if drawn.size else (1e-3, 1.0)
    room = (high / low) ** 0.08 if high > low else 10.0
    for axes in panels:
        longest = max((max(np.asarray(line.get_xdata()), default=0) for line in axes.get_lines()), default=0)
        axes.set_xlim(0, 1.04 * longest if longest else 1)
        axes.set_yscale("log")
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_ylim(low / room, high * room)
    for line in lines:
        if line.get_gid() == "underflow":
            line.set_ydata([low / room**0.5] * len(np.asarray(line.get_xdata())))


def _over_training(runs: Sequence[Run]) -> tuple[list[int], list[int], np.ndarray]:
    """Return steps, lags, and the median over the seeds that have the step, ``(step, lag)``."""
    run, step, lag, norm = flow_points([run.flow for run in runs])
    order = np.lexsort((lag, run, step))
    run, step, lag, norm = run[order], step[order], lag[order], norm[order]
    lags, shared = _shared(step.astype(np.int64) * len(runs) + run, lag)
    step, norm = step[shared], norm[shared]
    steps, starts = np.unique(step, return_index=True)
    fields = [np.median(each.reshape(-1, len(lags)), axis=0) for each in np.split(norm, starts[1:])]
    return steps.tolist(), lags.tolist(), np.array(fields)


def _fields(x: np.ndarray, y: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the corners of the wanted fields, ``(field, corner, 2)``; those above each other are one field.

    Args:
        x: Borders of the columns.
        y: Borders of the rows.
        wanted: Which fields are wanted, ``(column, row)``.
    """
    changes = np.diff(np.pad(wanted, ((0, 0), (1, 1))).astype(int), axis=1)
    (column, low), (_, high) = np.nonzero(changes == 1), np.nonzero(changes == -1)
    left, right, bottom, top = x[column], x[column + 1], y[low], y[high]
    corners = [(left, bottom), (left, top), (right, top), (right, bottom)]
    return np.moveaxis(np.array(corners), -1, 0)


def _edges(places: Sequence[int]) -> np.ndarray:
    """Return the borders of the fields around some places: half way between two of them."""
    middle = np.asarray(places, float)
    if len(middle) == 1:
        return np.array([middle[0] - 0.5, middle[0] + 0.5])
    inner = (middle[1:] + middle[:-1]) / 2
    return np.concatenate([middle[:1], inner, middle[-1:]])
