"""What a curve of gradient norms over lag says: how fast it decays, and how far it reaches. Pure, without torch.

A curve is two sequences of one length: lags in steps, and at each lag the norm of the gradient that arrives there, at
least 0. A norm of 0 is an underflow, smaller than the smallest number there is: it counts as unreached, and no
logarithm is taken of it. A norm that is not finite makes everything that depends on it ``None``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

REACH = 0.01
"""Share of the gradient at lag 0 that must arrive for a lag to count as reached."""


@dataclass(frozen=True)
class Decay:
    """A straight line through log10 of the norms over lag.

    Attributes:
        rate: Slope, in powers of ten a step; negative where the gradient vanishes.
        r_squared: Share of the variance of log10 that the line explains, in [0, 1]; 1 for a flat curve on a flat line.
        points: Lags the line was fitted to: those with a norm above 0.
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
    """How far a gradient travels, in the numbers that tables and logs show; ``None`` where there is no such number.

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


def reach(lags: Sequence[int], norms: Sequence[float]) -> Reach:
    """All of this module's numbers for one curve."""
    line = decay(lags, norms)
    return Reach(
        horizon=horizon(lags, norms),
        rate=line.rate if line else None,
        r_squared=line.r_squared if line else None,
        e_folding_lag=line.e_folding_lag if line else None,
        ratio=ratio(lags, norms),
        underflow=underflow(norms),
    )


def decay(lags: Sequence[int], norms: Sequence[float]) -> Decay | None:
    """The least-squares line through log10 of the norms above 0; ``None`` for fewer than two of them.

    Raises:
        ValueError: Lags and norms of different lengths, none at all, or a negative norm.
    """
    _check(lags, norms)
    kept = [(lag, math.log10(norm)) for lag, norm in zip(lags, norms, strict=True) if norm > 0]
    if len(kept) < 2 or not all(map(math.isfinite, norms)):
        return None
    x, y = np.array(kept, dtype=np.float64).T
    x, y = x - x.mean(), y - y.mean()
    rate = float(x @ y / (x @ x))
    left, whole = float(np.square(y - rate * x).sum()), float(y @ y)
    # Rounding alone leaves about 1e-16 of variance in each point of a flat curve.
    flat = whole <= len(kept) * 1e-24
    return Decay(rate, 1.0 if flat else 1 - left / whole, len(kept))


def horizon(lags: Sequence[int], norms: Sequence[float], share: float = REACH) -> int | None:
    """The largest lag whose norm is at least ``share`` of that at lag 0; ``None`` where that one is 0 or not there.

    Raises:
        ValueError: See :func:`decay`.
    """
    _check(lags, norms)
    at_zero = dict(zip(lags, norms, strict=True)).get(0)
    if not at_zero or not all(map(math.isfinite, norms)):
        return None
    return max(lag for lag, norm in zip(lags, norms, strict=True) if norm >= share * at_zero)


def ratio(lags: Sequence[int], norms: Sequence[float]) -> float | None:
    """The norm at the largest lag over that at the smallest; ``None`` where the latter is 0.

    Raises:
        ValueError: See :func:`decay`.
    """
    _check(lags, norms)
    by_lag = sorted(zip(lags, norms, strict=True))
    near, far = by_lag[0][1], by_lag[-1][1]
    return far / near if near > 0 and math.isfinite(near) and math.isfinite(far) else None


def underflow(norms: Sequence[float]) -> float:
    """Share of the lags at which nothing arrives, in [0, 1].

    Raises:
        ValueError: No norms.
    """
    _check(norms, norms)
    return sum(norm == 0 for norm in norms) / len(norms)


def clipped_share(before: Sequence[float], after: Sequence[float]) -> float | None:
    """Share of the training steps whose gradient the clip made smaller; ``None`` for no steps.

    Args:
        before: Gradient norm of every step before the clip.
        after: The same after the clip.

    Raises:
        ValueError: Different numbers of steps.
    """
    pairs = list(zip(before, after, strict=True))
    # Scaling by norm lands within rounding of the limit, and so may the norm of a gradient that was not touched.
    return sum(late < early * (1 - 1e-6) for early, late in pairs) / len(pairs) if pairs else None


def _check(lags: Sequence[int] | Sequence[float], norms: Sequence[float]) -> None:
    if len(lags) != len(norms) or not lags:
        raise ValueError(f"`norms` must have one value for each of at least one lag, got {len(norms)} for {len(lags)}")
    if negative := [norm for norm in norms if norm < 0]:
        raise ValueError(f"`norms` must be >= 0, got {negative[0]}")
