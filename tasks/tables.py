"""Tables of the user's: CSV and Parquet files, read with a word for all that can be wrong with them."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.texts import first_wrong_byte

NUMERICS = 1
"""Version of what this part computes. It is raised when the numbers change; `make numerics` says when that is so."""

SHIPPED = Path(__file__).with_name("files")
"""Data sets that come with the package; each is named by its file's name without the suffix."""
# "None" and "NA" may be words, or the names of classes.
CSV: Mapping[str, Any] = {
    "encoding": "utf-8", "skipinitialspace": True, "keep_default_na": False, "na_values": [""], "index_col": False,
}  # fmt: skip
"""How a CSV file is read."""


def path_of(file: str) -> Path:
    """Return the path of a data file: one that comes with the package, or one of the user's.

    Raises:
        ValueError: There is no such file.
    """
    shipped = {path.stem: path for path in SHIPPED.glob("*.csv")}
    if file in shipped:
        return shipped[file]
    path = Path(file).expanduser()
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not there"
        raise ValueError(f"`file` must be a file, or one of {', '.join(sorted(shipped))}, got {file!r}, which {what}")
    return path


def read_table(file: str | pd.DataFrame) -> pd.DataFrame:
    """Read a table from a CSV file with a header, in UTF-8, or from a Parquet file (``.parquet``).

    A table that is read already stays as it is.

    Raises:
        ValueError: The file is missing, empty, no such table, or has no rows.
    """
    if isinstance(file, pd.DataFrame):
        if not len(file):
            raise ValueError("`file` must be a table with rows, got one that has none")
        return file.rename(columns=str)
    path = path_of(file)
    stat = path.stat()
    return _read(path.absolute(), file, stat.st_mtime_ns, stat.st_size).copy(deep=False)


@functools.lru_cache(maxsize=8)
def _read(path: Path, file: str, *version: int) -> pd.DataFrame:
    with reading(path, file):
        # Read in pieces, a column would be numbers in one and texts in another, and 1 not be "1".
        found = pd.read_parquet(path) if is_parquet(path) else pd.read_csv(path, low_memory=False, **CSV)
    if not len(found):
        raise ValueError(without_rows(file))
    return found.rename(columns=str)


def is_parquet(path: Path) -> bool:
    """Return whether a file is Parquet by its name, and not CSV."""
    return path.suffix.lower() in (".parquet", ".pq")


@contextlib.contextmanager
def reading(path: Path, file: str) -> Iterator[None]:
    """Turn what a reader of tables raises into a ``ValueError`` that says what is wrong with the file."""
    try:
        with warnings.catch_warnings():
            # Otherwise a row with more values than names is read shifted, without a word.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            yield
    except pd.errors.ParserWarning:
        raise ValueError(
            f"`file` must have as many names as values in a row, got {file!r}, which has more values"
        ) from None
    except pd.errors.EmptyDataError:
        raise ValueError(f"`file` must be a table, got {file!r}, which is empty") from None
    except UnicodeDecodeError:
        raise ValueError(not_utf8(path, file)) from None
    except OSError as error:
        raise ValueError(f"`file` must be a file that can be read, got {file!r}: {error.strerror or error}") from None
    except Exception as error:  # noqa: BLE001 - a reader that is fed with noise can raise anything
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"`file` must be a CSV or Parquet table, got {file!r} ({reason})") from None


def without_rows(file: str) -> str:
    """Return what is said of a table that has no rows."""
    return f"`file` must be a table with rows, got {file!r}, which has none"


def not_utf8(path: Path, file: str) -> str:
    """Return what is said of a file that is no text in UTF-8, with the place of the first wrong byte."""
    wrong = first_wrong_byte(path)
    where = f", whose byte {wrong[0]} is {wrong[1]:#04x}" if wrong is not None else ""
    return f"`file` must be text in UTF-8, got {file!r}{where}"


def as_table(source: str | pd.DataFrame | Sequence[str], column: str | None = None) -> str | pd.DataFrame:
    """Return a path or a table as it is, and a list of texts as a table with one column.

    Raises:
        ValueError: There is a list, and no column for it.
    """
    if isinstance(source, str | pd.DataFrame):
        return source
    if column is None:
        raise ValueError(f"`file` must be the path of a file or a table, got a {type(source).__name__}")
    return pd.DataFrame({column: list(source)})


def require_column(table: pd.DataFrame, name: str, column: str) -> None:
    """Raise ``ValueError`` unless a table has the column that the argument ``name`` names."""
    if column not in table.columns:
        there = ", ".join(map(str, table.columns[:10]))
        raise ValueError(f"`{name}` must be a column of the file ({there}), got {column!r}")


def require_values(table: pd.DataFrame, name: str, column: str, before: int = 0) -> None:
    """Raise ``ValueError`` unless a table has the column that the argument ``name`` names, with a value in each row.

    A table may be a piece of another one, with so many rows ``before`` it.
    """
    require_column(table, name, column)
    if len(empty := np.flatnonzero(table[column].isna())):
        raise ValueError(f"`{name}` must have a value in every row, and row {before + empty[0] + 1} has none")


def numbers_of(table: pd.DataFrame, columns: Sequence[str], name: str = "columns", before: int = 0) -> np.ndarray:
    """Return columns of finite numbers, ``(rows, columns)`` of float64.

    Args:
        table: The table, or a piece of it.
        columns: Their names.
        name: The argument that names them, for the message.
        before: Rows of the table before the piece.

    Raises:
        ValueError: A column is missing, or has anything else.
    """
    found = []
    for column in columns:
        require_column(table, name, column)
        if list(table.columns).count(column) > 1:
            raise ValueError(f"`{name}` must name one column, and the table has {column!r} more than once")
        try:
            values = np.asarray(pd.to_numeric(table[column], errors="coerce"), dtype=np.float64)
        except (TypeError, OverflowError) as error:
            raise ValueError(f"`{name}` must have numbers in {column} ({error})") from None
        wrong = np.flatnonzero(~np.isfinite(values))
        if len(wrong):
            raise ValueError(
                f"`{name}` must have a finite number in every row, and {column} of row {before + wrong[0] + 1} "
                f"has {table[column].tolist()[wrong[0]]!r}"
            )
        found.append(values)
    return np.stack(found, axis=-1) if found else np.zeros((len(table), 0))
