"""Whether locks of files hold between machines, on the file system that a folder is on.

Two machines share a folder of runs by leases (:mod:`bench.records.lease`), and a lease changes hands under a lock of
the operating system. Some file systems of a network keep such locks on each machine for itself: two machines then make
the same run, and neither is told.
"""

from __future__ import annotations

import os
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
LOCAL_LOCKS = {
    "nfs": ("nolock", "local_lock=all", "local_lock=flock"),
    "nfs4": ("local_lock=all", "local_lock=flock"),
    "lustre": ("localflock", "noflock"),
    "cifs": ("nobrl",),
    "smb3": ("nobrl",),
    "fuse.sshfs": ("",),
    "beegfs": ("",),
    "9p": ("",),
    "virtiofs": ("",),
}
"""Options of a mount with which its locks hold on one machine alone, by type; an empty one stands for any mount."""
ONE_MACHINE = ("tmpfs", "ramfs")
"""File systems that are always those of one machine."""


def unsafe(folder: Path, mounts: str | None = None) -> str | None:
    """Return why several machines cannot share a folder, in a few words; ``None`` if nothing is known against it.

    Args:
        folder: The folder, or one that will be made.
        mounts: The mounts of this machine, as in ``/proc/self/mountinfo``; ``None`` reads that.
    """
    if mounts is None:
        try:
            mounts = MOUNTS.read_text(encoding="utf-8")
        except OSError:
            return None  # Not a Linux; nothing is known.
    kind, options = _mount_of(Path(os.path.realpath(folder)), mounts)
    if kind in ONE_MACHINE:
        return f"{kind}, which is that of one machine"
    for option in LOCAL_LOCKS.get(kind, ()):
        if option in ("", *options):
            return f"{kind}{' mounted with ' if option else ''}{option}, whose locks hold on one machine alone"
    return None


def _mount_of(folder: Path, mounts: str) -> tuple[str, set[str]]:
    """Return the type and the options of the file system that a folder is on."""
    found, longest = ("", set[str]()), -1
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, *rest) = before.split(), after.split() or [""]
        if len(fields) < 6 or len(rest) < 2:
            continue
        place = Path(fields[4].encode().decode("unicode_escape"))
        if folder.is_relative_to(place) and len(place.parts) >= longest:
            found, longest = (kind, {*fields[5].split(","), *rest[1].split(",")}), len(place.parts)
    return found
