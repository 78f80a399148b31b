"""A table before it is written: entries in rows, and the words above and below them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Entry:
    """The content of one place: its lines, and whether it is the best of its row."""

    lines: tuple[str, ...] = ()
    best: bool = False


@dataclass(frozen=True)
class Grid:
    """A table, ready to be written.

    Attributes:
        caption: What the table shows, and where and how it was made.
        header: One text for each column.
        rows: Entries, as many as there are columns.
        rules: Numbers of the rows above which a new block begins.
        headings: Text above a row, across all columns.
        notes: What a reader must know to read the table.
        commands: For each mark, such as ``a``, the commands that make the runs of the marked row.
        left: Columns that are aligned to the left; numbers are aligned to the right.
        wide: Width in characters of the columns of words, by column number; their text is wrapped.
        typed: Whether the caption is the user's, to be written as it is.
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
    typed: bool = False
