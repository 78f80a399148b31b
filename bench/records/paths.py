"""Paths beside a run's folder, of its checkpoint and of the record of a failed try; and the version of a record."""

from __future__ import annotations

from pathlib import Path

from bench.records import record


def checkpoint_path(folder: Path) -> Path:
    """Return the path of the checkpoint of the run that has, or will have, this folder."""
    return folder.with_name(f".{folder.name}.checkpoint")


def failed_path(folder: Path) -> Path:
    """Return the path for the record of a failed try, when the run already has a result."""
    return folder.with_name(f".{folder.name}.failed")


def signature(folder: Path) -> str | None:
    """Return a text that differs between one version of a record and the next; ``None`` if there is no record."""
    try:
        stat = (folder / record.RECORD_FILE).stat()
    except OSError:
        return None
    return f"{stat.st_mtime_ns}-{stat.st_ino}"
