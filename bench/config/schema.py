"""The typed schema behind ``conf/config.yaml``.

A misspelt key or a value of the wrong type is an error before anything runs. Sections with a fixed set of keys are
dataclasses. A node with a ``_target_`` (task, cell, optimizer, logger) is checked against the signature of that target,
see :mod:`bench.config.targets`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, get_args

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

from bench.config.tune import TuningConfig
from bench.probes.settings import ProbeConfig
from bench.training.settings import DataConfig, RuntimeConfig, TrainingConfig


@dataclass
class ModelConfig:
    """The network, of which :class:`bench.training.model.SequenceModel` is made.

    Attributes:
        hidden_size: Size of the hidden state of every layer, at least 1; ``None`` where ``parameter_budget`` is given,
            and only there.
        parameter_budget: Number of parameters, for which the hidden size with the nearest number is taken; ``None``
            where ``hidden_size`` is given.
        layers: Number of layers, at least 1; each layer above the first reads the hidden states of the one below.
        dropout: Share of the hidden states between two layers that training sets to zero, in [0, 1); a share above 0
            needs at least two layers.
        engine: How the cell is unrolled over a sequence. ``auto``: the fastest known; ``native``: C++ of ours, on the
            CPU; ``generated``: C++ written from the cell's own equations, on the CPU; ``fused``: the kernel of torch;
            ``compiled``: the cell's own equations through torch.compile; ``stepwise``: these equations step by step.
        readout_init: How the weights of the readout start: ``torch``, ``glorot`` or ``gaussian``; see ``cell.init``.
        embedding: Size of the vector that is learned for each token, at least 1, on tasks whose inputs are tokens;
            ``None`` gives each token an input of its own, 1 where it is there and else 0.
        head: Sizes of dense layers between the hidden states and the readout, from below, each at least 1.
        head_activation: What follows each of them, ``relu`` or ``tanh``.
        input_dropout: Share of the entries of the input vectors that training sets to zero, in [0, 1).
        readout_dropout: The same for what the readout reads.
        loss_engine: What computes the readout and the loss in training. ``torch``: one after the other; ``native``:
            both in one pass of C++, on the CPU, where every step is answered and the loss is a cross entropy; ``auto``:
            ``native`` where it suits and the engine is in C++, too.
        bidirectional: Give each layer a second cell, of the same size, that goes through the sequence from its end. For
            tasks that are answered once a sequence; without probes.
    """

    hidden_size: int | None
    parameter_budget: int | None
    layers: int
    dropout: float
    engine: str
    readout_init: str
    embedding: int | None = None
    head: list[int] = field(default_factory=list)
    head_activation: str = "relu"
    input_dropout: float = 0.0
    readout_dropout: float = 0.0
    bidirectional: bool = False
    loss_engine: str = "auto"

    def __post_init__(self) -> None:
        # Torch comes with it, and a command line is read without.
        from bench.cells.init import WeightRule

        if self.readout_init not in get_args(WeightRule):
            allowed = ", ".join(get_args(WeightRule))
            raise ValueError(f"`readout_init` must be one of {allowed}, got {self.readout_init!r}")


@dataclass
class TrainerConfig:
    """Device and precision.

    Attributes:
        accelerator: ``cpu``, ``gpu`` (CUDA), or ``auto``: a GPU if there is one, else the CPU.
        precision: ``32`` (float32) or ``bf16-mixed`` (products in bfloat16).
    """

    accelerator: str
    precision: str


LAUNCHERS = ("serial", "joblib", "slurm", "ray")
"""Names of launchers; :mod:`bench.config.launchers` has the keys of those for clusters."""


@dataclass
class LauncherConfig:
    """How the runs of a sweep are distributed over processes.

    Attributes:
        name: ``serial`` (one after the other), ``joblib`` (several processes), ``slurm`` or ``ray`` (a cluster).
        workers: Processes on the CPU; ``None`` stands for the number of cores divided by the threads of a run.
        workers_per_gpu: Processes on each GPU; ``None`` stands for 1.
    """

    name: str
    workers: int | None
    workers_per_gpu: int | None

    def __post_init__(self) -> None:
        if self.name not in LAUNCHERS:
            raise ValueError(f"`name` must be one of {', '.join(LAUNCHERS)}, got {self.name!r}")
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

    Attributes:
        task: What is asked; another with ``task=NAME``. A class of your own is named by ``task._target_``.
        cell: The recurrent cell; another with ``cell=NAME``. A class of your own is named by ``cell._target_``.
        model: The network that is made of the cell.
        optimizer: Another with ``optimizer=NAME``; ``optimizer._target_`` names any class of torch.optim's form.
        data: Sizes of the data; every number counts sequences.
        training: How the network is trained.
        probe: What is measured while it trains; ``probe=none`` measures nothing.
        trainer: Device and precision; ``trainer=cpu``, ``trainer=gpu`` and ``trainer=auto`` choose the device.
        runtime: Settings of the whole process.
        logger: A mirror of the run while it trains, ``logger=csv`` or ``logger=wandb``; the record is written in any
            case.
        launcher: How the runs of a sweep are distributed: ``launcher=serial``, ``launcher=joblib``, or on a cluster
            ``launcher=slurm`` or ``launcher=ray``.
        seed: What all random numbers follow from, an integer >= 0 and < 2^63.
        results_dir: The folder of the results, relative to the one that the command is given in.
        rerun: What is run again: ``none`` (only missing runs are made), ``failed`` (failed ones too), or ``all`` (every
            run, from the start).
        budget: ``paper`` or ``short``, for experiments that have both; else ``None``.
        sweep: Rows and settings of an experiment, or a search, in its YAML; else ``None``.
        tuning: What a run of ``bench tune`` is for.
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
    tuning: TuningConfig = MISSING


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
    from bench.config.launchers import CLUSTERS

    for name, kind in CLUSTERS.items():
        store.store(name=f"{name}_launcher", node=kind, provider="bench")
    store.store(group="hydra/sweeper", name=SWEEPER, node=SweeperConfig, provider="bench")
    OmegaConf.register_new_resolver("unless", lambda given, value: value if given is None else None, replace=True)
