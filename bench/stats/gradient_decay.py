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
from itertools import starmap

import numpy as np

Curve = Sequence[int] | Sequence[float] | np.ndarray

REACH = 0.01
"""Share of the gradient at lag 0 that must arrive for a lag to count as reached."""


@dataclass(frozen=True)
class Reach:
    """How far a gradient travels, in the numbers that tables and logs show; ``None`` where a number does not exist.

    Attributes:
        horizon: The largest lag whose norm is at least :data:`REACH` of the norm at lag 0. It is ``None`` if the latter
            is 0 or missing.
        rate: Slope of the least-squares line through log10 of the norms above 0, in powers of ten a step; negative
            where the gradient vanishes. It is ``None`` for fewer than two such norms.
        r_squared: Share of the variance of log10 that the line explains, in [0, 1]. It is 1 for a flat curve, which a
            flat line fits exactly.
        e_folding_lag: Steps over which the line falls by a factor of e; infinite where it does not fall.
        ratio: The norm at the largest lag over the norm at the smallest; ``None`` where the latter is 0.
        underflow: Share of the lags at which no gradient arrives, in [0, 1].
    """

    horizon: int | None
    rate: float | None
    r_squared: float | None
    e_folding_lag: float | None
    ratio: float | None
    underflow: float


def reach(lags: Curve, norms: Curve) -> Reach:
    """Return the numbers of one curve.

    Raises:
        ValueError: Lags and norms have different lengths, there are none, or a norm is negative.
    """
    if len(lags) != len(norms) or len(lags) == 0:
        raise ValueError(f"`norms` must have one value for each of at least one lag, got {len(norms)} for {len(lags)}")
    return reaches(np.zeros(len(lags), dtype=int), lags, norms)[0]


def reaches(curves: np.ndarray, lags: Curve, norms: Curve) -> list[Reach]:
    """Return the numbers of many curves, which takes far less time than to ask for each.

    Args:
        curves: The number of the curve that each point belongs to. The points may be in any order.
        lags: The lag of each point.
        norms: The norm of each point.

    Returns:
        The numbers of each curve that has points, by its number.

    Raises:
        ValueError: A norm is negative.
    """
    lag, norm = np.asarray(lags, dtype=float), np.asarray(norms, dtype=float)
    order = np.lexsort((lag, curves))
    curves, lag, norm = curves[order], lag[order], norm[order]
    if (norm < 0).any():
        raise ValueError(f"`norms` must be >= 0, got {norm[norm < 0][0]}")
    starts = np.flatnonzero(np.diff(curves, prepend=-1))
    lengths = np.diff(starts, append=len(curves))

    def total(values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values, starts)

    def centred(values: np.ndarray) -> np.ndarray:
        return np.where(kept, values - np.repeat(total(np.where(kept, values, 0.0)) / points, lengths), 0.0)

    kept = norm > 0
    points = total(kept.astype(float))
    finite = np.logical_and.reduceat(np.isfinite(norm), starts)
    at_zero, near, far = total(np.where(lag == 0, norm, 0.0)), norm[starts], norm[starts + lengths - 1]
    # A number that does not exist may be computed, and is not shown.
    with np.errstate(all="ignore"):
        reached = norm >= np.repeat(REACH * at_zero, lengths)
        horizon = np.maximum.reduceat(np.where(reached, lag, -1), starts).astype(int)
        x, y = centred(lag), centred(np.log10(np.where(kept, norm, 1.0)))
        rate = total(x * y) / total(x * x)
        left, whole = total(np.square(y - np.repeat(rate, lengths) * x)), total(y * y)
        # Rounding alone leaves about 1e-16 of variance in each point of a flat curve.
        r_squared = np.where(whole <= points * 1e-24, 1.0, 1 - left / whole)
        e_folding = np.where(rate < 0, -1 / (rate * math.log(10)), np.inf)
        ratio = far / near
    fitted = finite & (points >= 2)
    columns = (
        (horizon, finite & (at_zero > 0)),
        (rate, fitted),
        (r_squared, fitted),
        (e_folding, fitted),
        (ratio, (near > 0) & np.isfinite(near) & np.isfinite(far)),
        (1 - np.add.reduceat(norm != 0, starts) / lengths, np.full(len(starts), True)),
    )
    found = (
        [value if there else None for value, there in zip(*map(np.ndarray.tolist, each), strict=True)]
        for each in columns
    )
    return list(starmap(Reach, zip(*found, strict=True)))


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
