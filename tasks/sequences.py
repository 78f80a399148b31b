"""Sequences of any lengths in one piece of memory, which may lie on disk, and their padded batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from tasks.mapped import Standardised, spans
from tasks.texts import Tokens

NUMERICS = 1
"""Version of what this part computes. It is raised when the numbers change; `make numerics` says when that is so."""


@dataclass(frozen=True)
class Sequences:
    """Sequences one behind the other.

    Attributes:
        steps: The steps of all sequences: vectors, ``(total, input)`` of float32, or tokens, ``(total,)`` of integers.
            They may lie on disk; a batch reads what it needs.
        ends: The number of steps up to and with each sequence, increasing.
    """

    steps: np.ndarray | Standardised | Tokens
    ends: np.ndarray

    @classmethod
    def of(cls, sequences: Sequence[np.ndarray]) -> Sequences:
        """Return sequences, each with at least one step, in one piece."""
        return cls(np.concatenate(sequences), np.cumsum([len(each) for each in sequences]))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, number: int) -> np.ndarray:
        return self.steps[self.ends[number - 1] if number else 0 : self.ends[number]]

    @property
    def lengths(self) -> np.ndarray:
        """Steps of each sequence."""
        return np.diff(self.ends, prepend=0)

    def steps_of(self, chosen: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the steps of some sequences, in the order of all of them, piece by piece."""
        is_chosen = np.isin(np.arange(len(self)), chosen)
        for at in spans(self.steps.shape):
            first, last = np.searchsorted(self.ends, (at.start, at.stop - 1), side="right")
            here = np.diff(np.minimum(self.ends[first : last + 1], at.stop), prepend=at.start)
            yield self.steps[at][np.repeat(is_chosen[first : last + 1], here)]

    def padded(self, chosen: np.ndarray) -> tuple[Shaped[Tensor, "time batch *input"], Int[Tensor, " batch"] | None]:
        """Return sequences side by side, with zeros behind the shorter ones, and their lengths.

        Args:
            chosen: Numbers of the sequences.

        Returns:
            The sequences, time-major, and the steps of each; ``None`` for these where all sequences have as many.
        """
        lengths = self.lengths[chosen]
        batch = np.zeros((int(lengths.max()), len(chosen), *self.steps.shape[1:]), dtype=self.steps.dtype)
        for column, number in enumerate(chosen.tolist()):
            batch[: lengths[column], column] = self[number]
        if self.steps.dtype.kind in "iu":
            batch = batch.astype(np.int64)
        return torch.from_numpy(batch), torch.from_numpy(lengths) if len(set(lengths.tolist())) > 1 else None


def hash_of(*parts: np.ndarray | str | range | Tokens | Standardised) -> str:
    """Return the SHA-256 of arrays, with their shapes and types, and of texts.

    A range counts as the array of its numbers, and so does what is looked up or computed when it is asked for.
    """
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            found.update(part.encode())
        elif isinstance(part, range):
            found.update(f"{np.dtype(np.int64).str}{(len(part),)}".encode())
            for at in spans((len(part),)):
                numbers = part[at]
                found.update(np.arange(numbers.start, numbers.stop, numbers.step, dtype=np.int64).data)
        elif isinstance(part, Tokens | Standardised):
            found.update(part.head.encode())
            for piece in part.portions():
                found.update(piece.data)
        else:
            found.update(f"{part.dtype.str}{part.shape}".encode())
            found.update(np.ascontiguousarray(part).data)
    return found.hexdigest()
