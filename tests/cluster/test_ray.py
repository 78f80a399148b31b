"""Sweeps on Ray, on this machine and on a cluster of two nodes: as serial ones, whatever stops them on the way."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.records import lease
from bench.records.read import find_records, read_record
from tests.cluster import ray_nodes
from tests.cluster.conftest import LONG, Login
from tests.cluster.ray_nodes import RayNodes
from tests.conftest import results_of, wait_for

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="no ray"),
]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Login]:
    """A machine without a cluster: Ray starts one for each command."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        found = Login(tmp_path / "results", ray_nodes.environment(Path(folder)))
        yield found
        found.kill()
        # What Ray has started ends by itself when the command has.
        wait_for(lambda: ray_nodes.processes_of(Path(folder)) == [])


@pytest.fixture(scope="module")
def nodes() -> Iterator[RayNodes]:
    with ray_nodes.running(head=1, second=1) as found:
        yield found


@pytest.fixture
def member(nodes: RayNodes, tmp_path: Path) -> Iterator[Login]:
    """A machine of a cluster that stays when a command has ended."""
    found = Login(tmp_path / "results", nodes.environment)
    yield found
    found.kill()
    assert nodes.is_there("head")


def at_work(results: Path, step: int = 300) -> list[lease.Owner]:
    """Return who is at a run, and at which step at least."""
    found = [lease.holder_of(path.with_name(path.name[1:-6])) for path in results.glob("runs/*/*/*/.*.claim")]
    return [each.owner for each in found if each is not None and each.progress.get("step", 0) >= step]


@pytest.mark.parametrize("address", ["auto", "127.0.0.1:1", "127.0.0.1", "silent"])
def test_an_address_without_a_cluster_is_one_line_within_a_minute(home: Login, address: str):
    # It comes before the tests with a cluster, which `auto` would find.
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        if address == "silent":
            address = f"127.0.0.1:{silent.getsockname()[1]}"
        started = time.monotonic()
        code, out, err = home.end(home.sweep("launcher=ray", f"launcher.address={address}", *LONG))
        seconds = time.monotonic() - started
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith(f"bench run: launcher.address must be that of a cluster that is there, got '{address}': ")
    assert not home.results.exists()
    assert seconds < 60


def test_one_of_its_own_makes_what_a_serial_sweep_makes(home: Login, serial: dict[str, object]):
    code, out, err = home.end(home.sweep("launcher=ray", *LONG, "runtime.threads=null"))
    assert code == 0, err
    assert out.startswith("0 of 2 runs are there already, 2 to do")
    assert results_of(home.results) == serial


def test_one_that_is_there_does_too_and_stays(member: Login, serial: dict[str, object]):
    code, _, err = member.end(member.sweep("launcher=ray", "launcher.address=auto", *LONG, "runtime.threads=null"))
    assert code == 0, err
    assert results_of(member.results) == serial


def kill_a_worker(results: Path, nodes: RayNodes) -> str:
    os.kill(at_work(results)[0].pid, signal.SIGKILL)
    return r"^bench run: a task of Ray's ended as WorkerCrashedError, see the logs of Ray; what is not done goes on$"


def preempt_a_worker(results: Path, nodes: RayNodes) -> str:
    os.kill(at_work(results)[0].pid, signal.SIGTERM)
    return ""


def preempt_a_node(results: Path, nodes: RayNodes) -> str:
    nodes.end("second", signal.SIGTERM)
    return r"^bench run: a task of Ray's ended as \w+Error, see the logs of Ray; what is not done goes on$"


def kill_a_node(results: Path, nodes: RayNodes) -> str:
    nodes.end("second", signal.SIGKILL)
    return r"^bench run: a task of Ray's ended as \w+Error, see the logs of Ray; what is not done goes on$"


@pytest.mark.parametrize(
    "happens", [kill_a_worker, preempt_a_worker, preempt_a_node, kill_a_node], ids=lambda each: each.__name__
)
def test_what_happens_on_the_way_changes_no_number(
    member: Login, nodes: RayNodes, serial: dict[str, object], happens: Callable[[Path, RayNodes], str]
):
    process = member.sweep("launcher=ray", f"launcher.address={nodes.address}", *LONG)
    wait_for(lambda: len(at_work(member.results)) == 2)
    line = happens(member.results, nodes)
    try:
        code, _, err = member.end(process)
    finally:
        if not nodes.is_there("second"):
            nodes.start("second")
    assert code == 0, err
    assert re.search(line, err, re.MULTILINE), err
    assert results_of(member.results) == serial


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda each: each.name)
def test_nothing_outlives_a_command_on_a_ray_of_its_own_and_the_same_goes_on(
    home: Login, serial: dict[str, object], number: signal.Signals
):
    process = home.sweep("launcher=ray", *LONG)
    wait_for(lambda: len(at_work(home.results)) == 2)
    if number is signal.SIGINT:
        os.killpg(process.pid, number)  # As a terminal does.
    else:
        process.send_signal(number)
    code, _, err = home.end(process, timeout=120)
    if number is signal.SIGINT:
        assert code == 130
        assert [line for line in err.splitlines() if " left" not in line] == [
            "bench run: stopped by SIGINT; the same command goes on from here"
        ]
        made = [read_record(folder) for folder in find_records(home.results)]
        assert [each.status for each in made] == ["interrupted"] * 2
    wait_for(lambda: ray_nodes.processes_of(Path(home.environment["RAY_TMPDIR"])) == [])
    code, _, err = home.end(home.sweep("launcher=ray", *LONG))
    assert code == 0, err
    assert results_of(home.results) == serial


def test_a_stop_stops_the_runs_on_a_cluster_and_the_same_goes_on(
    member: Login, nodes: RayNodes, serial: dict[str, object]
):
    words = ("launcher=ray", f"launcher.address={nodes.address}", *LONG)
    process = member.sweep(*words)
    wait_for(lambda: len(at_work(member.results)) == 2)
    process.send_signal(signal.SIGINT)
    code, _, err = member.end(process, timeout=120)
    assert (code, [line for line in err.splitlines() if " left" not in line]) == (
        130, ["bench run: stopped by SIGINT; the same command goes on from here"]
    )  # fmt: skip
    assert [read_record(folder).status for folder in find_records(member.results)] == ["interrupted"] * 2
    assert at_work(member.results) == []
    code, _, err = member.end(member.sweep(*words))
    assert code == 0, err
    assert results_of(member.results) == serial


def test_without_its_results_folder_a_sweep_ends(member: Login, nodes: RayNodes):
    process = member.sweep("launcher=ray", f"launcher.address={nodes.address}", *LONG, "training.max_steps=1000000")
    wait_for(lambda: len(at_work(member.results)) == 2)
    shutil.rmtree(member.results)
    code, _, err = member.end(process, timeout=90)
    assert code == 1
    assert "2 of 2 runs failed; the others are kept" in err
    assert not list(member.results.rglob("record.json"))


def test_without_a_machine_a_run_waits_with_a_line_and_without_a_cluster_it_ends_within_a_minute(tmp_path: Path):
    with ray_nodes.running(head=0, second=1) as nodes:
        login = Login(tmp_path / "results", nodes.environment)
        words = ("launcher=ray", f"launcher.address={nodes.address}", *LONG, "cell=rnn", "training.max_steps=1000000")
        process = login.sweep(*words)
        try:
            wait_for(lambda: len(at_work(login.results)) == 1)
            nodes.end("second")
            told = first_line(process, "waits for the scheduler")
            nodes.end("head")
            started = time.monotonic()
            code, _, err = login.end(process, timeout=120)
            seconds = time.monotonic() - started
        finally:
            login.kill()
    assert told == ("bench run: 1 job waits for the scheduler: no machine that Ray has now offers launcher.cpus=1\n")
    port = nodes.address.partition(":")[2]
    (line,) = [line for line in err.splitlines() if " left" not in line]
    gone = rf"bench run: Ray's cluster must stay while it is used, and it has gone from \S+:{port}: .*refused"
    assert (code, re.fullmatch(gone, line) is not None) == (2, True), line
    assert seconds < 60


def first_line(process: subprocess.Popen[str], text: str) -> str:
    """Return the first line with this text that a command writes to its errors; it has two minutes for that."""
    assert process.stderr is not None
    deadline = threading.Timer(120, process.kill)
    deadline.start()
    try:
        return next(line for line in process.stderr if text in line)
    finally:
        deadline.cancel()
