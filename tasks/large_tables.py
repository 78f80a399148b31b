"""Tables that are too large for memory: read piece by piece, their numbers converted once into arrays on disk."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks import mapped
from tasks.tables import CSV, is_parquet, numbers_of, path_of, read_table, reading, require_column, without_rows

HEAD = 100
"""Rows that are looked at before all others."""


def is_large(file: str | pd.DataFrame) -> bool:
    """Return whether a table is a file that is not to be read into memory.

    Raises:
        ValueError: There is no such file.
    """
    return isinstance(file, str) and mapped.is_large(path_of(file))


def head_of(file: str) -> pd.DataFrame:
    """Return the first rows of the table of a large file.

    Raises:
        ValueError: It is no table.
    """
    path = path_of(file)
    with reading(path, file):
        if is_parquet(path):
            from pyarrow.parquet import ParquetFile

            with ParquetFile(path) as table:
                batch = next(table.iter_batches(HEAD), None)
                found = batch.to_pandas() if batch is not None else table.schema_arrow.empty_table().to_pandas()
        else:
            found = pd.read_csv(path, nrows=HEAD, **CSV)
    return found.rename(columns=str)


def pieces(
    file: str | pd.DataFrame, named: Collection[tuple[str, str]], texts: Collection[str] = ()
) -> Iterator[tuple[int, pd.DataFrame]]:
    """Yield a table piece by piece, and how many rows stand before each piece; what is not large is one piece.

    Args:
        file: The table; see :func:`tasks.tables.read_table`.
        named: Arguments, and the column that each names; a piece of a large Parquet file has no others.
        texts: Columns that are texts in each piece of a large CSV file: only all values together say what they are.

    Raises:
        ValueError: It is no such table, or lacks a column.
    """
    if not (isinstance(file, str) and is_large(file)):
        yield 0, read_table(file)
        return
    path, head, before = path_of(file), head_of(file), 0
    for name, column in named:
        require_column(head, name, column)
    columns = {column for _, column in named}
    read = head[sorted(columns)] if is_parquet(path) else head
    size = float(np.sum(read.memory_usage(index=False, deep=True))) / max(1, len(read))
    # While it is read, a table takes several times its memory.
    rows = max(1, int(mapped.PORTION / 2 / max(1, size)))
    with contextlib.closing(_frames(path, rows, columns, texts)) as frames:
        while True:
            with reading(path, file):
                found = next(frames, None)
            if found is None:
                break
            if len(found):
                yield before, found.rename(columns=str)
            before += len(found)
    if not before:
        raise ValueError(without_rows(file))


def _frames(
    path: Path, rows: int, columns: Collection[str], texts: Collection[str]
) -> Generator[pd.DataFrame, None, None]:
    if is_parquet(path):
        from pyarrow.parquet import ParquetFile

        with ParquetFile(path) as file:
            for batch in file.iter_batches(rows, columns=sorted(columns)):
                yield batch.to_pandas()
    else:
        # All columns are read: among chosen ones pandas lets rows pass that have more values than names.
        options: dict[str, Any] = {**CSV, "dtype": dict.fromkeys(texts, str), "low_memory": False}
        reader: Any = pd.read_csv(path, chunksize=rows, **options)
        with reader:
            yield from reader


def numbers_in(file: str, groups: Mapping[str, Sequence[str]]) -> list[np.ndarray]:
    """Return columns of finite numbers, for each group ``(rows, columns)`` of float64; those of a large file on disk.

    Args:
        file: The table.
        groups: Names of columns, by the argument that names them. At least one group has some.

    Raises:
        ValueError: It is no table, a column is missing or has anything else, or the folder for arrays cannot be
            written to.
    """
    if not is_large(file):
        table = read_table(file)
        return [numbers_of(table, columns, name) for name, columns in groups.items()]
    of_file = mapped.hash_of_file(path_of(file))
    arrays = {name: array_name(of_file, columns) for name, columns in groups.items() if columns}

    def convert(scratch: Path) -> None:
        named = [(name, column) for name, columns in groups.items() for column in columns]
        with contextlib.ExitStack() as stack:
            # Two groups may be the same columns.
            of_array = {array: name for name, array in arrays.items()}
            files = {
                array: stack.enter_context(mapped.ArrayFile(scratch / array, (len(groups[name]),)))
                for array, name in of_array.items()
            }
            for before, table in pieces(file, named):
                for array, name in of_array.items():
                    files[array].add(numbers_of(table, groups[name], name, before))

    paths = mapped.stored(list(dict.fromkeys(arrays.values())), convert)
    loaded = {path.name: np.load(path, mmap_mode="r") for path in paths}
    rows = len(next(iter(loaded.values())))
    return [loaded[arrays[name]] if columns else np.zeros((rows, 0)) for name, columns in groups.items()]


def array_name(of_file: str, columns: Sequence[str]) -> str:
    """Return the name of the array of some columns, of the file with a given hash."""
    return f"numbers-{of_file}-{digest_of(columns)}.npy"


def digest_of(names: Sequence[str]) -> str:
    """Return sixteen hexadecimal digits over names."""
    return hashlib.sha256(repr(list(names)).encode()).hexdigest()[:16]


def as_texts(values: np.ndarray, *, of_csv: bool) -> np.ndarray:
    """Return the values of a column as texts.

    Args:
        values: The values; of a CSV file the texts that stand there.
        of_csv: Whether they are these texts, of which only all together say whether they are numbers.
    """
    codes, different = pd.factorize(values)
    found = inferred(np.asarray(different)) if of_csv else pd.Series(different)
    return found.astype(str).to_numpy(dtype=object)[codes]


def inferred(texts: np.ndarray) -> pd.Series:
    """Return the column that pandas makes of the texts of a CSV file, such as numbers where all of them are some."""
    content = io.StringIO(newline="")
    writer = csv.writer(content, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([text] for text in ("texts", *texts))
    content.seek(0)
    return pd.read_csv(content, low_memory=False, **CSV)["texts"]
