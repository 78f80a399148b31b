"""Runs as figures need them: of their tables the rows and columns that are drawn, so that thousands fit into memory."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from bench.analysis.gradient_reach import INPUT, LOWEST, GradientReach, gradient_reaches, rows_of
from bench.analysis.run import Run, garbage_left
from bench.records.read import read_curves, read_predictions, read_probe
from bench.records.record import DamagedRecordError
from bench.records.series import rows_where
from bench.report.figures.clipping import NORMS
from bench.report.figures.overfitting import LOSSES, has_fixed_sequences
from bench.report.figures.time_constants import QUANTILES

PROBES = {"flow": ("step", "layer", "lag", "value"), "activity": ("step", "layer", "name", "statistic", "value")}
"""The tables and columns of the probes that figures show."""
AT_ONCE = 100
"""Number of runs whose whole tables are in memory at a time."""
MOST_ROWS = 1000
"""Number of rows up to which curves are kept; longer ones are read again when a figure asks for them."""


@dataclass(frozen=True)
class _Part:
    """Rows of a table that many runs share; a table of its own for each would take more memory than what it holds."""

    whole: pa.Table
    start: int
    end: int
    metadata: dict[bytes, bytes] | None = None

    @property
    def table(self) -> pa.Table:
        return self.whole.slice(self.start, self.end - self.start).replace_schema_metadata(self.metadata)


@dataclass(eq=False, kw_only=True)
class DrawnRun(Run):
    """A run whose tables hold what figures show; what is not kept is read when it is asked for.

    Attributes:
        parts: Where each table is.
    """

    parts: dict[str, _Part | None]

    @property
    def curves(self) -> pa.Table:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The curves, whole or thinned."""
        part = self.parts.get("curves")
        return read_curves(self.folder) if part is None else part.table

    @property
    def flow(self) -> pa.Table:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The gradient of the network's input over lag."""
        part = self.parts.get("flow")
        return read_probe(self.folder, "flow") if part is None else part.table

    @property
    def activity(self) -> pa.Table:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Time constants of the gates of the lowest layer."""
        part = self.parts.get("activity")
        return read_probe(self.folder, "activity") if part is None else part.table


def readable(runs: Sequence[Run], names: Collection[str]) -> tuple[list[Run], list[DamagedRecordError]]:
    """Read some tables of runs, and with the flow how far their gradients travel.

    Args:
        runs: The runs.
        names: Of ``curves``, ``flow``, ``activity`` and ``predictions``; the last are read again when they are drawn.

    Returns:
        The runs all of whose tables can be read, and what is wrong with the others.
    """
    whole: list[Run] = []
    damaged: list[DamagedRecordError] = []
    for start in range(0, len(runs), AT_ONCE):
        read: list[Run] = []
        kept = [name for name in names if name != "predictions"]
        tables: dict[str, list[pa.Table]] = {name: [] for name in kept}
        with garbage_left():
            for run in runs[start : start + AT_ONCE]:
                try:
                    # Damage must show here, and not in the middle of a figure.
                    found = {name: _read(run, name) for name in kept}
                    if "predictions" in names:
                        read_predictions(run.folder)
                except DamagedRecordError as error:
                    damaged.append(error)
                else:
                    read.append(run)
                    for name, table in found.items():
                        tables[name].append(table)
            whole += _drawn(read, tables) if read else []
        tables.clear()
        pa.default_memory_pool().release_unused()
    return whole, damaged


def _read(run: Run, name: str) -> pa.Table:
    return read_curves(run.folder) if name == "curves" else read_probe(run.folder, name, PROBES[name])


def _drawn(runs: Sequence[Run], tables: Mapping[str, Sequence[pa.Table]]) -> list[DrawnRun]:
    parts: dict[str, Iterable[_Part | None]] = {}
    reaches: Sequence[GradientReach | None] = [run.reach for run in runs]
    for name, each in tables.items():
        whole = pa.concat_tables(each) if name in PROBES else None
        lengths = [table.num_rows for table in each]
        if whole is None:
            parts[name] = _compact(runs, each)
        elif name == "flow":
            parts[name] = _parts(whole, lengths, rows_of(whole, INPUT))
            reaches = gradient_reaches(each, [run.record for run in runs])
        else:
            parts[name] = _parts(whole, lengths, rows_of(whole, LOWEST, QUANTILES))
    by_run = zip(*parts.values(), strict=True) if parts else ((),) * len(runs)
    return [
        DrawnRun(run.record, run.folder, reach, parts=dict(zip(parts, own, strict=True)))
        for run, reach, own in zip(runs, reaches, by_run, strict=True)
    ]


def _compact(runs: Sequence[Run], curves: Sequence[pa.Table]) -> list[_Part | None]:
    """Return what figures show of short curves, each with its own metadata."""
    alike: dict[tuple[str, ...], list[int]] = {}
    for place, (run, table) in enumerate(zip(runs, curves, strict=True)):
        if table.num_rows <= MOST_ROWS:
            losses = LOSSES if has_fixed_sequences(run) else ()
            shown = ("step", *NORMS, *dict.fromkeys((f"eval_{run.record.task_facts['metric']}", *losses)))
            alike.setdefault(tuple(name for name in shown if name in table.column_names), []).append(place)
    found: list[_Part | None] = [None] * len(curves)
    for names, places in alike.items():
        tables = [curves[place].select(names).replace_schema_metadata(None) for place in places]
        whole = pa.concat_tables(tables, promote_options="permissive")
        parts = _parts(whole, [table.num_rows for table in tables])
        for place, part in zip(places, parts, strict=True):
            found[place] = replace(part, metadata=curves[place].schema.metadata)
    return found


def _parts(whole: pa.Table, lengths: Sequence[int], wanted: np.ndarray | None = None) -> Iterable[_Part]:
    """Return the rows, or those that are wanted, of each of some tables, which stand below each other."""
    ends = np.cumsum([0, *lengths])
    if wanted is not None:
        whole, ends = rows_where(whole, wanted), np.concatenate([[0], np.cumsum(wanted)])[ends]
    whole = whole.combine_chunks()
    return (_Part(whole, start, end) for start, end in itertools.pairwise(ends.tolist()))
