"""Threads that sleep where other processes use the cores."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.training import waiting
from bench.training.waiting import CHOSEN, POLICY, SharedCores


@pytest.fixture
def stat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A count of four cores, two of which are this process's, and no torch yet."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 2})
    monkeypatch.delitem(sys.modules, "torch")
    for name in CHOSEN:
        monkeypatch.delenv(name, raising=False)
    clock = iter([100.0, 101.0, 101.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(time, "process_time", lambda: 5.0)
    return tmp_path / "stat"


def write(stat: Path, second: int, third: int) -> None:
    """Write a count in hundredths of a second; what the first and the last core do is of no concern."""
    lines = [f"cpu{number} {busy} 0 0 500 7 0 0 0 0 0" for number, busy in enumerate((9, second, third, 900))]
    stat.write_text("\n".join(["cpu 1 2 3", *lines, "intr 5 5"]))


@pytest.mark.parametrize(("busy", "threads", "sleeps"), [(90, 2, True), (90, 1, False), (15, 2, False)])
def test_they_sleep_only_where_there_are_fewer_free_cores_than_threads(
    stat: Path, busy: int, threads: int, sleeps: bool
):
    write(stat, 1000, 1000)
    cores = SharedCores(stat)
    write(stat, 1000 + busy, 1000)
    said = cores.sleep_if_shared(threads)
    assert (os.environ.get(POLICY) == "passive") is sleeps
    if sleeps:
        assert said is not None
        assert said.startswith("other processes use 0.9 of 2 cores, so the 2 threads of a run sleep")
        os.environ.pop(POLICY)
    else:
        assert said is None


def test_what_the_user_has_chosen_stays(stat: Path, monkeypatch: pytest.MonkeyPatch):
    write(stat, 0, 0)
    cores = SharedCores(stat)
    write(stat, 90, 90)
    monkeypatch.setenv("GOMP_SPINCOUNT", "5")
    assert cores.sleep_if_shared(2) is None
    assert POLICY not in os.environ


def test_where_nothing_is_counted_nothing_is_changed(stat: Path):
    assert SharedCores(stat).sleep_if_shared(2) is None


def test_it_is_decided_before_torch_is_there():
    code = "import sys, bench.runs.launch, bench.training.waiting; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert waiting.SECONDS < 1
