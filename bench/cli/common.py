"""What several commands share: the folders that they start from, and how they complain."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.analysis.names import Names

RUNS, FIGURES = Path("results", "runs"), Path("results", "figures")
"""Where runs and figures are if nothing else is said."""
PAGE = Path("results", "README.md")
"""The page of results that is made of records."""
FORMATS = ("terminal", "markdown", "latex", "html", "csv")
NOTES = ("below", "threeparttable", "none")
PICTURES = ("pdf", "png", "svg")
WIDTHS = (1, 2)


def complain(command: str, damaged: Sequence[ValueError]) -> int:
    """Say what is damaged; the exit code."""
    for error in damaged:
        print(f"bench {command}: {error}", file=sys.stderr)
    return 1 if damaged else 0


def fail(command: str, message: str) -> int:
    """Say what is wrong with the command line; the exit code."""
    print(f"bench {command}: {message}", file=sys.stderr)
    return 2


def listed_names(text: str) -> tuple[str, ...]:
    """Return the names that a comma separates, at least one."""
    found = tuple(name for name in text.split(",") if name)
    if not found:
        raise argparse.ArgumentTypeError(f"must name at least one, got {text!r}")
    return found


def key_and_values(text: str) -> tuple[str, tuple[str, ...]]:
    """Return a key with the values that a comma separates."""
    key, is_set, values = text.partition("=")
    if not is_set:
        raise argparse.ArgumentTypeError(f"must have the form KEY=VALUE,VALUE, got {text!r}")
    return key, listed_names(values)


def name_and_text(text: str) -> tuple[str, str]:
    """Return a name with what is to be shown in its place."""
    name, _, shown = text.partition("=")
    if not name or not shown.strip() or len(shown.splitlines()) > 1:
        raise argparse.ArgumentTypeError(f"must have the form NAME=TEXT, in one line, got {text!r}")
    return name, shown


def merged(pairs: Sequence[tuple[str, tuple[str, ...]]]) -> dict[str, tuple[str, ...]]:
    """Return the values of each key, of one given twice those of both."""
    found: dict[str, tuple[str, ...]] = {}
    for key, values in pairs:
        found[key] = (*found.get(key, ()), *values)
    return found


def names_given(parsed: argparse.Namespace) -> Names:
    """Return the names of ``--names``, with those of ``--name``, which win.

    Raises:
        ValueError: The file of ``--names`` cannot be read, or has another form.
    """
    from bench.analysis.names import Names, read_names

    found = read_names(parsed.names) if parsed.names is not None else Names()
    return found.joined(Names(loose=dict(parsed.name or ())))


def add_names(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say what cells, tasks, metrics and settings are called."""
    parser.add_argument(
        "--name", action="append", type=name_and_text, metavar="NAME=TEXT",
        help="what to call a cell, task, metric or key, as in lstm=LSTM",
    )  # fmt: skip
    parser.add_argument(
        "--names", type=Path, metavar="FILE", help="a YAML with names by kind: cells, tasks, metrics, keys"
    )
