"""Who is doing which run: leases with an owner and a heartbeat, so that processes share one folder of runs.

A lease is a file beside the run's folder. It is taken, renewed and given back under a lock of the operating system that
is held for an instant, so that no two processes see the same free run. A lease outlives its owner: whoever finds that
the owner is dead takes it over. On the owner's own machine that is known at once, from its process; on another one a
heartbeat that has stopped tells.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import secrets
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
"""Silence after which an owner on another machine counts as dead; longer than a network file system caches."""


@dataclass(frozen=True)
class Owner:
    """A process, told apart from all others of all machines.

    Attributes:
        host: Name of the machine, for people.
        machine: The machine, its last start and its space of process numbers.
        pid: Process number.
        started: When the process started, as the system counts it; process numbers are used again.
        token: Random, one for each process.
        sweep: Token of the process that runs the sweep; that of the process itself if it runs alone.
    """

    host: str
    machine: str
    pid: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    started: str
    token: str
    sweep: str


@dataclass(frozen=True)
class Holder:
    """What a lease says.

    Attributes:
        owner: Who has it.
        progress: ``step``, ``max_steps`` and ``seconds_per_step`` of the run, as far as they are known.
        alive: Whether the owner is.
    """

    owner: Owner
    progress: dict[str, float]
    alive: bool


class _Beat(msgspec.Struct):
    """What a lease has beside its owner."""

    progress: dict[str, float]


_TOKEN = secrets.token_hex(8)


def this_process(sweep: str | None = None) -> Owner:
    """The owner that this process is."""
    return Owner(
        host=platform.node(), machine=_machine(), pid=os.getpid(), started=_started(os.getpid()),
        token=f"{os.getpid()}-{_TOKEN}", sweep=sweep or f"{os.getpid()}-{_TOKEN}",
    )  # fmt: skip


def lease_path(folder: Path) -> Path:
    """The lease of the run that has, or will have, this folder."""
    return folder.with_name(f".{folder.name}.claim")


def take(folder: Path, owner: Owner, progress: Callable[[], Mapping[str, float]]) -> Lease | None:
    """Take the lease of a run, if nobody alive has it.

    Args:
        folder: The folder of the run; its parent is made.
        owner: This process.
        progress: Called at every heartbeat.

    Returns:
        The lease, whose heart beats until it is given back, or ``None``.

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
    """Who has the lease of a run; ``None`` if nobody. Writes nothing."""
    return _read(lease_path(folder), now=time.time())


def bury(folder: Path, owner: Owner) -> None:
    """Remove the lease of a dead owner."""
    path = lease_path(folder)
    with _guarded(path):
        holder = _read(path, now=time.time())
        if holder is not None and holder.owner == owner and not holder.alive:
            path.unlink(missing_ok=True)


class Lease:
    """A run that this process does. A context manager: leaving it gives the lease back."""

    def __init__(self, path: Path, owner: Owner, progress: Callable[[], Mapping[str, float]]) -> None:
        self.path = path
        self.owner = owner
        self.lost = False
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
        # The whole folder may be gone.
        with contextlib.suppress(OSError), _guarded(self.path):
            if self._is_ours():
                self.path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._stopped.wait(HEARTBEAT_SECONDS):
            # A full disk must not cost the lease: the next beat tries again.
            with contextlib.suppress(OSError), _guarded(self.path):
                # Gone, too: somebody took it over, made the run and gave it back.
                if not self._is_ours():
                    self.lost = True
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
    """The time by the clock of the file system, which dates the heartbeats."""
    os.utime(guard)
    return guard.stat().st_mtime


def _write(path: Path, owner: Owner, progress: Mapping[str, float]) -> None:
    draft = path.with_name(f"{path.name}.tmp")
    draft.write_text(json.dumps({**asdict(owner), "progress": dict(progress)}), encoding="utf-8")
    draft.replace(path)


def _read(path: Path, now: float) -> Holder | None:
    """The holder of a lease; ``None`` without one, and for what a power cut left of one."""
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
    if os.name == "nt":  # where signal 0 is not a question
        return silence < STALE_SECONDS
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # Somebody else's process is a living one.
    started = _started(owner.pid)
    if not started or not owner.started:
        return silence < STALE_SECONDS
    return started == owner.started


def _started(pid: int) -> str:
    """When a process started, in ticks since the system did; empty where the system does not tell, or it is dead."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    # A zombie has ended, though its parent has not yet asked how.
    return "ended" if fields[0] in "ZX" else fields[19]


def _machine() -> str:
    parts = [platform.node()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip())
    with contextlib.suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)
