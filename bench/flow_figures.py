"""What the probes found, as pictures: gradient over lag, its course in training, time constants, and clipping."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from bench.decay import clipped_share
from bench.layout import Row, arrange
from bench.measured import Probes, flow_curve, flow_steps, looks, statistic
from bench.panels import COLUMN_INCHES, LINE_STYLES, PAGE_INCHES, STYLE, grid, legend, look, titled
from bench.record import Record
from bench.thinned import whole_of

UNDERFLOW, SOME_UNDERFLOW = "underflow: nothing arrives", "underflow for some seeds"
BEFORE, AFTER = "before the clip", "after the clip"
NORM = "gradient norm $\\Vert dL/dh \\Vert$"
LAG = "lag (steps before the first answer)"
STEP = "training step"
LONGEST_TAU = 1e6
"""Longer time constants are drawn here; a gate of 1 has an infinite one."""
POINTS = 60
MOST_ACROSS = 4
"""Panels beside each other at most."""
TITLE_CHARACTERS_ACROSS = 88
"""Points of a smoothed curve."""
ProbesOfRuns = Mapping[str, Probes]
"""Tables of the probes, by run id."""


def gradient_flow(records: list[Record], probes: ProbesOfRuns) -> Figure | None:
    """One row a task: the gradient norm over lag at initialisation and after training, one line a cell.

    Of the hidden state of the lowest layer. Lines are medians over seeds, bands go from the smallest to the largest.
    After training there are only completed runs. ``None`` where nothing was probed.
    """
    rows, columns = _probed(records, probes)
    if not rows:
        return None
    figure, axes = grid(len(rows), 2, width=PAGE_INCHES, height=2.2, sharey="row")
    for down, row in enumerate(rows):
        for panel, last, when in ((axes[down, 0], False, "at initialisation"), (axes[down, 1], True, "after training")):
            for column, runs in row.runs.items():
                curves = filter(None, (_curve_at(run, probes[run.run_id]["flow"], last=last) for run in runs))
                _flow_line(panel, list(curves), column, look(columns.index(column)))
            titled(panel, f"{row.label}, {when}", 48)
            panel.set_xlabel(LAG)
            panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes[down, 0].set_ylabel(NORM)
        _floor(list(axes[down]))
    legend(figure, list(axes.flat), [*columns, UNDERFLOW, SOME_UNDERFLOW])
    return figure


def plot_flow(frame: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """Draw what :func:`bench.probes.own.gradient_flow` returns, a line for each part of the state.

    Args:
        frame: The frame.
        axes: Where; by default a new figure.
    """
    if axes is None:
        with plt.style.context(STYLE):
            _, panels = grid(1, 1, width=COLUMN_INCHES, height=2.3)
            return plot_flow(frame, panels[0, 0])
    for index, (state, curve) in enumerate(frame.groupby("state", sort=False)):
        _flow_line(axes, [(curve["lag"].tolist(), curve["value"].tolist())], str(state), look(index))
    axes.set_xlabel("lag (steps before the answer)")
    axes.set_ylabel("gradient norm")
    _floor([axes])
    axes.legend()
    return axes


def flow_heatmap(records: list[Record], probes: ProbesOfRuns) -> Figure | None:
    """One row a task, one panel a cell: gradient norm over lag and training step.

    Of the hidden state of the lowest layer; median over the seeds that were still training. Hatched where nothing
    arrives, grey where it was no number.
    """
    rows, _ = _probed(records, probes)
    if not rows:
        return None
    places, across = _panels_of_cells(rows)
    figure, axes = grid(len(places), across, width=PAGE_INCHES, height=2.1, sharey="row")
    for down, (row, columns) in enumerate(places):
        medians = {column: _over_training(runs, probes) for column, runs in row.runs.items()}
        values = np.concatenate([values.ravel() for _, _, values in medians.values()])
        values = values[np.isfinite(values) & (values > 0)]
        low, high = (float(values.min()), float(values.max())) if values.size else (1e-3, 1.0)
        norm = LogNorm(low, high) if low < high else LogNorm(low / 10, high * 10)
        meshes = [_heat(panel, medians[column], norm) for panel, column in zip(axes[down], columns, strict=False)]
        _name_panels(list(axes[down]), row, columns)
        axes[down, 0].set_ylabel("lag (steps)")
        # Beside all panels, empty ones too, so that columns stay below each other.
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
        axes.pcolor(x, y, np.ma.masked_not_equal(values.T, 0), hatch="xxxx", cmap="Greys_r", vmin=-1, vmax=0,
                    edgecolor="0.7", linewidth=0)  # fmt: skip
    shown = np.ma.masked_where(~np.isfinite(values.T) | (values.T <= 0), values.T)
    return axes.pcolormesh(x, y, shown, norm=norm, cmap="cividis")


def _panels_of_cells(rows: Sequence[Row]) -> tuple[list[tuple[Row, list[str]]], int]:
    """Rows of panels with the cells in each, cut where there are more than fit, and the panels across."""
    places = []
    for row in rows:
        columns = list(row.runs)
        places += [(row, columns[start : start + MOST_ACROSS]) for start in range(0, len(columns), MOST_ACROSS)]
    return places, max(len(columns) for _, columns in places)


def _name_panels(panels: Sequence[Axes], row: Row, columns: Sequence[str]) -> None:
    for panel, column in zip(panels, columns, strict=False):
        titled(panel, f"{column}: {row.label}", TITLE_CHARACTERS_ACROSS // len(panels))
        panel.set_xlabel(STEP)
        panel.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    for panel in panels[len(columns) :]:
        panel.set_axis_off()


def time_constants(records: list[Record], probes: ProbesOfRuns) -> Figure | None:
    """One panel a task: time constants of the gates that keep the state, over training.

    Lines are the median over units, steps and sequences, bands hold 90 % of them; both are medians over seeds. The
    dashed grey line is the task's delay. A line ends where the last seed did.
    """
    rows, columns = _probed(records, probes)
    lines = {
        (row.label, column, gate): by_quantile
        for row in rows
        for column in columns
        for gate, by_quantile in _taus(row.runs.get(column, []), probes).items()
    }
    if not lines:
        return None
    rows = [row for row in rows if any(label == row.label for label, _, _ in lines)]
    across = min(2, len(rows))
    figure, axes = grid(
        math.ceil(len(rows) / across), across, width=COLUMN_INCHES * across, height=2.2, sharey=True
    )  # fmt: skip
    order = list(dict.fromkeys(f"{column} {gate} gate" for _, column, gate in lines))
    panels = list(axes.flat)
    for panel, row in zip(panels, rows, strict=False):
        for (label, column, gate), by_quantile in lines.items():
            if label != row.label:
                continue
            style = look(columns.index(column))
            steps = sorted(by_quantile["tau_50"])
            low, middle, high = (
                [min(by_quantile[q][s], LONGEST_TAU) for s in steps] for q in ("tau_05", "tau_50", "tau_95")
            )
            marker = "." if len(steps) == 1 else None
            panel.plot(steps, middle, label=f"{column} {gate} gate", marker=marker, **style)
            panel.fill_between(steps, low, high, color=style["color"], alpha=0.15, linewidth=0)
        delay = row.facts["delay"]
        panel.axhline(delay, color="0.4", linestyle=(0, (2, 2)), linewidth=1, label="delay of the task")
        panel.set_yscale("log")
        panel.set_xlim(left=0)
        titled(panel, row.label)
        panel.set_xlabel(STEP)
    for down in axes:
        down[0].set_ylabel("time constant (steps)")
    for panel in panels[len(rows) :]:
        panel.remove()
    legend(figure, panels[: len(rows)], [*order, "delay of the task"])
    return figure


def gradient_norms(records: list[Record], curves: Mapping[str, pa.Table]) -> Figure | None:
    """One row a task, one panel a cell: norm of the gradient of all parameters before and after the clip.

    Medians over seeds and over windows of steps; the band of the norm before the clip goes from the smallest to the
    largest of both. Of thinned curves, the steps that they keep. ``None`` where there is no step.
    """
    rows, every = _having(records, lambda run: curves[run.run_id].num_rows > 0)
    if not rows:
        return None
    places, across = _panels_of_cells(rows)
    figure, axes = grid(len(places), across, width=PAGE_INCHES, height=1.9, sharey="row")
    for down, (row, columns) in enumerate(places):
        for panel, column in zip(axes[down], columns, strict=False):
            tables = [curves[run.run_id] for run in row.runs[column]]
            _clip_panel(panel, tables, look(every.index(column))["color"])
            share = _clipped(tables)
            panel.set_yscale("log")
            panel.yaxis.set_major_locator(LogLocator(numticks=6))
            panel.set_xlim(left=0)
            if share is not None:
                all_steps = all(whole_of(table.schema) is None for table in tables)
                said = f"{share:.0%} of {'steps' if all_steps else 'kept steps'} clipped"
                panel.text(0.98, 0.95, said, transform=panel.transAxes, ha="right", va="top", fontsize=7)
        _name_panels(list(axes[down]), row, columns)
        axes[down, 0].set_ylabel("gradient norm")
    legend(figure, list(axes.flat), [BEFORE, AFTER])
    figure.legends[0].get_lines()[0].set_color("0.5")
    return figure


def _probed(records: list[Record], probes: ProbesOfRuns) -> tuple[list[Row], list[str]]:
    """Rows of the runs with a curve over lag, and the columns of all runs, for the same colours in every figure."""
    return _having(records, lambda run: run.run_id in probes and probes[run.run_id]["flow"].num_rows > 0)


def _having(records: list[Record], wanted: Callable[[Record], bool]) -> tuple[list[Row], list[str]]:
    """Rows and columns of all runs, and of their runs those that are wanted; rows without any are left out."""
    rows, columns = arrange(records)
    kept = []
    for row in rows:
        runs = {column: [run for run in members if wanted(run)] for column, members in row.runs.items()}
        runs = {column: members for column, members in runs.items() if members}
        kept += [replace(row, runs=runs)] if runs else []
    return kept, columns


def _curve_at(made: Record, flow: pa.Table, *, last: bool) -> tuple[list[int], list[float]] | None:
    step = looks(flow, made)[last]
    return flow_curve(flow, step) if step is not None else None


def _flow_line(axes: Axes, curves: Sequence[tuple[list[int], list[float]]], label: str, style: dict[str, Any]) -> None:
    """Median and range over seeds, at the lags that all of them have; what is 0 is marked later, at the floor."""
    if not curves:
        return
    shared = sorted(set.intersection(*(set(lags) for lags, _ in curves)))
    values = np.array([[dict(zip(*curve, strict=True))[lag] for lag in shared] for curve in curves])
    middle = np.median(values, axis=0)
    drawn = np.where(np.isfinite(middle) & (middle > 0), middle, np.nan)
    axes.plot(shared, drawn, label=label, gid="flow", marker="." if len(shared) == 1 else None, **style)
    positive = np.ma.masked_where(~np.isfinite(values) | (values <= 0), values)
    low, high = positive.min(axis=0).filled(np.nan), positive.max(axis=0).filled(np.nan)
    low = np.where((values == 0).any(axis=0), 0.0, low)  # down to the lower end of the axis
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
    """Logarithmic axes of one range; underflow is drawn at its lower end."""
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


def _over_training(runs: Sequence[Record], probes: ProbesOfRuns) -> tuple[list[int], list[int], np.ndarray]:
    """Steps, lags, and the median over the seeds that have the step, ``(step, lag)``."""
    by_step: dict[int, list[dict[int, float]]] = {}
    for run in runs:
        flow = probes[run.run_id]["flow"]
        for step in flow_steps(flow):
            by_step.setdefault(step, []).append(dict(zip(*flow_curve(flow, step), strict=True)))
    steps = sorted(by_step)
    lags = sorted(set.intersection(*(set(curve) for curves in by_step.values() for curve in curves)))
    return steps, lags, np.array([[np.median([c[lag] for c in by_step[step]]) for lag in lags] for step in steps])


def _edges(places: Sequence[int]) -> np.ndarray:
    """Borders of the fields around some places: half way between two of them."""
    middle = np.asarray(places, float)
    if len(middle) == 1:
        return np.array([middle[0] - 0.5, middle[0] + 0.5])
    inner = (middle[1:] + middle[:-1]) / 2
    return np.concatenate([middle[:1], inner, middle[-1:]])


def _taus(runs: Sequence[Record], probes: ProbesOfRuns) -> dict[str, dict[str, dict[int, float]]]:
    """Gate to quantile to step to its median over the seeds that have the step."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for quantile in ("tau_05", "tau_50", "tau_95"):
        values: dict[str, dict[int, list[float]]] = {}
        for run in runs:
            for gate, by_step in statistic(probes[run.run_id]["activity"], quantile).items():
                for step, value in by_step.items():
                    values.setdefault(gate, {}).setdefault(step, []).append(value)
        for gate, by_step in values.items():
            medians = {step: float(np.median(each)) for step, each in by_step.items()}
            found.setdefault(gate, {})[quantile] = medians
    return found


def _clip_panel(axes: Axes, tables: Sequence[pa.Table], color: str) -> None:
    if not tables:
        return
    edges = _windows([table["step"].to_numpy() for table in tables])
    styles: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("grad_norm", BEFORE, {"color": color, "linestyle": LINE_STYLES[0]}),
        ("grad_norm_clipped", AFTER, {"color": "0.15", "linestyle": LINE_STYLES[2]}),
    )
    for name, label, style in styles:
        series = [(table[name].to_numpy(), np.searchsorted(table["step"], edges, side="right")) for table in tables]
        windows = [
            np.concatenate([values[bounds[i] : bounds[i + 1]] for values, bounds in series])
            for i in range(len(edges) - 1)
        ]
        windows = [window[np.isfinite(window) & (window > 0)] for window in windows]
        middle = [float(np.median(window)) if window.size else np.nan for window in windows]
        places = (edges[1:] + edges[:-1]) / 2
        axes.plot(places, middle, label=label, marker="." if len(places) == 1 else None, **style)
        if name == "grad_norm":
            low = [window.min() if window.size else np.nan for window in windows]
            high = [window.max() if window.size else np.nan for window in windows]
            axes.fill_between(places, low, high, color=color, alpha=0.15, linewidth=0)


def _windows(series: Sequence[np.ndarray]) -> np.ndarray:
    """Borders of windows ``(a, b]`` over the steps of some curves, each with a step of one curve at least.

    Args:
        series: The steps of each curve, increasing.
    """
    steps = np.unique(np.concatenate(series))
    edges = np.unique(np.linspace(0, steps[-1], POINTS + 1).round().astype(int)) if steps.size else np.zeros(1, int)
    filled = np.diff(np.searchsorted(steps, edges, side="right")) > 0
    return np.concatenate([edges[:1], edges[1:][filled]])


def _clipped(tables: Sequence[pa.Table]) -> float | None:
    pairs = [(table["grad_norm"].to_pylist(), table["grad_norm_clipped"].to_pylist()) for table in tables]
    before, after = [v for one, _ in pairs for v in one], [v for _, other in pairs for v in other]
    kept = [(b, a) for b, a in zip(before, after, strict=True) if b is not None and a is not None]
    return clipped_share([b for b, _ in kept], [a for _, a in kept])
