"""Offline runs: files that W&B's own tools read, and what `wandb sync` makes of them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.mirror.push import offline_folders
from bench.records.read import find_records, read_record
from tests import processes
from tests.mirror.conftest import rows_of
from tests.wandb_server import WandbServer

Call = Callable[..., subprocess.CompletedProcess[str]]
LONG = ("training.max_steps=2000", "training.eval_every=100", "training.checkpoint_every=100", "probe=none")


def sync(results: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("wandb")),
            "sync",
            "--yes",
            *map(str, (results / "wandb").glob("offline-*")),
        ],
        capture_output=True,
        text=True,
        env=environment,
        cwd=results,
        check=False,
    )
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


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_a_run_that_was_interrupted_is_one_clean_run_after_it_has_gone_on(
    mode: str, server: WandbServer, words: list[str], environment: dict[str, str], results: Path, call: Call
):
    words = [*words, f"logger.mode={mode}"]
    interrupted(words, environment, results, signal.SIGTERM)
    (before,) = (read_record(folder) for folder in find_records(results))
    assert (before.status, 100 <= before.steps < 2000) == ("interrupted", True)
    # Offline it is mirrored when it has gone on; online it counts as crashed until then.
    assert not (results / "wandb").exists() or not list((results / "wandb").iterdir())
    assert [stored.exit_code for stored in server.runs.values()] == ([] if mode == "offline" else [1])
    done = call(*words, *LONG)
    assert done.returncode == 0, done.stderr
    (made,) = (read_record(folder) for folder in find_records(results))
    assert (made.run_id, made.status, made.steps) == (before.run_id, "completed", 2000)
    if mode == "offline":
        assert len(offline_folders(results, made.run_id)) == 1
        sync(results, environment)
    rows = rows_of(server.runs[made.run_id].history)
    assert [row["step"] for row in rows] == list(range(50, 2001, 50))
    assert [row["step"] for row in rows if "eval/mse" in row] == list(range(100, 2001, 100))
    assert server.runs[made.run_id].exit_code == 0


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
