"""Comparison of two records of one run, number by number: surroundings, curves, probes. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from bench.records import thinning
from bench.records.read import read_probe
from bench.records.record import Record
from bench.records.series import CLOCKS, PROBES

COMPUTING_LIBRARIES = ("python", "torch", "lightning", "torchmetrics")
"""Libraries whose version may change a number."""


@dataclass(frozen=True)
class Difference:
    """Two values that should have been equal, and where they stand."""

    where: str
    recorded: Any
    replayed: Any

    def __str__(self) -> str:
        return f"{self.where}: {self.recorded!r} in the record, {self.replayed!r} now"


def surroundings(old: Record, new: Record) -> list[str]:
    """Name the differences that may excuse different numbers: in code, versions, device, engine or threads."""
    before, now = old.code_versions, new.code_versions
    changes = [
        f"version of {part}: {before.get(part, '1')} in the record, {now.get(part, '1')} now"
        for part in sorted(before | now)
        if before.get(part) != now.get(part)
    ]
    changes += [
        f"{name}: {version} in the record, {new.libraries.get(name, 'none')} now"
        for name, version in old.libraries.items()
        if version != new.libraries.get(name) and name in COMPUTING_LIBRARIES
    ]
    changes += [
        f"device {name}: {old.device[name]} in the record, {new.device.get(name)} now"
        for name in ("type", "name", "capability")
        if name in old.device and old.device[name] != new.device.get(name)
    ]
    for name, word, earlier in (("engine", "engine", None), ("loss_engine", "engine of the loss", "torch")):
        before_it, now_it = old.model.get(name, earlier), new.model.get(name, earlier)
        if before_it != now_it:
            changes.append(f"{word}: {before_it} in the record, {now_it} now")
    changes += [
        f"{name}: {old.runtime[name]} in the record, {new.runtime.get(name)} now"
        for name in ("threads", "subnormals_flushed")
        if name in old.runtime and old.runtime[name] != new.runtime.get(name)
    ]
    return changes


def compared(curves: pa.Table) -> list[str]:
    """Return the columns of curves that two equal runs share."""
    return [name for name in curves.column_names if name not in CLOCKS]


def first_difference(
    old: Record, old_curves: pa.Table, new: Record, new_curves: pa.Table, tolerance: float
) -> Difference | None:
    """Return the first step and curve that is not the same in both, or else the first such outcome.

    Args:
        old: The record.
        old_curves: Its curves, whole or thinned.
        new: The record of the run now.
        new_curves: Its curves, thinned as those of the old record are.
        tolerance: Largest relative difference allowed.
    """
    for name in compared(old_curves):
        if name not in new_curves.column_names:
            return Difference(f"curve {name}", "there", "missing")
    for name in compared(new_curves):
        if name not in old_curves.column_names:
            return Difference(f"curve {name}", "missing", "there")
    columns = [name for name in compared(old_curves) if name != "step"]
    before = {name: old_curves[name].to_pylist() for name in columns}
    after = {name: new_curves[name].to_pylist() for name in columns}
    rows, new_rows = _row_of_step(old_curves), _row_of_step(new_curves)
    for step in sorted(rows.keys() | new_rows.keys()):
        if step >= min(old.steps, new.steps) and old.steps != new.steps and not (step in rows and step in new_rows):
            break  # one run has ended; the code below reports that
        if step not in rows or step not in new_rows:
            found = ["there" if step in each else "missing" for each in (rows, new_rows)]
            return Difference(f"row of step {step}", *found)
        for name in columns:
            one, other = before[name][rows[step]], after[name][new_rows[step]]
            if not same(one, other, tolerance):
                return Difference(f"step {step}, {name}", one, other)
    for name in ("status", "steps", "solved", "steps_to_solve"):
        if getattr(old, name) != getattr(new, name):
            return Difference(name, getattr(old, name), getattr(new, name))
    for part in ("eval", "test"):
        for name in old.metrics[part] | new.metrics[part]:
            one, other = old.metrics[part].get(name), new.metrics[part].get(name)
            if not same(one, other, tolerance):
                return Difference(f"final {part} {name}", one, other)
    return None


def _row_of_step(curves: pa.Table) -> dict[int, int]:
    return {step: row for row, step in enumerate(curves["step"].to_pylist())}


def digest_difference(info: thinning.ThinningInfo, new_curves: pa.Table) -> Difference | None:
    """Compare the digest of all steps, whether the record kept them or not, with that of the run now."""
    digest = thinning.digest(new_curves, CLOCKS)
    return None if digest == info.sha256 else Difference(f"digest of {info.rows} steps", info.sha256, digest)


def probe_rows(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each table of a run's probes, without the column of the run."""
    return {name: read_probe(folder, name).drop("run").to_pylist() for name in PROBES}


def first_probe_difference(
    old: Mapping[str, Sequence[Mapping[str, Any]]], new: Mapping[str, Sequence[Mapping[str, Any]]], tolerance: float
) -> Difference | None:
    """Return the first row of the first table of the probes that is not the same in both."""
    for name in PROBES:
        if len(old[name]) != len(new[name]):
            return Difference(f"rows of {name}", len(old[name]), len(new[name]))
        for one, other in zip(old[name], new[name], strict=True):
            keys = [key for key in one if key != "value"]
            where = f"{name}, {', '.join(f'{key} {one[key]}' for key in keys)}"
            if any(one[key] != other[key] for key in keys):
                return Difference(where, "there", "another row")
            if not same(one["value"], other["value"], tolerance, absolute=tolerance):
                return Difference(where, one["value"], other["value"])
    return None


def same(one: float | None, other: float | None, tolerance: float, absolute: float = 0.0) -> bool:
    """Return whether two values are equal or near enough; a NaN equals any other NaN, and a missing number.

    Args:
        one: A value.
        other: Another value.
        tolerance: Largest relative difference allowed.
        absolute: Largest absolute difference allowed, for values that are a share or may come arbitrarily close to 0.
    """
    if one is None or other is None or math.isnan(one) or math.isnan(other):
        return (one is None or math.isnan(one)) and (other is None or math.isnan(other))
    return one == other or (tolerance > 0 and math.isclose(one, other, rel_tol=tolerance, abs_tol=absolute))
