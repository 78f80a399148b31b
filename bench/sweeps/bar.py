"""The one progress bar, of a run and of a sweep; where nobody looks at a terminal, a plain line now and then."""

from __future__ import annotations

import sys
import time

from tqdm.auto import tqdm

SECONDS_BETWEEN_REFRESHES = 0.4
SECONDS_BETWEEN_LINES = 30.0
FORMAT = "{desc} {percentage:.0f}% {bar}{postfix}"
"""Format of the bar; the line fits into 80 columns, because the bar itself shrinks down to one."""


class ProgressBar:
    """A bar on a terminal or in a notebook, and plain lines elsewhere.

    Args:
        total: Amount of work in all.
    """

    def __init__(self, total: int) -> None:
        # The kernel of a notebook has imported ipykernel.
        watched = sys.stderr.isatty() or "ipykernel" in sys.modules
        self._bar = (
            tqdm(total=total, bar_format=FORMAT, leave=False, dynamic_ncols=True, delay=1e-9) if watched else None
        )
        self._shown_at = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether enough time has passed since something was shown."""
        pause = SECONDS_BETWEEN_LINES if self._bar is None else SECONDS_BETWEEN_REFRESHES
        return time.monotonic() - self._shown_at >= pause

    def show(self, done: int | float, title: str, state: str, line: str) -> None:
        """Draw the bar, or print a line.

        Args:
            done: Amount of work done.
            title: Text in front of the bar.
            state: Text behind it.
            line: What stands for all of that where there is no bar.
        """
        self._shown_at = time.monotonic()
        if self._bar is None:
            print(line, file=sys.stderr, flush=True)
            return
        self._bar.n = done
        self._bar.set_description_str(title, refresh=False)
        self._bar.set_postfix_str(state, refresh=False)
        self._bar.refresh()

    def write(self, line: str) -> None:
        """Print a line that stays, above the bar."""
        if self._bar is not None:
            self._bar.clear()
        print(line, flush=True)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
