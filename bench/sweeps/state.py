"""What there is of a set of runs: planned, running, done; what that leaves to do, and how long it will take."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

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
    max_steps: int


@dataclass(frozen=True)
class Sweep:
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
        """Write the plan, for ``bench status``."""
        write_whole(folder / PLAN_FILE, json.dumps(asdict(self), indent=1).encode())


@dataclass(frozen=True)
class Look:
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


def read_sweeps(results_dir: Path) -> list[Sweep]:
    """The plans of all sweeps of a results folder; what cannot be read is left out."""
    found = []
    for path in sorted((results_dir / "sweeps").glob(f"*/{PLAN_FILE}")):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            data = json.loads(path.read_text(encoding="utf-8"))
            runs = tuple(map(_planned_run, data.pop("runs")))
            found.append(Sweep(**data, runs=runs))
    return found


def _planned_run(data: Mapping[str, Any]) -> PlannedRun:
    run = PlannedRun(**data)
    texts = (run.run_id, run.folder, run.label, run.kind)
    if not all(isinstance(text, str) for text in texts) or not isinstance(run.max_steps, int) or run.max_steps < 1:
        raise ValueError(f"not a planned run: {run}")
    if Path(run.folder).is_absolute() or ".." in Path(run.folder).parts:
        raise ValueError(f"not a folder of the results: {run.folder}")
    return run


class Inventory:
    """Looks at runs again and again; a result is read once.

    Args:
        results_dir: The results folder.
        runs: What to look at.
    """

    def __init__(self, results_dir: Path, runs: Sequence[PlannedRun]) -> None:
        self.results_dir = results_dir
        self.runs = runs
        self._known: dict[str, tuple[str, Look]] = {}

    def look(self) -> list[Look]:
        """How far all runs are now."""
        return [self._look_at(run) for run in self.runs]

    def _look_at(self, run: PlannedRun) -> Look:
        folder = self.results_dir / run.folder
        holder = lease.holder_of(folder)
        version = signature(folder)
        if version is not None:
            seen, look = self._known.get(run.folder, (None, None))
            if look is None or seen != version:
                look = self._read(run, folder)
                self._known[run.folder] = (version, look)
            if look.final or look.state == "damaged":
                return look
            if holder is None or not holder.alive:
                return look
            return Look(run, "running", look.record, holder)
        if holder is not None and holder.alive:
            return Look(run, "running", None, holder)
        begun = holder is not None or checkpoint_path(folder).exists()
        return Look(run, "interrupted" if begun else "planned", None, holder)

    @staticmethod
    def _read(run: PlannedRun, folder: Path) -> Look:
        try:
            made = check_record(folder)
        except DamagedRecordError as error:
            # A record that was replaced between two looks is no damage.
            if not (folder / RECORD_FILE).exists():
                return Look(run, "planned", None, None)
            return Look(run, "damaged", None, None, error)
        return Look(run, made.status, made, None)


def count(looks: Iterable[Look]) -> Counter[State]:
    """Runs by state."""
    return Counter(look.state for look in looks)


def seconds_left(looks: Sequence[Look], workers: int | None = None) -> float | None:
    """Time until the last run ends, from the measured speed of those that have ended or are running.

    Args:
        looks: All runs of the sweep.
        workers: Runs at once; ``None`` for as many as are running now, or one.

    Returns:
        Seconds; ``None`` where nothing has been measured yet.
    """
    whole = _seconds_by_kind(looks)
    open_runs = [look for look in looks if not look.final]
    if not open_runs:
        return 0.0
    if not whole:
        return None
    typical = statistics.median(whole.values())
    seconds = [whole.get(look.run.kind, typical) * (1 - share_done(look)) for look in open_runs]
    at_once = workers or max(1, sum(look.state == "running" for look in looks))
    return max(sum(seconds) / at_once, *seconds)


def share_done(look: Look) -> float:
    """Share of a run's steps that are made; 1 for a result."""
    if look.final:
        return 1.0
    if look.holder is not None and look.state in ("running", "interrupted"):
        return min(1.0, look.holder.progress.get("step", 0) / look.run.max_steps)
    steps = look.record.steps if look.record is not None and look.state == "interrupted" else 0
    return steps / look.run.max_steps


def _seconds_by_kind(looks: Iterable[Look]) -> dict[str, float]:
    """Seconds a run of each kind takes: the median of those that ended, else steps times the running ones' pace."""
    ended: dict[str, list[float]] = {}
    running: dict[str, list[float]] = {}
    for look in looks:
        if look.final and look.record is not None and look.record.time.get("wall_seconds"):
            ended.setdefault(look.run.kind, []).append(look.record.time["wall_seconds"] or 0.0)
        elif look.holder is not None and look.holder.progress.get("seconds_per_step"):
            pace = look.holder.progress["seconds_per_step"]
            running.setdefault(look.run.kind, []).append(pace * look.run.max_steps)
        elif look.record is not None and look.state == "interrupted" and look.record.time.get("steps_per_second"):
            pace = 1 / (look.record.time["steps_per_second"] or 1.0)
            running.setdefault(look.run.kind, []).append(pace * look.run.max_steps)
    return {kind: statistics.median(values) for kind, values in (running | ended).items()}


def bytes_of(folder: Path) -> int:
    """Size of all files of a run."""
    return sum(entry.stat().st_size for entry in os.scandir(folder) if entry.is_file())
