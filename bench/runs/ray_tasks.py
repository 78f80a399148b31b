"""Runs as tasks of Ray's: on a cluster that there is, or on this machine."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.config.explain import ConfigError
from bench.config.launchers import RayConfig
from bench.runs.cluster import Job, JobState
from bench.runs.outcome import LaunchError
from bench.sweeps import signals

SECONDS_BETWEEN_QUESTIONS = 5.0
"""Seconds until the cluster is asked again what it has."""
SECONDS_TO_ANSWER = 5.0
"""Seconds after which the cluster counts as one that does not answer."""
SECONDS_OF_SILENCE = 30.0
"""Seconds after which a cluster counts as gone; after 60, Ray ends every process that uses it."""
EMPTY_SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""The first frame of HTTP/2 (RFC 9113): its length, its kind (4), its flags and its stream."""


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
        self._address = ray.get_runtime_context().gcs_address
        self._answered, self._asked, self._lacking = time.monotonic(), time.monotonic(), ""
        if lacks := self._lacks():
            key, wanted, there = lacks[0]
            raise ConfigError(f"launcher.{key} must be <= {there:g}, which one machine of Ray's has, got {wanted}")
        # What has killed a process once may do so again: whether to try again is the sweep's to say.
        self._remote = ray.remote(num_cpus=launcher.cpus, num_gpus=launcher.gpus, max_retries=0)(_make)

    def _join(self) -> None:
        got = self._launcher.address
        must = f"launcher.address must be that of a cluster that is there, got {got!r}"
        if got not in (None, "auto") and (why := _silence_of(got)) is not None:
            raise ConfigError(f"{must}: {why}")
        try:
            self._ray.init(
                address="local" if got is None else got,
                include_dashboard=False if got is None else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except Exception as error:  # Ray raises what comes.
            text = " ".join(str(error).split())[:160]
            raise ConfigError(f"{must if got is not None else 'Ray does not start'}: {text}") from error
        signals.listen_again()  # Ray takes SIGTERM for itself.

    def submit(self, jobs: Sequence[Job]) -> Sequence[Any]:
        """See :meth:`bench.runs.cluster.Cluster.submit`."""
        return [_Task(job, None, JobState("waiting")) for job in jobs]

    def look(self, handles: Sequence[Any]) -> Sequence[JobState]:
        """See :meth:`bench.runs.cluster.Cluster.look`."""
        self._ask()
        begun = [task.reference for task in handles if task.reference is not None]
        done = self._ray.wait(begun, num_returns=len(begun), timeout=0)[0] if begun else []
        for task in handles:
            if task.reference in done:
                task.state, task.reference = self._end_of(task.reference), None
        free = (self._launcher.workers or len(handles)) - sum(task.reference is not None for task in handles)
        new = [task for task in handles if task.reference is None and task.state.kind == "waiting"]
        for task in new[: max(0, free)]:
            task.reference = self._remote.remote(task.job)
        for task in handles:
            if task.reference is not None:
                task.state = JobState("waiting", self._lacking) if self._lacking else JobState("running")
        return [task.state for task in handles]

    def _ask(self) -> None:
        """Ask the cluster whether it is there, and whether a machine of it can still take a run.

        Raises:
            LaunchError: It has gone, and all that it made with it.
        """
        if time.monotonic() - self._asked < SECONDS_BETWEEN_QUESTIONS:
            return
        # Ray's own calls wait for a minute, and then end the process.
        if (why := _silence_of(self._address)) is None:
            lacks = [f"launcher.{key}={wanted}" for key, wanted, _ in self._lacks()]
            self._lacking = f"no machine that Ray has now offers {' and '.join(lacks)}" if lacks else ""
            self._answered = time.monotonic()
        elif time.monotonic() - self._answered > SECONDS_OF_SILENCE:
            raise LaunchError(f"Ray's cluster must stay while it is used, and it has gone from {self._address}: {why}")
        self._asked = time.monotonic()

    def _lacks(self) -> list[tuple[str, int, float]]:
        """Return what no machine has enough of: the key, how much a run asks for, and the most that a machine has."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        asked = {"CPU": ("cpus", self._launcher.cpus), "GPU": ("gpus", self._launcher.gpus)}
        most = {name: max((node.get(name, 0) for node in nodes), default=0) for name in asked}
        return [(*each, most[name]) for name, each in asked.items() if each[1] > most[name]]

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
        """See :meth:`bench.runs.cluster.Cluster.cancel`; one that waits in Ray finds that it is not wanted."""
        for task in handles:
            mine = task.state.kind == "waiting"
            if task.reference is not None and (mine or not waiting):
                self._ray.cancel(task.reference, force=True)
            if mine:
                task.reference, task.state = None, JobState("ended")

    def log_of(self, handle: Any) -> str:
        """See :meth:`bench.runs.cluster.Cluster.log_of`."""
        return "the logs of Ray"

    def tidy(self, handles: Sequence[Any]) -> None:
        """There is nothing to remove: Ray keeps its logs outside the results."""


def _silence_of(address: str) -> str | None:
    """Return why no cluster answers at an address, in a few words; ``None`` if one does.

    Its head speaks HTTP/2, and says so to whoever does; where Ray encrypts, that there is a connection must do.
    """
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or not host:
        return "it is not of the form HOST:PORT"
    try:
        with socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_ANSWER) as line:
            if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
                return None
            line.settimeout(SECONDS_TO_ANSWER)
            line.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + EMPTY_SETTINGS)
            heard = line.recv(len(EMPTY_SETTINGS))
    except (OSError, OverflowError) as error:
        return str(error)
    return None if heard[3:4] == EMPTY_SETTINGS[3:4] else "what is there is not Ray"


def _make(job: Job) -> str | None:
    try:
        return job()
    finally:
        # Ray gives this process the next run, too: a signal was meant for this one, and between two runs for Ray.
        signals.forget()
