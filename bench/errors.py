"""What all wings share: the request to stop; for messages, their width, the nearest name and a value as text."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable
from typing import Any

WIDTH = 80
"""Width of a terminal in characters."""


class StoppedError(BaseException):
    """A run, or the planning of runs, was asked to stop.

    This is not an ``Exception``, so that no handler of failures takes it for one.
    """


def is_stop(error: BaseException) -> bool:
    """Return whether an exception is a request to stop, and no fault of the code that raised it.

    Python's own handler of Ctrl-C raises ``KeyboardInterrupt``. Where another handler is in place, only a user's own
    code does so.
    """
    by_python = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return isinstance(error, StoppedError) or (isinstance(error, KeyboardInterrupt) and by_python)


def nearest(name: str, names: Iterable[str]) -> str:
    """Return ``", did you mean X?"`` for the most similar name, or nothing."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f", did you mean {close[0]}?" if close else ""


def one_of(value: Any, allowed: Iterable[str]) -> str:
    """Return ``one of A, B, got 'Bb', did you mean B?``, for a message about a value that is not allowed."""
    names = list(allowed)
    return f"one of {', '.join(names)}, got {shown(value)}{nearest(str(value), names)}"


def shown(value: Any) -> str:
    """Return a value in a message: in one line of at most 100 characters, texts in quotes, null and true as in YAML."""
    text = repr(value) if isinstance(value, str) else as_override(value)
    return " ".join(text.split())[:100]


def as_override(value: Any) -> str:
    """Return a setting as the command line and YAML have it, numbers with all their digits."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
