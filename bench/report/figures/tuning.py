"""What the trials of a tuning show: the expected best score over their number, and slices of the space."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from bench.report.figures.drawing import PLAIN, Drawing, Sheet, note
from bench.report.figures.style import GREY, PANEL_HEIGHT, grid, legend, look, panels_of, titled
from bench.stats.expected_best import expected_best
from bench.tuning.trials import Line

SEED = 0
"""Of the bootstrap."""
BASELINE = "baseline"
SLICE_INCHES = 1.9
"""Width of a slice."""


def expected_best_scores(lines: Sequence[Line], sheet: Sheet = PLAIN) -> Drawing | None:
    """Draw one panel a task: the best score that a search of so many trials is expected to find, with its interval.

    Each cell has its colour. For random trials the line is the expected best with a pointwise 95 % interval, see
    :func:`bench.stats.expected_best.expected_best`. Trials that learn from earlier ones are no independent draws: the
    line is then the best so far, without an interval. The dashed line is the best predictor without memory. The
    function returns ``None`` if no trial has ended.
    """
    panels_by_task = _by_task([line for line in lines if line.scores], sheet)
    if not panels_by_task:
        return None
    cells = _cells(lines)
    figure, panels = panels_of(len(panels_by_task), height=PANEL_HEIGHT, sheet=sheet)
    for panel, (label, members) in zip(panels, panels_by_task.items(), strict=True):
        for line in members:
            _best_line(panel, label, line, cells, sheet)
        first = members[0]
        panel.axhline(first.baseline, color=GREY, linestyle=(0, (2, 2)), linewidth=1, label=BASELINE)
        if first.direction == "lower" and min(min(line.scores) for line in members) > 0:
            panel.set_yscale("log")
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        panel.set_xlabel("trials")
        panel.set_ylabel(f"best {sheet.names.metric(first.metric)}")
        titled(panel, label)
    legend(figure, panels, [*(sheet.names.cell(cell) for cell in cells), BASELINE])
    return figure


def _best_line(panel: Axes, panel_label: str, line: Line, cells: Sequence[str], sheet: Sheet) -> None:
    style, name = look(cells.index(line.cell)), sheet.names.cell(line.cell)
    if line.sampler == "random":
        found = expected_best(line.scores, better=line.direction, seed=SEED)
        trials, values, ends = found.trials, found.values, (found.low, found.high)
        panel.fill_between(trials, *ends, color=style["color"], alpha=0.15, linewidth=0)
    else:
        best = np.maximum if line.direction == "higher" else np.minimum
        values = best.accumulate(line.scores).tolist()
        trials, ends = tuple(range(1, len(values) + 1)), ([None] * len(values),) * 2
    panel.plot(trials, values, label=name, **style)
    note(panel, panel=panel_label, line=name, trials=list(trials), value=list(values), low=list(ends[0]),
         high=list(ends[1]))  # fmt: skip


def slices(lines: Sequence[Line], sheet: Sheet = PLAIN) -> Drawing | None:
    """Draw one panel for each task and key that was searched over: the score of each trial over its value of the key.

    Each cell has its colour; a hollow mark is a trial that was pruned. Values that are no numbers stand beside each
    other. The function returns ``None`` if no trial has a score.
    """
    lines = [replace(line, trials=tuple(each for each in line.trials if each.score is not None)) for line in lines]
    panels_by_task = _by_task([line for line in lines if line.trials], sheet)
    if not panels_by_task:
        return None
    cells = _cells(lines)
    keys = list(dict.fromkeys(key for line in lines for trial in line.trials for key in trial.values))
    # In a column of a page, keys stand below each other.
    shape = (len(panels_by_task) * len(keys), 1) if sheet.narrow else (len(panels_by_task), len(keys))
    figure, axes = grid(*shape, width=SLICE_INCHES * shape[1], height=PANEL_HEIGHT, sheet=sheet)
    panels = list(axes.flat)
    for i, (label, members) in enumerate(panels_by_task.items()):
        for j, key in enumerate(keys):
            panel = panels[i * len(keys) + j]
            if not _slice(panel, label, key, members, cells, sheet):
                panel.set_axis_off()
                continue
            panel.set_xlabel(sheet.names.key(key, key))
            if j == 0 or sheet.narrow:
                titled(panel, label)
                panel.set_ylabel(sheet.names.metric(members[0].metric))
    legend(figure, panels, [sheet.names.cell(cell) for cell in cells])
    return figure


def _slice(panel: Axes, panel_label: str, key: str, lines: Sequence[Line], cells: Sequence[str], sheet: Sheet) -> bool:
    """Draw one panel, and return whether any trial has the key."""
    values = [trial.values[key] for line in lines for trial in line.trials if key in trial.values]
    if not values:
        return False
    numbers = all(isinstance(value, float | int) for value in values) and len({*values}) > len(cells)
    in_order = sorted({*values}, key=lambda each: (isinstance(each, str), str(each)))
    places = {value: i for i, value in enumerate(in_order)}
    every_score = []
    for line in lines:
        having = [trial for trial in line.trials if key in trial.values]
        if not having:
            continue
        index = cells.index(line.cell)
        # Marks of several cells at one value stand beside each other.
        beside = 0.0 if numbers else 0.5 * ((index + 0.5) / len(cells) - 0.5)
        x = [trial.values[key] if numbers else places[trial.values[key]] + beside for trial in having]
        y = [trial.score or 0.0 for trial in having]
        every_score += y
        color, name = look(index)["color"], sheet.names.cell(line.cell)
        faces = ["none" if trial.state == "pruned" else color for trial in having]
        panel.scatter(x, y, s=9, facecolors=faces, edgecolors=color, linewidths=0.7, label=name)
        note(panel, panel=panel_label, line=name, key=key, trial=[trial.number for trial in having],
             state=[trial.state for trial in having], at=[trial.values[key] for trial in having], value=y)  # fmt: skip
    if lines[0].direction == "lower" and min(every_score) > 0:
        panel.set_yscale("log")
    if not numbers:
        panel.set_xticks(range(len(places)), [f"{value:g}" if isinstance(value, float) else value for value in places])
        panel.set_xlim(-0.6, len(places) - 0.4)
    elif min(values) > 0 and max(values) >= 20 * min(values):
        panel.set_xscale("log")
    return True


def _by_task(lines: Iterable[Line], sheet: Sheet) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = {}
    for line in lines:
        found.setdefault(", ".join(filter(None, (sheet.names.task(line.task), line.setting))), []).append(line)
    return found


def _cells(lines: Iterable[Line]) -> list[str]:
    return list(dict.fromkeys(line.cell for line in lines))


TRIAL_FIGURES = {
    "expected_best": ("best score that a search is expected to find, over its number of trials", expected_best_scores),
    "slices": ("score of each trial over each key that was searched over", slices),
}
"""What each figure of the trials shows, and the function that draws it."""
