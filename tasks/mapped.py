"""Data that is too large for memory: it is converted once, piece by piece, into arrays that lie on disk.

The arrays are in a folder that ``RNN_BENCH_DATA`` names, or else in that of the user's caches (``$XDG_CACHE_HOME`` or
``~/.cache``, there ``rnn-bench/data``), under a name that has the hash of the file's content. They may be deleted at
any time. Only the parts of an array that are asked for come into memory, and the system may drop them again.
"""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np

MAPPED_FROM = 1 << 26
"""Bytes of a file from which it is not read into memory."""
PORTION = 1 << 22
"""Elements of an array that are looked at together."""
FOLDER = "RNN_BENCH_DATA"
"""The variable of the environment that names the folder."""


@dataclass(frozen=True)
class Standardised:
    """Columns of numbers less their means, in units of their spreads, computed when they are asked for.

    Attributes:
        values: The numbers, ``(rows, columns)`` of float64, on disk.
        mean: That of each column.
        spread: The unit of each column.
    """

    values: np.ndarray
    mean: np.ndarray
    spread: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, at: slice | np.ndarray) -> np.ndarray:
        return ((self.values[at] - self.mean) / self.spread).astype(self.dtype)

    @property
    def dtype(self) -> np.dtype:
        """Type of what is asked for."""
        return np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all of it."""
        return self.values.shape

    @property
    def head(self) -> str:
        """Type and shape of all of it as one array, as :func:`tasks.sequences.hash_of` puts them before its data."""
        return f"{self.dtype.str}{self.shape}"

    def portions(self) -> Iterator[np.ndarray]:
        """Yield the rows piece by piece."""
        return (self[at] for at in spans(self.shape))


def standardised(values: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> np.ndarray | Standardised:
    """Return columns of numbers less their means, in units of their spreads; of an array on disk when asked for."""
    found = Standardised(values, mean, spread)
    return found if isinstance(values, np.memmap) else found[:]


def is_large(path: Path) -> bool:
    """Return whether a file is not to be read into memory."""
    return path.stat().st_size >= MAPPED_FROM


def data_folder() -> Path:
    """Return the folder of arrays."""
    if given := os.environ.get(FOLDER):
        return Path(given).expanduser()
    root = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (root if root.is_absolute() else Path.home() / ".cache") / "rnn-bench" / "data"


def hash_of_file(path: Path) -> str:
    """Return 32 hexadecimal digits over the content of a file."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PORTION):
            found.update(piece)
    return found.hexdigest()[:32]


def stored(names: Sequence[str], convert: Callable[[Path], None]) -> list[Path]:
    """Return files of the folder for arrays; where one is missing, all are made, whole or not at all.

    Args:
        names: Names of the files.
        convert: Writes them into the folder that it is called with.

    Raises:
        ValueError: The folder cannot be written to, or ``convert`` raises it.
    """
    try:
        folder = data_folder()
        folder.mkdir(parents=True, exist_ok=True)
        if not all((folder / name).is_file() for name in names):
            with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as scratch:
                convert(Path(scratch))
                for name in names:
                    (Path(scratch) / name).replace(folder / name)
        return [folder / name for name in names]
    except OSError as error:
        raise _not_writable(error) from None


class ArrayFile:
    """A ``.npy`` file that rows are added to, in a ``with`` block.

    Args:
        path: The file.
        row: Shape of a row.
        kind: Type of the numbers.
    """

    def __init__(self, path: Path, row: tuple[int, ...], kind: type = np.float64) -> None:
        self._path, self._row, self._kind, self._rows = path, row, np.dtype(kind), 0

    def __enter__(self) -> ArrayFile:
        self._file: BinaryIO = self._path.open("wb")
        self._write_head()
        return self

    def add(self, rows: np.ndarray) -> None:
        """Add rows."""
        self._rows += len(rows)
        np.ascontiguousarray(rows, dtype=self._kind).tofile(self._file)

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        with self._file:
            if kind is None:
                # A head has room for any number of rows, so that it does not move what stands behind it.
                self._file.seek(0)
                self._write_head()

    def _write_head(self) -> None:
        head = {"descr": self._kind.str, "fortran_order": False, "shape": (self._rows, *self._row)}
        np.lib.format.write_array_header_1_0(self._file, head)


def spans(shape: tuple[int, ...]) -> Iterator[slice]:
    """Yield the rows of an array piece by piece, each of at most ``PORTION`` elements or one row."""
    rows = max(1, PORTION // max(1, math.prod(shape[1:])))
    return (slice(start, min(start + rows, shape[0])) for start in range(0, shape[0], rows))


def empty(shape: tuple[int, ...], dtype: type = np.float64) -> np.ndarray:
    """Return an array to be filled; one of more than ``PORTION`` elements lies in a file that has no name any more.

    Raises:
        ValueError: The folder for arrays cannot be written to.
    """
    if math.prod(shape) <= PORTION:
        return np.empty(shape, dtype)
    try:
        folder = data_folder()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(prefix=".new-", dir=folder) as file:
            if hasattr(os, "posix_fallocate"):
                # Otherwise a full disk would kill the process, and not raise an error.
                os.posix_fallocate(file.fileno(), 0, math.prod(shape) * np.dtype(dtype).itemsize)
            return np.memmap(file, dtype, mode="w+", shape=shape)
    except OSError as error:
        raise _not_writable(error) from None


def computed(shape: tuple[int, ...], piece: Callable[[slice], np.ndarray]) -> np.ndarray:
    """Return an array of float64 of which ``piece`` computes some rows at a time; see :func:`empty` for where it is."""
    found = empty(shape)
    for at in spans(shape):
        found[at] = piece(at)
    return found


def deviation(values: np.ndarray) -> np.ndarray:
    """Return what ``values.std(0)`` is, to the last bit, of an array of float64 that may lie on disk.

    NumPy adds up the numbers of such an array in the same order as those of one in memory. But it would make another
    array of its size in memory, of the squares.
    """
    mean = values.mean(0)
    squares = computed(values.shape, lambda at: np.square(values[at] - mean))
    return np.asarray(np.sqrt(squares.sum(0) / len(values)))


def _not_writable(error: OSError) -> ValueError:
    return ValueError(f"`file` is converted once into the folder that {FOLDER} names, which must be writable ({error})")
