"""Forecasts of a series beside what came: the test part, and what the networks said of it before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from bench.analysis.grouping import RunGroup
from bench.analysis.run import Run
from bench.report.figures.confusion import classes_of
from bench.report.figures.drawing import PLAIN, Drawing, Sheet, note, root_of
from bench.report.figures.style import GREY, PAGE_INCHES, grid, legend, look, rows_having, titled

SERIES = "series"
MADE = "a forecast is made"


def forecasts(runs: Iterable[Run], sheet: Sheet = PLAIN) -> Drawing | None:
    """Draw one panel a task: the test part of its series, and forecasts of it, one colour a cell.

    Forecasts of several steps follow each other, so that each value is forecast once: at a vertical line the network
    has read all values up to there, and forecasts those up to the next line. Lines are medians over the seeds, and
    bands go from the smallest to the largest. Runs whose predictions were not kept, or are no forecasts, are left out;
    the function returns ``None`` if there are no others.
    """
    rows, columns = rows_having(runs, _has_forecasts, sheet)
    if not rows:
        return None
    figure, axes = grid(len(rows), 1, width=PAGE_INCHES, height=2.0, sheet=sheet)
    panels = list(axes.flat)
    for panel, row in zip(panels, rows, strict=True):
        _panel(panel, row, columns)
    legend(figure, panels, [SERIES, *columns, MADE])
    return figure


def _has_forecasts(run: Run) -> bool:
    table = run.predictions
    # A model of characters tells bits, and no values of a series.
    if table is None or "bits" in table.column_names:
        return False
    return table.num_rows > 0 and not classes_of(run) and min(table["step"].to_pylist()) >= 1


def _panel(axes: Axes, row: RunGroup, columns: Sequence[str]) -> None:
    tables = {column: [_columns(run) for run in runs] for column, runs in row.runs.items()}
    sequence, step, target, _ = next(iter(tables.values()))[0]
    horizon = int(step.max())
    times, at = np.unique(sequence + step, return_index=True)
    axes.plot(times, target[at], color="black", linewidth=1.0, label=SERIES, zorder=3)
    note(axes, panel=row.label, line=SERIES, time=times, value=target[at])
    for column, found in tables.items():
        style = look(columns.index(column))
        # Seeds of one row have the same test part.
        made = np.stack([output for _, _, _, output in found])
        low, middle, high = made.min(0), np.median(made, axis=0), made.max(0)
        label: str | None = column
        for first in range(0, int(sequence.max()) + 1, horizon):
            block = sequence == first
            x = sequence[block] + step[block]
            if horizon == 1:
                block, x = np.ones(len(sequence), dtype=bool), sequence + step
            axes.plot(x, middle[block], label=label, marker="." if len(x) == 1 else None, alpha=0.9, **style)
            axes.fill_between(x, low[block], high[block], color=style["color"], alpha=0.2, linewidth=0)
            note(axes, panel=row.label, line=column, time=x, step=step[block], value=middle[block], low=low[block],
                 high=high[block], n=len(found))  # fmt: skip
            label = None
            if horizon == 1:
                break
    if horizon > 1:
        for first in range(0, int(sequence.max()) + 1, horizon):
            axes.axvline(first + 0.5, color=GREY, linewidth=0.5, linestyle=(0, (1, 2)), zorder=0)
        axes.plot([], [], color=GREY, linewidth=0.5, linestyle=(0, (1, 2)), label=MADE)
    seeds = max(map(len, tables.values()))
    ahead = f"up to {horizon} steps ahead" if horizon > 1 else "1 step ahead"
    titled(
        axes, f"{row.label}, {ahead}, {seeds} seed{'s' if seeds > 1 else ''}", int(14 * root_of(axes).get_figwidth())
    )
    axes.grid(visible=False, axis="x")
    axes.set_xlim(0.5, float(times[-1]) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_xlabel("step of the test part")
    axes.set_ylabel(str(next(iter(row.runs.values()))[0].task_settings.get("target", "value")))


def _columns(run: Run) -> tuple[np.ndarray, ...]:
    assert run.predictions is not None
    return tuple(run.predictions[name].to_numpy() for name in ("sequence", "step", "target", "output"))
