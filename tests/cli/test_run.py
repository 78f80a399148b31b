"""``bench run`` from the command line to the record: single runs, sweeps, failures, progress."""

from __future__ import annotations

import fcntl
import os
import platform
import pty
import re
import select
import shlex
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
import torch

from bench.records.read import find_records, read_record
from bench.stats.gradient_decay import clipped_share
from bench.sweeps.terminal import duration
from bench.training.loop import TrainingModule
from tests.conftest import DATA, DATA_EXPERIMENTS, ROOT, TINY, Bench, cells, options, wait_for
from tests.processes import Process

DEMO_CELLS = ("rnn", "lstm", "gru")


class TestRecord:
    def test_holds_what_was_run_and_where(self, bench: Bench):
        made = bench.one("cell=lstm", "task=copy_memory", "task.delay=3", "seed=5")
        assert (made.experiment, made.task, made.cell, made.seed) == ("default", "copy_memory", "lstm", 5)
        assert (made.status, made.traceback) == ("completed", None)
        assert made.config["task"]["delay"] == 3
        assert made.config["optimizer"]["lr"] == 1e-3
        assert made.config["seed"] == 5
        assert made.libraries["torch"] == torch.__version__
        assert made.libraries["python"] == platform.python_version()
        assert made.device["type"] == "cpu"
        assert made.runtime["threads"] == 1
        assert made.task_facts["baselines"]["loss"] == pytest.approx(10 * 2.0794415 / 23)
        assert made.model["parameters"] == 4 * (4 * 10 + 4 * 4 + 2 * 4) + 9 * (4 + 1)
        assert made.metrics["test"].keys() == {"loss", "recall", "exact", "accuracy_all"}
        assert made.steps == 6
        seconds = made.time["train_seconds"]
        assert seconds is not None
        assert made.time["steps_per_second"] == pytest.approx(6 / seconds)
        assert made.time["milliseconds_per_step"] == pytest.approx(1000 * seconds / 6)
        assert seconds < (made.time["wall_seconds"] or 0)

    def test_its_command_makes_the_same_run(self, bench: Bench):
        made = bench.one("cell=rnn", "seed=4")
        words = shlex.split(made.command)
        assert words[:2] == ["bench", "run"]
        outcome = bench.call(*words[1:])
        assert "already there" in outcome.out
        assert [each.run_id for each in bench.records()] == [made.run_id]

    def test_only_the_results_folder_is_written_to(self, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        monkeypatch.chdir(elsewhere)
        assert bench.run().code == 0
        assert list(elsewhere.iterdir()) == []
        assert [path.name for path in bench.results.iterdir()] == ["runs"]

    def test_parameter_budget_and_its_residual(self, bench: Bench):
        made = bench.one("cell=lstm", "model.hidden_size=null", "model.parameter_budget=500")
        hidden, parameters = made.model["hidden_size"], made.model["parameters"]
        assert parameters == 4 * (2 * hidden + hidden * hidden + 2 * hidden) + hidden + 1
        assert made.model["budget_residual"] == parameters - 500
        assert abs(made.model["budget_residual"]) < 60

    def test_bf16(self, bench: Bench, monkeypatch: pytest.MonkeyPatch):
        # Step by step, every processor can do it, if slowly; torch's own LSTM needs instructions for it.
        monkeypatch.setattr("bench.training.process.supports_bf16", lambda device: True)
        lstm = ("cell=lstm", "model.hidden_size=16", "model.engine=stepwise", "task.length=20")
        plain, mixed = bench.one(*lstm), bench.one(*lstm, "trainer.precision=bf16-mixed")
        assert mixed.status == "completed"
        one, two = (bench.curves(made)["train_loss"] for made in (plain, mixed))
        assert one != two
        assert one == pytest.approx(two, rel=0.1)


class TestSweep:
    def test_a_run_for_every_combination(self, bench: Bench):
        outcome = bench.run("-m", "cell=rnn,lstm,gru", "task=copy_memory,adding_problem", "seed=range(0,1)")
        assert outcome.code == 0, outcome.err[-500:]
        made = {(each.cell, each.task, each.seed) for each in bench.records()}
        tasks = ("copy_memory", "adding_problem")
        assert made == {(cell, task, 0) for cell in DEMO_CELLS for task in tasks}
        assert "[6/6] " in outcome.out
        assert "copy_memory lstm seed=0: unsolved at step 6, test recall 0." in outcome.out
        assert max(map(len, outcome.out.splitlines())) <= 80
        again = bench.run("-m", "cell=rnn,lstm,gru", "task=copy_memory,adding_problem", "seed=range(0,2)")
        first, *others = again.out.splitlines()
        assert first == "6 of 12 runs are there already, 6 to do"
        assert len(others) == 6, "a line for each run that ends"
        assert len(bench.records()) == 12

    def test_the_demo_is_a_whole_sweep_in_one_yaml(self, bench: Bench):
        outcome = bench.run("+experiment=demo", "launcher=serial", "seed=range(0,1)")
        assert outcome.code == 0, outcome.err[-500:]
        records = bench.records()
        assert len(records) == 6
        assert {each.experiment for each in records} == {"demo"}
        rates = {(each.task, each.config["optimizer"]["lr"]) for each in records}
        assert rates == {("adding_problem", 0.005), ("copy_memory", 0.012)}, "the experiment's numbers win"
        assert {each.steps for each in records} == {6}, "the command line's win over them"
        table = bench.call("table", str(bench.results))
        assert table.code == 0
        assert "0/1" in table.out
        assert max(map(len, table.out.splitlines())) <= 80

    def test_its_jobs_leave_commands_that_work(self, bench: Bench):
        bench.run("+experiment=demo", "launcher=serial", "seed=range(0,1)", "cell=gru", "task=copy_memory")
        (made,) = bench.records()
        outcome = bench.call(*shlex.split(made.command)[1:])
        assert "already there" in outcome.out
        assert len(bench.records()) == 1

    @pytest.mark.parametrize("experiment", options("experiment"))
    def test_every_experiment_composes_with_every_cell_and_all_its_tasks(self, bench: Bench, experiment: str):
        # This experiment is about the forget gate, which no other cell has.
        chosen = "lstm" if experiment == "tallec2018" else ",".join(cells())
        tasks = ",".join(name for name in options("task") if name not in DATA)
        words = (f"task={tasks}",) if experiment not in {*DATA_EXPERIMENTS, "cost"} else ()
        outcome = bench.run(f"+experiment={experiment}", *words, f"cell={chosen}", "seed=-1")
        assert outcome.err.strip() == "bench run: seed must be >= 0 and < 2^63, got -1", (
            "composed, and only the seed was wrong"
        )


class TestFailure:
    def test_a_failed_run_is_a_record_and_the_sweep_goes_on(self, bench: Bench, monkeypatch: pytest.MonkeyPatch):
        fit = TrainingModule.on_train_start

        def fail_once(self: TrainingModule) -> None:
            if self.seed == 1:
                raise RuntimeError("the second\nseed is cursed")
            fit(self)

        monkeypatch.setattr(TrainingModule, "on_train_start", fail_once)
        outcome = bench.run("-m", "seed=0,1,2")
        assert outcome.code == 1
        assert "seed=1: failed, RuntimeError: the second seed is cursed" in outcome.out
        assert outcome.err.splitlines()[-1] == "bench run: 1 of 3 runs failed; the others are kept"
        by_seed = {made.seed: made for made in bench.records()}
        assert [by_seed[seed].status for seed in (0, 1, 2)] == ["completed", "failed", "completed"]
        assert by_seed[1].traceback is not None
        assert "seed is cursed" in by_seed[1].traceback
        assert by_seed[1].metrics == {"eval": {}, "test": {}}
        table = bench.call("table", str(bench.results)).out
        assert "0/2" in table
        assert "(1 failed)" in table
        monkeypatch.setattr(TrainingModule, "on_train_start", fit)
        assert bench.run("-m", "seed=0,1,2").code == 0
        assert [made.status for made in bench.records()] == ["completed"] * 3

    def test_divergence_is_a_result_not_a_failure(self, bench: Bench):
        outcome = bench.run(
            "cell=rnn", "cell.nonlinearity=relu", "optimizer=sgd", "optimizer.lr=1e38", "training.clip_norm=null"
        )
        assert outcome.code == 0
        assert "loss not finite at step" in outcome.out
        assert (
            "already there"
            in bench.run(
                "cell=rnn", "cell.nonlinearity=relu", "optimizer=sgd", "optimizer.lr=1e38", "training.clip_norm=null"
            ).out
        )

    def test_an_interrupted_sweep_stops_and_keeps_what_it_has(self, tmp_path: Path):
        endless = ["training.max_steps=1000000", "training.eval_every=1000000", "training.checkpoint_every=50"]
        process = Process("run", "-m", *TINY, *endless, f"results_dir={tmp_path}", "seed=0,1")
        wait_for(lambda: list(tmp_path.glob("runs/*/*/*/.*.checkpoint")) != [])
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
        assert err.splitlines()[-1] == "bench run: stopped by SIGINT; the same command goes on from here"
        (made,) = map(read_record, find_records(tmp_path))
        assert (made.seed, made.status, made.reason) == (0, "interrupted", "stopped by SIGINT")
        assert made.steps >= 50
        left = {path.name for path in tmp_path.glob("runs/*/*/*/.*")}
        assert left == {".guard", f".{made.run_id}.checkpoint"}


def on_a_terminal(*overrides: str) -> str:
    """Return what a tiny run or sweep shows on a terminal of 80 columns."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    words = ("run", *TINY, "task.length=10", *overrides)
    process = Process(*words, output=os.ttyname(slave), environment={"TERM": "xterm"})
    shown = b""
    deadline = time.monotonic() + 120
    while process.poll() is None or select.select([master], [], [], 0)[0]:
        if select.select([master], [], [], 0.1)[0]:
            shown += os.read(master, 4096)
        assert time.monotonic() < deadline
    os.close(slave)
    os.close(master)
    assert process.wait() == 0
    return shown.decode()


class TestProgress:
    def test_plain_lines_where_there_is_no_terminal(self, bench: Bench, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("bench.sweeps.bar.SECONDS_BETWEEN_LINES", 0.0)
        monkeypatch.setattr("bench.training.loop.SECONDS_TOGETHER", 0.0)
        err = bench.run("training.max_steps=20", "training.eval_every=20", "seed=1").err
        lines = [line for line in err.splitlines() if line.startswith("adding_problem gru seed=1: step ")]
        assert len(lines) == 20
        assert "step 10/20, loss " in lines[9]
        assert "(baseline 0.1667), " in lines[9]
        assert " steps/s, at most 0:00 left" in lines[9]

    def test_a_bar_on_a_terminal(self, tmp_path: Path):
        shown = on_a_terminal(f"results_dir={tmp_path}", "training.max_steps=1000", "training.eval_every=1000")
        drawn = [part for part in shown.split("\r") if "loss" in part]
        whole = r"adding_problem gru seed=0 +\d+%.*, loss \d\.\d{3} base 0\.167 +\d+\.\d+/s \d:\d\d left"
        assert any(re.search(whole, part) for part in drawn), drawn[:3]
        assert all(len(part) <= 80 for part in drawn)

    def test_one_bar_for_a_sweep(self, tmp_path: Path):
        shown = on_a_terminal(f"results_dir={tmp_path}", "-m", "seed=1,2", "training.max_steps=700")
        drawn = [part.strip() for part in shown.split("\r") if "runs" in part]
        assert drawn[0] == "0 of 2 runs are there already, 2 to do"
        assert any(re.fullmatch(r"1/2 runs, 1 running [5-9]\d% █+.*, \d:\d\d left", part) for part in drawn), drawn
        assert all(len(part) <= 80 for part in shown.split("\r"))
        ended = re.findall(
            r"\[(\d)/2\] adding_problem gru seed=(\d): unsolved at step 700, test mse [\d.]+, 0:\d\d", shown
        )
        assert ended == [("1", "1"), ("2", "2")]

    @pytest.mark.parametrize(
        ("seconds", "text"), [(0.0, "0:00"), (59.6, "1:00"), (3599.0, "59:59"), (3661.0, "1:01:01")]
    )
    def test_durations(self, seconds: float, text: str):
        assert duration(seconds) == text


class TestCsvLogger:
    def test_train_and_eval_metrics_over_step(self, bench: Bench):
        made = bench.one("logger=csv", "training.max_steps=100", "training.eval_every=50")
        folder = bench.folder(made)
        header, *rows = (folder / "metrics.csv").read_text().splitlines()
        names = header.split(",")
        table = [dict(zip(names, row.split(","), strict=True)) for row in rows]
        curves = bench.curves(made)
        trained = {int(row["step"]): row for row in table if row["train/loss"]}
        assert sorted(trained) == [50, 100]
        for step, row in trained.items():
            assert float(row["train/loss"]) == pytest.approx(curves["train_loss"][step - 1])
            assert float(row["grad/norm"]) == pytest.approx(curves["grad_norm"][step - 1])
            assert float(row["detail/grad/norm_clipped"]) == pytest.approx(curves["grad_norm_clipped"][step - 1])
            lately = slice(step - 50, step)
            share = clipped_share(curves["grad_norm"][lately], curves["grad_norm_clipped"][lately])
            assert float(row["detail/grad/clipped_share"]) == pytest.approx(share)
        evaluated = {int(row["step"]): row for row in table if row["eval/mse"]}
        assert sorted(evaluated) == [50, 100]
        assert float(evaluated[50]["eval/mse"]) == pytest.approx(curves["eval_mse"][49])


class TestHelp:
    def test_help_of_run_lists_the_choices_and_the_keys(self, bench: Bench):
        done = bench.call("run", "--help")
        assert done.code == 0, done.err
        for text in (
            f"cell: {', '.join(options('cell'))}",
            "task: adding_1997, adding_problem",
            "model.hidden_size=128",
            "+experiment=demo",
        ):
            assert text in done.out

    def test_the_config_can_be_shown_without_a_run(self, bench: Bench, tmp_path: Path):
        done = bench.call("run", "--cfg", "job", "cell=lstm", f"results_dir={bench.results}")
        assert done.code == 0, done.err
        assert "forget_bias: 1.0" in done.out
        assert list(tmp_path.iterdir()) == []

    def test_help_of_bench(self, bench: Bench):
        outcome = bench.call("--help")
        assert outcome.code == 0
        for name in ("run", "table", "figures"):
            assert name in outcome.out

    def test_version_is_the_packages(self, bench: Bench):
        assert bench.call("--version").out == "rnn-bench 0.1.0\n"
        assert 'version = "0.1.0"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
def test_a_full_device_costs_lines_and_no_runs(tmp_path: Path):
    for words in (("run", *TINY, "seed=0"), ("run", *TINY, "-m", "seed=1,2"), ("table", "results/runs"), ("status",)):
        process = Process(*words, cwd=tmp_path, before=_full)
        _, err = process.communicate()
        said = f"bench {words[0]}: what it printed could not be written: No space left on device\n"
        assert (process.returncode, err) == (1, said)
    assert [read_record(folder).status for folder in find_records(tmp_path)] == ["completed"] * 3


def _full() -> None:
    sys.stdout = Path("/dev/full").open("w", encoding="utf-8")  # noqa: SIM115


def test_a_closed_output_is_no_failure():
    for words in ("status results/demo", "--help", "table results/nothing"):
        done = subprocess.run(
            ["sh", "-c", f'"{sys.executable}" -m bench {words} >&-'],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        expected = (2, 1) if "nothing" in words else (0, 0)
        assert (done.returncode, len(done.stderr.splitlines())) == expected, done.stderr


def test_an_output_that_somebody_closes_is_said_and_goes_on():
    script = (
        "from bench.sweeps.output import Output; import sys\nwith Output() as output: sys.stdout.close(); print('more')"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{script}\nprint(output.error.strerror, file=sys.stderr)"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "it was closed\n")
