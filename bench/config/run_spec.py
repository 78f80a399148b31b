"""One run, checked and ready: what its config says, its network, its identity, and where its record goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra.utils
import torch

from bench.config.network import Network
from bench.config.place import Place
from bench.config.schema import LauncherConfig
from bench.probes.settings import ProbeConfig
from bench.training.loop import MakeOptimizer
from bench.training.settings import DataConfig, RuntimeConfig, TrainingConfig
from tasks.base import Task


@dataclass(frozen=True)
class Sections:
    """What the sections of a config say besides task, cell and network, each checked.

    Attributes:
        data: Settings of the data.
        training: Settings of the training.
        probe: What is measured while training.
        runtime: Settings of the process.
        device: Where the run computes.
        precision: ``32`` or ``bf16-mixed``.
        seed: The seed.
        rerun: What is run again: ``none``, ``failed`` or ``all``.
        results_dir: Where records go.
        launcher: How the runs of a sweep are shared out.
        elsewhere: Whether another machine than this one makes the run, so that nothing of this one counts.
    """

    data: DataConfig
    training: TrainingConfig
    probe: ProbeConfig
    runtime: RuntimeConfig
    device: torch.device
    precision: str
    seed: int
    rerun: str
    results_dir: Path
    launcher: LauncherConfig
    elsewhere: bool


@dataclass(frozen=True)
class RunSpec(Sections):
    """One run, checked and ready.

    Attributes:
        network: The network, with the task that it is trained on.
        scaled_tasks: The task at further delays, which it is tested on, by the factor as a text.
        experiment: Name of the experiment.
        task_name: Name of the task.
        cell_name: Name of the cell.
        overrides: What the run was composed with.
        asked: The same without what the experiment's settings add.
        row: The run's place in the experiment's rows, ``key=value``.
        config: The resolved config, as plain containers.
        code: The code that the run uses; see :func:`bench.config.identity.code_of`.
        run_id: The identity of the run, a hash of all settings that can change a number and of the versions of the
            code.
        kind: The same for runs that differ in nothing but the seed.
    """

    network: Network
    scaled_tasks: Mapping[str, Task]
    experiment: str
    task_name: str
    cell_name: str
    overrides: list[str]
    asked: list[str]
    row: list[str]
    config: dict[str, Any]
    code: dict[str, Any]
    run_id: str
    kind: str

    @property
    def task(self) -> Task:
        """The task."""
        return self.network.task

    @property
    def folder(self) -> Path:
        """Where the record goes."""
        return self.results_dir / "runs" / self.experiment / self.task_name / self.cell_name / self.run_id

    @property
    def label(self) -> str:
        """Task, cell and seed, for messages."""
        return " ".join((self.task_name, *self.row, self.cell_name, f"seed={self.seed}"))

    @property
    def place(self) -> Place:
        """What it is made with, wherever that is."""
        return Place(self.runtime.thread_count, self.device.type, self.network.engine)

    def make_optimizer(self) -> MakeOptimizer:
        """Return the optimiser's class with its settings."""
        return optimizer_maker(self.config["optimizer"])


def optimizer_maker(node: Mapping[str, Any]) -> MakeOptimizer:
    """Return the optimiser's class with its settings, from its node of the config."""
    return hydra.utils.instantiate({**node, "_partial_": True}, _convert_="all")
