"""What several commands share: the folders that they start from, and how they complain."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

RUNS, FIGURES = Path("results", "runs"), Path("results", "figures")
"""Where runs and figures are if nothing else is said."""
PAGE = Path("results", "README.md")
"""The page of results that is made of records."""
FORMATS = ("terminal", "markdown", "latex", "html", "csv")


def complain(command: str, damaged: Sequence[ValueError]) -> int:
    """Say what is damaged; the exit code."""
    for error in damaged:
        print(f"bench {command}: {error}", file=sys.stderr)
    return 1 if damaged else 0


def fail(command: str, message: str) -> int:
    """Say what is wrong with the command line; the exit code."""
    print(f"bench {command}: {message}", file=sys.stderr)
    return 2
