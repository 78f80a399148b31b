"""Runs that other machines make: sent, made as planned, stopped, killed, refused; and launchers that are not there.

The scheduler here is one of this module's: its nodes are processes with host names of their own, so that leases of
theirs are those of other machines. `make test-cluster` does the same with SLURM and Ray.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from bench.config.explain import ConfigError
from bench.records import lease
from bench.records.read import find_records
from bench.runs import cluster, remote
from bench.runs.cluster import JobState, SchedulerSilentError
from bench.runs.remote import RemoteJob
from bench.sweeps.driver import JobsEndedError
from tests.conftest import TINY, Bench, assert_one_line, results_of, spec_of, specs_of
from tests.nodes import be_a_node, die, have_other_code, lack_a_compiler
from tests.processes import child

SWEEP = ("-m", "launcher=slurm", "cell=gru,rnn", "task.length=9")


@dataclass
class Job:
    run: RemoteJob
    process: BaseProcess
    answer: Path
    fate: str | None = None


@dataclass
class Nodes:
    """A scheduler with a node for every job."""

    folder: Path
    at_look: Callable[[Nodes, list[Job]], None] = lambda *_: None
    change: Callable[[], None] | None = None
    silent: bool = False
    submitted: list[RemoteJob] = field(default_factory=list)
    cancelled: list[bool] = field(default_factory=list)
    most = 2  # at a time, fewer than runs

    def submit(self, jobs: Sequence[RemoteJob]) -> list[Job]:
        found = []
        for job in jobs:
            answer = self.folder / f"answer-{len(self.submitted)}"
            name = f"node-{len(self.submitted)}"
            process = child(be_a_node, name, cloudpickle.dumps(job), str(answer), self.change)
            self.submitted.append(job)
            found.append(Job(job, process, answer))
        return found

    def look(self, handles: Sequence[Job]) -> list[JobState]:
        if self.silent:
            raise SchedulerSilentError("no route to host")
        self.at_look(self, list(handles))
        return [self._state(job) for job in handles]

    @staticmethod
    def _state(job: Job) -> JobState:
        if job.process.is_alive():
            return JobState("running")
        if job.fate == "cancelled":
            return JobState("cancelled", "its job 7 was cancelled")
        if not job.answer.exists():
            return JobState("died", f"job 7 ended as {job.fate or 'FAILED'}")
        return JobState("ended", json.loads(job.answer.read_text()) or "")

    def cancel(self, handles: Sequence[Job], *, waiting: bool) -> None:
        self.cancelled.append(waiting)

    def log_of(self, handle: Job) -> str:
        return str(handle.answer)

    def tidy(self, handles: Sequence[Job]) -> None:
        for job in handles:
            job.answer.unlink()


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nodes:
    found = Nodes(tmp_path)
    monkeypatch.setattr(remote, "cluster_of", lambda *_: found)
    # A run of a test ends within the time between two looks at a real scheduler.
    monkeypatch.setattr(cluster, "SECONDS_BETWEEN_LOOKS", 0.02)
    return found


def owners(results: Path) -> list[lease.Owner]:
    found = [lease.holder_of(path.with_name(path.name[1:-6])) for path in results.glob("runs/*/*/*/.*.claim")]
    return [holder.owner for holder in found if holder is not None and holder.progress.get("step", 0) > 0]


class Dead:
    """A scheduler that takes two jobs at a time, of which the first of all dies."""

    most = 2

    def __init__(self) -> None:
        self.taken: list[int] = []

    def submit(self, jobs: Sequence[Any]) -> list[int]:
        numbers = [int(job()) for job in jobs]
        self.taken += numbers
        return numbers

    def look(self, handles: Sequence[int]) -> list[JobState]:
        return [JobState("died", "job 0 ended as FAILED") if job == 0 else JobState("ended") for job in handles]

    def cancel(self, handles: Sequence[int], *, waiting: bool) -> None: ...

    def log_of(self, handle: int) -> str:
        return f"log of {handle}"

    def tidy(self, handles: Sequence[int]) -> None: ...


def test_a_dead_job_keeps_no_other_from_being_submitted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cluster, "SECONDS_BETWEEN_LOOKS", 0)
    scheduler, jobs = Dead(), {Path(f"run-{number}"): partial(str, number) for number in range(6)}
    with pytest.raises(JobsEndedError) as caught:
        cluster.wait_for(scheduler, jobs, lambda _: False, lambda _: False)
    assert scheduler.taken == [0, 1, 2, 3, 4, 5]
    assert {path.name: left.text for path, left in caught.value.left.items()} == {
        "run-0": "job 0 ended as FAILED, see log of 0"
    }


class PutsBack(Dead):
    """A scheduler that puts its one job back twice, as after a node has failed."""

    def __init__(self) -> None:
        super().__init__()
        once = [JobState("running"), JobState("running"), JobState("waiting"), JobState("waiting")]
        self.states = [JobState("waiting"), *once, *once, JobState("running"), JobState("ended")]

    def look(self, handles: Sequence[int]) -> list[JobState]:
        return [self.states.pop(0)]


def test_a_job_that_is_put_back_is_told_and_its_lease_ended_where_it_died(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(cluster, "SECONDS_BETWEEN_LOOKS", 0)
    leases, asked = [Path("run-0")], []

    def set_free(folder: Path) -> bool:
        asked.append(folder)
        return bool(leases and leases.pop())

    cluster.wait_for(PutsBack(), {Path("run-0"): partial(str, 0)}, lambda _: False, set_free)
    assert asked == [Path("run-0")] * 2
    assert capsys.readouterr().err == (
        "bench run: a job was killed and waits to be started again, see log of 0; its run goes on then\n"
    )


def test_a_sweep_makes_the_records_of_a_serial_one_and_leaves_nothing_else(bench: Bench, nodes: Nodes):
    serial = bench.beside("serial")
    assert serial.run("-m", "cell=gru,rnn,lstm", "task.length=9").code == 0
    outcome = bench.run(*SWEEP, "cell=gru,rnn,lstm", "runtime.threads=null")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("0 of 3 runs are there already, 3 to do, 3 at once\n")
    assert results_of(bench.results) == results_of(serial.results)
    assert [str(path) for path in bench.results.rglob("*.claim")] == []
    assert [path.name for path in (bench.results / "sweeps").rglob("*") if path.is_file()] == ["plan.json"]
    assert list(nodes.folder.glob("answer-*")) == []


def test_a_stop_reaches_runs_on_other_machines_by_the_file(bench: Bench, nodes: Nodes):
    def stop(nodes: Nodes, jobs: list[Job]) -> None:
        found = owners(bench.results)
        if len(found) == 2 and not nodes.cancelled:
            assert {owner.host for owner in found} == {"node-0", "node-1"}
            os.kill(os.getpid(), signal.SIGTERM)

    nodes.at_look = stop
    words = (*SWEEP, "training.max_steps=20000", "training.eval_every=20000")
    outcome = bench.run(*words)
    assert outcome.code == 143
    assert nodes.cancelled == [True], "those that wait"
    assert [made.status for made in bench.records()] == ["interrupted"] * 2
    assert all(0 < made.steps < 20000 for made in bench.records())
    assert list(bench.results.rglob("*.stop")) == []


@pytest.mark.long_run
def test_a_killed_one_is_made_by_another_job_at_once(bench: Bench, nodes: Nodes):
    killed: list[BaseProcess] = []

    def kill(nodes: Nodes, jobs: list[Job]) -> None:
        (owner, *_) = owners(bench.results) or (None,)
        mine = [job.process for job in jobs if owner is not None and job.process.pid == owner.pid]
        if mine and not killed:
            killed.append(mine[0])
            mine[0].kill()
            mine[0].join()

    nodes.at_look = kill
    words = (*SWEEP, "training.max_steps=3000", "training.checkpoint_every=50")
    outcome = bench.run(*words)
    assert outcome.code == 0
    assert re.search(r"^bench run: job 7 ended as FAILED, see .*; what is not done goes on$", outcome.err, re.M)
    assert [made.status for made in bench.records()] == ["completed"] * 2
    serial = bench.beside("serial")
    assert serial.run("-m", "cell=gru,rnn", *words[3:]).code == 0
    assert results_of(bench.results) == results_of(serial.results)


def be_cancelled(nodes: Nodes, jobs: list[Job]) -> None:
    for job in jobs:
        job.process.kill()
        job.process.join()
        job.fate = "cancelled"


class TestWhatEndsASweep:
    def test_jobs_that_all_die_before_they_begin(self, bench: Bench, nodes: Nodes):
        nodes.change = die
        outcome = bench.run(*SWEEP)
        assert outcome.code == 2
        last = outcome.err.splitlines()[-1]
        assert last.startswith("bench run: jobs ended 3 times before they began: job 7 ended as FAILED, see ")

    def test_jobs_that_somebody_cancels(self, bench: Bench, nodes: Nodes):
        nodes.at_look = be_cancelled
        outcome = bench.run(*SWEEP)
        assert outcome.code == 1
        line = "bench run: its job 7 was cancelled; the same command goes on from there"
        assert outcome.err.splitlines().count(line) == 2
        assert bench.records() == []

    def test_a_scheduler_that_does_not_answer(self, bench: Bench, nodes: Nodes, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(cluster, "SECONDS_OF_SILENCE", 0.1)
        nodes.silent, nodes.change = True, die
        outcome = bench.run(*SWEEP)
        line = "bench run: the scheduler does not answer, and no run is going on: no route to host\n"
        assert (outcome.code, outcome.err) == (2, line)


class TestARunIsMadeAsItIsPlanned:
    def test_or_refused_by_a_node_that_lacks_what_it_takes(self, bench: Bench, nodes: Nodes):
        nodes.change = lack_a_compiler
        assert bench.run(*SWEEP, "cell=gru").code == 1
        (made,) = bench.records()
        assert made.status == "failed"
        assert made.reason is not None
        assert made.reason.startswith("model.engine must be auto, fused, stepwise or compiled here, got 'native': ")
        assert made.reason.endswith("(on node-0)")

    def test_or_refused_by_one_that_has_other_code(self, bench: Bench, nodes: Nodes):
        nodes.change = have_other_code
        assert bench.run(*SWEEP).code == 1
        made = {each.cell: each for each in bench.records()}
        assert made["rnn"].status == "completed"
        assert made["gru"].reason == (
            "adding_problem gru seed=0 must have the code of cells.gru that it was planned with, and has other here "
            "(on node-0)"
        )

    def test_its_threads_and_device_are_what_its_job_asks_for(self):
        words = ("runtime.threads=null", "trainer=auto")
        places = {
            each: spec_of(*TINY, *words, *each.split()).place
            for each in ("launcher=slurm", "launcher=slurm launcher.cpus=3", "launcher=ray launcher.gpus=1")
        }
        found = {each: (place.threads, place.device, place.engine.engine) for each, place in places.items()}
        assert found == {
            "launcher=slurm": (1, "cpu", "native"),
            "launcher=slurm launcher.cpus=3": (3, "cpu", "native"),
            "launcher=ray launcher.gpus=1": (1, "cuda", "fused"),
        }
        assert spec_of(*TINY, *words, "launcher=slurm").run_id == spec_of(*TINY).run_id, "on like nodes the same"

    def test_without_a_compiler_here_its_engine_must_be_given(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
        from bench.config import place

        monkeypatch.setattr(place, "compiler", lambda: None)
        monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
        monkeypatch.setattr(place, "choose", lambda *_: place.Choice("fused", "fused instead of native: no compiler"))
        (spec,) = specs_of(*TINY, "launcher=slurm", "model.engine=native")
        assert spec.network.engine.engine == "native"
        with pytest.raises(ConfigError, match=r"^model\.engine must be given where launcher is slurm and this machine"):
            specs_of(*TINY, "launcher=slurm", "model.hidden_size=5")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("launcher.cpus=0", "launcher.cpus must be >= 1, got 0"),
        ("launcher.gpus=2", "launcher.gpus must be 0 or 1, since a run uses one GPU at most, got 2"),
        ("launcher.gpus=1", "launcher.gpus must be 0 where trainer.accelerator is cpu, got 1"),
        ("trainer=gpu", "launcher.gpus must be 1 where trainer.accelerator is gpu, got 0"),
        ("runtime.threads=2", "launcher.cpus must be >= runtime.threads (2), got 1"),
        ("launcher.workers_per_gpu=1", "launcher.workers_per_gpu must be null where launcher is slurm, got 1"),
        ("launcher.minutes=0", "launcher.minutes must be >= 1, got 0"),
        ("launcher.warning_seconds=14400", "launcher.warning_seconds must be < 60 * minutes (14400), got 14400"),
        ("launcher.memory_gb=0", "launcher.memory_gb must be null or a finite number > 0, got 0.0"),
        ("launcher=serial launcher.name=slurm", "launcher.name must be that of the chosen launcher: choose it by "),
    ],
)
def test_what_a_job_cannot_ask_for(words: str, message: str):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        spec_of(*TINY, "launcher=slurm", *words.split())


@pytest.mark.parametrize(
    ("name", "package", "message"),
    [
        ("slurm", "submitit", "launcher=slurm needs submitit: pip install 'rnn-bench[slurm]'"),
        ("ray", "ray", "launcher=ray needs Ray: pip install 'rnn-bench[ray]'"),
    ],
)
def test_a_launcher_that_is_not_installed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str, package: str, message: str
):
    for each in (package, "submitit.slurm.slurm"):
        monkeypatch.setitem(sys.modules, each, None)
    assert_one_line(bench.run("-m", f"launcher={name}", "seed=0,1"), "run", message)
    assert not bench.results.exists()


def test_a_dry_run_asks_this_machine_for_nothing_that_the_nodes_have(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "submitit.slurm.slurm", None)
    outcome = bench.run(*SWEEP, "trainer=gpu", "launcher.gpus=1", "--dry-run")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[2:4] == ["2 runs, 0 there already, 2 to do, 2 at once",
                          "nothing is timed here, as other machines make the runs, 24 kB on disk"]  # fmt: skip
    assert re.fullmatch(r"about [\d.]+ GiB of memory for the largest run", lines[4])


def test_a_folder_that_machines_cannot_share(bench: Bench, nodes: Nodes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(remote.locks, "unsafe", lambda _: "tmpfs, which is that of one machine")
    assert_one_line(bench.run(*SWEEP), "run", "results_dir must be where several machines can share it, got ")
    assert find_records(bench.results) == []
