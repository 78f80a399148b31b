"""Runs that are online while they train, on a server of the tests' own."""

from __future__ import annotations

import getpass
import json
import math
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.analysis.run import Run, read_exponents, read_reaches
from bench.mirror.history import Histogram, history
from bench.records.read import find_records, read_record
from tests import processes
from tests.mirror.conftest import HOME, USER, rows_of, short_waits
from tests.wandb_server import StoredRun, WandbServer

Call = Callable[..., subprocess.CompletedProcess[str]]
LONGER = ("training.max_steps=130", "training.eval_every=50", "probe=flow", "task.length=30", "cell=lstm",
          "probe.gate_bins=5")  # fmt: skip


def run_of(results: Path) -> Run:
    (folder,) = find_records(results)
    run = Run(read_record(folder), folder)
    read_reaches([run])
    read_exponents([run])
    return run


def check(stored: StoredRun, run: Run) -> None:
    """Compare a run on the server with its record, name by name and row by row."""
    made = run.record
    assert (stored.display_name, stored.group, stored.job_type) == ("adding_problem lstm seed=0", "default", made.task)
    assert (stored.tags, stored.state) == (["lstm", "adding_problem"], "finished")
    assert {name: stored.config[name] for name in ("task_name", "cell_name", "experiment", "seed", "length")} == {
        "task_name": "adding_problem", "cell_name": "lstm", "experiment": "default", "seed": 0, "length": 30,
    }  # fmt: skip
    assert stored.config["parameters"] == made.model["parameters"]
    assert stored.config["engine"] == made.model["engine"]
    assert stored.config["commit"] == made.code["commit"]
    assert stored.config["training"] == made.config["training"]
    expected = [{**row, "step": step} for step, row in history(run)]
    assert [row["step"] for row in expected] == [0, 1, 50, 100, 130]
    rows = rows_of(stored.history)
    assert len(rows) == len(expected)
    for shown, wanted in zip(rows, expected, strict=True):
        numbers = {key: value for key, value in shown.items() if not isinstance(value, dict)}
        assert numbers == {
            key: pytest.approx(value, nan_ok=True) for key, value in wanted.items() if not isinstance(value, Histogram)
        }
    shown = [row["gates/layer1.forget"] for row in rows if "gates/layer1.forget" in row]
    assert [histogram["bins"] for histogram in shown] == [pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])] * 2
    assert [sum(histogram["values"]) for histogram in shown] == pytest.approx([1, 1])
    assert [row["_step"] for row in stored.history] == [0, 1, 50, 100, 130]
    summary = stored.summary
    assert (summary["status"], summary["solved"], summary.get("steps_to_solve")) == ("completed", 0, None)
    assert summary["test/mse"] == pytest.approx(made.metrics["test"]["mse"])
    evaluated = [row["eval/mse"] for row in rows if "eval/mse" in row]
    assert summary["eval/mse"] == {"min": min(evaluated), "last": evaluated[-1]}
    assert summary["eval/within_tolerance"]["max"] == max(
        row["eval/within_tolerance"] for row in rows if "eval/mse" in row
    )
    assert run.reach is not None
    assert run.reach.end is not None
    assert summary["reach/trained"] == run.reach.end.reach
    assert summary["rate/untrained"] == pytest.approx(run.reach.start.rate)
    curve = next(content for name, content in stored.files.items() if name.startswith("media/table/flow/curve"))
    table = json.loads(curve)
    assert table["columns"] == ["step", "layer", "measure", "lag", "value", "cell"]
    flow = run.flow.drop(["run"]).to_pylist()
    assert table["data"] == [[*row.values(), "lstm"] for row in flow]
    (files,) = [files for name, files in stored.artifacts.items() if name.startswith("record-")]
    assert files["record.json"] == (run.folder / "record.json").read_bytes()
    assert sorted(files) == sorted(path.name for path in run.folder.iterdir())


def test_a_run_is_on_the_server_as_its_record_has_it(server: WandbServer, call: Call, words: list[str], results: Path):
    done = call(*words, *LONGER)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    run = run_of(results)
    assert run.record.runtime["mirror"] == {"mode": "online", "id": run.run_id, "note": None}
    check(server.runs[run.run_id], run)
    assert not (results / "wandb").exists()
    # To push it afterwards changes nothing.
    again = call("push", results)
    assert again.stdout == "0 runs pushed to tester/rnn-bench (online), 1 there already\n"
    assert server.runs[run.run_id].times_started == 1
    # A server that has lost it gets the same.
    del server.runs[run.run_id]
    assert call("push", results).stdout == "1 run pushed to tester/rnn-bench (online), 0 there already\n"
    check(server.runs[run.run_id], run)
    sent = b"\n".join(server.received)
    written = b"".join(path.read_bytes() for path in results.rglob("*") if path.is_file())
    for secret in (server.env["WANDB_API_KEY"], USER, HOME):
        assert secret.encode() not in sent + written
    for value in (socket.gethostname(), getpass.getuser(), str(Path.home())):
        assert f'"{value}"'.encode() not in sent


def test_a_server_that_goes_in_the_middle_costs_a_sweep_nothing(
    server: WandbServer, call: Call, words: list[str], results: Path
):
    server.fail("UpsertBucket", 500)
    both = ("launcher=joblib", "launcher.workers=2")
    done = call(*words, "-m", "seed=0,1", *both, hurry=True)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "W&B" in line]
    assert line.endswith("runs are kept offline from here, and `bench push` uploads them")
    made = [read_record(folder) for folder in find_records(results)]
    assert [each.runtime["mirror"]["mode"] for each in made] == ["offline", "offline"]
    assert all("W&B could not start a run" in each.runtime["mirror"]["note"] for each in made)
    server.recover()
    pushed = call("push", results)
    assert pushed.stdout.startswith("2 runs pushed to tester/rnn-bench (online), 0 there already"), pushed.stderr
    assert {each.run_id for each in made} <= set(server.runs)
    assert not list((results / "wandb").glob("offline-run-*"))
    assert not list((results / "wandb").glob("data/*"))
    assert all(not math.isnan(row["train/loss"]) for row in server.runs[made[0].run_id].history if "train/loss" in row)


def test_a_server_that_goes_while_a_run_is_made_costs_the_run_nothing(
    server: WandbServer, words: list[str], environment: dict[str, str], results: Path, call: Call
):
    long = ("training.max_steps=3000", "training.eval_every=100", "training.checkpoint_every=100")
    process = processes.Process(*words, *long, before=short_waits, environment=environment)
    while not (list(results.rglob(".*.checkpoint"))):
        assert process.poll() is None
        time.sleep(0.05)
    server.drop()
    out, err = process.communicate()
    assert (process.returncode, "unsolved at step 3000" in out) == (0, True), err
    (folder,) = find_records(results)
    made = read_record(folder)
    assert made.status == "completed"
    kept = "runs are kept offline from here, and `bench push` uploads them"
    assert err == f"bench run: {made.runtime['mirror']['note']}; {kept}\n"
    server.recover()
    pushed = call("push", results)
    assert pushed.stdout == "1 run pushed to tester/rnn-bench (online), 0 there already\n", pushed.stderr
    assert [row["step"] for row in server.runs[made.run_id].history] == list(range(50, 3001, 50))


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("no answer", "W&B could not be reached: no answer from {url}"),
        ("no key", "W&B has no key (`wandb login` stores one)"),
        ("wrong key", "{url} does not take the key (`wandb login --relogin` stores another one)"),
        ("entity", "W&B's entity must be one of tester, team for this key, got 'nobody'"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_made(
    trouble: str, said: str, server: WandbServer, words: list[str], results: Path, call: Call
):
    if trouble == "no answer":
        server.hang()
    keys = {"no key": {"WANDB_API_KEY": ""}, "wrong key": {"WANDB_API_KEY": "e" * 40}}
    more = ["logger.entity=nobody"] if trouble == "entity" else []
    done = call(*words, *more, hurry=True, **keys.get(trouble, {}))
    expected = said.format(url=server.url)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"bench run: logger.mode=online: {expected}\n"
    assert not results.exists()
