"""A run as the half that reads knows it: its record and all that follows from the files beside it, each read once."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from bench.analysis import hyperparameters
from bench.analysis.gradient_reach import Exponents, GradientReach, gradient_reaches, leading_exponents
from bench.records.read import find_records, read_curves, read_probe, read_record
from bench.records.record import FINAL, DamagedRecordError, Record

_SECTIONS = ("model", "optimizer", "data", "training")
"""Sections whose settings make two trainings different; the settings of the probes do not."""


@dataclass(eq=False)
class Run:
    """One run.

    Attributes:
        record: What ``record.json`` holds.
        folder: Where the record lies, with the tables of curves and probes beside it.
        reach: How far the gradient travels. It is ``None`` until :func:`read_reaches` has read it, and where no
            gradient of the input was measured.
        exponents: Leading Lyapunov exponents. They are ``None`` until :func:`read_exponents` has read them, and where
            none were measured.
    """

    record: Record
    folder: Path
    reach: GradientReach | None = None
    exponents: Exponents | None = None

    @property
    def run_id(self) -> str:
        """The hash of all that can change a number of the run."""
        return self.record.run_id

    @property
    def experiment(self) -> str:
        """Name of the experiment."""
        return self.record.experiment

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.record.task

    @property
    def cell(self) -> str:
        """Name of the cell."""
        return self.record.cell

    @property
    def seed(self) -> int:
        """The seed."""
        return self.record.seed

    @property
    def status(self) -> str:
        """``completed``, ``diverged``, ``failed`` or ``interrupted``."""
        return self.record.status

    @property
    def has_result(self) -> bool:
        """Whether the run has ended with a result; a diverged run has."""
        return self.record.status in FINAL

    @property
    def budget(self) -> int:
        """The training steps that the run makes at most."""
        return int(self.record.config["training"].get("max_steps", self.record.steps))

    @cached_property
    def protocol(self) -> str:
        """The experiment that the run belongs to, with its budget where it has one to choose."""
        budget = self.record.config.get("budget")
        return f"{self.experiment} ({budget})" if budget else self.experiment

    @cached_property
    def training(self) -> Mapping[str, Any]:
        """Everything but task, cell and seed that makes it another experiment than others."""
        record = self.record
        settings: dict[str, Any] = {}
        for section in _SECTIONS:
            own = hyperparameters.flat(record.config[section])
            settings |= {f"{section}.{key}": value for key, value in own.items()}
        # The record tells which engine ran; "auto" may mean another one on another machine.
        settings["model.engine"] = record.model.get("engine") or settings.get("model.engine")
        settings["optimizer"] = str(record.config["optimizer"].get("_target_", "")).rpartition(".")[2]
        settings["precision"] = record.config["trainer"]["precision"]
        settings["device"] = record.device["type"]
        held = ("threads", "flush_subnormals", "deterministic", "tf32")
        settings |= {f"runtime.{key}": record.runtime.get(key) for key in held}
        settings["code"] = hyperparameters.code_of(record, cell=False)
        return settings

    @cached_property
    def task_settings(self) -> Mapping[str, Any]:
        """Those of the task alone, without the section's name."""
        return hyperparameters.flat(self.record.config["task"])

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """Every setting by the key that a table knows it by: ``task``, ``cell``, ``task.length``, ..."""
        return {
            "task": self.task,
            "cell": self.cell,
            "experiment": self.experiment,
            "budget": self.record.config.get("budget"),
            **{f"task.{key}": value for key, value in self.task_settings.items()},
            **{f"cell.{key}": value for key, value in hyperparameters.flat(self.record.config["cell"]).items()},
            "cell.code": hyperparameters.code_of(self.record, cell=True),
            **self.training,
        }

    @cached_property
    def stratum(self) -> tuple[tuple[str, Any], ...]:
        """What the run was drawn from but for its seed: all settings that can change a number, sorted by key."""
        kept = ((key, value) for key, value in self.settings.items() if key not in ("experiment", "budget"))
        return tuple(sorted((key, hyperparameters.hashable(value)) for key, value in kept))

    @cached_property
    def curves(self) -> pa.Table:
        """The curves, whole or thinned; see :func:`bench.records.read.read_curves`."""
        return read_curves(self.folder)

    @cached_property
    def flow(self) -> pa.Table:
        """The gradient over lag; see :data:`bench.records.series.PROBES`, as for the other two tables of the probes."""
        return read_probe(self.folder, "flow")

    @cached_property
    def activity(self) -> pa.Table:
        """Statistics of the gates and of the hidden state."""
        return read_probe(self.folder, "activity")

    @cached_property
    def gradients(self) -> pa.Table:
        """Norms of the gradients of the parameters."""
        return read_probe(self.folder, "gradients")


AT_ONCE = 500
"""Number of runs whose reach is computed together."""
REACH_COLUMNS = ("step", "layer", "lag", "value")
"""The columns of the flow that the reach is computed from."""
EXPONENT_COLUMNS = ("step", "statistic", "value")
"""The columns of the activity that have the exponents."""
TABLES = ("curves", "flow", "activity", "gradients")
"""The tables of a run, each of which is read when it is first asked for.

To ask for one raises a :class:`bench.records.record.DamagedRecordError` where it cannot be read.
"""


def read_runs(root: Path) -> tuple[list[Run], list[DamagedRecordError]]:
    """Return all runs below a folder, see :func:`read_folders`."""
    return read_folders(find_records(root))


def read_folders(folders: Iterable[Path]) -> tuple[list[Run], list[DamagedRecordError]]:
    """Return the runs of some folders, without their reach, and what is wrong with those that cannot be read."""
    runs: list[Run] = []
    damaged: list[DamagedRecordError] = []
    with garbage_left():
        for folder in folders:
            try:
                runs.append(Run(read_record(folder), folder))
            except DamagedRecordError as error:
                damaged.append(error)
    return runs, damaged


def read_reaches(runs: Iterable[Run]) -> list[DamagedRecordError]:
    """Read how far the gradient of each run travels, and keep it there as ``run.reach``.

    Returns:
        What is wrong with the tables that cannot be read; their runs have no reach.
    """

    def keep(read: Sequence[Run], flows: Sequence[pa.Table]) -> None:
        for run, reach in zip(read, gradient_reaches(flows, [run.record for run in read]), strict=True):
            run.reach = reach

    return _read_together(list(runs), "flow", REACH_COLUMNS, keep)


def _read_together(
    runs: Sequence[Run], name: str, columns: Sequence[str], keep: Callable[[Sequence[Run], Sequence[pa.Table]], None]
) -> list[DamagedRecordError]:
    """Read one table of each run, and hand those of some hundred runs on together.

    Returns:
        What is wrong with the tables that cannot be read.
    """
    damaged: list[DamagedRecordError] = []
    with garbage_left():
        for start in range(0, len(runs), AT_ONCE):
            read, tables = [], []
            for run in runs[start : start + AT_ONCE]:
                try:
                    tables.append(read_probe(run.folder, name, columns))
                    read.append(run)
                except DamagedRecordError as error:
                    damaged.append(error)
            if read:
                keep(read, tables)
    return damaged


def read_exponents(runs: Iterable[Run]) -> list[DamagedRecordError]:
    """Read the leading Lyapunov exponents of each run that measured any, and keep them there as ``run.exponents``.

    Returns:
        What is wrong with the tables that cannot be read; their runs have no exponents.
    """

    def keep(read: Sequence[Run], activities: Sequence[pa.Table]) -> None:
        for run, found in zip(read, leading_exponents(activities, [run.record for run in read]), strict=True):
            run.exponents = found

    measured = [run for run in runs if run.exponents is None and run.record.config.get("probe", {}).get("exponents")]
    return _read_together(measured, "activity", EXPONENT_COLUMNS, keep)


@contextlib.contextmanager
def garbage_left() -> Iterator[None]:
    """Do not look for garbage while much is read or made that is all kept: it takes a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
