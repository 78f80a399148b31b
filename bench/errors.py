"""What messages about wrong values share: the nearest name, and a value as text. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


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
