"""Processes of their own that run ``bench``, forked from one that has imported it already.

To start Python and import torch and Lightning takes several times as long as what most tests look at. A forked process
is as real: it has its own number, signals, streams and memory, and can be killed. Tests of the start itself, or of what
is written to a pipe, use ``subprocess``.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bench.cli.main import main

CLUSTERS: Mapping[str, Mapping[str, str]] = {
    "SLURM": {
        "SLURM_JOB_ID": "4242", "SLURM_JOB_NAME": "t", "SLURM_NTASKS": "4", "SLURM_PROCID": "1", "SLURM_LOCALID": "0",
        "SLURM_NODEID": "0", "SLURM_NODELIST": "n1",
    },
    "torchrun": {
        "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "GROUP_RANK": "0", "LOCAL_WORLD_SIZE": "4",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "TORCHELASTIC_RUN_ID": "none",
    },
    "LSF": {
        "LSB_JOBID": "7", "LSB_DJOB_RANKFILE": "/nowhere", "JSM_NAMESPACE_SIZE": "4", "JSM_NAMESPACE_RANK": "1",
        "JSM_NAMESPACE_LOCAL_RANK": "1",
    },
    "MPI": {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "1", "PMI_SIZE": "4", "PMI_RANK": "1"},
    "Kubeflow": {
        "KUBERNETES_PORT": "tcp://10.0.0.1:443", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "23456",
        "WORLD_SIZE": "4", "RANK": "1",
    },
}  # fmt: skip
"""The variables by which launchers tell a process that it is one of several."""

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["bench.runs.launch", "bench.runs.sweeper"])


class Process:
    """A command of ``bench`` that runs in a process of its own, as :class:`subprocess.Popen` has it.

    Attributes:
        pid: The number of the process.

    Args:
        words: The command's words.
        cwd: Where it runs.
        output: The file or terminal that it writes to; ``None`` keeps what it writes for :meth:`communicate`.
        new_session: Whether it leads a group of processes.
        before: A function of a module, which is called in the process before the command.
        environment: Variables besides those of this process.
    """

    def __init__(
        self,
        *words: str | Path,
        cwd: Path | None = None,
        output: str | Path | None = None,
        new_session: bool = False,
        before: Callable[[], None] | None = None,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._kept = [Path(_empty_file()) for _ in range(2)] if output is None else []
        for path in self._kept:
            weakref.finalize(self, path.unlink)
        streams = [str(output)] * 2 if output is not None else [str(path) for path in self._kept]
        given = (list(map(str, words)), streams, str(cwd or Path.cwd()), {**os.environ, **environment})
        self._process = _server.Process(target=_run, args=(*given, new_session, before))
        self._process.start()
        weakref.finalize(self, _end, self._process)
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; ``None`` while the process is there."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return :attr:`returncode`."""
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, if the process is there."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process."""
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float = 300) -> int:
        """Wait for the process to end, and return its exit code."""
        self._process.join(timeout)
        if self.returncode is None:
            self.kill()
            raise subprocess.TimeoutExpired("bench", timeout)
        return self.returncode

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        """Wait for the process to end, and return its output and errors, which must have been kept."""
        self.wait(timeout)
        out, err = (path.read_text(encoding="utf-8") for path in self._kept)
        return out, err


def child(function: Callable[..., None], *given: Any) -> BaseProcess:
    """Return a started process that calls a function of a module."""
    process = _server.Process(target=function, args=given)
    process.start()
    return process


def _end(process: BaseProcess) -> None:
    if process.exitcode is None:
        process.kill()


def _empty_file() -> str:
    number, name = tempfile.mkstemp(prefix="bench-")
    os.close(number)
    return name


def command(
    *words: str | Path,
    cwd: Path | None = None,
    before: Callable[[], None] | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; see :class:`Process`."""
    process = Process(*words, cwd=cwd, before=before, environment=environment)
    out, err = process.communicate()
    return subprocess.CompletedProcess(words, process.wait(), out, err)


def _run(
    words: list[str],
    streams: Sequence[str],
    folder: str,
    environment: dict[str, str],
    new_session: bool,
    before: Callable[[], None] | None,
) -> None:
    """Become the command, in the forked process."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if new_session:
        os.setsid()
    for number, name in enumerate(streams, start=1):
        os.dup2(os.open(name, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY), number)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
    if before is not None:
        before()
    sys.argv = ["bench", *words]
    code: Any = 0
    try:
        main(words)
    except SystemExit as ended:
        code = ended.code
    # The process ends as Python itself does: multiprocessing would wait for the workers of joblib, and they for us.
    getattr(threading, "_shutdown")()  # noqa: B009 - it has no public name
    getattr(atexit, "_run_exitfuncs")()  # noqa: B009
    sys.stdout.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)
