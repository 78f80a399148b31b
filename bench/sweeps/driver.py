"""From planned runs to records, in one pass over the sweep or in several, whatever becomes of its processes."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

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
                if died is not None and not _is_death_of_worker(died):
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
            mine = free if suspect is None else {suspect}
            # What this pass tried without success will not come of another one of the same kind.
            self._given_up |= {
                self._folder(run_state.run) for run_state in left if not self._left_by_others(run_state)
            } & mine
            self._suspects -= mine
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

    def _count_death(self, folder: Path) -> None:
        """Count a death; give the run up at the third without a new checkpoint in between, which is its own fault."""
        saved = checkpoint_path(folder)
        version = saved.stat().st_mtime if saved.exists() else 0.0
        self._deaths[folder, version] += 1
        if self._deaths[folder, version] < DEATHS:
            return
        reason = f"its process was killed {DEATHS} times without getting any further (out of memory?)"
        self._given_up.add(folder)
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
