"""``bench status``: the table, what it names, ``--watch`` and ``--repair``."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
from pathlib import Path

import pytest

from bench.records import record
from bench.records.read import find_records
from bench.runs.execute import execute
from bench.runs.progress import Pulse
from bench.training.loop import TrainingModule
from tasks.base import Batch
from tests.conftest import TINY, Bench, odd_cell, spec_of, stop_at, wait_for
from tests.processes import Process


def row(text: str, experiment: str = "default") -> dict[str, str]:
    header, *lines = [line.split() for line in text.splitlines()[:6]]
    (found,) = [line for line in lines if line and line[0] == experiment]
    return dict(zip(" ".join(header).replace("to do", "todo").split(), found, strict=True))


def test_counts_every_state(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    update = TrainingModule.update

    def trouble(self: TrainingModule, batch: Batch) -> None:
        if self.seed == 1:
            raise RuntimeError("cursed")
        if self.seed == 3 and self.global_step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        update(self, batch)
        if self.seed == 2:
            self.curves.loss[self.global_step - 1] = float("nan")

    monkeypatch.setattr(TrainingModule, "update", trouble)
    assert bench.run("-m", "seed=range(0,6)").code == 143
    outcome = bench.call("status", str(bench.results))
    assert outcome.code == 0
    found = row(outcome.out)
    left = found.pop("left")
    assert found == {
        "experiment": "default", "planned": "6", "done": "1", "diverged": "1", "running": "0", "interrupted": "1",
        "failed": "1", "todo": "2",
    }  # fmt: skip
    assert left in ("0:00", "0:01", "0:02")
    assert "Failed:\n  adding_problem gru seed=1: RuntimeError: cursed (" in outcome.out
    assert "Left to do: 4 of 6 runs (1 failed, 1 interrupted, 2 not begun)\n\nTo go on:\n  bench run -m " in outcome.out
    assert max(map(len, outcome.out.splitlines()[:2])) <= 80
    for place in ("runs", "runs/default"):
        assert row(bench.call("status", str(bench.results / place)).out)["planned"] == "6"


def test_a_single_run_that_was_stopped_says_how_to_go_on(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    stop_at(monkeypatch, {3})
    assert bench.run("seed=7").code == 143
    outcome = bench.call("status", str(bench.results))
    assert "Left to do: 1 of 1 run (1 interrupted)\n" in outcome.out
    (command,) = re.findall(r"^To go on:\n  bench run (.*)$", outcome.out, re.M)
    assert bench.call("run", *shlex.split(command)).code == 0
    assert bench.records()[0].status == "completed"
    again = bench.call("status", str(bench.results)).out
    assert "Left to do" not in again
    assert "To go on" not in again


def test_a_running_one_is_named_and_a_watch_ends_with_the_sweep(bench: Bench, tmp_path: Path):
    bench.one("seed=5")
    hold = tmp_path / "hold"
    hold.touch()
    mine = odd_cell(
        tmp_path / "mine",
        f"        while inputs.device.type != 'meta' and os.path.exists({str(hold)!r}):\n"
        "            time.sleep(0.02)\n",
    )
    process = Process(
        "run",
        *TINY,
        f"--config-dir={mine}",
        "cell=odd",
        "model.engine=stepwise",
        "task.length=9",
        f"results_dir={bench.results}",
    )
    try:
        wait_for(lambda: len(list(bench.results.rglob(".*.claim"))) == 1)
        (tmp_path / "shown").touch()
        watch = Process("status", bench.results, "--watch", "0.2", output=tmp_path / "shown")
        wait_for(lambda: (tmp_path / "shown").read_text().count("Running:") >= 2)
    finally:
        hold.unlink()
    assert (process.wait(timeout=60), watch.wait(timeout=60)) == (0, 0)
    text = (tmp_path / "shown").read_text()
    assert f", process {process.pid} on " in text
    assert "Running:\n  " in text
    last = text.split("experiment")[-1]
    assert row("experiment" + last)["done"] == "2"


def test_an_experiment_that_has_not_begun(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    outcome = bench.call("status", "demo")
    assert outcome.out == "demo: 18 runs planned, none begun; bench run +experiment=demo\n"
    outcome = bench.call("status", "dmo")
    assert outcome.code == 2
    assert outcome.err.endswith("got 'dmo', did you mean demo?\n")


def test_the_same_run_of_two_experiments_is_two_runs(bench: Bench, tmp_path: Path):
    for name in ("one", "two"):
        path = tmp_path / "mine" / "experiment" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("# @package _global_\nseed: 3\n")
    outcome = bench.run(f"--config-dir={tmp_path / 'mine'}", "-m", "+experiment=one,two")
    assert outcome.out.splitlines()[0] == "0 of 2 runs are there already, 2 to do"
    assert [made.experiment for made in bench.records()] == ["one", "two"]
    assert len({made.run_id for made in bench.records()}) == 1
    shown = bench.call("status", str(bench.results)).out
    assert [line.split()[:3] for line in shown.splitlines()[1:3]] == [["one", "1", "1"], ["two", "1", "1"]]


@pytest.mark.parametrize("plan", ["null", '{"runs": [1]}', '{"runs": [{"run_id": "x", "folder": "../../x"}]}', "[]"])
def test_a_plan_that_is_none_is_left_out(bench: Bench, plan: str):
    bench.ready()
    path = bench.results / "sweeps" / "x" / "plan.json"
    path.parent.mkdir(parents=True)
    path.write_text(plan)
    outcome = bench.call("status", str(bench.results))
    assert (outcome.code, row(outcome.out)["done"]) == (0, "1")


class TestDamage:
    def test_is_named_refused_and_repaired(self, bench: Bench):
        made = bench.ready()
        (folder,) = find_records(bench.results)
        (folder / record.RECORD_FILE).write_text('{"schema": 1, "ru')
        named = f"{folder / record.RECORD_FILE}: not a readable record"
        outcome = bench.call("status", str(bench.results))
        assert outcome.code == 1
        assert outcome.err.startswith(f"bench status: {named}")
        assert "damaged" in outcome.out
        refused = bench.run()
        assert refused.code == 2
        assert refused.err.startswith(f"bench run: {named}")
        repair = f"bench status {os.path.relpath(bench.results)} --repair"
        assert refused.err.endswith(f"`{repair}` sets it aside\n")
        repaired = bench.call("status", str(bench.results), "--repair")
        assert repaired.out.startswith(named)
        aside = folder.with_name(f".{folder.name}.damaged-1")
        assert str(aside) in repaired.out
        assert (aside / record.RECORD_FILE).exists()
        assert bench.run().code == 0
        assert bench.records()[0].metrics == made.metrics

    @pytest.mark.parametrize(
        "how", ["no file", "a link that leads nowhere", "an empty folder", "a folder that is a link", "a folder within"]
    )
    def test_a_folder_that_has_lost_its_record_is_repaired(self, bench: Bench, how: str):
        bench.ready()
        (folder,) = find_records(bench.results)
        if how in ("no file", "a link that leads nowhere", "a folder within"):
            (folder / record.RECORD_FILE).unlink()
        else:
            shutil.rmtree(folder)
        if how == "a link that leads nowhere":
            (folder / record.RECORD_FILE).symlink_to("nowhere")
        elif how == "a folder within":
            (folder / record.RECORD_FILE).mkdir()
        elif how == "an empty folder":
            folder.mkdir()
        elif how == "a folder that is a link":
            folder.symlink_to("nowhere")
        refused = bench.run()
        assert (refused.code, refused.err.endswith("--repair` sets it aside\n")) == (2, True)
        assert row(bench.call("status", str(bench.results)).out)["damaged"] == "1"
        repaired = bench.call("status", str(bench.results), "--repair")
        assert (repaired.code, repaired.err, "set aside as" in repaired.out) == (0, "", True), "nothing is left there"
        assert bench.run().code == 0
        assert len(bench.records()) == 1

    def test_curves_belong_to_it(self, bench: Bench):
        bench.ready()
        (folder,) = find_records(bench.results)
        (folder / record.CURVES_FILE).unlink()
        assert bench.call("status", str(bench.results)).code == 1
        assert f"{folder / record.CURVES_FILE}: not readable curves" in bench.run().err

    def test_a_newer_record_is_not_touched(self, bench: Bench):
        bench.ready()
        (folder,) = find_records(bench.results)
        path = folder / record.RECORD_FILE
        path.write_text(path.read_text().replace('"schema": 1', '"schema": 2'))
        assert bench.call("status", str(bench.results), "--repair").code == 1
        assert path.exists()
        refused = bench.run("rerun=all")
        assert refused.code == 2
        assert refused.err == f"bench run: {path}: `schema` must be <= 1 for this version, got 2\n"

    def test_a_damaged_checkpoint(self, bench: Bench):
        made = bench.ready()
        (folder,) = find_records(bench.results)
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        saved = folder.with_name(f".{made.run_id}.checkpoint")
        saved.write_bytes(b"half of it")
        refused = bench.run()
        assert refused.code == 2
        assert refused.err.startswith(f"bench run: {saved}: not a readable checkpoint")
        assert bench.call("status", str(bench.results), "--repair").out.startswith(
            f"{saved}: not a readable checkpoint"
        )
        assert not saved.exists()
        assert bench.run().code == 0


def test_a_heartbeat_says_how_many_steps_there_are(bench: Bench):
    spec, pulse = spec_of(*TINY, f"results_dir={bench.results}"), Pulse()
    execute(spec, "bench run", pulse, lambda: None, None)
    assert (pulse.numbers["step"], pulse.numbers["max_steps"]) == (6.0, 6.0)
