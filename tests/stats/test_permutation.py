"""The exact tests of two groups against SciPy, with ties and with runs that failed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats

from bench.stats.permutation import EXACT, permutation_p, rank_sum_p


@pytest.mark.parametrize(("first", "second"), [(2, 3), (5, 5), (3, 8), (6, 6)])
def test_the_rank_sum_is_scipys_where_nothing_is_tied(first: int, second: int):
    for seed in range(5):
        draw = np.random.default_rng(seed)
        one, other = draw.normal(size=first), draw.normal(0.8, size=second)
        expected = scipy.stats.mannwhitneyu(one, other, method="exact").pvalue
        assert rank_sum_p(one, other) == pytest.approx(expected, abs=1e-12)


def test_ties_and_failed_runs_are_enumerated():
    one, other = np.array([1.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0, np.inf, np.inf])
    ranks = scipy.stats.rankdata(np.concatenate([one, other]))
    sums = [ranks[list(chosen)].sum() for chosen in itertools.combinations(range(8), 3)]
    middle = 3 * ranks.mean()
    expected = np.mean([abs(total - middle) >= abs(ranks[:3].sum() - middle) - 1e-9 for total in sums])
    assert rank_sum_p(one, other) == pytest.approx(expected, abs=1e-12)
    assert permutation_p(ranks, np.arange(8) < 3) == pytest.approx(expected, abs=1e-12)


def test_equal_groups_and_more_runs_than_are_enumerated():
    assert rank_sum_p(np.ones(4), np.ones(5)) == 1.0
    draw = np.random.default_rng(0)
    one, other = draw.normal(size=EXACT), draw.normal(0.7, size=EXACT)
    expected = scipy.stats.mannwhitneyu(one, other, method="exact").pvalue
    assert rank_sum_p(one, other) == pytest.approx(expected, rel=0.25, abs=1e-3)
    assert rank_sum_p(one, other + 100) == pytest.approx(1 / 10_001)
