"""Settings of launchers whose runs are made on other machines, each with the keys of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from bench.config.schema import LauncherConfig


@dataclass
class ClusterConfig(LauncherConfig):
    """What every launcher on a cluster has besides.

    Attributes:
        name: The launcher.
        workers: Runs at once; ``None`` for as many as the cluster takes.
        workers_per_gpu: ``None``, since each run has its own job.
        cpus: Cores of each run, at least 1; where ``runtime.threads`` is null, also its threads.
        gpus: GPUs of each run, 0 or 1; where ``trainer`` is auto, 0 stands for the CPU and 1 for the GPU.
    """

    cpus: int
    gpus: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.workers_per_gpu is not None:
            raise ValueError(
                f"`workers_per_gpu` must be null where launcher is {self.name}, got {self.workers_per_gpu}"
            )
        if self.cpus < 1:
            raise ValueError(f"`cpus` must be >= 1, got {self.cpus}")
        if self.gpus not in (0, 1):
            raise ValueError(f"`gpus` must be 0 or 1, since a run uses one GPU at most, got {self.gpus}")

    @property
    def is_far(self) -> bool:
        """Whether runs may be made on another machine than this one."""
        return True


@dataclass
class SlurmConfig(ClusterConfig):
    """Jobs of SLURM's, one a run, submitted as arrays.

    Attributes:
        name: ``slurm``.
        workers: Runs at once; ``None`` for as many as the cluster takes.
        workers_per_gpu: ``None``, since each run has its own job.
        cpus: Cores of each run, at least 1; where ``runtime.threads`` is null, also its threads.
        gpus: GPUs of each run, 0 or 1; where ``trainer`` is auto, 0 stands for the CPU and 1 for the GPU.
        partition: The partition, ``sbatch --partition``; ``None`` for the default one.
        account: Whose hours count, ``sbatch --account``; ``None`` for the default.
        minutes: Time limit of a job, at least 1; a run that needs longer goes on in another job.
        memory_gb: Memory of a job in GB, > 0; ``None`` for the partition's default.
        warning_seconds: How long before the time limit a run is told to stop with a checkpoint, at least 1.
        setup: Lines of shell before the run, such as ``module load gcc``.
        additional_parameters: Any other option of sbatch by its name, such as ``{constraint: epyc, qos: long}``.
    """

    partition: str | None
    account: str | None
    minutes: int
    memory_gb: float | None
    warning_seconds: int
    setup: list[str]
    additional_parameters: dict[str, Any]

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("minutes", "warning_seconds"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be >= 1, got {getattr(self, name)}")
        if self.warning_seconds >= 60 * self.minutes:
            raise ValueError(
                f"`warning_seconds` must be < 60 * minutes ({60 * self.minutes}), got {self.warning_seconds}"
            )
        if self.memory_gb is not None and not 0 < self.memory_gb < float("inf"):
            raise ValueError(f"`memory_gb` must be null or a finite number > 0, got {self.memory_gb}")


@dataclass
class RayConfig(ClusterConfig):
    """Tasks of Ray's, one a run.

    Attributes:
        name: ``ray``.
        workers: Runs at once; ``None`` for as many as the cluster takes.
        workers_per_gpu: ``None``, since each run has its own task.
        cpus: Cores of each run, at least 1; where ``runtime.threads`` is null, also its threads.
        gpus: GPUs of each run, 0 or 1; where ``trainer`` is auto, 0 stands for the CPU and 1 for the GPU.
        address: The cluster to join: ``auto`` for one that runs on this machine, or ``HOST:PORT``; ``None`` starts one
            on this machine, for this command.
    """

    address: str | None

    @property
    def is_far(self) -> bool:
        """Whether runs may be made on another machine than this one."""
        return self.address is not None


CLUSTERS: Mapping[str, type[ClusterConfig]] = {"slurm": SlurmConfig, "ray": RayConfig}
"""Launchers whose runs are made on other machines, by name."""


def kind_of(node: Mapping[str, Any]) -> type[LauncherConfig]:
    """Return the dataclass of a launcher's node, by its name.

    Raises:
        ValueError: The name is that of a launcher with other keys.
    """
    kind = CLUSTERS.get(node.get("name", ""), LauncherConfig)
    lacking = [field.name for field in fields(kind) if field.name not in node]
    if kind is not LauncherConfig and lacking:
        raise ValueError(f"`name` must be that of the chosen launcher: choose it by launcher={node['name']}")
    return kind
