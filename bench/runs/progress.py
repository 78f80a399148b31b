"""Progress of one run: a bar on a terminal or in a notebook, and a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

import lightning as L
from tqdm.auto import tqdm

from bench.sweeps.terminal import duration, in_notebook
from bench.training.loop import TrainingModule
from tasks.base import Batch

SECONDS_BETWEEN_REFRESHES = 0.5
SECONDS_BETWEEN_LINES = 30.0
BAR = "{desc} {percentage:.0f}%{bar}{postfix} {rate_noinv_fmt} {remaining} left"
"""Format of the bar; the line fits into 80 columns, because the bar itself shrinks down to one."""


class Pulse(L.Callback):
    """Callback that counts what the heartbeat of a run reports: steps made, and the pace of this process."""

    def __init__(self) -> None:
        self.numbers = {"step": 0.0, "seconds_per_step": 0.0}
        self._first = 0
        self._started = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._first, self._started = trainer.global_step, time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Count another step."""
        step = trainer.global_step
        self.numbers["step"] = float(step)
        self.numbers["seconds_per_step"] = (time.perf_counter() - self._started) / (step - self._first)


class Progress(L.Callback):
    """Callback that shows loss, baseline, steps a second and time left.

    Args:
        title: Text in front of the bar: position in the sweep, task, cell, seed.
        baseline: The loss of the best predictor without memory.
    """

    def __init__(self, title: str, baseline: float) -> None:
        self.title = title
        self.baseline = baseline
        self._bar: tqdm[Any] | None = None
        self._first = 0
        self._started = 0.0
        self._last = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the bar."""
        self._first = trainer.global_step
        self._started = self._last = time.perf_counter()
        if sys.stderr.isatty() or in_notebook():
            self._bar = tqdm(
                total=trainer.max_steps,
                initial=self._first,
                desc=self.title,
                leave=False,
                dynamic_ncols=True,
                unit="",
                bar_format=BAR,
            )

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Refresh the bar or print a line if enough time has passed."""
        now = time.perf_counter()
        pause = SECONDS_BETWEEN_LINES if self._bar is None else SECONDS_BETWEEN_REFRESHES
        if now - self._last < pause:
            return
        self._last = now
        assert isinstance(pl_module, TrainingModule)
        step = trainer.global_step
        loss = float(pl_module.curves.loss[step - 1])
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {loss:.3f} base {self.baseline:.3f}", refresh=False)
            self._bar.update(step - self._bar.n)
            return
        rate = (step - self._first) / (now - self._started)
        left = duration((trainer.max_steps - step) / rate)
        print(
            f"{self.title}: step {step}/{trainer.max_steps}, loss {loss:.4f} (baseline {self.baseline:.4f}), "
            f"{rate:.1f} steps/s, at most {left} left",
            file=sys.stderr,
            flush=True,
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
            self._bar = None
