"""How much of the runs a page holds, and how numbers and steps are written in few characters. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

MOST_DRAWN = 1000
"""Number of runs up to which every run has lines of its own."""
MOST_POINTS, LEAST_POINTS = 80, 16
"""Number of points of a line, where there are few runs and where there are many."""
MOST_LOOKS, LEAST_LOOKS = 16, 4
"""Number of looks of the probes that the gradient is shown after."""
ALL_POINTS, ALL_LOOKS = 40_000, 800
"""Number of points of one kind of line, and of looks, that all lines of a page share."""
LAGS, LAGS_OF_RUN = 40, 24
"""Number of lags of a line of medians, and of a line of one run."""
GATE_STEPS = 40
"""Number of steps of the lines of the gates."""
DIGITS = 3
"""Significant digits of what is only drawn; a tenth of a percent is less than the width of a line."""

WHOLE = 1e6
"""Size up to which a whole number is written without a point."""


@dataclass(frozen=True)
class Detail:
    """How much of the runs a page holds, so that it stays small and opens at once.

    Attributes:
        seeds: Number of runs of one place of the table that have lines of their own; ``None`` for all of them.
        points: Number of points of a line over training steps.
        looks: Number of looks of the probes that the gradient is shown after, beside the one after training.
    """

    seeds: int | None
    points: int
    looks: int

    @classmethod
    def of(cls, runs: int, places: int) -> Detail:
        """Return what there is room for.

        Args:
            runs: Number of runs, at least 1.
            places: Number of places of the table, at least 1.
        """
        drawn = min(runs, MOST_DRAWN)
        return cls(
            None if runs <= MOST_DRAWN else max(2, MOST_DRAWN // places),
            min(MOST_POINTS, max(LEAST_POINTS, ALL_POINTS // drawn)),
            min(MOST_LOOKS, max(LEAST_LOOKS, ALL_LOOKS // places)),
        )


def evenly(count: int, most: int) -> list[int]:
    """Return up to ``most`` of the numbers from 0 to ``count - 1``, evenly apart, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return np.unique(np.linspace(0, count - 1, most).round().astype(int)).tolist()


def short(values: Iterable[float | int | None], digits: int = DIGITS) -> list[float | int | None]:
    """Return numbers with so many significant digits; ``None`` for one that is missing or not finite."""
    found: list[float | int | None] = []
    for value in values:
        if value is None or not math.isfinite(value):
            found.append(None)
            continue
        rounded = float(f"{value:.{digits}g}")
        found.append(int(rounded) if rounded.is_integer() and abs(rounded) < WHOLE else rounded)
    return found


def shorter(value: float | int | None, digits: int = DIGITS) -> float | int | None:
    """Return one number with so many significant digits; ``None`` if it is missing or not finite."""
    return short([value], digits)[0]


def differences(numbers: Sequence[int]) -> list[int]:
    """Return whole numbers as differences, each with how often it comes: 100, 200, 300, 350 is [100, 3, 50, 1]."""
    steps = (late - early for early, late in itertools.pairwise([0, *numbers]))
    return [each for step, group in itertools.groupby(steps) for each in (step, len(list(group)))]
