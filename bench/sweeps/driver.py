"""From planned runs to records, in one pass over the sweep or in several, whatever becomes of its processes."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.records import lease
from bench.records.paths import checkpoint_path
from bench.sweeps import signals
from bench.sweeps.invocation import Invocation
from bench.sweeps.monitor import Monitor
from bench.sweeps.state import Inventory, PlannedRun, RunState

DEATHS = 3
"""Times that a run may take its process with it, without getting any further, before it counts as failed."""
SECONDS_BETWEEN_LOOKS = 1.0

Pass = Callable[[Sequence[Path]], BaseException | None]
"""Has the runs of these folders made, each tried once; returns what ended it early, if anything did."""
GiveUp = Callable[[Path, str], object]
"""Writes a record without a result for the run of a folder, whose lease this process holds; the text is the reason."""


@dataclass(frozen=True)
class Left:
    """Why a job on another machine has left its run undone.

    Attributes:
        kind: ``refused``, where that machine cannot make the run; ``died`` on the way; or ``cancelled`` by somebody.
        text: What is known of it, in one line.
    """

    kind: Literal["refused", "died", "cancelled"]
    text: str


class JobsEndedError(RuntimeError):
    """Jobs on other machines have ended without having made their runs; each by itself, unlike joblib's workers.

    Attributes:
        left: Why, by the folder of the run.
    """

    def __init__(self, left: Mapping[Path, Left]) -> None:
        super().__init__(f"{len(left)} jobs have left their runs undone")
        self.left = left


class WorkersDieError(RuntimeError):
    """Workers are killed before they begin a run."""


class Driver:
    """Repeats passes over the runs until every one has ended, here or in another process.

    Args:
        inventory: All runs.
        invocation: What the jobs share.
        one_pass: Makes runs.
        give_up: Ends a run that takes its process with it again and again.
        workers: Runs at once.
    """

    def __init__(
        self, inventory: Inventory, invocation: Invocation, one_pass: Pass, give_up: GiveUp, workers: int
    ) -> None:
        self.inventory = inventory
        self.invocation = invocation
        self.one_pass = one_pass
        self.give_up = give_up
        self.workers = workers
        self.error: BaseException | None = None
        self._given_up: set[Path] = set()
        self._suspects: set[Path] = set()
        self._deaths: Counter[tuple[Path, float]] = Counter()
        self._deaths_in_vain = 0
        self._asked: set[str] = set()

    def run(self) -> None:
        """Have all runs made that are to be made; what cannot be made is left out."""
        if self.invocation.alone:
            self._repeat()
            return
        news = lambda run_state: self.invocation.is_news(self._folder(run_state.run))  # noqa: E731
        with Monitor(self.inventory, news, self.workers, self._pass_on_stop):
            self._repeat()

    def _repeat(self) -> None:
        told = False
        while todo := self._to_do():
            elsewhere = [run_state for run_state in todo if run_state.state == "running"]
            if len(elsewhere) == len(todo):
                if not told:
                    _say_who_has(elsewhere)
                    told = True
                self._wait()
            else:
                suspect = next((folder for each in todo if (folder := self._folder(each.run)) in self._suspects
                                and each.state != "running"), None)  # fmt: skip
                died = self.one_pass([suspect] if suspect is not None else [self._folder(each.run) for each in todo])
                if isinstance(died, JobsEndedError):
                    self._after_jobs(died.left, todo)
                elif died is not None and not _is_death_of_worker(died):
                    self.error = died
                elif not self.invocation.stopped:
                    self._after_pass(died, todo, suspect)
            if self.error is not None or self.invocation.stopped:
                return

    def _to_do(self) -> list[RunState]:
        run_states = self.inventory.look()
        return [
            run_state
            for run_state in run_states
            if self._folder(run_state.run) not in self._given_up
            and run_state.state != "damaged"
            and (run_state.state == "running" or self.invocation.wants(self._folder(run_state.run)))
        ]

    def _wait(self) -> None:
        """Wait a moment before the next look at runs that another process has."""
        ends = time.monotonic() + SECONDS_BETWEEN_LOOKS
        while time.monotonic() < ends and not self.invocation.stopped:
            time.sleep(0.05)

    def _after_pass(self, died: BaseException | None, before: Sequence[RunState], suspect: Path | None) -> None:
        """Decide about what a pass has left undone: another try, one alone, or none."""
        left = self._to_do()
        if died is None:
            free = {self._folder(run_state.run) for run_state in before if run_state.state != "running"}
            self._leave(left, free if suspect is None else {suspect})
            return
        dead = []
        for folder in (self._folder(run_state.run) for run_state in left):
            holder = lease.holder_of(folder)
            if holder is not None and not holder.alive and holder.owner.sweep == self.invocation.sweep:
                dead.append(folder)
                lease.bury(folder, holder.owner)
        if dead:
            print("bench run: a worker was killed (out of memory?); its run goes on", file=sys.stderr, flush=True)
        elif len(left) == len(before):
            self._deaths_in_vain += 1
            if self._deaths_in_vain == DEATHS:
                self.error = WorkersDieError(f"workers were killed {DEATHS} times before they began (out of memory?)")
        # All workers die with the first of them. Which run is to blame shows when each is made alone.
        self._suspects |= set(dead)
        if len(dead) == 1:
            self._count_death(dead[0])

    def _leave(self, left: Sequence[RunState], mine: set[Path]) -> None:
        """Give up what a pass has tried without success: it will not come of another one of the same kind."""
        self._given_up |= {self._folder(each.run) for each in left if not self._left_by_others(each)} & mine
        self._suspects -= mine

    def _after_jobs(self, ended: Mapping[Path, Left], before: Sequence[RunState]) -> None:
        """Decide about the runs of jobs on other machines, of which the scheduler says that they have ended."""
        begun, died = [], []
        for folder, left in ended.items():
            holder = lease.holder_of(folder)
            if holder is not None and holder.owner.sweep == self.invocation.sweep:
                lease.bury(folder, holder.owner, ended=True)
                begun.append(folder)
            if left.kind == "died":
                died.append(folder)
            elif self.invocation.wants(folder):
                self._given_up.add(folder)
                if left.kind == "refused":
                    self._fail(folder, left.text)
                else:
                    print(f"bench run: {left.text}; the same command goes on from there", file=sys.stderr, flush=True)
        if self.invocation.stopped:
            return
        if died:
            runs = f"{len(died)} jobs were killed ({ended[died[0]].text}, ...)" if died[1:] else ended[died[0]].text
            print(f"bench run: {runs}; what is not done goes on", file=sys.stderr, flush=True)
        for folder in died:
            if folder in begun:
                self._count_death(folder, f": {ended[folder].text}")
        left = self._to_do()
        self._leave(left, {self._folder(each.run) for each in before if each.state != "running"} - {*died})
        if died and not begun and len(left) == len(before):
            self._deaths_in_vain += 1
            if self._deaths_in_vain == DEATHS:
                self.error = WorkersDieError(f"jobs ended {DEATHS} times before they began: {ended[died[0]].text}")

    def _left_by_others(self, run_state: RunState) -> bool:
        """Return whether another sweep had a run during our pass, and left it."""
        folder = self._folder(run_state.run)
        holder = lease.holder_of(folder)
        if holder is not None and holder.owner.sweep != self.invocation.sweep:
            return True
        return (
            run_state.record is not None
            and run_state.record.status == "interrupted"
            and self.invocation.is_news(folder)
        )

    def _count_death(self, folder: Path, detail: str = " (out of memory?)") -> None:
        """Count a death; give the run up at the third without a new checkpoint in between, which is its own fault."""
        saved = checkpoint_path(folder)
        version = saved.stat().st_mtime if saved.exists() else 0.0
        self._deaths[folder, version] += 1
        if self._deaths[folder, version] < DEATHS:
            return
        self._given_up.add(folder)
        self._fail(folder, f"its process was killed {DEATHS} times without getting any further{detail}")

    def _fail(self, folder: Path, reason: str) -> None:
        """Write a record without a result, unless somebody else is at the run."""
        with contextlib.suppress(OSError):
            held = lease.take(folder, lease.this_process(self.invocation.sweep), dict)
            if held is not None:
                with held:
                    self.give_up(folder, reason)

    def _pass_on_stop(self) -> None:
        """Tell the workers to stop when this process was told to: those of other machines by the file alone."""
        if signals.requested() is None:
            return
        with contextlib.suppress(OSError):
            Path(self.invocation.stop_file).touch()
        for run in self.inventory.runs:
            holder = lease.holder_of(self._folder(run))
            if holder is None or not holder.alive or holder.owner.sweep != self.invocation.sweep:
                continue
            if holder.owner.token != lease.this_process().token and holder.owner.token not in self._asked:
                self._asked.add(holder.owner.token)
                lease.send(holder.owner, signal.SIGTERM)

    def _folder(self, run: PlannedRun) -> Path:
        return self.inventory.results_dir / run.folder


def _say_who_has(run_states: Sequence[RunState]) -> None:
    owners = {
        f"process {run_state.holder.owner.pid} on {run_state.holder.owner.host}"
        for run_state in run_states
        if run_state.holder
    }
    runs = run_states[0].run.label if len(run_states) == 1 else f"{len(run_states)} runs"
    print(f"waiting for {runs}, done by {', '.join(sorted(owners))}", file=sys.stderr, flush=True)


def _is_death_of_worker(error: BaseException) -> bool:
    return type(error).__name__ in ("TerminatedWorkerError", "BrokenProcessPool")
