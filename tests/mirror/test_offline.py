"""Offline runs: files that W&B's own tools read, and what `wandb sync` makes of them."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.mirror.client import described
from bench.mirror.offline import folders
from bench.records.read import find_records, read_record
from tests import processes
from tests.conftest import Bench, Outcome, assert_one_line
from tests.mirror.conftest import LONGER, check, look_for_secrets, rows_of, run_of
from tests.wandb_server import WandbServer

Call = Callable[..., subprocess.CompletedProcess[str]]
LONG = ("training.max_steps=2000", "training.eval_every=100", "training.checkpoint_every=100", "probe=none")


def sync(folder: Path, environment: dict[str, str]) -> None:
    """Upload the offline runs in a folder with W&B's own command."""
    words = [str(Path(sys.executable).with_name("wandb")), "sync", "--yes", *map(str, folder.glob("offline-*"))]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=folder.parent, check=False)
    assert done.returncode == 0, done.stderr


def interrupted(words: list[str], environment: dict[str, str], results: Path, how: signal.Signals) -> None:
    """Start a run, and end it once it has a checkpoint."""
    process = processes.Process(*words, *LONG, environment=environment)
    ends = time.monotonic() + 120
    while not list(results.rglob(".*.checkpoint")):
        assert time.monotonic() < ends
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(how)
    process.wait()


@pytest.mark.long_run
@pytest.mark.parametrize("mode", ["offline", "online"])
def test_a_run_that_was_interrupted_is_one_clean_run_after_it_has_gone_on(
    mode: str, server: WandbServer, words: list[str], environment: dict[str, str], results: Path, call: Call
):
    words = [*words, f"logger.mode={mode}"]
    interrupted(words, environment, results, signal.SIGTERM)
    (before,) = (read_record(folder) for folder in find_records(results))
    assert (before.status, 100 <= before.steps < 2000) == ("interrupted", True)
    # Offline it is mirrored when it has gone on; online it counts as crashed until then.
    assert not (results / "wandb").exists()
    assert [stored.exit_code for stored in server.runs.values()] == ([] if mode == "offline" else [1])
    done = call(*words, *LONG)
    assert done.returncode == 0, done.stderr
    (made,) = (read_record(folder) for folder in find_records(results))
    assert (made.run_id, made.status, made.steps) == (before.run_id, "completed", 2000)
    if mode == "offline":
        assert len(folders(results, made.run_id)) == 1
        sync(results / "wandb", environment)
    rows = rows_of(server.runs[made.run_id].history)
    assert [row["step"] for row in rows] == list(range(50, 2001, 50))
    assert [row["step"] for row in rows if "eval/mse" in row] == list(range(100, 2001, 100))
    assert server.runs[made.run_id].exit_code == 0


def test_files_of_an_offline_run_tell_nothing_of_the_user_and_work_on_another_machine(
    server: WandbServer, words: list[str], environment: dict[str, str], results: Path, call: Call, tmp_path: Path
):
    done = call(*words, *LONGER, "logger.mode=offline")
    assert (done.returncode, done.stderr) == (0, "")
    run = run_of(results)
    assert call("push", results, "--offline").stdout.startswith(
        "0 runs pushed to rnn-bench (offline), 1 there already\n"
    )
    assert len(list((results / "wandb").glob("offline-run-*"))) == 2
    elsewhere = tmp_path / "elsewhere"
    (results / "wandb").rename(elsewhere)
    sync(elsewhere, environment)
    look_for_secrets(server, tmp_path)
    check(server.runs[run.run_id], run, online=False)
    (overview,) = [each for each in server.runs.values() if each.job_type == "summary"]
    table = json.loads(next(content for name, content in overview.files.items() if name.startswith("media/table/")))
    shown = call("table", results, "--format=csv").stdout
    header, *rows = csv.reader(io.StringIO(shown))
    assert table["columns"] == header
    assert table["data"] == [[cell or None for cell in row] for row in rows]


@pytest.mark.long_run
def test_what_a_killed_process_leaves_is_pushed_whole(
    server: WandbServer, words: list[str], environment: dict[str, str], results: Path, call: Call
):
    interrupted(words, environment, results, signal.SIGKILL)
    assert call("push", results).stderr == f"bench push: DIR must hold finished records, found none below '{results}'\n"
    plain = [word for word in words if not word.startswith("logger")]
    assert call(*plain, *LONG).returncode == 0
    (made,) = (read_record(folder) for folder in find_records(results))
    pushed = call("push", results)
    assert pushed.stdout == "1 run pushed to tester/rnn-bench (online), 0 there already\n", pushed.stderr
    stored = server.runs[made.run_id]
    assert stored.state == "finished"
    assert [row["step"] for row in stored.history] == list(range(50, 2001, 50))
    overview = next(each for each in server.runs.values() if each.job_type == "summary")
    assert overview.display_name == "summary of default"
    assert {"table", "table_html", "figures/learning_curves"} <= set(overview.summary)


def test_a_diverged_run_and_one_of_which_a_table_is_damaged(
    server: WandbServer, words: list[str], results: Path, call: Call
):
    plain = [word for word in words if not word.startswith("logger")]
    diverges = ("optimizer=sgd", "optimizer.lr=1e30", "training.clip_norm=null", "training.max_steps=60", "probe=flow")
    assert call(*plain, *diverges, "task.length=30").returncode == 0
    assert call(*plain, "probe=flow", "probe.exponents=0", "seed=1").returncode == 0
    made = {read_record(folder).status: folder for folder in find_records(results)}
    (made["completed"] / "activity.parquet").write_bytes(b"no table")
    for there in (0, 1):
        pushed = call("push", results)
        assert (
            pushed.stdout
            == f"{1 - there} run{'s' if there else ''} pushed to tester/rnn-bench (online), {there} there already\n"
        )
        assert (pushed.returncode, "activity.parquet: not readable" in pushed.stderr) == (1, True)
    (stored,) = [each for each in server.runs.values() if each.job_type != "summary"]
    assert (stored.name, stored.summary["status"]) == (made["diverged"].name, "diverged")
    assert stored.history


def test_a_log_that_cannot_be_written_is_not_told(capfd: pytest.CaptureFixture[str]):
    handler = logging.FileHandler("/dev/full")
    logger = logging.getLogger("wandb")
    logger.addHandler(handler)
    try:
        with described("take a run"):
            logger.error("a line")
        assert capfd.readouterr().err == ""
        logger.error("a line of somebody else's")
        assert "Logging error" in capfd.readouterr().err
    finally:
        logger.removeHandler(handler)
        with contextlib.suppress(OSError):
            handler.close()


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_a_place_that_cannot_be_written_costs_no_run(
    mode: str, server: WandbServer, words: list[str], results: Path, call: Call
):
    results.mkdir()
    (results / "wandb").write_text("a file of somebody's")
    done = call(*words, f"logger.mode={mode}")
    assert done.returncode == 0, done.stderr
    (made,) = (read_record(folder) for folder in find_records(results))
    assert made.status == "completed"
    if mode == "online":
        assert (done.stderr, server.runs[made.run_id].state) == ("", "finished")
    else:
        note = made.runtime["mirror"]["note"]
        assert "~/results/wandb" in note
        said = note.replace("~", str(results.parent))
        assert done.stderr == f"bench run: {said}; `bench push` brings what is missing\n"


def test_files_for_one_project_are_made_anew_for_another(bench: Bench):
    bench.ready()

    def push(*flags: str) -> Outcome:
        return bench.call("push", str(bench.results), "--offline", *flags)

    assert push("--project=one").out.startswith("1 run pushed to one (offline), 0 there already\n")
    assert push("--project=one").out == "0 runs pushed to one (offline), 1 there already\n"
    assert push("--project=two").out.startswith("1 run pushed to two (offline), 0 there already\n")
    there = sorted((bench.results / "wandb").iterdir())
    assert_one_line(push("--project=a/b"), "push", "W&B could not take these names: Invalid project name 'a/b'")
    assert_one_line(
        push("--entity=\x1b[31m"), "push", r"W&B's entity must be letters, digits, -, . and _, got '\x1b[31m'"
    )
    assert sorted((bench.results / "wandb").iterdir()) == there
