"""Where a run is made: its threads, device and engine, which are part of what it is.

They are decided once, when the run is planned. On the machine that makes it, the plan's word holds: where the machine
cannot keep it, the run is refused in one line, and is never made as another run. A run for a cluster is planned on a
machine that need not be like the nodes, so that its resources are what its job asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from bench.cells import Cell
from bench.config.explain import ConfigError
from bench.config.launchers import ClusterConfig
from bench.config.schema import LauncherConfig, TrainerConfig
from bench.engines import Choice, choose, choose_loss
from bench.engines.native.build import compiler
from bench.training import process
from bench.training.settings import RuntimeConfig


@dataclass(frozen=True)
class Place:
    """What a run is made with, as its plan has decided it.

    Attributes:
        threads: Threads inside one operation on the CPU.
        device: ``cpu`` or ``cuda``.
        engine: The engine.
    """

    threads: int
    device: str
    engine: Choice


def settle(
    runtime: RuntimeConfig, trainer: TrainerConfig, launcher: LauncherConfig, place: Place | None
) -> tuple[RuntimeConfig, TrainerConfig]:
    """Return the settings of the process and the device with nothing left open that another machine would decide.

    Args:
        runtime: The settings of the process that the config asks for.
        trainer: The device and the precision that it asks for.
        launcher: The launcher.
        place: What the plan has decided, where a planned run is made; ``None`` where it is planned.

    Raises:
        ConfigError: The job of a cluster asks for less than the run does.
    """
    if place is not None:
        accelerator = "gpu" if place.device == "cuda" else "cpu"
        return replace(runtime, threads=place.threads), replace(trainer, accelerator=accelerator)
    if not isinstance(launcher, ClusterConfig):
        return runtime, trainer
    if (runtime.threads or 1) > launcher.cpus:
        raise ConfigError(f"launcher.cpus must be >= runtime.threads ({runtime.threads}), got {launcher.cpus}")
    if trainer.accelerator == "gpu" and not launcher.gpus:
        raise ConfigError("launcher.gpus must be 1 where trainer.accelerator is gpu, got 0")
    if trainer.accelerator == "cpu" and launcher.gpus:
        raise ConfigError(f"launcher.gpus must be 0 where trainer.accelerator is cpu, got {launcher.gpus}")
    if trainer.accelerator == "auto":
        trainer = replace(trainer, accelerator="gpu" if launcher.gpus else "cpu")
    return replace(runtime, threads=runtime.threads or launcher.cpus), trainer


def device_of(trainer: TrainerConfig, *, elsewhere: bool) -> torch.device:
    """Return the device of a run after checking that it has the precision, as far as this machine can tell.

    Raises:
        ValueError: A word that is none, or this machine makes the run and lacks the device or the precision.
    """
    if elsewhere and trainer.accelerator in ("cpu", "gpu"):
        device = torch.device("cuda" if trainer.accelerator == "gpu" else "cpu")
        if trainer.precision == "bf16-mixed":
            return device
    else:
        device = process.resolve_device(trainer.accelerator)
    process.check_precision(trainer.precision, device)
    return device


def engine_of(
    asked: str,
    cells: Sequence[Cell],
    device: torch.device,
    precision: str,
    say: Callable[[str], None] | None,
    launcher: LauncherConfig,
    place: Place | None,
) -> Choice:
    """Return the engine of a run.

    Args:
        asked: What the config asks for; see :func:`bench.engines.choose`, like the following ones.
        cells: The cells.
        device: Where the network will run.
        precision: ``32`` or ``bf16-mixed``.
        say: Told when there is something to wait for.
        launcher: The launcher.
        place: See :func:`settle`.

    Raises:
        ValueError: The engine cannot be had, or it cannot be known here what ``auto`` is on the nodes of a cluster.
    """
    if place is not None:
        choose(place.engine.engine, cells, device, precision, say)
        return place.engine
    if not isinstance(launcher, ClusterConfig) or compiler() is not None:
        return choose(asked, cells, device, precision, say)
    # The nodes may have the compiler that this machine lacks.
    built = device.type == "cpu" and precision == "32"
    if built and (asked == "generated" or (asked == "native" and cells[0].recurrence is not None)):
        return Choice("native" if asked == "native" else "generated")
    found = choose(asked, cells, device, precision, say)
    if asked == "auto" and found.note is not None:
        raise ValueError(
            f"`engine` must be given where launcher is {launcher.name} and this machine has no C++ compiler, by which "
            "auto is decided: native or generated where the nodes have one, else fused or stepwise; got 'auto'"
        )
    return found


def loss_engine_of(
    asked: str,
    suits: bool,
    engine: Choice,
    device: torch.device,
    precision: str,
    say: Callable[[str], None] | None,
    launcher: LauncherConfig,
    place: Place | None,
) -> Choice:
    """Return the engine with what computes readout and loss; for arguments see :func:`engine_of`, :func:`choose_loss`.

    Raises:
        ValueError: It cannot be had.
    """
    if place is not None:
        return choose_loss(place.engine.loss, engine, suits, device, precision, say)
    in_cpp = engine.engine in ("native", "generated")
    if isinstance(launcher, ClusterConfig) and compiler() is None and in_cpp and suits and asked in ("auto", "native"):
        return replace(engine, loss="native")  # As the engine, which the nodes have the compiler for.
    return choose_loss(asked, engine, suits, device, precision, say)
