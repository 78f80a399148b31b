"""Paired tests, probability of improvement and Holm's correction against SciPy, statsmodels and enumeration."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import numpy as np
import pytest
import scipy.stats
from statsmodels.stats.multitest import multipletests

from bench.stats.intervals import Estimate
from bench.stats.paired import holm, improvement, paired_test

NAN, INF = math.nan, math.inf


def by_seed(values: np.ndarray) -> dict[int, float]:
    return dict(enumerate(values.tolist()))


def two_cells(seed: int, n: int, shift: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    common = draw.normal(size=n)
    return common + draw.normal(size=n) + shift, common + draw.normal(size=n)


@pytest.mark.parametrize("n", [2, 3, 6, 9, 12])
@pytest.mark.parametrize("seed", range(3))
def test_the_exact_test_against_scipy(seed: int, n: int):
    here, there = two_cells(seed, n)
    expected = scipy.stats.permutation_test(
        (here, there),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**n,
    )
    found = paired_test(by_seed(here), by_seed(there), seed=0)
    assert found.statistic == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue, abs=1e-12)
    assert (found.pairs, found.ties, found.failed, found.left_out) == (n, 0, 0, 0)
    assert found.method == f"mean of the differences, all 2^{n} signs"


@pytest.mark.parametrize("n", [3, 7, 12])
def test_the_rank_test_against_wilcoxon(n: int):
    here, there = two_cells(n, n)
    found = paired_test(by_seed(here), by_seed(there), seed=0, statistic="rank")
    assert found.p_value == pytest.approx(scipy.stats.wilcoxon(here, there, method="exact")[1])
    ranks = scipy.stats.rankdata(np.abs(here - there))
    assert found.statistic == pytest.approx((np.sign(here - there) * ranks).sum() / ranks.sum())


def test_ranks_with_ties_enumerated():
    # The differences are 1, 1, -1, 0, 3; their ranks are 2, 2, 2, none, 4.
    found = paired_test(
        dict(enumerate([1.0, 2.0, 0.0, 5.0, 4.0])), dict(enumerate([0, 1, 1, 5, 1])), seed=0, statistic="rank"
    )
    assert found.statistic == pytest.approx((2 + 2 - 2 + 4) / 10)
    sums = [abs(np.dot(signs, [2, 2, 2, 4])) for signs in itertools.product([-1, 1], repeat=4)]
    assert found.p_value == np.mean(np.array(sums) >= 6)
    assert found.ties == 1


@pytest.mark.parametrize("pairs", [1, 3, 5, 6, 10])
def test_the_least_p_of_n_pairs(pairs: int):
    second = dict.fromkeys(range(pairs), 0.0)
    for first in (dict.fromkeys(second, 1.0), {seed: 0.1 * (seed + 1) for seed in second}):
        for statistic in ("mean", "rank"):
            assert paired_test(first, second, seed=0, statistic=statistic).p_value == 2 / 2**pairs


def test_ties_raise_the_least_p():
    first = {0: 1.0, 1: 2.0, 2: 3.0, 3: 0.0, 4: 0.0}
    for statistic in ("mean", "rank"):
        found = paired_test(first, dict.fromkeys(range(5), 0), seed=0, statistic=statistic)
        assert (found.p_value, found.pairs - found.ties) == (2 / 2**3, 3)


def test_many_pairs_are_drawn():
    here, there = two_cells(4, 17, shift=0.6)
    first, second = by_seed(here), by_seed(there)
    differences = here - there
    signs = np.array(list(itertools.product([-1.0, 1.0], repeat=17)))
    exact = np.mean(np.abs(signs @ differences) >= abs(differences.sum()) * (1 - 1e-12))
    found = paired_test(first, second, seed=1, draws=20_000)
    assert 0.005 < exact < 0.5
    assert found.p_value == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 20_000))
    assert found.method == "mean of the differences, 20000 signs drawn"
    assert found == paired_test(first, second, seed=1, draws=20_000)
    assert found.p_value != paired_test(first, second, seed=2, draws=20_000).p_value


def test_a_drawn_p_is_never_zero():
    first, second = dict.fromkeys(range(60), 1.0), dict.fromkeys(range(60), 0.0)
    assert paired_test(first, second, seed=0, draws=99).p_value == 1 / 100


def test_the_test_holds_its_level():
    # Without a true difference, p <= 0.05 comes up in 12 of the 2^8 signs: 4.7 % of the experiments, within three
    # errors.
    draw = np.random.default_rng(9)
    found = [
        paired_test(by_seed(draw.normal(size=8)), by_seed(draw.normal(size=8)), seed=0).p_value for _ in range(600)
    ]
    assert np.mean(np.array(found) <= 0.05) == pytest.approx(0.047, abs=0.027)


def test_only_shared_seeds_are_paired():
    here, there = two_cells(2, 6)
    first, second = by_seed(here), by_seed(there)
    plain = paired_test(first, second, seed=0)
    ragged = paired_test({**first, 7: 100.0, 8: NAN}, {100: -5.0, **dict(reversed(second.items()))}, seed=0)
    assert ragged.left_out == 3
    assert (ragged.p_value, ragged.statistic, ragged.pairs) == (plain.p_value, plain.statistic, 6)


def test_without_any_difference():
    same = {0: 1.0, 1: 2.0, 2: 3.0}
    for statistic in ("mean", "rank"):
        found = paired_test(same, same, seed=0, statistic=statistic)
        assert (found.p_value, found.statistic, found.ties) == (1.0, 0.0, 3)


@pytest.mark.parametrize(("better", "sign"), [("lower", 1), ("higher", -1)])
@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_failed_run_makes_the_largest_difference(bad: float, better: str, sign: int):
    first = {0: bad, 1: 1.0, 2: 2.0, 3: bad}
    second = {0: 0.5, 1: 1.5, 2: 2.2, 3: bad}
    found = paired_test(first, second, seed=0, statistic="rank", better=better)
    # Seed 0 has rank 3, seeds 1 and 2 have -2 and -1; seed 3 is a tie.
    assert found.statistic == pytest.approx((3 * sign - 2 - 1) / 6)
    assert (found.pairs, found.ties, found.failed) == (4, 1, 2)


@pytest.mark.parametrize("better", ["higher", "lower"])
@pytest.mark.parametrize("seed", range(3))
def test_probability_of_improvement_is_mann_whitney(seed: int, better: str):
    draw = np.random.default_rng(seed)
    here, there = draw.integers(8, size=9).astype(float), draw.integers(8, size=6).astype(float)
    found = improvement(here, there, better=better, seed=0, resamples=50)
    u = scipy.stats.mannwhitneyu(*((here, there) if better == "higher" else (there, here))).statistic
    assert found.value == pytest.approx(u / 54)
    assert (found.n, found.failed) == (15, 0)
    assert found.method == "probability of improvement, percentile bootstrap, 50 resamples"


def test_the_interval_of_an_improvement_enumerated():
    here, there = [1.0, 4.0], [0.0, 2.0, 3.0]
    every = [
        np.mean([(x > y) + 0.5 * (x == y) for x in xs for y in ys])
        for xs in itertools.product(here, repeat=2)
        for ys in itertools.product(there, repeat=3)
    ]
    found = improvement(here, there, better="higher", seed=3, confidence=0.7, resamples=50_000)
    exact = np.quantile(every, [0.15, 0.85], method="inverted_cdf")
    assert found.value == pytest.approx(4 / 6)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx(tuple(exact))


def test_many_runs_are_drawn_otherwise_and_come_to_the_same():
    """Of 100 runs the counts are drawn together, of 101 each run by itself."""
    here, there = two_cells(1, 101)
    few, many = (improvement(here[:n], there[:n], better="higher", seed=0, resamples=20_000) for n in (100, 101))
    assert few.interval is not None
    assert many.interval is not None
    for one, other in ((few.interval.low, many.interval.low), (few.interval.high, many.interval.high)):
        assert one == pytest.approx(other, abs=0.01)


def test_the_interval_of_an_improvement_against_scipy():
    here, there = two_cells(6, 12)

    def share(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return (np.swapaxes(x[..., None], axis, axis) > y[..., None, :]).mean(axis=(-2, -1))

    expected = scipy.stats.bootstrap(
        (here, there), share, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    found = improvement(here, there, better="higher", seed=2, resamples=20_000)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((expected.low, expected.high), abs=0.015)
    assert found == improvement(here, there, better="higher", seed=2, resamples=20_000)
    assert found.interval != improvement(here, there, better="higher", seed=3, resamples=200).interval


def test_an_improvement_over_failed_runs():
    found = improvement([0.1, NAN], [0.2, INF], better="lower", seed=0)
    # 0.1 beats both. The failed run loses to 0.2 and ties with the other failed run.
    assert (found.value, found.failed, found.n) == ((1 + 1 + 0 + 0.5) / 4, 2, 4)


def test_an_improvement_without_exception_or_with_a_single_run():
    found = improvement([1, 2, 3], [0, 0, 0], better="higher", seed=0)
    assert found.interval is not None
    assert (found.value, found.interval.low, found.interval.high) == (1.0, 1.0, 1.0)
    single = improvement([1.0], [0.0, 2.0], better="higher", seed=0)
    assert single == Estimate(0.5, None, 3, 0, "probability of improvement; a single run gives no interval")


@pytest.mark.parametrize("seed", range(5))
def test_holm_against_statsmodels(seed: int):
    draw = np.random.default_rng(seed)
    given = np.round(draw.beta(0.5, 3, size=1 + 3 * seed), 2)
    expected = multipletests(given, method="holm")[1]
    assert holm(given) == pytest.approx(expected, abs=1e-12)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.7, 0.6]) == (1.0, 1.0)
    assert holm([]) == ()


@pytest.mark.parametrize(
    ("first", "second", "settings", "message"),
    [
        ({0: 1.0}, {1: 1.0}, {}, "`second` must have a seed of the first, got none of 1 in 1"),
        (
            {0: 1.0},
            {0: NAN},
            {},
            "`statistic` must be rank where values are not finite, got 'mean' and a value of nan",
        ),
        ({0: 1}, {0: INF}, {"statistic": "rank"}, "`second` must be finite where `better` is not given, got inf"),
        ({0: 1}, {0: 1}, {"statistic": "t"}, "`statistic` must be mean or rank, got 't'"),
        ({0: 1}, {0: 1}, {"better": "up"}, "`better` must be higher or lower, got 'up'"),
        ({0: 1}, {0: 1}, {"draws": 0}, "`draws` must be >= 1, got 0"),
        ({0: 1}, {0: 1}, {"seed": -3}, "`seed` must be >= 0, got -3"),
    ],
)
def test_bad_pairs(first: Mapping[int, float], second: Mapping[int, float], settings: dict[str, object], message: str):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        paired_test(first, second, **{"seed": 0} | settings)  # pyright: ignore[reportArgumentType]
    assert str(error.value) == message


def test_other_bad_input():
    with pytest.raises(
        ValueError, match=r"^`second` must have at least one value, in one dimension, got shape \(0,\)$"
    ):
        improvement([1.0], [], better="lower", seed=0)
    with pytest.raises(ValueError, match=r"^`better` must be higher or lower, got 'best'$"):
        improvement([1.0], [1.0], better="best", seed=0)
    with pytest.raises(ValueError, match=r"^`confidence` must be > 0 and < 1, got 1.5$"):
        improvement([1.0], [1.0], better="lower", seed=0, confidence=1.5)
    for bad in (1.5, -0.1, NAN):
        with pytest.raises(ValueError, match=rf"^`p_values` must be >= 0 and <= 1, got {bad}$"):
            holm([0.5, bad])
