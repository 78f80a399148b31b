"""Progress of one run: a bar on a terminal or in a notebook, and a plain line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import lightning as L

from bench.sweeps.bar import ProgressBar
from bench.sweeps.terminal import duration
from bench.training.loop import TrainingModule
from tasks.base import Batch


class Pulse(L.Callback):
    """Callback that counts what the heartbeat of a run reports: steps, how many there are, the pace of this process."""

    def __init__(self) -> None:
        self.numbers = {"step": 0.0, "seconds_per_step": 0.0}
        self._first = 0
        self._started = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self.numbers["max_steps"] = float(trainer.max_steps)
        self._first, self._started = trainer.global_step, time.perf_counter()

    def due(self, step: int) -> bool:
        """Return that nothing is due after any step; several times a second is often enough."""
        return False

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Iterator[Batch], batch_idx: int
    ) -> None:
        """Count the steps."""
        step = trainer.global_step
        self.numbers["step"] = float(step)
        self.numbers["seconds_per_step"] = (time.perf_counter() - self._started) / (step - self._first)


class Progress(L.Callback):
    """Callback that shows loss, baseline, steps a second and time left.

    Args:
        title: Text in front of the bar: position in the sweep, task, cell, seed.
        baseline: The loss of the best predictor without memory.
        pulse: Knows the pace of this process; it is called before this callback.
    """

    def __init__(self, title: str, baseline: float, pulse: Pulse) -> None:
        self.title = title
        self.baseline = baseline
        self.pulse = pulse
        self._bar: ProgressBar | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the bar."""
        self._bar = ProgressBar(trainer.max_steps)

    def due(self, step: int) -> bool:
        """Return that nothing is due after any step; several times a second is often enough."""
        return False

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Iterator[Batch], batch_idx: int
    ) -> None:
        """Refresh the bar or print a line if enough time has passed."""
        assert self._bar is not None
        if not self._bar.due:
            return
        assert isinstance(pl_module, TrainingModule)
        step, steps = trainer.global_step, trainer.max_steps
        loss = float(pl_module.curves.loss[step - 1])
        pace = self.pulse.numbers["seconds_per_step"]
        left = duration((steps - step) * pace)
        self._bar.show(
            step,
            self.title,
            f"loss {loss:.3f} base {self.baseline:.3f} {1 / pace:.2f}/s {left} left",
            f"{self.title}: step {step}/{steps}, loss {loss:.4f} (baseline {self.baseline:.4f}), "
            f"{1 / pace:.1f} steps/s, at most {left} left",
        )

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Close the bar, so that a message starts on a separate line."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
