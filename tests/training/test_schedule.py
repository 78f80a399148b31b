"""The learning rate of each step against torch's schedulers, and what patience and the best weights do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from bench.training.schedule import best_of, factor, plateaus
from bench.training.settings import TrainingConfig
from tests.conftest import Bench

VALUES = [1.0, 0.8, 0.9, 0.8, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7, 0.6, float("nan"), 0.9, 0.9, 0.5]


def config(**changes: Any) -> TrainingConfig:
    settings: dict[str, Any] = {
        "max_steps": 12, "eval_every": 1, "clip_norm": None, "clip_value": None, "stop_when_solved": False,
        "checkpoint_every": None,
    }  # fmt: skip
    return TrainingConfig(**(settings | changes)).in_steps(None)


def rates(scheduler: Any, steps: int) -> list[float]:
    """The rates of ``steps`` steps, from 1, of an optimiser and a scheduler of torch's."""
    found = []
    for _ in range(steps):
        found.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
    return found


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


@pytest.mark.parametrize(
    ("settings", "scheduler"),
    [
        ({"schedule": "cosine"}, lambda: lr_scheduler.CosineAnnealingLR(optimizer(), T_max=12)),
        ({"schedule": "step", "decay_every": 4, "decay": 0.3}, lambda: lr_scheduler.StepLR(optimizer(), 4, gamma=0.3)),
        ({"warm_up_steps": 5}, lambda: lr_scheduler.LinearLR(optimizer(), start_factor=0.2, total_iters=4)),
        ({"warm_up_steps": 1}, lambda: lr_scheduler.ConstantLR(optimizer(), factor=1)),
    ],
)  # fmt: skip
def test_rates_are_torchs(settings: dict[str, Any], scheduler: Any):
    assert [factor(config(**settings), step) for step in range(1, 13)] == pytest.approx(
        rates(scheduler(), 12), abs=1e-12
    )


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("length", [1, 2, 3])
def test_plateaus_are_torchs(lower: bool, length: int):
    theirs = lr_scheduler.ReduceLROnPlateau(
        optimizer(), mode="min" if lower else "max", factor=0.5, patience=length - 1, threshold=0.0, eps=0.0
    )
    values = [value if lower else -value for value in VALUES]
    for seen, value in enumerate(values, start=1):
        theirs.step(value)
        ours = factor(config(schedule="plateau", decay=0.5, decay_every=length), 1, values[:seen], lower=lower)
        assert ours == theirs.optimizer.param_groups[0]["lr"]
    assert plateaus(values, length, lower=lower) > 0


def test_the_first_of_the_best():
    assert [best_of(VALUES[:count], lower=True) for count in (0, 1, 2, 4, 5, 8, 13, 15)] == [0, 0, 1, 1, 4, 4, 10, 14]
    assert best_of([float("nan"), 3.0, 3.0], lower=False) == 1


UNSTEADY = ("optimizer.lr=0.3", "training.eval_every=1", "training.max_steps=12", "data.eval_size=64")


def test_training_stops_when_patience_ends(bench: Bench):
    made = bench.one(*UNSTEADY, "training.patience=2", "seed=3")
    values = [value for value in bench.curves(made)["eval_mse"] if value is not None]
    last = len(values) - 1
    assert made.steps == len(values) < 12
    assert best_of(values, lower=True) == last - 2
    assert all(best_of(values[:count], lower=True) > count - 3 for count in range(1, last + 1))
    assert made.reason == f"stopped at step {made.steps}, after 2 evaluations without a better mse"


def test_the_best_weights_are_tested(bench: Bench):
    last = bench.one(*UNSTEADY, "seed=3")
    best = bench.one(*UNSTEADY, "seed=3", "training.tested_weights=best")
    values = bench.curves(last)["eval_mse"]
    step = best_of(values, lower=True) + 1
    assert 1 < step < 12
    until = bench.one(*UNSTEADY, "seed=3", f"training.max_steps={step}")
    assert best.metrics["test"] == until.metrics["test"] != last.metrics["test"]
    assert best.metrics["eval"] == last.metrics["eval"]
