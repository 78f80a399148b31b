"""Runs that are online while they train, on a server of the tests' own."""

from __future__ import annotations

import math
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.records.read import find_records, read_record
from tests import processes
from tests.mirror.conftest import LONGER, check, look_for_secrets, run_of, short_waits
from tests.wandb_server import WandbServer

Call = Callable[..., subprocess.CompletedProcess[str]]


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
    look_for_secrets(server, results)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.long_run)])
def test_a_server_that_goes_in_the_middle_costs_a_sweep_nothing(
    workers: int, server: WandbServer, call: Call, words: list[str], results: Path
):
    server.fail("UpsertBucket", 500)
    launcher = ("launcher=joblib", f"launcher.workers={workers}") if workers > 1 else ()
    done = call(*words, "-m", "seed=0,1", *launcher, hurry=True)
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


@pytest.mark.long_run
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
        # W&B's own process ends when it has given up, which takes a quarter of a minute or several.
        pytest.param("no answer", "W&B could not be reached: no answer from {url}", marks=pytest.mark.long_run),
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
