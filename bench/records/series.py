"""The tables of a record, which are its curves and probes: their columns and files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

CLOCKS = ("eval_train_seconds",)
"""Columns of the curves that hold times, in which two equal runs differ."""

PROBES: dict[str, dict[str, pa.DataType]] = {
    "flow": {"step": pa.int32(), "layer": pa.int16(), "state": pa.string(), "lag": pa.int32(), "value": pa.float64()},
    "activity": {
        "step": pa.int32(), "layer": pa.int16(), "name": pa.string(), "statistic": pa.string(), "value": pa.float64(),
    },
    "gradients": {"step": pa.int32(), "parameter": pa.string(), "statistic": pa.string(), "value": pa.float64()},
}  # fmt: skip
"""Columns of the tables of the probes.

Each table is tidy and stands in ``<name>.parquet`` beside the record, with the column ``run`` in front. ``step`` counts
updates; step 0 is the network as initialised.

- ``flow`` holds the RMS over the probe batch of the norm of dL/dstate, ``lag`` steps before the first answer, with
  ``layer`` from 1 at the input, and that of dL/dx of the network's input as layer 0 and state ``x``.
- ``activity`` holds statistics of a gate, of the hidden state (``name`` is ``h``), or of the whole state (``state``:
  its Lyapunov exponents).
- ``gradients`` holds, for a parameter at one update, ``norm`` before the clip, ``norm_clipped`` after it, and
  ``update_ratio``, the norm of the update over that of the parameter.
"""


def curves_table(columns: Mapping[str, Sequence[float]], evaluations: Sequence[Mapping[str, int | float]]) -> pa.Table:
    """Make the table of the curves, with one row for each step.

    Args:
        columns: Values of every step, from step 1 on, all of one length.
        evaluations: A row for each evaluation, with its ``step``; its other keys become columns ``eval_<name>`` that
            are null at all other steps.

    Returns:
        A table with the columns ``step``, those of ``columns`` and those of ``evaluations``.
    """
    length = len(next(iter(columns.values())))
    data: dict[str, pa.Array] = {"step": pa.array(range(1, length + 1), pa.int32())}
    data |= {name: pa.array(values, pa.float32()) for name, values in columns.items()}
    for name in evaluations[0] if evaluations else ():
        if name != "step":
            sparse: list[float | None] = [None] * length
            for row in evaluations:
                sparse[int(row["step"]) - 1] = row[name]
            data[f"eval_{name}"] = pa.array(sparse, pa.float64())
    return pa.table(data)


def probe_table(name: str, run: str, rows: Iterable[Sequence[Any]]) -> pa.Table:
    """Make one table of :data:`PROBES`.

    Args:
        name: Name of the table.
        run: The run's id.
        rows: The table's rows, without the column of the run.
    """
    rows = list(rows)
    columns = {key: pa.array([row[i] for row in rows], kind) for i, (key, kind) in enumerate(PROBES[name].items())}
    return pa.table({"run": pa.array([run] * len(rows), pa.string()), **columns})


CLASSES = b"classes"
"""The entry of a table's metadata that has the names of the classes, as JSON."""


def predictions_table(columns: Mapping[str, Any], classes: Sequence[str]) -> pa.Table:
    """Make the table of what a network says of the test set.

    Args:
        columns: ``sequence``, ``step``, ``target``, ``output`` and others, all of one length; see
            :meth:`tasks.data_set.DataSet.told`.
        classes: Names of the classes, where targets are numbers of classes; else none.
    """
    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    return table.replace_schema_metadata({CLASSES: json.dumps(list(classes))} if classes else None)


def probe_file(name: str) -> str:
    """Return the file name of a table of :data:`PROBES`."""
    return f"{name}.parquet"


def as_numpy(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column of numbers or truths as an array; numbers that are missing are NaN.

    Arrow's own ways from and to Python import pandas first. That takes as long as to read a thousand tables, and does
    not hear Ctrl-C. So do those of its functions that are given a number or a text.
    """
    if pa.types.is_boolean(column.type):
        return as_numpy(column.cast(pa.uint8())).astype(bool)
    parts = [np.from_dlpack(chunk) if not chunk.null_count else _with_gaps(chunk) for chunk in column.chunks]
    return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.zeros(0)


def as_texts(column: pa.ChunkedArray) -> tuple[list[str], np.ndarray]:
    """Return the texts of a column, in the order in which they first come, and the place of each row's among them."""
    coded = column.combine_chunks().dictionary_encode()
    return coded.dictionary.to_pylist(), np.from_dlpack(coded.indices)


def stacked(tables: Sequence[pa.Table], names: Sequence[str]) -> tuple[pa.Table, np.ndarray]:
    """Return some columns of one or more tables, below each other in one piece, and the number of each row's table."""
    wanted = [table.select(names).replace_schema_metadata(None) for table in tables]
    whole = pa.concat_tables(wanted, promote_options="permissive").combine_chunks()
    return whole, np.repeat(np.arange(len(tables)), [table.num_rows for table in tables])


def rows_where(table: pa.Table, wanted: np.ndarray) -> pa.Table:
    """Return the wanted rows of a table."""
    bits = pa.py_buffer(np.packbits(wanted, bitorder="little").tobytes())
    return table.filter(pa.Array.from_buffers(pa.bool_(), len(wanted), [None, bits]))


def _with_gaps(chunk: pa.Array) -> np.ndarray:
    kind = np.dtype(chunk.type.to_pandas_dtype())
    values = np.frombuffer(chunk.buffers()[1], kind)[chunk.offset : chunk.offset + len(chunk)]
    there = np.from_dlpack(chunk.is_valid().cast(pa.uint8())).astype(bool)
    return np.where(there, values, math.nan).astype(kind if kind.kind == "f" else float)
