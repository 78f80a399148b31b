"""Live mirrors of a run: CSV or W&B, through Lightning's loggers. The record on disk stays the truth."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger

from bench.decay import clipped_share, reach
from bench.probes.probing import Probing, Rows
from bench.record import FINAL, Record
from bench.training import Curves, Evaluation, TrainingModule
from tasks.base import Batch

STEPS_BETWEEN_LINES = 50
"""Steps between two entries of the training loss in a mirror; every step is in the record."""
CONNECT_SECONDS = 20
"""How long an online W&B run may take to connect, and to finish, before it is given up."""


@dataclass(frozen=True)
class RunInfo:
    """What a mirror is told of a run.

    Attributes:
        run_id: The run's id.
        experiment: Name of the experiment.
        task: Name of the task.
        cell: Name of the cell.
        seed: The seed.
        config: The resolved config.
        draft: The folder in which the record is put together.
        results_dir: The results folder.
    """

    run_id: str
    experiment: str
    task: str
    cell: str
    seed: int
    config: dict[str, Any]
    draft: Path
    results_dir: Path


def no_logger(info: RunInfo) -> None:
    """No mirror: the record is all there is."""


def csv_logger(info: RunInfo) -> Logger:
    """``metrics.csv`` in the folder of the record."""
    return CSVLogger(save_dir=info.draft, name="", version="")


def check_wandb(mode: str) -> None:
    """Raise ``ValueError`` unless W&B can be used in this mode without asking anything."""
    if mode not in ("offline", "online"):
        raise ValueError(f"`mode` must be one of offline, online, got {mode!r}")
    if mode == "online" and not _wandb().login(prompt=False, verify=False):
        raise ValueError("`mode` must be offline where W&B has no key (`wandb login` stores one), got 'online'")


def wandb_logger(info: RunInfo, *, mode: str, project: str, entity: str | None) -> Logger:
    """One W&B run for one run: id = run id, group = experiment, job type = task.

    Args:
        info: The run.
        mode: ``offline`` (files below ``results_dir/wandb``, uploaded by ``wandb sync``) or ``online``.
        project: W&B project.
        entity: W&B user or team; ``None`` for the key's own.

    Raises:
        ValueError: An unknown mode, or ``online`` without a key.
    """
    check_wandb(mode)
    wandb = _wandb()
    info.results_dir.mkdir(parents=True, exist_ok=True)
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
        name=f"{info.task} {info.cell} seed={info.seed}",
        save_dir=info.results_dir,
        id=info.run_id,
        project=project,
        entity=entity,
        mode=mode,
        group=info.experiment,
        job_type=info.task,
        config=info.config,
        settings=settings,
    )
    # Lightning passes this on unasked, and wandb then warns that it has no effect.
    logger._wandb_init.pop("anonymous", None)
    try:
        logger.experiment.define_metric("step")
        logger.experiment.define_metric("*", step_metric="step")
    except Exception:
        # Not finished, it would take in the next run of this process.
        wandb.finish(exit_code=1)
        raise
    return logger


def _wandb() -> Any:
    """The module, imported only where it is used."""
    import wandb

    return wandb


def finish(logger: Logger | None, record: Record | None) -> None:
    """Close a mirror, with the run's outcome as its summary; without it the next run would be merged into this one."""
    if not isinstance(logger, WandbLogger):
        return
    run = logger.experiment
    try:
        if record is not None:
            run.summary.update(_summary(record))
        run.finish(exit_code=0 if record is not None and record.status in FINAL else 1)
    except Exception as error:  # noqa: BLE001 - the record is written; a mirror must not cost the sweep
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


def probe_metrics(rows: Rows, step: int) -> dict[str, float]:
    """What the probes found at one step, by name below ``flow/``, ``gates/`` and ``grad/``.

    Args:
        rows: See :attr:`bench.probes.probing.Probing.rows`.
        step: The step.
    """
    metrics: dict[str, float | None] = {}
    curves: dict[str, list[tuple[int, float]]] = {}
    for _, layer, state, lag, value in (row for row in rows["flow"] if row[0] == step):
        curves.setdefault(f"flow/layer{layer}.{state}", []).append((lag, value))
    for name, points in curves.items():
        lags, values = zip(*points, strict=True)
        metrics |= {f"{name}/{what}": value for what, value in asdict(reach(lags, values)).items()}
    for _, layer, name, statistic, value in (row for row in rows["activity"] if row[0] == step):
        metrics[f"gates/layer{layer}.{name}/{statistic}"] = value
    for _, parameter, statistic, value in (row for row in rows["gradients"] if row[0] == step):
        metrics[f"grad/{parameter}/{statistic}"] = value
    return {name: float(value) for name, value in metrics.items() if value is not None}


def _clipped_lately(curves: Curves, step: int) -> float:
    """Share of the last :data:`STEPS_BETWEEN_LINES` steps whose gradient was clipped."""
    lately = slice(max(0, step - STEPS_BETWEEN_LINES), step)
    return clipped_share(curves.grad_norm[lately].tolist(), curves.grad_norm_clipped[lately].tolist()) or 0.0


class LiveLog(L.Callback):
    """Hands the curves to the trainer's logger as they grow."""

    def __init__(self, baseline: float, probing: Probing | None) -> None:
        self.baseline = baseline
        self.probing = probing
        self._told: Counter[str] = Counter()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """What a run that goes on from a checkpoint had told before: this mirror has seen none of it."""
        assert isinstance(pl_module, TrainingModule)
        if trainer.logger is None:
            return
        evaluations = {row.step: row for row in pl_module.curves.evaluations}
        for step in range(trainer.global_step + 1):
            self._log_probes(trainer.logger, step)
            if step and step % STEPS_BETWEEN_LINES == 0:
                self._log_step(trainer.logger, step, pl_module.curves)
            if step in evaluations:
                self._log_evaluation(trainer.logger, evaluations[step])

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Training loss and gradient norms, every :data:`STEPS_BETWEEN_LINES` steps and at the last."""
        step = trainer.global_step
        if trainer.logger is None:
            return
        self._log_probes(trainer.logger, step)
        if step % STEPS_BETWEEN_LINES and step != trainer.max_steps:
            return
        assert isinstance(pl_module, TrainingModule)
        self._log_step(trainer.logger, step, pl_module.curves)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The last look of the probes, where it is not one of the schedule."""
        if trainer.logger is not None:
            self._log_probes(trainer.logger, trainer.global_step)

    def _log_probes(self, logger: Logger, step: int) -> None:
        """What has not been told yet of a step."""
        if self.probing is None:
            return
        found = self.probing.rows.items()
        new = {name: [row for row in rows[self._told[name] :] if row[0] == step] for name, rows in found}
        self._told.update({name: len(rows) for name, rows in new.items()})
        if metrics := probe_metrics(new, step):
            self._log(logger, step, metrics)

    def _log_step(self, logger: Logger, step: int, curves: Curves) -> None:
        self._log(
            logger,
            step,
            {
                "train/loss": float(curves.loss[step - 1]),
                "train/baseline": self.baseline,
                "grad/norm": float(curves.grad_norm[step - 1]),
                "grad/norm_clipped": float(curves.grad_norm_clipped[step - 1]),
                "grad/clipped_share": _clipped_lately(curves, step),
            },
        )

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Metrics of the evaluation set, with the baseline."""
        assert isinstance(pl_module, TrainingModule)
        evaluations = pl_module.curves.evaluations
        if trainer.logger is None or not evaluations:
            return
        self._log_evaluation(trainer.logger, evaluations[-1])

    def _log_evaluation(self, logger: Logger, evaluation: Evaluation) -> None:
        metrics = {f"eval/{name}": value for name, value in evaluation.metrics.items()}
        self._log(logger, evaluation.step, {**metrics, "eval/baseline": self.baseline})

    @staticmethod
    def _log(logger: Logger, step: int, metrics: dict[str, float]) -> None:
        logger.log_metrics({**metrics, "step": step}, step=step)
