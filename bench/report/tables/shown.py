"""A table for somebody at a prompt or in a notebook, who asks for its form later."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.analysis.hyperparameters import as_text, listed
from bench.analysis.names import Names
from bench.analysis.run import Run, read_exponents
from bench.analysis.table import Spec, Table, read_spec
from bench.records.record import DamagedRecordWarning
from bench.report.tables.grid import Grid
from bench.report.tables.html import html_tables
from bench.report.tables.render import grids_below, grids_of, written


@dataclass(frozen=True, repr=False)
class ShownTable:
    """A table with what stands below it.

    Attributes:
        table: The table; ``table.number(row, column, metric)`` has its numbers in full.
        below: Tests between the columns and published claims, where these were asked for.
    """

    table: Table
    below: tuple[Grid, ...]

    def to_markdown(self) -> str:
        """Return it as a GitHub table."""
        return written(self.table, self.below, "markdown")

    def to_latex(self, *, standalone: bool = False) -> str:
        """Return it as LaTeX, for booktabs; as a whole document if that is asked for."""
        return written(self.table, self.below, "latex", standalone=standalone)

    def to_html(self) -> str:
        """Return it as a page that needs no other file."""
        return written(self.table, self.below, "html")

    def to_csv(self) -> str:
        """Return one line for each row, column and metric; what stands below is not part of it."""
        return written(self.table, (), "csv")

    def __str__(self) -> str:
        return written(self.table, self.below, "terminal")

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_tables([*grids_of(self.table, "html"), *self.below])


def table(
    runs: Iterable[Run],
    spec: str | None = None,
    *,
    where: Mapping[str, Any] | None = None,
    rows: str | Sequence[str] | None = None,
    columns: str | Sequence[str] | None = None,
    metrics: str | Sequence[str] | None = None,
    statistic: str | None = None,
    mixed: bool = False,
    compare: bool = False,
    published: bool = False,
    names: Mapping[str, str] | None = None,
    caption: str | None = None,
    label: str | None = None,
    notes: str | None = None,
    width: int | None = None,
) -> ShownTable:
    """Make the table of some runs, as ``bench table`` does with the flags of these names.

    Args:
        runs: The runs.
        spec: Name of a table of ``conf/table/``, or a file; what is given beside it wins over it.
        where: A value or a list of values for each setting that chooses runs.
        rows: Settings whose values make a row.
        columns: Settings whose values make a column.
        metrics: One makes a matrix of rows and columns, several make a block of lines for each row.
        statistic: ``median``, ``iqm`` or ``survival``, where a metric has it.
        mixed: Whether runs of different protocols may stand together, with a mark.
        compare: Whether tests between the columns follow.
        published: Whether published claims follow, with a verdict.
        names: What to call cells, tasks, metrics and keys, as in ``{"lstm": "LSTM"}``.
        caption: The caption, as it is typed, in place of ours; an empty one for none.
        label: What LaTeX refers to the table by.
        notes: ``below`` the table, ``threeparttable`` in LaTeX, or ``none``.
        width: For how many columns of a page of two LaTeX lays it out; for ``None``, for a page of one.

    Raises:
        ValueError: See :meth:`bench.analysis.table.Table.of` and :func:`bench.analysis.table.read_spec`.
    """
    begun = read_spec(spec) if spec is not None else Spec()
    wanted = begun.with_flags(
        where=None if where is None else {key: tuple(map(as_text, listed(value))) for key, value in where.items()},
        rows=None if rows is None else listed(rows),
        columns=None if columns is None else listed(columns),
        metrics=None if metrics is None else listed(metrics),
        statistic=statistic,
        mixed=mixed,
        compare=compare,
        published=published,
        names=begun.names.joined(Names(loose=names or {})),
        caption=caption,
        label=label,
        notes=notes,
        width=width,
    )
    made = Table.of(runs, wanted)
    for error in read_exponents(made.runs) if wanted.shows_exponents else ():
        warnings.warn(str(error), DamagedRecordWarning, stacklevel=2)
    return ShownTable(made, grids_below(made))
