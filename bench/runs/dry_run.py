"""``bench run --dry-run``: the runs, how many of them are there, and the time and disk that the others will take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from bench.config.run_spec import Plan
from bench.sweeps.invocation import Invocation, planned
from bench.sweeps.state import Inventory, Look, bytes_of, seconds_left
from bench.sweeps.terminal import duration
from bench.training import process, rng
from bench.training.clipping import clip_gradients

SECONDS_OF_MEASURING = 0.5
"""Time given to each kind of run that has never been timed."""
BYTES_A_STEP, BYTES_A_RUN, BYTES_A_LOOK = 12, 12_000, 800
"""Size of a record where none is there to measure: three numbers of 4 bytes a step, a look of the probes, the rest."""


def show(plans: Sequence[Plan], workers: int) -> None:
    """Print the plan; nothing is trained or written."""
    runs = planned(plans)
    results_dir = plans[0].results_dir
    inventory = Inventory(results_dir, runs)
    looks = inventory.look()
    invocation = Invocation.start(plans, results_dir, alone=True)
    by_folder = {str(plan.folder.relative_to(results_dir)): plan for plan in plans}
    todo = [look for look in looks if look.state == "running" or invocation.wants(by_folder[look.run.folder].folder)]
    for look in looks:
        again = ", to be made again" if look in todo and look.state in ("completed", "diverged", "failed") else ""
        print(f"{look.run.run_id}  {look.run.label}: {look.state}{again}")
    print(f"{len(runs)} runs, {len(runs) - len(todo)} there already, {len(todo)} to do, {workers} at once")
    if not todo:
        return
    seconds, measured = _seconds(looks, todo, by_folder, workers)
    size = sum(_bytes(look, looks, results_dir, by_folder[look.run.folder]) for look in todo)
    print(f"about {duration(seconds)} ({measured}), {_readable(size)} on disk")


def _seconds(
    looks: Sequence[Look], todo: Sequence[Look], by_folder: dict[str, Plan], workers: int
) -> tuple[float, str]:
    known = {look.run.kind for look in looks if look.final}
    if todo and all(look.run.kind in known for look in todo):
        seconds = seconds_left(looks, workers)
        again = [look.record.time["wall_seconds"] or 0.0 for look in todo if look.final and look.record is not None]
        return (seconds or 0.0) + sum(again) / workers, "as long as the runs that are there took"
    paces = {look.run.kind: seconds_per_step(by_folder[look.run.folder]) for look in todo}
    each = [paces[look.run.kind] * look.run.max_steps for look in todo]
    return max(sum(each) / workers, *each), "training alone, a few steps timed here, times max_steps"


def seconds_per_step(plan: Plan) -> float:
    """Time of one training step, measured on a network that is thrown away."""
    process.set_up(plan.runtime)
    model = plan.model().to(plan.device)
    optimizer = plan.make_optimizer()(model.parameters())
    times = []
    started = time.perf_counter()
    while len(times) < 2 or (time.perf_counter() - started < SECONDS_OF_MEASURING and len(times) < 20):
        step_started = time.perf_counter()
        generator = rng.generator("train", plan.seed, len(times), plan.device)
        batch = plan.task.sample(plan.data.batch_size, generator)
        optimizer.zero_grad()
        plan.task.loss(model(batch.inputs), batch).backward()
        clip_gradients(list(model.parameters()), plan.training.clip_norm, plan.training.clip_value)
        optimizer.step()
        if plan.device.type == "cuda":
            torch.cuda.synchronize(plan.device)
        times.append(time.perf_counter() - step_started)
    return statistics.median(times[1:])


def _bytes(look: Look, looks: Sequence[Look], results_dir: Path, plan: Plan) -> float:
    alike = [
        bytes_of(results_dir / other.run.folder) for other in looks if other.final and other.run.kind == look.run.kind
    ]
    if alike:
        return float(statistics.median(alike))
    times = 2 + look.run.max_steps // (plan.probe.every or look.run.max_steps) if plan.probe.enabled else 0
    return float(BYTES_A_RUN + BYTES_A_STEP * look.run.max_steps + BYTES_A_LOOK * times)


def _readable(size: float) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.0f} kB"
