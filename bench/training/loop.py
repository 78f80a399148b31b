"""The training loop as Lightning calls it: each hook hands its work to a plain piece of the training."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn

from bench.training import rng
from bench.training.clipping import clip_gradients
from bench.training.clock import Clock
from bench.training.curves import Curves, Evaluation
from bench.training.data import pieces
from bench.training.model import Carried, SequenceModel
from bench.training.schedule import best_of, factor
from bench.training.scores import Scores
from bench.training.settings import TrainingConfig
from bench.training.stopping import SOLVED_IN_A_ROW, Divergence, solved_at, solved_in_a_row
from tasks.base import Batch, Task
from tasks.data_set import DataSet

NUMERICS = 1
"""Raised when what is computed here changes; `make numerics` says when that is."""

STEPS_BETWEEN_LOOKS = 50
"""Steps between two looks at the losses on a device where each look waits for the device."""
SECONDS_TOGETHER = 0.05
"""Seconds of updates after which Lightning's loop is returned to, though nothing is due; the bar moves as often."""

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


class TrainingModule(L.LightningModule):
    """Trains one network on one task and keeps the curves.

    Step ``k``, counted from 1, is the ``k``-th update; its loss and gradient are those before the update.

    One training step of Lightning's is as many updates as fit between two steps after which something is due: an
    evaluation, the end, or what a callback says by its method ``due``, which takes a step and returns whether
    ``on_train_batch_end`` must be called after it. A callback that has this hook and no such method is called after
    every update. Lightning's loop around a single update takes about as long as a small update itself.

    Attributes:
        curves: Loss and gradient norms of every step, metrics of every evaluation.
        clock: Counts the wall time of training steps, without evaluations and probes.
        divergence: Knows the first step with a loss that is not finite.
        solved_at: The step at which the task counts as solved, see :func:`bench.training.stopping.solved_at`.
        looks_again: The metrics of further sequences after the last step, see :attr:`undecided`.
        test_metrics: Filled by the one look at the test set; those of a further set have its name behind an ``@``.
        test_told: What the network says of the test set, as :meth:`tasks.data_set.DataSet.told` has it, batch by batch,
            where the settings ask for it.
        test_name: Name of the further test set that is looked at; ``None`` for the test set itself.
        best_weights: The weights at the first evaluation with the best value of the task's metric, by name, where the
            settings ask for them; ``None`` before the first evaluation.
        carry_over: Steps after which the state that goes on from batch to batch is forgotten; ``None`` begins every
            batch anew.
        carried: The state that the next training batch goes on from.
        without_gradient: Names of the parameters that no step of this process has given a gradient; none before the
            first.
    """

    def __init__(
        self,
        task: Task,
        model: SequenceModel,
        make_optimizer: MakeOptimizer,
        config: TrainingConfig,
        seed: int,
        device: torch.device,
        microbatch_size: int | None = None,
        carry_over: int | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.carry_over = carry_over
        self.carried = Carried()
        self._evaluation_carried = Carried()
        self.microbatch_size = microbatch_size
        self.task = task
        self.model = model
        self.make_optimizer = make_optimizer
        self._weights = list(model.parameters())  # Every step asks for them.
        self.config = config
        self.seed = seed
        self.curves = Curves.empty(config.steps, device)
        self.clock = Clock()
        self.divergence = Divergence()
        self.solved_at: int | None = None
        self.looks_again: list[dict[str, float]] = []
        self.test_metrics: dict[str, float] = {}
        self.test_told: list[Mapping[str, Any]] = []
        self._tested = 0
        self.test_name: str | None = None
        self.without_gradient: set[str] | None = None
        self.best_weights: dict[str, Tensor] | None = None
        self._optimizer_state: dict[str, Any] | None = None
        self._optimizer: torch.optim.Optimizer | None = None
        self._before_updates: list[L.Callback] = []
        self._due: list[Callable[[int], bool]] = []
        self._base_rates: list[float] = []
        self._steps_between_looks = 1 if device.type == "cpu" else STEPS_BETWEEN_LOOKS
        one = task.sample(1, rng.generator("eval", seed))
        names = task.scores(torch.zeros(len(one.targets), 1, task.output_size), one)
        self._scores = Scores(names, device, task.set_scores)

    @property
    def diverged_at(self) -> int | None:
        """The first step with a loss that is not finite, or ``None``."""
        return self.divergence.step

    @property
    def evaluated(self) -> bool:
        """Whether the evaluation set has been looked at after the last step."""
        return bool(self.curves.evaluations) and self.curves.evaluations[-1].step == self.global_step

    @property
    def undecided(self) -> bool:
        """Whether the run ends among evaluations that meet the criterion, too few of them to count as solved.

        The trained network is then looked at again, on further evaluation sets, until one does not meet the criterion
        or there are enough. A data set has no further ones.
        """
        if isinstance(self.task, DataSet):
            return False
        late = solved_in_a_row(self.curves.evaluations, self.task.solved)
        return self.solved_at is None and late > 0 and all(map(self.task.solved, self.looks_again))

    @property
    def metric_values(self) -> list[float]:
        """The task's metric at each evaluation so far."""
        return [row.metrics[self.task.metric] for row in self.curves.evaluations]

    @property
    def out_of_patience(self) -> bool:
        """Whether as many evaluations in a row as the settings allow have brought no better value of the metric."""
        values, patience = self.metric_values, self.config.patience
        if patience is None or not values:
            return False
        return len(values) - 1 - best_of(values, lower=not self.task.higher_is_better) >= patience

    @property
    def ended_early(self) -> bool:
        """Whether the settings ask for no further step, whatever their number."""
        return self.out_of_patience or (self.config.stop_when_solved and self.solved_at is not None)

    @property
    def steps(self) -> int:
        """Updates made so far, up to and with a diverged one."""
        return self.global_step if self.diverged_at is None else self.diverged_at

    def state(self) -> dict[str, Any]:
        """Return all that a later process needs to go on after the last step, as tensors and plain containers."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        return {
            "step": self.global_step,
            # Those of now: the best weights may take their place before this is written.
            "model": {name: value.detach().clone() for name, value in self.model.state_dict().items()},
            "optimizer": optimizer.state_dict(),
            **self.curves.state(self.global_step),
            "solved_at": self.solved_at,
            "solved_in_a_row": solved_in_a_row(self.curves.evaluations, self.task.solved),
            "looked_at": self.divergence.looked_at,
            "train_seconds": self.clock.seconds,
            **({"carried": self.carried.states} if self.carry_over is not None else {}),
            **({"best_weights": self.best_weights} if self.config.tested_weights == "best" else {}),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a :meth:`state`, before the fit.

        Raises:
            Exception: What torch raises for the weights or the optimiser's state of another network.
        """
        if state["step"] > self.config.steps:
            raise ValueError(f"`step` must be <= {self.config.steps}, got {state['step']}")
        if self.carry_over is not None and state["carried"] is not None:
            self.carried.states = [
                tuple(part.to(self.curves.loss.device) for part in each) for each in state["carried"]
            ]
        if self.config.tested_weights == "best":
            if state["best_weights"] is not None:
                self.model.load_state_dict(state["best_weights"])
            self.best_weights = state["best_weights"]
        self.model.load_state_dict(state["model"])
        # A state that does not fit is found now; the optimiser of the fit is made later.
        self.make_optimizer(self.model.parameters()).load_state_dict(state["optimizer"])
        self._optimizer_state = state["optimizer"]
        self.curves.restore(state, state["step"])
        self.solved_at = state["solved_at"]
        self.divergence = Divergence(looked_at=state["looked_at"])
        self.clock = Clock(state["train_seconds"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimiser over all parameters of the network, with the state it had when the run was stopped."""
        optimizer = self.make_optimizer(self.model.parameters())
        self._base_rates = [group["lr"] for group in optimizer.param_groups]
        if self._optimizer_state is not None:
            optimizer.load_state_dict(self._optimizer_state)
        return optimizer

    def training_step(self, batches: Iterator[Batch], batch_idx: int) -> None:
        """Make updates until something is due after one, on as many batches."""
        until, before = time.perf_counter() + SECONDS_TOGETHER, self.global_step
        while True:
            self.update(next(batches))
            step = self.global_step
            ends = step >= self.config.steps or step % self.config.interval == 0
            if step % self._steps_between_looks == 0:
                ends = ends or not math.isfinite(self.curves.loss[step - 1].item())
            if ends or any(due(step) for due in self._due) or time.perf_counter() > until:
                break
        _count_batches(self.trainer, step - before - 1)

    def update(self, batch: Batch) -> None:
        """Make one update; keep its loss, and the norms of its gradient before and after the clip."""
        step, optimizer = self.global_step, self._optimizer
        assert optimizer is not None
        self._set_rate()
        # In torch's own way, which can be profiled, this takes a tenth of a millisecond.
        for weight in self._weights:
            weight.grad = None
        self.curves.loss[step] = self._backward(batch, step)
        for callback in self._before_updates:
            callback.on_before_optimizer_step(self.trainer, self, optimizer)
        self._clip(step)
        optimizer.step()
        _count_update(self.trainer)

    def _backward(self, batch: Batch, step: int) -> Tensor:
        """Compute the gradient of a batch, and return its loss; dropout draws from a stream of its own."""
        dropout = rng.generator("dropout", self.seed, step, self.device) if self.model.drops else None
        if self.microbatch_size is None:
            if self.carry_over is not None and step % self.carry_over == 0:
                self.carried.states = None
            carried = self.carried if self.carry_over is not None else None
            loss = self.model.loss(self.task, batch, dropout, carried)
            self._differentiate(loss)
            return loss.detach()
        whole = torch.zeros((), device=self.device)
        for part in pieces(batch, self.microbatch_size):
            loss = self._share_of_loss(part, batch, dropout)
            self._differentiate(loss)
            whole += loss.detach()
        return whole

    def _differentiate(self, loss: Tensor) -> None:
        if torch.is_autocast_enabled(self.device.type):
            with torch.autocast(self.device.type, enabled=False):
                loss.backward()
        else:
            loss.backward()

    def _set_rate(self) -> None:
        """Give the optimiser the learning rate of the step that is next, unless it is always the same."""
        if self.config.schedule == "constant" and not self.config.warm_up_steps:
            return
        lower = not self.task.higher_is_better
        times = factor(self.config, self.global_step + 1, self.metric_values, lower=lower)
        assert self._optimizer is not None
        for group, rate in zip(self._optimizer.param_groups, self._base_rates, strict=True):
            group["lr"] = rate * times

    def _share_of_loss(self, part: Batch, batch: Batch, dropout: torch.Generator | None) -> Tensor:
        """Return what a piece adds to the loss of its batch; its own loss is a mean over its own scored positions."""
        if not part.scored.any():
            return 0.0 * self.model(part.inputs, dropout, part.lengths).sum()
        return part.scored.sum() / batch.scored.sum() * self.model.loss(self.task, part, dropout)

    def _clip(self, step: int) -> None:
        """Clip the gradient; keep both norms."""
        if self.without_gradient is None or self.without_gradient:
            idle = {
                name for name, weight in self.model.named_parameters() if weight.requires_grad and weight.grad is None
            }
            self.without_gradient = idle if self.without_gradient is None else self.without_gradient & idle
        before, after = clip_gradients(self._weights, self.config.clip_norm, self.config.clip_value)
        self.curves.grad_norm[step] = before
        self.curves.grad_norm_clipped[step] = after

    def on_train_start(self) -> None:
        """Find what is due after which steps; start the clock."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        self._optimizer = optimizer
        callbacks: list[Any] = list(self.trainer.callbacks)  # type: ignore[attr-defined]
        self._before_updates = [each for each in callbacks if is_overridden("on_before_optimizer_step", each)]
        after = [each for each in callbacks if is_overridden("on_train_batch_end", each)]
        self._due = [getattr(each, "due", lambda step: True) for each in after]
        self.clock.start()

    def on_train_batch_end(self, outputs: Any, batch: Iterator[Batch], batch_idx: int) -> None:
        """Look for a loss that is not finite, after the callbacks; stop at the first."""
        self.look_for_divergence()

    def on_validation_start(self) -> None:
        """Stop the clock; look at the last losses, so that no evaluation follows a divergence unseen."""
        self.look_for_divergence()
        self.stop_clock()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add the scores of one batch of the evaluation set."""
        self._score(batch, batch_idx)

    def _score(self, batch: Batch, batch_idx: int) -> Tensor:
        """Add the scores of one batch of a set, and return the outputs."""
        if batch_idx == 0:
            self._evaluation_carried.states = None
        carried = self._evaluation_carried if self.carry_over is not None else None
        outputs = self.model(batch.inputs, lengths=batch.lengths, carried=carried)
        self._scores.add(self.task.scores(outputs, batch))
        if self.task.set_metrics:
            self._scores.keep(outputs, batch.targets)
        return outputs

    def on_validation_epoch_end(self) -> None:
        """Keep the metrics of the evaluation set; stop if the task has been solved often enough in a row."""
        metrics = self._scores.collect()
        if self.diverged_at is not None:
            return
        if not math.isfinite(metrics["loss"]):
            self._diverge()
            return
        if self.evaluated:
            self._look_again(metrics)
            return
        self.curves.evaluations.append(Evaluation(self.global_step, metrics, self.clock.seconds))
        if self.solved_at is None:
            self.solved_at = solved_at(self.curves.evaluations, self.task.solved)
        if self.config.tested_weights == "best" and self._is_best():
            self.best_weights = {name: value.clone() for name, value in self.model.state_dict().items()}
        if self.ended_early:
            self.trainer.should_stop = True

    def _is_best(self) -> bool:
        """Return whether the last evaluation is the first of the best ones."""
        values = self.metric_values
        return best_of(values, lower=not self.task.higher_is_better) == len(values) - 1

    def _look_again(self, metrics: dict[str, float]) -> None:
        """Keep the metrics of a look after the end; count the task as solved if it has now been seen often enough."""
        self.looks_again.append(metrics)
        late = solved_in_a_row(self.curves.evaluations, self.task.solved)
        if self.undecided and late + len(self.looks_again) >= SOLVED_IN_A_ROW:
            self.solved_at = self.curves.evaluations[-late].step

    def on_validation_end(self) -> None:
        """Start the clock again, if more training steps follow."""
        if self.trainer.state.fn == "fit":
            self.clock.start()

    def on_train_end(self) -> None:
        """Stop the clock for good."""
        self.look_for_divergence()
        self.stop_clock()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Add the scores of one batch of the test set, and keep what the network says of it, if asked to."""
        outputs = self._score(batch, batch_idx)
        if self.config.keep_predictions and isinstance(self.task, DataSet):
            told = self.task.told(self._tested, outputs, batch.targets)
            if told is None:
                raise ValueError(f"`told` of {type(self.task).__name__} must return columns, got None")
            self.test_told.append(told)
            self._tested += outputs.shape[1]

    def on_test_epoch_end(self) -> None:
        """Keep the metrics of the test set; the last update may have made them infinite or NaN."""
        found = self._scores.collect()
        if self.test_name is not None:
            self.test_metrics |= {f"{name}@{self.test_name}": value for name, value in found.items()}
            return
        self.test_metrics = found
        if not math.isfinite(self.test_metrics["loss"]):
            self._diverge()

    def look_for_divergence(self) -> None:
        """Look at the losses since the last look; stop at the first that is not finite."""
        self.divergence.look(self.curves.loss, self.global_step)
        if self.diverged_at is not None:
            self.trainer.should_stop = True

    def _diverge(self) -> None:
        """Count the last update as the one that has spoilt the network."""
        self.divergence.step = self.global_step
        self.trainer.should_stop = True

    def stop_clock(self) -> None:
        """Stop the clock, when the device has done all that it was given to do."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.clock.stop()


def _count_update(trainer: L.Trainer) -> None:
    """Count an update, as Lightning's own wrapper of an optimiser does."""
    progress = trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
    progress.increment_ready()
    progress.increment_completed()


def _count_batches(trainer: L.Trainer, more: int) -> None:
    """Count further batches that a training step has taken; evaluations are due after a number of batches."""
    batches = trainer.fit_loop.epoch_loop.batch_progress
    for progress in (batches.total, batches.current):
        for name in ("ready", "started", "processed", "completed"):
            setattr(progress, name, getattr(progress, name) + more)
