"""``bench publish`` makes small copies of records for a repository, with their curves thinned; it needs no torch.

A file that is small enough stays as it is. A copy is a record like any other: tables, figures, status and replay
accept it.
"""

from __future__ import annotations

import hashlib
import io
import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.records import lease, record, thinning
from bench.records.read import check_record, find_records, read_curves, read_predictions, read_probe, read_record
from bench.records.record import DamagedRecordError
from bench.records.series import CLOCKS, PROBES, probe_file
from bench.records.write import discard, move_into_place, prepare, recover, write_whole
from bench.shapes import content_of

RESULTS_DIR, CONFIG_DIR = "results", "--config-dir"
"""The folder of results that a copy names, the default; and the flag that names the folder of the user's modules."""
_SMALL: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 19,
    "write_statistics": False,
    "store_schema": False,
}
"""Settings for columns of a few hundred rows, whose descriptions take more room than the columns do."""


class RefusedError(ValueError):
    """Something is in the way of a copy."""


@dataclass
class Published:
    """The outcome of publishing a folder.

    Attributes:
        copied: Folders of the new copies.
        there: Copies that were there already.
        without_result: Records whose status is not final; they are left out.
        damaged: Errors of the records that cannot be copied.
        without_weights: Number of new copies that leave the weights beside the record out.
        bytes_before: Size of the files that were copied.
        bytes_after: Size of their copies.
    """

    copied: list[Path] = field(default_factory=list)
    there: int = 0
    without_result: int = 0
    damaged: list[DamagedRecordError] = field(default_factory=list)
    without_weights: int = 0
    bytes_before: int = 0
    bytes_after: int = 0

    def __str__(self) -> str:
        """Describe the outcome in one line for people."""
        parts = [f"{len(self.copied)} record{'s' if len(self.copied) != 1 else ''} copied"]
        parts += [f"{self.there} there already"] if self.there else []
        parts += [f"{self.without_result} without a result left out"] if self.without_result else []
        if self.without_weights:
            parts.append(f"{self.without_weights} of them without their weights (--weights copies these too)")
        sizes = f": {_megabytes(self.bytes_before)} became {_megabytes(self.bytes_after)}" if self.copied else ""
        return ", ".join(parts) + sizes


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.2f} MB"


def publish_all(
    runs: Path, destination: Path, every: int | None = None, *, force: bool = False, weights: bool = False
) -> Published:
    """Copy all records with a result below one folder to the same places below another.

    The function writes nothing if a single copy is refused.

    Args:
        runs: A folder of records.
        destination: Folder that the copies go into; it is made.
        every: Every how many steps one row of a curve is kept, besides evaluations, the first and the last; by default
            :func:`bench.records.thinning.default_every`. Curves that are already thinned stay as they are.
        force: Whether to replace other records of the same runs.
        weights: Whether to copy the weights that are kept beside a record.

    Raises:
        RefusedError: A place is taken by something else, or is among the runs.
        OSError: The destination cannot be written to.
    """
    outcome = Published()
    to_copy: list[tuple[Path, Path]] = []
    refused: list[str] = []
    for folder in find_records(runs):
        target = destination / folder.relative_to(runs)
        if target.resolve().is_relative_to(runs.resolve()):
            raise RefusedError(f"DEST must be outside of {runs}, got {destination}")
        try:
            if check_record(folder).status not in record.FINAL:
                outcome.without_result += 1
                continue
            _clear(target)
            odd = difference(folder, target, every, weights=weights) if target.exists() else "it is not there"
        except DamagedRecordError as error:
            outcome.damaged.append(error)
            continue
        if odd is None:
            outcome.there += 1
            continue
        if target.exists() and not (force and (target / record.RECORD_FILE).is_file()):
            refused.append(f"{target} ({odd})")
        to_copy.append((folder, target))
    if refused:
        more = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
        allowed = "anything but records in their places" if force else "other records of these runs without --force"
        raise RefusedError(f"DEST must not hold {allowed}, got {refused[0]}{more}")
    for folder, target in to_copy:
        try:
            contents = dict(files_of(folder, every, weights=weights))
        except DamagedRecordError as error:
            outcome.damaged.append(error)
            continue
        _put(contents, target)
        outcome.copied.append(target)
        outcome.without_weights += (folder / record.WEIGHTS_FILE).exists() and not weights
        outcome.bytes_before += sum((folder / name).stat().st_size for name in contents)
        outcome.bytes_after += sum(map(len, contents.values()))
    return outcome


def _clear(target: Path) -> None:
    """Remove what a killed process left, unless a living process has the lease of a run at this place."""
    holder = lease.holder_of(target)
    if holder is None or not holder.alive:
        recover(target)


def _put(contents: Mapping[str, bytes], target: Path) -> None:
    draft = prepare(target)
    try:
        for name, content in contents.items():
            write_whole(draft / name, content)
        move_into_place(draft, target)
    finally:
        discard(draft)


def difference(folder: Path, target: Path, every: int | None, *, weights: bool = False) -> str | None:
    """Say how a copy would differ from what is in its place; return ``None`` if they are equal, value for value.

    Weights count only if they are to be copied.

    Raises:
        DamagedRecordError: The record to be copied is damaged.
    """
    curves = published_curves(read_curves(folder), every)
    wanted = {record.CURVES_FILE: curves, **probes_of(folder), **_predictions_of(folder)}
    if not (target / record.RECORD_FILE).is_file():
        return "it is no record"
    if _read(target / record.RECORD_FILE) != published_record(folder):
        return f"its {record.RECORD_FILE} differs"
    try:
        there = {record.CURVES_FILE: read_curves(target), **probes_of(target), **_predictions_of(target)}
    except DamagedRecordError:
        return "it is damaged"
    for name in sorted(wanted.keys() | there.keys()):
        if name not in wanted or name not in there or not _equal(wanted[name], there[name]):
            return f"its {name} differs"
    if weights and (content := _weights_of(folder)) is not None:
        path = target / record.WEIGHTS_FILE
        if not path.is_file() or _read(path) != content:
            return f"its {record.WEIGHTS_FILE} differs"
    return None


def _equal(one: pa.Table, other: pa.Table) -> bool:
    """Return whether two tables are equal; unlike in Arrow, two NaNs count as equal."""
    same_whole = thinning.schema_metadata(one.schema) == thinning.schema_metadata(other.schema)
    return same_whole and thinning.digest(one) == thinning.digest(other)


def _read(path: Path) -> bytes:
    try:
        return content_of(path)
    except OSError as error:
        raise DamagedRecordError(f"{path}: not a readable record ({error})") from error


def published_curves(curves: pa.Table, every: int | None) -> pa.Table:
    """Return the curves of a record as its copy has them: thinned, with metadata that stand for the whole.

    Args:
        curves: The record's curves; they are returned unchanged if they are already thinned or have no step too many.
        every: See :func:`publish_all`.
    """
    if thinning.thinning_of(curves.schema) is not None:
        return curves
    every = thinning.default_every(curves) if every is None else min(every, max(1, curves.num_rows))
    kept = thinning.thin(curves, every)
    if kept.num_rows == curves.num_rows:
        return curves
    info = thinning.ThinningInfo(curves.num_rows, every, kept.num_rows, thinning.digest(curves, CLOCKS))
    return kept.replace_schema_metadata(info.metadata())


def probes_of(folder: Path) -> dict[str, pa.Table]:
    """Read the tables of the probes that a record has, by file name.

    Raises:
        DamagedRecordError: See :func:`bench.records.read.read_probe`.
    """
    names = {probe_file(name): name for name in PROBES}
    return {file: read_probe(folder, name) for file, name in names.items() if (folder / file).exists()}


def _predictions_of(folder: Path) -> dict[str, pa.Table]:
    """Read the predictions that a record has, by file name.

    Raises:
        DamagedRecordError: See :func:`bench.records.read.read_predictions`.
    """
    found = read_predictions(folder)
    return {record.PREDICTIONS_FILE: found} if found is not None else {}


def _weights_of(folder: Path) -> bytes | None:
    """Return the weights beside a record; ``None`` where there are none.

    Raises:
        DamagedRecordError: They are not those that the record names.
    """
    path = folder / record.WEIGHTS_FILE
    if not path.exists():
        return None
    content, named = _read(path), (read_record(folder).model.get("weights") or {}).get("sha256")
    if hashlib.sha256(content).hexdigest() != named:
        raise DamagedRecordError(f"{path}: must be the weights that the record names")
    return content


def files_of(folder: Path, every: int | None, *, weights: bool = False) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of the files of a copy: the record as it is, its tables as small as they get.

    The weights are among them only if asked for, and as they are.

    Raises:
        DamagedRecordError: The record is damaged.
    """
    yield record.RECORD_FILE, published_record(folder)
    whole = read_curves(folder)
    curves = published_curves(whole, every)
    for name, table in {record.CURVES_FILE: curves, **probes_of(folder), **_predictions_of(folder)}.items():
        yield name, smallest(table, [] if table is curves is not whole else [_read(folder / name)])
    if weights and (content := _weights_of(folder)) is not None:
        yield record.WEIGHTS_FILE, content


def published_record(folder: Path) -> bytes:
    """Return the record's file without the place where it was made, which means nothing on another machine."""
    content = _read(folder / record.RECORD_FILE)
    node = json.loads(content)
    words = shlex.split(node["command"])
    command = shlex.join(_without_place(word) for word in words if not word.startswith("results_dir="))
    if node["config"].get("results_dir", RESULTS_DIR) == RESULTS_DIR and command == shlex.join(words):
        return content
    node["config"]["results_dir"], node["command"] = RESULTS_DIR, command
    return json.dumps(node, indent=1, allow_nan=False).encode()


def _without_place(word: str) -> str:
    """Return a word of a command; the folder of the user's own modules is relative to the working folder."""
    flag, is_set, place = word.partition("=")
    if flag != CONFIG_DIR or not is_set or not Path(place).is_absolute():
        return word
    here = Path.cwd()
    inside = Path(place).is_relative_to(here)
    return f"{flag}={Path(place).relative_to(here).as_posix() if inside else Path(place).name}"


def smallest(table: pa.Table, others: list[bytes]) -> bytes:
    """Return the smallest Parquet file of a table.

    Args:
        table: The table.
        others: Files that already hold the table.
    """
    return min([*others, *(_parquet(table, dictionary) for dictionary in (False, True))], key=len)


def _parquet(table: pa.Table, dictionary: bool) -> bytes:
    target = io.BytesIO()
    plain = table.replace_schema_metadata(None)
    with pq.ParquetWriter(target, plain.schema, use_dictionary=dictionary, **_SMALL) as writer:
        writer.write_table(plain)
        if table.schema.metadata:
            writer.add_key_value_metadata(table.schema.metadata)
    return target.getvalue()
