"""The history of a run in W&B: one row of metrics for each step that has any, from a live run or from its record.

A metric that people compare has a short name: ``train/loss``, ``eval/<score>``, ``grad/norm``, ``flow/reach``. All
others stand below ``detail/``. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bench.analysis.run import Run
from bench.records.series import PROBES
from bench.stats.gradient_decay import FLOAT32, clipped_share, reach

STEPS_BETWEEN_ROWS = 50
"""Number of steps between two rows of the training loss; the record has every step."""
DETAIL = "detail/"
"""Stands before the names of metrics that are left out of automatic charts."""
BIN = "bin_"
"""Begins the name of a statistic that is one bar of the histogram of a gate; see :mod:`bench.probes.activity`."""
COMPARED = ("reach", "rate", "growth")
"""The numbers of the gradient with respect to the input that people compare."""


@dataclass(frozen=True)
class Histogram:
    """How the values of a gate are spread over [0, 1].

    Attributes:
        shares: Share of the values in each of as many bins of equal width, increasing; they sum to 1.
    """

    shares: tuple[float, ...]


Row = dict[str, "float | Histogram"]


def has_training_row(step: int, steps: int | None = None) -> bool:
    """Return whether the history has the training loss of a step.

    Args:
        step: The step.
        steps: The last step, which has a row in any case; ``None`` if it is not known yet.
    """
    return step > 0 and (step % STEPS_BETWEEN_ROWS == 0 or step == steps)


def training_metrics(loss: float, norms: Sequence[float], clipped: Sequence[float]) -> dict[str, float]:
    """Return what the history has of one step of the training.

    Args:
        loss: The training loss.
        norms: Norm of the gradient before the clip, at the last :data:`STEPS_BETWEEN_ROWS` steps up to this one.
        clipped: The same after the clip.
    """
    return {
        "train/loss": loss,
        "grad/norm": norms[-1],
        f"{DETAIL}grad/norm_clipped": clipped[-1],
        f"{DETAIL}grad/clipped_share": clipped_share(norms, clipped) or 0.0,
    }


def evaluation_metrics(metrics: Mapping[str, float], baseline: float) -> dict[str, float]:
    """Return what the history has of one look at the evaluation set.

    Args:
        metrics: The scores of the task, the loss among them.
        baseline: The loss of the best predictor without memory.
    """
    return {**{f"eval/{name}": value for name, value in metrics.items()}, "eval/baseline": baseline}


def probe_metrics(rows: Mapping[str, Iterable[Sequence[Any]]], step: int) -> Row:
    """Return what the history has of what the probes found at one step.

    Args:
        rows: Rows of each table of :data:`bench.records.series.PROBES`, without the column of the run.
        step: The step; rows of other steps are left out.
    """
    found: dict[str, int | float | Histogram | None] = {}
    found |= _flow(row for row in rows["flow"] if row[0] == step)
    bars: dict[str, dict[str, float]] = {}
    for _, layer, name, statistic, value in (row for row in rows["activity"] if row[0] == step):
        if statistic.startswith(BIN):
            bars.setdefault(f"gates/layer{layer}.{name}", {})[statistic] = value
        else:
            found[f"{DETAIL}gates/layer{layer}.{name}/{statistic}"] = value
    for name, each in bars.items():
        shares = tuple(each[bar] for bar in sorted(each))
        found[name] = Histogram(shares) if all(map(math.isfinite, shares)) else None
    for _, parameter, statistic, value in (row for row in rows["gradients"] if row[0] == step):
        found[f"{DETAIL}grad/{parameter}/{statistic}"] = value
    return {
        name: value if isinstance(value, Histogram) else float(value)
        for name, value in found.items()
        if value is not None
    }


def _flow(rows: Iterable[Sequence[Any]]) -> dict[str, int | float | None]:
    curves: dict[int, dict[int, list[float]]] = {}
    for _, layer, _, lag, value in rows:
        curves.setdefault(layer, {}).setdefault(lag, []).append(value)
    metrics: dict[str, int | float | None] = {}
    for layer, points in curves.items():
        # The norm over all parts of the state together, so that it does not matter which of them carries the memory.
        found = asdict(reach(list(points), [math.hypot(*parts) for parts in points.values()], FLOAT32))
        if layer == 0:
            metrics |= {f"flow/{what}": found.pop(what) for what in COMPARED}
            metrics |= {f"{DETAIL}flow/{what}": value for what, value in found.items()}
        else:
            # A state's own gradient means the same for every cell in its rate alone.
            metrics |= {f"{DETAIL}flow/layer{layer}/{what}": found[what] for what in ("rate", "points")}
    return metrics


def history(run: Run) -> Iterator[tuple[int, Row]]:
    """Yield the steps, increasing, and the metrics of each: what a live mirror of the same run has shown.

    A published record keeps some steps of its curves alone; the share of clipped steps is then taken over those.

    Raises:
        DamagedRecordError: The curves or a table of the probes cannot be read.
    """
    record = run.record
    baseline = record.task_facts["baselines"]["loss"]
    curves = {name: run.curves[name].to_numpy() for name in run.curves.column_names}
    tables = {"flow": run.flow, "activity": run.activity, "gradients": run.gradients}
    probes = {name: _by_step(list(zip(*(table[key].to_pylist() for key in PROBES[name]), strict=True)))
              for name, table in tables.items()}  # fmt: skip
    scores = {name: name.removeprefix("eval_") for name in curves if name.startswith("eval_")}
    scores.pop("eval_train_seconds", None)
    place = {int(step): index for index, step in enumerate(curves["step"])}
    looks = {int(step) for step in curves["step"][_evaluated(curves, scores)]}
    steps = looks.union(*probes.values(), (step for step in place if has_training_row(step, record.steps)))
    for step in sorted(steps):
        row: Row = dict(probe_metrics({name: rows.get(step, ()) for name, rows in probes.items()}, step))
        if has_training_row(step, record.steps) and step in place:
            window = slice(np.searchsorted(curves["step"], step - STEPS_BETWEEN_ROWS, side="right"), place[step] + 1)
            norms, clipped = (curves[name][window].tolist() for name in ("grad_norm", "grad_norm_clipped"))
            row |= training_metrics(float(curves["train_loss"][place[step]]), norms, clipped)
        if step in looks:
            metrics = {short: float(curves[name][place[step]]) for name, short in scores.items()}
            row |= evaluation_metrics(metrics, baseline)
        yield step, row


def _by_step(rows: Iterable[tuple[Any, ...]]) -> dict[int, list[tuple[Any, ...]]]:
    found: dict[int, list[tuple[Any, ...]]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(row)
    return found


def _evaluated(curves: Mapping[str, np.ndarray], scores: Iterable[str]) -> np.ndarray:
    """Return which rows of the curves have an evaluation."""
    return np.any([~np.isnan(curves[name].astype(float)) for name in scores] or [np.zeros(len(curves["step"]))],
                  axis=0).astype(bool)  # fmt: skip
