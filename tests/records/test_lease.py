"""Leases: one process takes a lease, keeps it while it lives, and others take over the leases of the dead."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.records import lease, locks
from bench.records.lease import Owner
from tests.conftest import wait_for

NOTHING: dict[str, float] = {}


def take(folder: Path, owner: Owner | None = None) -> lease.Lease | None:
    return lease.take(folder, owner or lease.this_process(), lambda: NOTHING)


def leave_behind(folder: Path, silence: float = 0.0, **changes: str | int) -> Path:
    """Write a lease of another process to a file."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = lease.lease_path(folder)
    owner = dataclasses.asdict(lease.this_process()) | {"token": "other"} | changes
    path.write_text(json.dumps({**owner, "progress": {"step": 7}}))
    os.utime(path, (time.time() - silence, time.time() - silence))
    return path


def test_one_at_a_time(tmp_path: Path):
    folder = tmp_path / "cell" / "run"
    mine = take(folder)
    assert mine is not None
    with mine:
        assert take(folder) is None
        holder = lease.holder_of(folder)
        assert holder is not None
        assert (holder.owner.pid, holder.alive) == (os.getpid(), True)
    assert lease.holder_of(folder) is None
    again = take(folder)
    assert again is not None
    with again:
        pass
    assert [path.name for path in folder.parent.iterdir()] == [".guard"]


def test_the_heart_beats_and_tells_of_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 0.02)
    numbers = {"step": 1.0}
    held = lease.take(tmp_path / "run", lease.this_process("sweep"), lambda: numbers)
    assert held is not None
    with held:
        numbers["step"] = 5.0

        def told() -> bool:
            holder = lease.holder_of(tmp_path / "run")
            return holder is not None and holder.progress["step"] == 5.0

        wait_for(told)
        holder = lease.holder_of(tmp_path / "run")
        assert holder is not None
        assert holder.owner.sweep == "sweep"


class TestDeadOwners:
    def test_a_killed_process(self, tmp_path: Path):
        code = (
            "import sys; from pathlib import Path; from bench.records import lease; "
            "lease.take(Path(sys.argv[1]), lease.this_process(), dict); print('taken', flush=True); sys.stdin.read()"
        )
        folder = tmp_path / "run"
        pipe = subprocess.PIPE
        process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdin=pipe, stdout=pipe, text=True)
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == "taken\n"
            assert take(folder) is None
            process.kill()
        held = take(folder)
        assert held is not None
        with held:
            pass

    def test_a_process_number_that_is_used_again(self, tmp_path: Path):
        leave_behind(tmp_path / "run", started="1")
        holder = lease.holder_of(tmp_path / "run")
        assert holder is not None
        assert not holder.alive

    @pytest.mark.parametrize(("silence", "alive"), [(1.0, True), (lease.STALE_SECONDS + 5, False)])
    def test_another_machine_is_judged_by_its_heartbeat(self, tmp_path: Path, silence: float, alive: bool):
        leave_behind(tmp_path / "run", silence, machine="elsewhere", host="elsewhere")
        holder = lease.holder_of(tmp_path / "run")
        assert holder is not None
        assert (holder.alive, holder.progress) == (alive, {"step": 7.0})
        held = take(tmp_path / "run")
        assert (held is None) == alive
        if held is not None:
            with held:
                pass

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', "\x00"])
    def test_what_a_power_cut_left(self, tmp_path: Path, text: str):
        lease.lease_path(tmp_path / "run").write_text(text)
        assert lease.holder_of(tmp_path / "run") is None
        held = take(tmp_path / "run")
        assert held is not None
        with held:
            pass

    def test_only_the_dead_are_buried(self, tmp_path: Path):
        folder = tmp_path / "run"
        path = leave_behind(folder)
        holder = lease.holder_of(folder)
        assert holder is not None
        lease.bury(folder, holder.owner)
        assert path.exists()
        path = leave_behind(folder, started="1")
        holder = lease.holder_of(folder)
        assert holder is not None
        lease.bury(folder, holder.owner)
        assert not path.exists()

    def test_one_that_a_scheduler_has_seen_end_is_buried_however_short_its_silence(self, tmp_path: Path):
        folder = tmp_path / "run"
        path = leave_behind(folder, machine="elsewhere")
        holder = lease.holder_of(folder)
        assert holder is not None
        lease.bury(folder, holder.owner)
        assert path.exists()
        leave_behind(folder, machine="elsewhere", token="who took it over")
        lease.bury(folder, holder.owner, ended=True)
        assert path.exists()
        leave_behind(folder, machine="elsewhere")
        lease.bury(folder, holder.owner, ended=True)
        assert not path.exists()


@pytest.mark.parametrize(("machine", "sent"), [("here", True), ("another host", False)])
def test_a_signal_is_for_an_owner_on_this_machine_alone(machine: str, sent: bool):
    """The number of a process means another process on another machine."""
    with subprocess.Popen(["sleep", "60"]) as process:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        owner = dataclasses.replace(lease.this_process(), pid=process.pid, started=fields[19])
        again = dataclasses.replace(owner, started="1")
        assert not lease.send(again, signal.SIGTERM), "the number is used again"
        owner = owner if machine == "here" else dataclasses.replace(owner, machine=machine)
        assert lease.send(owner, signal.SIGTERM) == sent
        if not sent:
            process.kill()
    assert process.returncode == -(signal.SIGTERM if sent else signal.SIGKILL)


def test_who_was_taken_over_notices_and_does_not_give_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 0.02)
    held = take(tmp_path / "run")
    assert held is not None
    with held:
        path = leave_behind(tmp_path / "run")
        wait_for(lambda: held.lost is not None)
        assert held.lost == "another process has taken it over"
    assert json.loads(path.read_text())["token"] == "other"


def test_of_many_who_want_a_dead_owners_run_one_gets_it(tmp_path: Path):
    folders = [tmp_path / str(number) for number in range(20)]
    for folder in folders:
        leave_behind(folder, started="1")
    code = (
        "import sys, time; from pathlib import Path; from bench.records import lease; held = []\n"
        "for each in sys.argv[1:]:\n"
        "    mine = lease.take(Path(each), lease.this_process(), dict)\n"
        "    held += [each] if mine else []\n"
        "print(*held, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, *map(str, folders)]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(4)]
    held: list[str] = []
    for process in processes:
        assert process.stdout is not None
        held += process.stdout.readline().split()
    for process in processes:
        process.communicate("")
    assert sorted(held) == sorted(map(str, folders))


@pytest.mark.parametrize("pid", [10**30, "x", -1, None])
def test_a_lease_with_an_odd_process_number_is_none(tmp_path: Path, pid: object):
    folder = tmp_path / "run"
    held = lease.take(folder, lease.this_process(), lambda: {})
    assert held is not None
    with held:
        path = lease.lease_path(folder)
        path.write_text(json.dumps(json.loads(path.read_text()) | {"pid": pid}))
        holder = lease.holder_of(folder)
        assert holder is None or not holder.alive


def test_a_lease_that_was_taken_over_made_and_given_back_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 0.02)
    folder = tmp_path / "run"
    with lease.take(folder, lease.this_process(), dict) as held:  # pyright: ignore[reportOptionalContextManager]
        folder.mkdir()
        lease.lease_path(folder).unlink()
        wait_for(lambda: held.lost is not None)
        assert held.lost == "another process has taken it over"
        assert not lease.lease_path(folder).exists()


@pytest.mark.parametrize("again", [False, True])
def test_one_whose_files_were_removed_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool):
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 0.02)
    folder = tmp_path / "runs" / "run"
    with lease.take(folder, lease.this_process(), dict) as held:  # pyright: ignore[reportOptionalContextManager]
        folder.parent.rename(tmp_path / "elsewhere")
        if again:
            folder.parent.mkdir()
        wait_for(lambda: held.lost is not None)
        assert held.lost == "its files were removed while it was made"
    assert list(tmp_path.glob("runs/.*.claim")) == []


MOUNTS = """\
22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/root rw,discard
30 22 0:26 / /tmp rw,nosuid shared:5 - tmpfs tmpfs rw
41 22 0:44 / /home rw,relatime shared:9 - nfs4 server:/home rw,vers=4.2,local_lock=none,addr=10.0.0.1
42 22 0:45 / /old rw,relatime shared:9 - nfs server:/old rw,vers=3,nolock,local_lock=all
43 22 0:46 / /scratch rw,relatime - lustre 10.0.0.1@tcp:/fs rw,flock
44 43 0:47 / /scratch/two\\040words rw,relatime - lustre 10.0.0.1@tcp:/fs rw,localflock
45 22 0:48 / /far rw,relatime - fuse.sshfs me@host:/ rw,user_id=0
"""


@pytest.mark.parametrize(
    ("folder", "why"),
    [
        ("/work/results", None),
        ("/home/me/results", None),
        ("/scratch/results", None),
        ("/homes", None),
        ("/tmp/results", "tmpfs, which is that of one machine"),
        ("/old/results", "nfs mounted with nolock, whose locks hold on one machine alone"),
        ("/scratch/two words/r", "lustre mounted with localflock, whose locks hold on one machine alone"),
        ("/far/results", "fuse.sshfs, whose locks hold on one machine alone"),
    ],
)
def test_file_systems_whose_locks_hold_on_one_machine_are_known(folder: str, why: str | None):
    assert locks.unsafe(Path(folder), MOUNTS) == why
