"""Checks of single settings that need more than a type: hidden size, optimiser, folder, W&B."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from bench.config.early import check_numbers
from bench.config.explain import ConfigError
from bench.config.network import model_on_meta
from bench.config.run_spec import optimizer_maker
from bench.config.schema import ModelConfig
from bench.config.targets import check_arguments
from bench.errors import shown
from bench.training import process
from bench.training.model import hidden_size_for_budget, parameter_count
from bench.training.settings import DataConfig, RuntimeConfig, TrainingConfig
from tasks.base import Batch, Task
from tasks.data_set import DataSet

RERUN = ("none", "failed", "all")
"""Runs that a sweep makes again: none, those that failed, or all."""
MOST_THREADS = 1024
"""More threads than any machine has cores for; torch takes a process down that asks for millions."""


def check_threads(runtime: RuntimeConfig) -> None:
    """Raise ``ValueError`` where a run asks for more than :data:`MOST_THREADS`."""
    if runtime.threads is not None and runtime.threads > MOST_THREADS:
        raise ValueError(f"`threads` must be null or between 1 and {MOST_THREADS}, got {runtime.threads}")


def hidden_size_of(cell: Mapping[str, Any], task: Task, settings: ModelConfig) -> int:
    """Return the hidden size that is given, or the one whose parameter count is nearest to the budget."""
    size, budget = settings.hidden_size, settings.parameter_budget
    if size is None and budget is None:
        raise ConfigError("`hidden_size` must be given where parameter_budget is null, got null")
    if size is not None and budget is not None:
        raise ConfigError(f"`hidden_size` must be null where parameter_budget is given ({budget}), got {size}")
    if budget is None:
        assert size is not None
        if size < 1:
            raise ConfigError(f"`hidden_size` must be >= 1, got {size}")
        return size
    return hidden_size_for_budget(lambda h: parameter_count(model_on_meta(cell, task, settings, h)), budget)


def check_optimizer(config: dict[str, Any]) -> None:
    """Check the optimiser's settings, and that an optimiser can be made with them and takes a step."""
    node = config["optimizer"] = check_arguments(config["optimizer"], "optimizer", supplied=("params",))
    check_numbers(node)
    weight = torch.nn.Parameter(torch.zeros(1))
    weight.grad = torch.zeros(1)
    with torch.random.fork_rng(devices=[]):
        optimizer = optimizer_maker(node)([weight])
        if not callable(getattr(optimizer, "step", None)):
            raise ValueError(f"`_target_` must be of the form of torch.optim's, got {shown(node['_target_'])}")
        optimizer.step()


def check_task(task: Task) -> None:
    """Draw two sequences twice, to see that they are what a task promises, and the same.

    Raises:
        ValueError: A tensor has another shape or type, an input is not finite, or a batch draws from another generator
            than the one that it is given.
    """
    name = f"`sample` of {type(task).__name__}"
    with process.torch_as_it_starts(), torch.random.fork_rng(devices=[]):
        batches = []
        for seed in (0, 1):
            torch.manual_seed(seed)
            batches.append(task.sample(2, torch.Generator().manual_seed(0)))
    steps = task.length
    if isinstance(task, DataSet) and task.lengths("validation") is not None:
        steps = len(batches[0].inputs)  # Those of the median.
    read = steps if task.readout == "every" else 1
    wanted = {"inputs": (steps, 2, *((task.input_size,) if task.tokens is None else ()))}
    wanted |= dict.fromkeys(("targets", "scored", "answer"), (read, 2))
    kind = torch.float32 if task.tokens is None else torch.int64
    for field, shape in wanted.items():
        one, other = (getattr(batch, field) for batch in batches)
        if tuple(one.shape[: 2 if field == "targets" else None]) != shape:
            raise ValueError(f"{name} must return {field} {shape} for two sequences, got {tuple(one.shape)}")
        if field in ("scored", "answer") and one.dtype != torch.bool:
            raise ValueError(f"{name} must return {field} of truth values, got {one.dtype}")
        if field == "inputs" and one.dtype != kind:
            raise ValueError(f"{name} must return inputs of {kind}, got {one.dtype}")
        if field == "inputs" and not one.isfinite().all():
            raise ValueError(f"{name} must return finite inputs")
        if field == "inputs" and task.tokens is not None and not 0 <= int(one.min()) <= int(one.max()) < task.tokens:
            raise ValueError(f"{name} must return tokens from 0 to {task.tokens - 1}")
        if not torch.allclose(one, other, rtol=0, atol=0, equal_nan=True):
            raise ValueError(f"{name} must draw all of {field} from the generator that it is given")
    if not batches[0].answer.any() or (batches[0].answer & ~batches[0].scored).any():
        raise ValueError(f"{name} must return an answer at one of the scored positions at least, and at no others")
    if task.cross_entropy:
        _check_cross_entropy(task, batches[0])


def _check_cross_entropy(task: Task, batch: Batch) -> None:
    """Compare the loss of a task with what it says of it, on outputs that are drawn."""
    name = type(task).__name__
    right = batch.targets[batch.scored]
    if right.dtype != torch.int64 or not 0 <= int(right.min()) <= int(right.max()) < task.output_size:
        raise ValueError(f"`sample` of {name} must return classes from 0 to {task.output_size - 1} as targets")
    outputs = torch.randn(*batch.scored.shape, task.output_size, generator=torch.Generator().manual_seed(0))
    wanted, found = F.cross_entropy(outputs[batch.scored], right), task.loss(outputs, batch)
    if not torch.allclose(found, wanted, rtol=1e-4):
        raise ValueError(
            f"`cross_entropy` of {name} must be False where its loss is no mean cross entropy of the scored positions, "
            f"which is {float(wanted):.4g} on outputs where the loss is {float(found):.4g}"
        )


def check_sizes(data: DataConfig, task: Task) -> None:
    """Raise ``ValueError`` unless the sizes of the data suit a task.

    Args:
        data: The sizes.
        task: The task, which draws its sequences, or has them.
    """
    if not isinstance(task, DataSet):
        for name in ("eval_size", "test_size"):
            if getattr(data, name) is None:
                raise ValueError(f"`{name}` must be given for a task that draws its sequences, got null")
        for name in ("bucketing", "carry_state"):
            if getattr(data, name):
                raise ValueError(f"`{name}` must be false for a task that draws its sequences, got true")
        return
    if data.carry_state and not task.consecutive:
        raise ValueError("`carry_state` must be false where sequences do not follow on one another, got true")
    if data.carry_state and (data.train_size or task.size("train")) < data.batch_size:
        raise ValueError(f"`batch_size` must be <= {task.size('train')} to carry the state on, got {data.batch_size}")
    if data.train_size is not None and data.train_size > (size := task.size("train")):
        raise ValueError(f"`train_size` must be null or <= {size}, the training split, got {data.train_size}")
    if data.bucketing and task.lengths("train") is None:
        raise ValueError("`bucketing` must be false where all sequences have one length, got true")


def check_keeping(training: TrainingConfig, data: DataConfig, task: Task) -> None:
    """Raise ``ValueError`` unless a task has what the settings ask to keep of it."""
    if training.keep_predictions and data.carry_state:
        raise ValueError("`keep_predictions` must be false where data.carry_state is true, got true")
    if training.keep_predictions and getattr(type(task), "told", DataSet.told) is DataSet.told:
        raise ValueError(f"`keep_predictions` must be false for {type(task).__name__}, which tells none, got true")


def results_folder(results_dir: str) -> Path:
    """Return the results folder after checking that it is or can become one; nothing is created."""
    if not results_dir:
        raise ConfigError("`results_dir` must be the name of a folder, got ''")
    path = Path(results_dir).expanduser()
    try:
        existing = _existing(path)
        if not existing.is_dir():
            leads = "leads nowhere" if existing.is_symlink() else "is a file"
            raise ConfigError(f"`results_dir` must be a folder, got {shown(results_dir)}, where {existing} {leads}")
    except OSError as error:
        raise ConfigError(f"`results_dir` must be a folder, got {shown(results_dir)}: {error.strerror}") from error
    return path


def check_writable(results_dir: Path) -> None:
    """Make sure that runs can be written to a results folder; nothing is created.

    Where all runs are there, or are only listed, it may be one that cannot be written to.

    Raises:
        ConfigError: They cannot.
    """
    existing = _existing(results_dir)
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ConfigError(f"results_dir must be writable, got {shown(str(results_dir))}, where {existing} is not")


def _existing(path: Path) -> Path:
    """Return a path, or the first of the folders above it that there is; a link that leads nowhere counts."""
    existing = path.absolute()
    while not (existing.exists() or existing.is_symlink()):
        existing = existing.parent
    return existing
