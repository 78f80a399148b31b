"""Grouping of runs: tasks as rows, cells as columns, and never two protocols in one place of a table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.analysis.hyperparameters import (
    code_of,
    differing,
    distinct,
    flat,
    hashable,
    once,
    sortable,
    text,
)
from bench.analysis.names import Names
from bench.analysis.run import Run
from bench.records.record import probed

NO_YEAR = 10_000
"""The year by which a cell without one is sorted."""
OWN_NAMES = Names()
"""Cells, tasks and settings as they are called where nothing else is asked for."""


@dataclass(frozen=True)
class RunGroup:
    """One task with one protocol.

    Attributes:
        task: What the task is called.
        settings: The settings shown with the task, ``key=value``: the task's first one, and all that distinguish the
            row from other rows.
        runs: For each column label, its runs in the order of their seeds.
        uneven: Settings that differ between the cells of this row: ``key`` to the values by column label.
        marks: Remarks that the row needs where protocols are mixed.
    """

    task: str
    settings: tuple[str, ...]
    runs: dict[str, list[Run]]
    uneven: dict[str, dict[str, Any]]
    marks: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Task and settings in one line."""
        return ", ".join((self.task, *self.settings))

    @property
    def facts(self) -> Mapping[str, Any]:
        """Facts about the task, such as its metric and baselines, which all runs of a row share."""
        return next(iter(self.runs.values()))[0].record.task_facts


def arrange(runs: Iterable[Run], names: Names = OWN_NAMES) -> tuple[list[RunGroup], list[str]]:
    """Arrange a set of runs into rows and columns.

    Runs that differ only in the seed share a place. Runs of one cell that differ in a setting of the cell get separate
    columns. Runs that differ in anything else get separate rows, labelled with what differs; where there are several
    protocols, the protocol comes first.

    Args:
        runs: Runs in any order; a run that is there twice counts once.
        names: What cells, tasks and settings are called; their order is that of their own names.

    Returns:
        Rows sorted by task and settings, and column labels: cells by the year in which they were published, those
        without a year after them by name.
    """
    unique = _unique(runs)
    unique = _by_column(unique, _column_labels(unique, OWN_NAMES), of_cells=True)
    columns = _column_labels(unique, names)
    several = len({run.protocol for run in unique}) > 1
    rows: list[RunGroup] = []
    for name in sorted({run.task for run in unique}):
        members = [run for run in unique if run.task == name]
        shown = differing(run.task_settings for run in members)
        split = _splitting_keys(members, columns)
        groups: dict[tuple[Any, ...], list[Run]] = {}
        for run in members:
            place = [hashable(run.task_settings.get(key)) for key in shown]
            place += [run.protocol, *(hashable(run.training.get(key)) for key in split)]
            groups.setdefault(tuple(place), []).append(run)
        for _, together in sorted(groups.items(), key=lambda item: [sortable(value) for value in item[0]]):
            first = together[0]
            # The first setting of the task, its length or its delay, is always shown.
            keys = (*list(first.task_settings)[:1], *shown)
            settings = {names.key(f"task.{key}", key): first.task_settings.get(key) for key in keys}
            settings |= {"protocol": first.protocol} if several else {}
            settings |= {names.key(key, key): first.training.get(key) for key in split}
            rows.append(_row(names.task(name), settings, together, columns))
    return rows, list(dict.fromkeys(columns[run] for run in unique))


def arrange_by(
    runs: Iterable[Run], rows: Sequence[str], columns: Sequence[str], *, mixed: bool, names: Names = OWN_NAMES
) -> tuple[list[RunGroup], list[str]]:
    """Arrange a set of records into rows and columns by the values of given keys.

    Args:
        runs: Runs in any order; a run that is there twice counts once.
        rows: Keys of :attr:`bench.analysis.run.Run.settings` whose values make a row; runs of different tasks never
            share a row.
        columns: Keys whose values make a column.
        mixed: Whether runs that differ in something else may share a place, and several protocols a table; both are
            then marked.
        names: What cells, tasks and settings are called; their order is that of their own names.

    Raises:
        ValueError: There are such runs or several protocols, and ``mixed`` is not given.
    """
    unique = _unique(runs)
    protocols = sorted({run.protocol for run in unique})
    if len(protocols) > 1 and "experiment" not in (*rows, *columns) and not mixed:
        raise ValueError(f"`mixed` must be given for a table of several protocols, got {', '.join(protocols)}")
    own = {run: _label(columns, run.settings, OWN_NAMES) for run in unique}
    unique = _by_column(unique, own, of_cells=list(columns[:1]) == ["cell"])
    labels = {run: _label(columns, run.settings, names) for run in unique}
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in unique:
        groups.setdefault((run.task, *(hashable(run.settings.get(key)) for key in rows)), []).append(run)
    found = []
    for _, together in sorted(groups.items(), key=lambda item: [sortable(value) for value in item[0]]):
        first = together[0]
        shown = {key: value for key in rows if key != "task" and (value := first.settings.get(key)) is not None}
        settings = {_short(key, names): value for key, value in shown.items()}
        row = _row(names.task(first.task), settings, together, labels)
        found.append(_marked(row, rows, columns, protocols, mixed=mixed, names=names))
    return found, list(dict.fromkeys(labels[run] for run in unique))


def _label(columns: Sequence[str], settings: Mapping[str, Any], names: Names) -> str:
    called = {"cell": names.cell, "task": names.task, "experiment": str}
    parts = [
        called[key](text(value)) if key in called else f"{_short(key, names)}={text(value)}"
        for key in columns
        if (value := settings.get(key)) is not None
    ]
    return " ".join(parts) or "all"


def _short(key: str, names: Names) -> str:
    return names.key(key, key.rpartition(".")[2])


def _marked(
    row: RunGroup, rows: Sequence[str], columns: Sequence[str], protocols: list[str], *, mixed: bool, names: Names
) -> RunGroup:
    """Return the row with a mark if its runs are of another protocol than others, or differ among themselves."""
    mixed_columns: dict[str, list[str]] = {}
    for label, runs in row.runs.items():
        different = [
            key
            for key in differing(run.settings for run in runs)
            if key not in (*rows, *columns, "experiment", "budget")
        ]
        if different and not mixed:
            values = ", ".join(dict.fromkeys(text(run.settings.get(different[0])) for run in runs))
            raise ValueError(
                f"`mixed` must be given where runs of one place differ in {different[0]}, got {values}; "
                f"or name {different[0]} in rows or columns"
            )
        if different:
            mixed_columns.setdefault(", ".join(names.key(key, key) for key in different), []).append(label)
    notes = [f"in one place runs that differ in {keys}: {', '.join(its)}" for keys, its in mixed_columns.items()]
    if len(protocols) > 1 and "experiment" not in (*rows, *columns):
        mine = sorted({run.protocol for runs in row.runs.values() for run in runs})
        notes.append(f"protocol {', '.join(mine)}")
    # A setting that a column's label shows needs no note.
    uneven = {key: values for key, values in row.uneven.items() if key not in columns}
    return replace(row, uneven=uneven, marks=tuple(notes))


def _unique(runs: Iterable[Run]) -> list[Run]:
    """Return one run for each run id: a run with a result, if there is one.

    A name of a YAML is no part of a run id. A cell or a task that has two names has the runs of both.
    """
    unique: dict[tuple[str, str, str], Run] = {}
    for run in runs:
        key = run.run_id, run.task, run.cell
        held = unique.get(key)
        if held is None or (run.has_result and not held.has_result):
            unique[key] = run
    return list(unique.values())


def _row(task: str, settings: Mapping[str, Any], runs: list[Run], columns: Mapping[Run, str]) -> RunGroup:
    members: dict[str, list[Run]] = {}
    for run in runs:
        members.setdefault(columns[run], []).append(run)
    by_column = {label: _once_a_seed(its) for label, its in members.items()}
    uneven = {
        key: {label: its[0].training.get(key) for label, its in by_column.items()}
        for key in differing(run.training for run in runs)
    }
    return RunGroup(task, tuple(f"{key}={text(value)}" for key, value in settings.items()), by_column, uneven)


def _once_a_seed(runs: list[Run]) -> list[Run]:
    """Return one run for each training; runs that differ only in their probes are one training.

    A run with a result, and with the most probes, stands for the others.
    """
    chosen: dict[tuple[Any, ...], Run] = {}

    def measured(run: Run) -> tuple[bool, bool, bool, int]:
        probe = run.record.config.get("probe", {})
        return run.has_result, probed(run.record), probe.get("inputs", False), probe.get("exponents", 0)

    for run in sorted(runs, key=measured):
        chosen[run.seed, run.stratum] = run
    return sorted(chosen.values(), key=lambda run: run.seed)


def _column_labels(runs: list[Run], names: Names) -> dict[Run, str]:
    """Return a column label for each run: the cell's name, and what distinguishes it from others of that name."""
    labels = {}
    for name in {run.cell for run in runs}:
        members = [run for run in runs if run.cell == name]
        cells = {run: once(_of_cell, run.record.config["cell"], code_of(run.record, cell=True)) for run in members}
        shown = differing(cells.values())
        called = {
            id(settings): " ".join(
                (names.cell(name), *(f"{names.key(f'cell.{key}', key)}={text(settings.get(key))}" for key in shown))
            )
            for settings in distinct(cells.values())
        }
        labels |= {run: called[id(settings)] for run, settings in cells.items()}
    return labels


def _of_cell(node: Mapping[str, Any], code: str) -> dict[str, Any]:
    return {**flat(node), "code": code}


def _splitting_keys(runs: list[Run], columns: Mapping[Run, str]) -> list[str]:
    """Return the settings, beside the task's and the cell's, that differ between runs of one task and one column."""
    places: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for run in runs:
        places.setdefault((columns[run], run.protocol, *once(_sorted, run.task_settings)), []).append(run.training)
    return sorted({key for members in places.values() for key in differing(members)})


def _sorted(settings: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted((key, hashable(value)) for key, value in settings.items())


def _by_column(runs: Iterable[Run], labels: Mapping[Run, str], *, of_cells: bool) -> list[Run]:
    """Sort runs by their column, and in it by their seed.

    Columns of cells come in the order in which the cells were published. All others, and cells without a year, come by
    name, with the numbers in a label in their order.
    """
    years: dict[str, int] = {}
    for run in runs:
        label, year = labels[run], run.record.cell_year if of_cells else None
        years[label] = min(years.get(label, NO_YEAR), NO_YEAR if year is None else year)
    places = {label: (year, _natural(label)) for label, year in years.items()}
    return sorted(runs, key=lambda run: (places[labels[run]], run.record.seed))


def _natural(label: str) -> tuple[str | float, ...]:
    """Split a label so that texts are compared with texts, and numbers, which come in turn with them, with numbers."""
    parts = re.split(r"((?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.]))", label)
    return tuple(float(part) if i % 2 else part for i, part in enumerate(parts))
