"""Runs as tasks of Ray's: on a cluster that there is, or on this machine."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.config.explain import ConfigError
from bench.config.launchers import RayConfig
from bench.runs.cluster import Job, JobState
from bench.sweeps import signals


@dataclass
class _Task:
    """A run, and Ray's reference to what its task returns, once there is a task.

    Attributes:
        job: The run.
        reference: The reference; ``None`` before there is a task, and after there will be none any more.
        state: What has become of it.
    """

    job: Job
    reference: Any
    state: JobState


class Ray:
    """A cluster of Ray's.

    Args:
        launcher: What a task asks for, and which cluster to join.

    Raises:
        ConfigError: Ray is not installed, there is no cluster, or it has too little for one run.
    """

    most = 100_000

    def __init__(self, launcher: RayConfig) -> None:
        try:
            import ray  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ConfigError("launcher=ray needs Ray: pip install 'rnn-bench[ray]'") from error
        self._ray, self._launcher = ray, launcher
        if not ray.is_initialized():
            self._join()
        for name, wanted, key in (("CPU", launcher.cpus, "cpus"), ("GPU", launcher.gpus, "gpus")):
            there = max((node["Resources"].get(name, 0) for node in ray.nodes() if node["Alive"]), default=0)
            if wanted > there:
                raise ConfigError(f"launcher.{key} must be <= {there:g}, which one machine of Ray's has, got {wanted}")
        # What has killed a process once may do so again: whether to try again is the sweep's to say.
        self._remote = ray.remote(num_cpus=launcher.cpus, num_gpus=launcher.gpus, max_retries=0)(_make)

    def _join(self) -> None:
        local = self._launcher.address is None
        try:
            self._ray.init(
                address="local" if local else self._launcher.address,
                include_dashboard=False if local else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            text, got = " ".join(str(error).split())[:160], self._launcher.address
            raise ConfigError(
                f"launcher.address must be that of a cluster that is there, got {got!r}: {text}"
            ) from error
        signals.listen_again()  # Ray takes SIGTERM for itself.

    def submit(self, jobs: Sequence[Job]) -> Sequence[Any]:
        """See :meth:`bench.runs.cluster.Cluster.submit`."""
        return [_Task(job, None, JobState("waiting")) for job in jobs]

    def look(self, handles: Sequence[Any]) -> Sequence[JobState]:
        """See :meth:`bench.runs.cluster.Cluster.look`."""
        begun = [task.reference for task in handles if task.reference is not None]
        done = self._ray.wait(begun, num_returns=len(begun), timeout=0)[0] if begun else []
        for task in handles:
            if task.reference in done:
                task.state, task.reference = self._end_of(task.reference), None
        free = (self._launcher.workers or len(handles)) - sum(task.reference is not None for task in handles)
        for task in [task for task in handles if task.state.kind == "waiting"][: max(0, free)]:
            task.reference, task.state = self._remote.remote(task.job), JobState("running")
        return [task.state for task in handles]

    def _end_of(self, reference: Any) -> JobState:
        try:
            return JobState("ended", self._ray.get(reference) or "")
        except self._ray.exceptions.RayTaskError as error:
            return JobState("ended", str(error.cause).strip().splitlines()[-1])
        except self._ray.exceptions.TaskCancelledError:
            return JobState("cancelled", "its task was cancelled")
        except self._ray.exceptions.RayError as error:
            return JobState("died", f"a task of Ray's ended as {type(error).__name__}")

    def cancel(self, handles: Sequence[Any], *, waiting: bool) -> None:
        """See :meth:`bench.runs.cluster.Cluster.cancel`; a task that waits finds by itself that it is not wanted."""
        for task in handles:
            if task.state.kind == "waiting":
                task.state = JobState("ended")
            elif not waiting and task.reference is not None:
                self._ray.cancel(task.reference, force=True)

    def log_of(self, handle: Any) -> str:
        """See :meth:`bench.runs.cluster.Cluster.log_of`."""
        return "the logs of Ray"

    def tidy(self, handles: Sequence[Any]) -> None:
        """There is nothing to remove: Ray keeps its logs outside the results."""


def _make(job: Job) -> str | None:
    return job()
