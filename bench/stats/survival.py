"""Time to solve, when some runs did not solve: Kaplan-Meier curve, its median, and the log-rank test. Pure.

A run has a time, in training steps, and a flag. Either it solved its task at that time, or it had not solved it by then
and is censored: we only know that it takes longer. A run that is censored at a time at which others solve was still at
risk at that time.

Censoring must not depend on how long a run would have taken. The end of the budget does not; divergence does, because
such a run will never solve. The time of a diverged run must therefore be the steps of the whole budget, not the steps
until it diverged.

References:
    Kaplan and Meier 1958, "Nonparametric estimation from incomplete observations". Klein and Moeschberger 2003,
    "Survival analysis", sections 4.2 to 4.5 (curve and median) and 7.3 (log-rank test).
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from bench.stats.intervals import CONFIDENCE, Flags, Labels, Numbers, normal_quantile, numbers
from bench.stats.permutation import EXACT, permutation_p

# A product of a few fractions that should be 1/2 may differ from it by rounding.
_HALF = 0.5 * (1 + 1e-12)


@dataclass(frozen=True)
class Survival:
    """Share of the runs that have not solved their task yet, as a right-continuous step function of time.

    Attributes:
        times: Times at which a run solved, increasing. Before the first of them the share is 1.
        at_risk: Number of runs that had neither solved nor been censored before each time.
        solved: Number of runs that solved at each time.
        share: Kaplan-Meier estimate from each time on, in [0, 1], not increasing.
        low: Lower end of the pointwise log-log interval at each time; ``None`` where the share is 0.
        high: Upper end of that interval, likewise.
        last: Largest time of all runs; the curve says nothing about later times unless it has reached 0.
        confidence: Nominal coverage of the intervals, in (0, 1).
        n: Number of runs.
    """

    times: tuple[float, ...]
    at_risk: tuple[int, ...]
    solved: tuple[int, ...]
    share: tuple[float, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    last: float
    confidence: float
    n: int


@dataclass(frozen=True)
class MedianTime:
    """Median time to solve.

    Attributes:
        value: The first time by which at least half of the runs have solved; ``None`` if it is not reached.
        low: Lower end of its interval; ``None`` if it is not reached.
        high: Upper end of its interval; ``None`` if it is not reached, and the interval is open.
        confidence: Nominal coverage, in (0, 1).
        n: Number of runs.
        solved: Number of runs that solved; the others are censored.
        method: How it was obtained.
    """

    value: float | None
    low: float | None
    high: float | None
    confidence: float
    n: int
    solved: int
    method: str


@dataclass(frozen=True)
class LogRank:
    """Result of a log-rank test of the hypothesis that all groups solve at the same rate at all times.

    Attributes:
        statistic: Chi-squared, at least 0.
        degrees: Its degrees of freedom.
        p_value: In [0, 1], two-sided.
        exact: Whether ``p_value`` is the share of all ways to deal the runs to the two groups; it is that of the
            chi-squared distribution for more than :data:`bench.stats.permutation.EXACT` runs, and for more than two
            groups.
        groups: The groups, in order of appearance.
        n: Number of runs of each group.
        solved: Number of runs of each group that solved.
        expected: Number of runs of each group that the hypothesis expects to solve at the times at which any run
            solved.
    """

    statistic: float
    degrees: int
    p_value: float
    exact: bool
    groups: tuple[Hashable, ...]
    n: tuple[int, ...]
    solved: tuple[int, ...]
    expected: tuple[float, ...]


def survival(times: Numbers, solved: Flags, *, confidence: float = CONFIDENCE) -> Survival:
    """Return the Kaplan-Meier estimate with pointwise intervals from Greenwood's variance on the log-log scale.

    Args:
        times: Step at which each run solved or was last seen unsolved, finite and >= 0; at least one run.
        solved: Whether each run solved.
        confidence: In (0, 1).

    Raises:
        ValueError: Times and flags have different lengths or are empty, a time is not a finite number >= 0, or
            ``confidence`` is out of range.
    """
    z = normal_quantile(confidence)
    steps, done = _check(times, solved)
    when = np.unique(steps[done])
    at_risk = np.array([np.sum(steps >= time) for time in when], dtype=np.int64)
    events = np.array([np.sum(steps[done] == time) for time in when], dtype=np.int64)
    share = np.cumprod(1 - events / at_risk)
    low: list[float | None] = []
    high: list[float | None] = []
    variance = 0.0  # Greenwood's variance over the squared share
    for each, risk, count in zip(share, at_risk, events, strict=True):
        if risk == count:
            low.append(None)
            high.append(None)
            continue
        variance += count / (risk * (risk - count))
        half = z * math.sqrt(variance) / -math.log(each)
        low.append(float(each ** math.exp(half)))
        high.append(float(each ** math.exp(-half)))
    return Survival(
        times=tuple(when.tolist()),
        at_risk=tuple(at_risk.tolist()),
        solved=tuple(events.tolist()),
        share=tuple(share.tolist()),
        low=tuple(low),
        high=tuple(high),
        last=float(steps.max()),
        confidence=confidence,
        n=len(steps),
    )


def median_time(times: Numbers, solved: Flags, *, confidence: float = CONFIDENCE) -> MedianTime:
    """Return the median time to solve with the Brookmeyer-Crowley interval on the log-log scale.

    The interval holds the times at which 1/2 lies in the pointwise interval of the curve. As in R's
    ``survfit(conf.type="log-log")``, it begins where the lower end is first at most 1/2, and ends where the upper end
    is first below 1/2. Where the curve is at 0 there is no pointwise interval, and the end is open; an upper end
    therefore takes 7 runs that all solve.

    The median is the first time with a share of at most 1/2. It is always a time at which a run solved, as in
    lifelines.
    Where the curve stays at exactly 1/2 for a while, R takes the middle of that span and statsmodels its end.

    Args:
        times: See :func:`survival`, like the other arguments.
        solved: Whether each run solved.
        confidence: In (0, 1).

    Raises:
        ValueError: See :func:`survival`.

    References:
        Brookmeyer and Crowley 1982, "A confidence interval for the median survival time". Klein and Moeschberger
        2003, eq. 4.5.5.
    """
    curve = survival(times, solved, confidence=confidence)

    def first(reached: list[bool]) -> float | None:
        return next((time for time, here in zip(curve.times, reached, strict=True) if here), None)

    return MedianTime(
        value=first([share <= _HALF for share in curve.share]),
        low=first([low is not None and low <= 0.5 for low in curve.low]),
        high=first([high is not None and high < 0.5 for high in curve.high]),
        confidence=confidence,
        n=curve.n,
        solved=sum(curve.solved),
        method="Kaplan-Meier median, Brookmeyer-Crowley on the log-log scale",
    )


def log_rank(times: Numbers, solved: Flags, groups: Labels) -> LogRank:
    """Test whether two or more groups of runs, for example cells, solve at the same rate.

    A group that has no run at risk whenever a run solves carries no information: it appears in the result with 0
    expected, and takes no degree of freedom. If nothing can differ, because no run solved or because all that were at
    risk solved at one time, the statistic is 0 and p is 1.

    Args:
        times: See :func:`survival`.
        solved: Whether each run solved.
        groups: The group of each run; at least two different ones.

    For two groups of together at most :data:`EXACT` runs the p-value is exact: the runs are dealt to the groups in all
    possible ways, and the share of them is counted in which the first group solved at least as many more or fewer than
    expected. So it is never smaller than the number of runs allows, as 2 of 924 for 6 against 6.

    Raises:
        ValueError: See :func:`survival`; also if the number of groups differs from that of runs, or if there is one
            group alone.

    References:
        Mantel 1966, "Evaluation of survival data and two new rank order statistics". Klein and Moeschberger 2003,
        eq. 7.3.3 to 7.3.5, with weight 1.
    """
    steps, done = _check(times, solved)
    if len(groups) != len(steps):
        raise ValueError(f"`groups` must have one entry for each of {len(steps)} runs, got {len(groups)}")
    names = tuple(dict.fromkeys(groups))
    if len(names) < 2:
        raise ValueError(f"`groups` must name at least 2 groups, got {', '.join(map(repr, names))} alone")
    member = np.array([[group == name for group in groups] for name in names])
    expected, covariance = np.zeros(len(names)), np.zeros((len(names), len(names)))
    for time in np.unique(steps[done]):
        at_risk = (member & (steps >= time)).sum(axis=1)
        whole, events = int(at_risk.sum()), int(np.sum(done & (steps == time)))
        share = at_risk / whole
        expected += events * share
        if whole > 1:
            hypergeometric = events * (whole - events) / (whole - 1)
            covariance += hypergeometric * (np.diag(share) - np.outer(share, share))
    observed = (member & done).sum(axis=1)
    # The differences sum to 0, so one of the groups that were at risk carries no further information and is left out.
    kept = np.flatnonzero(expected > 0)[1:]
    degrees = len(kept) if covariance[np.ix_(kept, kept)].any() else 0
    statistic, p_value, exact = 0.0, 1.0, len(names) == 2 and len(steps) <= EXACT
    if degrees:
        difference = (observed - expected)[kept]
        statistic = float(difference @ np.linalg.solve(covariance[np.ix_(kept, kept)], difference))
        p_value = _dealt(steps, done, member[0]) if exact else chi_squared_tail(statistic, degrees)
    return LogRank(
        statistic=statistic,
        degrees=degrees,
        p_value=p_value,
        exact=exact,
        groups=names,
        n=tuple(member.sum(axis=1).tolist()),
        solved=tuple(observed.tolist()),
        expected=tuple(expected.tolist()),
    )


def _dealt(steps: np.ndarray, done: np.ndarray, first: np.ndarray) -> float:
    """Return the exact p: what a run adds to its group, solved less expected, does not depend on the groups."""
    scores = done.astype(float)
    for time in np.unique(steps[done]):
        at_risk = steps >= time
        scores -= at_risk * (np.sum(done & (steps == time)) / at_risk.sum())
    return permutation_p(scores, first)


def chi_squared_tail(statistic: float, degrees: int) -> float:
    """Return the probability that a chi-squared variable exceeds ``statistic``, by a finite sum of its closed form.

    Args:
        statistic: At least 0.
        degrees: At least 1.

    References:
        Abramowitz and Stegun 1964, eq. 26.4.4 and 26.4.5.
    """
    half = statistic / 2
    odd = degrees % 2
    tail = math.erfc(math.sqrt(half)) if odd else 0.0
    # Terms half^k e^-half / Gamma(k + 1), for k = 0, 1, .. or 1/2, 3/2, .. under degrees / 2.
    powers = np.arange(degrees // 2) + odd / 2
    terms = (math.exp(-half) * half**power / math.gamma(power + 1) for power in powers.tolist())
    return min(1.0, tail + sum(terms))


def _check(times: Numbers, solved: Flags) -> tuple[np.ndarray, np.ndarray]:
    steps = numbers("times", times)
    if len(solved) != len(steps):
        raise ValueError(f"`solved` must have one flag for each of {len(steps)} times, got {len(solved)}")
    bad = steps[~(np.isfinite(steps) & (steps >= 0))]
    if bad.size:
        raise ValueError(f"`times` must be finite and >= 0, got {bad[0]}")
    return steps, np.asarray(solved, dtype=bool)
