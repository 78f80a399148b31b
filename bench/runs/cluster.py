"""A scheduler that makes runs on other machines, and the wait for what becomes of its jobs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from bench.runs.outcome import LaunchError
from bench.sweeps import signals
from bench.sweeps.driver import JobsEndedError, Left

SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_OF_SILENCE = 45.0
"""Seconds after which a scheduler counts as one that does not answer."""
SECONDS_TO_STOP = 60.0
"""Seconds that runs have to stop in, after which a command that was told to stop no longer waits for them."""

Job = Callable[[], str | None]
"""Makes a run where it is called; returns why it cannot, in one line, or ``None``."""


@dataclass(frozen=True)
class JobState:
    """What has become of a job.

    Attributes:
        kind: ``waiting`` or ``running``; ``ended`` by itself; ``died`` on the way; or ``cancelled`` by somebody.
        text: Of one that has ended, why it could not make its run, if it could not; of one that died, what the
            scheduler says; of one that waits, what for.
    """

    kind: Literal["waiting", "running", "ended", "died", "cancelled"]
    text: str = ""


class SchedulerSilentError(RuntimeError):
    """The scheduler does not answer; what it said instead, in one line."""


@runtime_checkable
class Cluster(Protocol):
    """A scheduler that takes jobs."""

    most: int
    """Jobs that it takes at a time."""

    def submit(self, jobs: Sequence[Job]) -> Sequence[Any]:
        """Hand jobs over and return a handle of each.

        Raises:
            LaunchError: The scheduler does not take them; one line.
        """
        ...

    def look(self, handles: Sequence[Any]) -> Sequence[JobState]:
        """Return the state of each of these jobs.

        Raises:
            SchedulerSilentError: It does not answer.
        """
        ...

    def cancel(self, handles: Sequence[Any], *, waiting: bool) -> None:
        """Cancel jobs: those that have not begun, or all."""
        ...

    def log_of(self, handle: Any) -> str:
        """Return where the log of a job is, in a few words."""
        ...

    def tidy(self, handles: Sequence[Any]) -> None:
        """Remove what jobs have left behind that have ended as they should."""
        ...


def wait_for(
    cluster: Cluster,
    jobs: Mapping[Path, Job],
    is_alive: Callable[[Path], bool],
    set_free: Callable[[Path], bool],
) -> None:
    """Have runs made on a cluster, and wait until all their jobs have ended.

    A request to stop cancels the jobs that have not begun; the others stop by themselves, as the sweep's file tells
    them to.

    Args:
        cluster: The scheduler.
        jobs: The jobs by the folder of their run.
        is_alive: Returns whether a process has the lease of the run of a folder.
        set_free: Ends the lease of a job that has died at the run of a folder; returns whether there was one.

    Raises:
        JobsEndedError: Not every job has ended by itself.
        LaunchError: The scheduler does not take the jobs, or does not answer while no run is going on.
        KeyboardInterrupt: A second request to stop; all jobs are cancelled.
    """
    folders, left = list(jobs), {}
    for first in range(0, len(folders), cluster.most):
        if signals.requested() is None:
            some = folders[first : first + cluster.most]
            handles = dict(zip(some, cluster.submit([jobs[folder] for folder in some]), strict=True))
            left |= _wait(_Watch(cluster, handles, is_alive, set_free))
    if left:
        raise JobsEndedError(left)


def _wait(watch: _Watch) -> dict[Path, Left]:
    """Wait for one submission, and return what has left its runs undone."""
    try:
        while not watch.over:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            watch.look()
    except KeyboardInterrupt:
        watch.cancel()
        raise
    return watch.judge()


class _Watch:
    """The jobs of one submission, looked at until all have ended."""

    def __init__(
        self,
        cluster: Cluster,
        handles: Mapping[Path, Any],
        is_alive: Callable[[Path], bool],
        set_free: Callable[[Path], bool],
    ) -> None:
        self._cluster, self._handles, self._is_alive, self._set_free = cluster, handles, is_alive, set_free
        self._states: dict[Path, JobState] = {folder: JobState("waiting") for folder in handles}
        self._told: set[str] = set()
        self._answered = time.monotonic()
        self._stopped_at: float | None = None

    @property
    def _open(self) -> list[Path]:
        return [folder for folder, state in self._states.items() if state.kind in ("waiting", "running")]

    @property
    def over(self) -> bool:
        """Whether nothing is to be waited for any more."""
        late = self._stopped_at is not None and time.monotonic() - self._stopped_at > SECONDS_TO_STOP
        return late or not self._open

    def look(self) -> None:
        """Take in what has become of the jobs, and say what the user must know."""
        still = self._open
        if self._stopped_at is None and signals.requested() is not None:
            self._stopped_at = time.monotonic()
            self._cluster.cancel([self._handles[folder] for folder in still], waiting=True)
        try:
            found = self._cluster.look([self._handles[folder] for folder in still])
        except SchedulerSilentError as error:
            self._be_patient(still, error)
            return
        self._answered = time.monotonic()
        for folder, state in zip(still, found, strict=True):
            if state.kind == "waiting" and self._states[folder].kind == "running":
                self._put_back(folder)
            self._states[folder] = state
        for reason in sorted({state.text for state in found if state.kind == "waiting" and state.text}):
            count = sum(state.kind == "waiting" and state.text == reason for state in found)
            self._once(f"{count} job{'s wait' if count > 1 else ' waits'} for the scheduler: {reason}", reason)

    def _put_back(self, folder: Path) -> None:
        """Let a job go on that the scheduler will start anew, as after a node has failed."""
        if self._set_free(folder):
            where = self._cluster.log_of(self._handles[folder])
            _say(f"a job was killed and waits to be started again, see {where}; its run goes on then")

    def _be_patient(self, still: Sequence[Path], error: SchedulerSilentError) -> None:
        if time.monotonic() - self._answered < SECONDS_OF_SILENCE:
            return
        if self._stopped_at is None and not any(self._is_alive(folder) for folder in still):
            raise LaunchError(f"the scheduler does not answer, and no run is going on: {error}") from error
        self._once(f"the scheduler does not answer, and its runs go on: {error}", "silent")

    def _once(self, text: str, what: str) -> None:
        if what not in self._told:
            self._told.add(what)
            _say(text)

    def cancel(self) -> None:
        """Cancel all jobs."""
        self._cluster.cancel(list(self._handles.values()), waiting=False)

    def judge(self) -> dict[Path, Left]:
        """Return what the sweep must know of jobs that have not ended by themselves."""
        left: dict[Path, Left] = {}
        well = [folder for folder, state in self._states.items() if state == JobState("ended")]
        self._cluster.tidy([self._handles[folder] for folder in well])
        for folder, state in self._states.items():
            where = self._cluster.log_of(self._handles[folder])
            if state.kind == "ended" and state.text:
                left[folder] = Left("refused", state.text)
            elif state.kind == "died":
                left[folder] = Left("died", f"{state.text}, see {where}")
            elif state.kind == "cancelled":
                left[folder] = Left("cancelled", state.text)
            elif state.kind != "ended":
                _say(f"a job has not stopped in {SECONDS_TO_STOP:.0f} s, see {where}")
        return left


def _say(text: str) -> None:
    print(f"bench run: {text}", file=sys.stderr, flush=True)
