"""Training steps of a run without Lightning and without a record, to be timed and thrown away."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch

from bench.config.run_spec import RunSpec
from bench.training import rng
from bench.training.clipping import clip_gradients


def updates(spec: RunSpec) -> Callable[[], None]:
    """Return a function each call of which makes one update of a new network, on the next batch of the run.

    It returns when the device has done it. The caller sets the process up.
    """
    model = spec.network.model(spec.seed).to(spec.device)
    weights = list(model.parameters())
    optimizer = spec.make_optimizer()(weights)
    model.warm_up(spec.data.batch_size, spec.precision)
    numbers = itertools.count()

    def update() -> None:
        generator = rng.generator("train", spec.seed, next(numbers), spec.device)
        batch = spec.task.sample(spec.data.batch_size, generator)
        optimizer.zero_grad()
        with torch.autocast(spec.device.type, torch.bfloat16, enabled=spec.precision != "32"):
            outputs = model(batch.inputs)
        spec.task.loss(outputs.float(), batch).backward()
        clip_gradients(weights, spec.training.clip_norm, spec.training.clip_value)
        optimizer.step()
        if spec.device.type == "cuda":
            torch.cuda.synchronize(spec.device)

    return update
