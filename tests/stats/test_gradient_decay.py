"""Numbers that describe a curve of gradient norms, against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.stats.gradient_decay import FLOAT32, clipped_share, reach, reaches

LAGS = list(range(101))


@pytest.mark.parametrize("factor", [0.1, 0.5, 0.9, 0.999, 1.0, 1.1])
def test_a_power_of_the_lag(factor: float):
    norms = [3 * factor**lag for lag in LAGS]
    found = reach(LAGS, norms)
    assert found.rate == pytest.approx(math.log10(factor), abs=1e-12)
    assert found.r_squared == pytest.approx(1.0, abs=1e-9)
    assert (found.lags, found.points) == (101, 51)
    # Near the answer is up to lag 4, so that growth is measured from there.
    assert found.growth == pytest.approx(max(1.0, factor**96))
    assert found.ratio == pytest.approx(factor**100 if factor <= 1 else factor**96)
    # This is the largest lag with factor^lag >= 0.01.
    expected = 100 if factor >= 1 else min(100, math.floor(math.log(0.01) / math.log(factor) + 1e-9))
    assert (found.reach, found.farthest) == (expected, expected)


def test_the_scale_of_the_curve_does_not_matter():
    norms = [0.9**lag for lag in LAGS]
    one, other = reach(LAGS, norms), reach(LAGS, [1e-20 * norm for norm in norms])
    assert (one.reach, one.farthest, one.points) == (other.reach, other.farthest, other.points)
    assert (one.rate, one.growth, one.ratio) == pytest.approx((other.rate, other.growth, other.ratio))


def test_a_hole_ends_the_reach_and_is_told():
    found = reach(range(6), [1, 1e-9, 1e-9, 1e-9, 1e-9, 0.011])
    assert (found.reach, found.farthest) == (0, 5)


def test_a_small_gradient_at_lag_zero_alone_is_no_hole():
    found = reach(range(7), [0.005, 1, 0.9, 0.8, 0.7, 0.6, 0.5])
    assert (found.reach, found.farthest, found.growth) == (6, 6, 1.0)


@pytest.mark.parametrize("norms", [[1e-323, 0, 0], [0, 0, 0], [1e-40, 1e-41, 0]])
def test_of_zeros_and_subnormal_numbers_nothing_is_known(norms: list[float]):
    found = reach([0, 1, 2], norms, FLOAT32)
    assert (found.reach, found.farthest, found.growth, found.rate, found.ratio) == (None,) * 5
    assert found.underflow == 1.0


def test_the_quality_of_a_fit():
    # y = log10 of the norms is 0, 2, 0, 2: the line through it explains a fifth of the variance.
    found = reach([30, 31, 32, 33], [1.0, 100.0, 1.0, 100.0])
    assert (found.rate, found.r_squared, found.points) == (pytest.approx(0.4), pytest.approx(0.2), 4)


def test_the_rate_is_that_far_from_the_answer():
    norms = [10.0 ** -min(lag, 40) for lag in LAGS]
    assert reach(LAGS, norms).rate == pytest.approx(0.0, abs=1e-12)
    assert reach([0, 8, 32, 63], [1.0, 1e-8, 1e-3, 1e-4]).points == 2


def test_many_curves_have_the_numbers_that_each_has_alone():
    curves = {
        0: ([0, 1, 2, 5], [1.0, 0.5, 0.3, 0.02]),
        3: ([0], [2.0]),
        4: ([0, 1, 2], [1.0, math.inf, 0.1]),
        5: ([1, 2], [0.5, 0.25]),
        7: ([0, 4, 8], [0.0, 0.0, 1e-300]),
        8: ([0, 4, 8], [3.0, 3.0, 3.0]),
    }
    points = [(name, lag, norm) for name, curve in curves.items() for lag, norm in zip(*curve, strict=True)]
    names, lags, norms = zip(*points[::-1], strict=True)
    assert reaches(np.array(names), lags, norms) == [reach(*curve) for curve in curves.values()]


def test_the_order_and_the_choice_of_the_lags_do_not_matter():
    lags = [16, 0, 4, 12, 1]
    norms = [0.8**lag for lag in lags]
    found = reach(lags, norms)
    assert found.rate == pytest.approx(math.log10(0.8))
    assert found.ratio == pytest.approx(0.8**16)
    assert found.reach == 16


def test_an_underflow_counts_and_takes_no_logarithm():
    norms = [1.0, 1e-20, 1e-30, 1e-40, 0.0]
    found = reach([0, 20, 30, 40, 60], norms, FLOAT32)
    assert (found.underflow, found.points) == (0.4, 2)
    assert found.rate == pytest.approx(-1.0)
    assert (found.ratio, found.reach) == (0.0, 0)


def test_far_from_the_answer_alone_there_is_no_reach():
    found = reach([5, 6], [1.0, 1.0])
    assert (found.reach, found.growth, found.ratio) == (None, None, None)
    assert found.rate == 0.0


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_norm_that_is_not_finite(bad: float):
    found = reach([0, 1, 2], [1.0, 0.5, bad])
    assert (found.reach, found.rate, found.growth, found.ratio) == (None, None, None, None)


@pytest.mark.parametrize(
    ("lags", "norms", "message"),
    [
        ([], [], "`norms` must have one value for each of at least one lag, got 0 for 0"),
        ([0, 1], [1.0], "`norms` must have one value for each of at least one lag, got 1 for 2"),
        ([0, 1], [1.0, -1.0], "`norms` must be >= 0, got -1.0"),
    ],
)
def test_what_is_no_curve(lags: list[int], norms: list[float], message: str):
    with pytest.raises(ValueError, match=f"^{message}$"):
        reach(lags, norms)


def test_share_of_clipped_steps():
    assert clipped_share([2.0, 0.5, 1.0, 3.0], [1.0, 0.5, 1.0, 1.0]) == 0.5
    assert clipped_share([1.0], [1.0 - 1e-9]) == 0.0
    assert clipped_share([], []) is None
