"""Lightning's trainer as a run uses it: no profiler, no advice."""

from __future__ import annotations

import contextlib
from typing import Any, Literal

import lightning as L
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import PassThroughProfiler

from bench.config.run_spec import RunSpec


def trainer_of(spec: RunSpec, callbacks: list[L.Callback], logger: Logger | Literal[False]) -> L.Trainer:
    """Lightning's trainer for a run spec: one process, one device, and no output or checkpoint of its own.

    Args:
        spec: The run.
        callbacks: In the order in which they are called.
        logger: Where metrics go while it trains.
    """
    return L.Trainer(
        accelerator="gpu" if spec.device.type == "cuda" else "cpu",
        devices=[spec.device.index or 0] if spec.device.type == "cuda" else 1,
        precision="bf16-mixed" if spec.precision == "bf16-mixed" else "32-true",
        max_steps=spec.training.max_steps,
        val_check_interval=spec.training.eval_every,
        check_val_every_n_epoch=None,
        logger=logger,
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        profiler=NoProfiler(),
    )


class NoProfiler(PassThroughProfiler):
    """Lightning asks for some forty contexts a step; this one costs least."""

    def __init__(self) -> None:
        super().__init__()
        self._nothing = contextlib.nullcontext()

    def profile(self, action_name: str) -> Any:
        """Nothing, without a generator to start and end."""
        return self._nothing
