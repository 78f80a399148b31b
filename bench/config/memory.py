"""How much memory a run takes, estimated before anything is allocated, and how much there is.

With L steps of a sequence, R steps that are read out (L or 1), S = 4 L inputs + 10 R bytes for a sequence with its
targets and masks, H hidden units, B blocks and P parts of the state of a cell, and all numbers of 4 bytes:

    data         S (eval_size + test_size + train_size + batch_size), test_size at each of test_scales with its own L
    states       4 L H layers (2 B + 2 P) for each sequence that a training step computes at once: projected inputs,
                 values of the blocks, states, and their gradients; or 4 L H (2 B + P) for each of eval_batch_size,
                 which keeps one layer at a time
    logits       12 R outputs for each of the same sequences: logits, loss, gradient
    parameters   16 for each: value, gradient, and two numbers of the optimiser; and 20,000 for the modules of a layer
    curves       12 max_steps
    process      400 MB for Python and its libraries

The largest parts hold for all cells and engines to a factor of about two. So a run is refused only where the estimate
is more than :data:`MARGIN` times what the machine has.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from bench.cells import Cell
from bench.errors import as_override
from bench.probes.settings import ProbeConfig
from bench.training.settings import DataConfig, TrainingConfig
from tasks.base import Task
from tasks.data_set import DataSet

MARGIN = 2
"""How many times what there is the estimate must be, for a run to be refused."""
GIB = 2**30
PROCESS = 400_000_000
MODULES = 20_000
BLOCKS_UNTOLD = 4
"""What stands for the blocks of a module from elsewhere, which does not name them."""


def sequence_bytes(task: Task) -> int:
    """Return the size of one sequence of a task, with its targets and masks."""
    of_step = 4 * task.input_size if task.tokens is None else 8
    return task.length * of_step + 10 * _read_steps(task)


def estimate(
    task: Task,
    scaled: Iterable[Task],
    data: DataConfig,
    training: TrainingConfig,
    probe: ProbeConfig,
    cell: Cell,
    layers: int,
    hidden_size: int,
) -> dict[str, int]:
    """Return the bytes that a run takes, by the key of the config that they grow with.

    Args:
        task: The task that is trained on.
        scaled: The task at the further delays of ``data.test_scales``.
        data: The sizes of the data.
        training: How long the run trains.
        probe: What is measured.
        cell: A cell of the run, of any size.
        layers: Number of layers.
        hidden_size: Hidden units of each layer.
    """
    blocks, parts = len(cell.blocks) or BLOCKS_UNTOLD, len(cell.states)
    step = 4 * task.length * hidden_size
    size = sequence_bytes(task)
    logits = 12 * _read_steps(task) * task.output_size
    trained = data.microbatch_size or data.batch_size
    probed = probe.batch_size if probe.enabled else 0
    grows = max((trained, "data.batch_size"), (layers, "model.layers"), (hidden_size, "model.hidden_size"))[1]
    # A data set hands out its sequences batch by batch, and is there already.
    kept = 0 if isinstance(task, DataSet) else size
    evaluated = min(data.eval_batch_size, max(data.eval_size or 2**62, data.test_size or 2**62))
    for_training = trained * (step * layers * (2 * blocks + 2 * parts) + logits)
    for_probes = probed * (size + step * layers * (2 * blocks + 2 * parts) + logits)
    for_evaluation = evaluated * (step * (2 * blocks + parts) + logits)
    units = blocks * hidden_size * (hidden_size + 2)
    weights = layers * units + blocks * hidden_size * (task.input_size + (layers - 1) * hidden_size)
    weights += task.output_size * (hidden_size + 1)
    found = {
        "process": PROCESS,
        "data.eval_size": kept * (data.eval_size or 0),
        "data.test_size": kept * (data.test_size or 0),
        "data.train_size": kept * (data.train_size or 0),
        "data.test_scales": max((sequence_bytes(each) * (data.test_size or 0) for each in scaled), default=0),
        "data.batch_size": size * data.batch_size,
        "data.eval_batch_size": max(0, for_evaluation - for_training),
        "probe.batch_size": max(0, for_probes - for_training),
        "model.hidden_size": 16 * weights,
        "model.layers": MODULES * layers,
        "training.max_steps": 12 * training.steps,
    }
    found[grows] += for_training
    return found


def check(found: Mapping[str, int], config: Mapping[str, Any], device: torch.device) -> None:
    """Make sure that what a run takes is not far beyond what there is.

    Args:
        found: What :func:`estimate` returned.
        config: The config of the run, for the value of the key that takes most.
        device: Where the run computes.

    Raises:
        ValueError: It is.
    """
    total, there = sum(found.values()), available(device)
    if total > MARGIN * there:
        key = max((name for name in found if name != "process"), key=lambda name: found[name])
        section, _, name = key.partition(".")
        if key == "model.hidden_size" and config[section][name] is None:
            name = "parameter_budget"
        raise ValueError(
            f"`{section}.{name}` must be smaller: the run takes about {in_gib(total)} GiB of memory, "
            f"{in_gib(found[key])} of it for this, and there are {in_gib(there)}, "
            f"got {as_override(config[section][name])}"
        )


def check_sequences(task: Task, config: Mapping[str, Any], device: torch.device) -> None:
    """Make sure that the few sequences can be made with which a task is checked.

    Raises:
        ValueError: They cannot.
    """
    key, needed, there = type(task).scaled_by or "_target_", 4 * sequence_bytes(task), available(device)
    if needed > there:
        raise ValueError(
            f"`{key}` must be smaller: four sequences alone take {in_gib(needed)} GiB of memory, and there are "
            f"{in_gib(there)}, got {config['task'].get(key)}"
        )


def in_gib(size: int) -> str:
    """Return a size in GiB, with two digits."""
    return f"{size / GIB:.2g}" if size < 100 * GIB else f"{size / GIB:,.0f}"


def available(device: torch.device) -> int:
    """Return the bytes that this process may use on a device: of a GPU all, of a machine what its limits leave."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    found: list[int] = [2**62]
    if hasattr(os, "sysconf"):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    found += [limit for path in _limits() if (limit := _number(path)) is not None]
    try:
        import resource
    except ImportError:
        return min(found)  # Windows
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return min(*found, limit) if limit >= 0 else min(found)


def _limits() -> list[Path]:
    """Return the files with the limits of the control groups that this process is in, and of those above them."""
    root, found = Path("/sys/fs/cgroup"), [Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")]
    try:
        groups = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        groups = []
    for line in groups:
        kinds, _, name = line.partition(":")[2].partition(":")
        if kinds in ("", "memory"):
            folder = root / kinds / name.lstrip("/")
            places = [folder, *folder.parents[: len(Path(name).parts)]]
            found += [place / file for place in places for file in ("memory.max", "memory.limit_in_bytes")]
    return [*found, root / "memory.max"]


def _number(path: Path) -> int | None:
    """Return the number in a file; ``None`` where there is none, as in ``max``."""
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _read_steps(task: Task) -> int:
    return task.length if task.readout == "every" else 1
