"""The rule for each kind of claim, as pure functions; :mod:`bench.papers.verdicts` shows the rules as a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.analysis.metrics import LEAST_RUNS, times
from bench.analysis.run import Run
from bench.papers.claims import EFFORTS, Claim
from bench.stats.intervals import Estimate, Interval, median, success
from bench.stats.permutation import rank_sum_p
from bench.stats.survival import log_rank

REPRODUCED, DIRECTION, CONTRADICTS, UNDECIDED = "reproduced", "direction only", "contradicts", "undecided"
NOT_RUN = "not run"
ALPHA = 0.05
HALF, LEARNT = 0.5, 0.95
"""Largest share of the baseline's error at which a number is far below it, and at which a run has learned at all.

A network that always gives the same answer scores a percent above or below the baseline, depending on its test set.
"""
NEAR = 2.0
"""Largest factor between an error, or a number of steps, and the paper's at which the two are near."""


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


def long_enough(claim: Claim, budget: int) -> bool:
    """Return whether runs of a budget trained at least as long as the paper's did, as far as that is known."""
    return claim.budget is not None and budget >= claim.budget


def count_solved(runs: Iterable[Run]) -> int:
    """Count the runs that solved their task."""
    return sum(run.record.solved for run in runs)


@dataclass(frozen=True)
class _Scores:
    """The metric of a claim over runs, with what it takes to judge it; a run that diverged has the worst value."""

    name: str
    lower: bool
    baseline: float
    values: tuple[float, ...]

    @classmethod
    def of(cls, claim: Claim, runs: Sequence[Run]) -> _Scores:
        facts = runs[0].record.task_facts
        name = claim.metric or facts["metric"]
        baseline = facts["baselines"].get(name)
        if baseline is None:
            allowed = ", ".join(facts["baselines"])
            raise ValueError(f"claim {claim.id}: `metric` must be one of {allowed}, got {name!r}")
        lower = runs[0].record.directions[name] == "lower"
        found = (None if run.status == "diverged" else run.record.metrics["test"].get(name) for run in runs)
        worst = math.inf if lower else -math.inf
        return cls(name, lower, baseline, tuple(worst if value is None else value for value in found))

    @property
    def median(self) -> Estimate:
        return median(self.values, seed=0, better="lower" if self.lower else "higher")

    @property
    def ends(self) -> tuple[float, float] | None:
        """The better and the worse end of the median's interval; ``None`` where there are too few runs for one."""
        interval = _interval(self.median)
        if interval is None:
            return None
        return (interval.low, interval.high) if self.lower else (interval.high, interval.low)

    def error(self, value: float) -> float:
        """Return how far a value is from the best that there is."""
        return value if self.lower else 1 - value

    def beats(self, value: float, share: float) -> bool:
        """Return whether the error is under a share of the baseline's error."""
        return self.error(value) < share * self.error(self.baseline)

    def words(self, scale: int = 1) -> str:
        interval, found = _interval(self.median), self.median
        between = f" of {found.n} runs, too few for an interval"
        if interval:
            between = f" (95 % interval {_words(scale * interval.low)} to {_words(scale * interval.high)})"
        return f"median {self.name} {_words(scale * found.value)}{between}"

    def short(self) -> str:
        return f"{self.name} {self.median.value:.3g}, baseline {self.baseline:.3g}"


def _solves(claim: Claim, sides: Sequence[Sequence[Run]], budget: int) -> Finding:
    share = _share(sides[0])
    verdict = REPRODUCED if _more_than_half(share) else DIRECTION if share.value >= 0.5 else not_solved(budget)
    return Finding(verdict, share.value, _share_words(sides[0]))


def _fails(claim: Claim, sides: Sequence[Sequence[Run]], budget: int) -> Finding:
    share = _share(sides[0])
    if share.value < 0.5:
        clear = share.interval is not None and share.interval.high < 0.5
        verdict = _negative(claim, sides[0], budget, clear=clear)
    else:
        verdict = CONTRADICTS if _more_than_half(share) else UNDECIDED
    return Finding(verdict, share.value, _share_words(sides[0]))


def _at_baseline(claim: Claim, sides: Sequence[Sequence[Run]], budget: int) -> Finding:
    scores = _Scores.of(claim, sides[0])
    best, worst = scores.ends or (None, None)
    if (worst is not None and scores.beats(worst, LEARNT)) or _more_than_half(_share(sides[0])):
        verdict = CONTRADICTS
    elif scores.beats(scores.median.value, LEARNT):
        verdict = UNDECIDED
    else:
        clear = best is not None and not scores.beats(best, LEARNT)
        verdict = _negative(claim, sides[0], budget, clear=clear)
    return _of_metric(verdict, scores, sides[0])


def _below_baseline(claim: Claim, sides: Sequence[Sequence[Run]], budget: int) -> Finding:
    scores = _Scores.of(claim, sides[0])
    _, worst = scores.ends or (None, None)
    clear = (worst is not None and scores.beats(worst, LEARNT)) or _more_than_half(_share(sides[0]))
    better = scores.beats(scores.median.value, LEARNT)
    return _of_metric(REPRODUCED if clear else DIRECTION if better else not_solved(budget), scores, sides[0])


def _of_metric(verdict: str, scores: _Scores, runs: Sequence[Run]) -> Finding:
    reason = f"{_share_words(runs)}; {scores.words()}, baseline {scores.baseline:.3g}"
    return Finding(verdict, _finite(scores.median.value), reason, scores.short())


def _before(claim: Claim, sides: Sequence[Sequence[Run]], budget: int) -> Finding:
    first, second = sides
    # A run that diverged will never solve, so it is at risk for the whole budget; see bench.stats.survival.
    steps, flags = times([*first, *second])
    test = log_rank(steps, flags, ["first"] * len(first) + ["second"] * len(second))
    ahead = test.solved[0] - test.expected[0]
    verdict = _compared(ahead, test.p_value, sides) if any(flags) else not_solved(budget)
    counts = " against ".join(f"{count_solved(runs)}/{len(runs)}" for runs in sides)
    expected = f"{test.expected[0]:.3g} expected of the first"
    return Finding(verdict, None, f"{counts} runs solved, {expected}, log-rank p = {test.p_value:.2g}")


def _better(claim: Claim, sides: Sequence[Sequence[Run]], budget: int) -> Finding:
    first, second = (_Scores.of(claim, runs) for runs in sides)
    p_value = rank_sum_p(np.array(first.values), np.array(second.values))
    sign = 1 if first.lower else -1
    pairs = [np.sign(sign * (theirs - ours)) for ours in first.values for theirs in second.values if ours != theirs]
    verdict = not_solved(budget)
    if any(scores.beats(scores.median.value, LEARNT) for scores in (first, second)):
        verdict = _compared(float(np.sum(pairs)), p_value, sides)
    medians = " against ".join(scores.words() for scores in (first, second))
    short = " against ".join(_words(scores.median.value) for scores in (first, second))
    reason = f"{medians}, baseline {first.baseline:.3g}, rank-sum p = {p_value:.2g}"
    return Finding(verdict, _finite(first.median.value), reason, f"{first.name} {short}")


def _compared(ahead: float, p_value: float, sides: Sequence[Sequence[Run]]) -> str:
    """Return the verdict on the first side being ahead of the second, from how far it is and a test."""
    clear = p_value <= ALPHA and min(map(len, sides)) >= LEAST_RUNS
    if ahead > 1e-9:
        return REPRODUCED if clear else DIRECTION
    return CONTRADICTS if ahead < -1e-9 and clear else UNDECIDED


def _number(claim: Claim, sides: Sequence[Sequence[Run]], budget: int) -> Finding:
    runs, value = sides[0], claim.value
    assert value is not None
    if claim.unit in EFFORTS:
        return _effort(claim, runs, budget)
    scale = 100 if claim.unit == "percent" else 1
    scores, theirs = _Scores.of(claim, runs), value / scale
    # One of the test sequences more or less is no difference.
    least = 0.0 if scores.lower else 0.5 / runs[0].record.config["data"].get("test_size", math.inf)

    def ratio(ours: float) -> float:
        return max(scores.error(ours), least) / max(scores.error(theirs), least, 1e-300)

    near = scores.ends is not None and all(_near(ratio(end)) for end in scores.ends)
    theirs_learnt, ours_learnt = (scores.beats(each, LEARNT) for each in (theirs, scores.median.value))
    if not theirs_learnt and not ours_learnt:
        verdict = _negative(claim, runs, budget, clear=near)
    elif not theirs_learnt:
        verdict = CONTRADICTS if _more_than_half(_share(runs)) else UNDECIDED
    elif not ours_learnt or (scores.beats(theirs, HALF) and not scores.beats(scores.median.value, HALF) and not near):
        verdict = not_solved(budget)
    else:
        verdict = REPRODUCED if near else DIRECTION
    words = f"{scores.words(scale)}, the paper's {value:.5g}, baseline {scale * scores.baseline:.3g}"
    times_theirs = f"error {_words(ratio(scores.median.value))} times the paper's"
    reason = f"{words}; {times_theirs}; {count_solved(runs)}/{len(runs)} runs solved"
    return Finding(verdict, _finite(scale * scores.median.value), reason)


def _effort(claim: Claim, runs: Sequence[Run], budget: int) -> Finding:
    """Judge a number of sequences or steps until solved; a run that did not solve needs more than any number."""
    assert claim.value is not None
    spent = [
        made.steps_to_solve * (made.config["data"]["batch_size"] if claim.unit == "sequences" else 1)
        if made.solved and made.steps_to_solve is not None
        else math.inf
        for made in (run.record for run in runs)
    ]
    found = median(spent, seed=0, better="lower")
    interval = _interval(found)
    near = interval is not None and all(_near(end / claim.value) for end in (interval.low, interval.high))
    verdict = not_solved(budget) if _share(runs).value < 0.5 else REPRODUCED if near else DIRECTION
    if not math.isfinite(found.value):
        return Finding(verdict, None, f"{count_solved(runs)}/{len(runs)} runs solved, the paper's {claim.value:,.0f}")
    between = f" (95 % interval {interval.low:,.0f} to {interval.high:,.0f})" if interval else ""
    compared = f"median {found.value:,.0f} {claim.unit}{between}, {found.value / claim.value:.2g} times the paper's"
    return Finding(verdict, found.value, f"{count_solved(runs)}/{len(runs)} runs solved, {compared} {claim.value:,.0f}")


def _bound(claim: Claim, sides: Sequence[Sequence[Run]], budget: int) -> Finding:
    runs, value = sides[0], claim.value
    assert value is not None
    scale = 100 if claim.unit == "percent" else 1
    scores = _Scores.of(claim, runs)

    def kept(ours: float) -> bool:
        return ours * scale <= value if claim.says == "at_most" else ours * scale >= value

    inside = [kept(end) for end in scores.ends] if scores.ends is not None else []
    clear = bool(inside) and all(inside)
    # A bound may say how good a network is, or that it is no better.
    no_better = (claim.says == "at_most") != scores.lower
    if kept(scores.median.value):
        verdict = _negative(claim, runs, budget, clear=clear) if no_better else REPRODUCED if clear else DIRECTION
    elif no_better:
        verdict = CONTRADICTS if inside and not any(inside) else UNDECIDED
    else:
        verdict = not_solved(budget)
    reason = f"{scores.words(scale)}, the paper's bound {value:.5g}, baseline {scale * scores.baseline:.3g}"
    return Finding(verdict, _finite(scale * scores.median.value), reason)


RULES: Mapping[str, Callable[[Claim, Sequence[Sequence[Run]], int], Finding]] = {
    "solves": _solves,
    "fails": _fails,
    "at_baseline": _at_baseline,
    "below_baseline": _below_baseline,
    "before": _before,
    "better": _better,
    "number": _number,
    "at_most": _bound,
    "at_least": _bound,
}


def _negative(claim: Claim, runs: Sequence[Run], budget: int, *, clear: bool) -> str:
    """Return the verdict where a paper's runs did not learn, and ours did not either.

    Only runs that trained as long as the paper's support it, which one that diverged did not.
    """
    diverged = sum(run.status == "diverged" for run in runs)
    if not long_enough(claim, budget) or 2 * diverged >= len(runs):
        return not_solved(budget)
    return REPRODUCED if clear else DIRECTION


def _near(ratio: float) -> bool:
    return ratio * (1 + 1e-9) >= 1 / NEAR and ratio <= NEAR * (1 + 1e-9)


def _interval(estimate: Estimate) -> Interval | None:
    return estimate.interval if estimate.n >= LEAST_RUNS else None


def _share(runs: Sequence[Run]) -> Estimate:
    return success(count_solved(runs), len(runs))


def _more_than_half(share: Estimate) -> bool:
    return share.interval is not None and share.interval.low > 0.5


def _share_words(runs: Sequence[Run]) -> str:
    interval = _share(runs).interval
    between = f" (95 % interval {interval.low:.2f} to {interval.high:.2f})" if interval else ""
    return f"{count_solved(runs)}/{len(runs)} runs solved{between}"


def _words(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "diverged"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
