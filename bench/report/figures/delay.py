"""The delay over which a task is solved: the share of solved runs, beside the reach of the gradient."""

from __future__ import annotations

import itertools
import math
import statistics
import textwrap
from collections.abc import Iterable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MultipleLocator, NullFormatter, NullLocator, ScalarFormatter

from bench.analysis import metrics
from bench.analysis.delay_series import DelaySeries, delay_series
from bench.analysis.grouping import RunGroup
from bench.analysis.run import Run
from bench.report.figures.drawing import PLAIN, Drawing, Sheet, note
from bench.report.figures.style import (
    COLUMN_INCHES,
    GREY,
    PANELS_ACROSS,
    arranged,
    grid,
    key_above,
    legend,
    look,
    titled,
)
from bench.stats.intervals import success

DIAGONAL = "reach = delay"
SOLVED = "share of seeds solved\n(95 % interval)"
MARKERS = "os^Dv<>"
NOTE_CHARACTERS = 52
CLOSEST_TICKS = 0.07
"""Closest distance of two ticks, as a share of the axis's width; closer delays share a tick."""


def draw_reach(runs: Iterable[Run], sheet: Sheet = PLAIN) -> Drawing | None:
    """Two panels a task, over the same delays: share of the seeds that have solved it, and the gradient's reach.

    The bars around a share are its 95 % Wilson interval. A reach is a number of steps like the delay, and never
    longer than the sequence. Below the dashed grey line it does not span the delay. Reaches are medians over
    seeds, and their bars go from the smallest to the largest. After training they are those of completed runs only. If
    some runs with a result have no reach, a note below says how many have one. Cells are drawn slightly beside each
    other.

    Args:
        runs: Runs whose reach has been read.
        sheet: What the figure is for.

    Returns:
        ``None`` if no task was run with two delays and all else equal, or if none of these runs was probed.
    """
    rows, columns = arranged(runs, sheet)
    found = [series for series in delay_series(rows) if any(run.reach is not None for run in _runs(series))]
    if not found:
        return None
    across = min(1 if sheet.narrow else PANELS_ACROSS, len(found))
    blocks = math.ceil(len(found) / across)
    shape: dict[str, Any] = {"width": COLUMN_INCHES * across, "height": 1.8, "height_ratios": [1.0, 1.3] * blocks}
    figure, axes = grid(2 * blocks, across, sheet=sheet, **shape)
    uppers, lowers = list(axes[0::2].flat), list(axes[1::2].flat)
    for upper, lower, series in zip(uppers, lowers, found, strict=False):
        _share_panel(upper, series, columns)
        _reach_panel(lower, series, columns)
        lower.sharex(upper)
        upper.tick_params(labelbottom=False)
        titled(upper, series.label)
    for panel in (*uppers[len(found) :], *lowers[len(found) :]):
        panel.remove()
    legend(figure, uppers[: len(found)], columns)
    return figure


def _runs(series: DelaySeries) -> list[Run]:
    return [run for row in series.rows for runs in row.runs.values() for run in runs]


def _share_panel(axes: Axes, series: DelaySeries, columns: list[str]) -> None:
    for column, places in _places(series, columns).items():
        style = _marked(columns.index(column))
        x, delays, shares, low, high = [], [], [], [], []
        for row, place in places:
            results = metrics.results(row.runs.get(column, []))
            if results:
                found = success(sum(run.record.solved for run in results), len(results))
                x.append(place)
                delays.append(row.facts["delay"])
                shares.append(found.value)
                low.append(found.interval.low if found.interval else math.nan)
                high.append(found.interval.high if found.interval else math.nan)
        note(axes, panel=series.label, line=column, what="share solved", delay=delays, value=shares, low=low, high=high)
        axes.vlines(x, low, high, color=style["color"], linewidth=0.9, gid=column, clip_on=False)
        axes.plot(x, shares, label=column, gid=column, clip_on=False, zorder=3, **style)
    _delay_axis(axes, series)
    axes.set_ylim(-0.04, 1.04)
    axes.yaxis.set_major_locator(MultipleLocator(0.5))
    axes.set_ylabel(SOLVED)


def _reach_panel(axes: Axes, series: DelaySeries, columns: list[str]) -> None:
    _delay_axis(axes, series)
    left, right = axes.get_xlim()
    ends = (max(left, 1.0), right)
    (diagonal,) = axes.plot(ends, ends, color=GREY, linestyle=(0, (2, 2)), linewidth=1, gid=DIAGONAL)
    longest, fewer = right, dict[str, list[str]]()
    for column, places in _places(series, columns).items():
        style = _marked(columns.index(column))
        looks: tuple[tuple[str, dict[str, Any]], ...] = (
            (metrics.UNTRAINED, {"ms": 6, "fillstyle": "none", "linewidth": 0.7, "alpha": 0.8}),
            (metrics.TRAINED, {"ms": 4}),
        )
        for when, way in looks:
            x, delays, middle, low, high = [], [], [], [], []
            for row, place in places:
                results = metrics.results(row.runs.get(column, []))
                reaches = metrics.values_of(results, f"reach_{when}")
                if len(reaches) < len(results):
                    few = f"{when} {column}: {len(reaches)} of {len(results)} seeds at"
                    fewer.setdefault(few, []).append(str(row.facts["delay"]))
                if not reaches:
                    continue
                x.append(place)
                delays.append(row.facts["delay"])
                middle.append(statistics.median(reaches))
                low.append(min(reaches))
                high.append(max(reaches))
            note(axes, panel=series.label, line=column, what=f"reach, {when}", delay=delays, value=middle, low=low,
                 high=high)  # fmt: skip
            axes.vlines(x, low, high, color=style["color"], linewidth=0.9, gid=f"{column} {when}")
            axes.plot(x, middle, gid=f"{column} {when}", zorder=3, **{**style, **way})
            longest = max([longest, *high])
    marks: dict[str, Any] = {"color": GREY, "marker": "o", "linestyle": "none"}
    key_above(axes, {
        metrics.UNTRAINED: Line2D([], [], fillstyle="none", ms=6, **marks),
        metrics.TRAINED: Line2D([], [], ms=4, **marks), DIAGONAL: diagonal,
    })  # fmt: skip
    axes.set_yscale("symlog", linthresh=1, linscale=0.4)  # a reach may be 0
    axes.set_ylim(-0.15, 1.3 * longest)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.set_ylabel("gradient reach, steps\n(median, range)")
    notes = [textwrap.fill(f"{few} {', '.join(delays)}", NOTE_CHARACTERS) for few, delays in fewer.items()]
    axes.set_xlabel("\n".join(["delay (steps)", *notes]))


def _marked(index: int) -> dict[str, Any]:
    return {**look(index), "marker": MARKERS[index % len(MARKERS)], "ms": 4}


def _places(series: DelaySeries, columns: list[str]) -> dict[str, list[tuple[RunGroup, float]]]:
    """Return the place of each cell for each delay.

    Cells stand beside each other, at most a third of the way to the next delay.
    """
    delays = [row.facts["delay"] for row in series.rows]
    gap = min(late / early for early, late in itertools.pairwise(delays))
    present = [column for column in columns if any(column in row.runs for row in series.rows)]
    step = min(math.log(gap) / 3 / len(present), 0.055)
    middle = (len(present) - 1) / 2
    return {
        column: [(row, row.facts["delay"] * math.exp(step * (index - middle))) for row in series.rows]
        for index, column in enumerate(present)
    }


def _delay_axis(axes: Axes, series: DelaySeries) -> None:
    """Make a logarithmic axis with a tick at each delay that has room for one."""
    delays = [row.facts["delay"] for row in series.rows]
    room = (delays[-1] / delays[0]) ** 0.08
    axes.set_xscale("log")
    axes.set_xlim(delays[0] / room, delays[-1] * room)
    kept: list[int] = []
    for delay in delays:
        if not kept or math.log(delay / kept[-1]) > CLOSEST_TICKS * math.log(delays[-1] / delays[0]):
            kept.append(delay)
    axes.xaxis.set_major_locator(FixedLocator(kept))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
