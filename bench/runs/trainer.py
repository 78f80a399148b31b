"""Lightning's trainer as a run uses it: one process, one device, no advice, and nothing of its own on disk."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import lightning as L
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.profilers import PassThroughProfiler

from bench.config.run_spec import RunSpec


def trainer_of(spec: RunSpec, callbacks: list[L.Callback]) -> L.Trainer:
    """Lightning's trainer for a run spec, without a logger.

    What a scheduler such as SLURM or a launcher such as torchrun has put into the environment changes nothing: every
    process trains the runs that it is given, by itself.

    Args:
        spec: The run.
        callbacks: In the order in which they are called.
    """
    environment = LightningEnvironment()
    # Otherwise Lightning reads the rank from the environment, and loggers are silent where it is not 0.
    environment.set_global_rank(0)
    return L.Trainer(
        accelerator="gpu" if spec.device.type == "cuda" else "cpu",
        devices=[spec.device.index or 0] if spec.device.type == "cuda" else 1,
        precision="bf16-mixed" if spec.precision == "bf16-mixed" else "32-true",
        plugins=[environment],
        max_steps=spec.training.steps,
        val_check_interval=spec.training.interval,
        check_val_every_n_epoch=None,
        logger=False,
        callbacks=callbacks,
        # In a job of SLURM's, Lightning goes on from any `hpc_ckpt_*` that it finds here; in this folder there is none.
        default_root_dir=spec.folder,
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
        """Return a context that does nothing, without a generator to start and end."""
        return self._nothing


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's advice out of the output: each line here is about a choice of ours, not about a mistake."""
    names = ("lightning.pytorch", "lightning.fabric")
    levels = [logging.getLogger(name).level for name in names]
    for name in names:
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for message in (
            ".*does not have many workers.*",  # Batches are ready-made on the device.
            "GPU available but not used.*",  # The user has chosen trainer=cpu.
            "The `srun` command is available.*",  # SLURM is installed, and starts none of our processes.
            ".*isinstance\\(treespec, LeafSpec\\).*",  # Lightning 2.6 says this on torch 2.13.
        ):
            warnings.filterwarnings("ignore", message=message)
        try:
            yield
        finally:
            for name, level in zip(names, levels, strict=True):
                logging.getLogger(name).setLevel(level)
