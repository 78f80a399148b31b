"""Texts as code points or words and as tokens, which lie on disk where the text is large."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks import mapped

MOST_POINTS = 0x110000
"""Number of code points that there are."""


@dataclass(frozen=True)
class Tokens:
    """A text as tokens, looked up in a table when they are asked for.

    Attributes:
        points: Code points of its characters, or numbers of its words; they may lie on disk.
        table: The token of each.
    """

    points: np.ndarray
    table: np.ndarray

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, at: slice | np.ndarray) -> np.ndarray:
        return self.table[self.points[at]]

    @property
    def dtype(self) -> np.dtype:
        """Type of the tokens."""
        return self.table.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all of them."""
        return self.points.shape

    @property
    def head(self) -> str:
        """Type and shape of all tokens as one array, as :func:`tasks.sequences.hash_of` puts them before its data."""
        return f"{self.dtype.str}{self.shape}"

    def portions(self, overlap: int = 0) -> Iterator[np.ndarray]:
        """Yield the tokens piece by piece, each piece with ``overlap`` tokens before it; the first has none."""
        for start in range(0, len(self), mapped.PORTION):
            yield self[max(0, start - overlap) : start + mapped.PORTION]


def code_points(path: Path) -> np.ndarray:
    """Return the code points of a text in UTF-8, with line ends of one character; those of a large one lie on disk.

    Raises:
        UnicodeDecodeError: It is no such text.
        OSError: It cannot be read.
        ValueError: The folder for arrays cannot be written to.
    """
    if not mapped.is_large(path):
        return points_of(path.read_text(encoding="utf-8"))
    name = f"text-{mapped.hash_of_file(path)}.npy"
    (found,) = mapped.stored([name], lambda scratch: _convert(path, scratch / name))
    return np.load(found, mmap_mode="r")


def points_of(text: str) -> np.ndarray:
    """Return the code points of a text."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def distinct(points: np.ndarray) -> list[int]:
    """Return the different code points of a text, in their order."""
    seen = np.zeros(MOST_POINTS, dtype=bool)
    for start in range(0, len(points), mapped.PORTION):
        seen[points[start : start + mapped.PORTION]] = True
    return np.flatnonzero(seen).tolist()


def first_wrong_byte(path: Path) -> tuple[int, int] | None:
    """Return the place and the value of the first byte that is no UTF-8; ``None`` where there is none."""
    decoder, done = codecs.getincrementaldecoder("utf-8")(), 0
    with path.open("rb") as file:
        while True:
            piece = file.read(mapped.PORTION)
            waiting = decoder.getstate()[0]
            try:
                decoder.decode(piece, final=not piece)
            except UnicodeDecodeError as error:
                return done - len(waiting) + error.start, (waiting + piece)[error.start]
            if not piece:
                return None
            done += len(piece)


def _pieces(path: Path) -> Iterator[np.ndarray]:
    with path.open(encoding="utf-8") as file:
        while text := file.read(mapped.PORTION):
            yield points_of(text)


def _convert(path: Path, target: Path) -> None:
    """Write the code points of a text, in the least type that has them."""
    count = most = 0
    for piece in _pieces(path):
        count, most = count + len(piece), max(most, int(piece.max()))
    array = np.lib.format.open_memmap(target, mode="w+", dtype=np.min_scalar_type(most), shape=(count,))
    start = 0
    for piece in _pieces(path):
        array[start : start + len(piece)] = piece
        start += len(piece)
    array.flush()
