"""The learning rate of each step: a pure function of the settings, the step, and the evaluations so far."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.training.settings import TrainingConfig


def factor(config: TrainingConfig, step: int, values: Sequence[float] = (), *, lower: bool = False) -> float:
    """Return what the learning rate is multiplied by in one step.

    Without a warm-up the factors are those of torch.optim.lr_scheduler: CosineAnnealingLR over ``max_steps``, StepLR,
    and ReduceLROnPlateau with a threshold of 0. The warm-up is that of LinearLR, and multiplies them. Nothing is
    remembered from step to step, so that a resumed run goes on with the same rates.

    Args:
        config: The settings, in steps.
        step: The step, from 1.
        values: The task's metric at the evaluations before the step.
        lower: Whether a lower value is the better one.
    """
    before = step - 1
    found = 1.0
    if config.schedule == "cosine":
        found = (1 + math.cos(math.pi * before / config.steps)) / 2
    elif config.schedule == "step":
        assert config.decay is not None
        assert config.decay_every is not None
        found = config.decay ** (before // config.decay_every)
    elif config.schedule == "plateau":
        assert config.decay is not None
        assert config.decay_every is not None
        found = config.decay ** plateaus(values, config.decay_every, lower=lower)
    return found * min(1.0, step / config.warm_up_steps) if config.warm_up_steps else found


def plateaus(values: Sequence[float], length: int, *, lower: bool) -> int:
    """Count how often ``length`` values in a row were none better than the best before; each is counted once."""
    best, since, found = math.nan, 0, 0
    for value in values:
        if better(value, best, lower=lower):
            best, since = value, 0
        else:
            since += 1
        if since == length:
            found, since = found + 1, 0
    return found


def better(value: float, best: float, *, lower: bool) -> bool:
    """Return whether a value is better than the best so far, which is NaN before the first; NaN is never better."""
    return not math.isnan(value) and (math.isnan(best) or (value < best if lower else value > best))


def best_of(values: Sequence[float], *, lower: bool) -> int:
    """Return the place of the first of the best values; 0 where none is a number."""
    best, place = math.nan, 0
    for number, value in enumerate(values):
        if better(value, best, lower=lower):
            best, place = value, number
    return place
