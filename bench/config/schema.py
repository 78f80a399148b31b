"""The typed schema behind ``conf/config.yaml``.

A misspelt key or a value of the wrong type is an error before anything runs. Sections with a fixed set of keys are
dataclasses. A node with a ``_target_`` (task, cell, optimizer, logger) is checked against the signature of that target,
see :mod:`bench.config.targets`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

from bench.probes.settings import ProbeConfig
from bench.training.settings import DataConfig, RuntimeConfig, TrainingConfig


@dataclass
class ModelConfig:
    """The network; :class:`bench.training.model.SequenceModel` has the ranges.

    Either ``hidden_size`` or ``parameter_budget`` is given, not both.
    """

    hidden_size: int | None
    parameter_budget: int | None
    layers: int
    dropout: float
    engine: str
    readout_init: str

    def __post_init__(self) -> None:
        # Torch comes with it, and a command line is read without.
        from bench.cells.init import WeightRule

        if self.readout_init not in get_args(WeightRule):
            allowed = ", ".join(get_args(WeightRule))
            raise ValueError(f"`readout_init` must be one of {allowed}, got {self.readout_init!r}")


@dataclass
class TrainerConfig:
    """Device and precision: ``auto``, ``cpu`` or ``gpu``; ``32`` or ``bf16-mixed``."""

    accelerator: str
    precision: str


@dataclass
class LauncherConfig:
    """How the runs of a sweep are distributed over processes.

    Attributes:
        name: ``serial`` (one after the other) or ``joblib`` (several processes).
        workers: Processes on the CPU; ``None`` stands for the number of cores divided by the threads of a run.
        workers_per_gpu: Processes on each GPU; ``None`` stands for 1.
    """

    name: str
    workers: int | None
    workers_per_gpu: int | None

    def __post_init__(self) -> None:
        if self.name not in ("serial", "joblib"):
            raise ValueError(f"`name` must be one of serial, joblib, got {self.name!r}")
        for name in ("workers", "workers_per_gpu"):
            value = getattr(self, name)
            if value is not None and self.name == "serial":
                raise ValueError(f"`{name}` must be null where launcher is serial, got {value}")
            if value is not None and value < 1:
                raise ValueError(f"`{name}` must be null or >= 1, got {value}")


@dataclass
class Config:
    """Everything that ``bench run`` accepts. The values are in ``conf/``, never here.

    ``budget`` and ``sweep`` choose settings (:mod:`bench.config.sweep_grid`) and are not settings themselves, so they
    are not part of what a run is. The record names the budget.
    """

    task: Any = MISSING
    cell: Any = MISSING
    model: ModelConfig = MISSING
    optimizer: Any = MISSING
    data: DataConfig = MISSING
    training: TrainingConfig = MISSING
    probe: ProbeConfig = MISSING
    trainer: TrainerConfig = MISSING
    runtime: RuntimeConfig = MISSING
    logger: Any = MISSING
    launcher: LauncherConfig = MISSING
    seed: int = MISSING
    results_dir: str = MISSING
    rerun: str = MISSING
    budget: str | None = MISSING
    sweep: Any = MISSING


SWEEPER = "bench"
"""The option of ``hydra/sweeper`` that ``conf/config.yaml`` chooses."""


@dataclass
class SweeperConfig:
    """The node ``hydra.sweeper``, from which Hydra makes the sweeper of ``bench run``.

    Attributes:
        params: Values to sweep over by key, as the command line has them.
        workers: Runs at once. The sweep sets it; the settings of a launcher refer to it, as in
            ``conf/launcher/joblib.yaml``.
    """

    _target_: str = "hydra_plugins.bench_sweeper.BenchSweeper"
    params: dict[str, str] | None = None
    workers: int = 1


def register() -> None:
    """Register the schemas and the resolver with Hydra; calling this again does no harm."""
    store = ConfigStore.instance()
    store.store(name="schema", node=Config, provider="bench")
    store.store(group="hydra/sweeper", name=SWEEPER, node=SweeperConfig, provider="bench")
    OmegaConf.register_new_resolver("unless", lambda given, value: value if given is None else None, replace=True)
