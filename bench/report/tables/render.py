"""Runs to tables: every number with its interval, its n and what became of its runs; as text, or as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from bench.analysis import comparisons
from bench.analysis.grouping import RunGroup
from bench.analysis.metrics import (
    COSTS,
    SOLVED,
    UNFINISHED,
    best_of,
    counts_of,
)
from bench.analysis.run import Run
from bench.analysis.table import Spec, Table
from bench.errors import one_of
from bench.report.tables import captions, commands, formats
from bench.report.tables import claims as claims_table
from bench.report.tables.comparison import grid
from bench.report.tables.grid import Entry, Grid
from bench.report.tables.latex import Layout
from bench.report.tables.numbers import entry, number

FORMS = (*formats.FORMS, "csv")


def render(runs: Iterable[Run], form: str, spec: Spec | None = None, *, standalone: bool = False) -> str:
    """Return the table of a set of runs.

    Args:
        runs: At least one that is completed.
        form: ``terminal`` (80 columns), ``markdown``, ``latex``, ``html`` or ``csv``.
        spec: What it shows; nothing in particular gives every task and cell with the usual lines.
        standalone: Whether LaTeX is a whole document.

    Raises:
        ValueError: Another form, or a specification that does not fit the runs.
    """
    if form not in FORMS:
        raise ValueError(f"`form` must be {one_of(form, FORMS)}")
    table = Table.of(runs, spec or Spec())
    if form == "csv" and (table.spec.compare or table.spec.published):
        raise ValueError(
            "`format` must be another than csv for --compare or --published, which are tables of their own"
        )
    return written(table, grids_below(table), form, standalone=standalone)


def written(table: Table, below: Sequence[Grid], form: str, *, standalone: bool = False) -> str:
    """Write a table as text.

    Args:
        table: The table.
        below: See :func:`grids_below`; a CSV has no place for them.
        form: One of :data:`FORMS`.
        standalone: Whether LaTeX is a whole document.
    """
    if form == "csv":
        return _csv(table)
    layout = Layout(table.spec.label, table.spec.notes, table.spec.width, standalone)
    return formats.write([*grids_of(table, form), *below], form, layout)


def grids_of(table: Table, form: str) -> list[Grid]:
    """Lay a table out for a form, which is any but ``csv``."""
    if form == "terminal":
        return _terminal(table)
    narrow = form == "latex" and table.spec.width == 1
    return [_whole(table, headed=form in ("latex", "html"), stacked=narrow)]


def grids_below(table: Table) -> tuple[Grid, ...]:
    """Return the tests between its columns and the published claims, where the table is to have them.

    Raises:
        ValueError: There is nothing to compare, or no claim has runs.
    """
    compared = [grid(comparisons.compare(table.rows, table.spec.only), table.names)] if table.spec.compare else []
    claims = [claims_table.as_grid(claims_table.judge_all(table.runs))] if table.spec.published else []
    return tuple(each if _noted(table) else replace(each, notes=()) for each in (*compared, *claims))


def _noted(table: Table) -> bool:
    """Whether notes and commands stand below, and rows have the marks that these refer to."""
    return table.spec.notes != "none"


def _is_matrix(table: Table) -> bool:
    return table.spec.only is not None


def row_entries(table: Table, row: RunGroup, metric: str, columns: Sequence[str]) -> list[Entry]:
    """Return what stands in the columns of one line of a table."""
    numbers = [table.number(row, column, metric) for column in columns]
    best = best_of(numbers)
    metrics = table.metrics(row)
    # The table tells what became of the runs once: with the solved ones, if it shows these.
    counted = _is_matrix(table) or (SOLVED not in metrics and metric == metrics[0])
    return [
        # The cost of a network has no spread over seeds.
        entry(
            replace(each, low=None, high=None, better=None) if metric in COSTS and each else each,
            row.runs.get(column, []),
            counted=counted,
            best=i == best,
        )
        for i, (column, each) in enumerate(zip(columns, numbers, strict=True))
    ]


def _baseline(row: RunGroup, metric: str) -> Entry:
    value = row.facts["baselines"].get(metric)
    return Entry((number(value),)) if value is not None else Entry()


def _whole(table: Table, *, headed: bool, stacked: bool) -> Grid:
    """Put all rows into one grid: one line for each row with one metric, a block of lines for each row with several.

    Args:
        table: The table.
        headed: Whether a block's task stands above it, across all columns; otherwise it has its own column.
        stacked: Whether the baseline stands below the name of its metric, and has no column.
    """
    matrix = _is_matrix(table)
    headed = headed and not matrix
    rows: list[tuple[Entry, ...]] = []
    headings = {}
    for mark, row in _marked(table):
        headings[len(rows)] = _heading(row, mark)
        for metric in table.metrics(row):
            label = [] if headed else [Entry(_label(row, mark) if len(rows) in headings else ())]
            name = [] if matrix else [Entry((table.names.metric(metric),))]
            words_of, baseline = [*label, *name], _baseline(row, metric)
            if stacked:
                below = (f"baseline {text}" for text in baseline.lines)
                words_of, baseline = [*words_of[:-1], Entry((*words_of[-1].lines, *below))], Entry()
            rows.append((*words_of, baseline, *row_entries(table, row, metric, table.columns)))
    words = ["task"] * (not headed) + [""] * (not matrix)
    whole = Grid(
        caption=captions.caption(table),
        header=(*words, "baseline", *table.columns),
        rows=tuple(rows),
        rules=frozenset() if matrix else frozenset(headings),
        headings=headings if headed else {},
        notes=tuple(captions.notes(table)),
        commands=_commands(table),
        left=frozenset(range(len(words))),
        typed=table.spec.caption is not None,
    )
    return whole if any(row[len(words)].lines for row in rows) else _without(whole, len(words))


def _marked(table: Table) -> Iterable[tuple[str, RunGroup]]:
    """Return the rows, each with its mark as it is shown."""
    marks = (f" [{mark}]" if _noted(table) else "" for mark in captions.marks(table.rows))
    return zip(marks, table.rows, strict=True)


def _heading(row: RunGroup, mark: str) -> str:
    """Write task and settings in one line."""
    return f"{row.label}{mark}{captions.DAGGER if row.marks else ''}"


def _label(row: RunGroup, mark: str) -> tuple[str, ...]:
    """Write task and settings, one line each."""
    lines = (row.task, *row.settings)
    return (*lines[:-1], f"{lines[-1]}{mark}{captions.DAGGER if row.marks else ''}")


def _without(whole: Grid, column: int) -> Grid:
    """Return the grid without a column that is of no use."""
    rows = tuple((*row[:column], *row[column + 1 :]) for row in whole.rows)
    return replace(whole, header=(*whole.header[:column], *whole.header[column + 1 :]), rows=rows)


def _terminal(table: Table) -> list[Grid]:
    """Make grids for a terminal, where room is scarce.

    The baseline stands below the name of its metric, and every block is a separate grid.
    """
    matrix, blocks, lines = _is_matrix(table), [], []
    for mark, row in _marked(table):
        columns = table.columns if matrix else [column for column in table.columns if column in row.runs]
        for metric in table.metrics(row):
            name = _label(row, mark) if matrix else [table.names.metric(metric)]
            baseline = [f"baseline {text}" for text in _baseline(row, metric).lines]
            lines.append((Entry((*name, *baseline)), *row_entries(table, row, metric, columns)))
        if not matrix:
            blocks.append(Grid(_heading(row, mark), ("", *columns), tuple(lines)))
            lines = []
    if matrix:
        blocks = [Grid("", ("task", *table.columns), tuple(lines), frozenset(range(len(lines))))]
    words = tuple(text for text in (captions.caption(table), *captions.notes(table)) if text)
    return [*blocks, Grid("", (), (), notes=words, commands=_commands(table))]


def _commands(table: Table) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """For the mark of each row the commands that make it."""
    if not _noted(table):
        return ()
    made = (
        commands.merged(commands.command_of(run.record) for runs in row.runs.values() for run in runs)
        for row in table.rows
    )
    return tuple(zip(captions.marks(table.rows), map(tuple, made), strict=True))


def _csv(table: Table) -> str:
    """Write one line for each row, column and metric, with numbers in full."""
    lines: list[dict[str, Any]] = []
    for row in table.rows:
        for column in table.columns:
            if runs := row.runs.get(column):
                lines += [_csv_line(table, row, column, runs, metric) for metric in table.metrics(row)]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return buffer.getvalue()


def _csv_line(table: Table, row: RunGroup, column: str, runs: list[Run], metric: str) -> dict[str, Any]:
    shown, counts = table.number(row, column, metric), counts_of(runs)
    assert shown is not None
    return {
        "task": row.task,
        "settings": " ".join(row.settings),
        "column": column,
        "metric": table.names.metrics.get(metric, metric),
        "statistic": shown.statistic,
        "value": shown.value,
        "low": shown.low,
        "high": shown.high,
        "n": shown.n,
        "baseline": row.facts["baselines"].get(metric),
        "runs": len(runs),
        "solved": counts.solved,
        **{status: counts.unfinished.get(status, 0) for status in UNFINISHED},
        "max_steps": max(run.budget for run in runs),
        "protocol": "; ".join(sorted({run.protocol for run in runs})),
        "device": "; ".join(sorted({captions.machine_of(run) for run in runs})),
        "code": "; ".join(sorted({captions.code_of(run) for run in runs})),
        "command": "; ".join(commands.merged(commands.command_of(run.record) for run in runs)),
    }
