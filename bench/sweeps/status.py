"""``bench status``: the state of every planned run, what is wrong, and the command that goes on; it needs no torch."""

from __future__ import annotations

import functools
import os
import re
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tabulate import tabulate

from bench.records import lease, record
from bench.records.paths import checkpoint_path
from bench.records.read import holds_no_records, read_record
from bench.records.write import set_aside
from bench.sweeps.state import Inventory, PlannedRun, RunState, count, read_sweep_plans, seconds_left
from bench.sweeps.terminal import duration

COLUMNS = {
    "planned": "planned",
    "completed": "done",
    "diverged": "diverged",
    "running": "running",
    "interrupted": "interrupted",
    "failed": "failed",
    "damaged": "damaged",
    "to do": "to do",
}
"""States, and the headings of their columns; the column of damaged runs is shown only if there are any."""
LEFT = {"planned": "not begun"}
"""Words for states of runs that are left to do, where the state is none."""
_ID = re.compile(r"[0-9a-f]{12}")
_RUN_ID = re.compile(r"\.([0-9a-f]{12})\.(claim|checkpoint)")


class ResultsFolder:
    """The runs below a folder, both those that were planned and those that were found.

    Args:
        folder: A results folder, its ``runs``, an experiment in it, or any folder of records.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        parts = folder.absolute()
        if (folder / "runs").is_dir() or (folder / "sweeps").is_dir():
            self.results_dir = parts
        elif parts.name == "runs":
            self.results_dir = parts.parent
        elif parts.parent.name == "runs":
            self.results_dir = parts.parent.parent
        else:
            self.results_dir = parts
        self.sweeps = [
            sweep
            for sweep in read_sweep_plans(self.results_dir)
            if any((self.results_dir / run.folder).is_relative_to(parts) for run in sweep.runs)
        ]

    @functools.cached_property
    def runs(self) -> list[PlannedRun]:
        """Every run once, as they were when they were first asked for."""
        planned = {run.folder: run for sweep in self.sweeps for run in sweep.runs}
        for folder in self._found():
            place = str(folder.relative_to(self.results_dir))
            if place not in planned:
                planned[place] = _unplanned(folder, self.results_dir)
        root = self.folder.absolute()
        return [run for run in planned.values() if (self.results_dir / run.folder).is_relative_to(root)]

    def _found(self) -> list[Path]:
        """Find the folders of runs that have, or should have, a record, and of those with a lease or a checkpoint.

        An empty folder with the name of a run, or a link that leads nowhere, should have one.
        """
        root = self.folder.absolute()
        records: list[Path] = []
        others: list[Path] = []
        begun: list[Path] = []
        for parent, folders, files in os.walk(root):
            parts = Path(parent).relative_to(root).parts
            if record.RECORD_FILE in (*files, *folders) and not any(map(holds_no_records, parts)):
                records.append(Path(parent))
            for name in (*folders, *files):
                if name.startswith("."):
                    begun += [Path(parent, found[1])] if (found := _RUN_ID.fullmatch(name)) is not None else []
                elif _ID.fullmatch(name):
                    others.append(Path(parent, name))
        whole = set(records)
        lost = [path for path in others if path not in whole and not (path / record.RECORD_FILE).exists()]
        return [*sorted(records), *lost, *begun]


def _unplanned(folder: Path, results_dir: Path) -> PlannedRun:
    """Describe a run that no sweep has planned, by its place."""
    try:
        made = read_record(folder)
        label, steps = f"{made.task} {made.cell} seed={made.seed}", int(made.config["training"].get("max_steps", 1))
    except (record.DamagedRecordError, TypeError, ValueError):
        label, steps = "/".join(folder.parts[-3:]), 1
    return PlannedRun(folder.name, str(folder.relative_to(results_dir)), label, folder.parent.name, max(1, steps))


def show(results: ResultsFolder) -> tuple[str, list[RunState]]:
    """Return the status as text of 80 columns, and the states that it was made from."""
    run_states = Inventory(results.results_dir, results.runs).look()
    text = f"{_table(run_states)}\n"
    running = [run_state for run_state in run_states if run_state.state == "running" and run_state.holder is not None]
    if running:
        text += "\nRunning:\n" + "".join(f"  {_running(run_state)}\n" for run_state in running)
    failed = [run_state for run_state in run_states if run_state.state == "failed" and run_state.record is not None]
    if failed:
        text += "\nFailed:\n" + "".join(
            f"  {run_state.run.label}: {run_state.record.reason}\n" for run_state in failed if run_state.record
        )
    if not running:
        text += _left(results, run_states)
    return text, run_states


def _left(results: ResultsFolder, run_states: Sequence[RunState]) -> str:
    """Return what is left to do, and the commands that do it; nothing if all is done."""
    left = [run_state for run_state in run_states if not run_state.final]
    if not left:
        return ""
    open_folders = {run_state.run.folder for run_state in left}
    commands = [sweep.command for sweep in results.sweeps if any(run.folder in open_folders for run in sweep.runs)]
    planned = {run.folder for sweep in results.sweeps for run in sweep.runs}
    # A single run has no plan; its record has the command.
    commands += [
        run_state.record.command
        for run_state in left
        if run_state.run.folder not in planned and run_state.record is not None
    ]
    told = ", ".join(f"{number} {LEFT.get(state, state)}" for state, number in count(left).items())
    text = f"\nLeft to do: {len(left)} of {len(run_states)} run{'s' if len(run_states) != 1 else ''} ({told})\n"
    return text + ("\nTo go on:\n" + "".join(f"  {command}\n" for command in commands) if commands else "")


def _table(run_states: Sequence[RunState]) -> str:
    by_experiment: dict[str, list[RunState]] = {}
    for run_state in run_states:
        parts = Path(run_state.run.folder).parts
        # In a folder of published records, the runs may lie there without the experiment's folder in between.
        names = [part for part in parts[:-3] if part != "runs"]
        by_experiment.setdefault(names[-1] if names else "-", []).append(run_state)
    columns = [name for name in COLUMNS if name != "damaged" or count(run_states)["damaged"]]
    header = ["experiment", *(COLUMNS[name] for name in columns), "left"]
    rows = [header, *(_row(name, chosen, columns) for name, chosen in sorted(by_experiment.items()))]
    # As one of the rows, since tabulate would make the columns of a header two characters wider.
    align = ["left", *["right"] * (len(header) - 1)]
    return tabulate(rows, tablefmt="plain", disable_numparse=True, colalign=align)


def _row(name: str, run_states: Sequence[RunState], columns: Sequence[str]) -> list[str]:
    by_state: dict[str, int] = {**count(run_states), "planned": len(run_states), "to do": count(run_states)["planned"]}
    seconds = seconds_left(run_states)
    left = "?" if seconds is None else "-" if seconds == 0 else duration(seconds)
    return [name, *(str(by_state.get(column, 0)) for column in columns), left]


def _running(run_state: RunState) -> str:
    assert run_state.holder is not None
    owner, progress = run_state.holder.owner, run_state.holder.progress
    step, steps = int(progress.get("step", 0)), int(progress.get("max_steps", run_state.run.max_steps))
    return f"{run_state.run.label}: step {step}/{steps}, process {owner.pid} on {owner.host}"


def watch(results: Callable[[], ResultsFolder], seconds: float) -> list[RunState]:
    """Show the status again and again, until nothing is left to do."""
    while True:
        text, run_states = show(results())
        if sys.stdout.isatty():
            print("\x1b[2J\x1b[H", end="")
        print(text, flush=True)
        if all(run_state.final or run_state.state in ("failed", "damaged") for run_state in run_states):
            return run_states
        time.sleep(seconds)


def repair(results: ResultsFolder) -> list[str]:
    """Set aside what is damaged, so that the next sweep makes it again.

    Returns:
        A line for each file or folder that was set aside.
    """
    lines = []
    for run_state in Inventory(results.results_dir, results.runs).look():
        folder = results.results_dir / run_state.run.folder
        holder = lease.holder_of(folder)
        if holder is not None and holder.alive:
            continue
        if run_state.damage is not None and not isinstance(run_state.damage, record.NewerRecordError):
            lines.append(f"{run_state.damage}; set aside as {set_aside(folder)}")
        saved = checkpoint_path(folder)
        if saved.exists() and not zipfile.is_zipfile(saved):
            lines.append(f"{saved}: not a readable checkpoint; set aside as {set_aside(saved)}")
    return lines
