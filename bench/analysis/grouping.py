"""Grouping of runs: tasks as rows, cells as columns, and never two protocols in one place of a table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.analysis.hyperparameters import (
    code_of,
    differing,
    flat,
    hashable,
    protocol_of,
    settings_of,
    sortable,
    text,
    training_of,
)
from bench.records.record import FINAL, Record, probed


@dataclass(frozen=True)
class RunGroup:
    """One task with one protocol.

    Attributes:
        task: Name of the task.
        settings: The settings shown with the task, ``key=value``: the task's first one, and all that distinguish the
            row from other rows.
        runs: For each column label, its runs in the order of their seeds.
        uneven: Settings that differ between the cells of this row: ``key`` to the values by column label.
        marks: Remarks that the row needs where protocols are mixed.
    """

    task: str
    settings: tuple[str, ...]
    runs: dict[str, list[Record]]
    uneven: dict[str, dict[str, Any]]
    marks: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Task and settings in one line."""
        return ", ".join((self.task, *self.settings))

    @property
    def facts(self) -> Mapping[str, Any]:
        """Facts about the task, such as its metric and baselines, which all runs of a row share."""
        return next(iter(self.runs.values()))[0].task_facts


def arrange(records: Iterable[Record]) -> tuple[list[RunGroup], list[str]]:
    """Arrange a set of records into rows and columns.

    Runs that differ only in the seed share a place. Runs of one cell that differ in a setting of the cell get separate
    columns. Runs that differ in anything else get separate rows, labelled with what differs; where there are several
    protocols, the protocol comes first.

    Args:
        records: Records in any order; a run that is there twice counts once.

    Returns:
        Rows sorted by task and settings, and column labels in the order ``rnn``, ``lstm``, ``gru``, others by name.
    """
    unique = _unique(records)
    columns = _column_labels(unique)
    several = len({protocol_of(record) for record in unique}) > 1
    rows: list[RunGroup] = []
    for name in sorted({record.task for record in unique}):
        members = [record for record in unique if record.task == name]
        tasks = {record.run_id: flat(record.config["task"]) for record in members}
        rests = {record.run_id: training_of(record) for record in members}
        shown = differing(tasks.values())
        split = _splitting_keys(members, rests, tasks, columns)
        groups: dict[tuple[Any, ...], list[Record]] = {}
        for record in members:
            place = [hashable(tasks[record.run_id].get(key)) for key in shown]
            place += [protocol_of(record), *(hashable(rests[record.run_id].get(key)) for key in split)]
            groups.setdefault(tuple(place), []).append(record)
        for _, runs in sorted(groups.items(), key=lambda item: [sortable(value) for value in item[0]]):
            first = runs[0]
            settings = {key: tasks[first.run_id].get(key) for key in (*_leading(tasks[first.run_id]), *shown)}
            settings |= {"protocol": protocol_of(first)} if several else {}
            settings |= {key: rests[first.run_id].get(key) for key in split}
            rows.append(_row(name, settings, runs, columns, rests))
    labels = sorted(set(columns.values()), key=_column_order)
    return rows, labels


def arrange_by(
    records: Iterable[Record], rows: Sequence[str], columns: Sequence[str], *, mixed: bool
) -> tuple[list[RunGroup], list[str]]:
    """Arrange a set of records into rows and columns by the values of given keys.

    Args:
        records: Records in any order; a run that is there twice counts once.
        rows: Keys of :func:`settings_of` whose values make a row; runs of different tasks never share a row.
        columns: Keys whose values make a column.
        mixed: Whether runs that differ in something else may share a place, and several protocols a table; both are
        then
            marked.

    Raises:
        ValueError: There are such runs or several protocols, and ``mixed`` is not given.
    """
    unique = _unique(records)
    protocols = sorted({protocol_of(record) for record in unique})
    if len(protocols) > 1 and "experiment" not in (*rows, *columns) and not mixed:
        raise ValueError(f"`mixed` must be given for a table of several protocols, got {', '.join(protocols)}")
    groups: dict[tuple[Any, ...], list[Record]] = {}
    labels: dict[str, str] = {}
    for record in unique:
        settings = settings_of(record)
        groups.setdefault((record.task, *(hashable(settings.get(key)) for key in rows)), []).append(record)
        labels[record.run_id] = _label(columns, settings)
    found = []
    for _, runs in sorted(groups.items(), key=lambda item: [sortable(value) for value in item[0]]):
        shown = {key: value for key in rows if key != "task" and (value := settings_of(runs[0]).get(key)) is not None}
        rests = {record.run_id: training_of(record) for record in runs}
        row = _row(runs[0].task, {key.rpartition(".")[2]: value for key, value in shown.items()}, runs, labels, rests)
        found.append(_marked(row, rows, columns, protocols, mixed=mixed))
    return found, sorted(set(labels.values()), key=_column_order)


def _label(columns: Sequence[str], settings: Mapping[str, Any]) -> str:
    parts = [
        text(settings.get(key)) if key in ("cell", "task", "experiment") else f"{key.rpartition('.')[2]}={text(value)}"
        for key in columns
        if (value := settings.get(key)) is not None
    ]
    return " ".join(parts) or "all"


def _marked(
    row: RunGroup, rows: Sequence[str], columns: Sequence[str], protocols: list[str], *, mixed: bool
) -> RunGroup:
    """Return the row with a mark if its runs are of another protocol than others, or differ among themselves."""
    mixed_columns: dict[str, list[str]] = {}
    for label, runs in row.runs.items():
        different = [
            key
            for key in differing(settings_of(run) for run in runs)
            if key not in (*rows, *columns, "experiment", "budget")
        ]
        if different and not mixed:
            values = ", ".join(dict.fromkeys(text(settings_of(run).get(different[0])) for run in runs))
            raise ValueError(
                f"`mixed` must be given where runs of one place differ in {different[0]}, got {values}; "
                f"or name {different[0]} in rows or columns"
            )
        if different:
            mixed_columns.setdefault(", ".join(different), []).append(label)
    notes = [f"in one place runs that differ in {keys}: {', '.join(names)}" for keys, names in mixed_columns.items()]
    if len(protocols) > 1 and "experiment" not in (*rows, *columns):
        mine = sorted({protocol_of(run) for runs in row.runs.values() for run in runs})
        notes.append(f"protocol {', '.join(mine)}")
    # A setting that a column's label shows needs no note.
    uneven = {key: values for key, values in row.uneven.items() if key not in columns}
    return replace(row, uneven=uneven, marks=tuple(notes))


def _unique(records: Iterable[Record]) -> list[Record]:
    """Return one record for each run id: a record with a result, if there is one."""
    unique: dict[str, Record] = {}
    for record in records:
        held = unique.get(record.run_id)
        if held is None or (record.status in FINAL and held.status not in FINAL):
            unique[record.run_id] = record
    return list(unique.values())


def _row(
    task: str,
    settings: Mapping[str, Any],
    runs: list[Record],
    columns: Mapping[str, str],
    rests: Mapping[str, Mapping[str, Any]],
) -> RunGroup:
    by_column: dict[str, list[Record]] = {}
    for record in sorted(runs, key=lambda record: (_column_order(columns[record.run_id]), record.seed)):
        by_column.setdefault(columns[record.run_id], []).append(record)
    by_column = {label: _once_a_seed(members) for label, members in by_column.items()}
    uneven = {
        key: {label: rests[members[0].run_id].get(key) for label, members in by_column.items()}
        for key in differing(rests[record.run_id] for record in runs)
    }
    return RunGroup(task, tuple(f"{key}={text(value)}" for key, value in settings.items()), by_column, uneven)


def _once_a_seed(runs: list[Record]) -> list[Record]:
    """Return one run for each training; runs that differ only in their probes are one training.

    A run with a result, and with probes, stands for the others.
    """
    chosen: dict[tuple[Any, ...], Record] = {}
    for run in sorted(runs, key=lambda run: (run.status in FINAL, probed(run))):
        settings = ((key, value) for key, value in settings_of(run).items() if key not in ("experiment", "budget"))
        chosen[run.seed, tuple((key, hashable(value)) for key, value in sorted(settings))] = run
    return sorted(chosen.values(), key=lambda run: run.seed)


def _column_labels(records: list[Record]) -> dict[str, str]:
    """Return a column label for each run id: the cell's name, and what distinguishes it from others of that name."""
    labels = {}
    for name in {record.cell for record in records}:
        members = [record for record in records if record.cell == name]
        cells = {run.run_id: {**flat(run.config["cell"]), "code": code_of(run, cell=True)} for run in members}
        shown = differing(cells.values())
        for run_id, settings in cells.items():
            extra = [f"{key}={text(settings.get(key))}" for key in shown]
            labels[run_id] = " ".join((name, *extra))
    return labels


def _splitting_keys(
    records: list[Record],
    rests: Mapping[str, Mapping[str, Any]],
    tasks: Mapping[str, Mapping[str, Any]],
    columns: Mapping[str, str],
) -> list[str]:
    """Return the settings, beside the task's and the cell's, that differ between runs of one task and one column."""
    places: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for record in records:
        place = (
            columns[record.run_id],
            protocol_of(record),
            *sorted((k, hashable(v)) for k, v in tasks[record.run_id].items()),
        )
        places.setdefault(place, []).append(rests[record.run_id])
    return sorted({key for members in places.values() for key in differing(members)})


def _leading(task: Mapping[str, Any]) -> list[str]:
    """Return the task's first setting, which is always shown: its length or its delay."""
    return list(task)[:1]


def _column_order(label: str) -> tuple[int, tuple[str | float, ...]]:
    """Return a sort key that puts the three cells first and the others by name, and numbers in a label in order."""
    known = ("rnn", "lstm", "gru")
    name = label.split()[0]
    # Splitting gives texts and numbers in turn, so that texts are compared with texts and numbers with numbers.
    parts = re.split(r"((?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.]))", label)
    natural = tuple(float(part) if i % 2 else part for i, part in enumerate(parts))
    return (known.index(name) if name in known else len(known), natural)
