"""What lies beside a run's folder: its checkpoint, the record of a failed try; and which version a record is."""

from __future__ import annotations

from pathlib import Path

from bench.records import record


def checkpoint_path(folder: Path) -> Path:
    """The checkpoint of the run that has, or will have, this folder."""
    return folder.with_name(f".{folder.name}.checkpoint")


def failed_path(folder: Path) -> Path:
    """Where the record of a failed try goes, if the run has a result already."""
    return folder.with_name(f".{folder.name}.failed")


def signature(folder: Path) -> str | None:
    """Tells one version of a record from the next; ``None`` without one."""
    try:
        stat = (folder / record.RECORD_FILE).stat()
    except OSError:
        return None
    return f"{stat.st_mtime_ns}-{stat.st_ino}"
