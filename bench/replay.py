"""``bench replay``: makes a run again from its record alone, elsewhere, and compares every number."""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bench import record, stopping, thinned, trust
from bench.attempt import execute
from bench.build import ConfigError, Plan, build
from bench.engines import ENGINES
from bench.messages import explain
from bench.progress import Pulse
from bench.record import DamagedRecordError, Record
from bench.schema import Config

TOLERANCE = 1e-3
"""Relative difference allowed where machine or versions differ."""
NO_PROBE = {"enabled": False, "every": None, "batch_size": 1, "lags": "log", "gates": None}
"""For records from before there were probes."""
COMPUTING_LIBRARIES = ("python", "torch", "lightning", "torchmetrics")
"""Libraries whose version may change a number."""


@dataclass(frozen=True)
class Difference:
    """Two values that should have been the same."""

    where: str
    recorded: Any
    replayed: Any

    def __str__(self) -> str:
        return f"{self.where}: {self.recorded!r} in the record, {self.replayed!r} now"


def main(folder: Path, trusted: Sequence[str], config_dir: str | None, tolerance: float) -> int:
    """Replay one record and print what came of it.

    Args:
        folder: Folder of the record.
        trusted: Names that the record may import besides our own.
        config_dir: Folder of the user's own classes.
        tolerance: Relative difference allowed where the surroundings differ.

    Returns:
        0 if equal, 1 if not, 2 if the record cannot be replayed, 130 or 143 if stopped.
    """
    sys.path[:0] = [str(Path(config_dir).absolute())] if config_dir else []
    sys.path.append(str(Path.cwd()))
    try:
        old, old_curves = record.check(folder), record.read_curves(folder)
        with tempfile.TemporaryDirectory(prefix="bench-replay-") as scratch:
            plan = rebuild(old, Path(scratch), trusted)
            stopping.listen()
            new = execute(plan, old.command, Pulse(), lambda: False, f"replay of {plan.label}")
            stopped = stopping.requested()
            if stopped is not None:
                print(f"bench replay: stopped by {stopped}", file=sys.stderr)
                return 130 if stopped == "SIGINT" else 143
            new_curves = record.read_curves(plan.folder)
            old_probes, new_probes = _probes(folder), _probes(plan.folder)
    except (ConfigError, DamagedRecordError) as error:
        print(f"bench replay: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"bench replay: the folder for temporary files must be writable ({error})", file=sys.stderr)
        return 2
    finally:
        stopping.forget()
    if new.status == "failed":
        print(f"{new.traceback}bench replay: failed, {new.reason}", file=sys.stderr)
        return 1
    changes = surroundings(old, new)
    for change in changes:
        print(f"bench replay: warning: {change}", file=sys.stderr)
    allowed = tolerance if changes else 0.0
    within = f" within a relative difference of {tolerance:g}" if changes else ", bit for bit"
    whole = thinned.whole_of(old_curves.schema)
    kept = new_curves if whole is None else thinned.thin(new_curves, whole.every)
    different = first_difference(old, old_curves, new, kept, allowed)
    if whole is not None and allowed == 0:
        different = different or digest_difference(whole, new_curves)
    different = different or first_probe_difference(old_probes, new_probes, allowed)
    if different is not None:
        print(f"different: {different}")
        return 1
    curves = sum(name != "step" for name in compared(old_curves))
    metrics, probed = len(old.metrics["test"]) + len(old.metrics["eval"]), sum(map(len, old_probes.values()))
    steps = f"{old.steps} steps of {curves} curves"
    if whole is not None:
        others = "the rest by digest" if allowed == 0 else "the record keeps no others"
        steps += f" ({whole.kept} by value, {others})"
    print(f"equal{within}: {steps}, {metrics} final metrics, {probed} values of probes")
    return 0


def rebuild(old: Record, scratch: Path, trusted: Sequence[str] = ()) -> Plan:
    """The run of a record, to be made elsewhere and without a mirror, on a device of the same kind if there is one.

    Raises:
        ConfigError: Its config no longer composes, or names code that is not trusted.
    """
    if old.status not in record.FINAL:
        raise ConfigError(f"status must be one of {', '.join(record.FINAL)} to be replayed, got {old.status!r}")
    try:
        trust.check({name: value for name, value in old.config.items() if name != "logger"}, trusted)
    except ValueError as error:
        raise ConfigError(f"config.{str(error).replace('`', '')}") from error
    on_gpu = old.device["type"] == "cuda" and torch.cuda.is_available()
    changes = {
        "logger": {"_target_": "bench.mirror.no_logger", "_partial_": True},
        "launcher": {"name": "serial", "workers": None, "workers_per_gpu": None},
        "training": {"checkpoint_every": None},
        "trainer": {"accelerator": "gpu" if on_gpu else "cpu"},
        "runtime": {"threads": old.runtime["threads"]},
        "results_dir": str(scratch),
        "rerun": "none",
        "sweep": None,
    }
    config = {name: value for name, value in old.config.items() if name not in ("logger", "launcher")}
    config = {"probe": NO_PROBE, "budget": None} | config
    config["model"] = {"readout_init": "torch"} | config["model"]
    try:
        # The engine of the record, or else whichever there is here; a difference is told.
        engine = old.model.get("engine")
        for asked in [engine, "auto"] if engine in ENGINES else ["auto"]:
            cfg = OmegaConf.merge(OmegaConf.structured(Config), config, changes, {"model": {"engine": asked}})
            assert isinstance(cfg, DictConfig)
            try:
                return build(cfg, {"task": old.task, "cell": old.cell, "experiment": old.experiment}, [], _say)
            except ConfigError as error:
                if asked == "auto" or not str(error).startswith("model.engine"):
                    raise
        raise AssertionError("auto is always there")
    except OmegaConfBaseException as error:
        raise ConfigError(f"the record's config no longer composes: {explain(error)}") from error
    except ConfigError as error:
        raise ConfigError(f"the record's config no longer composes: {error}") from error


def _say(text: str) -> None:
    print(f"bench replay: {text}", file=sys.stderr, flush=True)


def surroundings(old: Record, new: Record) -> list[str]:
    """What may excuse a difference, in words: code, versions, device, engine, threads."""
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
        for name in ("type", "name")
        if old.device[name] != new.device.get(name)
    ]
    if old.model.get("engine") != new.model.get("engine"):
        changes.append(f"engine: {old.model.get('engine')} in the record, {new.model.get('engine')} now")
    changes += [
        f"{name}: {old.runtime[name]} in the record, {new.runtime.get(name)} now"
        for name in ("threads", "subnormals_flushed")
        if name in old.runtime and old.runtime[name] != new.runtime.get(name)
    ]
    return changes


def compared(curves: pa.Table) -> list[str]:
    """The columns of curves that two equal runs share."""
    return [name for name in curves.column_names if name not in record.CLOCKS]


def first_difference(
    old: Record, old_curves: pa.Table, new: Record, new_curves: pa.Table, tolerance: float
) -> Difference | None:
    """The first step and curve, or else the first outcome, that is not the same.

    Args:
        old: The record.
        old_curves: Its curves, whole or thinned.
        new: The record now.
        new_curves: Its curves, thinned as those of the record are.
        tolerance: Relative difference allowed.
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
            break  # one run has ended; that is told below
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


def digest_difference(whole: thinned.Whole, new_curves: pa.Table) -> Difference | None:
    """Whether all steps, kept in the record or not, are other ones than those of the run now."""
    digest = thinned.digest(new_curves, record.CLOCKS)
    return None if digest == whole.sha256 else Difference(f"digest of {whole.rows} steps", whole.sha256, digest)


def _probes(folder: Path) -> dict[str, list[dict[str, Any]]]:
    return {name: record.read_probe(folder, name).drop("run").to_pylist() for name in record.PROBES}


def first_probe_difference(
    old: Mapping[str, Sequence[Mapping[str, Any]]], new: Mapping[str, Sequence[Mapping[str, Any]]], tolerance: float
) -> Difference | None:
    """The first row of the first table of the probes that is not the same."""
    for name in record.PROBES:
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
    """Whether two values are equal, or near enough; a NaN is like any other, and like a missing number.

    Args:
        one: A value.
        other: Another.
        tolerance: Relative difference allowed.
        absolute: Difference allowed, for values that are a share, or may be as small as a number can be.
    """
    if one is None or other is None or math.isnan(one) or math.isnan(other):
        return (one is None or math.isnan(one)) and (other is None or math.isnan(other))
    return one == other or (tolerance > 0 and math.isclose(one, other, rel_tol=tolerance, abs_tol=absolute))
