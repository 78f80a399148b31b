"""A cluster of Ray's on this machine, of as many nodes as a test starts; nothing of it outlives its block."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.conftest import ROOT, wait_for


class RayNodes:
    """Nodes of one cluster, each a group of processes.

    Attributes:
        address: Where the cluster is found, once its head runs.
        environment: Variables for whoever uses it; a process that has them belongs to this cluster or to its user.

    Args:
        folder: For its files, with a short name, since sockets are among them.
    """

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self._folder = folder
        self.environment: Mapping[str, str] = environment(folder)
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, cores: int = 1) -> None:
        """Start a node, ``head`` first of all, and wait until the cluster has it.

        Args:
            name: Its name.
            cores: Cores that it offers.
        """
        host, _, port = self.address.partition(":")
        where = ["--head", f"--port={port}", "--include-dashboard=false"] if name == "head" else [
            f"--address={self.address}"]  # fmt: skip
        out = self._folder / f"{name}.out"
        with out.open("wb") as log:
            self._nodes[name] = subprocess.Popen(
                [sys.executable, "-m", "ray.scripts.scripts", "start", *where, "--block", f"--node-ip-address={host}",
                 f"--num-cpus={cores}", "--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0",
                 "--object-store-memory=100000000"],
                env={**os.environ, "PYTHONPATH": str(ROOT), **self.environment},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        # It says so once the cluster has taken the node in.
        wait_for(lambda: "Ray runtime started" in out.read_text())

    def is_there(self, name: str) -> bool:
        """Return whether a node runs."""
        return name in self._nodes and self._nodes[name].poll() is None

    def end(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to a node as a whole, and wait until it is gone."""
        node = self._nodes.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(node.pid, number)
        node.wait(60)

    def stop(self) -> None:
        """End all of it."""
        for name in reversed(list(self._nodes)):
            self.end(name, signal.SIGTERM)
        for pid in processes_of(self._folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def environment(folder: Path) -> dict[str, str]:
    """Return variables with which Ray keeps its files in a folder, and has time on a busy machine."""
    return {"RAY_TMPDIR": str(folder), "RAY_USAGE_STATS_ENABLED": "0", "RAY_raylet_start_wait_time_s": "120"}


def processes_of(folder: Path) -> list[int]:
    """Return the numbers of the processes that live and have :func:`environment` of a folder."""
    mine, found = f"RAY_TMPDIR={folder}".encode(), []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mine in (path / "environ").read_bytes().split(b"\0"):
                found.append(int(path.name))
    return found


@contextlib.contextmanager
def running(**cores: int) -> Iterator[RayNodes]:
    """A cluster for the time of a ``with`` block, of nodes with so many cores each."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        nodes = RayNodes(Path(folder))
        try:
            for name, count in cores.items():
                nodes.start(name, count)
            yield nodes
        finally:
            nodes.stop()
