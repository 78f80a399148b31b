"""Runs as jobs of SLURM's: submitted by submitit as an array, watched by ``squeue``, ended by ``scancel``."""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.config.explain import ConfigError
from bench.config.launchers import SlurmConfig
from bench.runs.cluster import Job, JobState, SchedulerSilentError
from bench.runs.outcome import LaunchError

MOST_JOBS = 500
"""Jobs of one array; SLURM takes 1001 unless the cluster has set another ``MaxArraySize``."""
SECONDS_BETWEEN_QUESTIONS = 5.0
"""Seconds until ``squeue`` is asked again; the end of a job shows sooner, by its file."""
SECONDS_TO_ANSWER = 20.0
"""Seconds after which a program of SLURM's counts as one that does not answer."""
SECONDS_UNTIL_SURE = 12.0
"""Seconds from one sign of a job's end to the other: the scheduler's word, and the file of its result."""
WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD")
ACTIVE = ("CONFIGURING", "RUNNING", "SUSPENDED", "COMPLETING", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED")
"""States of a job that has not ended, as ``squeue`` names them."""
USUAL = ("None", "Resources", "Priority", "JobArrayTaskLimit", "BeginTime", "Prolog")
"""What every job waits for, which is not worth a line."""


class Slurm:
    """The cluster whose login node this is.

    Args:
        launcher: What a job asks for.
        folder: The folder of the sweep, which all nodes must see; scripts and logs of the jobs go into it.

    Raises:
        ConfigError: submitit or SLURM is not there.
    """

    most = MOST_JOBS

    def __init__(self, launcher: SlurmConfig, folder: Path) -> None:
        try:
            from submitit.slurm.slurm import SlurmExecutor  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ConfigError("launcher=slurm needs submitit: pip install 'rnn-bench[slurm]'") from error
        lacking = [name for name in ("sbatch", "srun", "squeue", "scancel") if shutil.which(name) is None]
        if lacking:
            raise ConfigError(f"launcher=slurm needs {lacking[0]} on the path, as a login node of SLURM's has it")
        self._folder = folder / "jobs"
        self._seen: dict[str, tuple[str, str]] = {}
        self._results: set[str] = set()
        self._since: dict[str, float] = {}
        self._asked = 0.0
        _check(launcher)
        logging.getLogger("submitit").setLevel(logging.ERROR)
        self._executor = SlurmExecutor(self._folder)
        self._executor.update_parameters(**_parameters(launcher))

    def submit(self, jobs: Sequence[Job]) -> Sequence[Any]:
        """See :meth:`bench.runs.cluster.Cluster.submit`."""
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # submitit repeats there what sbatch says.
                made = self._executor.map_array(_make, jobs)
        except Exception as error:
            raise LaunchError(f"SLURM does not take the jobs: {_said(error)}") from error
        for copy in self._folder.glob(".submission_file_*.sh"):  # Each is there under the number of its array, too.
            copy.unlink(missing_ok=True)
        self._asked = 0.0
        return made

    def look(self, handles: Sequence[Any]) -> Sequence[JobState]:
        """See :meth:`bench.runs.cluster.Cluster.look`."""
        ended = {job.job_id for job in handles if job.paths.result_pickle.exists()}
        since, news = time.monotonic() - self._asked, ended - self._results
        try:
            if since > SECONDS_BETWEEN_QUESTIONS or (news and since > 1):
                self._ask(handles)
                self._results |= ended
        except SchedulerSilentError:
            if len(ended) < len(handles):
                raise
            return [self._result(job) for job in handles]
        return [self._state(job) for job in handles]

    def _ask(self, jobs: Sequence[Any]) -> None:
        """Ask the scheduler for the state of jobs."""
        arrays = sorted({job.job_id.partition("_")[0] for job in jobs})
        command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i|%T|%r", f"--jobs={','.join(arrays)}"]
        try:
            told = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_TO_ANSWER, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SchedulerSilentError(f"squeue: {_said(error)}") from error
        finally:
            self._asked = time.monotonic()
        if told.returncode != 0 and "Invalid job id" not in told.stderr:
            raise SchedulerSilentError(f"squeue: {' '.join(told.stderr.split()) or told.returncode}")
        lines = [line.split("|", 2) for line in told.stdout.splitlines() if line.count("|") >= 2]
        found = {name: (state, reason) for name, state, reason in lines}
        # What it has forgotten has ended.
        self._seen = {job.job_id: found.get(job.job_id, ("GONE", "")) for job in jobs}

    def _state(self, job: Any) -> JobState:
        state, reason = self._seen.get(job.job_id, ("PENDING", USUAL[0]))
        if state.startswith("CANCELLED"):
            return JobState("cancelled", f"its job {job.job_id} was cancelled")
        if state in WAITING:
            return JobState("waiting", "" if reason in USUAL else reason)
        # What a job returns may come late, and so may the word that it has ended, or was cancelled; and a job that is
        # requeued seems to have ended for a moment.
        there = job.job_id in self._results
        if state in ACTIVE and not there:
            self._since.pop(job.job_id, None)
            return JobState("running")
        first = self._since.setdefault(job.job_id, time.monotonic())
        late = time.monotonic() - first > SECONDS_UNTIL_SURE
        if there and (late or state not in ACTIVE):
            return self._result(job)
        return JobState("died", f"job {job.job_id} ended as {state}") if late and not there else JobState("running")

    def _result(self, job: Any) -> JobState:
        try:
            return JobState("ended", job.result() or "")
        except Exception as error:  # noqa: BLE001 - whatever kept the job from its run, as a package that is missing
            trace = str(error).rpartition("You can check")[0].strip("- \n")
            return JobState("ended", f"{(trace or str(error)).splitlines()[-1]}, see {self.log_of(job)}")

    def cancel(self, handles: Sequence[Any], *, waiting: bool) -> None:
        """See :meth:`bench.runs.cluster.Cluster.cancel`."""
        arrays = sorted({job.job_id.partition("_")[0] for job in handles})
        command = ["scancel", *(["--state=PENDING"] if waiting else []), *arrays]
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(command, capture_output=True, timeout=SECONDS_TO_ANSWER, check=False)
        self._asked = 0.0

    def log_of(self, handle: Any) -> str:
        """See :meth:`bench.runs.cluster.Cluster.log_of`."""
        return str(handle.paths.stderr)

    def tidy(self, handles: Sequence[Any]) -> None:
        """See :meth:`bench.runs.cluster.Cluster.tidy`."""
        for job in handles:
            for path in (job.paths.submitted_pickle, job.paths.result_pickle, job.paths.stderr, job.paths.stdout):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)


def _make(job: Job) -> str | None:
    return job()


def _parameters(launcher: SlurmConfig) -> dict[str, Any]:
    """Return what a launcher asks for in the words of submitit."""
    return {
        "job_name": "bench",
        "time": launcher.minutes,
        "signal_delay_s": launcher.warning_seconds,
        "array_parallelism": launcher.workers or MOST_JOBS,
        "setup": list(launcher.setup) or None,
        "additional_parameters": _options(launcher),
        # Since SLURM 22.05 srun takes one core unless it is told.
        "srun_args": [f"--cpus-per-task={launcher.cpus}"],
    }


def _options(launcher: SlurmConfig) -> dict[str, Any]:
    """Return the options of sbatch that say what a job asks for."""
    memory = None if launcher.memory_gb is None else f"{launcher.memory_gb * 1024:.0f}M"
    asked = {
        "partition": launcher.partition,
        "account": launcher.account,
        "nodes": 1,
        "ntasks": 1,
        "cpus-per-task": launcher.cpus,
        "gpus-per-node": launcher.gpus or None,
        "mem": memory,
    }
    return {**{name: value for name, value in asked.items() if value is not None}, **launcher.additional_parameters}


def _check(launcher: SlurmConfig) -> None:
    """Ask the scheduler whether it would take a job, before anything is written.

    Raises:
        ConfigError: It would not, as where there is no such partition, or none with so much memory.
        LaunchError: It does not answer.
    """
    options = {"time": launcher.minutes, **_options(launcher)}
    flags = [f"--{name}" if value is True else f"--{name}={value}" for name, value in options.items()]
    command = ["sbatch", "--test-only", *flags, "--wrap=true"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_TO_ANSWER, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LaunchError(f"the scheduler does not answer: {_said(error)}") from error
    if told.returncode != 0:
        raise ConfigError(f"launcher must ask for what SLURM has, which says: {_said(RuntimeError(told.stderr))}")


def _said(error: Exception) -> str:
    """Return what a program of SLURM's has said, in one line."""
    lines = [line.partition("error: ")[2].strip() for line in str(error).splitlines() if "error: " in line]
    return "; ".join(dict.fromkeys(lines)) or " ".join(str(error).split())[:300] or type(error).__name__
