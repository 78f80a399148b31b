"""The state of a set of runs: planned, running, done; what is left to do, and how long it will take."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from bench.records import lease
from bench.records.lease import Holder
from bench.records.paths import checkpoint_path, signature
from bench.records.read import check_record
from bench.records.record import FINAL, RECORD_FILE, DamagedRecordError, Record
from bench.records.write import write_whole

State = Literal["completed", "diverged", "running", "interrupted", "failed", "planned", "damaged"]
PLAN_FILE = "plan.json"


@dataclass(frozen=True)
class PlannedRun:
    """A run that a sweep is to make.

    Attributes:
        run_id: Identity of the run.
        folder: Where its record goes, relative to the results folder.
        label: Task, cell and seed, for people.
        kind: Hash of its settings without the seed; runs of one kind take about the same time.
        max_steps: Largest number of training steps.
    """

    run_id: str
    folder: str
    label: str
    kind: str
    max_steps: Annotated[int, Meta(ge=1)]


@dataclass(frozen=True)
class SweepPlan:
    """The runs that a sweep was asked to make.

    Attributes:
        experiment: Name of the experiment.
        command: The command line.
        runs: Its runs, in order.
    """

    experiment: str
    command: str
    runs: tuple[PlannedRun, ...]

    def write(self, folder: Path) -> None:
        """Write the plan to a folder, for ``bench status``."""
        write_whole(folder / PLAN_FILE, json.dumps(asdict(self), indent=1).encode())


@dataclass(frozen=True)
class RunState:
    """The state of one run at one moment.

    Attributes:
        run: The run.
        state: ``completed``, ``diverged``, ``running``, ``interrupted``, ``failed``, ``planned`` or ``damaged``.
        record: The record that it left, if there is one.
        holder: The process that makes it, or made it.
        damage: The error of its record, if it is damaged.
    """

    run: PlannedRun
    state: State
    record: Record | None
    holder: Holder | None
    damage: DamagedRecordError | None = None

    @property
    def final(self) -> bool:
        """Whether there is a result."""
        return self.state in FINAL


def read_sweep_plans(results_dir: Path) -> list[SweepPlan]:
    """Read the plans of all sweeps of a results folder; a plan that cannot be read is left out."""
    found = []
    for path in sorted((results_dir / "sweeps").glob(f"*/{PLAN_FILE}")):
        with contextlib.suppress(OSError, ValueError, RecursionError):
            plan = msgspec.json.decode(path.read_bytes(), type=SweepPlan)
            if all(_is_inside(Path(run.folder)) for run in plan.runs):
                found.append(plan)
    return found


def _is_inside(folder: Path) -> bool:
    return not folder.is_absolute() and ".." not in folder.parts


class Inventory:
    """A set of runs whose state can be read again and again; each result is read once.

    Args:
        results_dir: The results folder.
        runs: The runs.
    """

    def __init__(self, results_dir: Path, runs: Sequence[PlannedRun]) -> None:
        self.results_dir = results_dir
        self.runs = runs
        self._known: dict[str, tuple[str, RunState]] = {}

    def look(self) -> list[RunState]:
        """Return the state that all runs have now."""
        return [self._look_at(run) for run in self.runs]

    def _look_at(self, run: PlannedRun) -> RunState:
        folder = self.results_dir / run.folder
        holder = lease.holder_of(folder)
        version = signature(folder)
        if version is not None:
            seen, run_state = self._known.get(run.folder, (None, None))
            if run_state is None or seen != version:
                run_state = self._read(run, folder)
                self._known[run.folder] = (version, run_state)
            if run_state.final or run_state.state == "damaged":
                return run_state
            if holder is None or not holder.alive:
                return run_state
            return RunState(run, "running", run_state.record, holder)
        if holder is not None and holder.alive:
            return RunState(run, "running", None, holder)
        # A record is put into place with its folder, so that a folder without one has lost it.
        if os.path.lexists(folder) and not (folder / RECORD_FILE).exists():
            return self._read(run, folder)
        begun = holder is not None or checkpoint_path(folder).exists()
        return RunState(run, "interrupted" if begun else "planned", None, holder)

    @staticmethod
    def _read(run: PlannedRun, folder: Path) -> RunState:
        try:
            made = check_record(folder)
        except DamagedRecordError as error:
            # The record may have been replaced during the read, which is no damage.
            if not os.path.lexists(folder):
                return RunState(run, "planned", None, None)
            return RunState(run, "damaged", None, None, error)
        return RunState(run, made.status, made, None)


def count(run_states: Iterable[RunState]) -> Counter[State]:
    """Count the runs by state."""
    return Counter(run_state.state for run_state in run_states)


def seconds_left(run_states: Sequence[RunState], workers: int | None = None) -> float | None:
    """Estimate the time until the last run ends, from the measured speed of runs that have ended or are running.

    Args:
        run_states: All runs of the sweep.
        workers: Number of runs at once; ``None`` stands for as many as are running now, or one.

    Returns:
        Seconds; ``None`` if nothing has been measured yet.
    """
    whole = _seconds_by_kind(run_states)
    open_runs = [run_state for run_state in run_states if not run_state.final]
    if not open_runs:
        return 0.0
    if not whole:
        return None
    typical = statistics.median(whole.values())
    seconds = [whole.get(run_state.run.kind, typical) * (1 - share_done(run_state)) for run_state in open_runs]
    at_once = workers or max(1, sum(run_state.state == "running" for run_state in run_states))
    return max(sum(seconds) / at_once, *seconds)


def share_done(run_state: RunState) -> float:
    """Return the share of a run's steps that are made; 1 for a run with a result."""
    if run_state.final:
        return 1.0
    if run_state.holder is not None and run_state.state in ("running", "interrupted"):
        return min(1.0, run_state.holder.progress.get("step", 0) / run_state.run.max_steps)
    steps = run_state.record.steps if run_state.record is not None and run_state.state == "interrupted" else 0
    return steps / run_state.run.max_steps


def _seconds_by_kind(run_states: Iterable[RunState]) -> dict[str, float]:
    """Return the seconds that a run of each kind takes.

    This is the median of the runs that ended; if none did, it is the number of steps at the pace of the running ones.
    """
    ended: dict[str, list[float]] = {}
    running: dict[str, list[float]] = {}
    for run_state in run_states:
        if run_state.final and run_state.record is not None and run_state.record.time.get("wall_seconds"):
            ended.setdefault(run_state.run.kind, []).append(run_state.record.time["wall_seconds"] or 0.0)
        elif run_state.holder is not None and run_state.holder.progress.get("seconds_per_step"):
            pace = run_state.holder.progress["seconds_per_step"]
            running.setdefault(run_state.run.kind, []).append(pace * run_state.run.max_steps)
        elif (
            run_state.record is not None
            and run_state.state == "interrupted"
            and run_state.record.time.get("steps_per_second")
        ):
            pace = 1 / (run_state.record.time["steps_per_second"] or 1.0)
            running.setdefault(run_state.run.kind, []).append(pace * run_state.run.max_steps)
    return {kind: statistics.median(values) for kind, values in (running | ended).items()}
