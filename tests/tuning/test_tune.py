"""``bench tune`` from the command line to the records: fair trials, fresh seeds, and what it survives and refuses."""

from __future__ import annotations

import csv
import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.cells.gru import GRUCell
from bench.mirror.entry import entry_of
from bench.records.read import find_records
from bench.records.record import Record
from bench.tuning.trials import score_of
from tests.conftest import Bench, Outcome, assert_one_line, own_experiment, results_of, wait_for
from tests.processes import Process
from tests.records_made import make

SPACE: dict[str, Any] = {
    "every": {"optimizer.lr": {"low": 1e-2, "high": 1e-1, "scale": "log"}},
    "cells": {"lstm": {"cell.forget_bias": [0.0, 1.0]}},
}
TUNE: dict[str, Any] = {
    "space": "own", "trials": 3, "seeds": [10, 11], "sampler": "random", "per_round": 2, "prune": False, "score": None,
}  # fmt: skip
TINY = ("data.test_size=8", "runtime.threads=1", "trainer=cpu", "probe=none")
# Of two steps each, some settings learn something within these, and some nothing.
EASY = ("model.hidden_size=8", "data.batch_size=32", "data.eval_size=64", "training.max_steps=40",
        "training.eval_every=10", "training.stop_when_solved=false")  # fmt: skip


def tuning(folder: Path, *, content: Any = SPACE, cells: str = "gru,lstm", **change: Any) -> list[str]:
    """Return words that tune cells on adding at a length of 2."""
    sweep = {"rows": [{"task": "adding_problem", "task.length": 2}], "tune": TUNE | change}
    params = {"hydra": {"mode": "MULTIRUN", "sweeper": {"params": {"cell": cells, "seed": "0,1"}}}}
    words = own_experiment(folder, sweep, **params)
    (folder / "mine" / "space").mkdir(exist_ok=True)
    (folder / "mine" / "space" / "own.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return [*words, *EASY]


def tune(bench: Bench, *words: str) -> Outcome:
    return bench.call("tune", *TINY, f"results_dir={bench.results}", *words)


def trials_of(bench: Bench) -> list[dict[str, str]]:
    return list(csv.DictReader((bench.results / "runs" / "own-trials" / "trials.csv").read_text().splitlines()))


def by_experiment(bench: Bench) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for made in bench.records():
        found.setdefault(made.experiment, []).append(made)
    return found


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {"folder": tmp_path_factory.mktemp("tuned")}


@pytest.fixture
def whole(bench: Bench, tuned: dict[str, Any]) -> tuple[Bench, list[str], Outcome]:
    """A tuning that was made once for all tests that look at one, in a copy of theirs."""
    folder = tuned["folder"]
    words = tuning(folder)
    if "outcome" not in tuned:
        first = Bench(folder / "results", bench.call, bench.shared)
        tuned["outcome"] = tune(first, *words)
    shutil.copytree(folder / "results", bench.results)
    return bench, words, tuned["outcome"]


def test_equal_trials_and_then_fresh_seeds(whole: tuple[Bench, list[str], Outcome]):
    bench, _, outcome = whole
    assert (outcome.code, outcome.err) == (0, "")
    made = by_experiment(bench)
    assert {name: len(records) for name, records in made.items()} == {"own-trials": 12, "own-tuned3": 4}
    assert Counter((each.cell, each.seed) for each in made["own-trials"]) == {
        (cell, seed): 3 for cell in ("gru", "lstm") for seed in (10, 11)
    }
    assert {each.seed for each in made["own-tuned3"]} == {0, 1}
    assert {each.steps for each in bench.records()} == {40}
    # The best setting is that of the best mean over the seeds of a trial, on the evaluation set.
    for cell in ("gru", "lstm"):
        scores: dict[float, list[float]] = {}
        for each in made["own-trials"]:
            if each.cell == cell:
                value = each.metrics["eval"]["mse"]
                assert value is not None
                scores.setdefault(each.config["optimizer"]["lr"], []).append(min(value, 1 / 6))
        best = min(scores, key=lambda lr: sum(scores[lr]))
        assert {each.config["optimizer"]["lr"] for each in made["own-tuned3"] if each.cell == cell} == {best}
        assert f"own {cell}" not in outcome.out
        assert f"  adding_problem length=2 {cell}: {sum(scores[best]) / 2:.4g} (trial " in outcome.out
    # Each cell has seen the same learning rates.
    rates = {cell: {row["optimizer.lr"] for row in trials_of(bench) if row["cell"] == cell} for cell in ("gru", "lstm")}
    assert rates["gru"] == rates["lstm"]
    assert len(rates["gru"]) == 3


def test_trials_are_ordinary_runs(whole: tuple[Bench, list[str], Outcome]):
    bench, words, _ = whole
    trial = by_experiment(bench)["own-trials"][0]
    assert (trial.config["tuning"]["role"], entry_of(trial, {}).group) == ("trial", "own-trials")
    status = bench.call("status", str(bench.results)).out.splitlines()
    assert [line.split()[:3] for line in status[1:]] == [["own-trials", "12", "12"], ["own-tuned3", "4", "4"]]
    assert bench.call("replay", str(bench.folder(trial)), f"--config-dir={words[0].partition('=')[2]}").code == 0
    # The command of the record makes the run where it is.
    folder = bench.folder(trial)
    shutil.rmtree(folder)
    assert f" seed={trial.seed}" in trial.command
    words = [f"results_dir={bench.results}" if word.startswith("results_dir=") else word
             for word in trial.command.split()[1:]]  # fmt: skip
    done = bench.call(*words)
    assert done.code == 0, done.err
    assert (folder / "record.json").is_file()


def test_the_table_says_how_many_trials_there_were(whole: tuple[Bench, list[str], Outcome]):
    bench, *_ = whole
    text = " ".join(bench.call("table", str(bench.results / "runs" / "own-tuned3"), "--rows=task").out.split())
    assert "In own-tuned3, each cell on each task has the best of 3 trials (random, 2 seeds each); these runs " in text
    assert "+experiment=own" in text
    assert "tuning.trials=3" in text
    trials = bench.call("table", str(bench.results / "runs" / "own-trials"), "--rows=task", "--mixed").out
    assert "has the best of" not in trials


def test_the_same_command_makes_nothing_and_more_trials_go_on(whole: tuple[Bench, list[str], Outcome]):
    bench, words, outcome = whole
    before = {folder: (folder / "record.json").stat().st_mtime_ns for folder in find_records(bench.results)}
    journal = (bench.results / "runs" / "own-trials" / "journal.log").read_bytes()
    again = tune(bench, *words)
    assert (again.code, again.out.splitlines()[-5:-2]) == (0, outcome.out.splitlines()[-5:-2])
    assert "4 of 4 runs are there already, 0 to do" in again.out
    assert (bench.results / "runs" / "own-trials" / "journal.log").read_bytes() == journal
    first = trials_of(bench)
    more = tune(bench, *words, "sweep.tune.trials=4", "cell=gru")
    assert (more.code, more.err) == (0, "")
    # What this command was not about stays.
    assert [row for row in trials_of(bench) if row["trial"] != "3"] == first
    assert {folder: (folder / "record.json").stat().st_mtime_ns for folder in before} == before
    assert len(by_experiment(bench)["own-trials"]) == 14
    assert len(by_experiment(bench)["own-tuned4"]) == 2


def test_a_preview_trains_and_writes_nothing(whole: tuple[Bench, list[str], Outcome], tmp_path: Path):
    bench, words, _ = whole
    fresh = bench.beside("fresh")
    done = tune(fresh, *words, "--plan")
    assert (done.code, done.err, fresh.results.exists()) == (0, "", False)
    lines = done.out.splitlines()
    assert lines[:3] == [
        "adding_problem length=2 gru: 0 of 3 trials have ended; optimizer.lr: 0.01..0.1 log",
        "adding_problem length=2 lstm: 0 of 3 trials have ended; optimizer.lr: 0.01..0.1 log; "
        "cell.forget_bias: 0.0,1.0",
        "2 seeds a trial, then 2 fresh ones; 40 steps a run; 16 runs to do, 1 at once",
    ]
    assert lines[3].startswith("about 0:")
    before = sorted(path.name for path in bench.results.rglob("*"))
    assert "gru: 3 of 3 trials have ended; " in tune(bench, *words, "--dry-run").out
    assert sorted(path.name for path in bench.results.rglob("*")) == before


@pytest.mark.long_run
def test_a_setting_whose_runs_fail_is_a_trial(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    update, failing = GRUCell.update, []

    def fails(self: GRUCell, *given: Any) -> Any:
        if failing:
            raise RuntimeError("no such luck")
        return update(self, *given)

    monkeypatch.setattr(GRUCell, "update", fails)
    words = [*tuning(tmp_path, cells="gru", trials=2, per_round=1, seeds=[5]), "model.engine=stepwise"]
    failing.append(True)
    told = lambda candidates, *_: failing.clear() if has_failed(candidates) else ""  # noqa: E731
    monkeypatch.setattr("bench.runs.tuning.progress", told)
    done = tune(bench, *words)
    assert done.code == 1
    assert "bench tune: adding_problem length=2 gru seed=5 has no result, see" in done.err
    rows = trials_of(bench)
    found = [(row["state"], row["score"] != "", row["seeds"]) for row in rows]
    assert found == [("failed", False, "0"), ("complete", True, "1")]
    rates = {each.config["optimizer"]["lr"] for each in by_experiment(bench)["own-tuned2"]}
    assert rates == {float(rows[1]["optimizer.lr"])}


def has_failed(candidates: Any) -> bool:
    return any(each.state == "failed" for candidate in candidates for each in candidate.trials)


@pytest.mark.long_run
def test_pruned_trials_get_no_further_seeds(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("bench.tuning.journal.LEAST_BEFORE_PRUNING", 2)
    done = tune(bench, *tuning(tmp_path, cells="gru", trials=4, prune=True))
    assert (done.code, done.err) == (0, "")
    rows = trials_of(bench)
    pruned = [row for row in rows if row["state"] == "pruned"]
    assert pruned
    assert {row["seeds"] for row in pruned} == {"1"}
    assert len(by_experiment(bench)["own-trials"]) == 8 - len(pruned)
    # The first round is what later trials are set beside.
    assert all(int(row["trial"]) >= 2 for row in pruned)
    assert all(float(row["score"]) > min(float(each["score"]) for each in rows) for row in pruned)


def test_two_processes_of_which_one_is_killed(whole: tuple[Bench, list[str], Outcome], tmp_path: Path):
    """They share the journal and the runs, and what comes out is what one process alone makes."""
    bench, words, _ = whole
    shared = tmp_path / "shared"
    words = [*TINY, f"results_dir={shared}", *words, "cell=gru", "sweep.tune.trials=2"]
    first, second = Process("tune", *words), Process("tune", *words)
    wait_for(lambda: shared.exists() and len(find_records(shared)) >= 1)
    first.kill()
    assert first.wait() == -signal.SIGKILL
    _, err = second.communicate()
    assert second.wait() == 0, err
    ours, theirs = results_of(bench.results), results_of(shared)
    trials = [row["runs"].split() for row in trials_of(bench) if row["cell"] == "gru"][:2]
    assert {*theirs} > {each for runs in trials for each in runs}
    assert len(theirs) == 6
    assert all(ours[each] == theirs[each] for runs in trials for each in runs)
    lines = (shared / "runs" / "own-trials" / "trials.csv").read_text().splitlines()
    assert [line.split(",")[3:5] for line in lines[1:]] == [["0", "complete"], ["1", "complete"]]


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"trials": 0}, "", "sweep.tune.trials must be >= 1, got 0"),
    ({"per_round": 0}, "", "sweep.tune.per_round must be >= 1, got 0"),
    ({"seeds": []}, "", "sweep.tune.seeds must be a list of different seeds, got []"),
    ({"seeds": [1, 9]}, "", "sweep.tune.seeds must have none of the experiment's own seeds, got 1"),
    ({"seeds": [9], "prune": True}, "", "sweep.tune.prune must be false where a trial has one seed, got true"),
    ({"sampler": "grid"}, "", "sweep.tune.sampler must be one of random, tpe, got 'grid'"),
    ({"score": "recal"}, "", "sweep.tune.score must be one of loss, mse, within_tolerance, got 'recal'"),
    ({"space": "owm"}, "", "sweep.tune.space must be a file or one of own, standard, got 'owm', did you mean own?"),
    ({"tries": 3}, "", "sweep.tune must have the keys space, trials, seeds, sampler, per_round, prune, score alone"),
    ({}, "rerun=all", "rerun must be failed or none for bench tune, got all"),
    ({}, "optimizer.lr=1", "optimizer.lr must not be on the command line, where space own searches over it"),
    ({}, "cell=grus", "cell must be one of "),
    ({}, "--cfg=job", "takes overrides, --config-dir and --dry-run alone, no other flag"),
]


@pytest.mark.parametrize(("change", "word", "message"), BAD)
def test_what_is_refused(bench: Bench, tmp_path: Path, change: dict[str, Any], word: str, message: str):
    outcome = tune(bench, *tuning(tmp_path, **change), *([word] if word else []))
    assert_one_line(outcome, "tune", message)
    assert not bench.results.exists()


BAD_SPACES: list[tuple[Any, str]] = [
    ({"every": {"optimizer.rate": [1]}},
     "space own, adding_problem gru: optimizer.rate is no setting"),
    ({"every": {"cell.forget_bias": [1.0]}}, "space own, adding_problem gru: cell.forget_bias is no setting"),
    ({"every": {"optimizer.lr": [0.1]}, "cells": {"lsmt": {}}}, "space own: cells must be of one of "),
    ({"every": {"optimizer.lr": {"low": 0.1, "high": 0.01}}},
     "space own: every.optimizer.lr must have a low below its high, both finite, got 0.1 and 0.01"),
    ({"every": {"optimizer.lr": {"low": -0.1, "high": 0.01}}}, "space own, adding_problem gru: optimizer.lr must be "),
    ({"every": {"seed": [1]}}, "space own must have keys of the network and its training, got seed"),
    ({"cells": {"lstm": {"optimizer.lr": [0.1]}}}, "space own must have at least one key for gru, got none"),
]  # fmt: skip


@pytest.mark.parametrize(("space", "message"), BAD_SPACES)
def test_a_space_that_does_not_fit(bench: Bench, tmp_path: Path, space: Any, message: str):
    assert_one_line(tune(bench, *tuning(tmp_path, content=space)), "tune", message)
    assert not bench.results.exists()


def test_a_journal_of_another_tuning(whole: tuple[Bench, list[str], Outcome]):
    bench, words, _ = whole
    before = results_of(bench.results)
    for change, told in (("training.max_steps=41", "training.max_steps=40, got 41"),
                         ("sweep.tune.seeds=[10]", "sweep.tune.seeds=[10, 11], got [10]")):  # fmt: skip
        message = f"{bench.results}/runs/own-trials/journal.log must be the journal of this tuning: "
        outcome = tune(bench, *words, change)
        assert_one_line(outcome, "tune", f"{message}adding_problem length=2 gru was searched with {told}; use another")
    assert results_of(bench.results) == before


def test_what_is_no_tuning(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    message = "sweep.tune must be given by the experiment, as in bench tune +experiment=tuning, got none"
    assert_one_line(tune(bench, "+experiment=demo"), "tune", message)
    assert_one_line(tune(bench, "cell=lstm"), "tune", message)
    settings = [{"when": {"optimizer.lr": 0.1}, "set": {"training.max_steps": 3}}]
    words = own_experiment(tmp_path, {"tune": TUNE | {"space": "standard"}, "settings": settings})
    message = "sweep.settings must not look at what is searched over, got optimizer.lr"
    assert_one_line(tune(bench, *words), "tune", message)
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None)
    assert_one_line(tune(bench, *words), "tune", "Optuna must be installed, pip install 'rnn-bench[tune]'")
    assert not bench.results.exists()


def test_help(bench: Bench):
    for words in ((), ("--help",), ("+experiment=tuning", "-h")):
        outcome = bench.call("tune", *words)
        assert (outcome.code, outcome.err) == (0, "")
        assert outcome.out.startswith("usage: bench tune +experiment=NAME")


def test_a_score_is_no_worse_than_that_of_knowing_nothing():
    scores = [score_of(make(metrics={"eval": {"mse": mse}, "test": {}}), "mse") for mse in (0.1, 0.3, None)]
    assert scores == [0.1, 1 / 6, 1 / 6]
    assert score_of(make(status="diverged", metrics={"eval": {"mse": 0.01}, "test": {}}), "mse") == 1 / 6
    assert score_of(make(status="failed"), "mse") is None
    facts = make().task_facts | {"metric": "recall", "higher_is_better": True, "baselines": {"recall": 0.125}}
    facts = {key: value for key, value in facts.items() if key != "directions"}
    worse = make(task_facts=facts, metrics={"eval": {"recall": 0.1}, "test": {}})
    assert score_of(worse, "recall") == 0.125
