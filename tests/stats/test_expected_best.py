"""The expected best of n trials: against all n draws that there are, and how often its interval covers."""

from __future__ import annotations

import itertools
import math
import statistics

import numpy as np
import pytest

from bench.stats.expected_best import expected_best


@pytest.mark.parametrize(("better", "best"), [("higher", max), ("lower", min)])
def test_it_is_the_mean_over_all_draws(better: str, best):
    scores = [0.3, 0.1, 0.8, 0.8]
    found = expected_best(scores, better=better, seed=0)
    for count, value in zip(found.trials, found.values, strict=True):
        draws = itertools.product(scores, repeat=count)
        assert math.isclose(value, statistics.fmean(map(best, draws)), rel_tol=1e-12)
    assert found.trials == (1, 2, 3, 4)
    assert all(low <= value <= high for low, value, high in zip(found.low, found.values, found.high, strict=True))


def test_one_trial_says_nothing_of_its_spread():
    found = expected_best([0.4], better="lower", seed=0)
    assert (found.values, found.low, found.high) == ((0.4,), (0.4,), (0.4,))


def test_what_the_docstring_says_of_its_coverage():
    """Of uniform scores the expected least of n is 1 / (n + 1)."""
    rng, covered = np.random.default_rng(0), dict.fromkeys((1, 3, 10, 30), 0)
    for _ in range(300):
        found = expected_best(rng.random(30), better="lower", seed=rng, resamples=300)
        for n in covered:
            covered[n] += found.low[n - 1] <= 1 / (n + 1) <= found.high[n - 1]
    shares = {n: count / 300 for n, count in covered.items()}
    assert 0.90 <= shares[1] <= 0.98
    assert 0.88 <= shares[3] <= 0.98
    assert 0.75 <= shares[10] <= 0.95
    assert shares[30] < 0.9


def test_the_same_seed_gives_the_same_interval():
    first, second, other = (expected_best(range(9), better="lower", seed=seed) for seed in (1, 1, 2))
    assert first == second != other


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": []}, "`scores` must be at least one finite number, got []"),
        ({"scores": [1.0, math.inf]}, "`scores` must be at least one finite number, got [1.0, inf]"),
        ({"better": "best"}, "`better` must be one of higher, lower, got 'best'"),
        ({"confidence": 1.0}, "`confidence` must be > 0 and < 1, got 1.0"),
        ({"resamples": 0}, "`resamples` must be >= 1, got 0"),
    ],
)
def test_bad_input(change, message: str):
    given = {"scores": [1.0], "better": "lower", "seed": 0} | change
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        expected_best(given.pop("scores"), **given)
    assert str(error.value) == message
