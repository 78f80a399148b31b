"""W&B: real offline files, which are read back with W&B's own tool."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.records.record import Record
from bench.stats.gradient_decay import reach
from tests.conftest import Bench


def read_back(folder: Path) -> list[dict[str, Any]]:
    """Return all entries of one offline run."""
    (file,) = folder.glob("*.wandb")
    done = subprocess.run(
        [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json", str(file)],
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines() if line.strip()]


def test_two_jobs_of_one_process_are_two_runs(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_MODE", "online")  # the config decides, and its default is offline
    monkeypatch.setenv("WANDB_RUN_ID", "the-same-for-all")
    outcome = bench.run(
        "-m",
        "logger=wandb",
        "seed=0,1",
        "cell=lstm",
        "training.max_steps=100",
        "training.eval_every=50",
        "probe=flow",
        "task.length=30",
    )
    assert outcome.code == 0, outcome.err[-500:]
    records = {made.run_id: made for made in bench.records()}
    assert len(records) == 2
    assert outcome.err == (
        "bench run: WANDB_MODE is set and not used: what the command says decides\n"
        "bench run: WANDB_RUN_ID is set and not used: the id of a run is that of its record\n"
    )
    folders = sorted((bench.results / "wandb").glob("offline-run-*"))
    assert {folder.name.rpartition("-")[2] for folder in folders} == set(records)
    for folder in folders:
        made = records[folder.name.rpartition("-")[2]]
        check(read_back(folder), made, bench.curves(made))
        check_probes(read_back(folder), bench.probes(made))


def check_probes(entries: list[dict[str, Any]], probes: dict[str, list[tuple[str, ...]]]) -> None:
    history = [entry["history"]["item"] for entry in entries if entry["type"] == "history"]
    told = {item["step"]: item for item in history if "flow/reach" in item}
    assert sorted(told) == [0, 100]
    for step, item in told.items():
        curve = [(int(row[3]), float(row[4])) for row in probes["flow"] if (row[0], row[2]) == (str(step), "'x'")]
        lags, norms = zip(*curve, strict=True)
        expected = reach(lags, norms)
        assert item["flow/reach"] == expected.reach
        assert item["flow/rate"] == pytest.approx(expected.rate)
        assert item["flow/growth"] == pytest.approx(expected.growth)
        assert item["detail/flow/underflow"] == 0
        assert item["detail/flow/layer1/rate"] < 0
        assert item["detail/gates/layer1.state/lyapunov_1"] >= item["detail/gates/layer1.state/lyapunov_4"]
    assert 0 < told[100]["detail/gates/layer1.forget/mean"] < 1
    assert {item["step"] for item in history if "detail/grad/readout_layer.bias/norm_clipped" in item} == {1, 100}


def check(entries: list[dict[str, Any]], made: Record, curves: dict[str, list[float]]) -> None:
    (run,) = [entry["run"] for entry in entries if entry["type"] == "run"]
    assert (run["run_id"], run["run_group"], run["job_type"]) == (made.run_id, "default", "adding_problem")
    assert run["config"]["update"]["seed"] == made.seed
    assert run["config"]["update"]["task"] == made.config["task"]
    history = [entry["history"]["item"] for entry in entries if entry["type"] == "history"]
    trained = {item["step"]: item for item in history if "train/loss" in item}
    evaluated = {item["step"]: item for item in history if "eval/mse" in item}
    assert sorted(trained) == sorted(evaluated) == [50, 100]
    for step in (50, 100):
        row = {name: values[step - 1] for name, values in curves.items()}
        item = trained[step] | evaluated[step]
        assert item["train/loss"] == pytest.approx(row["train_loss"])
        assert item["grad/norm"] == pytest.approx(row["grad_norm"])
        assert item["detail/grad/norm_clipped"] == pytest.approx(row["grad_norm_clipped"])
        assert item["eval/mse"] == pytest.approx(row["eval_mse"])
        assert item["eval/baseline"] == pytest.approx(1 / 6)
    axes = [entry["metric"] for entry in entries if entry["type"] == "metric" and "glob_name" in entry["metric"]]
    assert axes[-1]["step_metric"] == "step"
    summary: dict[str, Any] = {}
    for entry in entries:
        if entry["type"] == "summary":
            summary |= entry["summary"]["update"]
    assert (summary["status"], summary["solved"], summary["steps_to_solve"]) == ("completed", 0, None)
    assert summary["test/mse"] == pytest.approx(made.metrics["test"]["mse"])
    assert summary["parameters"] == made.model["parameters"]
    assert any(entry["type"] == "exit" for entry in entries), "finished"
