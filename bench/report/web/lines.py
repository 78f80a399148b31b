"""What is drawn: the lines of single runs, and those of a place of the table over all its seeds.

A place is one column of one row of a table. All numbers are those of the figures, with fewer digits and points.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from bench.analysis import metrics
from bench.analysis.gradient_reach import flow_points, statistics_over
from bench.analysis.run import Run
from bench.records.read import read_curves, read_probe
from bench.records.record import DamagedRecordError, Record
from bench.records.series import as_numpy
from bench.report.figures.time_constants import LONGEST_TAU, QUANTILES
from bench.report.web.shortened import GATE_STEPS, LAGS, LAGS_OF_RUN, Detail, differences, evenly, short
from bench.stats.survival import survival

LOSSES = ("train_loss", "grad_norm")
"""The columns of every step that an open run shows."""
GATES = (*QUANTILES, "mean", "low", "high")
"""Statistics of gates that are shown; see :data:`bench.records.series.PROBES`."""
HIDDEN = "h"
"""The name of the hidden state among the gates."""
NO_CURVES = pa.table({})
Tables = dict[str, list[pa.Table]]
"""The tables of some runs, by name."""


def read_tables(runs: Sequence[Run], drawn: Collection[Run]) -> tuple[list[Run], Tables, list[DamagedRecordError]]:
    """Read what is drawn of the runs of a place, all of which are in memory at a time.

    Args:
        runs: The runs; those without a result have no tables.
        drawn: Those that have lines of their own. Of the others no curves are read.

    Returns:
        The runs whose tables can be read, their ``curves``, ``flow`` and ``activity``, and what is wrong with others.
    """
    whole: list[Run] = []
    tables: Tables = {"curves": [], "flow": [], "activity": []}
    damaged: list[DamagedRecordError] = []
    for run in metrics.results(runs):
        try:
            curves = read_curves(run.folder) if run in drawn else NO_CURVES
            flow = read_probe(run.folder, "flow", ("step", "layer", "lag", "value"))
            activity = read_probe(run.folder, "activity", ("step", "layer", "name", "statistic", "value"))
        except DamagedRecordError as error:
            damaged.append(error)
            continue
        whole.append(run)
        for name, table in (("curves", curves), ("flow", flow), ("activity", activity)):
            tables[name].append(table)
    return whole, tables, damaged


def run_lines(record: Record, curves: pa.Table, flow: pa.Table, detail: Detail) -> dict[str, Any]:
    """Return the lines of one run.

    Returns:
        ``eval``, ``train_loss`` and ``grad_norm``, each as steps (see :func:`differences`) and values; and ``flow``,
        the norms at ``lags`` before the first step and after the last of a completed run, if they were measured.
    """
    found: dict[str, Any] = {}
    for name, column in (("eval", f"eval_{record.task_facts['metric']}"), *((each, each) for each in LOSSES)):
        if column in curves.column_names:
            there = np.flatnonzero(as_numpy(curves[column].is_valid()))
            kept = there[evenly(len(there), detail.points)]
            steps, values = as_numpy(curves["step"])[kept], as_numpy(curves[column])[kept]
            found[name] = [differences(steps.tolist()), short(values.tolist())]
    _, step, lag, norm = flow_points([flow])
    ends = [0, record.steps if record.status == "completed" else -1]
    first = step == ends[0]
    if first.any():
        chosen = evenly(int(first.sum()), LAGS_OF_RUN)
        found["lags"] = lag[first][chosen].tolist()
        # A look that is missing has no norms.
        found["flow"] = [short(_norms_at(step == end, lag, norm, found["lags"])) for end in ends if end in step]
    return found


def _norms_at(looked: np.ndarray, lag: np.ndarray, norm: np.ndarray, lags: Sequence[int]) -> list[float | None]:
    by_lag = dict(zip(lag[looked].tolist(), norm[looked].tolist(), strict=True))
    return [by_lag.get(each) for each in lags]


def survival_lines(runs: Sequence[Run]) -> dict[str, Any] | None:
    """Return the share of the runs that have solved the task over steps; see :mod:`bench.report.figures.survival`.

    Returns:
        The ``steps`` from which the ``share`` holds, with ``low`` and ``high``, the first of them 0; the ``end`` of the
        line; ``solved`` and ``n``. ``None`` if no run has a result.
    """
    results = metrics.results(runs)
    if not results:
        return None
    curve = survival(*metrics.times(results))
    solved = sum(curve.solved)
    budget = max(run.budget for run in results)
    return {
        "steps": [0, *map(int, curve.times)],
        "share": [0, *short(1 - share for share in curve.share)],
        "low": [None, *short(None if high is None else 1 - high for high in curve.high)],
        "high": [None, *short(None if low is None else 1 - low for low in curve.low)],
        "end": int(curve.last if solved < curve.n else max(budget, curve.last)),
        "solved": solved,
        "n": curve.n,
    }


def flow_lines(flows: Sequence[pa.Table], records: Sequence[Record], looks: int) -> dict[str, Any] | None:
    """Return the norm of the gradient over lag, over the seeds that were looked at after a step.

    Returns:
        ``lags``; and ``looks``, each with its ``step``, the ``middle``, ``low`` and ``high`` over the seeds at each of
        the lags, and how many of the seeds ``underflow`` there. The last look is that after training, of completed runs
        only, whose step is ``None``. ``None`` if nothing was measured.
    """
    run, step, lag, norm = flow_points(flows)
    if not len(run):
        return None
    last = np.array([made.steps if made.status == "completed" else -1 for made in records])
    # Between the first look and the last of each run, all runs are looked at after the same steps.
    ends = np.array([made.steps for made in records])
    common = np.unique(step[(step == 0) | (step < ends[run])]).tolist()
    chosen = [(each, step == each) for each in (common[place] for place in evenly(len(common), looks))]
    chosen += [(None, step == last[run])] if (step == last[run]).any() else []
    shared = None
    for _, looked in chosen:
        lags, counts = np.unique(lag[looked], return_counts=True)
        lags = lags[counts == len(np.unique(run[looked]))]
        shared = lags if shared is None else np.intersect1d(shared, lags)
    if shared is None or not len(shared):
        return None
    shared = shared[evenly(len(shared), LAGS)]
    at = np.isin(lag, shared)
    found = [_look(each, norm[looked & at].reshape(-1, len(shared))) for each, looked in chosen]
    return {"lags": shared.tolist(), "looks": found}


def _look(step: int | None, norms: np.ndarray) -> dict[str, Any]:
    """Return median and range over seeds, ``(seed, lag)``; where a seed has nothing, the range goes down to 0."""
    middle = np.median(norms, axis=0)
    positive = np.ma.masked_where(~np.isfinite(norms) | (norms <= 0), norms)
    low, high = positive.min(axis=0).filled(np.nan), positive.max(axis=0).filled(np.nan)
    none = (norms == 0).sum(axis=0)
    found: dict[str, Any] = {"step": step, "n": len(norms), "middle": short(middle.tolist())}
    if len(norms) > 1:
        found |= {"low": short(np.where(none > 0, 0.0, low).tolist()), "high": short(high.tolist())}
    return found


def gate_lines(activities: Sequence[pa.Table]) -> dict[str, Any]:
    """Return medians over seeds of statistics of the gates of the lowest layer, over training.

    Returns:
        By gate: ``steps``, and the values of each of :data:`GATES` that it has. A time constant is drawn up to
        :data:`bench.report.figures.time_constants.LONGEST_TAU`.
    """
    found = {}
    for gate, by_statistic in sorted(statistics_over(activities, GATES).items()):
        if gate == HIDDEN or "mean" not in by_statistic:
            continue
        steps = sorted(by_statistic["mean"])
        steps = [steps[place] for place in evenly(len(steps), GATE_STEPS)]
        values = {
            name: short(min(by_step[step], LONGEST_TAU) if step in by_step else None for step in steps)
            for name, by_step in sorted(by_statistic.items())
        }
        found[gate] = {"steps": differences(steps), **values}
    return found
