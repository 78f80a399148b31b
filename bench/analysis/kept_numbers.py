"""Numbers that follow from the tables of the probes, kept in a cache: to open thousands of tables takes seconds.

The cache may be lost at any time. It is in the user's folder for caches (``$XDG_CACHE_HOME`` or ``~/.cache``), one file
for each folder of records. A number is taken from it only if the table has the size, the times and the inode that it
had when it was read, the record says the same of the run, and the code that made the number is the same. A file that is
damaged counts as one that is not there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
import numpy as np

from bench.analysis import gradient_reach
from bench.records.record import Record
from bench.records.write import write_whole
from bench.stats import gradient_decay

T = TypeVar("T")
LEAST_NEW = 200
"""Number of new numbers from which on they are kept; fewer are read in a tenth of a second."""
SETTLED_NANOSECONDS = 2 * 10**9
"""Age of a table from which on another change shows in its times, which some file systems round."""
DIGEST_BYTES = 16
_State = tuple[int, int, int, int, int]


class KeptNumbers(Generic[T]):
    """What was made of one table of each run below a folder.

    Args:
        name: File name of the table.
        kind: The type of what was made.
        folders: The folders of the runs that are asked for.
    """

    def __init__(self, name: str, kind: type[T], folders: Iterable[Path]) -> None:
        self._name = name
        root = os.path.commonpath([folder.absolute() for folder in folders] or ["/"])
        folder = _folder()
        file = f"{hashlib.sha256(os.fsencode(root)).hexdigest()[:16]}.{name}.numbers"
        self._file = folder / file if folder is not None else None
        self._kept: dict[str, tuple[_State, T | None]] = {}
        self._new: dict[str, tuple[_State, T | None]] = {}
        if self._file is None:
            return
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            content = self._file.read_bytes()
            if content[:DIGEST_BYTES] == _digest(content[DIGEST_BYTES:]):
                self._kept = msgspec.msgpack.decode(content[DIGEST_BYTES:], type=dict[str, tuple[_State, kind | None]])

    def state(self, folder: Path, made: Record) -> _State | None:
        """Return what a number of a run depends on; ``None`` if there is no table.

        It must be asked for before the table is read, so that a change in between shows.
        """
        try:
            found = (folder / self._name).stat()
        except (OSError, ValueError):
            return None
        last = made.steps if made.status == "completed" else -1
        return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, last

    def get(self, folder: Path, state: _State | None) -> tuple[T | None] | None:
        """Return what was made of the table of a run, in a tuple of one; ``None`` if that is not known."""
        held = self._kept.get(str(folder.absolute()))
        return (held[1],) if held is not None and held[0] == state else None

    def add(self, folder: Path, state: _State | None, made: T | None) -> None:
        """Keep what was made of the table of a run, unless that has only just been written."""
        if state is not None and max(state[1:3]) < time.time_ns() - SETTLED_NANOSECONDS:
            self._new[str(folder.absolute())] = state, made

    def write(self) -> None:
        """Write the file, where that is of use; what cannot be written is made anew the next time."""
        if self._file is None or len(self._new) < LEAST_NEW:
            return
        kept = self._new if len(self._kept) > 2 * len(self._new) + 10_000 else {**self._kept, **self._new}
        with contextlib.suppress(OSError, UnicodeEncodeError):
            content = msgspec.msgpack.encode(kept)
            write_whole(self._file, _digest(content) + content)


def _folder() -> Path | None:
    """Return the folder of our caches; ``None`` for a process without a home, as in a container."""
    root = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        return (root if root.is_absolute() else Path.home() / ".cache") / "rnn-bench"
    except RuntimeError:
        return None


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(_code() + content, digest_size=DIGEST_BYTES).digest()


@cache
def _code() -> bytes:
    """Return a digest of all that makes the numbers."""
    sources = b"".join(Path(str(module.__file__)).read_bytes() for module in (gradient_reach, gradient_decay))
    return hashlib.sha256(f"{np.__version__} {platform.machine()}".encode() + sources).digest()
