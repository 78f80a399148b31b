"""Time constants of gates over the course of training."""

from __future__ import annotations

from collections.abc import Iterable

from bench.analysis.gradient_reach import statistics_over
from bench.analysis.run import Run
from bench.report.figures.drawing import PLAIN, Drawing, Sheet, note
from bench.report.figures.style import PANELS_ACROSS, STEP, legend, look, panels_of, rows_having, titled

QUANTILES = ("tau_05", "tau_50", "tau_95")
"""The statistics that it shows."""
LONGEST_TAU = 1e6
"""Largest time constant that is drawn; longer ones, such as the infinite one of a gate of 1, are drawn there."""


def time_constants(runs: Iterable[Run], sheet: Sheet = PLAIN) -> Drawing | None:
    """Draw one panel a task: time constants of the gates that keep the state, over training.

    Lines are the median over units, steps and sequences, and bands hold 90 % of these values; both are medians over
    seeds. The dashed grey line is the task's delay. A line ends where the last seed ended.
    """
    rows, columns = rows_having(runs, lambda run: run.activity.num_rows > 0, sheet)
    lines = {
        (row.label, column, gate): by_quantile
        for row in rows
        for column in columns
        if column in row.runs
        for gate, by_quantile in statistics_over([run.activity for run in row.runs[column]], QUANTILES).items()
    }
    if not lines:
        return None
    rows = [row for row in rows if any(label == row.label for label, _, _ in lines)]
    figure, panels = panels_of(len(rows), height=2.2, sheet=sheet, sharey=True)
    order = list(dict.fromkeys(f"{column} {gate} gate" for _, column, gate in lines))
    for panel, row in zip(panels, rows, strict=True):
        for (label, column, gate), by_quantile in lines.items():
            if label != row.label:
                continue
            style = look(columns.index(column))
            steps = sorted(by_quantile["tau_50"])
            low, middle, high = ([min(by_quantile[q][s], LONGEST_TAU) for s in steps] for q in QUANTILES)
            marker = "." if len(steps) == 1 else None
            panel.plot(steps, middle, label=f"{column} {gate} gate", marker=marker, **style)
            note(panel, panel=row.label, line=column, gate=gate, step=steps, value=middle, low=low, high=high)
            panel.fill_between(steps, low, high, color=style["color"], alpha=0.15, linewidth=0)
        delay = row.facts["delay"]
        note(panel, panel=row.label, line="delay of the task", value=delay)
        panel.axhline(delay, color="0.4", linestyle=(0, (2, 2)), linewidth=1, label="delay of the task")
        panel.set_yscale("log")
        panel.set_xlim(left=0)
        titled(panel, row.label)
        panel.set_xlabel(STEP)
    for panel in panels[:: 1 if sheet.narrow else PANELS_ACROSS]:
        panel.set_ylabel("time constant (steps)")
    legend(figure, panels, [*order, "delay of the task"])
    return figure
