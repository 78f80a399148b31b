"""A clock that can be stopped: it adds up the wall time between its starts and its stops."""

from __future__ import annotations

import time


class Clock:
    """A clock that adds up wall time.

    Args:
        seconds: Time that already counts, for example that of an earlier try.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self._before = seconds
        self._started: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds that have counted up to now, or up to the last stop."""
        return self._before + (time.perf_counter() - self._started if self._started is not None else 0.0)

    def start(self) -> None:
        """Start to count time; if the clock runs already, drop the time since its last start."""
        self._started = time.perf_counter()

    def stop(self) -> None:
        """Stop counting time."""
        self._before = self.seconds
        self._started = None

    def add(self, seconds: float) -> None:
        """Add time that was spent elsewhere."""
        self._before += seconds
