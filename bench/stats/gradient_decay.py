"""Numbers that describe a curve of gradient norms over lag: how fast the gradient decays and how far it reaches.

The module is pure and needs no torch. A curve is two sequences or arrays of one length: lags in steps, and at each lag
the norm of the gradient that arrives there, at least 0. A norm of 0 is an underflow: the true norm is smaller than the
smallest number the computer can represent. Such a lag counts as not reached, and no logarithm is taken of its norm. If
a norm is not finite, every number that depends on it is ``None``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Curve = Sequence[int] | Sequence[float] | np.ndarray

REACH = 0.01
"""Share of the gradient at lag 0 that must arrive for a lag to count as reached."""


@dataclass(frozen=True)
class Decay:
    """A straight line through log10 of the norms over lag.

    Attributes:
        rate: Slope, in powers of ten a step; negative where the gradient vanishes.
        r_squared: Share of the variance of log10 that the line explains, in [0, 1]. It is 1 for a flat curve, which a
            flat line fits exactly.
        points: Number of lags that the line was fitted to, which are those with a norm above 0.
    """

    rate: float
    r_squared: float
    points: int

    @property
    def e_folding_lag(self) -> float:
        """Steps over which the line falls by a factor of e; infinite where it does not fall."""
        return -1 / (self.rate * math.log(10)) if self.rate < 0 else math.inf


@dataclass(frozen=True)
class Reach:
    """How far a gradient travels, in the numbers that tables and logs show; ``None`` where a number does not exist.

    Attributes:
        horizon: See :func:`horizon`.
        rate: See :attr:`Decay.rate`.
        r_squared: See :attr:`Decay.r_squared`.
        e_folding_lag: See :attr:`Decay.e_folding_lag`.
        ratio: See :func:`ratio`.
        underflow: See :func:`underflow`.
    """

    horizon: int | None
    rate: float | None
    r_squared: float | None
    e_folding_lag: float | None
    ratio: float | None
    underflow: float


def reach(lags: Curve, norms: Curve) -> Reach:
    """Return all of this module's numbers for one curve.

    Raises:
        ValueError: See :func:`decay`.
    """
    curve = _curve(lags, norms)
    line = _decay(*curve)
    return Reach(
        horizon=_horizon(*curve, REACH),
        rate=line.rate if line else None,
        r_squared=line.r_squared if line else None,
        e_folding_lag=line.e_folding_lag if line else None,
        ratio=_ratio(*curve),
        underflow=_underflow(curve[1]),
    )


def decay(lags: Curve, norms: Curve) -> Decay | None:
    """Fit the least-squares line through log10 of the norms above 0; return ``None`` for fewer than two such norms.

    Raises:
        ValueError: Lags and norms have different lengths, there are none, or a norm is negative.
    """
    return _decay(*_curve(lags, norms))


def horizon(lags: Curve, norms: Curve, share: float = REACH) -> int | None:
    """Return the largest lag whose norm is at least ``share`` of the norm at lag 0; ``None`` if that is 0 or missing.

    Raises:
        ValueError: See :func:`decay`.
    """
    return _horizon(*_curve(lags, norms), share)


def ratio(lags: Curve, norms: Curve) -> float | None:
    """Return the norm at the largest lag over the norm at the smallest; ``None`` where the latter is 0.

    Raises:
        ValueError: See :func:`decay`.
    """
    return _ratio(*_curve(lags, norms))


def underflow(norms: Curve) -> float:
    """Return the share of the lags at which no gradient arrives, in [0, 1].

    Raises:
        ValueError: There are no norms.
    """
    return _underflow(_curve(norms, norms)[1])


def clipped_share(before: Sequence[float], after: Sequence[float]) -> float | None:
    """Return the share of the training steps whose gradient the clip made smaller; ``None`` if there are no steps.

    Args:
        before: Gradient norm of every step before the clip.
        after: Gradient norm of every step after the clip.

    Raises:
        ValueError: The numbers of steps differ.
    """
    pairs = list(zip(before, after, strict=True))
    # Scaling by the norm meets the limit only up to rounding. The two norms of a gradient that the clip did not touch
    # may differ by rounding as well.
    return sum(late < early * (1 - 1e-6) for early, late in pairs) / len(pairs) if pairs else None


def _curve(lags: Curve, norms: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Return lags and norms as arrays, checked as :func:`decay` says."""
    if len(lags) != len(norms) or len(lags) == 0:
        raise ValueError(f"`norms` must have one value for each of at least one lag, got {len(norms)} for {len(lags)}")
    values = np.asarray(norms, dtype=np.float64)
    if (values < 0).any():
        raise ValueError(f"`norms` must be >= 0, got {values[values < 0][0]}")
    return np.asarray(lags), values


def _decay(lags: np.ndarray, norms: np.ndarray) -> Decay | None:
    kept = norms > 0
    points = int(np.count_nonzero(kept))
    if points < 2 or not np.isfinite(norms).all():
        return None
    x, y = lags[kept].astype(np.float64), np.log10(norms[kept])
    x, y = x - x.sum() / points, y - y.sum() / points
    rate = float(x @ y / (x @ x))
    left, whole = float(np.square(y - rate * x).sum()), float(y @ y)
    # Rounding alone leaves about 1e-16 of variance in each point of a flat curve.
    flat = whole <= points * 1e-24
    return Decay(rate, 1.0 if flat else 1 - left / whole, points)


def _horizon(lags: np.ndarray, norms: np.ndarray, share: float) -> int | None:
    at_zero = norms[lags == 0]
    if not at_zero.size or not at_zero[0] or not np.isfinite(norms).all():
        return None
    return int(lags[norms >= share * at_zero[0]].max())


def _ratio(lags: np.ndarray, norms: np.ndarray) -> float | None:
    near, far = float(norms[lags.argmin()]), float(norms[lags.argmax()])
    return far / near if near > 0 and math.isfinite(near) and math.isfinite(far) else None


def _underflow(norms: np.ndarray) -> float:
    return (len(norms) - np.count_nonzero(norms)) / len(norms)
