"""A run as the half that reads knows it: its record and all that follows from the files beside it, each read once."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from bench.analysis import hyperparameters
from bench.analysis.gradient_reach import Exponents, GradientReach, gradient_reaches, leading_exponents
from bench.analysis.kept_numbers import KeptNumbers
from bench.analysis.other_process import OtherProcess, is_of_use
from bench.records.read import find_records, read_curves, read_predictions, read_probe, read_record
from bench.records.record import FINAL, KEEPING, DamagedRecordError, Record
from bench.records.series import probe_file

T = TypeVar("T")

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
        """Everything but task, cell and seed that makes it another experiment than others; runs may share it."""
        record, config = self.record, self.record.config
        sections = (config[name] for name in _SECTIONS)
        more = (config["trainer"], record.device, record.runtime, hyperparameters.code_of(record, cell=False))
        engines = (record.model.get("engine"), record.model.get("loss_engine", "torch"))
        return hyperparameters.once(_training, *sections, *more, *engines)

    @cached_property
    def task_settings(self) -> Mapping[str, Any]:
        """Those of the task alone, without the section's name; runs may share it."""
        return hyperparameters.once(hyperparameters.flat, self.record.config["task"])

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """Every setting by the key that a table knows it by: ``task``, ``cell``, ``task.length``, ...; see above."""
        names = (self.task, self.cell, self.experiment, self.record.config.get("budget"))
        code = hyperparameters.code_of(self.record, cell=True)
        return hyperparameters.once(
            _settings, *names, self.task_settings, self.record.config["cell"], code, self.training
        )

    @cached_property
    def stratum(self) -> tuple[tuple[str, Any], ...]:
        """What the run was drawn from but for its seed: all settings that can change a number, sorted by key."""
        return hyperparameters.once(_stratum, self.settings)

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

    @cached_property
    def predictions(self) -> pa.Table | None:
        """What the network says of the test set; ``None`` where the run has not kept it."""
        return read_predictions(self.folder)


def _training(
    model: Mapping[str, Any],
    optimizer: Mapping[str, Any],
    data: Mapping[str, Any],
    training: Mapping[str, Any],
    trainer: Mapping[str, Any],
    device: Mapping[str, Any],
    runtime: Mapping[str, Any],
    code: str,
    engine: str | None,
    loss_engine: str,
) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for section, node in zip(_SECTIONS, (model, optimizer, data, training), strict=True):
        own = hyperparameters.flat(node)
        settings |= {f"{section}.{key}": value for key, value in own.items() if key not in KEEPING}
    # The record tells which engine ran; "auto" may mean another one on another machine.
    settings["model.engine"] = engine or settings.get("model.engine")
    settings["model.loss_engine"] = loss_engine
    settings["optimizer"] = str(optimizer.get("_target_", "")).rpartition(".")[2]
    settings["precision"] = trainer["precision"]
    settings["device"] = device["type"]
    held = ("threads", "flush_subnormals", "deterministic", "tf32")
    settings |= {f"runtime.{key}": runtime.get(key) for key in held}
    settings["code"] = code
    return settings


def _settings(
    task: str,
    cell: str,
    experiment: str,
    budget: str | None,
    of_task: Mapping[str, Any],
    of_cell: Mapping[str, Any],
    code: str,
    training: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        "task": task,
        "cell": cell,
        "experiment": experiment,
        "budget": budget,
        **{f"task.{key}": value for key, value in of_task.items()},
        **{f"cell.{key}": value for key, value in hyperparameters.flat(of_cell).items()},
        "cell.code": code,
        **training,
    }


def _stratum(settings: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    kept = ((key, value) for key, value in settings.items() if key not in ("experiment", "budget"))
    return tuple(sorted((key, hyperparameters.hashable(value)) for key, value in kept))


AT_ONCE = 500
"""Number of runs whose reach is computed together."""
MANY = 2000
"""Number of tables from which on another process takes less time than it needs to start."""
OWN_SHARE = 0.6
"""Share of them that this process reads, as the other one has to start."""
REACH_COLUMNS = ("step", "layer", "lag", "value")
"""The columns of the flow that the reach is computed from."""
EXPONENT_COLUMNS = ("step", "statistic", "value")
"""The columns of the activity that have the exponents."""


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
    runs = list(runs)
    found, damaged = _read_together(runs, "flow", REACH_COLUMNS, GradientReach, gradient_reaches)
    for run, reach in found:
        run.reach = reach
    return damaged


def read_exponents(runs: Iterable[Run]) -> list[DamagedRecordError]:
    """Read the leading Lyapunov exponents of each run that measured any, and keep them there as ``run.exponents``.

    Returns:
        What is wrong with the tables that cannot be read; their runs have no exponents.
    """
    measured = [run for run in runs if run.exponents is None and run.record.config.get("probe", {}).get("exponents")]
    found, damaged = _read_together(measured, "activity", EXPONENT_COLUMNS, Exponents, leading_exponents)
    for run, exponents in found:
        run.exponents = exponents
    return damaged


def _read_together(
    runs: Sequence[Run],
    name: str,
    columns: Sequence[str],
    kind: type[T],
    make: Callable[[Sequence[pa.Table], Sequence[Record]], Sequence[T | None]],
) -> tuple[list[tuple[Run, T | None]], list[DamagedRecordError]]:
    """Make something of one table of each run; those of some hundred runs are read and used together.

    Returns:
        What was made, with its run, and what is wrong with the tables that cannot be read.
    """
    kept = KeptNumbers(probe_file(name), kind, (run.folder for run in runs))
    made: list[tuple[Run, T | None]] = []
    damaged: list[DamagedRecordError] = []
    new: list[Run] = []
    with garbage_left():
        state_of = {run: kept.state(run.folder, run.record) for run in runs}
        for run, state in state_of.items():
            held = kept.get(run.folder, state)
            if held is None:
                new.append(run)
            else:
                made.append((run, held[0]))
        for run, found in zip(new, _made_by_some(new, name, columns, make), strict=True):
            if isinstance(found, DamagedRecordError):
                damaged.append(found)
                continue
            made.append((run, found))
            kept.add(run.folder, state_of[run], found)
        kept.write()
    return made, damaged


def _made_by_some(
    runs: Sequence[Run],
    name: str,
    columns: Sequence[str],
    make: Callable[[Sequence[pa.Table], Sequence[Record]], Sequence[T | None]],
) -> list[T | DamagedRecordError | None]:
    """Make something of one table of each run; of many, another process makes a part."""
    sources = [(run.folder, run.record) for run in runs]
    if len(runs) < MANY or not is_of_use():
        return _made_of(sources, name, columns, make)
    mine = round(len(runs) * OWN_SHARE)
    with OtherProcess(_made_of, sources[mine:], name, columns, make) as other:
        return [*_made_of(sources[:mine], name, columns, make), *other.answer()]


def _made_of(
    sources: Sequence[tuple[Path, Record]],
    name: str,
    columns: Sequence[str],
    make: Callable[[Sequence[pa.Table], Sequence[Record]], Sequence[T | None]],
) -> list[T | DamagedRecordError | None]:
    """Return what is made of each table, or what is wrong with it."""
    made: list[T | DamagedRecordError | None] = []
    with garbage_left():
        for start in range(0, len(sources), AT_ONCE):
            read: list[tuple[pa.Table, Record] | DamagedRecordError] = []
            for folder, record in sources[start : start + AT_ONCE]:
                try:
                    read.append((read_probe(folder, name, columns), record))
                except DamagedRecordError as error:
                    read.append(error)
            whole = [each for each in read if not isinstance(each, DamagedRecordError)]
            found = iter(make(*zip(*whole, strict=True)) if whole else ())
            made += [each if isinstance(each, DamagedRecordError) else next(found) for each in read]
    return made


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
