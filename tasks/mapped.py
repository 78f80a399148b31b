"""Data that is too large for memory: it is converted once, piece by piece, into arrays that lie on disk.

The arrays are in a folder that ``RNN_BENCH_DATA`` names, or else in that of the user's caches (``$XDG_CACHE_HOME`` or
``~/.cache``, there ``rnn-bench/data``), under a name that has the hash of the file's content. They may be deleted at
any time. Only the parts of an array that are asked for come into memory, and the system may drop them again.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MAPPED_FROM = 1 << 26
"""Bytes of a file from which it is not read into memory."""
PORTION = 1 << 22
"""Elements of an array that are looked at together."""
FOLDER = "RNN_BENCH_DATA"
"""The variable of the environment that names the folder."""
MOST_POINTS = 0x110000
"""Number of code points that there are."""


@dataclass(frozen=True)
class Tokens:
    """A text as tokens, looked up in a table when they are asked for.

    Attributes:
        points: Code points of its characters; they may lie on disk.
        table: The token of each code point.
    """

    points: np.ndarray
    table: np.ndarray

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, at: slice | np.ndarray) -> np.ndarray:
        return self.table[self.points[at]]

    @property
    def head(self) -> str:
        """Type and shape of all tokens as one array, as :func:`tasks.sequences.hash_of` puts them before its data."""
        return f"{self.table.dtype.str}{self.points.shape}"

    def portions(self, overlap: int = 0) -> Iterator[np.ndarray]:
        """Yield the tokens piece by piece, each piece with ``overlap`` tokens before it; the first has none."""
        for start in range(0, len(self), PORTION):
            yield self[max(0, start - overlap) : start + PORTION]


def code_points(path: Path) -> np.ndarray:
    """Return the code points of a text in UTF-8, with line ends of one character; those of a large one lie on disk.

    Raises:
        UnicodeDecodeError: It is no such text.
        OSError: It cannot be read.
        ValueError: The folder for arrays cannot be written to.
    """
    if path.stat().st_size < MAPPED_FROM:
        return points_of(path.read_text(encoding="utf-8"))
    name = f"text-{_hash_of(path)}.npy"
    try:
        folder = data_folder()
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / name).is_file():
            _convert(path, folder / name)
        return np.load(folder / name, mmap_mode="r")
    except OSError as error:
        raise ValueError(
            f"`file` is converted once into the folder that {FOLDER} names, which must be writable ({error})"
        ) from None


def points_of(text: str) -> np.ndarray:
    """Return the code points of a text."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def distinct(points: np.ndarray) -> list[int]:
    """Return the different code points of a text, in their order."""
    seen = np.zeros(MOST_POINTS, dtype=bool)
    for start in range(0, len(points), PORTION):
        seen[points[start : start + PORTION]] = True
    return np.flatnonzero(seen).tolist()


def data_folder() -> Path:
    """Return the folder of arrays."""
    if given := os.environ.get(FOLDER):
        return Path(given).expanduser()
    root = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (root if root.is_absolute() else Path.home() / ".cache") / "rnn-bench" / "data"


def first_wrong_byte(path: Path) -> tuple[int, int] | None:
    """Return the place and the value of the first byte that is no UTF-8; ``None`` where there is none."""
    decoder, done = codecs.getincrementaldecoder("utf-8")(), 0
    with path.open("rb") as file:
        while True:
            piece = file.read(PORTION)
            waiting = decoder.getstate()[0]
            try:
                decoder.decode(piece, final=not piece)
            except UnicodeDecodeError as error:
                return done - len(waiting) + error.start, (waiting + piece)[error.start]
            if not piece:
                return None
            done += len(piece)


def _hash_of(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PORTION):
            found.update(piece)
    return found.hexdigest()[:32]


def _pieces(path: Path) -> Iterator[np.ndarray]:
    with path.open(encoding="utf-8") as file:
        while text := file.read(PORTION):
            yield points_of(text)


def _convert(path: Path, target: Path) -> None:
    """Write the code points of a text, in the least type that has them, whole or not at all."""
    count = most = 0
    for piece in _pieces(path):
        count, most = count + len(piece), max(most, int(piece.max()))
    with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent) as scratch:
        draft = Path(scratch) / target.name
        array = np.lib.format.open_memmap(draft, mode="w+", dtype=np.min_scalar_type(most), shape=(count,))
        start = 0
        for piece in _pieces(path):
            array[start : start + len(piece)] = piece
            start += len(piece)
        array.flush()
        del array
        draft.replace(target)
