"""Kaplan-Meier, its median and the log-rank test against statsmodels, SciPy and a textbook example."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from statsmodels.duration.survfunc import SurvfuncRight, survdiff

from bench.stats.survival import chi_squared_tail, log_rank, median_time, survival

# Freireich et al. 1963, "The effect of 6-mercaptopurine on the duration of steroid-induced remissions in acute
# leukemia", in weeks; as in Klein and Moeschberger 2003, table 1.1.
TREATED = [6, 6, 6, 7, 10, 13, 16, 22, 23, 6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
TREATED_ENDED = [True] * 9 + [False] * 12
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]
PLACEBO_ENDED = [True] * 21


def random_runs(seed: int, n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Return times with ties, about a third of them censored; the last is censored."""
    draw = np.random.default_rng(seed)
    times = draw.integers(1, 20, size=n)
    solved = draw.random(n) < 0.65
    return np.append(times, 21), np.append(solved, False)


def test_the_textbook_curve():
    # Klein and Moeschberger 2003, table 4.1, has these values with Greenwood's standard errors.
    curve = survival(TREATED, TREATED_ENDED)
    assert curve.times == (6, 7, 10, 13, 16, 22, 23)
    assert curve.at_risk == (21, 17, 15, 12, 11, 7, 6)
    assert curve.solved == (3, 1, 1, 1, 1, 1, 1)
    assert curve.share == pytest.approx((0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448), abs=6e-4)
    assert (curve.last, curve.n, curve.confidence) == (35, 21, 0.95)


def test_the_textbook_medians():
    # Intervals on the log-log scale are those of SAS' LIFETEST and R's survfit(conf.type = "log-log").
    treated = median_time(TREATED, TREATED_ENDED)
    assert (treated.value, treated.low, treated.high, treated.n, treated.solved) == (23, 13, None, 21, 9)
    placebo = median_time(PLACEBO, PLACEBO_ENDED)
    assert (placebo.value, placebo.low, placebo.high, placebo.n, placebo.solved) == (8, 4, 11, 21, 21)
    assert placebo.method == "Kaplan-Meier median, Brookmeyer-Crowley on the log-log scale"


def test_the_textbook_log_rank_test():
    groups = ["6-MP"] * 21 + ["placebo"] * 21
    found = log_rank(TREATED + PLACEBO, TREATED_ENDED + PLACEBO_ENDED, groups)
    assert found.statistic == pytest.approx(16.793, abs=5e-4)
    assert found.p_value == pytest.approx(4.17e-5, abs=5e-8)
    assert found.expected == pytest.approx((19.25, 10.75), abs=5e-3)
    assert (found.degrees, found.groups, found.n, found.solved) == (1, ("6-MP", "placebo"), (21, 21), (9, 21))


@pytest.mark.parametrize("seed", range(6))
def test_the_curve_against_statsmodels(seed: int):
    times, solved = random_runs(seed)
    expected = SurvfuncRight(times, solved)
    curve = survival(times, solved, confidence=0.9)
    assert curve.times == tuple(expected.surv_times)
    assert curve.at_risk == tuple(expected.n_risk)
    assert curve.share == pytest.approx(expected.surv_prob, abs=1e-12)
    # The interval follows from the standard error on the scale of log(-log S), by the delta method.
    share, error = expected.surv_prob, expected.surv_prob_se
    half = scipy.stats.norm.ppf(0.95) * error / (share * -np.log(share))
    middle = np.log(-np.log(share))
    assert curve.low == pytest.approx(np.exp(-np.exp(middle + half)), abs=1e-12)
    assert curve.high == pytest.approx(np.exp(-np.exp(middle - half)), abs=1e-12)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize("seed", range(12))
def test_the_median_against_statsmodels(seed: int, confidence: float):
    times, solved = random_runs(seed, n=15 + seed)
    expected = SurvfuncRight(times, solved)
    low, high = expected.quantile_ci(0.5, alpha=1 - confidence, method="cloglog")
    found = median_time(times, solved, confidence=confidence)
    assert (found.low, math.inf if found.high is None else found.high) == (low, high)
    # statsmodels takes the first time with a share under 1/2.
    reached = not np.isclose(expected.surv_prob, 0.5).any()
    if reached:
        assert found.value == (None if math.isnan(expected.quantile(0.5)) else expected.quantile(0.5))


def test_a_median_where_exactly_half_have_solved():
    found = median_time([100, 200, 300, 400], [True, True, False, False])
    assert found.value == 200
    # The product of these shares is 1/2 except for rounding.
    times = list(range(1, 11))
    assert median_time(times, [True] * 10).value == 5
    assert median_time(times[:5] + [10] * 5, [True] * 5 + [False] * 5).value == 5


def test_a_median_that_is_not_reached():
    found = median_time([100, 600, 600], [True, False, False])
    assert (found.value, found.low, found.high, found.solved) == (None, 100, None, 1)
    nothing = median_time([600, 600, 600], [False, False, False])
    assert (nothing.value, nothing.low, nothing.high, nothing.n, nothing.solved) == (None, None, None, 3, 0)
    curve = survival([600, 600], [False, False])
    assert (curve.times, curve.share, curve.last) == ((), (), 600)


def test_a_curve_at_zero_has_no_interval_there():
    curve = survival([1, 2, 3], [True, True, True])
    assert curve.share == pytest.approx((2 / 3, 1 / 3, 0))
    assert (curve.low[2], curve.high[2]) == (None, None)
    single = median_time([7], [True])
    assert (single.value, single.low, single.high, single.n) == (7, None, None, 1)
    # An upper end takes seven runs.
    assert median_time(range(6), [True] * 6).high is None
    assert median_time(range(7), [True] * 7).high == 5


def test_censoring_at_a_time_at_which_others_solve():
    assert survival([5, 5, 9], [True, False, True]).at_risk == (3, 1)


def test_coverage_of_the_median_interval():
    # The times are exponential with median ln 2, cut off at 1.5; the nominal coverage is 95 %.
    draw = np.random.default_rng(3)
    covered = []
    for _ in range(400):
        times = draw.exponential(size=20)
        found = median_time(np.minimum(times, 1.5), times < 1.5)
        assert found.low is not None
        covered.append(found.low <= math.log(2) <= (math.inf if found.high is None else found.high))
    assert np.mean(covered) == pytest.approx(0.95, abs=0.035)


@pytest.mark.parametrize("groups", [2, 3, 5])
@pytest.mark.parametrize("seed", range(4))
def test_the_log_rank_test_against_statsmodels(seed: int, groups: int):
    times, solved = random_runs(seed, n=60)
    member = np.random.default_rng(seed + 100).integers(groups, size=len(times))
    statistic, p_value = survdiff(times, solved, member)
    found = log_rank(times, solved, member.tolist())
    assert found.statistic == pytest.approx(statistic, rel=1e-9)
    assert found.p_value == pytest.approx(p_value, rel=1e-9)
    assert not found.exact
    assert found.degrees == groups - 1
    assert sum(found.expected) == pytest.approx(sum(found.solved))


@pytest.mark.parametrize("seed", range(3))
def test_the_exact_log_rank_test_deals_the_runs_in_all_ways(seed: int):
    times, solved = random_runs(seed, n=9)
    n = len(times)
    whole = log_rank(times, solved, ["a"] * 4 + ["b"] * (n - 4))
    far = abs(whole.solved[0] - whole.expected[0])
    dealt = []
    for chosen in itertools.combinations(range(n), 4):
        each = log_rank(times, solved, ["a" if run in chosen else "b" for run in range(n)])
        place = each.groups.index("a")
        dealt.append(abs(each.solved[place] - each.expected[place]) >= far - 1e-9)
    assert whole.exact
    assert whole.p_value == pytest.approx(np.mean(dealt))


def test_the_least_p_is_that_of_the_number_of_runs():
    def p_value(one: int, other: int) -> float:
        flags = [True] * one + [False] * other
        return log_rank([100] * one + [500] * other, flags, ["a"] * one + ["b"] * other).p_value

    assert p_value(3, 3) == pytest.approx(2 / 20)
    assert p_value(6, 6) == pytest.approx(2 / 924)
    assert p_value(10, 10) == pytest.approx(2 / 184756)


def test_the_log_rank_test_by_hand():
    # At time 1, two of the four runs at risk are of group a: it expects 1/2, with variance 1/4. At time 2, one of three
    # is: 1/3 and 2/9.
    found = log_rank([1, 2, 3, 3], [True, True, False, False], ["a", "a", "b", "b"])
    assert found.expected == pytest.approx((1 / 2 + 1 / 3, 1 / 2 + 2 / 3))
    assert found.statistic == pytest.approx((2 - 5 / 6) ** 2 / (1 / 4 + 2 / 9))


def test_a_group_that_is_never_at_risk_takes_no_degree_of_freedom():
    times, solved = [4, 6, 8, 5, 7, 9], [True, True, False, True, True, True]
    two = log_rank(times, solved, list("aaabbb"))
    three = log_rank([1, *times], [False, *solved], list("caaabbb"))
    assert (three.statistic, three.degrees) == (pytest.approx(two.statistic), 1)
    assert (three.groups, three.expected[0]) == (("c", "a", "b"), 0.0)


@pytest.mark.parametrize(
    ("times", "solved"),
    [([5, 5, 5, 5], [False] * 4), ([5, 5, 5, 5], [True] * 4), ([1, 1, 5, 5], [False, False, True, True])],
)
def test_nothing_to_tell_apart(times: list[int], solved: list[bool]):
    found = log_rank(times, solved, ["a", "a", "b", "b"])
    assert (found.statistic, found.degrees, found.p_value) == (0.0, 0, 1.0)
    assert found.expected == pytest.approx(found.solved)


@pytest.mark.parametrize("degrees", range(1, 12))
def test_the_tail_of_chi_squared(degrees: int):
    for statistic in (0.0, 1e-9, 0.3, 1.0, 4.0, 17.0, 90.0, 1000.0):
        expected = scipy.stats.chi2.sf(statistic, degrees)
        assert chi_squared_tail(statistic, degrees) == pytest.approx(expected, rel=1e-10, abs=1e-300)


@pytest.mark.parametrize(
    ("times", "solved", "message"),
    [
        ([], [], "`times` must have at least one value, in one dimension, got shape (0,)"),
        ([1, 2], [True], "`solved` must have one flag for each of 2 times, got 1"),
        ([1.0, math.nan], [True, True], "`times` must be finite and >= 0, got nan"),
        ([1, -2], [True, True], "`times` must be finite and >= 0, got -2.0"),
    ],
)
def test_bad_runs(times: list[float] | list[int], solved: list[bool], message: str):
    for call in (
        lambda: survival(times, solved),
        lambda: median_time(times, solved),
        lambda: log_rank(times, solved, ["a", "b"]),
    ):
        with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
            call()
        assert str(error.value) == message


def test_bad_settings():
    with pytest.raises(ValueError, match=r"^`confidence` must be > 0 and < 1, got 1.0$"):
        median_time([1], [True], confidence=1.0)
    with pytest.raises(ValueError, match=r"^`groups` must have one entry for each of 2 runs, got 1$"):
        log_rank([1, 2], [True, True], ["a"])
    with pytest.raises(ValueError, match=r"^`groups` must name at least 2 groups, got 'a' alone$"):
        log_rank([1, 2], [True, True], ["a", "a"])
