"""The work that all programs share: sizes, first weights and batches. The module needs numpy only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

BATCH = 32
BLOCKS = {"rnn": 1, "lstm": 4, "gru": 3}
LEARNING_RATE, CLIP_NORM = 1e-3, 1.0


class Case(NamedTuple):
    """A task at one size."""

    task: str
    length: int
    hidden: int
    input: int
    output: int


CASES = {
    "adding 200": Case("adding", 200, 128, 2, 1),
    "adding 600": Case("adding", 600, 128, 2, 1),
    "copy 1000": Case("copy", 1020, 50, 10, 9),
}


def weights(cell: str, case: Case) -> dict[str, np.ndarray]:
    """Return the first weights, in torch's shapes and order of gates: r z n for the GRU, i f g o for the LSTM."""
    source, bound = np.random.default_rng(0), case.hidden**-0.5
    rows = BLOCKS[cell] * case.hidden
    shapes = {
        "weight_ih": (rows, case.input),
        "weight_hh": (rows, case.hidden),
        "bias_ih": (rows,),
        "bias_hh": (rows,),
        "readout_weight": (case.output, case.hidden),
        "readout_bias": (case.output,),
    }
    return {name: source.uniform(-bound, bound, shape).astype(np.float32) for name, shape in shapes.items()}


def batches(case: Case, number: int = 4) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return inputs (time, batch, input) and targets: (batch,) numbers for adding, (time, batch) symbols for copy."""
    source = np.random.default_rng(1)
    return [_adding(case, source) if case.task == "adding" else _copy(case, source) for _ in range(number)]


def _adding(case: Case, source: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    values = source.random((case.length, BATCH), dtype=np.float32)
    marks, column = np.zeros_like(values), np.arange(BATCH)
    first, second = source.integers(case.length // 2, size=BATCH), source.integers(case.length // 2, size=BATCH)
    second += case.length - case.length // 2
    marks[first, column] = marks[second, column] = 1
    return np.stack((values, marks), axis=-1), values[first, column] + values[second, column]


def _copy(case: Case, source: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return symbols 1 to 8, blanks (0), and a signal (9) at which the symbols are to be repeated."""
    symbols = source.integers(1, 9, size=(10, BATCH))
    shown, wanted = np.zeros((2, case.length, BATCH), dtype=np.int64)
    shown[:10], shown[-11], wanted[-10:] = symbols, 9, symbols
    return np.eye(10, dtype=np.float32)[shown], wanted
