"""Is one cell better than another? A paired permutation test, the probability of improvement, and many tests at once.

Pure, without torch. A value that is not finite is a failed run, see :mod:`bench.stats.intervals`.
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
"""Pairs up to which all 2^n assignments of signs are enumerated."""


@dataclass(frozen=True)
class PairedTest:
    """Two-sided sign-flip permutation test on pairs of runs with one seed.

    Attributes:
        p_value: In (0, 1].
        statistic: Positive where the first is larger; see :func:`paired_test`.
        pairs: Seeds that both have.
        ties: Pairs that do not differ, or of which both failed: the others alone decide how small p can be, so it is
            ``pairs - ties`` that :func:`bench.stats.small_samples.too_few` asks for.
        failed: Pairs of which at least one failed.
        left_out: Seeds that only one of the two has.
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
    """Whether two cells differ on the seeds that both have, by permuting which of the two each value came from.

    Under the hypothesis that the two are exchangeable the sign of each difference, first minus second, is a fair coin.
    p is the share of assignments of signs with a statistic at least as far from 0 as the one found. Up to 16 pairs
    all 2^n are enumerated. Above, ``draws`` are drawn, and p is (1 + those as extreme) / (1 + draws), never 0.

    Args:
        first: Value of each seed.
        second: The same for the other cell; at least one seed in common. Seeds of one alone are counted, not used.
        seed: Of the draws.
        statistic: ``"mean"``: mean difference, in the unit of the values; all must be finite.
            ``"rank"``: matched-pairs rank-biserial correlation, in [-1, 1]: the sum of the signed ranks of the
            absolute differences (Wilcoxon: ties share their mean rank, differences of 0 have none) over the sum of
            the ranks. A failed run makes the largest difference, two failed ones a tie.
        better: ``"higher"`` or ``"lower"``; must be given where a value is not finite.
        draws: Assignments to draw, at least 1.

    Raises:
        ValueError: No seed in common, a value that is not finite with ``"mean"`` or without ``better``, or arguments
            out of range.

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


def improvement(
    first: Numbers,
    second: Numbers,
    *,
    better: str,
    seed: Seed,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> Estimate:
    """Probability that a run of the first is better than one of the second; ties count half.

    The share of all n_first * n_second pairs: Mann-Whitney's U over its maximum. The interval is a percentile
    bootstrap that resamples the runs of each independently, so all runs are used, whatever their seeds; where a seed
    is good or bad for both it is wider than it needs to be. No interval where one of the two has a single run. Where
    no run of one is better than any of the other, the estimate and the interval are 0 or 1
    (:func:`bench.stats.small_samples.no_width`).

    Args:
        first: At least one value. One that is not finite is a failed run, worse than all others; two are a tie.
        second: The same for the other cell.
        better: ``"higher"`` or ``"lower"``.
        seed: Of the resampling.
        confidence: In (0, 1).
        resamples: Number of bootstrap samples, at least 1.

    Raises:
        ValueError: No values, or arguments out of range.

    References:
        Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice", section 4.3.
    """
    check_resampling(confidence, resamples)
    random = generator(seed)
    given = {name: numbers(name, values) for name, values in (("first", first), ("second", second))}
    here, there = (failed_as_worst(name, values, better) for name, values in given.items())
    sign = 1 if better == "higher" else -1
    # Of all pairs, and with infinite values, which have no difference: 1 for a better run, 0 for a tie, -1 for a worse.
    wins = sign * ((here[:, None] > there).astype(np.float64) - (here[:, None] < there))
    value = float((wins.mean() + 1) / 2)
    n = len(here) + len(there)
    failed = int(sum(np.sum(~np.isfinite(values)) for values in given.values()))
    if min(len(here), len(there)) < 2:
        return Estimate(value, None, n, failed, "probability of improvement; a single run gives no interval")
    # How often each run was drawn: the wins of a resample are a product of counts, and exact.
    rows, columns = (random.multinomial(k, np.full(k, 1 / k), size=resamples) for k in wins.shape)
    resampled = (np.einsum("rj,rj->r", rows @ wins, columns) / wins.size + 1) / 2
    interval = percentile_interval(resampled, confidence)
    method = f"probability of improvement, percentile bootstrap, {resamples} resamples"
    return Estimate(value, interval, n, failed, method)


def holm(p_values: Numbers) -> tuple[float, ...]:
    """p values adjusted for a family of tests: those at most alpha are rejected with a family-wise error under alpha.

    Holm's step-down: the k-th smallest of m is multiplied by m - k + 1, and is at least the one before it. Whatever
    the dependence of the tests.

    Args:
        p_values: In [0, 1]; none is an empty family.

    Returns:
        Adjusted p values, in [0, 1], in the order given.

    Raises:
        ValueError: A p value that is not in [0, 1].

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
    """Ranks of the absolute differences with their signs, over the sum of the ranks; 0 for a difference of 0."""
    size = np.abs(differences[differences != 0])
    signed = np.zeros(len(differences))
    if size.size:
        _, which, counts = np.unique(size, return_inverse=True, return_counts=True)
        ranks = np.cumsum(counts) - (counts - 1) / 2
        signed[differences != 0] = ranks[which]
    return np.sign(differences) * signed / max(signed.sum(), 1.0)


def _sign_flips(scores: np.ndarray, random: np.random.Generator, draws: int) -> tuple[float, str]:
    """Share of the assignments of signs whose sum is at least as far from 0 as that of the scores, and how."""
    # Sums of the same numbers in another order differ by rounding.
    bound = abs(float(scores.sum())) - 1e-12 * float(np.abs(scores).sum())
    if len(scores) <= EXACT:
        sums = np.zeros(1)
        for score in scores:
            sums = np.concatenate([sums + score, sums - score])
        return float(np.mean(np.abs(sums) >= bound)), f"all 2^{len(scores)} signs"
    signs = random.integers(2, size=(draws, len(scores))) * 2.0 - 1
    extreme = int(np.sum(np.abs(signs @ scores) >= bound))
    return (1 + extreme) / (1 + draws), f"{draws} signs drawn"
