"""The run record: one folder a run, written whole or not at all, and all that tables and figures read.

A record is ``record.json`` (what was run, where, and how it ended) and ``curves.parquet`` (one row a step; a
published copy keeps some, see :mod:`bench.thinned`). Its folder is named by the run id, a hash of the scientific config
and of the code that computes: no clock in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from bench import thinned

SCHEMA = 1
"""Version of the record's layout; a reader refuses a newer one."""
RECORD_FILE = "record.json"
CURVES_FILE = "curves.parquet"

Status = Literal["completed", "diverged", "failed", "interrupted"]
FINAL: tuple[Status, ...] = ("completed", "diverged")
"""Statuses that are results; the others are worth another try."""


CLOCKS = ("eval_train_seconds",)
"""Columns of the curves that hold times: two equal runs differ in them."""


PROBES: dict[str, dict[str, pa.DataType]] = {
    "flow": {"step": pa.int32(), "layer": pa.int16(), "state": pa.string(), "lag": pa.int32(), "value": pa.float64()},
    "activity": {
        "step": pa.int32(), "layer": pa.int16(), "name": pa.string(), "statistic": pa.string(), "value": pa.float64(),
    },
    "gradients": {"step": pa.int32(), "parameter": pa.string(), "statistic": pa.string(), "value": pa.float64()},
}  # fmt: skip
"""What probes measure, a tidy table each, ``<name>.parquet`` beside the record, with the column ``run`` in front.

``step`` counts updates: 0 is the network as initialised. ``flow``: RMS over the probe batch of the norm of dL/dstate,
``lag`` steps before the first answer, ``layer`` from 1 at the input. ``activity``: statistics of a gate, or of the
hidden state (``name`` is ``h``). ``gradients``: of a parameter at one update, ``norm`` before the clip,
``norm_clipped`` after it, and ``update_ratio``, the norm of the update over that of the parameter.
"""


class DamagedRecordError(ValueError):
    """A record that cannot be read; the message names the file and what is wrong with it."""


class NewerRecordError(DamagedRecordError):
    """A record that is whole, but was written by a later version."""


@dataclass(frozen=True)
class Record:
    """What a run was and how it ended. Numbers that do not exist are ``None``.

    Attributes:
        run_id: Hash of the scientific config and the code; the folder's name.
        experiment: Name of the experiment, ``default`` for single runs.
        task: Name of the task.
        cell: Name of the cell.
        seed: The seed.
        status: ``completed``, ``diverged``, ``failed`` or ``interrupted``.
        reason: The status in words.
        traceback: Of a failed run.
        command: The command that makes this run.
        config: The resolved config.
        code: ``numerics``, the versions of the parts of the code that it used; and where these came from: package
            version, git commit, whether the checkout was dirty, hashes of the files, ``cell`` those of the cell and
            ``sources`` all others.
        libraries: Versions, Python's among them.
        device: Type and name of the device, and the machine.
        runtime: How the process was set up.
        model: Hidden size, engine, parameters, and the residual to a parameter budget.
        task_facts: What tables need to know of the task: its metric, whether higher is better, extra metrics, length,
            delay and baseline.
        solved: Whether the criterion was met three evaluations in a row.
        steps_to_solve: The first of these three evaluations.
        steps: Training steps made.
        metrics: ``eval`` (the last one) and ``test`` metrics.
        time: Seconds in all, in training and in probes, steps a second, milliseconds a step.
    """

    run_id: str
    experiment: str
    task: str
    cell: str
    seed: int
    status: Status
    reason: str
    traceback: str | None
    command: str
    config: dict[str, Any]
    code: dict[str, Any]
    libraries: dict[str, str]
    device: dict[str, str]
    runtime: dict[str, Any]
    model: dict[str, Any]
    task_facts: dict[str, Any]
    solved: bool
    steps_to_solve: int | None
    steps: int
    metrics: dict[str, dict[str, float | None]]
    time: dict[str, float | None]

    @property
    def code_versions(self) -> dict[str, str]:
        """Versions of the parts of the code that the run used, as far as they are not the first; see ``numerics``.

        Code of a user's, which has no number, is there as ``task``, ``cell`` or ``optimizer``. Files and commits are
        provenance: they make no run another one.
        """
        versions = self.code.get("numerics")
        if versions is not None:
            return {name: version for name, version in versions.items() if version != "1"}
        # From before there were versions: all that is ours was the first, all else was told apart by its files.
        files = {"task": ("tasks.", "sources"), "cell": ("bench.cells.", "cell")}
        targets = {name: str(self.config[name].get("_target_", "")) for name in files}
        return {name: self.code[file] for name, (ours, file) in files.items() if not targets[name].startswith(ours)}


def run_id(science: Mapping[str, Any], code_hash: str) -> str:
    """Twelve hexadecimal digits of SHA-256 over the scientific config and the hash of the code."""
    text = json.dumps({"science": science, "code": code_hash}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def run_folder(results_dir: Path, experiment: str, task: str, cell: str, identity: str) -> Path:
    """Where the record of a run lives."""
    return results_dir / "runs" / experiment / task / cell / identity


def curves_table(columns: Mapping[str, Sequence[float]], evaluations: Sequence[Mapping[str, int | float]]) -> pa.Table:
    """One row a step.

    Args:
        columns: Values of every step, from step 1, all of one length.
        evaluations: A row for each evaluation, with its ``step``; its other keys become columns ``eval_<name>``
            that are null at all other steps.

    Returns:
        A table with the columns ``step``, those of ``columns`` and those of ``evaluations``.
    """
    length = len(next(iter(columns.values())))
    data: dict[str, pa.Array] = {"step": pa.array(range(1, length + 1), pa.int32())}
    data |= {name: pa.array(values, pa.float32()) for name, values in columns.items()}
    for name in evaluations[0] if evaluations else ():
        if name != "step":
            sparse: list[float | None] = [None] * length
            for row in evaluations:
                sparse[int(row["step"]) - 1] = row[name]
            data[f"eval_{name}"] = pa.array(sparse, pa.float64())
    return pa.table(data)


def probe_table(name: str, run: str, rows: Iterable[Sequence[Any]]) -> pa.Table:
    """One table of :data:`PROBES`.

    Args:
        name: Which.
        run: The run's id.
        rows: Its rows, without the run.
    """
    rows = list(rows)
    columns = {key: pa.array([row[i] for row in rows], kind) for i, (key, kind) in enumerate(PROBES[name].items())}
    return pa.table({"run": pa.array([run] * len(rows), pa.string()), **columns})


def prepare(folder: Path) -> Path:
    """Make the folder in which a record is put together, beside its final place, before anything is trained.

    Raises:
        OSError: The place cannot be written to.
    """
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    return draft


def publish(draft: Path, folder: Path, record: Record, curves: pa.Table, probes: Mapping[str, pa.Table]) -> None:
    """Fill a draft and rename it into place, so that a final name never stands for half a record.

    Args:
        draft: See :func:`prepare`.
        folder: The final place.
        record: The record.
        curves: See :func:`curves_table`.
        probes: Tables of :data:`PROBES`, none if nothing was measured.
    """
    _write(draft / RECORD_FILE, json.dumps(_encodable(record), indent=1, allow_nan=False).encode())
    for name, table in {CURVES_FILE: curves, **{probe_file(name): probes[name] for name in probes}}.items():
        with (draft / name).open("wb") as file:
            pq.write_table(table, file, compression="zstd")
            os.fsync(file.fileno())
    move_into_place(draft, folder)


def move_into_place(draft: Path, folder: Path) -> None:
    """Give a filled draft its final name; a record that was there before goes."""
    if folder.exists():
        # A folder cannot be renamed onto a full one. The old one goes only when the new one is in place.
        old = draft.with_suffix(".old")
        folder.rename(old)
        draft.rename(folder)
        shutil.rmtree(old)
    else:
        draft.rename(folder)


def discard(draft: Path) -> None:
    """Remove a draft that will not become a record."""
    shutil.rmtree(draft, ignore_errors=True)


def recover(folder: Path) -> None:
    """Clear away what a killed process left beside a run; for the owner of the run's claim only.

    If it was killed between the two renames of :func:`publish`, the record that was there before comes back.
    """
    for old in folder.parent.glob(f".{folder.name}.*.old"):
        if folder.exists():
            shutil.rmtree(old)
        else:
            old.rename(folder)
    for draft in folder.parent.glob(f".{folder.name}.*.tmp"):
        if draft.is_dir():
            shutil.rmtree(draft)
        else:
            draft.unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Rename what is damaged, a record's folder or a file, so that nobody takes it for whole, and say to what."""
    number = 1
    while (aside := path.with_name(f".{path.name.lstrip('.')}.damaged-{number}")).exists():
        number += 1
    path.rename(aside)
    return aside


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; its folder is made.

    Raises:
        OSError: The place cannot be written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        _write(draft, content)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _encodable(record: Record) -> dict[str, Any]:
    """The record as JSON has it: a number that is not finite becomes null."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: clean(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [clean(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {"schema": SCHEMA, **clean(asdict(record))}


def read_record(folder: Path) -> Record:
    """Read the record of one folder.

    Raises:
        DamagedRecordError: It is not there, not readable, not complete, or of a newer schema.
    """
    path = folder / RECORD_FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise DamagedRecordError(f"{path}: not a readable record ({error})") from error
    if not isinstance(data, dict) or not isinstance(data.get("schema"), int):
        raise DamagedRecordError(f"{path}: `schema` must be an integer, got {type(data).__name__} without one")
    schema = data.pop("schema")
    if schema > SCHEMA:
        raise NewerRecordError(f"{path}: `schema` must be <= {SCHEMA} for this version, got {schema}")
    names = {field.name for field in fields(Record)}
    if odd := sorted(names ^ data.keys()):
        raise DamagedRecordError(f"{path}: keys missing or unknown: {', '.join(odd)}")
    _check_leaves(path, data)
    return Record(**data)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _is_scores(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_number, value.values()))


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_versions(value: Any) -> bool:
    return isinstance(value, dict) and _is_texts(list(value.values()))


def _is_name(value: Any) -> bool:
    """Whether it can name a folder, and no other than its own."""
    return isinstance(value, str) and re.fullmatch(r"\w[\w.-]*", value) is not None


def _is(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _or_null(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


_LEAVES: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("run_id", "experiment", "task", "cell"), (_is_name, "letters, digits, -, . and _")),
    **{name: (_is(str), "a text") for name in ("reason", "command")},
    "traceback": (_or_null(_is(str)), "a text or null"),
    "libraries": (_is_versions, "texts by name"),
    "time.wall_seconds": (_is_number, "a number or null"),
    "time.steps_per_second": (_is_number, "a number or null"),
    **{name: (_is(int), "an integer") for name in ("seed", "steps", "runtime.threads")},
    "solved": (_is(bool), "true or false"),
    "steps_to_solve": (_or_null(_is(int)), "an integer or null"),
    "model.parameters": (_or_null(_is(int)), "an integer or null"),
    "time.milliseconds_per_step": (_is_number, "a number or null"),
    "metrics.eval": (_is_scores, "numbers by name"),
    "metrics.test": (_is_scores, "numbers by name"),
    "task_facts.baselines": (_is_scores, "numbers by name"),
    "task_facts.metric": (_is(str), "a text"),
    "task_facts.higher_is_better": (_is(bool), "true or false"),
    "task_facts.extra_metrics": (_is_texts, "a list of texts"),
    **{name: (_is(str), "a text") for name in ("device.type", "device.name", "code.sources", "code.cell")},
    **{
        f"config.{section}": (_is(dict), "settings by name")
        for section in ("task", "cell", "model", "optimizer", "data", "training", "trainer")
    },
    "config.trainer.precision": (_is(str), "a text"),
}
"""What tables and figures rely on: dotted name, check, and the check in words."""


def _check_leaves(path: Path, data: dict[str, Any]) -> None:
    for name, (check, words) in _LEAVES.items():
        value: Any = data
        for key in name.split("."):
            if not isinstance(value, dict) or key not in value:
                raise DamagedRecordError(f"{path}: `{name}` must be {words}, and is not there")
            value = value[key]
        if not check(value):
            raise DamagedRecordError(f"{path}: `{name}` must be {words}, got {value!r}")
    if data["status"] not in get_args(Status):
        allowed = ", ".join(get_args(Status))
        raise DamagedRecordError(f"{path}: `status` must be one of {allowed}, got {data['status']!r}")


def check(folder: Path) -> Record:
    """Read the record of one folder, and make sure that a result has all its curves without reading them.

    Raises:
        DamagedRecordError: See :func:`read_record` and :func:`read_curves`.
    """
    made = read_record(folder)
    if made.status in FINAL:
        path = folder / CURVES_FILE
        with _opened(path) as file:
            rows, whole = file.metadata.num_rows, thinned.whole_of(file.schema_arrow)
        steps, kept = (rows, rows) if whole is None else (whole.rows, whole.kept)
        if steps != made.steps:
            raise DamagedRecordError(f"{path}: must have a row for each of {made.steps} steps, has {steps}")
        if rows != kept:
            raise DamagedRecordError(f"{path}: must have the {kept} rows kept of {steps} steps, has {rows}")
    if probed(made):
        for name in PROBES:
            with _parquet(folder / probe_file(name)):
                pass
    return made


def probe_file(name: str) -> str:
    """File name of a table of :data:`PROBES`."""
    return f"{name}.parquet"


def probed(made: Record) -> bool:
    """Whether a record comes with the tables of its probes."""
    return made.status in FINAL and bool(made.config.get("probe", {}).get("enabled"))


def read_probe(folder: Path, name: str) -> pa.Table:
    """Read one table of :data:`PROBES`; empty where nothing was measured.

    Raises:
        DamagedRecordError: It is not readable, or does not have the columns.
    """
    path = folder / probe_file(name)
    if not path.exists():
        return probe_table(name, "", [])
    with _parquet(path) as file:
        table = file.read()
    expected = pa.schema({"run": pa.string(), **PROBES[name]})
    if not table.schema.equals(expected):
        raise DamagedRecordError(f"{path}: must have the columns {', '.join(expected.names)}, and only those")
    return table


def read_curves(folder: Path) -> pa.Table:
    """Read the curves of one folder, whole or thinned.

    Raises:
        DamagedRecordError: They are not there, not readable, hold anything but numbers, or miss steps.
    """
    path = folder / CURVES_FILE
    with _opened(path) as file:
        curves = file.read()
    try:
        thinned.check_steps(curves)
    except ValueError as error:
        raise DamagedRecordError(f"{path}: {error}") from error
    return curves


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    with _parquet(path) as file:
        for column in file.schema_arrow:
            if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
                raise DamagedRecordError(f"{path}: `{column.name}` must be numbers, got {column.type}")
        try:
            thinned.whole_of(file.schema_arrow)
        except ValueError as error:
            raise DamagedRecordError(f"{path}: {error}") from error
        yield file


@contextlib.contextmanager
def _parquet(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (OSError, pa.ArrowException) as error:
        raise DamagedRecordError(f"{path}: not readable curves ({error})") from error


def find_records(root: Path) -> list[Path]:
    """Folders below ``root`` that hold a record, sorted; drafts are left out."""
    if not root.is_dir():
        return []
    folders = (path.parent for path in root.rglob(RECORD_FILE))
    return sorted(f for f in folders if not any(part.startswith(".") for part in f.relative_to(root).parts))


def read_all(root: Path) -> tuple[list[Record], list[DamagedRecordError]]:
    """All records below ``root``, and what is wrong with those that cannot be read."""
    records, damaged = [], []
    for folder in find_records(root):
        try:
            records.append(read_record(folder))
        except DamagedRecordError as error:
            damaged.append(error)
    return records, damaged
