"""Sweeps: runs that are made again, workers, two sweeps at once, killed sweeps, full disks."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.records import lease, record
from bench.records.read import find_records, read_record
from bench.runs import dry_run
from bench.sweeps import signals
from bench.sweeps.driver import Driver
from bench.sweeps.invocation import Invocation
from bench.sweeps.state import Inventory, PlannedRun
from bench.training.loop import TrainingModule
from tasks.base import Batch
from tests import kill_sweep
from tests.conftest import TINY, Bench, odd_cell, own_experiment, results_of, wait_for
from tests.processes import Process, command

SEEDS = ("-m", "seed=0,1,2")


def times(bench: Bench) -> dict[int, int]:
    """Return the times at which the records were written."""
    found = find_records(bench.results)
    return {read_record(f).seed: (f / record.RECORD_FILE).stat().st_mtime_ns for f in found}


def test_runs_that_are_there_with_another_number_of_threads_are_told_of(bench: Bench):
    bench.run("-m", "seed=0,1")
    outcome = bench.run("-m", "seed=0,1,2", "runtime.threads=2")
    assert outcome.out.startswith("0 of 3 runs are there already, 3 to do\n")
    line = "bench run: 2 of the runs to do are there with runtime.threads=1, which this setting takes as they are\n"
    assert line in outcome.err
    assert line not in bench.run("-m", "seed=0,1,2", "runtime.threads=2").err


class TestRerun:
    def test_what_is_made_again(self, bench: Bench, monkeypatch: pytest.MonkeyPatch):
        start = TrainingModule.on_train_start

        def fail(self: TrainingModule) -> None:
            if self.seed == 1:
                raise RuntimeError("cursed")
            start(self)

        monkeypatch.setattr(TrainingModule, "on_train_start", fail)
        assert bench.run(*SEEDS).code == 1
        monkeypatch.setattr(TrainingModule, "on_train_start", start)
        for rerun, again in (("none", set()), ("failed", {1}), ("all", {0, 1, 2})):
            before = times(bench)
            outcome = bench.run(*SEEDS, f"rerun={rerun}")
            assert {seed for seed, written in times(bench).items() if written != before[seed]} == again
            assert outcome.out.startswith(f"{3 - len(again)} of 3 runs are there already, {len(again)} to do")
            assert outcome.code == (1 if rerun == "none" else 0)

    def test_all_does_not_lose_the_old_result_when_stopped(self, bench: Bench, monkeypatch: pytest.MonkeyPatch):
        made = bench.ready()
        update = TrainingModule.update

        def stop(self: TrainingModule, batch: Batch) -> None:
            if self.global_step == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            update(self, batch)

        monkeypatch.setattr(TrainingModule, "update", stop)
        assert bench.run("rerun=all").code == 143
        assert bench.records() == [made]


@pytest.mark.long_run
def test_workers_make_the_same_records_as_one_process(bench: Bench, tmp_path: Path):
    rows = {"rows": [{"task": "adding_problem", "task.length": 9}, {"task": "copy_memory", "task.delay": 3}]}
    overrides = (*own_experiment(tmp_path, rows), "cell=gru,lstm", "training.max_steps=30", "probe=flow")
    assert bench.run(*overrides, "launcher=joblib", "launcher.workers=2").code == 0
    serial = bench.beside("serial")
    outcome = serial.run(*overrides, "launcher=serial")
    assert outcome.code == 0
    assert len(results_of(serial.results)) == 4
    assert results_of(bench.results) == results_of(serial.results)


@pytest.mark.first
def test_two_sweeps_on_one_folder_share_the_work(bench: Bench):
    sweep_of_six = ("-m", "training.max_steps=300", "seed=range(0,6)", "logger=csv")
    words = ["run", *TINY, f"results_dir={bench.results}", *sweep_of_six]
    sweeps = [Process(*words) for _ in range(2)]
    outputs = [sweep.communicate(timeout=120) for sweep in sweeps]
    assert [sweep.returncode for sweep in sweeps] == [0, 0], outputs
    assert len(results_of(bench.results)) == 6
    # One process wrote each record: it names its process through its draft, and none was written twice.
    assert len(set(times(bench).values())) == 6
    for out, _ in outputs:
        assert out.count(": unsolved at step 300") == 6, "each sweep tells of every run that ends, whoever made it"
    assert bench.run(*sweep_of_six).out == "6 of 6 runs are there already, 0 to do\n"


@pytest.mark.first
@pytest.mark.parametrize(
    "targets",
    [
        ("main",),
        pytest.param(("main", "worker", "all") * 4, marks=pytest.mark.long_run),
    ],
    ids=len,
)
def test_a_sweep_killed_again_and_again_ends_like_an_undisturbed_one(
    bench: Bench, tmp_path: Path, targets: tuple[str, ...]
):
    """A kill comes each time that a run has got further than before."""
    steps, killed = 60 * len(targets), tmp_path / "killed"
    before: set[tuple[str, int]] = set()

    def further() -> None:
        def checkpoints() -> set[tuple[str, int]]:
            found = set()
            for path in killed.glob("runs/*/*/*/.*.checkpoint"):
                with contextlib.suppress(FileNotFoundError):
                    found.add((path.name, path.stat().st_mtime_ns))
            return found

        wait_for(lambda: checkpoints() - before != set())
        before.update(checkpoints())

    assert kill_sweep.survive(killed, targets, runs=4, steps=steps, moment=further) == list(targets)
    one_process = ("launcher=serial", "launcher.workers=null", f"training.max_steps={steps}", "seed=range(0,1)")
    assert bench.call("run", *kill_sweep.SWEEP, *one_process, f"results_dir={bench.results}").code == 0
    whole = results_of(bench.results)
    assert len(whole) == 4
    assert results_of(killed) == whole
    left = {path.name for path in (killed / "runs").rglob(".*") if not path.name.endswith(".claim")}
    assert left == {".guard"}


def small_files() -> None:
    """Let this process write no more than 2,000 bytes to a file."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))


class TestFaults:
    @pytest.mark.long_run
    def test_a_run_that_kills_its_worker_fails_and_its_neighbour_does_not(self, tmp_path: Path):
        """All workers die with one; the slow run beside it has no checkpoint either, and is not to blame."""
        mine = odd_cell(
            tmp_path / "mine",
            "        if inputs.device.type != 'meta' and inputs.shape[1] == 5:\n"
            "            os.kill(os.getpid(), signal.SIGKILL)\n"
            "        if inputs.device.type != 'meta':\n"
            "            time.sleep(0.2)\n",
        )
        done = command(
            "run", f"--config-dir={mine}", "-m", "launcher=joblib", "launcher.workers=2", *TINY, "cell=odd",
            "model.engine=stepwise",
            "task.length=5", "data.batch_size=5,4", f"results_dir={tmp_path / 'results'}",
        )  # fmt: skip
        assert done.returncode == 1
        assert "a worker was killed (out of memory?); its run goes on" in done.stderr
        records = map(read_record, find_records(tmp_path / "results"))
        made = {each.config["data"]["batch_size"]: each for each in records}
        assert made[4].status == "completed"
        assert made[5].status == "failed"
        assert "killed 3 times without getting any further" in made[5].reason

    @pytest.mark.long_run
    def test_workers_that_die_before_they_begin_end_the_sweep(self, tmp_path: Path):
        mine = odd_cell(tmp_path / "mine", "")
        source = mine / "odd_cell.py"
        source.write_text(
            "import multiprocessing, os\nif multiprocessing.current_process().name.startswith('Loky'):\n"
            f"    os._exit(9)\n{source.read_text()}"
        )
        done = command("run", f"--config-dir={mine}", "-m", "launcher=joblib", "launcher.workers=2", *TINY, "cell=odd",
            "model.engine=stepwise",
                       "seed=0,1", f"results_dir={tmp_path / 'results'}")  # fmt: skip
        assert done.returncode == 2
        # On a slow machine, lines of progress come before it.
        lines = [line for line in done.stderr.splitlines() if not line.startswith("0/2 runs")]
        assert lines == ["bench run: workers were killed 3 times before they began (out of memory?)"]

    def test_a_failure_of_a_rerun_is_told_and_the_result_stays(self, bench: Bench, tmp_path: Path):
        bad = tmp_path / "bad"
        mine = odd_cell(
            tmp_path / "mine", f"        if os.path.exists({str(bad)!r}):\n            raise RuntimeError('boom')\n"
        )
        words = (f"--config-dir={mine}", "-m", "cell=odd", "model.engine=stepwise", "seed=0,1", "task.length=9")
        assert bench.run(*words).code == 0
        before = results_of(bench.results)
        bad.touch()
        done = bench.run(*words, "rerun=all")
        assert done.code == 1
        assert results_of(bench.results) == before
        lines = done.err.splitlines()
        for seed, line in enumerate(lines[:2]):
            found = re.fullmatch(
                rf"bench run: adding_problem odd seed={seed} failed this time, see (.*); the earlier result is kept",
                line,
            )
            assert found is not None, line
            assert "RuntimeError: boom" in json.loads(Path(found[1]).read_text())["traceback"]
        assert lines[2:] == ["bench run: 2 of 2 runs failed; the others are kept"]
        bad.unlink()
        assert bench.run(*words, "rerun=all").code == 0
        assert list(bench.results.rglob(".*.failed")) == []

    def test_a_run_that_another_sweep_leaves_behind_during_our_pass_is_made(self, tmp_path: Path):
        hold = tmp_path / "hold"
        hold.touch()
        mine = odd_cell(
            tmp_path / "mine",
            f"        while inputs.device.type != 'meta' and os.path.exists({str(hold)!r}):\n"
            "            time.sleep(0.02)\n",
        )
        words = [
            "run",
            f"--config-dir={mine}",
            *TINY,
            "cell=odd",
            "model.engine=stepwise",
            f"results_dir={tmp_path / 'results'}",
        ]
        other = Process(*words, "training.max_steps=9")
        wait_for(lambda: len(kill_sweep.leased(tmp_path / "results")) == 1)
        ours = Process(*words, "-m", "training.max_steps=9,6")
        wait_for(lambda: len(kill_sweep.leased(tmp_path / "results")) == 2)
        other.kill()
        other.wait()
        hold.unlink()
        out, _ = ours.communicate(timeout=120)
        assert ours.returncode == 0
        assert sorted(made.steps for made in map(read_record, find_records(tmp_path / "results"))) == [6, 9]
        # Of two runs that end between two looks, the one that was planned first is told first.
        assert re.search(r"^\[[12]/2\] adding_problem odd seed=0: unsolved at step 9", out, re.M)

    @pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.long_run)])
    def test_a_closed_pipe_neither_ends_a_sweep_nor_keeps_it_from_stopping(self, tmp_path: Path, workers: int):
        words = [sys.executable, "-m", "bench", "run", "-m", *TINY, "training.max_steps=300",
                 "training.eval_every=300", "seed=range(0,20)", f"results_dir={tmp_path}"]  # fmt: skip
        words += ["launcher=joblib", f"launcher.workers={workers}"] if workers > 1 else []
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == (
            f"0 of 20 runs are there already, 20 to do{', 2 at once' if workers > 1 else ''}\n"
        )
        process.stdout.close()
        wait_for(lambda: len(find_records(tmp_path)) >= 2)
        process.terminate()
        assert process.wait(timeout=60) == 143
        assert process.stderr is not None
        assert "stopped by SIGTERM" in process.stderr.read()
        process.stderr.close()
        assert len(find_records(tmp_path)) < 20

    def test_a_full_disk_stops_the_run_with_one_line(self, bench: Bench):
        done = command("run", *TINY, f"results_dir={bench.results}", before=small_files)
        assert done.returncode == 1
        first = done.stderr.splitlines()[0]
        assert first.startswith(
            f"bench run: results_dir must be writable, got '{bench.results}' ([Errno 27] File too large"
        )
        assert find_records(bench.results) == []
        assert bench.run().code == 0

    def test_a_folder_that_is_gone_costs_one_run(self, bench: Bench, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 0.02)
        start = TrainingModule.on_train_start

        def remove(self: TrainingModule) -> None:
            if self.seed == 1:
                bench.results.rename(bench.results.with_name("elsewhere"))
                wait_for(lambda: not any(each.name.startswith("heartbeat of ") for each in threading.enumerate()))
            start(self)

        monkeypatch.setattr(TrainingModule, "on_train_start", remove)
        outcome = bench.run("-m", "seed=1,2")
        assert outcome.code == 1
        assert outcome.err.splitlines() == [
            "bench run: adding_problem gru seed=1 is given up: its files were removed while it was made",
            "bench run: adding_problem gru seed=1 has no result, not even a record",
            "bench run: 1 of 2 runs failed; the others are kept",
        ]
        assert [made.seed for made in bench.records()] == [2]

    def test_a_run_that_ends_as_its_folder_goes_is_recorded(self, bench: Bench, monkeypatch: pytest.MonkeyPatch):
        end = TrainingModule.on_train_end

        def remove(self: TrainingModule) -> None:
            bench.results.rename(bench.results.with_name("elsewhere"))
            end(self)

        monkeypatch.setattr(TrainingModule, "on_train_end", remove)
        assert bench.run().code == 0
        assert [made.status for made in bench.records()] == ["completed"]

    def test_a_kill_between_the_two_renames_of_publishing_loses_nothing(self, bench: Bench):
        made = bench.ready()
        (folder,) = find_records(bench.results)
        folder.rename(folder.with_name(f".{folder.name}.99.old"))
        outcome = bench.run()
        assert outcome.code == 0
        assert bench.records() == [made], "the old record came back, and was not made again"


class TestPlan:
    def test_lists_runs_time_and_disk_and_writes_nothing(self, bench: Bench):
        outcome = bench.run("-m", "seed=0,1", "cell=gru,rnn", "probe=flow", "--dry-run")
        assert outcome.code == 0
        lines = outcome.out.splitlines()
        assert [line.partition("  ")[2] for line in lines[:4]] == [
            f"adding_problem {cell} seed={seed}: planned" for seed in (0, 1) for cell in ("gru", "rnn")
        ]
        assert lines[4] == "4 runs, 0 there already, 4 to do, 1 at once"
        assert re.match(r"about 0:0\d \(training alone, from a few steps timed here\), ", lines[5])
        assert lines[5].endswith("55 kB on disk")
        assert not bench.results.exists()
        bench.run("-m", "seed=0,1", "cell=gru")
        outcome = bench.run("-m", "seed=0,1,2", "cell=gru", "--plan")
        assert "3 runs, 2 there already, 1 to do, 1 at once" in outcome.out
        assert "as long as the runs that are there took" in outcome.out

    def test_of_many_settings_some_are_timed_for_all(self, bench: Bench, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(dry_run, "SECONDS_IN_ALL", 2 * dry_run.SECONDS_OF_MEASURING)
        monkeypatch.setattr(dry_run, "seconds_per_step", lambda spec: 1.0)
        outcome = bench.run("-m", "optimizer.lr=0.1,0.2,0.3", "seed=0,1", "training.max_steps=10", "--plan")
        assert "about 1:00 (training alone, from a few steps of 2 of 3 settings), " in outcome.out


def test_the_plan_of_a_sweep_is_kept(bench: Bench):
    bench.run(*SEEDS)
    (path,) = bench.results.glob("sweeps/*/plan.json")
    plan = json.loads(path.read_text())
    assert [run["label"] for run in plan["runs"]] == [f"adding_problem gru seed={seed}" for seed in (0, 1, 2)]
    assert "seed=0,1,2" in plan["command"]
    assert [each.name for each in path.parent.iterdir() if each.name.startswith(".")] == []


def test_a_stop_signals_no_process_of_the_number_that_a_worker_has_on_another_machine(tmp_path: Path):
    runs = [PlannedRun("0" * 12, "runs/a/b/c/" + "0" * 12, "run", "kind", 1)]
    invocation = Invocation.start(runs, tmp_path, "none", tmp_path / "sweeps", alone=False)
    Path(invocation.stop_file).parent.mkdir()
    with subprocess.Popen(["sleep", "60"]) as innocent:

        def one_pass(folders: Sequence[Path]) -> None:
            (folder,) = folders
            owner = dataclasses.replace(lease.this_process(invocation.sweep), pid=innocent.pid, token="worker")
            there = dataclasses.replace(owner, machine="another host")
            folder.parent.mkdir(parents=True)
            lease.lease_path(folder).write_text(json.dumps({**dataclasses.asdict(there), "progress": {}}))
            os.kill(os.getpid(), signal.SIGTERM)
            wait_for(Path(invocation.stop_file).exists)

        signals.listen()
        try:
            Driver(Inventory(tmp_path, runs), invocation, one_pass, lambda *_: None, 1).run()
        finally:
            signals.forget()
        assert innocent.poll() is None
        innocent.kill()


def test_a_run_leased_by_another_process_is_waited_for(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    folder = bench.folder(bench.beside("other").ready())
    held = lease.take(folder, lease.this_process(), lambda: {})
    assert held is not None
    told: list[str] = []

    class Listener(io.StringIO):
        def write(self, text: str) -> int:
            told.append(text)
            if text.startswith("waiting for "):
                held.__exit__(None, None, None)
            return len(text)

    monkeypatch.setattr(sys, "stderr", Listener())
    assert bench.run().code == 0
    waits = [text for text in told if text.startswith("waiting for ")]
    assert len(waits) == 1
    assert waits[0].startswith(f"waiting for adding_problem gru seed=0, done by process {os.getpid()} on ")
    assert [made.seed for made in bench.records()] == [0]
