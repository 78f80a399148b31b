"""What there is of a set of runs: planned, running, done; what that leaves to do, and how long it will take."""

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
        run_id: Its identity.
        folder: Where its record goes, relative to the results folder.
        label: Task, cell and seed, for people.
        kind: Hash of its settings without the seed: runs of one kind take about the same time.
        max_steps: Training steps at most.
    """

    run_id: str
    folder: str
    label: str
    kind: str
    max_steps: Annotated[int, Meta(ge=1)]


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep was asked to make.

    Attributes:
        experiment: Name of the experiment.
        command: The command line.
        runs: Its runs, in order.
    """

    experiment: str
    command: str
    runs: tuple[PlannedRun, ...]

    def write(self, folder: Path) -> None:
        """Write it, for ``bench status``."""
        write_whole(folder / PLAN_FILE, json.dumps(asdict(self), indent=1).encode())


@dataclass(frozen=True)
class RunState:
    """How far one run is, at one moment.

    Attributes:
        run: The run.
        state: ``completed``, ``diverged``, ``running``, ``interrupted``, ``failed``, ``planned`` or ``damaged``.
        record: What it left, if anything.
        holder: Who is doing it, or was.
        damage: What is wrong with its record.
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
    """The plans of all sweeps of a results folder; what cannot be read is left out."""
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
    """Looks at runs again and again; a result is read once.

    Args:
        results_dir: The results folder.
        runs: What to look at.
    """

    def __init__(self, results_dir: Path, runs: Sequence[PlannedRun]) -> None:
        self.results_dir = results_dir
        self.runs = runs
        self._known: dict[str, tuple[str, RunState]] = {}

    def look(self) -> list[RunState]:
        """How far all runs are now."""
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
        begun = holder is not None or checkpoint_path(folder).exists()
        return RunState(run, "interrupted" if begun else "planned", None, holder)

    @staticmethod
    def _read(run: PlannedRun, folder: Path) -> RunState:
        try:
            made = check_record(folder)
        except DamagedRecordError as error:
            # A record that was replaced between two looks is no damage.
            if not (folder / RECORD_FILE).exists():
                return RunState(run, "planned", None, None)
            return RunState(run, "damaged", None, None, error)
        return RunState(run, made.status, made, None)


def count(run_states: Iterable[RunState]) -> Counter[State]:
    """Runs by state."""
    return Counter(run_state.state for run_state in run_states)


def seconds_left(run_states: Sequence[RunState], workers: int | None = None) -> float | None:
    """Time until the last run ends, from the measured speed of those that have ended or are running.

    Args:
        run_states: All runs of the sweep.
        workers: Runs at once; ``None`` for as many as are running now, or one.

    Returns:
        Seconds; ``None`` where nothing has been measured yet.
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
    """Share of a run's steps that are made; 1 for a result."""
    if run_state.final:
        return 1.0
    if run_state.holder is not None and run_state.state in ("running", "interrupted"):
        return min(1.0, run_state.holder.progress.get("step", 0) / run_state.run.max_steps)
    steps = run_state.record.steps if run_state.record is not None and run_state.state == "interrupted" else 0
    return steps / run_state.run.max_steps


def _seconds_by_kind(run_states: Iterable[RunState]) -> dict[str, float]:
    """Seconds a run of each kind takes: the median of those that ended, else steps times the running ones' pace."""
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


def bytes_of(folder: Path) -> int:
    """Size of all files of a run."""
    return sum(entry.stat().st_size for entry in os.scandir(folder) if entry.is_file())
