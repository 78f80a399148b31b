"""Every run of a page: what came out of it, and what made it, with equal settings and versions held once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from bench.analysis import hyperparameters, metrics
from bench.analysis.run import Run
from bench.records.record import Record
from bench.report.tables import captions
from bench.report.tables.commands import command_of, merged
from bench.report.web.shortened import shorter

DIGITS = 6
"""Significant digits of the numbers of a run."""


class Pool:
    """Values of which many are equal: each is held once, and known by its place."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._places: dict[str, int] = {}

    def place(self, value: Any) -> int:
        """Return the place of a value that JSON can hold."""
        text = json.dumps(value, sort_keys=True)
        if text not in self._places:
            self._places[text] = len(self.values)
            self.values.append(value)
        return self._places[text]


def run_list(runs: Sequence[Run]) -> dict[str, Any]:
    """Return a list of values for each thing that is told of a run, in the order of the runs.

    ``settings``, ``made`` and ``why`` are places in the lists of these names in ``pools``.
    """
    settings, made, why, shared = Pool(), Pool(), Pool(), dict[tuple[int, int], int]()
    ids = Counter(run.run_id for run in runs)  # A cell or a task that has two names has its runs twice.
    columns: dict[str, list[Any]] = {}
    held = []
    for run in runs:
        record = run.record
        probe = record.config.get("probe", {})
        known = id(run.settings), id(probe)
        if known not in shared:
            shared[known] = settings.place(_settings(run, probe))
            held.append(probe)  # What is held keeps its identity.
        row = {
            "id": run.run_id if ids[run.run_id] == 1 else f"{run.run_id} {run.task} {run.cell}",
            "cell": run.cell,
            "seed": run.seed,
            "status": run.status,
            "solved": record.solved,
            "steps": record.steps,
            "steps_to_solve": record.steps_to_solve,
            "scores": {name: shorter(value, DIGITS) for name, value in record.metrics.get("test", {}).items()},
            "parameters": record.model.get("parameters"),
            "milliseconds": shorter(record.time.get("milliseconds_per_step"), DIGITS),
            "seconds": shorter(record.time.get("wall_seconds"), DIGITS),
            **{metric: shorter(metrics.probed(run, metric), DIGITS) for metric in metrics.PROBED},
            "command": _command(record),
            "settings": shared[known],
            "made": made.place(_made(run)),
            "why": why.place([record.reason, record.traceback]),
        }
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    pools = {"settings": settings.values, "made": made.values, "why": why.values}
    return {**{name: each for name, each in columns.items() if any(v is not None for v in each)}, "pools": pools}


def _settings(run: Run, probe: Mapping[str, Any]) -> dict[str, str]:
    own = {**run.settings, **{f"probe.{key}": value for key, value in hyperparameters.flat(probe).items()}}
    return {key: hyperparameters.text(value) for key, value in own.items() if value is not None}


def _command(record: Record) -> str:
    try:
        return merged([command_of(record)])[0]
    except ValueError:  # It is no command that a shell would take.
        return record.command


def _made(run: Run) -> dict[str, str]:
    """Return where a run was made, and with which versions."""
    record = run.record
    versions = record.code.get("numerics") or {}
    return {
        "device": captions.machine_of(run),
        "instruction set": record.device.get("capability") or "-",
        "engine": str(record.model.get("engine") or "-"),
        "code": captions.code_of(run),
        "versions of the code": ", ".join(f"{name} {version}" for name, version in versions.items()) or "-",
        "rnn-bench": str(record.code.get("version") or "-"),
        **record.libraries,
    }
