"""Numbers that describe a curve of gradient norms over lag: how far the gradient reaches, its rate, and its growth.

The module is pure and needs no torch. A curve is two sequences or arrays of one length: lags in steps, and at each lag
the norm of the gradient that arrives there, at least 0. The numbers compare cells where the curve is that of the
gradient with respect to the network's input: it lives in the same space for every cell, and it stays as it is when the
state is scaled, written in another basis, or spread over several parts. The rate alone means the same for the gradient
with respect to a state.

All is relative to the gradient near the answer, which is the largest norm at lags 0 to :data:`NEAR`. At lag 0 alone
the few dimensions of an input may happen to see little of the state.

A norm below the smallest normal number of the precision that it was computed in is an underflow: the true norm is
unknown, and no logarithm is taken of it. If a norm is not finite, every number that depends on it is ``None``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import starmap

import numpy as np

Curve = Sequence[int] | Sequence[float] | np.ndarray

NEAR = 4
"""The largest lag that counts as near the answer."""
SHARE = 0.01
"""Share of the gradient near the answer that must arrive for a lag to count as reached."""
FAR = 0.5
"""The rate is taken from this share of the largest lag at which a gradient arrives, up to that lag."""
FLOAT32, FLOAT64 = float(np.finfo(np.float32).tiny), float(np.finfo(np.float64).tiny)
"""The smallest normal number of a precision."""


@dataclass(frozen=True)
class Reach:
    """How far a gradient travels; ``None`` where a number does not exist.

    Attributes:
        reach: The largest lag up to which, at every lag of the curve from the largest norm near the answer on, at least
            :data:`SHARE` of that norm arrives. It is ``None`` if nothing arrives near the answer.
        farthest: The largest lag at all at which as much arrives. Where it is larger than ``reach``, there is a hole.
        lags: Number of lags of the curve, which ``reach`` rests on.
        rate: Slope of the least-squares line through log10 of the norms far from lag 0, see :data:`FAR`, in powers of
            ten a step; negative where the gradient vanishes.
        r_squared: Share of the variance of log10 that the line explains, in [0, 1]; 1 for a flat curve.
        points: Number of lags that the line was fitted to.
        growth: The largest norm over that near the answer, at least 1; above 1 the gradient grows on its way back.
        ratio: The norm at the largest lag over that near the answer.
        underflow: Share of the lags at which the norm is an underflow, in [0, 1].
    """

    reach: int | None
    farthest: int | None
    lags: int
    rate: float | None
    r_squared: float | None
    points: int
    growth: float | None
    ratio: float | None
    underflow: float


def reach(lags: Curve, norms: Curve, smallest: float = FLOAT64) -> Reach:
    """Return the numbers of one curve.

    Args:
        lags: The lags, in any order.
        norms: The norms at the lags.
        smallest: A smaller norm is an underflow, as if nothing arrived.

    Raises:
        ValueError: Lags and norms have different lengths, there are none, or a norm is negative.
    """
    if len(lags) != len(norms) or len(lags) == 0:
        raise ValueError(f"`norms` must have one value for each of at least one lag, got {len(norms)} for {len(lags)}")
    return reaches(np.zeros(len(lags), dtype=int), lags, norms, smallest)[0]


def reaches(curves: np.ndarray, lags: Curve, norms: Curve, smallest: float = FLOAT64) -> list[Reach]:
    """Return the numbers of many curves, which takes far less time than to ask for each.

    Args:
        curves: The number of the curve that each point belongs to. The points may be in any order.
        lags: The lag of each point.
        norms: The norm of each point.
        smallest: A smaller norm is an underflow.

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

    def most(values: np.ndarray) -> np.ndarray:
        return np.maximum.reduceat(values, starts)

    def least(values: np.ndarray) -> np.ndarray:
        return np.minimum.reduceat(values, starts)

    def spread(values: np.ndarray) -> np.ndarray:
        return np.repeat(values, lengths)

    def centred(values: np.ndarray) -> np.ndarray:
        return np.where(far, values - spread(total(np.where(far, values, 0.0)) / points), 0.0)

    near, last = most(np.where(lag <= NEAR, norm, 0.0)), norm[starts + lengths - 1]
    finite = np.logical_and.reduceat(np.isfinite(norm), starts)
    begins = finite & (near >= smallest)
    arrives = norm >= smallest
    far = arrives & (lag >= spread(FAR * most(np.where(arrives, lag, 0.0))))
    points = total(far.astype(int))
    # A number that does not exist may be computed, and is not shown.
    with np.errstate(all="ignore"):
        share = norm / spread(near)
        farthest = most(np.where(share >= SHARE, lag, -1.0))
        peak = least(np.where((lag <= NEAR) & (share == 1), lag, np.inf))
        hole = least(np.where((share < SHARE) & (lag > spread(peak)), lag, np.inf))
        unbroken = most(np.where((share >= SHARE) & (lag < spread(hole)), lag, -1.0))
        growth = most(share)
        x, y = centred(lag), centred(_log10(np.where(far, norm, 1.0)))
        rate = total(x * y) / total(x * x)
        left, whole = total(np.square(y - spread(rate) * x)), total(y * y)
        # Rounding alone leaves about 1e-16 of variance in each point of a flat curve.
        r_squared = np.where(whole <= points * 1e-24, 1.0, 1 - left / whole)
    fitted, always = finite & (points >= 2), np.full(len(starts), True)
    columns = (
        (unbroken.astype(int), begins),
        (farthest.astype(int), begins),
        (lengths, always),
        (rate, fitted),
        (r_squared, fitted),
        (points, always),
        (growth, begins),
        (last / np.where(begins, near, 1.0), begins),
        (1 - total(arrives.astype(int)) / lengths, always),
    )
    found = (
        [value if there else None for value, there in zip(*map(np.ndarray.tolist, each), strict=True)]
        for each in columns
    )
    return list(starmap(Reach, zip(*found, strict=True)))


def _log10(values: np.ndarray) -> np.ndarray:
    """Return logarithms that are the same on every processor; those of numpy have other last digits with AVX-512."""
    return np.fromiter(map(math.log10, values.tolist()), float, len(values))


def clipped_share(before: Curve, after: Curve) -> float | None:
    """Return the share of the training steps whose gradient the clip made smaller; ``None`` if there are no steps.

    Args:
        before: Gradient norm of every step before the clip.
        after: Gradient norm of every step after the clip.

    Raises:
        ValueError: The numbers of steps differ.
    """
    early, late = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    if early.shape != late.shape:
        raise ValueError(f"`after` must have a norm for each of {len(early)} steps, got {len(late)}")
    # Scaling by the norm meets the limit only up to rounding. The two norms of a gradient that the clip did not touch
    # may differ by rounding as well.
    return int(np.count_nonzero(late < early * (1 - 1e-6))) / len(early) if len(early) else None
