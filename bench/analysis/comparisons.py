"""Tests between the columns of a table: whether one cell is better than another on the same seeds."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from bench.analysis import metrics
from bench.analysis.grouping import RunGroup
from bench.analysis.run import Run
from bench.stats import paired, survival
from bench.stats.intervals import Estimate


@dataclass(frozen=True)
class Comparison:
    """The comparison of two columns of one row.

    Attributes:
        row: Task and settings of the row.
        first: Label of the first column.
        second: Label of the second column.
        metric: Name of the metric that was compared.
        test: Paired sign-flip test on signed ranks; ``None`` if the columns share no seed.
        improvement: Probability that a run of the first column is better than one of the second.
        sooner: Log-rank test of the times to solve.
    """

    row: tuple[str, ...]
    first: str
    second: str
    metric: str
    test: paired.PairedTest | None
    improvement: Estimate
    sooner: survival.LogRank


def compare(rows: Sequence[RunGroup], metric: str | None) -> list[Comparison]:
    """Compare all pairs of columns of each row.

    Args:
        rows: See :class:`bench.analysis.grouping.RunGroup`.
        metric: A metric of :mod:`bench.analysis.metrics` for which higher or lower is better; ``None`` takes that of
            each row's task.
    """
    found = []
    for row in rows:
        shown = metric or row.facts["metric"]
        runs = {column: metrics.results(members) for column, members in row.runs.items()}
        for first, second in itertools.combinations([column for column in runs if runs[column]], 2):
            pair = _pair(row, (first, runs[first]), (second, runs[second]), shown)
            found += [pair] if pair is not None else []
    return found


def _pair(
    row: RunGroup,
    first: tuple[str, list[Run]],
    second: tuple[str, list[Run]],
    metric: str,
) -> Comparison | None:
    """Compare two columns; return ``None`` if one of them has no value of the metric, as for another task's metric.

    Raises:
        ValueError: Neither higher nor lower is better for the metric, or a place has several runs of one seed.
    """
    (one, these), (two, those) = first, second
    better = metrics.better_of(metric, these)
    if better is None:
        raise ValueError(f"`metric` must be one that is better higher or lower to be compared, got {metric!r}")
    for label, runs in (first, second):
        if len({run.seed for run in runs}) < len(runs):
            raise ValueError(f"`compare` must have one run of each seed in a place, got several in {label}")
    values = [{run.seed: value for run in runs for value in metrics.values_of([run], metric)}
              for runs in (these, those)]  # fmt: skip
    if not all(values):
        return None
    shared = values[0].keys() & values[1].keys()
    test = None
    if shared:
        test = paired.paired_test(*values, seed=metrics.SEED, statistic="rank", better=better)
    improvement = paired.improvement(
        list(values[0].values()), list(values[1].values()), better=better, seed=metrics.SEED
    )
    steps, flags = metrics.times([*these, *those])
    groups = [*[one] * len(these), *[two] * len(those)]
    sooner = survival.log_rank(steps, flags, groups)
    return Comparison((row.task, *row.settings), one, two, metric, test, improvement, sooner)
