"""Sequences from tables in long form, with a row for each step; those of a large file stay on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from tasks import mapped
from tasks.large_tables import array_name, as_texts, digest_of, head_of, inferred, is_large, pieces
from tasks.sequences import Sequences
from tasks.tables import is_parquet, numbers_of, path_of, read_table, require_column, require_values


@dataclass(frozen=True)
class LongTable:
    """The sequences of a table in long form.

    Attributes:
        keys: What each is called, in the order of their first rows.
        columns: Names of the columns of numbers.
        values: The numbers of all steps, ``(rows, columns)`` of float64, in the order of sequences and steps. They lie
            on disk if the file is large and its rows have this order.
        ends: The number of steps up to and with each sequence.
        classes: Names of the classes, sorted; none where labels were not asked for.
        labels: The class of each sequence.
    """

    keys: Sequence[str]
    columns: Sequence[str]
    values: np.ndarray
    ends: np.ndarray
    classes: Sequence[str]
    labels: np.ndarray

    def steps_of(self, chosen: np.ndarray) -> np.ndarray:
        """Return the numbers of all steps of some sequences, in the order of the table; many of them on disk."""
        lengths = np.diff(self.ends, prepend=0)[chosen]
        found, filled = mapped.empty((int(lengths.sum()), self.values.shape[1])), 0
        for part in Sequences(self.values, self.ends).steps_of(chosen):
            found[filled : filled + len(part)] = part
            filled += len(part)
        return found


def read_long(
    source: str | pd.DataFrame,
    *,
    sequence: str,
    step: str | None,
    label: str | None,
    columns: Sequence[str] | None,
    max_length: int | None,
) -> LongTable:
    """Read sequences; the arguments are those of :class:`tasks.sequence_classification.SequenceClassification`.

    Raises:
        ValueError: The table or a value in it is not as described there.
    """
    named = {"sequence": sequence} | ({"label": label} if label is not None else {})
    named |= {"step": step} if step is not None else {}
    if isinstance(source, str) and is_large(source) and (found := _on_disk(source, named, columns)) is not None:
        _check_lengths(found.keys, np.diff(found.ends, prepend=0), max_length)
        return found
    table = read_table(source)
    for name, column in named.items():
        require_values(table, name, column)
    names = _columns_of(table, named, columns)
    values = numbers_of(table, names)
    keys, of_row = _numbered(table[sequence].to_numpy())
    order, ends = _in_order(table, of_row, step, keys, max_length)
    if label is None:
        return LongTable(keys, names, values[order], ends, (), np.zeros(0, dtype=np.int64))
    classes, of_row_class = _classes(label, table[label].astype(str).to_numpy())
    of_step = of_row_class[order]
    lengths = np.diff(ends, prepend=0)
    labels = of_step[ends - lengths]
    if (mixed := np.flatnonzero(of_step != np.repeat(labels, lengths))).size:
        raise ValueError(_changes(keys[int(np.searchsorted(ends, mixed[0], side="right"))]))
    return LongTable(keys, names, values[order], ends, classes, labels)


def _columns_of(table: pd.DataFrame, named: dict[str, str], columns: Sequence[str] | None) -> list[str]:
    names = [each for each in table.columns if each not in named.values()] if columns is None else list(columns)
    if not names:
        raise ValueError("`columns` must name a column of numbers at least, and the file has no other ones")
    return names


def _numbered(column: np.ndarray, *, ordered: bool = False) -> tuple[list[str], np.ndarray]:
    """Return the different values of a column as texts, by their first row or sorted, and the number of each row's."""
    codes, values = pd.factorize(column, sort=ordered)
    return [str(value) for value in values], np.asarray(codes)


def _classes(label: str, names: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Return the names of the classes, sorted, and the number of each of ``names``."""
    classes, numbers = _numbered(names, ordered=True)
    if len(classes) < 2:
        raise ValueError(f"`label` must have two classes at least, and {label} has {classes[0]!r} alone")
    return classes, numbers


def _changes(key: str) -> str:
    return f"`label` must be the same in all rows of a sequence, and that of {key!r} changes"


def _check_lengths(keys: Sequence[str], lengths: np.ndarray, max_length: int | None) -> None:
    if max_length is not None and lengths.max() > max_length:
        longest = keys[int(lengths.argmax())]
        raise ValueError(f"`max_length` must be null or >= {lengths.max()}, the steps of {longest!r}, got {max_length}")


def _in_order(
    table: pd.DataFrame, of_row: np.ndarray, step: str | None, keys: Sequence[str], max_length: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows in the order of sequences and steps, and the number of rows up to and with each sequence.

    Raises:
        ValueError: A sequence has a step twice, lacks one between its first and its last, or is too long.
    """
    lengths = np.bincount(of_row)
    _check_lengths(keys, lengths, max_length)
    if step is None:
        return np.argsort(of_row, kind="stable"), np.cumsum(lengths)
    steps = numbers_of(table, [step], "step")[:, 0]
    order = np.lexsort((steps, of_row))
    same = np.diff(of_row[order]) == 0
    wrong = np.flatnonzero(same & (np.diff(steps[order]) != 1))
    if len(wrong):
        at, after = order[wrong[0]], order[wrong[0] + 1]
        whose = f"that of {keys[int(of_row[at])]!r} goes from {steps[at]:g} to {steps[after]:g}"
        raise ValueError(f"`step` must go up by 1 within a sequence, and {whose}")
    return order, np.cumsum(lengths)


class _NotInOrderError(Exception):
    """Rows of a sequence do not lie together, or their steps are not in order."""


def _on_disk(file: str, named: dict[str, str], columns: Sequence[str] | None) -> LongTable | None:
    """Return the sequences of a large file, whose numbers lie on disk; ``None`` where its rows are not in order."""
    head = head_of(file)
    for name, column in named.items():
        require_column(head, name, column)
    names = _columns_of(head, named, columns)
    of_file = mapped.hash_of_file(path_of(file))
    array = array_name(of_file, names)
    about = f"sequences-{of_file}-{digest_of([*named, *named.values(), *names])}.parquet"

    def convert(scratch: Path) -> None:
        _convert(file, named, names, scratch / array, scratch / about)

    try:
        found = mapped.stored([array, about], convert)
    except _NotInOrderError:
        return None
    sequences = pd.read_parquet(found[1])
    classes, labels = (), np.zeros(0, dtype=np.int64)
    if "label" in named:
        classes, labels = _classes(named["label"], sequences["label"].to_numpy(dtype=object))
    ends = np.cumsum(sequences["steps"].to_numpy())
    return LongTable(sequences["key"].tolist(), names, np.load(found[0], mmap_mode="r"), ends, classes, labels)


def _convert(file: str, named: dict[str, str], names: Sequence[str], array: Path, about: Path) -> None:
    """Write the numbers of all steps into one file, and what the sequences are into another, a row for each."""
    runs, texts = _Runs(), [column for name, column in named.items() if name != "step"]
    read = [*named.items(), *(("columns", each) for each in names)]
    with mapped.ArrayFile(array, (len(names),)) as rows:
        for before, table in pieces(file, read, texts):
            for name, column in named.items():
                require_values(table, name, column, before)
            rows.add(numbers_of(table, names, before=before))
            steps = numbers_of(table, [named["step"]], "step", before)[:, 0] if "step" in named else None
            labels = table[named["label"]].to_numpy() if "label" in named else np.zeros(len(table))
            runs.add(table[named["sequence"]].to_numpy(), labels, steps)
    sequences = runs.sequences(of_csv=not is_parquet(path_of(file)))
    (sequences if "label" in named else sequences.drop(columns="label")).to_parquet(about)


@dataclass
class _Runs:
    """Runs of rows that have the same sequence and label, collected from the pieces of a table."""

    keys: list[np.ndarray] = field(default_factory=list)
    labels: list[np.ndarray] = field(default_factory=list)
    lengths: list[np.ndarray] = field(default_factory=list)
    ends: list[np.ndarray] = field(default_factory=list)
    """The first and the last step of each run."""
    seen: set[object] = field(default_factory=set)
    last: object = None

    def add(self, keys: np.ndarray, labels: np.ndarray, steps: np.ndarray | None) -> None:
        """Add the runs of a piece; one may go on with the last run of the piece before."""
        of_key, values = pd.factorize(keys)
        of_label, names = pd.factorize(labels)
        other = np.diff(of_key) != 0
        new = values.tolist()
        if other.sum() + 1 != len(new) or not self.seen.isdisjoint(new[new[0] == self.last :]):
            raise _NotInOrderError
        if steps is not None and np.any(~other & (np.diff(steps) != 1)):
            raise _NotInOrderError
        self.seen.update(new)
        self.last = new[of_key[-1]]
        starts = np.concatenate(([0], np.flatnonzero(other | (np.diff(of_label) != 0)) + 1))
        self.keys.append(values[of_key[starts]])
        self.labels.append(names[of_label[starts]])
        self.lengths.append(np.diff(starts, append=len(keys)))
        if steps is not None:
            self.ends.append(np.stack((steps[starts], steps[np.append(starts[1:], len(keys)) - 1]), axis=-1))

    def sequences(self, *, of_csv: bool) -> pd.DataFrame:
        """Return a row for each sequence: its key and its label as texts, and its number of steps.

        Args:
            of_csv: Whether keys and labels are what stands in a CSV file; see :func:`tasks.large_tables.as_texts`.
        """
        values = np.concatenate(self.keys)
        of_run, keys = pd.factorize(inferred(values).to_numpy() if of_csv else values)
        names = as_texts(np.concatenate(self.labels), of_csv=of_csv)
        goes_on = np.diff(of_run) == 0
        if np.any(np.diff(of_run) < 0):
            raise _NotInOrderError
        if self.ends:
            ends = np.concatenate(self.ends)
            if np.any(goes_on & (ends[1:, 0] - ends[:-1, 1] != 1)):
                raise _NotInOrderError
        if (mixed := np.flatnonzero(goes_on & (names[1:] != names[:-1]))).size:
            raise ValueError(_changes(str(keys[of_run[mixed[0]]])))
        begins = np.concatenate(([0], np.flatnonzero(~goes_on) + 1))
        steps = np.add.reduceat(np.concatenate(self.lengths), begins)
        return pd.DataFrame({"key": [str(each) for each in keys], "steps": steps, "label": names[begins]})
