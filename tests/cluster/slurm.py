"""SLURM on this machine, as two nodes: Debian's packages in a folder of their own, nothing installed, nothing left.

The second node has its own host name and its own process numbers, so that it is another machine to whoever asks. It
takes Linux, root and Debian's package index (or a folder with the packages); :func:`missing` says what is not there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

PACKAGES = ("slurm-client", "slurmctld", "slurmd", "slurm-wlm-basic-plugins", "munge", "libmunge2", "libhwloc15",
            "liblua5.1-0")  # fmt: skip
SECONDS_TO_START = 60.0
CONFIG = """\
ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CryptoType=crypto/munge
PluginDir={plugins}
MpiDefault=none
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
ReturnToService=2
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldPort={port}
SlurmdSpoolDir={folder}/spool.%n
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
SlurmctldTimeout=30
SlurmdTimeout=30
SchedulerType=sched/builtin
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory,CR_LLN
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
InactiveLimit=0
KillWait=10
MinJobAge=300
Waittime=0
SlurmdParameters=config_overrides
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{last}] CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=30
PartitionName=urgent Nodes=n[1-2] Default=NO MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""


def missing() -> str | None:
    """Return what this machine lacks, in a few words; ``None`` if nothing."""
    if os.name != "posix" or not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "root"
    for program in ("apt-get", "dpkg", "unshare"):
        if shutil.which(program) is None:
            return program
    if subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "--uts", "true"], check=False).returncode:
        return "namespaces"
    return None


def unpack(folder: Path) -> None:
    """Put SLURM into a folder, unless it is there.

    Raises:
        subprocess.CalledProcessError: The packages cannot be had.
    """
    done = folder / "unpacked"
    if done.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "update"], check=False, capture_output=True)
    subprocess.run(["apt-get", "download", *PACKAGES], cwd=folder, check=True, capture_output=True)
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, folder], check=True)
    done.touch()


class Slurm:
    """A running cluster of two nodes, n1 and n2.

    Attributes:
        environment: Variables for whoever uses it: its programs on the path, its configuration, its libraries.

    Args:
        programs: Where :func:`unpack` has put it.
        folder: For its state and logs.
    """

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder = programs, folder
        libraries = next((programs / "usr" / "lib").glob("*-linux-gnu"))
        port = _free_port()
        for name in ("state", "spool.n1", "spool.n2"):
            (folder / name).mkdir(parents=True)
        text = CONFIG.format(host=socket.gethostname(), folder=folder, plugins=libraries / "slurm-wlm", port=port,
                             first=port + 1, last=port + 2)  # fmt: skip
        (folder / "slurm.conf").write_text(text)
        self._libraries = {"LD_LIBRARY_PATH": f"{libraries}:{libraries / 'slurm-wlm'}"}
        path = f"{programs / 'usr' / 'bin'}:{os.environ['PATH']}"
        self.environment: Mapping[str, str] = {
            "PATH": path, "SLURM_CONF": str(folder / "slurm.conf"), **self._libraries
        }  # fmt: skip
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start it, and wait until both nodes are idle.

        Raises:
            TimeoutError: They are not, within a minute.
        """
        folder, key = self._folder, self._folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        self._run("munged", "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket",
                  f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log",
                  f"--seed-file={folder}/munged.seed")  # fmt: skip
        self._wait((folder / "munge.socket").exists, "munged")
        self._run("slurmctld", "slurmctld-wlm", "-D", "-i")
        self.start_node("n1")
        self.start_node("n2")
        self._wait_for_nodes()

    def start_node(self, name: str) -> None:
        """Start one of the nodes; ``n2`` is another machine."""
        words = ["slurmd-wlm", "-D", "-N", name, "-d", str(self._programs / "usr" / "sbin" / "slurmstepd-wlm")]
        if name == "n2":
            # The shell takes in the processes that have lost their parents, as process 1 must.
            script = 'hostname second-host; "$@" & wait'
            self._run(name, "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--uts", "sh", "-c", script,
                      "sh", str(self._programs / "usr" / "sbin" / words[0]), *words[1:])  # fmt: skip
        else:
            self._run(name, *words)

    def kill_node(self, name: str) -> None:
        """Kill a node with all that runs on it; only ``n2`` has all of that in a space of its own."""
        self._processes[name].kill()
        self._processes.pop(name).wait()

    def return_node(self, name: str) -> None:
        """Start a node that was killed, and wait until both are idle.

        Raises:
            TimeoutError: They are not, within a minute.
        """
        self.start_node(name)
        self._wait_for_nodes()

    def pause(self) -> None:
        """Let the scheduler no longer answer."""
        self._processes["slurmctld"].send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it answer again."""
        self._processes["slurmctld"].send_signal(signal.SIGCONT)

    def ask(self, *words: str) -> str:
        """Return what a program of SLURM's prints."""
        done = subprocess.run(
            words, env={**os.environ, **self.environment}, capture_output=True, text=True, check=False
        )
        return done.stdout

    def stop(self) -> None:
        """End all of it."""
        if "slurmctld" in self._processes:
            self.go_on()
            self.ask("scancel", "--user=root")
            with contextlib.suppress(TimeoutError):
                self._wait(lambda: not self.ask("squeue", "--noheader").strip(), "jobs to end")
        for process in reversed(self._processes.values()):
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def _run(self, name: str, program: str, *words: str) -> None:
        path = self._programs / "usr" / "sbin" / program
        command = [str(path) if path.exists() else program, *words]
        with (self._folder / f"{name}.out").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                command, env={**os.environ, **self.environment}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _wait_for_nodes(self) -> None:
        self._wait(lambda: self.ask("sinfo", "--noheader", "--format=%t %D").split() == ["idle", "2"], "its nodes")

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + SECONDS_TO_START
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {SECONDS_TO_START:.0f} s for {what}; the logs are in {self._folder}")
            time.sleep(0.2)


@contextlib.contextmanager
def running(programs: Path, folder: Path) -> Iterator[Slurm]:
    """A cluster for the time of a ``with`` block."""
    cluster = Slurm(programs, folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def _free_port() -> int:
    """Return the first of three neighbouring ports that nobody uses."""
    for port in range(16817, 17817, 10):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for number in range(port, port + 3):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", number))
            return port
    raise RuntimeError("no port is free between 16817 and 17817")
