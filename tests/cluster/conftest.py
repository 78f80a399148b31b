"""A cluster for the tests of this folder, started once; they are skipped where it cannot run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bench.records import lease
from tests.cluster import slurm as cluster
from tests.conftest import ROOT, TINY, results_of, wait_for

LONG = ("cell=gru,rnn", "task.length=50", "model.hidden_size=32", "data.batch_size=16", "training.max_steps=2500",
        "training.eval_every=1250", "training.checkpoint_every=100", "training.stop_when_solved=false")  # fmt: skip
"""Runs of some seconds."""
PROGRAMS = ROOT / "tests" / "cluster" / ".slurm"


@dataclass(frozen=True)
class Login:
    """A login node of a cluster: it runs commands, and has a folder that all nodes see."""

    results: Path
    environment: Mapping[str, str]
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start ``bench`` with these words."""
        process = subprocess.Popen(
            [sys.executable, "-m", "bench", *words],
            env={**os.environ, "PYTHONPATH": str(ROOT), **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.results.parent,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def kill(self) -> None:
        """Kill what still runs of all that was started here."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.communicate()

    def sweep(self, *words: str) -> subprocess.Popen[str]:
        """Start a sweep."""
        return self.start("run", "-m", *TINY, f"results_dir={self.results}", *words)

    @staticmethod
    def end(process: subprocess.Popen[str], timeout: float = 240) -> tuple[int, str, str]:
        """Wait for a command; return its exit code, output and errors."""
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            pytest.fail(f"it waits for ever: {out}\n{err}")
        return process.returncode, out, err


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[cluster.Slurm]:
    if (lacking := cluster.missing()) is not None:
        pytest.skip(f"no {lacking}")
    try:
        cluster.unpack(PROGRAMS)
    except subprocess.CalledProcessError:
        pytest.skip("no packages")
    assert shutil.which("srun") is None, "a cluster of somebody else's is not for tests"
    with cluster.running(PROGRAMS, tmp_path_factory.mktemp("slurm")) as found:
        yield found


@pytest.fixture
def login(running: cluster.Slurm, tmp_path: Path) -> Iterator[Login]:
    found = Login(tmp_path / "results", running.environment)
    yield found
    found.kill()
    wait_for(lambda: running.ask("squeue", "--noheader") == "")


@pytest.fixture(scope="session")
def serial(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The results of a serial sweep."""
    home = Login(tmp_path_factory.mktemp("serial") / "results", {})
    code, _, err = home.end(home.sweep(*LONG))
    assert code == 0, err
    return results_of(home.results)


def owners(results: Path, step: int = 1) -> dict[str, lease.Owner]:
    """Return who is at which run, by the name of the machine."""
    found = [lease.holder_of(path.with_name(path.name[1:-6])) for path in results.glob("runs/*/*/*/.*.claim")]
    return {each.owner.host: each.owner for each in found if each is not None and each.progress.get("step", 0) >= step}
