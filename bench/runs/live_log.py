"""The live log of a run: it sends the run's metrics, and what the probes found, to one of Lightning's loggers."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict
from typing import Any

import lightning as L
from lightning.pytorch.loggers import Logger

from bench.probes.probing import Probing, Rows
from bench.stats.gradient_decay import FLOAT32, clipped_share, reach
from bench.training.curves import Curves, Evaluation
from bench.training.loop import TrainingModule
from tasks.base import Batch

STEPS_BETWEEN_LINES = 50
"""Number of steps between two entries of the training loss in a mirror; the record has every step."""


def probe_metrics(rows: Rows, step: int) -> dict[str, float]:
    """Return what the probes found at one step, by name below ``flow/``, ``gates/`` and ``grad/``.

    Args:
        rows: The rows measured so far; see :attr:`bench.probes.probing.Probing.rows`.
        step: The step.
    """
    metrics: dict[str, float | None] = {}
    curves: dict[int, dict[int, list[float]]] = {}
    for _, layer, _, lag, value in (row for row in rows["flow"] if row[0] == step):
        curves.setdefault(layer, {}).setdefault(lag, []).append(value)
    for layer, points in curves.items():
        # The norm over all parts of the state together, so that it does not matter which of them carries the memory.
        found = asdict(reach(list(points), [math.hypot(*parts) for parts in points.values()], FLOAT32))
        # A state's own gradient means the same for every cell in its rate alone.
        shown = found if layer == 0 else {"rate": found["rate"], "points": found["points"]}
        metrics |= {f"flow/{f'layer{layer}' if layer else 'input'}/{what}": value for what, value in shown.items()}
    for _, layer, name, statistic, value in (row for row in rows["activity"] if row[0] == step):
        metrics[f"gates/layer{layer}.{name}/{statistic}"] = value
    for _, parameter, statistic, value in (row for row in rows["gradients"] if row[0] == step):
        metrics[f"grad/{parameter}/{statistic}"] = value
    return {name: float(value) for name, value in metrics.items() if value is not None}


class LiveLog(L.Callback):
    """Callback that hands the curves to the trainer's logger as they grow."""

    def __init__(self, baseline: float, probing: Probing | None) -> None:
        self.baseline = baseline
        self.probing = probing
        self._told: Counter[str] = Counter()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the steps that the run made before it was stopped.

        A run that resumes from a checkpoint has a new mirror, which has seen none of these steps.
        """
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
        """Log training loss and gradient norms, every :data:`STEPS_BETWEEN_LINES` steps and at the last step."""
        step = trainer.global_step
        if trainer.logger is None:
            return
        self._log_probes(trainer.logger, step)
        if step % STEPS_BETWEEN_LINES and step != trainer.max_steps:
            return
        assert isinstance(pl_module, TrainingModule)
        self._log_step(trainer.logger, step, pl_module.curves)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the last look of the probes if it is not on the schedule."""
        if trainer.logger is not None:
            self._log_probes(trainer.logger, trainer.global_step)

    def _log_probes(self, logger: Logger, step: int) -> None:
        """Log what the probes found at a step, as far as it has not been logged yet."""
        if self.probing is None:
            return
        found = self.probing.rows.items()
        new = {name: [row for row in rows[self._told[name] :] if row[0] == step] for name, rows in found}
        self._told.update({name: len(rows) for name, rows in new.items()})
        if metrics := probe_metrics(new, step):
            self._log(logger, step, metrics)

    def _log_step(self, logger: Logger, step: int, curves: Curves) -> None:
        lately = slice(max(0, step - STEPS_BETWEEN_LINES), step)
        before, after = curves.grad_norm[lately].tolist(), curves.grad_norm_clipped[lately].tolist()
        self._log(
            logger,
            step,
            {
                "train/loss": float(curves.loss[step - 1]),
                "train/baseline": self.baseline,
                "grad/norm": float(curves.grad_norm[step - 1]),
                "grad/norm_clipped": float(curves.grad_norm_clipped[step - 1]),
                "grad/clipped_share": clipped_share(before, after) or 0.0,
            },
        )

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the metrics of the evaluation set, with the baseline."""
        assert isinstance(pl_module, TrainingModule)
        evaluations = pl_module.curves.evaluations
        if trainer.logger is None or not evaluations or pl_module.looks_again:
            return
        self._log_evaluation(trainer.logger, evaluations[-1])

    def _log_evaluation(self, logger: Logger, evaluation: Evaluation) -> None:
        metrics = {f"eval/{name}": value for name, value in evaluation.metrics.items()}
        self._log(logger, evaluation.step, {**metrics, "eval/baseline": self.baseline})

    @staticmethod
    def _log(logger: Logger, step: int, metrics: dict[str, float]) -> None:
        logger.log_metrics({**metrics, "step": step}, step=step)
