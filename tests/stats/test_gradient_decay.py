"""Numbers that describe a curve of gradient norms, against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.stats.gradient_decay import clipped_share, reach, reaches

LAGS = list(range(101))


@pytest.mark.parametrize("factor", [0.5, 0.9, 0.999, 1.0, 1.1])
def test_a_power_law_of_the_step_is_a_straight_line(factor: float):
    norms = [3 * factor**lag for lag in LAGS]
    found = reach(LAGS, norms)
    assert found.rate == pytest.approx(math.log10(factor), abs=1e-12)
    assert found.r_squared == pytest.approx(1.0, abs=1e-9)
    expected = -1 / math.log(factor) if factor < 1 else math.inf
    assert found.e_folding_lag == pytest.approx(expected, rel=1e-9)
    assert found.ratio == pytest.approx(factor**100)
    # This is the largest lag with factor^lag >= 0.01.
    assert found.horizon == (100 if factor >= 1 else min(100, math.floor(math.log(0.01) / math.log(factor))))


def test_the_quality_of_a_fit():
    # y = log10 of the norms is 0, 2, 0, 2: the line through it explains a fifth of the variance.
    found = reach([0, 1, 2, 3], [1.0, 100.0, 1.0, 100.0])
    assert (found.rate, found.r_squared) == (pytest.approx(0.4), pytest.approx(0.2))


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
    lags = [16, 0, 4, 1]
    norms = [0.8**lag for lag in lags]
    found = reach(lags, norms)
    assert found.rate == pytest.approx(math.log10(0.8))
    assert found.ratio == pytest.approx(0.8**16)
    assert found.horizon == 16


def test_an_underflow_counts_and_takes_no_logarithm():
    norms = [1.0, 1e-20, 1e-40, 0.0]
    found = reach([0, 20, 40, 60], norms)
    assert found.underflow == 0.25
    assert found.rate == pytest.approx(-1.0)
    assert found.ratio == 0.0
    assert found.horizon == 0


@pytest.mark.parametrize("norms", [[0.0, 0.0], [0.0, 1.0]])
def test_where_nothing_reaches_lag_zero_there_is_no_horizon(norms: list[float]):
    found = reach([0, 1], norms)
    assert (found.horizon, found.rate, found.e_folding_lag, found.ratio) == (None, None, None, None)
    assert found.underflow == norms.count(0.0) / 2


def test_without_lag_zero_there_is_no_horizon():
    assert reach([1, 2], [1.0, 1.0]).horizon is None


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_norm_that_is_not_finite(bad: float):
    found = reach([0, 1, 2], [1.0, 0.5, bad])
    assert (found.horizon, found.rate, found.ratio) == (None, None, None)


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
