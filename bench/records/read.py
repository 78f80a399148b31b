"""Reading of records, their curves and probes; an error names the path of what is damaged."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from bench import shapes
from bench.records import older, thinning
from bench.records.record import (
    CURVES_FILE,
    FINAL,
    PREDICTIONS_FILE,
    RECORD_FILE,
    SCHEMA,
    DamagedRecordError,
    NewerRecordError,
    Record,
    predicted,
    probed,
)
from bench.records.series import CLASSES, PROBES, probe_file, probe_table
from bench.records.validation import MOST_LEVELS, RecordFile, RecordParts, check_together, readable

FEW_ROWS = 100_000
"""Number of rows up to which threads take longer to read a table than they save; tables of probes are always small."""
_PROBE_SCHEMAS = {name: pa.schema({"run": pa.string(), **columns}) for name, columns in PROBES.items()}


def read_record(folder: Path) -> Record:
    """Read the record of one folder.

    Records share the sections that are equal in them, such as the settings of a task: nobody may change these.

    Raises:
        DamagedRecordError: The record is not there, not readable, not complete, or of a newer schema.
    """
    path = folder / RECORD_FILE
    try:
        content = shapes.content_of(path)
        # What is plain, without an escape, and has few parts can be shown as it is, as nearly every record can.
        plain = content.isascii() and b"\\" not in content and content.count(b"{") + content.count(b"[") < MOST_LEVELS
        shared = _shared(content) if plain else None
        data = shared or msgspec.json.decode(content)
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedRecordError(f"{path}: not a readable record ({error})") from error
    layout = data.get("schema") if isinstance(data, dict) else None
    if isinstance(layout, int) and layout > SCHEMA:
        raise NewerRecordError(f"{path}: `schema` must be <= {SCHEMA} for this version, got {layout}")
    try:
        data = data if plain else readable(data)
        shapes.convert(data, RecordFile)
        check_together(data)
    except ValueError as error:
        raise DamagedRecordError(f"{path}: {error}") from error
    del data["schema"]
    if shared is None:
        older.complete(data["config"])
    return Record(**data)


def _shared(content: bytes) -> dict[str, Any] | None:
    """Decode a record whose sections are those of the records before it where they are equal; thousands have few.

    Returns:
        The record with the settings that came later, or ``None`` if it is of another shape.
    """
    try:
        parts = _PARTS.decode(content)
    except msgspec.ValidationError:
        return None
    data = msgspec.structs.asdict(parts)
    data |= {name: _section("", bytes(data[name])) for name in ("code", "libraries", "device", "runtime", "task_facts")}
    data["config"] = {name: _section(name, bytes(raw)) for name, raw in data["config"].items()}
    return data


_PARTS = msgspec.json.Decoder(RecordParts)


@lru_cache(maxsize=10_000)
def _section(name: str, content: bytes) -> Any:
    """Return a section of a record; one of the config has a name and is completed."""
    found = msgspec.json.decode(content)
    if name:
        older.complete({name: found})
    return found


def config_as_written(folder: Path) -> dict[str, Any]:
    """Return the config of a record that can be read, with whatever characters its texts have.

    Raises:
        DamagedRecordError: See :func:`read_record`.
    """
    read_record(folder)
    config = msgspec.json.decode(shapes.content_of(folder / RECORD_FILE))["config"]
    older.complete(config)
    return config


def check_record(folder: Path) -> Record:
    """Read the record of one folder, and check that a result has all its curves without reading them.

    Raises:
        DamagedRecordError: See :func:`read_record` and :func:`read_curves`.
    """
    made = read_record(folder)
    if made.status in FINAL:
        path = folder / CURVES_FILE
        with _opened(path) as file:
            rows, info = file.metadata.num_rows, thinning.thinning_of(file.schema_arrow)
        steps, kept = (rows, rows) if info is None else (info.rows, info.kept)
        if steps != made.steps:
            raise DamagedRecordError(f"{path}: must have a row for each of {made.steps} steps, has {steps}")
        if rows != kept:
            raise DamagedRecordError(f"{path}: must have the {kept} rows kept of {steps} steps, has {rows}")
    if probed(made):
        for name in PROBES:
            with _parquet(folder / probe_file(name)):
                pass
    if predicted(made):
        with _parquet(folder / PREDICTIONS_FILE) as file:
            _check_predictions(folder / PREDICTIONS_FILE, file.schema_arrow)
    return made


_PREDICTED = ("sequence", "step", "target", "output")


def _check_predictions(path: Path, schema: pa.Schema) -> None:
    for name in _PREDICTED:
        kind = schema.field(name).type if name in schema.names else None
        if kind is None or not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            raise DamagedRecordError(f"{path}: must have the columns {', '.join(_PREDICTED)}, all numbers")


def read_predictions(folder: Path) -> pa.Table | None:
    """Read what the network of a run says of the test set; ``None`` where the run has not kept it.

    Raises:
        DamagedRecordError: The table is not readable, or does not have the right columns.
    """
    path = folder / PREDICTIONS_FILE
    if not path.exists():
        return None
    with _parquet(path) as file:
        _check_predictions(path, file.schema_arrow)
        table = file.read(use_threads=False)
    named = (table.schema.metadata or {}).get(CLASSES)
    if named is not None:
        _check_classes(path, table, named)
    return table


def _check_classes(path: Path, table: pa.Table, named: bytes) -> None:
    try:
        classes = msgspec.json.decode(named, type=list[str])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise DamagedRecordError(f"{path}: must name its classes as a list of texts") from None
    for name in ("target", "output"):
        numbers = table[name]
        whole = pa.types.is_integer(numbers.type) and numbers.null_count == 0
        if not whole or (len(numbers) and not 0 <= min(found := numbers.to_pylist()) <= max(found) < len(classes)):
            raise DamagedRecordError(f"{path}: {name} must be the numbers of its {len(classes)} classes")


def read_probe(folder: Path, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read one table of :data:`bench.records.series.PROBES`; it is empty if nothing was measured.

    Args:
        folder: Folder of the record.
        name: Name of the table.
        columns: The columns that are wanted; by default all.

    Raises:
        DamagedRecordError: The table is not readable, or does not have the right columns.
    """
    path, expected = folder / probe_file(name), _PROBE_SCHEMAS[name]
    try:
        with _parquet(path) as file:
            right = file.schema_arrow.equals(expected)
            table = file.read(columns, use_threads=False) if right else probe_table(name, "", [])
    except DamagedRecordError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return probe_table(name, "", []).select(columns or expected.names)
        raise
    if not right:
        raise DamagedRecordError(f"{path}: must have the columns {', '.join(expected.names)}, and only those")
    for column in table.column_names:
        if column != "value" and (missing := table[column].null_count):
            raise DamagedRecordError(f"{path}: `{column}` must be there in every row, {missing} are missing")
    return table


def read_curves(folder: Path) -> pa.Table:
    """Read the curves of one folder, whole or thinned.

    Raises:
        DamagedRecordError: The curves are not there, not readable, hold anything but numbers, or miss steps.
    """
    path = folder / CURVES_FILE
    with _opened(path) as file:
        curves = file.read(use_threads=file.metadata.num_rows > FEW_ROWS)
    try:
        thinning.check_steps(curves)
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
            thinning.thinning_of(file.schema_arrow)
        except ValueError as error:
            raise DamagedRecordError(f"{path}: {error}") from error
        yield file


@contextlib.contextmanager
def _parquet(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        # These files are small: to read one whole takes two thirds of the time that pyarrow's own reading takes.
        with pq.ParquetFile(pa.BufferReader(shapes.content_of(path)), page_checksum_verification=True) as file:
            yield file
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        # What Arrow says may have several lines, and names that are no texts any more.
        reason = " ".join(str(error).split())
        raise DamagedRecordError(f"{path}: not readable curves ({reason})") from error


def run_folder(run: str | Path, results: Path = Path("results")) -> Path:
    """Return the folder of a run that is named by it, or by its run id below the results.

    Raises:
        ValueError: There is no such run, or there are several.
    """
    folder = Path(run).expanduser()
    if folder.name == RECORD_FILE:
        folder = folder.parent
    if folder.is_dir() and str(run):
        return folder
    found = [each for each in find_records(results) if each.name == str(run)]
    if len(found) != 1:
        raise ValueError(
            f"RUN must be the folder of a record, or a run id below {results}, found {len(found)} records of "
            f"{str(run)!r}"
        )
    return found[0]


_OF_WANDB = re.compile(r"offline-run-\d+_\d+-")
"""Begins the name of the folder of an offline run of W&B's, which has a copy of the record."""


def holds_no_records(name: str) -> bool:
    """Return whether a folder of this name is a draft or W&B's copy, or something else that is hidden."""
    return name.startswith(".") or _OF_WANDB.match(name) is not None


def find_records(root: Path) -> list[Path]:
    """Return the folders below ``root`` that hold a record, sorted; drafts and W&B's copies are left out."""
    found = []
    for folder, below, files in os.walk(root):
        if RECORD_FILE in files or RECORD_FILE in below:  # A folder of this name is a damaged record.
            found.append(Path(folder))
        below[:] = [name for name in below if not holds_no_records(name) and name != RECORD_FILE]
    return sorted(found)
