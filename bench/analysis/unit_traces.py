"""What the units of one layer did while a trained network read one sequence, and which of them are worth a look."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

VARYING = re.compile(r"varying:(\d+)")
NUMBERS = re.compile(r"\d+(,\d+)*")
HIDDEN = "h"
"""The part of the state that the layer above and the readout see."""


@dataclass(frozen=True)
class UnitTraces:
    """The units of one layer over the steps of one sequence.

    Attributes:
        name: What names the run and the sequence, for files.
        title: What was read, and by which network.
        inputs: The vectors that the network read, ``(time, input)``; ``None`` where it read tokens.
        tokens: What each token stands for; empty where it read vectors, or where nothing says it.
        blocks: Values of gates and other blocks of the cell by name, each ``(time, unit)``.
        gates: Those of them that are gates, with values from 0 to 1.
        states: Parts of the state after each step, in the same form.
    """

    name: str
    title: str
    inputs: np.ndarray | None
    tokens: tuple[str, ...]
    blocks: Mapping[str, np.ndarray]
    gates: tuple[str, ...]
    states: Mapping[str, np.ndarray]

    @property
    def steps(self) -> int:
        """Steps of the sequence."""
        return len(self.states[HIDDEN])

    @property
    def size(self) -> int:
        """Units of the layer."""
        return self.states[HIDDEN].shape[1]


def units_of(traces: UnitTraces, asked: str) -> list[int]:
    """Return the numbers of units, from 0, in the order in which they are to be shown.

    Args:
        traces: All units.
        asked: ``all``; numbers with commas between them; or ``varying:N``, the N units whose hidden state has the
            largest standard deviation over the sequence, the largest first, or all where there are fewer.

    Raises:
        ValueError: It is none of these, or names a unit that is not there, or one twice.
    """
    if asked == "all":
        return list(range(traces.size))
    if (found := VARYING.fullmatch(asked)) is not None and int(found[1]) >= 1:
        spread = traces.states[HIDDEN].std(0)
        return np.argsort(-spread, kind="stable")[: int(found[1])].tolist()
    if NUMBERS.fullmatch(asked) is None:
        raise ValueError(f"`units` must be all, varying:N with N >= 1, or numbers as in 0,3,17, got {asked!r}")
    numbers = [int(each) for each in asked.split(",")]
    for number in numbers:
        if number >= traces.size:
            raise ValueError(f"`units` must be from 0 to {traces.size - 1}, got {number}")
        if numbers.count(number) > 1:
            raise ValueError(f"`units` must have each unit once, got {number} twice")
    return numbers
