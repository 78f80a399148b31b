"""Loss of training beside loss of the evaluation set, for runs whose training sequences are fixed."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from bench.analysis.run import Run
from bench.report.figures.drawing import PLAIN, Drawing, Sheet, note
from bench.report.figures.style import PANEL_HEIGHT, legend, look, panels_of, rows_having, titled

LOSSES = ("train_loss", "eval_loss")
"""The columns of the curves that are drawn."""
TRAINING, EVALUATION = "training", "evaluation"


def overfitting(runs: Iterable[Run], sheet: Sheet = PLAIN) -> Drawing | None:
    """Draw one panel a row: the loss of the training batches and that of the evaluation set over training steps.

    Each cell has its colour. The loss of training, thin, is the mean over the steps between two evaluations, with the
    dropout that training has; that of the evaluation set is thick. Lines are medians over seeds, as far as all seeds
    have them. The function returns ``None`` where every run draws new sequences in every step.
    """
    rows, columns = rows_having(runs, _is_drawn, sheet)
    if not rows:
        return None
    figure, panels = panels_of(len(rows), height=PANEL_HEIGHT, sheet=sheet, sharey=True)
    for panel, row in zip(panels, rows, strict=True):
        for column, members in row.runs.items():
            _lines(panel, [run.curves for run in members], column, look(columns.index(column))["color"], row.label)
        panel.set_yscale("log")
        panel.set_xlim(left=0)
        panel.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        panel.set_xlabel("training step")
        titled(panel, row.label)
    for panel in panels[:: 1 if sheet.narrow else 2]:
        panel.set_ylabel("loss")
    legend(figure, panels, [f"{column}, {what}" for column in columns for what in (TRAINING, EVALUATION)])
    return figure


def has_fixed_sequences(run: Run) -> bool:
    """Return whether a run trains on the same sequences again and again."""
    return "references" in run.record.task_facts or run.record.config["data"].get("train_size") is not None


def _is_drawn(run: Run) -> bool:
    if not has_fixed_sequences(run):
        return False
    curves = run.curves
    return "eval_loss" in curves.column_names and curves["eval_loss"].null_count < curves.num_rows


def _lines(axes: Axes, tables: list[pa.Table], column: str, color: str, label: str) -> None:
    looks = [table.select(["step", "eval_loss"]).drop_null() for table in tables]
    steps = min((found["step"].to_numpy() for found in looks), key=len)
    evaluated = np.median([found["eval_loss"].to_numpy()[: len(steps)] for found in looks], axis=0)
    trained = np.median([_between(table, steps) for table in tables], axis=0)
    for what, values, width in ((TRAINING, trained, 0.8), (EVALUATION, evaluated, 1.6)):
        axes.plot(steps, values, color=color, linewidth=width, alpha=0.7 if what == TRAINING else 1,
                  linestyle="-" if what == EVALUATION else (0, (3, 1)), label=f"{column}, {what}",
                  marker="." if len(steps) == 1 else None)  # fmt: skip
        note(axes, panel=label, line=column, of=what, step=steps.tolist(), value=values.tolist())


def _between(table: pa.Table, steps: np.ndarray) -> np.ndarray:
    """Return the mean loss of the steps up to each evaluation, since the one before; of those that are kept."""
    at, loss = table["step"].to_numpy(), table["train_loss"].to_numpy()
    ends = np.searchsorted(at, steps, side="right")
    return np.array(
        [loss[begin:end].mean() if end > begin else np.nan for begin, end in zip([0, *ends], ends, strict=False)]
    )
