"""Which runs belong together: tasks as rows, cells as columns, and never two protocols in one cell of a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.record import FINAL, Record, probed

_SECTIONS = ("model", "optimizer", "data", "training")
"""What makes two trainings different; what was probed does not."""


@dataclass(frozen=True)
class Row:
    """One task with one protocol.

    Attributes:
        task: Name of the task.
        settings: The settings shown with it, ``key=value``: the task's first one, and whatever parts it from other
            rows.
        runs: For each column label, its runs in the order of their seeds.
        uneven: Settings that differ between the cells of this row, ``key`` to the values by column label.
    """

    task: str
    settings: tuple[str, ...]
    runs: dict[str, list[Record]]
    uneven: dict[str, dict[str, Any]]

    @property
    def label(self) -> str:
        """Task and settings in one line."""
        return ", ".join((self.task, *self.settings))

    @property
    def facts(self) -> Mapping[str, Any]:
        """The task's metric, baselines and so on, which all runs of a row share."""
        return next(iter(self.runs.values()))[0].task_facts


def arrange(records: Iterable[Record]) -> tuple[list[Row], list[str]]:
    """Rows and column labels for a set of records.

    Runs that differ in nothing but the seed share a place. Runs of one cell that differ in a setting of the cell get
    columns of their own, runs that differ in anything else get rows of their own, labelled with what differs.

    Args:
        records: In any order; a run that is there twice counts once.

    Returns:
        Rows sorted by task and settings, and column labels in the order ``rnn``, ``lstm``, ``gru``, others by name.
    """
    unique = _unique(records)
    columns = _column_labels(unique)
    rows: list[Row] = []
    for name in sorted({record.task for record in unique}):
        members = [record for record in unique if record.task == name]
        tasks = {record.run_id: _flat(record.config["task"]) for record in members}
        rests = {record.run_id: _rest(record) for record in members}
        shown = _differing(tasks.values())
        split = _splitting_keys(members, rests, tasks, columns)
        groups: dict[tuple[Any, ...], list[Record]] = {}
        for record in members:
            place = [_hashable(tasks[record.run_id].get(key)) for key in shown]
            place += [_hashable(rests[record.run_id].get(key)) for key in split]
            groups.setdefault(tuple(place), []).append(record)
        for _, runs in sorted(groups.items(), key=lambda item: [_sortable(value) for value in item[0]]):
            first = runs[0]
            settings = {key: tasks[first.run_id].get(key) for key in (*_leading(tasks[first.run_id]), *shown)}
            settings |= {key: rests[first.run_id].get(key) for key in split}
            rows.append(_row(name, settings, runs, columns, rests))
    labels = sorted(set(columns.values()), key=_column_order)
    return rows, labels


def _unique(records: Iterable[Record]) -> list[Record]:
    """One record for each run id: one with a result, if there is any."""
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
) -> Row:
    by_column: dict[str, list[Record]] = {}
    for record in sorted(runs, key=lambda record: (_column_order(columns[record.run_id]), record.seed)):
        by_column.setdefault(columns[record.run_id], []).append(record)
    by_column = {label: _once_a_seed(members) for label, members in by_column.items()}
    uneven = {
        key: {label: rests[members[0].run_id].get(key) for label, members in by_column.items()}
        for key in _differing(rests[record.run_id] for record in runs)
    }
    return Row(task, tuple(f"{key}={_text(value)}" for key, value in settings.items()), by_column, uneven)


def _once_a_seed(runs: list[Record]) -> list[Record]:
    """Runs that differ in their probes alone are one training; one with a result, and with probes, stands for it."""
    chosen: dict[int, Record] = {}
    for run in sorted(runs, key=lambda run: (run.status in FINAL, probed(run))):
        chosen[run.seed] = run
    return [chosen[seed] for seed in sorted(chosen)]


def _column_labels(records: list[Record]) -> dict[str, str]:
    """A column label for each run id: the cell's name, and what parts it from others of the name."""
    labels = {}
    for name in {record.cell for record in records}:
        members = [record for record in records if record.cell == name]
        cells = {record.run_id: {**_flat(record.config["cell"]), "code": record.code["cell"]} for record in members}
        shown = _differing(cells.values())
        for run_id, settings in cells.items():
            extra = [f"{key}={_text(settings.get(key))}" for key in shown]
            labels[run_id] = " ".join((name, *extra))
    return labels


def _splitting_keys(
    records: list[Record],
    rests: Mapping[str, Mapping[str, Any]],
    tasks: Mapping[str, Mapping[str, Any]],
    columns: Mapping[str, str],
) -> list[str]:
    """Settings, beside the task's and the cell's, that differ between runs of one task and one column."""
    places: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for record in records:
        place = (columns[record.run_id], *sorted((k, _hashable(v)) for k, v in tasks[record.run_id].items()))
        places.setdefault(place, []).append(rests[record.run_id])
    return sorted({key for members in places.values() for key in _differing(members)})


def _rest(record: Record) -> dict[str, Any]:
    """Everything but task, cell and seed that makes two runs different experiments."""
    settings: dict[str, Any] = {}
    for section in _SECTIONS:
        settings |= {f"{section}.{key}": value for key, value in _flat(record.config[section]).items()}
    # The engine that ran: "auto" is another one elsewhere.
    settings["model.engine"] = record.model.get("engine") or settings.get("model.engine")
    settings["optimizer"] = str(record.config["optimizer"].get("_target_", "")).rpartition(".")[2]
    settings["precision"] = record.config["trainer"]["precision"]
    settings["device"] = record.device["type"]
    held = ("threads", "flush_subnormals", "deterministic", "tf32")
    settings |= {f"runtime.{key}": record.runtime.get(key) for key in held}
    settings["code"] = record.code["sources"]
    return settings


def _flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested node as dotted keys; Hydra's own keys are left out."""
    flat: dict[str, Any] = {}
    for key, value in node.items():
        if key.startswith("_"):
            continue
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _differing(settings: Iterable[Mapping[str, Any]]) -> list[str]:
    """Keys that do not have the same value everywhere, sorted."""
    settings = list(settings)
    keys = {key for each in settings for key in each}
    return sorted(key for key in keys if len({_hashable(each.get(key)) for each in settings}) > 1)


def _leading(task: Mapping[str, Any]) -> list[str]:
    """The task's first setting, always shown: its length or its delay."""
    return list(task)[:1]


def _hashable(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple(sorted((str(key), str(item)) for key, item in value.items()))
    return tuple(_hashable(item) for item in value) if isinstance(value, list) else value


def _sortable(value: Any) -> tuple[bool, float, str]:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return (not number, float(value) if number else 0.0, str(value))


def _column_order(label: str) -> tuple[int, str]:
    known = ("rnn", "lstm", "gru")
    name = label.split()[0]
    return (known.index(name) if name in known else len(known), label)


def _text(value: Any) -> str:
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
