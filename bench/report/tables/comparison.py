"""The tests between the columns of a table, shown as a separate table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.analysis.comparisons import Comparison
from bench.analysis.grouping import OWN_NAMES
from bench.analysis.names import Names
from bench.report.tables.grid import Entry, Grid
from bench.stats import paired, small_samples
from bench.stats.intervals import CONFIDENCE


def grid(found: Sequence[Comparison], names: Names = OWN_NAMES) -> Grid:
    """Make a grid of the tests, corrected for their number.

    Args:
        found: The tests.
        names: What metrics are called.

    Raises:
        ValueError: There is nothing to compare.
    """
    if not found:
        raise ValueError("`compare` must have two columns with results in a row, got none")
    tested = [each.test.p_value for each in found if each.test is not None]
    adjusted = iter(paired.holm(tested))
    rows, rules, notes = [], set(), []
    for number, each in enumerate(found):
        if number == 0 or found[number - 1].row != each.row:
            rules.add(number)
        label = Entry(each.row if number in rules else ())
        rows.append((label, Entry((f"{each.first} / {each.second}",)), *_entries(each, adjusted)))
    together = f"{len(tested)} test{'s' if len(tested) != 1 else ''}"
    metrics = ", ".join(dict.fromkeys(names.metric(each.metric) for each in found))
    notes.append(
        f"Paired sign-flip permutation test on the signed ranks of {metrics}, two-sided, on the seeds that both have; "
        f"Holm: corrected for the {together} of this table. Better: probability that a run of the first is "
        "better than one of the second, ties half, with its 95 % percentile-bootstrap interval. Sooner: p of the "
        "log-rank test of the steps to solve, exact up to 20 runs, with runs that did not solve censored at their "
        "budget; not corrected."
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
    """Return what so few seeds cannot show: of single tests, and of all of them together."""
    # A tie is no evidence of a difference.
    differing = [each.test.pairs - each.test.ties for each in found if each.test is not None]
    if any(small_samples.no_width(each.improvement) is not None for each in found):
        yield "Intervals of one point: no spread was seen, which is not certainty."
    for n in sorted(set(differing)):
        if (few := small_samples.too_few(n)) is not None:
            yield f"{differing.count(n)} of the tests: {few if n else 'no verdict: there is no seed that differs'}."
    together = (1 - CONFIDENCE) / max(len(differing), 1)
    if differing and small_samples.least_pairs() <= max(differing) < (least := small_samples.least_pairs(together)):
        yield f"Holm: no verdict, {len(differing)} tests take at least {least} seeds that differ in one of them."


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
