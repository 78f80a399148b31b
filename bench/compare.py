"""Tests between the columns of a table: is one cell better than another, on the same seeds?"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench import caveats, comparison, summary, survival
from bench.entries import name_of
from bench.layout import Row
from bench.places import Entry, Grid
from bench.record import Record
from bench.stats import CONFIDENCE, Estimate
from bench.summary import Journeys


@dataclass(frozen=True)
class Comparison:
    """Two columns of one row.

    Attributes:
        row: Task and settings of the row.
        first: Label of the first column.
        second: Label of the second.
        metric: What was compared.
        test: Paired sign-flip test on signed ranks; ``None`` where no seed is shared.
        improvement: Probability that a run of the first is better than one of the second.
        sooner: Log-rank test of the times to solve.
    """

    row: tuple[str, ...]
    first: str
    second: str
    metric: str
    test: comparison.PairedTest | None
    improvement: Estimate
    sooner: survival.LogRank


def compare(rows: Sequence[Row], metric: str | None, journeys: Journeys) -> list[Comparison]:
    """All pairs of columns of each row.

    Args:
        rows: See :class:`bench.layout.Row`.
        metric: One of :mod:`bench.summary` that is better higher or lower; ``None`` takes that of each row's task.
        journeys: See :data:`bench.summary.Journeys`.
    """
    found = []
    for row in rows:
        shown = metric or row.facts["metric"]
        runs = {column: summary.results(members) for column, members in row.runs.items()}
        for first, second in itertools.combinations([column for column in runs if runs[column]], 2):
            pair = _pair(row, (first, runs[first]), (second, runs[second]), shown, journeys)
            found += [pair] if pair is not None else []
    return found


def grid(found: Sequence[Comparison]) -> Grid:
    """The tests as a table, corrected for as many as there are.

    Raises:
        ValueError: There is nothing to compare.
    """
    if not found:
        raise ValueError("`compare` must have two columns with results in a row, got none")
    tested = [each.test.p_value for each in found if each.test is not None]
    adjusted = iter(comparison.holm(tested))
    rows, rules, notes = [], set(), []
    for number, each in enumerate(found):
        if number == 0 or found[number - 1].row != each.row:
            rules.add(number)
        label = Entry(each.row if number in rules else ())
        rows.append((label, Entry((f"{each.first} / {each.second}",)), *_entries(each, adjusted)))
    together = f"{len(tested)} test{'s' if len(tested) != 1 else ''}"
    metrics = ", ".join(dict.fromkeys(name_of(each.metric) for each in found))
    notes.append(
        f"Paired sign-flip permutation test on the signed ranks of {metrics}, two-sided, on the seeds that both have; "
        f"Holm: corrected for the {together} of this table. Better: probability that a run of the first is "
        "better than one of the second, ties half, with its 95 % percentile-bootstrap interval. Sooner: p of the "
        "log-rank test of the steps to solve, runs that did not solve censored at their budget; not corrected."
    )
    return Grid(
        caption="Tests between columns.",
        header=("task", "pair", "seeds", "p", "Holm", "better", "sooner"),
        rows=tuple(rows),
        rules=frozenset(rules),
        notes=(*notes, *_caveats(found)),
        left=frozenset({0, 1}),
    )


def _caveats(found: Sequence[Comparison]) -> Iterator[str]:
    """What so few seeds cannot say: of single tests, and of all of them together."""
    # Ties say nothing of a difference.
    differing = [each.test.pairs - each.test.ties for each in found if each.test is not None]
    if any(caveats.no_width(each.improvement) is not None for each in found):
        yield "Intervals of one point: no spread was seen, which is not certainty."
    for n in sorted(set(differing)):
        if (few := caveats.too_few(n)) is not None:
            yield f"{differing.count(n)} of the tests: {few if n else 'no verdict: there is no seed that differs'}."
    together = (1 - CONFIDENCE) / max(len(differing), 1)
    if differing and caveats.least_pairs() <= max(differing) < (least := caveats.least_pairs(together)):
        yield f"Holm: no verdict, {len(differing)} tests take at least {least} seeds that differ in one of them."


def _pair(
    row: Row, first: tuple[str, list[Record]], second: tuple[str, list[Record]], metric: str, journeys: Journeys
) -> Comparison | None:
    """Two columns; ``None`` where one of them has no value of the metric, as with that of another task.

    Raises:
        ValueError: A metric that is not better higher or lower, or a place with several runs of one seed.
    """
    (one, these), (two, those) = first, second
    better = summary.better_of(metric, these)
    if better is None:
        raise ValueError(f"`metric` must be one that is better higher or lower to be compared, got {metric!r}")
    for label, runs in (first, second):
        if len({run.seed for run in runs}) < len(runs):
            raise ValueError(f"`compare` must have one run of each seed in a place, got several in {label}")
    values = [{run.seed: value for run in runs for value in summary.values_of([run], metric, journeys)}
              for runs in (these, those)]  # fmt: skip
    if not all(values):
        return None
    shared = values[0].keys() & values[1].keys()
    test = None
    if shared:
        test = comparison.paired_test(*values, seed=summary.SEED, statistic="rank", better=better)
    improvement = comparison.improvement(
        list(values[0].values()), list(values[1].values()), better=better, seed=summary.SEED
    )
    steps, flags = summary.times([*these, *those])
    groups = [*[one] * len(these), *[two] * len(those)]
    sooner = survival.log_rank(steps, flags, groups)
    return Comparison((row.task, *row.settings), one, two, metric, test, improvement, sooner)


def _entries(each: Comparison, adjusted: Iterator[float]) -> list[Entry]:
    p, holm, seeds = "-", "-", "0"
    if each.test is not None:
        p, holm, seeds = _p(each.test.p_value), _p(next(adjusted)), str(each.test.pairs)
    found = each.improvement
    ends = f"[{found.interval.low:.2f}, {found.interval.high:.2f}]" if found.interval is not None else ""
    lines = (f"{found.value:.2f}", ends) if ends else (f"{found.value:.2f}",)
    texts = [(seeds,), (p,), (holm,), lines, (_p(each.sooner.p_value),)]
    return [Entry(text) for text in texts]


def _p(value: float) -> str:
    return f"{value:.2g}" if value >= 0.001 else "<0.001"
