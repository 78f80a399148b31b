"""Shares, medians and interquartile means against statsmodels, SciPy and cases small enough to enumerate."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
from statsmodels.stats.proportion import proportion_confint

from bench.stats.intervals import Estimate, Interval, interquartile_mean, median, success
from bench.stats.small_samples import least_pairs, no_width, too_few, two_groups

SAMPLE = [0.31, 0.42, 0.18, 0.77, 0.55, 0.29, 0.61, 0.48, 0.93, 0.36, 0.52]
NAN, INF = math.nan, math.inf


def ends(estimate: Estimate) -> tuple[float, float]:
    assert estimate.interval is not None
    return estimate.interval.low, estimate.interval.high


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("runs", [1, 3, 10, 50])
def test_the_wilson_interval(runs: int, confidence: float):
    for solved in range(runs + 1):
        found = success(solved, runs, confidence=confidence)
        expected = proportion_confint(solved, runs, alpha=1 - confidence, method="wilson")
        assert ends(found) == pytest.approx(expected, abs=1e-12)
        assert (found.value, found.n, found.method) == (solved / runs, runs, "share, Wilson score")


def test_the_wilson_interval_ends_at_what_is_possible():
    for runs in range(1, 60):
        assert ends(success(0, runs))[0] == 0.0
        assert ends(success(runs, runs))[1] == 1.0
        assert ends(success(0, runs))[1] > 0


def test_the_wilson_interval_covers_its_share_on_average():
    # The coverage, summed exactly over the outcomes and averaged over all shares, is close to nominal even for three
    # runs.
    shares = np.linspace(0.005, 0.995, 199)
    for runs in (3, 10):
        covered = np.zeros(len(shares))
        for solved in range(runs + 1):
            low, high = ends(success(solved, runs))
            covered += scipy.stats.binom.pmf(solved, runs, shares) * ((low <= shares) & (shares <= high))
        assert covered.mean() == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("n", range(1, 14))
def test_point_estimates(n: int):
    # SciPy cuts floor(n / 4) at each end too, whether or not 4 divides n.
    values = np.random.default_rng(n).normal(size=n)
    assert interquartile_mean(values, seed=0).value == pytest.approx(scipy.stats.trim_mean(values, 0.25), abs=1e-15)
    assert median(values, seed=0).value == pytest.approx(np.median(values), abs=1e-15)


def test_the_interquartile_mean_by_hand():
    assert interquartile_mean([100, 1, 2, 3, 4, 5, 6, -100], seed=0).value == 3.5
    assert interquartile_mean([9.0, 1.0, 2.0], seed=0).value == 4.0


def test_the_bootstrap_interval_is_that_of_scipy():
    def statistic(x: np.ndarray, axis: int) -> np.ndarray:
        return scipy.stats.trim_mean(x, 0.25, axis=axis)

    expected = scipy.stats.bootstrap(
        (SAMPLE,), statistic, n_resamples=20_000, method="percentile", rng=np.random.default_rng(7)
    ).confidence_interval
    found = interquartile_mean(SAMPLE, seed=8, resamples=20_000)
    assert ends(found) == pytest.approx((expected.low, expected.high), abs=0.012)
    assert found.method == "interquartile mean, percentile bootstrap, 20000 resamples"


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("n", [2, 3, 5, 6, 7, 8, 9, 10, 17, 30])
def test_the_interval_of_the_median_is_that_of_the_sign_test(n: int, confidence: float):
    values = np.random.default_rng(n).normal(size=n)
    expected = scipy.stats.quantile_test(values, p=0.5).confidence_interval(confidence)
    found = median(values, seed=0, confidence=confidence)
    # SciPy gives none where even the whole range covers less.
    whole = (values.min(), values.max())
    assert ends(found) == (whole if math.isnan(expected.low) else (expected.low, expected.high))
    assert found.method == "median, sign-test interval"


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.95])
def test_the_bootstrap_interval_of_three_values_enumerated(confidence: float):
    # All 27 resamples: the mean has the quantiles of its 27 values.
    every = np.array(list(itertools.product([1.0, 2.0, 5.0], repeat=3)))
    left = (1 - confidence) / 2
    exact = np.quantile(every.mean(axis=1), [left, 1 - left], method="inverted_cdf")
    found = interquartile_mean([5, 1, 2], seed=3, confidence=confidence, resamples=50_000)
    assert ends(found) == pytest.approx(tuple(exact))


def test_the_seed_decides_the_interval():
    function = interquartile_mean
    values = np.random.default_rng(0).normal(size=30)
    once, again, other = (function(values, seed=seed, resamples=200) for seed in (1, 1, 2))
    assert once == again
    assert once.interval != other.interval
    assert once.value == other.value
    assert function(values, seed=np.random.default_rng(1), resamples=200) == once
    running = np.random.default_rng(1)
    assert function(values, seed=running, resamples=200) == once
    assert function(values, seed=running, resamples=200) != once


def covered(function: Callable[..., Estimate], n: int, trials: int) -> float:
    """Return the share of samples of a skewed distribution whose interval covers what is estimated."""
    draw = np.random.default_rng(n)
    # Of an exponential distribution: its median, and the mean of its middle half.
    truth = math.log(2) if function is median else 1 + math.log(0.25) / 2 - 1.5 * math.log(0.75)
    intervals = [ends(function(draw.exponential(size=n), seed=draw, resamples=400)) for _ in range(trials)]
    return float(np.mean([low <= truth <= high for low, high in intervals]))


@pytest.mark.parametrize("n", [6, 7, 8, 10, 15])
def test_an_interval_of_the_median_that_says_95_percent_covers_as_much(n: int):
    # The tests allow three errors of the simulation.
    assert covered(median, n, 2000) >= 0.95 - 0.015


@pytest.mark.parametrize(("n", "share"), [(3, 0.75), (4, 0.875), (5, 0.9375)])
def test_of_fewer_values_the_range_covers_less(n: int, share: float):
    assert covered(median, n, 2000) == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize(("n", "share"), [(5, 0.90), (7, 0.92), (10, 0.935)])
def test_the_interval_of_the_interquartile_mean_covers_what_its_docstring_says(n: int, share: float):
    assert covered(interquartile_mean, n, 600) == pytest.approx(share, abs=0.035)


def test_strata_are_resampled_within():
    # Neither of the two tasks has a spread: resampling within them changes nothing, resampling over all of them does.
    values, tasks = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0], ["copy", "copy", "copy", "adding", "adding", "adding"]
    found = median(values, seed=0, strata=tasks)
    assert (found.value, ends(found)) == (0.5, (0.5, 0.5))
    assert found.method == "median, percentile bootstrap, 10000 resamples within 2 strata"
    assert ends(median(values, seed=0)) == (0.0, 1.0)


def test_strata_in_any_order_against_their_enumeration():
    # With 2 values of one task and 2 of another there are 16 resamples. The IQM of 4 values is the mean of the middle
    # two.
    every = [
        (a, b, c, d) for a, b in itertools.product([0, 4], repeat=2) for c, d in itertools.product([6, 7], repeat=2)
    ]
    statistic = np.sort(np.array(every), axis=1)[:, 1:3].mean(axis=1)
    exact = np.quantile(statistic, [0.1, 0.9], method="inverted_cdf")
    found = interquartile_mean([0, 6, 7, 4], strata=[1, 2, 2, 1], seed=1, confidence=0.8, resamples=20_000)
    assert ends(found) == pytest.approx(tuple(exact))
    assert found.value == 5.0


def test_a_single_value_has_no_interval():
    for function, name in ((median, "median"), (interquartile_mean, "interquartile mean")):
        found = function([0.25], seed=0)
        assert found == Estimate(0.25, None, 1, 0, f"{name}; a single value gives no interval")
    found = median([1.0, 2.0, 3.0], seed=0, strata=["a", "a", "b"])
    assert (found.interval, found.method) == (None, "median; a single value within 2 strata gives no interval")


@pytest.mark.parametrize(("better", "worst"), [("lower", INF), ("higher", -INF)])
@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_failed_runs_are_the_worst(bad: float, better: str, worst: float):
    one = median([0.1, bad, 0.3], seed=0, better=better)
    assert (one.value, one.n, one.failed) == (0.3 if better == "lower" else 0.1, 3, 1)
    assert worst in ends(one)
    two = median([bad, 0.1, bad], seed=0, better=better)
    assert (two.value, two.failed) == (worst, 2)
    every = interquartile_mean([bad] * 4, seed=0, better=better)
    assert (every.value, ends(every), every.failed) == (worst, (worst, worst), 4)


def test_a_failed_run_outside_the_middle_half_leaves_a_number():
    found = interquartile_mean([1.0, 2.0, 4.0, NAN], seed=0, better="lower")
    assert (found.value, found.failed) == (3.0, 1)
    assert ends(found)[1] == INF
    # The median of an even number of values lies between the worst number and a failed run.
    assert median([1.0, NAN], seed=0, better="lower").value == INF


def test_the_direction_does_not_matter_where_all_is_finite():
    assert median(SAMPLE, seed=0) == median(SAMPLE, seed=0, better="lower") == median(SAMPLE, seed=0, better="higher")


@pytest.mark.parametrize("function", [median, interquartile_mean])
@pytest.mark.parametrize(
    ("values", "settings", "message"),
    [
        ([], {}, "`values` must have at least one value, in one dimension, got shape (0,)"),
        (np.ones((2, 2)), {}, "`values` must have at least one value, in one dimension, got shape (2, 2)"),
        ([1.0, NAN], {}, "`values` must be finite where `better` is not given, got nan"),
        ([1.0], {"better": "up"}, "`better` must be higher or lower, got 'up'"),
        ([1.0], {"strata": ["a", "b"]}, "`strata` must have one entry for each of 1 values, got 2"),
        ([1.0], {"confidence": 1.5}, "`confidence` must be > 0 and < 1, got 1.5"),
        ([1.0], {"confidence": NAN}, "`confidence` must be > 0 and < 1, got nan"),
        ([1.0], {"resamples": 0}, "`resamples` must be >= 1, got 0"),
        ([1.0], {"seed": -1}, "`seed` must be >= 0, got -1"),
    ],
)
def test_bad_input(function: Callable[..., Estimate], values: list[float], settings: dict[str, object], message: str):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        function(values, **{"seed": 0} | settings)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0), "`runs` must be >= 1, got 0"),
        ((4, 3), "`solved` must be >= 0 and <= 3, got 4"),
        ((-1, 3), "`solved` must be >= 0 and <= 3, got -1"),
    ],
)
def test_impossible_shares(arguments: tuple[int, int], message: str):
    with pytest.raises(ValueError, match=f"^{message}$"):
        success(*arguments)
    with pytest.raises(ValueError, match=r"^`confidence` must be > 0 and < 1, got 0.0$"):
        success(1, 2, confidence=0.0)


@pytest.mark.parametrize(("alpha", "pairs"), [(0.05, 6), (0.1, 5), (0.01, 8), (0.25, 3), (0.5, 2), (0.05 / 6, 8)])
def test_the_least_number_of_pairs(alpha: float, pairs: int):
    assert least_pairs(alpha) == pairs
    assert 2 / 2**pairs <= alpha < 2 / 2 ** (pairs - 1)


def test_too_few_pairs_for_a_verdict():
    assert too_few(3) == "no verdict: the smallest p of 3 pairs is 0.25; p <= 0.05 takes at least 6"
    assert too_few(0, 0.1) == "no verdict: the smallest p of 0 pairs is 1; p <= 0.1 takes at least 5"
    assert too_few(6) is None
    assert too_few(6, 0.01) is not None
    with pytest.raises(ValueError, match=r"^`alpha` must be > 0 and < 1, got 0.0$"):
        too_few(3, 0.0)
    with pytest.raises(ValueError, match=r"^`pairs` must be >= 0, got -1$"):
        too_few(-1)


def test_an_interval_without_width():
    note = "all resamples of 3 values give 99.0: no spread was seen, which is not certainty"
    assert no_width(Estimate(99.0, Interval(99.0, 99.0, 0.95), 3, 0, "")) == note.replace("99.0", "99")
    assert no_width(median([99, 99, 99], seed=0)) == note.replace("99.0", "99")
    assert no_width(median([99, 98, 99], seed=0)) is None
    assert no_width(median([99], seed=0)) is None


def test_two_groups_of_outcomes():
    found = two_groups([0.168, 0.002, 0.166, 0.0031, 0.167])
    assert found is not None
    assert (found.low, found.high, found.below, found.above, found.failed) == (2, 3, 0.0031, 0.166, 0)
    within = (2 * 0.00055**2 + 2 * 0.001**2) / 3
    assert found.ratio == pytest.approx((0.166 - 0.0031) / math.sqrt(within))
    note = "two groups: 2 values <= 0.0031 and 3 >= 0.166; one number in the middle describes neither"
    assert found.note == note
    failed = two_groups([0.168, 0.002, 0.166, 0.0031, 0.167, NAN, INF])
    assert failed is not None
    assert (failed.failed, failed.ratio) == (2, found.ratio)
    assert failed.note == note.replace("0.166;", "0.166, 2 failed;")


@pytest.mark.parametrize("n", [4, 7, 20, 50])
def test_two_groups_are_found(n: int):
    # Fewer values determine the spread less well, so they need more standard deviations between the means.
    draw = np.random.default_rng(n)
    apart = {4: 40, 7: 14, 20: 11, 50: 11}[n]
    found = [two_groups(draw.normal(size=n) + apart * (np.arange(n) % 2)) for _ in range(100)]
    right = [groups for groups in found if groups is not None and (groups.low, groups.high) == (n - n // 2, n // 2)]
    assert len(right) >= 85


@pytest.mark.parametrize(
    "values",
    [
        [0.0, 0.0, 1.0],  # too few for two groups of two
        [0.0, 1.0, 1.1, 1.2, 0.9],  # one outlier is no group
        [1.0, 1.0, 1.0, 1.0],
        [0.0, NAN, 0.0, 1.0, INF],
        list(range(50)),
    ],
)
def test_one_group(values: list[float] | list[int]):
    assert two_groups(values) is None


def test_rounded_values_are_no_groups():
    steps = [500, 600, 500, 600, 600]
    groups = two_groups(steps)
    assert groups is not None
    assert groups.ratio == INF
    assert two_groups(steps, resolution=100) is None
    assert two_groups([500, 600, 5000, 5100, 500], resolution=100) is not None


@pytest.mark.parametrize(
    ("n", "normal", "uniform"), [(4, 0.03, 0.05), (8, 0.03, 0.05), (10, 0.005, 0.025), (20, 0.002, 0.002)]
)
def test_false_alarms_of_two_groups(n: int, normal: float, uniform: float):
    draw = np.random.default_rng(n)
    for sample, rate in ((draw.standard_normal, normal), (draw.random, uniform)):
        found = np.mean([two_groups(sample(n)) is not None for _ in range(1000)])
        # The bound allows three standard errors.
        assert found <= rate + 3 * math.sqrt(rate * (1 - rate) / 1000)


def test_bad_input_for_two_groups():
    with pytest.raises(ValueError, match=r"^`resolution` must be a finite number >= 0, got -1.0$"):
        two_groups([1.0], resolution=-1.0)
    with pytest.raises(ValueError, match="`values` must have at least one value"):
        two_groups([])
