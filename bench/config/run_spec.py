"""One run, checked and ready, and what is made of it: cell, network, optimiser, logger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import hydra.utils
import torch

from bench.cells import Cell
from bench.cells.init import WeightRule
from bench.config.schema import LauncherConfig, ModelConfig
from bench.engines import Choice, Engine
from bench.probes.probing import ProbeConfig
from bench.records import record
from bench.training import rng
from bench.training.data import DataConfig
from bench.training.loop import MakeOptimizer, TrainingConfig
from bench.training.model import SequenceModel
from bench.training.process import RuntimeConfig
from tasks.base import Task


@dataclass(frozen=True)
class RunSpec:
    """One run, checked and ready.

    Attributes:
        experiment: Name of the experiment.
        task_name: Name of the task.
        cell_name: Name of the cell.
        task: The task.
        hidden_size: Given, or found for the parameter budget.
        model_config: Settings of the network.
        engine: How its cells are unrolled.
        data: Settings of the data.
        training: Settings of the training.
        probe: What is measured while training.
        runtime: Settings of the process.
        device: Where it runs.
        precision: ``32`` or ``bf16-mixed``.
        launcher: How the runs of a sweep are shared out.
        rerun: What to run again: ``none``, ``failed`` or ``all``.
        seed: The seed.
        results_dir: Where records go.
        overrides: What it was composed with.
        asked: The same without what the experiment's settings add.
        row: Its place in the experiment's rows, ``key=value``.
        config: The resolved config, as plain containers.
        code: The code that it uses; see :func:`bench.config.identity.code_of`.
        run_id: The identity of the run.
        kind: The same for runs that differ in nothing but the seed.
    """

    experiment: str
    task_name: str
    cell_name: str
    task: Task
    hidden_size: int
    model_config: ModelConfig
    engine: Choice
    data: DataConfig
    training: TrainingConfig
    probe: ProbeConfig
    runtime: RuntimeConfig
    device: torch.device
    precision: str
    launcher: LauncherConfig
    rerun: str
    seed: int
    results_dir: Path
    overrides: list[str]
    asked: list[str]
    row: list[str]
    config: dict[str, Any]
    code: dict[str, Any]
    run_id: str
    kind: str

    @property
    def folder(self) -> Path:
        """Where the record goes."""
        return record.run_folder(self.results_dir, self.experiment, self.task_name, self.cell_name, self.run_id)

    @property
    def label(self) -> str:
        """Task, cell and seed, for messages."""
        return " ".join((self.task_name, *self.row, self.cell_name, f"seed={self.seed}"))

    def model(self) -> SequenceModel:
        """The network with its initial values, a function of the config and the seed; on the CPU."""
        model = _model(self.config, self.task, self.model_config, self.hidden_size, self.engine.engine)
        model.reset_parameters(
            rng.generator("init", self.seed), self.task.delay, cast(WeightRule, self.model_config.readout_init)
        )
        return model

    def shapes(self) -> dict[str, torch.Size]:
        """The shapes of all weights, by name, without allocating any."""
        model = model_on_meta(self.config, self.task, self.model_config, self.hidden_size)
        return {name: value.shape for name, value in model.state_dict().items()}

    def make_optimizer(self) -> MakeOptimizer:
        """The optimiser's class with its settings."""
        return optimizer_maker(self.config)

    def make_logger(self) -> Any:
        """``RunInfo -> Logger | None``."""
        return hydra.utils.instantiate(self.config["logger"])


def _make_cell(config: Mapping[str, Any]) -> partial[Cell]:
    """The cell's class with its settings; by way of Hydra, so that nested nodes are made too."""
    return hydra.utils.instantiate({**config["cell"], "_partial_": True})


def smallest_cell(config: Mapping[str, Any]) -> Cell:
    """One cell without memory, made so that what is wrong with its settings is said under its name."""
    with torch.device("meta"):
        make = _make_cell(config)
        return make.func(1, 1, **make.keywords)


def _model(
    config: Mapping[str, Any], task: Task, settings: ModelConfig, hidden_size: int, engine: Engine
) -> SequenceModel:
    return SequenceModel(
        _make_cell(config),
        input_size=task.input_size,
        output_size=task.output_size,
        hidden_size=hidden_size,
        layers=settings.layers,
        dropout=settings.dropout,
        readout=task.readout,
        engine=engine,
    )


def model_on_meta(config: Mapping[str, Any], task: Task, settings: ModelConfig, hidden_size: int) -> SequenceModel:
    """The network without memory, for its shapes."""
    with torch.device("meta"):
        return _model(config, task, settings, hidden_size, "stepwise")


def optimizer_maker(config: Mapping[str, Any]) -> MakeOptimizer:
    """The optimiser's class with its settings."""
    return hydra.utils.instantiate({**config["optimizer"], "_partial_": True}, _convert_="all")
