"""Tests of whether one cell is better than another: paired permutation test, probability of improvement, Holm.

The module is pure and needs no torch. A value that is not finite is a failed run, see :mod:`bench.stats.intervals`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bench.stats.intervals import (
    CONFIDENCE,
    RESAMPLES,
    Estimate,
    Numbers,
    Seed,
    check_resampling,
    failed_as_worst,
    generator,
    numbers,
    percentile_interval,
)

EXACT = 16
"""Largest number of pairs for which all 2^n assignments of signs are enumerated."""


@dataclass(frozen=True)
class PairedTest:
    """Result of a two-sided sign-flip permutation test on pairs of runs that share a seed.

    Attributes:
        p_value: In (0, 1].
        statistic: Positive where the first is larger; see :func:`paired_test`.
        pairs: Number of seeds that both cells have.
        ties: Number of pairs that do not differ or of which both runs failed. Only the other pairs decide how small p
            can be, so :func:`bench.stats.small_samples.too_few` takes ``pairs - ties``.
        failed: Number of pairs of which at least one run failed.
        left_out: Number of seeds that only one of the two cells has.
        method: How p was obtained.
    """

    p_value: float
    statistic: float
    pairs: int
    ties: int
    failed: int
    left_out: int
    method: str


def paired_test(
    first: Mapping[int, float | int],
    second: Mapping[int, float | int],
    *,
    seed: Seed,
    statistic: str = "mean",
    better: str | None = None,
    draws: int = RESAMPLES,
) -> PairedTest:
    """Test whether two cells differ on the seeds that both have, by permuting which cell each value came from.

    Under the hypothesis that the two cells are exchangeable, the sign of each difference, first minus second, is a fair
    coin. p is the share of assignments of signs whose statistic is at least as far from 0 as the one found. For up to
    16 pairs the function enumerates all 2^n assignments. For more it draws ``draws`` of them, and p is (1 + those as
    extreme) / (1 + draws), which is never 0.

    Args:
        first: Value of the first cell for each seed.
        second: The same for the second cell; the two must share at least one seed. A seed that only one of them has is
            counted, but not used.
        seed: Seed of the draws.
        statistic: ``"mean"``: mean difference, in the unit of the values; all must be finite.
            ``"rank"``: matched-pairs rank-biserial correlation, in [-1, 1]: the sum of the signed ranks of the
            absolute differences over the sum of the ranks. The ranks are Wilcoxon's: ties share their mean rank, and a
            difference of 0 has none. A pair with one failed run has the largest difference; two failed runs are a tie.
        better: ``"higher"`` or ``"lower"``; must be given where a value is not finite.
        draws: Number of assignments to draw, at least 1.

    Raises:
        ValueError: The two share no seed, a value is not finite with ``"mean"`` or without ``better``, or an argument
            is out of range.

    References:
        Fisher 1935, "The design of experiments", section 21. Phipson and Smyth 2010, "Permutation p-values should
        never be zero", eq. 2. Kerby 2014, "The simple difference formula" (rank-biserial correlation).
    """
    random = generator(seed)
    if statistic not in ("mean", "rank"):
        raise ValueError(f"`statistic` must be mean or rank, got {statistic!r}")
    if draws < 1:
        raise ValueError(f"`draws` must be >= 1, got {draws}")
    shared = sorted(first.keys() & second.keys())
    if not shared:
        raise ValueError(f"`second` must have a seed of the first, got none of {len(first)} in {len(second)}")
    values = np.array([[first[each] for each in shared], [second[each] for each in shared]], dtype=np.float64)
    finite = np.isfinite(values)
    if statistic == "mean" and not finite.all():
        bad = values[~finite][0]
        raise ValueError(f"`statistic` must be rank where values are not finite, got 'mean' and a value of {bad}")
    ranked = np.stack(
        [failed_as_worst(name, row, better) for name, row in zip(("first", "second"), values, strict=True)]
    )
    differences = np.subtract(*ranked, out=np.zeros(len(shared)), where=ranked[0] != ranked[1])
    scores = differences / len(shared) if statistic == "mean" else _signed_ranks(differences)
    found = float(scores.sum())
    p_value, method = _sign_flips(scores, random, draws)
    return PairedTest(
        p_value=p_value,
        statistic=found,
        pairs=len(shared),
        ties=int(np.sum(differences == 0)),
        failed=int(np.sum(~finite.all(axis=0))),
        left_out=len(first.keys() ^ second.keys()),
        method=f"{statistic} of the differences, {method}",
    )


MOST_MULTINOMIAL = 100
"""Number of runs up to which their counts are drawn together; of more runs it is faster to draw each by itself."""


def improvement(
    first: Numbers,
    second: Numbers,
    *,
    better: str,
    seed: Seed,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> Estimate:
    """Return the probability that a run of the first cell is better than one of the second; ties count half.

    The probability is the share of all n_first * n_second pairs, which is Mann-Whitney's U over its maximum. The
    interval is a percentile bootstrap that resamples the runs of each cell independently, so it uses all runs, whatever
    their seeds. Where a seed is good or bad for both cells, the interval is wider than it needs to be. There is no
    interval if one of the two has a single run. If no run of one cell is better than any run of the other, the estimate
    and both ends of the interval are 0 or 1 (:func:`bench.stats.small_samples.no_width`).

    Args:
        first: At least one value of the first cell. A value that is not finite is a failed run and worse than all
            others; two failed runs are a tie.
        second: The same for the second cell.
        better: ``"higher"`` or ``"lower"``.
        seed: Seed of the resampling.
        confidence: In (0, 1).
        resamples: Number of bootstrap samples, at least 1.

    Raises:
        ValueError: There are no values, or an argument is out of range.

    References:
        Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice", section 4.3.
    """
    check_resampling(confidence, resamples)
    random = generator(seed)
    given = {name: numbers(name, values) for name, values in (("first", first), ("second", second))}
    here, there = (failed_as_worst(name, values, better) for name, values in given.items())
    sign = 1 if better == "higher" else -1
    # A run has beaten as many of the other cell as come before it in order, and lost to those that come after it.
    # Places in the order also work for infinite values, which have no difference, and need no table of all pairs.
    order, pairs = np.argsort(there), len(here) * len(there)
    before, upto = (np.searchsorted(there[order], here, side) for side in ("left", "right"))
    value = (sign * float(np.sum(before + upto - len(there))) / pairs + 1) / 2
    n = len(here) + len(there)
    failed = int(sum(np.sum(~np.isfinite(values)) for values in given.values()))
    if min(len(here), len(there)) < 2:
        return Estimate(value, None, n, failed, "probability of improvement; a single run gives no interval")
    # Counting how often each run was drawn makes the wins of a resample an exact sum of counts.
    rows, columns = (_drawn_counts(len(each), resamples, random) for each in (here, there))
    below = np.zeros((resamples, len(there) + 1), dtype=np.int64)
    np.cumsum(columns[:, order], axis=1, out=below[:, 1:])
    wins = np.einsum("rj,rj->r", rows, below[:, before]) + np.einsum("rj,rj->r", rows, below[:, upto]) - pairs
    resampled = (sign * wins / pairs + 1) / 2
    interval = percentile_interval(resampled, confidence)
    method = f"probability of improvement, percentile bootstrap, {resamples} resamples"
    return Estimate(value, interval, n, failed, method)


def _drawn_counts(k: int, resamples: int, random: np.random.Generator) -> np.ndarray:
    """Return how often each of ``k`` runs is in each resample, which has ``k`` draws."""
    if k <= MOST_MULTINOMIAL:
        return random.multinomial(k, np.full(k, 1 / k), size=resamples)
    drawn = random.integers(k, size=(resamples, k)) + k * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * k).reshape(resamples, k)


def holm(p_values: Numbers) -> tuple[float, ...]:
    """Adjust the p values of a family of tests for multiplicity.

    Rejecting the tests whose adjusted p is at most alpha keeps the family-wise error under alpha, whatever the
    dependence of the tests. Holm's step-down multiplies the k-th smallest of m values by m - k + 1 and makes no value
    smaller than the one before it.

    Args:
        p_values: In [0, 1]; the family may be empty.

    Returns:
        Adjusted p values, in [0, 1], in the order given.

    Raises:
        ValueError: A p value is not in [0, 1].

    References:
        Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    given = np.asarray(p_values, dtype=np.float64)
    bad = given[~((given >= 0) & (given <= 1))]
    if bad.size:
        raise ValueError(f"`p_values` must be >= 0 and <= 1, got {bad[0]}")
    order = np.argsort(given, kind="stable")
    stepped = np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1))
    adjusted = np.empty(len(given))
    adjusted[order] = np.minimum(stepped, 1)
    return tuple(adjusted.tolist())


def _signed_ranks(differences: np.ndarray) -> np.ndarray:
    """Return the signed ranks of the absolute differences over the sum of the ranks; 0 for a difference of 0."""
    size = np.abs(differences[differences != 0])
    signed = np.zeros(len(differences))
    if size.size:
        _, which, counts = np.unique(size, return_inverse=True, return_counts=True)
        ranks = np.cumsum(counts) - (counts - 1) / 2
        signed[differences != 0] = ranks[which]
    return np.sign(differences) * signed / max(signed.sum(), 1.0)


def _sign_flips(scores: np.ndarray, random: np.random.Generator, draws: int) -> tuple[float, str]:
    """Return the share of the sign assignments whose sum is as far from 0 as the scores' sum, and how it was found."""
    # The same numbers summed in another order differ by rounding.
    bound = abs(float(scores.sum())) - 1e-12 * float(np.abs(scores).sum())
    if len(scores) <= EXACT:
        sums = np.zeros(1)
        for score in scores:
            sums = np.concatenate([sums + score, sums - score])
        return float(np.mean(np.abs(sums) >= bound)), f"all 2^{len(scores)} signs"
    signs = random.integers(2, size=(draws, len(scores))) * 2.0 - 1
    extreme = int(np.sum(np.abs(signs @ scores) >= bound))
    return (1 + extreme) / (1 + draws), f"{draws} signs drawn"
