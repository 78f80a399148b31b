"""What a table is before it is written: entries in rows, with what stands above and below."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Entry:
    """What stands in one place: its lines, and whether they are the best of the row."""

    lines: tuple[str, ...] = ()
    best: bool = False


@dataclass(frozen=True)
class Grid:
    """A table, ready to be written.

    Attributes:
        caption: What it shows, where and how it was made.
        header: One text a column.
        rows: Entries, as many as columns.
        rules: Rows above which a new block begins.
        headings: What stands above a row, across all columns.
        notes: What a reader must know to read it.
        commands: For each mark, such as ``a``, the commands that make the runs it stands at.
        left: Columns set from the left; numbers are set from the right.
        wide: Width in characters of columns of words, by number; they are wrapped.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]
    rules: frozenset[int] = frozenset()
    headings: dict[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    commands: tuple[tuple[str, tuple[str, ...]], ...] = ()
    left: frozenset[int] = frozenset({0})
    wide: dict[int, int] = field(default_factory=dict)
