"""The live log of a run: it sends the run's metrics, and what the probes found, to one of Lightning's loggers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import lightning as L
from lightning.pytorch.loggers import Logger

from bench.mirror.history import (
    STEPS_BETWEEN_ROWS,
    Histogram,
    Row,
    evaluation_metrics,
    has_training_row,
    probe_metrics,
    training_metrics,
)
from bench.probes.probing import Probing
from bench.runs.loggers import WandbMirror
from bench.training.curves import Curves, Evaluation
from bench.training.loop import TrainingModule
from tasks.base import Batch


class LiveLog(L.Callback):
    """Callback that hands the curves to the trainer's logger as they grow."""

    def __init__(self, baseline: float, probing: Probing | None) -> None:
        self.baseline = baseline
        self.probing = probing
        self._told: Counter[str] = Counter()
        self._logs = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the steps that the run made before it was stopped.

        A run that resumes from a checkpoint has a new mirror, which has seen none of these steps.
        """
        assert isinstance(pl_module, TrainingModule)
        self._logs = trainer.logger is not None
        if trainer.logger is None:
            return
        evaluations = {row.step: row for row in pl_module.curves.evaluations}
        for step in range(trainer.global_step + 1):
            self._log_probes(trainer.logger, step)
            if has_training_row(step):
                self._log_step(trainer.logger, step, pl_module.curves)
            if step in evaluations:
                self._log_evaluation(trainer.logger, evaluations[step])

    def due(self, step: int) -> bool:
        """Return whether there is something to log after a step, see :class:`bench.training.loop.TrainingModule`."""
        return self._logs and has_training_row(step)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Iterator[Batch], batch_idx: int
    ) -> None:
        """Log training loss and gradient norms, every :data:`~bench.mirror.history.STEPS_BETWEEN_ROWS` steps."""
        step = trainer.global_step
        if trainer.logger is None:
            return
        self._log_probes(trainer.logger, step)
        if has_training_row(step):
            assert isinstance(pl_module, TrainingModule)
            self._log_step(trainer.logger, step, pl_module.curves)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the last step, and the last look of the probes, if they are not on the schedule."""
        step = trainer.global_step
        if trainer.logger is None:
            return
        self._log_probes(trainer.logger, step)
        if step and not has_training_row(step):
            assert isinstance(pl_module, TrainingModule)
            self._log_step(trainer.logger, step, pl_module.curves)

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
        lately = slice(max(0, step - STEPS_BETWEEN_ROWS), step)
        norms, clipped = curves.grad_norm[lately].tolist(), curves.grad_norm_clipped[lately].tolist()
        self._log(logger, step, {**training_metrics(float(curves.loss[step - 1]), norms, clipped)})

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the metrics of the evaluation set, with the baseline."""
        assert isinstance(pl_module, TrainingModule)
        evaluations = pl_module.curves.evaluations
        if trainer.logger is None or not evaluations or pl_module.looks_again:
            return
        self._log_evaluation(trainer.logger, evaluations[-1])

    def _log_evaluation(self, logger: Logger, evaluation: Evaluation) -> None:
        self._log(logger, evaluation.step, {**evaluation_metrics(evaluation.metrics, self.baseline)})

    @staticmethod
    def _log(logger: Logger, step: int, row: Row) -> None:
        if isinstance(logger, WandbMirror):
            logger.log_row(step, row)
        else:
            numbers = {name: value for name, value in row.items() if not isinstance(value, Histogram)}
            logger.log_metrics({**numbers, "step": step}, step=step)
