"""Leases: they say which process makes which run, so that several processes can share one folder of runs.

A lease is a file beside the run's folder, with an owner and a heartbeat. A process takes, renews and gives back a lease
while it holds a lock of the operating system for an instant, so that no two processes see the same free run. A lease
may outlive its owner: a process that finds the owner dead takes the lease over. On the owner's own machine the state of
its process shows at once that it is dead; on another machine a heartbeat that has stopped shows it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Annotated

import msgspec
from filelock import FileLock
from msgspec import Meta

HEARTBEAT_SECONDS = 2.0
STALE_SECONDS = 180.0
"""Seconds of silence after which an owner on another machine counts as dead; network file systems cache for less."""

SUFFIX = ".claim"
TAKEN_OVER = "another process has taken it over"
REMOVED = "its files were removed while it was made"
"""Why a process has lost a lease."""


@dataclass(frozen=True)
class Owner:
    """A process, distinguished from all other processes of all machines.

    Attributes:
        host: Name of the machine, for people.
        machine: Identity of the machine, of its last start and of its space of process numbers.
        pid: Process number.
        started: When the process started, as the system counts it; the system uses process numbers again.
        token: Random text, one for each process.
        sweep: Token of the process that runs the sweep; the token of the process itself if it runs alone.
    """

    host: str
    machine: str
    pid: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    started: str
    token: str
    sweep: str


@dataclass(frozen=True)
class Holder:
    """The content of a lease.

    Attributes:
        owner: The process that has the lease.
        progress: ``step``, ``max_steps`` and ``seconds_per_step`` of the run, as far as they are known.
        alive: Whether the owner is alive.
    """

    owner: Owner
    progress: dict[str, float]
    alive: bool


class _Beat(msgspec.Struct):
    """What a lease has beside its owner."""

    progress: dict[str, float]


_TOKEN = secrets.token_hex(8)


def this_process(sweep: str | None = None) -> Owner:
    """Return the owner that stands for this process."""
    return Owner(
        host=platform.node(), machine=_machine(), pid=os.getpid(), started=_started(os.getpid()),
        token=f"{os.getpid()}-{_TOKEN}", sweep=sweep or f"{os.getpid()}-{_TOKEN}",
    )  # fmt: skip


def lease_path(folder: Path) -> Path:
    """Return the path of the lease of the run that has, or will have, this folder."""
    return folder.with_name(f".{folder.name}{SUFFIX}")


def take(folder: Path, owner: Owner, progress: Callable[[], Mapping[str, float]]) -> Lease | None:
    """Take the lease of a run, unless a living process has it.

    Args:
        folder: The folder of the run; its parent is made.
        owner: This process.
        progress: Function that is called at every heartbeat and returns the progress.

    Returns:
        The lease, whose heart beats until it is given back; ``None`` if another process has it.

    Raises:
        OSError: The place cannot be written to.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = lease_path(folder)
    with _guarded(path) as guard:
        holder = _read(path, now=_file_clock(guard))
        if holder is not None and holder.alive:
            return None
        _write(path, owner, progress())
    return Lease(path, owner, progress)


def holder_of(folder: Path) -> Holder | None:
    """Return who has the lease of a run, or ``None`` if nobody has it; write nothing."""
    return _read(lease_path(folder), now=time.time())


def bury(folder: Path, owner: Owner, *, ended: bool = False) -> None:
    """Remove the lease of a dead owner.

    Args:
        folder: The folder of the run.
        owner: Who had the lease when it was found dead; whoever has taken it since keeps it.
        ended: Whether it is known to be dead, as by the scheduler of a cluster, however short its silence.
    """
    path = lease_path(folder)
    with _guarded(path) as guard:
        holder = _read(path, now=_file_clock(guard))
        if holder is not None and holder.owner == owner and (ended or not holder.alive):
            path.unlink(missing_ok=True)


def send(owner: Owner, number: signal.Signals) -> bool:
    """Send a signal to an owner if it is a process of this machine that is alive.

    On another machine, the same number is another process, or it is one of this machine that has nothing to do with it.

    Returns:
        Whether the signal was sent.
    """
    if owner.machine != _machine() or not _is_alive(owner, silence=0.0):
        return False
    try:
        os.kill(owner.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


class Lease:
    """The lease of a run that this process makes; leaving it as a context manager gives the lease back.

    Attributes:
        lost: Why it is no longer that of this process; ``None`` while it is.
    """

    def __init__(self, path: Path, owner: Owner, progress: Callable[[], Mapping[str, float]]) -> None:
        self.path = path
        self.owner = owner
        self.lost: str | None = None
        self._progress = progress
        self._stopped = threading.Event()
        self._heart = threading.Thread(target=self._beat, name=f"heartbeat of {path.name}", daemon=True)
        self._heart.start()

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._heart.join()
        # The whole folder may have been deleted.
        with contextlib.suppress(OSError), _guarded(self.path):
            if self._is_ours():
                self.path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._stopped.wait(HEARTBEAT_SECONDS):
            # A full disk must not cost the lease; the next beat tries again.
            with contextlib.suppress(OSError):
                if not self.path.parent.is_dir():
                    self.lost = REMOVED
                    return
                with _guarded(self.path):
                    if not self._is_ours():
                        # Where there is none, another process may have taken it, made the run and given it back.
                        run = self.path.with_name(self.path.name.removeprefix(".").removesuffix(SUFFIX))
                        self.lost = TAKEN_OVER if self.path.exists() or run.exists() else REMOVED
                        return
                    _write(self.path, self.owner, self._progress())

    def _is_ours(self) -> bool:
        holder = _read(self.path, now=time.time())
        return holder is not None and holder.owner == self.owner


@contextlib.contextmanager
def _guarded(path: Path) -> Iterator[Path]:
    guard = path.with_name(".guard")
    if not guard.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "the folder is gone", str(guard.parent))
    with FileLock(guard):
        yield guard


def _file_clock(guard: Path) -> float:
    """Return the time by the clock of the file system, which dates the heartbeats."""
    os.utime(guard)
    return guard.stat().st_mtime


def _write(path: Path, owner: Owner, progress: Mapping[str, float]) -> None:
    draft = path.with_name(f"{path.name}.tmp")
    draft.write_text(json.dumps({**asdict(owner), "progress": dict(progress)}), encoding="utf-8")
    draft.replace(path)


def _read(path: Path, now: float) -> Holder | None:
    """Return the holder of a lease; ``None`` if there is no lease, or only what a power cut left of one."""
    try:
        written = path.stat().st_mtime
        content = path.read_bytes()
        owner = msgspec.json.decode(content, type=Owner)
        progress = msgspec.json.decode(content, type=_Beat).progress
        alive = _is_alive(owner, silence=now - written)
    except (OSError, ValueError, RecursionError):
        return None
    return Holder(owner, progress, alive)


def _is_alive(owner: Owner, silence: float) -> bool:
    if owner.machine != _machine():
        return silence < STALE_SECONDS
    if os.name == "nt":  # signal 0 does more than ask there
        return silence < STALE_SECONDS
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # the process belongs to somebody else, and it is alive
    started = _started(owner.pid)
    if not started or not owner.started:
        return silence < STALE_SECONDS
    return started == owner.started


def _started(pid: int) -> str:
    """Return when a process started, in ticks since the system did; "" if it is dead or the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    # A zombie has ended, even though its parent has not yet asked for its exit status.
    return "ended" if fields[0] in "ZX" else fields[19]


def _machine() -> str:
    parts = [platform.node()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip())
    with contextlib.suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)
