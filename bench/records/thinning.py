"""Thinning of curves: which steps are kept, and the digest that stands for all steps; pure functions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Annotated

import numpy as np
import pyarrow as pa
from msgspec import Meta

from bench import shapes
from bench.records.series import as_numpy

MOST_ROWS = 200
"""Default of the most rows that are kept; more are kept only if there are more evaluations."""

Count = Annotated[int, Meta(ge=1, description="an integer >= 1")]


@dataclass(frozen=True)
class ThinningInfo:
    """What thinned curves say about the whole curves that they were made from, as metadata of the table.

    Attributes:
        rows: Number of steps of the whole.
        every: Every how many steps one was kept, besides the evaluations, the first and the last.
        kept: Number of rows that were kept.
        sha256: The :func:`digest` of the whole, without times.
    """

    rows: Count
    every: Count
    kept: Count
    sha256: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z", description="64 hexadecimal digits")]

    def metadata(self) -> dict[str, str]:
        """Return the values as texts, because metadata can hold nothing else."""
        return {key: str(value) for key, value in asdict(self).items()}


def thinning_of(schema: pa.Schema) -> ThinningInfo | None:
    """Return what the schema of thinned curves says about the whole; ``None`` if the curves are the whole.

    Raises:
        bench.shapes.ShapeError: It says something else.
    """
    found = {key.decode(errors="replace"): value.decode(errors="replace") for key, value in schema_metadata(schema)}
    if "rows" not in found and "sha256" not in found:
        return None
    return shapes.convert(found, ThinningInfo, "metadata", from_texts=True)


def schema_metadata(schema: pa.Schema) -> list[tuple[bytes, bytes]]:
    """Return the keys and values that a schema comes with."""
    return sorted((schema.metadata or {}).items())


def digest(table: pa.Table, without: Collection[str] = ()) -> str:
    """Compute SHA-256 over names, types and values of a table, whatever the file and the order of columns.

    All NaNs count as the same, whatever their sign and payload.

    Args:
        table: A table with columns of numbers or texts.
        without: Names of columns that are left out.
    """
    state = hashlib.sha256()
    for name in sorted(set(table.column_names) - set(without)):
        column = table[name]
        state.update(json.dumps([name, str(column.type), len(column)]).encode())
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            values = as_numpy(column.fill_null(0))
            if values.dtype.kind == "f":
                values = np.where(np.isnan(values), values.dtype.type(np.nan), values)
            state.update(np.packbits(as_numpy(column.is_valid())).tobytes())
            state.update(values.astype(values.dtype.newbyteorder("<")).tobytes())
        else:
            state.update(json.dumps(column.to_pylist()).encode())
    return state.hexdigest()


def always_kept(curves: pa.Table) -> np.ndarray:
    """Find the rows of whole curves that every thinning keeps: evaluations, the first and the last."""
    keep = np.zeros(curves.num_rows, bool)
    keep[:1] = keep[-1:] = True
    for name in curves.column_names:
        if name.startswith("eval_"):
            keep |= as_numpy(curves[name].is_valid())
    return keep


def default_every(curves: pa.Table) -> int:
    """Return the smallest number of steps between two kept rows at which at most :data:`MOST_ROWS` rows stay.

    If there are more evaluations than that, return the number of all steps, so that no other row stays.
    """
    keep = always_kept(curves)
    room = MOST_ROWS - int(keep.sum())
    for every in range(1, curves.num_rows):
        if int((~keep[every - 1 :: every]).sum()) <= room:
            return every
    return max(1, curves.num_rows)


def thin(curves: pa.Table, every: int) -> pa.Table:
    """Keep the rows of :func:`always_kept`, and one row every so many steps.

    Args:
        curves: Whole curves; see :func:`bench.records.series.curves_table`.
        every: Number of steps between two kept rows.
    """
    steps = as_numpy(curves["step"]).astype(np.int64)
    return curves.filter(pa.array(always_kept(curves) | (steps % every == 0)))


def check_steps(curves: pa.Table) -> None:
    """Check that curves, whole or thinned, have the rows that they should have.

    Raises:
        ValueError: Steps are missing or out of order.
    """
    info = thinning_of(curves.schema)
    rows, kept = (info.rows, info.kept) if info is not None else (curves.num_rows, curves.num_rows)
    if curves.num_rows != kept:
        raise ValueError(f"must have the {kept} rows kept of {rows} steps, has {curves.num_rows}")
    if "step" not in curves.column_names or not pa.types.is_integer(curves.schema.field("step").type):
        raise ValueError("`step` must be whole numbers, and is not there or something else")
    if curves["step"].null_count:
        raise ValueError(f"`step` must be whole numbers, {curves['step'].null_count} are missing")
    steps = as_numpy(curves["step"])
    if steps.size and not (steps[0] == 1 and steps[-1] == rows and (np.diff(steps) > 0).all()):
        raise ValueError(f"`step` must increase from 1 to {rows}, got {steps[0]} to {steps[-1]}")
