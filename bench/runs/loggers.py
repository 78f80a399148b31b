"""Lightning's loggers as live mirrors of a run: CSV or W&B. The record on disk stays the truth."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import hydra.utils
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger

from bench.config.run_spec import RunSpec
from bench.records.record import FINAL, Record

CONNECT_SECONDS = 20
"""Seconds that an online W&B run may take to connect, and to finish, before it is given up."""


def no_logger(spec: RunSpec, draft: Path) -> None:
    """Return ``None``: there is no mirror, and the record is all there is."""


def csv_logger(spec: RunSpec, draft: Path) -> Logger:
    """Make a logger that writes ``metrics.csv`` into the folder of the record."""
    return CSVLogger(save_dir=draft, name="", version="")


def wandb_logger(spec: RunSpec, draft: Path, *, mode: str, project: str, entity: str | None) -> Logger:
    """Make one W&B run for one run: id = run id, group = experiment, job type = task.

    Args:
        spec: The run.
        draft: The folder in which its record is put together.
        mode: ``offline`` (files below ``results_dir/wandb``, uploaded by ``wandb sync``) or ``online``.
        project: W&B project.
        entity: W&B user or team; ``None`` stands for that of the key.
    """
    import wandb

    spec.results_dir.mkdir(parents=True, exist_ok=True)
    settings = wandb.Settings(
        silent=True,
        console="off",
        disable_git=True,
        disable_code=True,
        init_timeout=CONNECT_SECONDS,
        login_timeout=CONNECT_SECONDS,
        finish_timeout=CONNECT_SECONDS,
    )
    logger = WandbLogger(
        name=f"{spec.task_name} {spec.cell_name} seed={spec.seed}",
        save_dir=spec.results_dir,
        id=spec.run_id,
        project=project,
        entity=entity,
        mode=mode,
        group=spec.experiment,
        job_type=spec.task_name,
        config=spec.config,
        settings=settings,
    )
    # Lightning passes this argument unasked, and wandb then warns that it has no effect.
    logger._wandb_init.pop("anonymous", None)
    try:
        logger.experiment.define_metric("step")
        logger.experiment.define_metric("*", step_metric="step")
    except Exception:
        # The W&B run must be finished, or W&B would add the next run of this process to it.
        wandb.finish(exit_code=1)
        raise
    return logger


class Mirror:
    """The live mirror of one run: it is opened when the run starts, and finished when the record is there.

    Args:
        spec: The run.
        draft: The folder in which its record is put together.
    """

    def __init__(self, spec: RunSpec, draft: Path) -> None:
        self._spec = spec
        self._draft = draft
        self._logger: Logger | None = None

    def open(self) -> Logger | None:
        """Make the logger that the run's config names and return it; return ``None`` if the config names none.

        Raises:
            Exception: What the logger raises, for example W&B without a network.
        """
        make_logger = hydra.utils.instantiate(self._spec.config["logger"])
        self._logger = make_logger(self._spec, self._draft)
        return self._logger

    def finish(self, record: Record | None) -> None:
        """Close the mirror, with the run's outcome as its summary.

        A mirror that stays open would take in the next run of this process.
        """
        if not isinstance(self._logger, WandbLogger):
            return
        run = self._logger.experiment
        try:
            if record is not None:
                run.summary.update(_summary(record))
            run.finish(exit_code=0 if record is not None and record.status in FINAL else 1)
        except Exception as error:  # noqa: BLE001 - the record is written, and a mirror must not cost the sweep
            print(f"bench run: W&B did not take the end of run {run.id}: {error}", file=sys.stderr)


def _summary(record: Record) -> dict[str, Any]:
    summary = {
        "status": record.status,
        "solved": record.solved,
        "steps_to_solve": record.steps_to_solve,
        "steps": record.steps,
        "baseline": record.task_facts["baselines"]["loss"],
        "parameters": record.model["parameters"],
        "steps_per_second": record.time["steps_per_second"],
    }
    return summary | {f"test/{name}": value for name, value in record.metrics["test"].items()}
