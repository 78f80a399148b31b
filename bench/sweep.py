"""From checked plans to records, in one pass over the sweep or in several, whatever becomes of its processes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import claims, record, stopping
from bench.attempt import give_up
from bench.build import Plan
from bench.inventory import Inventory, Look, PlannedRun, checkpoint_path, failed_path, signature
from bench.monitor import Monitor

INVOCATION = "BENCH_INVOCATION"
"""Environment variable by which workers find what the jobs of one command share."""
DEATHS = 3
"""Times that a run may take its process with it, without getting any further, before it counts as failed."""
SECONDS_BETWEEN_LOOKS = 1.0

Pass = Callable[[Path | None], BaseException | None]
"""Goes through all jobs once, or makes the one run of a folder; returns what ended it early, if anything did."""


class WorkersDieError(RuntimeError):
    """Workers are killed before they begin a run."""


@dataclass(frozen=True)
class Invocation:
    """What the jobs of one ``bench run`` share.

    Attributes:
        sweep: Token of the process that was started by the user.
        token: Random, one for each invocation, of which a process may see several.
        run_ids: The runs it has planned.
        rerun: ``none``, ``failed`` or ``all``.
        before: Versions of the records and checkpoints that were there when it started, by path.
        alone: Whether there is one run only, which shows its own progress.
        stop_file: While this file is there, no job starts.
        only: Folder of the one run that this pass is for; ``None`` for all.
    """

    sweep: str
    token: str
    run_ids: list[str]
    rerun: str
    before: dict[str, str]
    alone: bool
    stop_file: str
    only: str | None = None

    @classmethod
    def start(cls, plans: Sequence[Plan], folder: Path, *, alone: bool) -> Invocation:
        """The invocation that starts now."""
        before = {}
        for plan in plans:
            for path in (plan.folder, failed_path(plan.folder)):
                version = signature(path)
                if version is not None:
                    before[str(path)] = version
            with contextlib.suppress(OSError):
                saved = checkpoint_path(plan.folder)
                before[str(saved)] = str(saved.stat().st_mtime_ns)
        sweep = claims.this_process().sweep
        return cls(
            sweep=sweep,
            token=secrets.token_hex(8),
            run_ids=[plan.run_id for plan in plans],
            rerun=plans[0].rerun,
            before=before,
            alone=alone,
            stop_file=str(folder.absolute() / f".{sweep}.stop"),
        )

    @classmethod
    def read(cls, path: Path) -> Invocation:
        """The invocation that a worker belongs to."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def write(self, path: Path) -> None:
        """Write it for the workers."""
        record.write_whole(path, json.dumps(asdict(self)).encode())

    @property
    def stopped(self) -> bool:
        """Whether no job is to start any more."""
        return stopping.requested() is not None or Path(self.stop_file).exists()

    def is_news(self, folder: Path) -> bool:
        """Whether a record was written after the start."""
        return signature(folder) != self.before.get(str(folder))

    def wants(self, folder: Path) -> bool:
        """Whether a run is still to be made."""
        if signature(folder) is None:
            return True
        try:
            status = record.read_record(folder).status
        except record.DamagedRecordError:
            # A record that is being replaced this very moment is no damage.
            return signature(folder) is None
        if status == "interrupted":
            return True
        again = self.rerun == "all" or (self.rerun == "failed" and status == "failed")
        return again and not self.is_news(folder)

    def starts_over(self, folder: Path) -> bool:
        """Whether a checkpoint is from before, and not to be gone on from."""
        path = checkpoint_path(folder)
        with contextlib.suppress(OSError):
            return self.rerun == "all" and str(path.stat().st_mtime_ns) == self.before.get(str(path))
        return False


def planned(plans: Sequence[Plan]) -> list[PlannedRun]:
    """The runs of all plans, each once."""
    runs = {
        plan.folder: PlannedRun(
            run_id=plan.run_id,
            folder=str(plan.folder.relative_to(plan.results_dir)),
            label=plan.label,
            kind=plan.kind,
            max_steps=plan.training.max_steps,
        )
        for plan in plans
    }
    return list(runs.values())


def folder_of(plans: Sequence[Plan], overrides: Sequence[str]) -> Path:
    """Where the plan of a sweep is kept: the same place whenever the same is asked."""
    asked = hashlib.sha256("\n".join(sorted(overrides)).encode()).hexdigest()[:8]
    return plans[0].results_dir / "sweeps" / f"{plans[0].experiment}-{asked}"


class Driver:
    """Repeats passes over the jobs until every run has ended, here or in another process.

    Args:
        plans: All runs.
        invocation: What the jobs share.
        one_pass: Goes through all jobs.
        workers: Runs at once.
        command: The command that makes one run.
    """

    def __init__(
        self,
        plans: Sequence[Plan],
        invocation: Invocation,
        one_pass: Pass,
        workers: int,
        command: Callable[[Plan], str],
    ) -> None:
        self.plans = {plan.folder: plan for plan in plans}
        self.invocation = invocation
        self.one_pass = one_pass
        self.inventory = Inventory(plans[0].results_dir, planned(plans))
        self.workers = workers
        self.command = command
        self.error: BaseException | None = None
        self._given_up: set[Path] = set()
        self._suspects: set[Path] = set()
        self._deaths: Counter[tuple[Path, float]] = Counter()
        self._deaths_in_vain = 0
        self._asked: set[int] = set()

    def run(self) -> None:
        """Make all runs that are to be made; what cannot be made is left out."""
        if self.invocation.alone:
            self._repeat()
            return
        news = lambda look: self.invocation.is_news(self._folder(look.run))  # noqa: E731
        with Monitor(self.inventory, news, self.workers, self._pass_on_stop):
            self._repeat()

    def _repeat(self) -> None:
        told = False
        while todo := self._to_do():
            elsewhere = [look for look in todo if look.state == "running"]
            if len(elsewhere) == len(todo):
                if not told:
                    _say_who_has(elsewhere)
                    told = True
                self._wait()
            else:
                suspect = next((folder for look in todo if (folder := self._folder(look.run)) in self._suspects
                                and look.state != "running"), None)  # fmt: skip
                died = self.one_pass(suspect)
                if died is not None and not _is_death_of_worker(died):
                    self.error = died
                elif not self.invocation.stopped:
                    self._after_pass(died, todo, suspect)
            if self.error is not None or self.invocation.stopped:
                return

    def _to_do(self) -> list[Look]:
        looks = self.inventory.look()
        return [
            look
            for look in looks
            if self._folder(look.run) not in self._given_up
            and look.state != "damaged"
            and (look.state == "running" or self.invocation.wants(self._folder(look.run)))
        ]

    def _wait(self) -> None:
        """Until a run that another process has is free or done; a look a second."""
        ends = time.monotonic() + SECONDS_BETWEEN_LOOKS
        while time.monotonic() < ends and not self.invocation.stopped:
            time.sleep(0.05)

    def _after_pass(self, died: BaseException | None, before: Sequence[Look], suspect: Path | None) -> None:
        """Decide about what a pass has left undone: another try, one alone, or none."""
        left = self._to_do()
        if died is None:
            free = {self._folder(look.run) for look in before if look.state != "running"}
            mine = free if suspect is None else {suspect}
            # What this pass tried without success will not come of another one of the same kind.
            self._given_up |= {self._folder(look.run) for look in left if not self._left_by_others(look)} & mine
            self._suspects -= mine
            return
        dead = []
        for folder in (self._folder(look.run) for look in left):
            holder = claims.holder_of(folder)
            if holder is not None and not holder.alive and holder.owner.sweep == self.invocation.sweep:
                dead.append(folder)
                claims.bury(folder, holder.owner)
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

    def _left_by_others(self, look: Look) -> bool:
        """Whether another sweep had a run during our pass, and left it."""
        folder = self._folder(look.run)
        holder = claims.holder_of(folder)
        if holder is not None and holder.owner.sweep != self.invocation.sweep:
            return True
        return look.record is not None and look.record.status == "interrupted" and self.invocation.is_news(folder)

    def _count_death(self, folder: Path) -> None:
        """The third death without a new checkpoint in between is the run's own fault."""
        saved = checkpoint_path(folder)
        version = saved.stat().st_mtime if saved.exists() else 0.0
        self._deaths[folder, version] += 1
        if self._deaths[folder, version] < DEATHS:
            return
        reason = f"its process was killed {DEATHS} times without getting any further (out of memory?)"
        self._given_up.add(folder)
        with contextlib.suppress(OSError):
            claim = claims.take(folder, claims.this_process(self.invocation.sweep), dict)
            if claim is not None:
                with claim:
                    give_up(self.plans[folder], self.command(self.plans[folder]), reason)

    def _pass_on_stop(self) -> None:
        """Tell the workers to stop when this process was told to."""
        if stopping.requested() is None:
            return
        with contextlib.suppress(OSError):
            Path(self.invocation.stop_file).touch()
        for run in self.inventory.runs:
            holder = claims.holder_of(self._folder(run))
            if holder is None or not holder.alive or holder.owner.sweep != self.invocation.sweep:
                continue
            if holder.owner.pid != os.getpid() and holder.owner.pid not in self._asked:
                self._asked.add(holder.owner.pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(holder.owner.pid, signal.SIGTERM)

    def _folder(self, run: PlannedRun) -> Path:
        return self.inventory.results_dir / run.folder


def _say_who_has(looks: Sequence[Look]) -> None:
    owners = {f"process {look.holder.owner.pid} on {look.holder.owner.host}" for look in looks if look.holder}
    runs = looks[0].run.label if len(looks) == 1 else f"{len(looks)} runs"
    print(f"waiting for {runs}, done by {', '.join(sorted(owners))}", file=sys.stderr, flush=True)


def _is_death_of_worker(error: BaseException) -> bool:
    return type(error).__name__ in ("TerminatedWorkerError", "BrokenProcessPool")
