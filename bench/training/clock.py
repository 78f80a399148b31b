"""A clock that can be stopped: it adds up the wall time between its starts and its stops."""

from __future__ import annotations

import time


class Clock:
    """Adds up wall time.

    Args:
        seconds: Time that counts already, for example that of an earlier try.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self._before = seconds
        self._started: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds up to now, or up to the stop."""
        return self._before + (time.perf_counter() - self._started if self._started is not None else 0.0)

    def start(self) -> None:
        """Let time count from now on; of a clock that runs, the time since its last start is not counted."""
        self._started = time.perf_counter()

    def stop(self) -> None:
        """Let no more time count."""
        self._before = self.seconds
        self._started = None

    def add(self, seconds: float) -> None:
        """Count some time that was spent elsewhere."""
        self._before += seconds
