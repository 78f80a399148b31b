"""Time to solve as curves: the share of runs that have solved the task, from the survival of those that have not."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bench.analysis import metrics
from bench.analysis.grouping import RunGroup
from bench.analysis.run import Run
from bench.report.figures.delay import SOLVED
from bench.report.figures.drawing import PLAIN, Drawing, Sheet, note
from bench.report.figures.style import (
    GREY,
    KEY_POINTS,
    PANEL_HEIGHT,
    arranged,
    key_above,
    legend,
    look,
    panels_of,
    titled,
)
from bench.stats.survival import Survival, survival

UNSOLVED = "not solved within the budget"


def draw_survival(runs: Iterable[Run], sheet: Sheet = PLAIN) -> Drawing | None:
    """Draw one panel a task: share of the seeds that have solved it, over training steps, one line a cell.

    The share is one minus the Kaplan-Meier estimate. The band is its pointwise 95 % interval, which exists from the
    first seed that solves to the last but one. A tick at the end of a line stands for runs that have not solved within
    their budget. A diverged run never will, so it enters with the whole budget. Runs without a result are left out. The
    function returns ``None`` if there are no others.
    """
    rows, columns = arranged(runs, sheet)
    rows = [row for row in rows if any(map(metrics.results, row.runs.values()))]
    if not rows:
        return None
    figure, panels = panels_of(len(rows), height=PANEL_HEIGHT, sheet=sheet)
    for panel, row in zip(panels, rows, strict=True):
        _survival_panel(panel, row, columns)
    legend(figure, panels, [UNSOLVED])
    return figure


def _survival_panel(axes: Axes, row: RunGroup, columns: list[str]) -> None:
    budget = max(run.budget for runs in row.runs.values() for run in metrics.results(runs))
    keys: dict[str, Line2D] = {}
    for column, runs in row.runs.items():
        results = metrics.results(runs)
        if not results:
            continue
        style = look(columns.index(column))
        curve = survival(*metrics.times(results))
        solved = sum(curve.solved)
        end = curve.last if solved < curve.n else max(budget, curve.last)
        shares = [0.0, *(1 - share for share in curve.share)]
        steps = [0.0, *curve.times]
        (line,) = axes.plot([*steps, end], [*shares, shares[-1]], drawstyle="steps-post", clip_on=False, **style)
        keys[f"{column} {solved}/{curve.n}"] = line
        ends = [None if end is None else 1 - end for end in (*curve.high, *curve.low)]
        note(axes, panel=row.label, line=column, step=[*steps, end], share=[*shares, shares[-1]],
             low=[None, *ends[: len(curve.times)], None], high=[None, *ends[len(curve.times) :], None],
             solved=solved, n=curve.n)  # fmt: skip
        x, low, high = _band(curve)
        axes.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0)
        if solved < curve.n:
            mark: dict[str, Any] = {"marker": "|", "ms": 8, "mew": 1.4, "linestyle": "none"}
            axes.plot([end], [shares[-1]], color=style["color"], gid="unsolved", clip_on=False, **mark)
            axes.plot([], [], color=GREY, label=UNSOLVED, **mark)
    lines = key_above(axes, keys)
    titled(axes, row.label)
    axes.set_title(axes.get_title(), pad=6 + KEY_POINTS * lines)
    axes.set_xlim(0, 1.02 * max(1, budget))
    axes.set_ylim(-0.04, 1.04)  # this keeps lines at 0 and 1 away from the frame
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 2.5, 5, 10]))
    axes.set_xlabel("training step")
    axes.set_ylabel(SOLVED)


def _band(curve: Survival) -> tuple[list[float], list[float], list[float]]:
    """Return the corners of the interval of the share solved, which is constant from one time to the next."""
    x, low, high = [], [], []
    for (start, end), below, above in zip(
        itertools.pairwise((*curve.times, curve.last)), curve.low, curve.high, strict=True
    ):
        if below is not None and above is not None:
            x += [start, end]
            low += [1 - above] * 2
            high += [1 - below] * 2
    return x, low, high
