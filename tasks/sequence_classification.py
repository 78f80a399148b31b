"""Classes of sequences from a table of your own: sensor readings, strokes, prices, whatever has steps and a label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tasks.base import require_at_least
from tasks.classification import ClassEncoder, Classification
from tasks.data_set import NewInputs, Source, dealt_out
from tasks.long_form import read_long
from tasks.mapped import deviation, standardised
from tasks.sequences import Sequences
from tasks.tables import as_table

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
        found = read_long(
            as_table(source),
            sequence=self.sequence,
            step=self.step,
            label=None,
            columns=self.columns,
            max_length=self.max_length,
        )
        sequences = Sequences(standardised(found.values, self.mean, self.spread), found.ends)
        return NewInputs(sequences, {self.sequence: np.array(found.keys, dtype=object)})


class SequenceClassification(Classification):
    """The class of each sequence of a CSV or Parquet table in long form: a row for each step.

        sequence,step,x,y,label
        a,0,0.1,-0.3,circle
        a,1,0.2,-0.1,circle
        b,0,0.9,0.4,line

    All sequences of a split are standardised by the mean and the standard deviation, column by column, of all steps of
    the training split. Sequences may have different lengths. Of a large file, from :data:`tasks.mapped.MAPPED_FROM`
    on, the numbers stay on disk if the rows of a sequence lie together and in the order of their steps.

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
        found = read_long(file, sequence=sequence, step=step, label=label, columns=columns, max_length=max_length)
        splits = dealt_out(found.labels, validation, test)
        trained = found.steps_of(splits["train"])
        mean, spread = trained.mean(0), deviation(trained)
        spread = np.where(spread > 0, spread, 1.0)
        self._kept = {
            "sequence": sequence, "step": step, "columns": list(found.columns), "max_length": max_length,
            "mean": mean.tolist(), "spread": spread.tolist(),
        }  # fmt: skip
        super().__init__(
            Sequences(standardised(found.values, mean, spread), found.ends),
            found.labels,
            splits,
            found.classes,
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
