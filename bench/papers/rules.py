"""The rule for each kind of claim, as pure functions; :mod:`bench.papers.verdicts` shows the rules as a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.analysis.metrics import LEAST_RUNS, times
from bench.analysis.run import Run
from bench.papers.claims import EFFORTS, Claim
from bench.stats.intervals import Estimate, Interval, median, success
from bench.stats.survival import log_rank

REPRODUCED, DIRECTION, CONTRADICTS, UNDECIDED = "reproduced", "direction only", "contradicts", "undecided"
NOT_RUN = "not run"
ALPHA = 0.05
HALF, LEARNT = 0.5, 0.95
"""Largest share of the baseline's error at which a number beats the baseline, and at which a run has learned at all.

A network that always gives the same answer scores a percent above or below the baseline, depending on its test set.
"""


@dataclass(frozen=True)
class Finding:
    """A verdict before its caps, our number, and the reason."""

    verdict: str
    ours: float | None
    reason: str
    measured: str = ""


def not_solved(budget: int) -> str:
    """Return the verdict on what was not seen within a budget of steps."""
    return f"not solved in {budget:,} steps"


def count_solved(runs: Iterable[Run]) -> int:
    """Count the runs that solved their task."""
    return sum(run.record.solved for run in runs)


def _solves(claim: Claim, sides: Sequence[Sequence[Run]], budget: int) -> Finding:
    share = success(count_solved(sides[0]), len(sides[0]))
    verdict = REPRODUCED if _more_than_half(share) else DIRECTION if share.value >= 0.5 else not_solved(budget)
    return Finding(verdict, share.value, _share_words(sides[0]))


def _fails(claim: Claim, sides: Sequence[Sequence[Run]], budget: int) -> Finding:
    share = success(count_solved(sides[0]), len(sides[0]))
    if share.value == 0:
        verdict = not_solved(budget)
    elif _more_than_half(share):
        verdict = CONTRADICTS
    else:
        verdict = DIRECTION if share.value < 0.5 else UNDECIDED
    return Finding(verdict, share.value, _share_words(sides[0]))


def _below_baseline(claim: Claim, sides: Sequence[Sequence[Run]], budget: int) -> Finding:
    runs = sides[0]
    name, lower, baseline = _metric(claim, runs[0])
    ours = _median(runs, name, lower)
    interval = _interval(ours)
    better = _beats(ours.value, baseline, lower, LEARNT)
    worst = None if interval is None else interval.high if lower else interval.low
    clear = worst is not None and _beats(worst, baseline, lower, LEARNT)
    clear = clear or _more_than_half(success(count_solved(runs), len(runs)))
    verdict = REPRODUCED if clear else DIRECTION if better else not_solved(budget)
    reason = f"{_share_words(runs)}; {_median_words(name, ours)}, baseline {baseline:.3g}"
    return Finding(verdict, _finite(ours.value), reason, f"{name} {ours.value:.3g}, baseline {baseline:.3g}")


def _before(claim: Claim, sides: Sequence[Sequence[Run]], budget: int) -> Finding:
    first, second = sides
    # A run that diverged will never solve, so it is at risk for the whole budget; see bench.stats.survival.
    steps, flags = times([*first, *second])
    test = log_rank(steps, flags, ["first"] * len(first) + ["second"] * len(second))
    ahead = test.solved[0] - test.expected[0]
    clear = test.p_value <= ALPHA and min(map(len, sides)) >= LEAST_RUNS
    verdict = UNDECIDED
    if not any(flags):
        verdict = not_solved(budget)
    elif ahead > 1e-9:
        verdict = REPRODUCED if clear else DIRECTION
    elif ahead < -1e-9 and clear:
        verdict = CONTRADICTS
    counts = " against ".join(f"{count_solved(runs)}/{len(runs)}" for runs in sides)
    expected = f"{test.expected[0]:.3g} expected of the first"
    return Finding(verdict, None, f"{counts} runs solved, {expected}, log-rank p = {test.p_value:.2g}")


def _number(claim: Claim, sides: Sequence[Sequence[Run]], budget: int) -> Finding:
    runs, value = sides[0], claim.value
    assert value is not None
    if claim.unit in EFFORTS:
        return _effort(claim, runs, budget)
    scale = 100 if claim.unit == "percent" else 1
    name, lower, baseline = _metric(claim, runs[0])
    ours = _median(runs, name, lower)
    interval = _interval(ours)
    theirs_beats, ours_beats = (_beats(each, baseline, lower, HALF) for each in (value / scale, ours.value))
    if theirs_beats == ours_beats:
        inside = interval is not None and interval.low <= value / scale <= interval.high
        verdict = REPRODUCED if inside else DIRECTION
    elif theirs_beats:
        verdict = not_solved(budget)
    else:
        verdict = CONTRADICTS if _more_than_half(success(count_solved(runs), len(runs))) else UNDECIDED
    words = f"{_median_words(name, ours, scale)}, the paper's {value:.3g}, baseline {scale * baseline:.3g}"
    return Finding(verdict, _finite(scale * ours.value), f"{words}; {count_solved(runs)}/{len(runs)} runs solved")


def _effort(claim: Claim, runs: Sequence[Run], budget: int) -> Finding:
    """Judge a number of sequences or steps until solved.

    Only runs that solved have such a number, so no interval can speak for all runs.
    """
    spent = [
        made.steps_to_solve * (made.config["data"]["batch_size"] if claim.unit == "sequences" else 1)
        for made in (run.record for run in runs)
        if made.solved and made.steps_to_solve is not None
    ]
    if not spent:
        return Finding(not_solved(budget), None, f"0/{len(runs)} runs solved")
    ours = median(spent, seed=0).value
    verdict = DIRECTION if 2 * len(spent) >= len(runs) else not_solved(budget)
    compared = f"median {ours:,.0f} {claim.unit}, the paper's {claim.value:,.0f}"
    return Finding(verdict, ours, f"{len(spent)}/{len(runs)} runs solved, these after {compared}")


RULES: Mapping[str, Callable[[Claim, Sequence[Sequence[Run]], int], Finding]] = {
    "solves": _solves,
    "fails": _fails,
    "below_baseline": _below_baseline,
    "before": _before,
    "number": _number,
}


def _metric(claim: Claim, run: Run) -> tuple[str, bool, float]:
    """Return the name of the metric, whether lower is better, and its baseline."""
    facts = run.record.task_facts
    name = claim.metric or facts["metric"]
    baseline = facts["baselines"].get(name)
    if baseline is None:
        allowed = ", ".join(facts["baselines"])
        raise ValueError(f"claim {claim.id}: `metric` must be one of {allowed}, got {name!r}")
    return name, run.record.directions[name] == "lower", baseline


def _median(runs: Iterable[Run], name: str, lower: bool) -> Estimate:
    found = (None if run.status == "diverged" else run.record.metrics["test"].get(name) for run in runs)
    values = [math.nan if value is None else value for value in found]
    return median(values, seed=0, better="lower" if lower else "higher")


def _interval(estimate: Estimate) -> Interval | None:
    return estimate.interval if estimate.n >= LEAST_RUNS else None


def _beats(value: float, baseline: float, lower: bool, share: float) -> bool:
    """Return whether the error is under a share of the baseline's error."""
    error, bound = (value, baseline) if lower else (1 - value, 1 - baseline)
    return error < share * bound


def _more_than_half(share: Estimate) -> bool:
    return share.interval is not None and share.interval.low > 0.5


def _share_words(runs: Sequence[Run]) -> str:
    interval = success(count_solved(runs), len(runs)).interval
    between = f" (95 % interval {interval.low:.2f} to {interval.high:.2f})" if interval else ""
    return f"{count_solved(runs)}/{len(runs)} runs solved{between}"


def _median_words(name: str, estimate: Estimate, scale: int = 1) -> str:
    interval = _interval(estimate)
    between = f" of {estimate.n} runs, too few for an interval"
    if interval:
        between = f" (95 % interval {_words(scale * interval.low)} to {_words(scale * interval.high)})"
    return f"median {name} {_words(scale * estimate.value)}{between}"


def _words(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "diverged"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
