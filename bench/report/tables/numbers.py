"""The text of a number in a place of a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from bench.analysis import metrics
from bench.analysis.metrics import MetricEstimate
from bench.analysis.run import Run
from bench.report.tables.grid import Entry

NOTHING = "-"


def number(value: float | None) -> str:
    """Write a number with three significant digits, or with all digits in front of the point."""
    return NOTHING if value is None else _digits(value, 3)


def interval(shown: MetricEstimate) -> str:
    """Write both ends in brackets, rounded outwards; nothing for no interval, or for one among failed runs."""
    low, high = shown.low, shown.high
    if low is None or high is None or not (math.isfinite(low) or math.isfinite(high)):
        return ""
    return f"[{_end(shown.metric, low, math.floor)}, {_end(shown.metric, high, math.ceil)}]"


def entry(shown: MetricEstimate | None, runs: Sequence[Run], *, counted: bool, best: bool = False) -> Entry:
    """Return what stands in one place: the number, its interval, and what became of the runs.

    Args:
        shown: The number; ``None`` if there are no runs.
        runs: The runs of the place.
        counted: Whether n and solved stand below; otherwise n is shown only if it is not the number of all results.
        best: Whether the number is the best of its row.
    """
    if shown is None:
        return Entry((NOTHING,))
    counts = metrics.counts_of(runs)
    unfinished = [f"{count} {status}" for status, count in counts.unfinished.items()]
    lines = [_value(shown, counts.solved, runs)]
    lines += [text] if (text := interval(shown)) else []
    if shown.metric == metrics.SOLVED:
        lines += [f"({', '.join(unfinished)})"] if unfinished else []
    elif counted:
        of = [f"n={shown.n}"] if shown.n != counts.results else []
        lines.append(", ".join([*of, f"{counts.solved}/{counts.results} solved", *unfinished]))
    elif 0 < shown.n < counts.results:
        lines.append(f"n={shown.n}")
    return Entry(tuple(lines), best)


def _value(shown: MetricEstimate, solved: int, runs: Sequence[Run]) -> str:
    if shown.metric == metrics.SOLVED:
        return f"{solved}/{shown.n}"
    if shown.value is None:
        return NOTHING
    if shown.metric in metrics.COUNTED:
        sizes = sorted({size for run in runs if (size := metrics.cost_of(run, shown.metric))})
        return ", ".join(f"{size:,}" for size in sizes)
    if shown.metric == metrics.STEPS and not math.isfinite(shown.value):
        return f">{max(run.budget for run in runs)}" if runs else NOTHING
    return _steps(shown.value) if _is_steps(shown.metric) else number(shown.value)


def _end(metric: str, end: float, outwards: Callable[[float], int]) -> str:
    """Write an end of an interval: steps as whole numbers, others with two significant digits.

    The end is rounded outwards, so that the number as printed is in its interval.
    """
    if _is_steps(metric):
        return _steps(end) if math.isfinite(end) else "∞"
    if end == 0 or not math.isfinite(end):
        return _digits(end, 2)
    unit = 10.0 ** (math.floor(math.log10(abs(end))) - 1)
    near = round(end / unit)
    return _digits(unit * (near if math.isclose(end, near * unit, rel_tol=1e-9) else outwards(end / unit)), 2)


def _digits(value: float, digits: int) -> str:
    if not math.isfinite(value):
        return "diverged"
    # This avoids 1.3e+02.
    return f"{value:.0f}" if 100 <= abs(value) < 1e6 else f"{value:#.{digits}g}".removesuffix(".")


def _is_steps(metric: str) -> bool:
    return metric in (metrics.STEPS, "reach_untrained", "reach_trained")


def _steps(value: float) -> str:
    """Write a number of steps; the median of an even number of runs may lie halfway between two."""
    return f"{value:.1f}".removesuffix(".0")
