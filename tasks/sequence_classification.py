"""Classes of sequences from a table of your own: sensor readings, strokes, prices, whatever has steps and a label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tasks.base import require_at_least
from tasks.classification import ClassEncoder, Classification
from tasks.data_set import NewInputs, Source, dealt_out
from tasks.sequences import Sequences
from tasks.tables import as_table, numbers_of, read_table, require_values

NUMERICS = 1
"""Version of what this part computes. It is raised when the numbers change; `make numerics` says when that is so."""


class TableEncoder(ClassEncoder):
    """Reads sequences of a table in long form, as :class:`SequenceClassification` does, and standardises them."""

    def __init__(self, kept: Mapping[str, Any]) -> None:
        super().__init__(kept)
        self.sequence, self.step = str(kept["sequence"]), kept["step"]
        self.columns, self.max_length = list(map(str, kept["columns"])), kept["max_length"]
        self.mean, self.spread = (np.array(kept[name], dtype=np.float64) for name in ("mean", "spread"))
        if not len(self.columns) == len(self.mean) == len(self.spread):
            raise ValueError("mean and spread must have a number for each column")

    def read(self, source: Source) -> NewInputs:
        """Read a table; the columns of labels and others are not needed."""
        table = read_table(as_table(source))
        require_values(table, "sequence", self.sequence)
        values = numbers_of(table, self.columns)
        keys, of_row = _numbered(table[self.sequence].to_numpy())
        order, ends = _in_order(table, of_row, self.step, keys, self.max_length)
        steps = (values[order] - self.mean) / self.spread
        sequences = Sequences(steps.astype(np.float32), ends)
        return NewInputs(sequences, {self.sequence: np.array(keys, dtype=object)})


class SequenceClassification(Classification):
    """The class of each sequence of a CSV or Parquet table in long form: a row for each step.

        sequence,step,x,y,label
        a,0,0.1,-0.3,circle
        a,1,0.2,-0.1,circle
        b,0,0.9,0.4,line

    All sequences of a split are standardised by the mean and the standard deviation, column by column, of all steps of
    the training split. Sequences may have different lengths.

    Args:
        file: The table; CSV with a header in UTF-8, or Parquet.
        sequence: Column that says which sequence a row belongs to.
        step: Column of the number of the step, whole and without a gap in a sequence; ``None`` where rows are in order.
        label: Column of the class, the same in all rows of a sequence.
        columns: Columns of numbers that the network reads; ``None`` for all others.
        max_length: Steps of a sequence at most, >= 1; ``None`` for no limit.
        readout: What the answer is read from: ``"last"``, the state after the last real step, or ``"mean"``, the mean
            of the states of all real steps.
        validation: Share of the sequences that evaluations see, of each class the same.
        test: Share that the test at the end sees.
        solved_accuracy: The task counts as solved when at least this share of the evaluation set is right; more than
            the most frequent class has, and at most 1.

    Raises:
        ValueError: The file or a value in it is not as described, or a value is out of range.
    """

    places = ("file",)
    encoder = TableEncoder

    def __init__(
        self,
        *,
        file: str,
        sequence: str,
        step: str | None,
        label: str,
        columns: Sequence[str] | None,
        max_length: int | None,
        readout: str,
        validation: float,
        test: float,
        solved_accuracy: float,
    ) -> None:
        if max_length is not None:
            require_at_least("max_length", max_length, 1)
        table = read_table(file)
        named = {"sequence": sequence, "label": label} | ({"step": step} if step is not None else {})
        for name, column in named.items():
            require_values(table, name, column)
        names = [each for each in table.columns if each not in named.values()] if columns is None else list(columns)
        if not names:
            raise ValueError("`columns` must name a column of numbers at least, and the file has no other ones")
        values = numbers_of(table, names)
        keys, of_row = _numbered(table[sequence].to_numpy())
        order, ends = _in_order(table, of_row, step, keys, max_length)
        lengths = np.diff(ends, prepend=0)
        classes, of_row_class = _numbered(table[label].astype(str).to_numpy(), ordered=True)
        if len(classes) < 2:
            raise ValueError(f"`label` must have two classes at least, and {label} has {classes[0]!r} alone")
        of_step = of_row_class[order]
        first = ends - lengths
        labels = of_step[first]
        if (mixed := np.flatnonzero(of_step != np.repeat(labels, lengths))).size:
            where = keys[int(np.searchsorted(ends, mixed[0], side="right"))]
            raise ValueError(f"`label` must be the same in all rows of a sequence, and that of {where!r} changes")
        splits = dealt_out(labels, validation, test)
        steps = values[order]
        trained = np.repeat(np.isin(np.arange(len(keys)), splits["train"]), lengths)
        mean, spread = steps[trained].mean(0), steps[trained].std(0)
        spread = np.where(spread > 0, spread, 1.0)
        steps = (steps - mean) / spread
        self._kept = {
            "sequence": sequence, "step": step, "columns": names, "max_length": max_length,
            "mean": mean.tolist(), "spread": spread.tolist(),
        }  # fmt: skip
        super().__init__(
            Sequences(steps.astype(np.float32), ends),
            labels,
            splits,
            classes,
            readout=readout,
            solved_accuracy=solved_accuracy,
        )

    @property
    def kept(self) -> dict[str, Any]:
        """The classes, and what the columns are, with their means and standard deviations."""
        return super().kept | self._kept

    def pooled(self, sequence: np.ndarray) -> np.ndarray:
        """Return the mean over the steps."""
        return sequence.mean(0)


def _numbered(column: np.ndarray, *, ordered: bool = False) -> tuple[list[str], np.ndarray]:
    """Return the different values of a column as texts, by their first row or sorted, and the number of each row's."""
    codes, values = pd.factorize(column, sort=ordered)
    return [str(value) for value in values], np.asarray(codes)


def _in_order(
    table: pd.DataFrame, of_row: np.ndarray, step: str | None, keys: Sequence[str], max_length: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows in the order of sequences and steps, and the number of rows up to and with each sequence.

    Raises:
        ValueError: A sequence has a step twice, lacks one between its first and its last, or is too long.
    """
    lengths = np.bincount(of_row)
    if max_length is not None and lengths.max() > max_length:
        longest = keys[int(lengths.argmax())]
        raise ValueError(f"`max_length` must be null or >= {lengths.max()}, the steps of {longest!r}, got {max_length}")
    if step is None:
        return np.argsort(of_row, kind="stable"), np.cumsum(lengths)
    require_values(table, "step", step)
    steps = numbers_of(table, [step], "step")[:, 0]
    order = np.lexsort((steps, of_row))
    same = np.diff(of_row[order]) == 0
    wrong = np.flatnonzero(same & (np.diff(steps[order]) != 1))
    if len(wrong):
        at, after = order[wrong[0]], order[wrong[0] + 1]
        whose = f"that of {keys[int(of_row[at])]!r} goes from {steps[at]:g} to {steps[after]:g}"
        raise ValueError(f"`step` must go up by 1 within a sequence, and {whose}")
    return order, np.cumsum(lengths)
