"""Experiments with rows and settings: the settings of each run of a table, its command, and the presets of papers."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from bench.config.sweep_grid import SweepGrid
from bench.records import record
from bench.records.read import find_records, read_record
from bench.runs.replay import rebuild
from tests.conftest import ROOT, TINY, Bench, assert_one_line, documented_cell, own_experiment, specs_of

NODE = {
    "rows": [{"task": "copy_memory", "task.delay": [1, 2]}, {"task": "adding_problem", "task.length": 5}],
    "settings": [
        {"when": {"budget": "short"}, "set": {"training.max_steps": 3}},
        {"when": {"budget": "paper"}, "set": {"training.max_steps": 30}},
        {"when": {"task": "copy_memory"}, "set": {"model.hidden_size": 6, "training.clip_norm": None}},
        {"when": {"task": "copy_memory", "cell": ["rnn", "lstm"]}, "set": {"model.hidden_size": 7}},
        {"when": {"task.delay": 2, "training.stop_when_solved": True}, "set": {"model.hidden_size": 8}},
    ],
}
DEFAULTS = {"budget": "short", "training.stop_when_solved": True}


def values(text: str) -> dict[str, list[str]]:
    """Return values by key, from text such as ``a=1,2 b=3``."""
    return {key: value.split(",") for key, _, value in (word.partition("=") for word in text.split())}


def jobs(given: str = "", params: str = "cell=gru", node: Any = NODE) -> list[dict[str, str]]:
    found = SweepGrid.read(node).jobs(values(params), values(given), DEFAULTS.get)
    return [dict(text.split("=", 1) for text in job) for job in found]


class TestRead:
    def test_none_is_one_row_without_keys(self):
        assert SweepGrid.read(None).jobs({"cell": ["gru", "rnn"]}, {}, DEFAULTS.get) == [["cell=gru"], ["cell=rnn"]]

    def test_keys_and_budgets(self):
        sweep = SweepGrid.read(NODE)
        assert sweep.keys == ["task", "task.delay", "task.length"]
        assert sweep.budgets == ["short", "paper"]

    def test_settings_alone_and_rows_alone(self):
        assert SweepGrid.read({"rows": NODE["rows"]}).budgets == []
        assert SweepGrid.read({"settings": NODE["settings"]}).keys == []

    @pytest.mark.parametrize(
        ("node", "message"),
        [
            (3, "`sweep` must be a mapping with rows, settings, search, tune, got 3"),
            ([], "`sweep` must be a mapping with rows, settings, search, tune, got []"),
            ({"row": []}, "`sweep` must have the keys rows, settings, search, tune alone, got 'row', did you mean"),
            ({1: []}, "`sweep` must have texts as keys, got {1: []}"),
            ({"rows": []}, "`sweep.rows` must be a list of at least one row, got []"),
            ({"rows": None}, "`sweep.rows` must be a list of at least one row, got null"),
            (
                {"rows": {"task": "x"}},
                "`sweep.rows` must be a list of at least one row, got {'task': 'x'}",
            ),
            ({"rows": ["task"]}, "`sweep.rows[0]` must be a mapping, got 'task'"),
            ({"rows": [{"task.length": []}]}, "`sweep.rows` must have a value for every key, got {'task.length': []}"),
            (
                {"settings": {"when": {}}},
                "`sweep.settings` must be a list, each item a mapping with when, set, got {'when': {}}",
            ),
            ({"settings": [{"set": {"seed": 1}}]}, "`sweep.settings[0].when` must be a mapping, and is not there"),
            (
                {"settings": [{"when": {}, "set": {}, "else": {}}]},
                "`sweep.settings[0]` must have the keys when, set alone, got 'else'",
            ),
            (
                {"settings": [{"when": "always", "set": {"seed": 1}}]},
                "`sweep.settings[0].when` must be a mapping, got 'always'",
            ),
            (
                {"settings": [{"when": {}, "set": None}]},
                "`sweep.settings[0].set` must be a mapping, got null",
            ),
            (
                {"settings": [{"when": {"seed": 1}, "set": {"optimizer": "sgd"}},
                              {"when": {"optimizer.lr": 1.0}, "set": {"model.layers": 2}}]},
                "`sweep.settings` must not set what a `when` looks at, got optimizer",
            ),
        ],
    )  # fmt: skip
    def test_another_form_is_one_line(self, node: Any, message: str):
        with pytest.raises(ValueError, match=r".") as caught:
            SweepGrid.read(node)
        assert str(caught.value).startswith(message)
        assert "\n" not in str(caught.value)

    def test_a_long_node_is_cut(self):
        with pytest.raises(ValueError, match=r".") as caught:
            SweepGrid.read({"rows": "long" * 1000})
        assert len(str(caught.value)) < 200


class TestJobs:
    def test_every_row_with_all_params(self):
        found = jobs(params="cell=gru,rnn seed=0,1")
        assert [(job["task"], job.get("task.delay"), job.get("task.length"), job["cell"], job["seed"])
                for job in found] == [
            (*row, cell, seed)
            for row in (("copy_memory", "1", None), ("copy_memory", "2", None), ("adding_problem", None, "5"))
            for cell in ("gru", "rnn") for seed in ("0", "1")
        ]  # fmt: skip

    def test_settings_where_all_of_when_holds_and_a_later_one_wins(self):
        sizes = {
            (job["cell"], job.get("task.delay")): job.get("model.hidden_size") for job in jobs(params="cell=gru,rnn")
        }
        assert sizes == {
            ("gru", "1"): "6", ("gru", "2"): "8", ("rnn", "1"): "7", ("rnn", "2"): "8",
            ("gru", None): None, ("rnn", None): None,
        }  # fmt: skip
        assert [job.get("training.clip_norm") for job in jobs()] == ["null", "null", None]

    def test_a_budget_given_or_by_default(self):
        assert {job["training.max_steps"] for job in jobs()} == {"3"}
        assert {job["training.max_steps"] for job in jobs("budget=paper")} == {"30"}
        both = [job["training.max_steps"] for job in jobs("budget=short,paper task=adding_problem")]
        assert both == ["3", "30"]

    def test_a_task_leaves_its_rows(self):
        assert [job["task.length"] for job in jobs("task=adding_problem")] == ["5"]
        assert [job["task"] for job in jobs("task=adding_problem,copy_memory")] == [
            "copy_memory", "copy_memory", "adding_problem"
        ]  # fmt: skip
        with pytest.raises(ValueError, match=r"`task` must be one of .*, copy_memory, adding_problem, got nope"):
            jobs("task=nope")

    def test_a_value_of_one_row_leaves_that_row(self):
        node = {"rows": [{"task.delay": [1, 2], "model.layers": 2}, {"task.delay": [3, 4]}]}
        assert jobs("task.delay=3", node=node) == [{"task.delay": "3", "cell": "gru"}]
        assert [job["task.delay"] for job in jobs("task.delay=2,4", node=node)] == ["2", "4"]

    def test_a_value_of_no_row_takes_the_place_of_theirs(self):
        assert [(job["task"], job["task.delay"]) for job in jobs("task.delay=9")] == [("copy_memory", "9")]
        assert [job["task.delay"] for job in jobs("task.delay=9,2")] == ["9", "2"]
        one_row_twice = {"rows": [{"task.delay": [1, 2]}, {"task.delay": 3}]}
        assert [job["task.delay"] for job in jobs("task.delay=9", node=one_row_twice)] == ["9"]

    def test_rows_without_a_given_key_are_left_out(self):
        assert {job["task"] for job in jobs("task.length=5,6")} == {"adding_problem"}
        # A key that none of the rows left has is a setting like any other.
        assert [job["task.length"] for job in jobs("task=copy_memory task.length=7")] == ["7"] * len(
            jobs("task=copy_memory")
        )

    def test_command_line_over_row_over_settings_over_params(self):
        node = {
            "rows": [{"model.layers": 2}],
            "settings": [{"when": {}, "set": {"model.layers": 3, "model.hidden_size": 3, "seed": 3}}],
        }
        (job,) = jobs("model.hidden_size=1", "model.hidden_size=2 seed=2 cell=gru", node)
        assert job == {"model.layers": "2", "model.hidden_size": "1", "seed": "3", "cell": "gru"}

    def test_a_plus_in_front_of_a_key_makes_no_difference(self):
        (job,) = jobs("++training.max_steps=9 ++task.length=5 +extra=1")
        assert (job["training.max_steps"], job["task.length"], job["+extra"]) == ("9", "5", "1")
        assert not any(key.startswith("++") for key in job)

    def test_the_experiment_comes_first(self):
        assert next(iter(jobs("cell=rnn +experiment=own")[0])) == "+experiment"


class TestAsked:
    @pytest.mark.parametrize("given", ["", "budget=paper", "model.hidden_size=9", "task.delay=2", "task.delay=9"])
    def test_exactly_what_settings_add_is_left_out(self, given: str):
        sweep = SweepGrid.read(NODE)
        without = SweepGrid.read({"rows": NODE["rows"]})
        arguments = values("cell=gru,rnn"), values(given), DEFAULTS.get
        asked = [sweep.asked(job, DEFAULTS.get) for job in sweep.jobs(*arguments)]
        assert asked == without.jobs(*arguments)

    def test_asking_again_adds_the_same(self):
        sweep = SweepGrid.read(NODE)
        for job in sweep.jobs(values("cell=gru,rnn"), {}, DEFAULTS.get):
            again = sweep.jobs(values("cell=gru,rnn"), values(" ".join(sweep.asked(job, DEFAULTS.get))), DEFAULTS.get)
            assert [set(each) for each in again] == [set(job)]

    def test_a_rows_value_stays_though_a_setting_has_it_too(self):
        node = {
            "rows": [{"model.layers": [1, 2]}, {"task.length": 5}],
            "settings": [{"when": {}, "set": {"model.layers": 2}}],
        }
        sweep = SweepGrid.read(node)
        asked = [sweep.asked(job, DEFAULTS.get) for job in sweep.jobs({}, {}, DEFAULTS.get)]
        assert asked == [["model.layers=1"], ["model.layers=2"], ["task.length=5"]]

    def test_row_of_has_values_without_sections_and_no_choices(self):
        sweep = SweepGrid.read(NODE)
        assert sweep.row_of(["task=copy_memory", "task.delay=2", "cell=gru", "seed=3"]) == ["delay=2"]
        assert SweepGrid.read(None).row_of(["task.delay=2"]) == []


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({"rows": []}, "sweep.rows must be a list of at least one row, got []"),
        ({"rows": [{"task.length": "${nothing}"}]}, "Interpolation key 'nothing' not found"),
        ({"rows": [{"task.lenght": 5}]}, "task.lenght is no setting, did you mean task.length?"),
        ({"rows": [{"task.length": {"a": 5}}]}, ""),
        ({"rows": [{"task.length": "long"}]}, "task.length must be an integer, got 'long'"),
        ({"rows": [{5: 5}]}, "sweep.rows[0] must have texts as keys, got {5: 5}"),
        ({"settings": [{"when": {"seed": 0}}]}, "sweep.settings[0].set must be a mapping, and is not there"),
        ({"settings": [{"when": {}, "set": {"model.size": 1}}]}, "model.size is no setting"),
    ],
)
def test_a_malformed_experiment_of_ones_own(bench: Bench, tmp_path: Path, sweep: Any, message: str):
    outcome = bench.run(*own_experiment(tmp_path, sweep))
    assert_one_line(outcome, "run", message)
    assert outcome.code == 2
    assert len(outcome.err) < 600
    assert not bench.results.exists()


def test_a_budget_where_the_experiment_has_rows_alone(bench: Bench, tmp_path: Path):
    outcome = bench.run(*own_experiment(tmp_path, {"rows": [{"task.length": 5}]}), "budget=short")
    assert_one_line(outcome, "run", "budget must be null where no experiment has budgets, got short")


def test_a_choice_by_default_is_one_that_when_sees(bench: Bench, tmp_path: Path):
    """The task is chosen neither in a row nor on the command line."""
    setting = {"when": {"task": "adding_problem", "optimizer": "adam"}, "set": {"task.length": 7}}
    (spec,) = specs_of(*own_experiment(tmp_path, {"settings": [setting]}), "cell=rnn", *TINY)
    assert spec.task.length == 7
    assert "task.length=7" not in spec.asked


OWN = {
    "rows": [{"task": "adding_problem", "task.length": 12}, {"task": "copy_memory", "task.delay": 3}],
    "settings": [
        {"when": {"cell": "lstm"}, "set": {"cell.forget_bias": 2.0, "optimizer.betas": [0.5, 0.9]}},
        {"when": {"cell": "rnn"}, "set": {"training.clip_norm": None}},
        {"when": {"budget": "short"}, "set": {"training.max_steps": 4}},
        {"when": {"budget": "paper", "task": "copy_memory"}, "set": {"training.max_steps": 8}},
        {"when": {"budget": "paper", "task": "adding_problem"}, "set": {"training.max_steps": 6}},
    ],
}
CELLS = {"hydra": {"mode": "MULTIRUN", "sweeper": {"params": {"cell": "rnn,lstm"}}}}
FEW = [text for text in TINY if not text.startswith("training.max_steps")]


def test_a_sweep_over_rows(bench: Bench, tmp_path: Path):
    words = [*own_experiment(tmp_path, OWN, **CELLS, budget="short"), *FEW, "launcher=serial"]
    first = bench.call("run", *words, f"results_dir={bench.results}")
    assert first.code == 0, first.err
    assert first.out.splitlines()[0].startswith("0 of 4 runs are there already, 4 to do")
    assert "] adding_problem length=12 lstm seed=0: unsolved at step 4" in first.out
    assert "] copy_memory delay=3 rnn seed=0: unsolved at step 4" in first.out
    made = {(each.task, each.cell): each for each in bench.records()}
    assert made.keys() == {(task, cell) for task in ("adding_problem", "copy_memory") for cell in ("rnn", "lstm")}
    for (_, cell), each in made.items():
        assert each.config["budget"] == "short"
        assert "sweep" not in each.config
        assert each.steps == 4
        assert each.config["training"]["clip_norm"] == (None if cell == "rnn" else 1.0)
        assert each.config["optimizer"]["betas"] == ([0.9, 0.999] if cell == "rnn" else [0.5, 0.9])
        for text in ("max_steps", "clip_norm=", "betas", "forget_bias"):
            assert text not in each.command
    assert made["copy_memory", "lstm"].config["cell"]["forget_bias"] == 2.0
    assert made["copy_memory", "lstm"].config["task"]["delay"] == 3

    elsewhere = bench.beside("elsewhere")
    one = made["copy_memory", "lstm"]
    again = [word for word in shlex.split(one.command)[1:] if not word.startswith("results_dir=")]
    outcome = bench.call(*again, f"results_dir={elsewhere.results}")
    assert outcome.code == 0, outcome.err
    (other,) = elsewhere.records()
    assert (other.run_id, other.experiment, other.metrics) == (one.run_id, one.experiment, one.metrics)

    replayed = bench.call("replay", str(bench.folder(one)))
    assert (replayed.code, replayed.err) == (0, "")
    assert replayed.out.startswith("equal, bit for bit: 4 steps")


def test_the_other_budget_is_beside_the_first(bench: Bench, tmp_path: Path):
    words = [
        *own_experiment(tmp_path, OWN, **CELLS, budget="short"),
        *FEW,
        "launcher=serial",
        "cell=rnn",
        f"results_dir={bench.results}",
    ]
    assert bench.call("run", *words).code == 0
    assert bench.call("run", *words, "budget=paper").code == 0
    found = {(each.task, each.config["budget"], each.steps) for each in bench.records()}
    assert found == {
        ("adding_problem", "short", 4), ("copy_memory", "short", 4),
        ("adding_problem", "paper", 6), ("copy_memory", "paper", 8),
    }  # fmt: skip
    assert "4 of 4 runs are there already" in bench.call("run", *words, "budget=short,paper").out


def test_a_cell_of_ones_own_in_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = documented_cell(tmp_path / "mine")
    monkeypatch.syspath_prepend(str(folder))
    for preset, rows in (("arjovsky2016", 8), ("le2015", 4), ("bai2018", 11), ("li2018", 3)):
        found = specs_of(f"--config-dir={folder}", f"+experiment={preset}", "cell=mine", "seed=0")
        assert {spec.cell_name for spec in found} == {"mine"}
        assert len({spec.run_id for spec in found}) == len(found) == rows, preset


def test_old_records_still_replay(bench: Bench, tmp_path: Path):
    """Records that were written before there were budgets and rules for the readout lack their keys."""
    folders = sorted(find_records(ROOT / "results" / "published"))
    assert len(folders) >= 147
    for folder in folders[::40]:
        old = read_record(folder)
        model = {key: value for key, value in old.config["model"].items() if key != "readout_init"}
        config = {key: value for key, value in old.config.items() if key != "budget"} | {"model": model}
        spec = rebuild(dataclasses.replace(old, config=config), tmp_path)
        assert (spec.config["budget"], spec.config["model"]["readout_init"]) == (None, "torch")
        assert spec.network.hidden_size == old.model["hidden_size"]


def test_a_record_without_the_new_keys_replays_bit_for_bit(bench: Bench):
    folder = bench.folder(bench.ready("probe=flow"))
    path = folder / record.RECORD_FILE
    content = json.loads(path.read_text())
    del content["config"]["budget"], content["config"]["model"]["readout_init"]
    path.write_text(json.dumps(content))
    outcome = bench.call("replay", str(folder))
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("equal, bit for bit: 6 steps")
