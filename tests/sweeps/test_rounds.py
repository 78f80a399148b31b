"""Searches for the longest delay that is solved, from the command line to the records."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from bench.cells.lstm import LSTMCell
from bench.config.compose import compose_runs
from bench.records.read import find_records, read_record
from bench.training.loop import TrainingModule
from tests.conftest import Bench, assert_one_line, own_experiment

SEARCH = {"keys": ["task.length"], "share": 1.0, "least": 2, "most": 8, "close": 1.1}
# A small network solves a length of 2 within these steps, and no longer one.
EASY = ("model.hidden_size=32", "data.batch_size=64", "data.eval_size=256", "optimizer.lr=1e-2",
        "training.max_steps=80", "training.eval_every=10", "probe=none")  # fmt: skip


def experiment(folder: Path, **search: Any) -> list[str]:
    sweep = {"rows": [{"task": "adding_problem", "task.length": 2}], "search": SEARCH | search}
    return own_experiment(folder, sweep)


def test_a_search_from_its_first_run_to_its_last(bench: Bench, tmp_path: Path):
    words = (*experiment(tmp_path), *EASY, "cell=gru", "seed=0,1")
    done = bench.run(*words, "--dry-run")
    assert (done.code, not find_records(bench.results)) == (0, True)
    assert "2 runs, 0 there already, 2 to do, 1 at once" in done.out
    assert done.out.endswith("this is one round of a search; what comes next depends on what is solved\n")

    done = bench.run(*words)
    assert (done.code, done.err) == (0, "")
    found = [(made.config["task"]["length"], made.seed, made.solved) for made in bench.records()]
    lengths = {length: {solved for other, _, solved in found if other == length} for length, _, _ in found}
    assert sorted(found) == [(length, seed, length == 2) for length in sorted(lengths) for seed in (0, 1)]
    assert sorted(lengths) == [2, 3, 4]
    report = (
        "longest that at least 100% of the seeds solve:\n  adding_problem gru: length=2 (2/2), not length=3 (0/2)\n"
    )
    assert done.out.endswith(report)
    assert [line for line in done.out.splitlines() if "to do" in line] == [
        "0 of 2 runs are there already, 2 to do",
    ] * 3
    status = bench.call("status", str(bench.results))
    assert status.out.splitlines()[1].split()[:3] == ["own", "6", "6"]

    # A search whose end was lost makes that again, and nothing else.
    lost = next(folder for folder in find_records(bench.results) if read_record(folder).config["task"]["length"] == 3)
    shutil.rmtree(lost)
    before = {folder: (folder / "record.json").stat().st_mtime_ns for folder in find_records(bench.results)}
    done = bench.run(*words)
    assert done.out.startswith("1 of 2 runs are there already, 1 to do")
    assert done.out.endswith(report)
    assert {folder: (folder / "record.json").stat().st_mtime_ns for folder in before} == before
    assert bench.run(*words).out == report
    assert "2 runs, 0 there already, 2 to do" in bench.run(*words, "rerun=all", "--dry-run").out


def test_lines_that_part_and_a_run_that_fails(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    start = TrainingModule.on_train_start

    def fail(self: TrainingModule) -> None:
        if self.task.length == 4 and isinstance(self.model.layers[0], LSTMCell):
            raise RuntimeError("cursed")
        start(self)

    monkeypatch.setattr(TrainingModule, "on_train_start", fail)
    words = (*experiment(tmp_path), *EASY, "seed=0", "cell=gru,lstm", "optimizer.lr=1e-2,1e-9")
    done = bench.run(*words)
    assert (done.code, done.err.count("has no result")) == (1, 1)
    first, *lines = done.out.splitlines()[-5:]
    assert first == "longest that at least 100% of the seeds solve:"
    assert sorted(lines) == [
        "  adding_problem gru optimizer.lr=0.01: length=2 (1/1), not length=3 (0/1)",
        "  adding_problem gru optimizer.lr=1e-09: not length=2 (0/1)",
        "  adding_problem lstm optimizer.lr=0.01: length=2 (1/1), ended at length=4, where a run has no result",
        "  adding_problem lstm optimizer.lr=1e-09: not length=2 (0/1)",
    ]
    # What is left is one run, of which the plan of the search still speaks.
    monkeypatch.setattr(TrainingModule, "on_train_start", start)
    done = bench.run(*words)
    assert (done.code, done.out.count("to do")) == (0, 2)
    assert "  adding_problem lstm optimizer.lr=0.01: length=2 (1/1), not length=3 (0/1)\n" in done.out
    assert bench.call("status", str(bench.results)).out.splitlines()[1].split()[:3] == ["own", "8", "8"]
    # The command of a record makes that run and searches for nothing.
    made = next(made for made in bench.records() if made.config["task"]["length"] == 3 and made.cell == "gru")
    (spec,) = compose_runs(shlex.split(made.command)[3:], config_dir=str(tmp_path / "mine"))
    assert spec.run_id == made.run_id


@pytest.mark.parametrize(
    ("search", "override", "message"),
    [
        ({}, "task.length=9", "task.length must be a whole number from 2 to 8, got 9"),
        ({}, "task.length=2,4", "task.length must be one value, at which the search begins, got 2,4"),
        ({}, "task.length=2.5", "task.length must be a whole number from 2 to 8, got 2.5"),
        ({"keys": ["task.delay"]}, "seed=0", "sweep.search.keys must name one key of every row, got 0 in"),
        ({"share": 2.0}, "seed=0", "sweep.search.share must be > 0 and <= 1, got 2.0"),
        ({"most": "many"}, "seed=0", "sweep.search.most must be an integer, got 'many'"),
    ],
)
def test_bad_input(bench: Bench, tmp_path: Path, search: dict[str, Any], override: str, message: str):
    done = bench.run(*experiment(tmp_path, **search), override)
    assert_one_line(done, "run", message)
    assert not bench.results.exists()


def test_settings_that_would_move_with_the_search(bench: Bench, tmp_path: Path):
    sweep = {
        "rows": [{"task": "adding_problem", "task.length": 2}],
        "settings": [{"when": {"task.length": 2}, "set": {"optimizer.lr": 0.1}}],
        "search": SEARCH,
    }
    done = bench.run(*own_experiment(tmp_path, sweep))
    assert_one_line(done, "run", "sweep.settings must not look at what is searched over, got task.length")
