"""The probes of a run: their settings, their schedule, and the callback that runs them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from typing import Any

import lightning as L
import torch
from torch import Tensor

from bench.probes import parameters
from bench.probes.activity import activity_of
from bench.probes.flow import answer_step, flow_and_traces, longest_lag, resolve_lags
from bench.probes.lyapunov import exponents_of
from bench.probes.settings import ProbeConfig
from bench.training import rng
from bench.training.loop import TrainingModule
from tasks.base import Batch, Task

NUMERICS = 1
"""Version of what this part computes. It is raised when the numbers change; `make numerics` says when that is so."""

Rows = dict[str, list[tuple[Any, ...]]]
"""Measured values: the rows of each table of :data:`bench.records.series.PROBES`, without the column of the run."""


class Probing(L.Callback):
    """Callback that looks at the network on one fixed batch: before the first step, on a schedule, and after the last.

    The gradients of the parameters are those of the training batch itself. They are taken at the first step, on the
    schedule, and at the last possible step. A look moves neither the random generators nor the clock of the training.

    Attributes:
        rows: What has been measured so far.
        seconds: Time spent on measuring.
    """

    def __init__(self, config: ProbeConfig, task: Task, seed: int, device: torch.device) -> None:
        self.config = config
        self.rows: Rows = {"flow": [], "activity": [], "gradients": []}
        self.seconds = 0.0
        self._task = task
        self._lags = resolve_lags(config.lags, longest_lag(task))
        self._batch = task.sample(config.batch_size, rng.generator("probe", seed, 0, device))
        self._before: tuple[dict[str, float], dict[str, Tensor]] | None = None

    def state(self) -> dict[str, Any]:
        """Return what a later process needs to go on, as plain containers."""
        return {
            "rows": {name: [list(row) for row in rows] for name, rows in self.rows.items()},
            "seconds": self.seconds,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state` returned."""
        self.rows = {name: [tuple(row) for row in rows] for name, rows in state["rows"].items()}
        self.seconds = state["seconds"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the network as it was initialised."""
        if trainer.global_step == 0:
            self._look(trainer, pl_module)
            self._measure_exponents(trainer, pl_module)

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Keep the gradients before the clip, and the parameters before the update."""
        step = trainer.global_step + 1
        if not (self._on_schedule(step) or step in (1, trainer.max_steps)):
            return
        with self._measuring(pl_module) as module:
            named = dict(module.model.named_parameters())
            norms = parameters.norms(parameters.gradients(named.items()))
            self._before = norms, {name: parameter.detach().clone() for name, parameter in named.items()}

    def due(self, step: int) -> bool:
        """Return whether there is something to do after a step, see :class:`bench.training.loop.TrainingModule`."""
        return self._before is not None or self._on_schedule(step)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Iterator[Batch], batch_idx: int
    ) -> None:
        """Measure what the update did, and look at the network after it."""
        if self._before is not None:
            with self._measuring(pl_module) as module:
                self._add_gradients(trainer.global_step, module, *self._before)
            self._before = None
        if self._on_schedule(trainer.global_step):
            self._look(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the network as it is at the end."""
        if not self.looked_at(trainer.global_step):
            self._look(trainer, pl_module)
        self._measure_exponents(trainer, pl_module)

    def looked_at(self, step: int) -> bool:
        """Return whether there is a look after this step."""
        return bool(self.rows["flow"]) and self.rows["flow"][-1][0] == step

    def _on_schedule(self, step: int) -> bool:
        return self.config.every is not None and step % self.config.every == 0

    def _add_gradients(
        self, step: int, module: TrainingModule, norms: dict[str, float], before: dict[str, Tensor]
    ) -> None:
        named = dict(module.model.named_parameters())
        after = parameters.norms(parameters.gradients(named.items()))
        with torch.no_grad():
            ratios = parameters.update_ratios(before, named)
        for name in named:
            found = {"norm": norms.get(name), "norm_clipped": after.get(name), "update_ratio": ratios[name]}
            self.rows["gradients"] += [(step, name, what, value) for what, value in found.items()]

    def _look(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, TrainingModule)
        module.look_for_divergence()
        if module.diverged_at is not None:
            return
        step, model = trainer.global_step, module.model
        gates = self.config.gates is not False and any(cell.gates for cell in model.layers)
        devices = [module.device] if module.device.type == "cuda" else []
        # A user's own cell may draw from the global generators.
        with self._measuring(module), torch.random.fork_rng(devices):
            flow, traces = flow_and_traces(model, self._task, self._batch, self._lags, inputs=self.config.inputs)
            bins = self.config.gate_bins
            activity = activity_of(model, self._batch.inputs, gates=gates, bins=bins, traces=traces)
            self.rows["flow"] += [(step, *astuple(point)) for point in flow]
            self.rows["activity"] += [(step, *astuple(each)) for each in activity]

    def _measure_exponents(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, TrainingModule)
        if self.config.exponents == 0 or module.diverged_at is not None:
            return
        step, devices = trainer.global_step, [module.device] if module.device.type == "cuda" else []
        inputs = self._batch.inputs[: answer_step(self._task, self._batch) + 1]
        with self._measuring(module), torch.random.fork_rng(devices):
            for layer, found in enumerate(exponents_of(module.model, inputs, self.config.exponents), start=1):
                self.rows["activity"] += [
                    (step, layer, "state", f"lyapunov_{number}", value) for number, value in enumerate(found, start=1)
                ]

    @contextlib.contextmanager
    def _measuring(self, module: L.LightningModule) -> Iterator[TrainingModule]:
        """Stop the clock of the training while something is measured, and count the time."""
        assert isinstance(module, TrainingModule)
        module.stop_clock()
        started = time.perf_counter()
        yield module
        self.seconds += time.perf_counter() - started
        module.clock.start()


def check_probes(config: ProbeConfig, task: Task, gates: Sequence[str], cell: str) -> None:
    """Raise ``ValueError`` unless the settings suit a cell on a task.

    Args:
        config: The settings of the probes.
        task: The task.
        gates: Names of the cell's gates.
        cell: The cell's name, for the message.
    """
    if not config.enabled:
        return
    resolve_lags(config.lags, longest_lag(task))
    if config.gates and not gates:
        raise ValueError(f"`gates` must be null or false for {cell}, which has none, got true")
