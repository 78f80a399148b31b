"""A search for the longest delay that enough seeds solve, by doubling and bisection. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

Line = tuple[str, ...]
"""The overrides of a run but for its seed and for what is searched over."""


@dataclass(frozen=True)
class Bracket:
    """What is known of one line.

    Attributes:
        solved: The largest value that is known to be solved, ``None`` if there is none.
        unsolved: The smallest that is known not to be, ``None`` if there is none.
        next: The value to try next; ``None`` where the search has ended.
    """

    solved: int | None
    unsolved: int | None
    next: int | None


@dataclass(frozen=True)
class Search:
    """The ``sweep.search`` node of an experiment, checked.

    Attributes:
        keys: The settings searched over, such as ``task.length``. Each row has one of them, with the value to begin at.
        share: Share of the seeds that must solve, in (0, 1].
        least: The smallest value tried, at least 1.
        most: The largest value tried, at least ``least``.
        close: A number > 1. The search ends when the smallest value that is not solved is at most so many times the
            largest that is, or the next whole number.
    """

    keys: tuple[str, ...]
    share: float
    least: int
    most: int
    close: float

    def __post_init__(self) -> None:
        if not self.keys:
            raise ValueError("`sweep.search.keys` must be a list of at least one key, got []")
        if not 0 < self.share <= 1:
            raise ValueError(f"`sweep.search.share` must be > 0 and <= 1, got {self.share}")
        if not 1 <= self.least <= self.most:
            raise ValueError(f"`sweep.search.least` must be >= 1 and <= most ({self.most}), got {self.least}")
        if not (self.close > 1 and math.isfinite(self.close)):
            raise ValueError(f"`sweep.search.close` must be a finite number > 1, got {self.close}")

    def enough(self, solved: int, runs: int) -> bool:
        """Return whether so many of the runs are enough."""
        return solved >= self.share * runs - 1e-9

    def walk(self, start: int, outcome: Callable[[int], bool | None]) -> Bracket:
        """Follow the search as far as outcomes are known.

        The value doubles while it is solved, or halves while it is not; then the two ends close in on each other, each
        time at their geometric mean.

        Args:
            start: The first value.
            outcome: Whether a value is solved; ``None`` if it has not been tried.
        """
        solved: int | None = None
        unsolved: int | None = None
        value = start
        while (found := outcome(value)) is not None:
            solved, unsolved = (value, unsolved) if found else (solved, value)
            following = self._after(solved, unsolved)
            if following is None:
                return Bracket(solved, unsolved, None)
            value = following
        return Bracket(solved, unsolved, value)

    def _after(self, solved: int | None, unsolved: int | None) -> int | None:
        if unsolved is None:
            assert solved is not None
            return min(2 * solved, self.most) if solved < self.most else None
        if solved is None:
            return max(unsolved // 2, self.least) if unsolved > self.least else None
        if unsolved <= max(self.close * solved, solved + 1):
            return None
        return min(max(round(math.sqrt(solved * unsolved)), solved + 1), unsolved - 1)

    def split(self, job: Iterable[str]) -> tuple[Line, str, int]:
        """Cut the overrides of a run into those of its line, the key that is searched over, and its value.

        Raises:
            ValueError: The run has none of the keys, or more than one, or a value that is no whole number in the range.
        """
        pairs = [text.partition("=")[::2] for text in job]
        mine = [(key, value) for key, value in pairs if key in self.keys]
        if len(mine) != 1:
            raise ValueError(f"`sweep.search.keys` must name one key of every row, got {len(mine)} in {list(job)}")
        key, value = mine[0]
        if not value.isdigit() or not self.least <= int(value) <= self.most:
            raise ValueError(f"`{key}` must be a whole number from {self.least} to {self.most}, got {value}")
        line = tuple(f"{name}={text}" for name, text in pairs if name not in (key, "seed"))
        return line, key, int(value)

    def moved(self, job: Iterable[str], value: int) -> list[str]:
        """Return the overrides of a run at another value."""
        return [f"{name}={value}" if (name := text.partition("=")[0]) in self.keys else text for text in job]
