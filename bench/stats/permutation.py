"""Exact two-sample permutation test. Pure."""

from __future__ import annotations

import itertools

import numpy as np

EXACT = 20
"""Largest number of runs of which all ways to deal them to two groups are counted."""


def permutation_p(scores: np.ndarray, first: np.ndarray) -> float:
    """Return the two-sided p of the sum of one group's scores, over all ways to choose that group.

    Under the hypothesis that the group makes no difference, every choice of as many runs is equally likely. p is the
    share of the choices whose sum is at least as far from its expectation as the one found.

    Args:
        scores: One finite number for each run.
        first: Which runs are of the first group.
    """
    centred = scores - scores.mean()
    # The sums over all subsets of the runs so far, by the size of the subset.
    sums = [np.zeros(1), *[np.zeros(0)] * int(first.sum())]
    for score in centred:
        sums = [sums[0], *(np.concatenate([more, fewer + score]) for fewer, more in itertools.pairwise(sums))]
    return float(np.mean(np.abs(sums[-1]) >= abs(centred[first].sum()) - 1e-9))


def rank_sum_p(first: np.ndarray, second: np.ndarray) -> float:
    """Return the two-sided p of Wilcoxon's rank-sum test (Mann-Whitney): exact, with ties at their mean rank.

    For more than :data:`EXACT` runs p is that of 10,000 random choices, which include the one found.

    Args:
        first: Values of the first group; infinite values stand for runs that failed.
        second: Values of the second group.

    References:
        Phipson and Smyth 2010, "Permutation p-values should never be zero", eq. 2.
    """
    values = np.concatenate([first, second])
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2)[place]
    member = np.arange(len(values)) < len(first)
    if len(values) <= EXACT:
        return permutation_p(ranks, member)
    draw, draws = np.random.default_rng(0), 10_000
    centred = ranks - ranks.mean()
    found = abs(centred[member].sum()) - 1e-9
    extreme = sum(abs(draw.permutation(centred)[: len(first)].sum()) >= found for _ in range(draws))
    return (1 + extreme) / (1 + draws)
