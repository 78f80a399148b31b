"""The record of a run: one folder, written whole or not at all, and the source of all tables and figures.

A record is ``record.json`` (what was run, where, and how it ended) and ``curves.parquet`` (one row for each step; a
published copy keeps some of them, see :mod:`bench.records.thinning`). On request there are the weights beside it,
``weights.safetensors``, and what the network says of the test set, ``predictions.parquet``. Its folder is named by the
run id, which is a hash of the scientific config and of the code that computes. No clock enters it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bench.records import older
from bench.records.older import Direction

SCHEMA = 1
"""Version of the record's layout; a reader refuses a record with a newer one."""
RECORD_FILE = "record.json"
CURVES_FILE = "curves.parquet"

WEIGHTS_FILE = "weights.safetensors"
PREDICTIONS_FILE = "predictions.parquet"
KEEPING = ("checkpoint_every", "keep_weights", "keep_predictions")
"""Settings of the training that say what is kept of it, and change no number."""

Status = Literal["completed", "diverged", "failed", "interrupted"]
FINAL: tuple[Status, ...] = ("completed", "diverged")
"""Statuses that are results; a run with another status is worth another try."""


class DamagedRecordError(ValueError):
    """A record that cannot be read; the message names the file and what is wrong with it."""


class DamagedRecordWarning(UserWarning):
    """A record, or a table beside it, cannot be read and is left out."""


class NewerRecordError(DamagedRecordError):
    """A record that is whole, but was written by a later version."""


@dataclass(frozen=True)
class Record:
    """What a run was and how it ended. Numbers that do not exist are ``None``.

    Attributes:
        run_id: Hash of the scientific config and the code; the folder's name.
        experiment: Name of the experiment, ``default`` for single runs.
        task: Name of the task.
        cell: Name of the cell.
        seed: The seed.
        status: ``completed``, ``diverged``, ``failed`` or ``interrupted``.
        reason: The status in words.
        traceback: The traceback of a failed run.
        command: The command that makes this run.
        config: The resolved config.
        code: ``numerics``, the versions of the parts of the code that the run used; and where these came from: package
            version, git commit, whether the checkout was dirty, and hashes of the files, ``cell`` for those of the cell
            and ``sources`` for all others.
        libraries: Versions of the libraries and of Python.
        device: Type and name of the device, its instruction set as ``capability`` (missing in older records), and the
            machine.
        runtime: How the process was set up.
        model: Hidden size, engine, parameters, names of those that no step gave a gradient, and the residual to a
            parameter budget; what it costs, ``multiply_adds`` and ``memory_bytes``, or why that is not known,
            ``costs_unknown``; and ``weights``, the SHA-256 and the size of the file of the weights, where they are
            kept.
        task_facts: What tables need to know about the task: its metric, whether higher is better, extra metrics,
            length, delay and baselines; of a data set also ``references``, the scores of further predictors, by name.
        solved: Whether the criterion was met at three evaluations in a row, looks after the end included.
        steps_to_solve: Step of the first of these three evaluations.
        steps: Number of training steps made.
        metrics: ``eval`` (those of the last evaluation) and ``test`` metrics; and ``again_1``, ``again_2`` where a run
            ended among too few evaluations that met the criterion and was looked at again.
        time: Seconds in all, in training and in probes; steps a second; milliseconds a step.
    """

    run_id: str
    experiment: str
    task: str
    cell: str
    seed: int
    status: Status
    reason: str
    traceback: str | None
    command: str
    config: dict[str, Any]
    code: dict[str, Any]
    libraries: dict[str, str]
    device: dict[str, str]
    runtime: dict[str, Any]
    model: dict[str, Any]
    task_facts: dict[str, Any]
    solved: bool
    steps_to_solve: int | None
    steps: int
    metrics: dict[str, dict[str, float | None]]
    time: dict[str, float | None]

    @property
    def directions(self) -> dict[str, Direction]:
        """Whether a higher or a lower value of each score of the task is the better one."""
        return self.task_facts.get("directions") or older.directions_of(self.task_facts)

    @property
    def cell_year(self) -> int | None:
        """The year in which the cell was published; ``None`` if it does not say one."""
        return self.model["cell_year"] if "cell_year" in self.model else older.YEARS.get(self.cell)

    @property
    def code_versions(self) -> dict[str, str]:
        """Versions of the parts of the code that the run used, without those that are the first; see ``numerics``.

        A user's own code has no number and appears as ``task``, ``cell`` or ``optimizer``. Files and commits are
        provenance: they do not make a run a different one.
        """
        versions = self.code.get("numerics")
        if versions is not None:
            return {name: version for name, version in versions.items() if version != "1"}
        # Old records have no versions: our code was then all at its first version, and other code is known by its
        # files.
        files = {"task": ("tasks.", "sources"), "cell": ("bench.cells.", "cell")}
        targets = {name: str(self.config[name].get("_target_", "")) for name in files}
        return {name: self.code[file] for name, (ours, file) in files.items() if not targets[name].startswith(ours)}


def run_id(science: Mapping[str, Any], code_hash: str) -> str:
    """Return twelve hexadecimal digits of SHA-256 over the scientific config and the hash of the code."""
    text = json.dumps({"science": science, "code": code_hash}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def probed(made: Record) -> bool:
    """Return whether a record comes with the tables of its probes."""
    return made.status in FINAL and bool(made.config.get("probe", {}).get("enabled"))


def predicted(made: Record) -> bool:
    """Return whether a record comes with the table of its predictions."""
    return made.status == "completed" and bool(made.config["training"].get("keep_predictions"))
