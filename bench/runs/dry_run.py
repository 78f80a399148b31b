"""``bench run --dry-run``: the runs, how many are done, and the time, disk and memory that the others will take."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bench.config import memory
from bench.config.parts import checked_cell
from bench.config.run_spec import RunSpec
from bench.runs.one_step import updates
from bench.runs.preflight import planned
from bench.sweeps.invocation import Invocation
from bench.sweeps.state import Inventory, RunState, seconds_left
from bench.sweeps.terminal import duration
from bench.training import process

SECONDS_OF_MEASURING, SECONDS_IN_ALL = 0.5, 20.0
"""Seconds for timing each kind of run that has never been timed, and the most for all of them."""
BYTES_A_STEP, BYTES_A_RUN, BYTES_A_LOOK = 12, 12_000, 800
"""Size of a record if there is none to measure: three numbers of 4 bytes a step, a look of the probes, and the rest."""


def show(specs: Sequence[RunSpec], workers: int) -> None:
    """Print what there is to do, without training or writing anything."""
    runs = planned(specs)
    results_dir = specs[0].results_dir
    inventory = Inventory(results_dir, runs)
    run_states = inventory.look()
    invocation = Invocation.start(runs, results_dir, specs[0].rerun, results_dir, alone=True)
    by_folder = {str(spec.folder.relative_to(results_dir)): spec for spec in specs}
    todo = [
        run_state
        for run_state in run_states
        if run_state.state == "running" or invocation.wants(by_folder[run_state.run.folder].folder)
    ]
    for run_state in run_states:
        again = (
            ", to be made again" if run_state in todo and run_state.state in ("completed", "diverged", "failed") else ""
        )
        print(f"{run_state.run.run_id}  {run_state.run.label}: {run_state.state}{again}")
    print(f"{len(runs)} runs, {len(runs) - len(todo)} there already, {len(todo)} to do, {workers} at once")
    if not todo:
        return
    time_left = _time(run_states, todo, by_folder, workers, specs[0].elsewhere)
    there = _bytes_by_kind(run_states, results_dir)
    size = sum(there.get(run_state.run.kind) or _bytes(by_folder[run_state.run.folder]) for run_state in todo)
    space = f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.0f} kB"
    print(f"{time_left}, {space} on disk")
    largest = max(sum(_memory(spec).values()) for spec in _one_of_each_kind(todo, by_folder))
    of = "" if specs[0].elsewhere else f", of {memory.in_gib(memory.available(specs[0].device))}"
    print(f"about {memory.in_gib(largest)} GiB of memory for the largest run{of}")


def _memory(spec: RunSpec) -> dict[str, int]:
    network, cell = spec.network, checked_cell(spec.config["cell"])
    sizes = (spec.data, spec.training, spec.probe, cell, network.settings.layers, network.hidden_size)
    return memory.estimate(spec.task, spec.scaled_tasks.values(), *sizes)


def _time(
    run_states: Sequence[RunState],
    todo: Sequence[RunState],
    by_folder: dict[str, RunSpec],
    workers: int,
    elsewhere: bool,
) -> str:
    known = {run_state.run.kind for run_state in run_states if run_state.final}
    if todo and all(run_state.run.kind in known for run_state in todo):
        seconds = seconds_left(run_states, workers)
        again = [
            run_state.record.time["wall_seconds"] or 0.0
            for run_state in todo
            if run_state.final and run_state.record is not None
        ]
        whole = (seconds or 0.0) + sum(again) / workers
        return f"about {duration(whole)} (as long as the runs that are there took)"
    if elsewhere:
        return "nothing is timed here, as other machines make the runs"
    kinds = list(_one_of_each_kind(todo, by_folder))
    # Where there are too many, some stand for all; at random, as every tenth of a grid has the same hidden size.
    most = int(SECONDS_IN_ALL / SECONDS_OF_MEASURING)
    timed = kinds if len(kinds) <= most else random.Random(0).sample(kinds, most)
    paces = {spec.kind: seconds_per_step(spec) for spec in timed}
    each = [paces[run_state.run.kind] * run_state.run.max_steps for run_state in todo if run_state.run.kind in paces]
    whole = max(sum(each) * len(todo) / len(each) / workers, *each)
    if len(timed) < len(kinds):
        return f"about {duration(whole)} (training alone, from a few steps of {len(timed)} of {len(kinds)} settings)"
    return f"about {duration(whole)} (training alone, from a few steps timed here)"


def _one_of_each_kind(todo: Iterable[RunState], by_folder: Mapping[str, RunSpec]) -> Iterable[RunSpec]:
    return {run_state.run.kind: by_folder[run_state.run.folder] for run_state in todo}.values()


def seconds_per_step(spec: RunSpec) -> float:
    """Measure the time of one training step, on a network that is thrown away."""
    process.set_up(spec.runtime)
    update, times = updates(spec), list[float]()
    started = time.perf_counter()
    while len(times) < 2 or (time.perf_counter() - started < SECONDS_OF_MEASURING and len(times) < 20):
        step_started = time.perf_counter()
        update()
        times.append(time.perf_counter() - step_started)
    return statistics.median(times[1:])


def _bytes_by_kind(run_states: Iterable[RunState], results_dir: Path) -> dict[str, float]:
    """Return the size of the records that are there, the median for each kind of run."""
    found: dict[str, list[int]] = {}
    for each in run_states:
        if each.final:
            entries = (entry for entry in os.scandir(results_dir / each.run.folder) if entry.is_file())
            found.setdefault(each.run.kind, []).append(sum(entry.stat().st_size for entry in entries))
    return {kind: float(statistics.median(sizes)) for kind, sizes in found.items()}


def _bytes(spec: RunSpec) -> float:
    steps = spec.training.steps
    times = 2 + steps // (spec.probe.every or steps) if spec.probe.enabled else 0
    return float(BYTES_A_RUN + BYTES_A_STEP * steps + BYTES_A_LOOK * times)
