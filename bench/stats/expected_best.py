"""How good the best of n trials of a random search is expected to be, from the scores of N trials. Pure.

References:
    Dodge, Gururangan, Card, Schwartz & Smith 2019, "Show your work: improved reporting of experimental results", EMNLP,
    eq. 7: the expected best of n draws from the empirical distribution of the scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.stats.intervals import CONFIDENCE, Numbers, Seed

RESAMPLES = 2000


@dataclass(frozen=True)
class ExpectedBest:
    """The expected best score over the number of trials.

    Attributes:
        trials: 1 to N.
        values: The expected best of so many trials.
        low: Lower end of its interval.
        high: Upper end.
        confidence: Nominal coverage, in (0, 1).
        method: How estimate and interval were obtained.
    """

    trials: tuple[int, ...]
    values: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    confidence: float
    method: str


def expected_best(
    scores: Numbers, *, better: str, seed: Seed, confidence: float = CONFIDENCE, resamples: int = RESAMPLES
) -> ExpectedBest:
    """Return the expected best score of 1 to N trials, with a pointwise interval.

    The trials must be independent draws, as those of a random search are; those of a search that learns from earlier
    trials are not. The expectation is that of n draws, with replacement, from the N scores. The interval is the
    percentile bootstrap over trials. It knows no score better than the best one seen: for few trials of many it covers
    nearly its nominal confidence, and far less where n comes near N.

    Args:
        scores: The score of each trial, at least one, all finite.
        better: ``"higher"`` or ``"lower"``.
        seed: Of the bootstrap.
        confidence: In (0, 1).
        resamples: Number of samples of the bootstrap, at least 1.

    Raises:
        ValueError: A number is out of range, or a score is not finite.
    """
    values = np.asarray(scores, dtype=float)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"`scores` must be at least one finite number, got {values.tolist()}")
    if better not in ("higher", "lower"):
        raise ValueError(f"`better` must be one of higher, lower, got {better!r}")
    if not 0 < confidence < 1:
        raise ValueError(f"`confidence` must be > 0 and < 1, got {confidence}")
    if resamples < 1:
        raise ValueError(f"`resamples` must be >= 1, got {resamples}")
    count, sign = values.size, 1.0 if better == "higher" else -1.0
    # The best of n is at most the i-th worst score with probability (i / N)^n.
    below = (np.arange(count + 1)[:, None] / count) ** np.arange(1, count + 1)
    weights = np.diff(below, axis=0)
    rng = np.random.default_rng(seed)
    samples = np.sort(sign * values[rng.integers(count, size=(resamples, count))], axis=1) @ weights
    tails = np.quantile(samples, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    expected = sign * (np.sort(sign * values) @ weights)
    low, high = np.sort(sign * tails, axis=0)
    return ExpectedBest(
        tuple(range(1, count + 1)),
        tuple(expected.tolist()),
        tuple(low.tolist()),
        tuple(high.tolist()),
        confidence,
        f"expected best of n draws from the scores of {count} trials (Dodge et al. 2019), percentile bootstrap",
    )
