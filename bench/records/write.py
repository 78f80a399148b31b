"""Writing of records, whole or not at all: a draft is made beside the final place and renamed into it."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import secrets
import shutil
import stat
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.records.record import CURVES_FILE, RECORD_FILE, SCHEMA, Record
from bench.records.series import probe_file

MOST_LINKS = 40
"""Number of links, one leading to the next, that Linux follows."""


def prepare(folder: Path) -> Path:
    """Make the folder of a draft, beside the record's final place, before anything is trained.

    Raises:
        OSError: The place cannot be written to.
    """
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    return draft


def commit(
    draft: Path,
    folder: Path,
    record: Record,
    curves: pa.Table,
    probes: Mapping[str, pa.Table],
    kept: Mapping[str, pa.Table | bytes] | None = None,
) -> None:
    """Fill a draft and rename it into place, so that a final name never stands for half a record.

    Args:
        draft: See :func:`prepare`.
        folder: The final place.
        record: The record.
        curves: See :func:`bench.records.series.curves_table`.
        probes: Tables of :data:`bench.records.series.PROBES`; there are none if nothing was measured.
        kept: What else is kept beside the record, by the name of its file: tables and whole files.
    """
    draft.mkdir(parents=True, exist_ok=True)  # Somebody may have cleared hidden folders away while the run was made.
    _write(draft / RECORD_FILE, _as_json(record))
    tables = {CURVES_FILE: curves, **{probe_file(name): probes[name] for name in probes}}
    for name, table in {**tables, **(kept or {})}.items():
        if isinstance(table, bytes):
            _write(draft / name, table)
            continue
        with (draft / name).open("wb") as file:
            pq.write_table(table, file, compression="zstd", write_page_checksum=True)
            os.fsync(file.fileno())
    move_into_place(draft, folder)


def amend(folder: Path, record: Record) -> None:
    """Write the record of a folder anew, and leave its tables as they are.

    Raises:
        OSError: The place cannot be written to.
    """
    write_whole(folder / RECORD_FILE, _as_json(record))


def move_into_place(draft: Path, folder: Path) -> None:
    """Give a filled draft its final name; a record that was there before is removed."""
    if folder.exists():
        # A folder cannot be renamed onto a full one. The old folder is removed only once the new one is in place.
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
    """Clear away what a killed process left beside a run; only the owner of the run's lease may call this.

    If the process was killed between the two renames of :func:`commit`, the record that was there before comes back.
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
    """Rename a damaged record's folder or file, so that nobody takes it for whole, and return its new path."""
    number = 1
    while (aside := path.with_name(f".{path.name.lstrip('.')}.damaged-{number}")).exists():
        number += 1
    path.rename(aside)
    return aside


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, and make its folder.

    Raises:
        OSError: The place cannot be written to.
    """
    if not path.name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    missing = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two machines may have the same process number.
    draft = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        _write(draft, content)
        draft.replace(path)
    except BaseException as error:
        for remove in (draft.unlink, *(folder.rmdir for folder in missing)):
            with contextlib.suppress(OSError):  # It is not there, or has another file by now.
                remove()
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def write_output(path: Path, content: bytes) -> None:
    """Write a file that somebody names: whole or not at all, through a link, and straight into a device or a pipe.

    Raises:
        OSError: The place cannot be written to, or it is in the folder of a run, whose files are no output's.
    """
    if os.path.lexists(path.parent / RECORD_FILE):
        raise PermissionError(errno.EPERM, "it is in the folder of a run", str(path))
    if path.exists() and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    if _is_no_file(path):
        with path.open("wb") as file:
            file.write(content)
    else:
        write_whole(Path(os.path.realpath(path)) if path.is_symlink() else path, content)


def _is_no_file(path: Path) -> bool:
    """Return whether a name stands for something that must not be replaced by a file: /dev/stdout, a pipe."""
    with contextlib.suppress(OSError):
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            return True
    place = path.absolute()
    for _ in range(MOST_LINKS):
        # What stands there, or is reached from there, is a stream even where it leads to a file.
        if place.parts[1:2] in (("dev",), ("proc",)) and place.parts[1:3] != ("dev", "shm"):
            return True
        if not place.is_symlink():
            return False
        place = place.parent / place.readlink()
    return False


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _as_json(record: Record) -> bytes:
    """Return the record as JSON; a number that is not finite becomes null."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: clean(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [clean(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps({"schema": SCHEMA, **clean(asdict(record))}, indent=1, allow_nan=False).encode()
