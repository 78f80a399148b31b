from __future__ import annotations

import csv
import dataclasses
import io
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import tables
from bench.decay import Reach
from bench.layout import arrange
from bench.measured import Journey, read_journeys
from bench.record import Record
from tests.conftest import ROOT, Bench
from tests.test_record import make

GOLDEN = ROOT / "tests" / "golden"


def changed(config: dict[str, Any], **sections: Any) -> dict[str, Any]:
    return config | {name: config[name] | values for name, values in sections.items()}


def run(cell: str, seed: int, mse: float | None = None, solved_at: int | None = None, **changes: Any) -> Record:
    base = make()
    metrics = {"loss": mse, "mse": mse, "within_tolerance": 0.5} if mse is not None else {}
    settings: dict[str, Any] = {
        "run_id": f"{cell}{seed}{changes.get('config', '')}{changes.get('code', '')}{changes.get('task', '')}",
        "cell": cell,
        "seed": seed,
        "config": changed(base.config, cell={"_target_": f"bench.cells.{cell}"}),
        "solved": solved_at is not None,
        "steps_to_solve": solved_at,
        "metrics": {"eval": {}, "test": metrics},
    }
    return make(**(settings | changes))


def copy_run(cell: str, seed: int, recall: float) -> Record:
    base = make()
    return run(
        cell,
        seed,
        task="copy_memory",
        config={**base.config, "task": {"_target_": "tasks.copy_memory.CopyMemory", "delay": 10, "form": "scalar"}},
        metrics={"eval": {}, "test": {"recall": recall, "exact": recall / 10, "loss": 1 - recall}},
        task_facts={
            "metric": "recall",
            "higher_is_better": True,
            "extra_metrics": ["exact", "loss"],
            "length": 30,
            "delay": 10,
            "baselines": {"recall": 0.125, "exact": 0.125**10, "loss": 0.693147},
        },
    )


SWEEP = [
    *[run("rnn", seed, mse) for seed, mse in enumerate([0.1671, 0.1802, 0.1699])],
    *[run("lstm", seed, mse, at) for seed, (mse, at) in enumerate([(0.0012, 900), (0.0031, 1200), (0.15, None)])],
    run("gru", 0, 0.00045, 400),
    run("gru", 1, 0.00051, 500),
    run("gru", 2, status="diverged", reason="loss not finite at step 7"),
    run("gru", 3, status="failed", reason="RuntimeError: no"),
    *[
        copy_run(cell, seed, 0.1 * index + 0.01 * seed)
        for index, cell in enumerate(("rnn", "lstm", "gru"), 1)
        for seed in (0, 1)
    ],
]


def journey(horizons: tuple[int | None, int], rate: float) -> Journey:
    start, end = (Reach(horizon, rate, 1.0, None, None, 0.0) for horizon in horizons)
    return Journey(start, end)


def test_runs_that_differ_in_their_probes_alone_are_one_training():
    base = make()
    probed = {"config": base.config | {"probe": {"enabled": True}}, "run_id": "b"}
    runs = [run("rnn", 0, 0.1, run_id="a"), run("rnn", 0, 0.1, **probed), run("rnn", 1, 0.2, run_id="c")]
    runs[1] = dataclasses.replace(runs[1], config=runs[0].config | {"probe": {"enabled": True}})
    rows, _ = arrange(runs)
    assert [[made.run_id for made in row.runs["rnn"]] for row in rows] == [["b", "c"]]


def test_an_untrained_run_has_no_trained_horizon(bench: Bench):
    made = bench.one("cell=rnn", "cell.nonlinearity=relu", "optimizer=sgd", "optimizer.lr=1e30", "probe=flow",
                     "optimizer.momentum=0", "training.clip_norm=null", "training.max_steps=20")  # fmt: skip
    assert made.status == "diverged"
    (found,) = read_journeys(bench.results)[0].values()
    assert found.start.horizon is not None
    assert found.end is None
    text = bench.call("table", str(bench.results)).out
    assert re.search(r"horizon, trained +-\n", text)
    assert bench.call("figures", str(bench.results)).code == 0


def test_how_far_the_gradient_travels():
    journeys = {
        **{f"rnn{seed}": journey((5, 7 + seed), -0.31) for seed in range(3)},
        "lstm0": journey((None, 99), -0.002),
    }
    runs = [run(cell, seed, 0.1) for cell in ("rnn", "lstm") for seed in range(3)]
    runs = [dataclasses.replace(made, run_id=f"{made.cell}{made.seed}") for made in runs]
    text = tables.render(runs, "terminal", journeys)
    assert max(map(len, text.splitlines())) <= 80
    lines = {line[:18].strip(): line[18:].split() for line in text.splitlines()}
    assert lines["horizon, untrained"] == ["5", "-"]
    assert lines["horizon, trained"] == ["8", "99"]
    assert "[7, 9]" in text
    assert "[99, 99]" in text
    assert lines["decay, trained"] == ["-0.310", "-0.00200"]
    assert "Horizon: the largest probed lag" in text
    (row,) = [
        line for line in csv.DictReader(io.StringIO(tables.render(runs, "csv", journeys))) if line["cell"] == "rnn"
    ]
    assert (row["horizon_start_median"], row["horizon_end_median"]) == ("5.0", "8.0")
    assert (row["decay_start_median"], row["decay_end_median"]) == ("-0.31", "-0.31")


@pytest.mark.parametrize("form", ["terminal", "markdown", "csv", "latex"])
def test_the_text_of_a_table(form: str):
    shuffled = random.Random(0).sample(SWEEP, len(SWEEP))
    assert tables.render(shuffled, form, {}) == (GOLDEN / f"table.{form}.txt").read_text()


def test_the_terminal_has_80_columns_however_many_cells():
    many = [run(f"a_cell_{i}", seed, 0.1, 12345) for i in range(9) for seed in (0, 1)]
    text = tables.render(many, "terminal", {})
    assert max(map(len, text.splitlines())) <= 80
    assert all(f"a_cell_{i}" in text for i in range(9))


def test_csv_has_the_numbers_in_full():
    lines = list(csv.DictReader(io.StringIO(tables.render(SWEEP, "csv", {}))))
    lstm = next(line for line in lines if (line["task"], line["cell"]) == ("adding_problem", "lstm"))
    assert (lstm["n"], lstm["solved"], lstm["mse_median"], lstm["mse_max"]) == ("3", "2", "0.0031", "0.15")
    gru = next(line for line in lines if (line["task"], line["cell"]) == ("adding_problem", "gru"))
    assert (gru["n"], gru["diverged"], gru["failed"], gru["steps_to_solve_median"]) == ("3", "1", "1", "450.0")


def test_unknown_form():
    with pytest.raises(ValueError, match="`form` must be one of terminal, markdown, csv, latex, got 'word'"):
        tables.render(SWEEP, "word", {})


class TestLayout:
    def test_a_run_that_is_there_twice_counts_once(self):
        rows, _ = arrange([SWEEP[0], SWEEP[0], SWEEP[1]])
        assert len(rows[0].runs["rnn"]) == 2

    def test_cells_that_differ_in_a_setting_get_columns_of_their_own(self):
        base = make().config
        runs = [
            run("lstm", seed, 0.1, config=changed(base, cell={"forget_bias": bias}))
            for seed in (0, 1)
            for bias in (1.0, 5.0)
        ]
        rows, columns = arrange(runs)
        assert columns == ["lstm forget_bias=1", "lstm forget_bias=5"]
        assert [len(members) for members in rows[0].runs.values()] == [2, 2]

    @pytest.mark.parametrize(
        ("changes", "label"),
        [
            ({"task": {"length": 200}}, "length=200"),
            ({"training": {"max_steps": 200}}, "training.max_steps=200"),
            ({"optimizer": {"lr": 0.5}}, "optimizer.lr=0.5"),
            ({"data": {"batch_size": 8}}, "data.batch_size=8"),
        ],
    )
    def test_other_protocols_get_rows_of_their_own(self, changes: dict[str, Any], label: str):
        other = run("gru", 0, 0.2, config=changed(make().config, **changes))
        rows, _ = arrange([run("gru", 0, 0.1, config=make().config), other])
        assert len(rows) == 2
        assert label in rows[1].settings or label in rows[0].settings

    def test_two_versions_of_the_code_are_not_pooled(self):
        """The code all cells share makes rows; each row still holds all cells, whose own files always differ."""
        runs = [
            run(cell, 0, 0.1, code={**make().code, "sources": shared, "cell": f"{cell}'s file"})
            for cell in ("rnn", "gru")
            for shared in ("s1", "s2")
        ]
        rows, columns = arrange(runs)
        assert columns == ["rnn", "gru"]
        assert [row.settings[-1] for row in rows] == ["code=s1", "code=s2"]
        assert [list(row.runs) for row in rows] == [["rnn", "gru"]] * 2
        assert all(row.uneven == {} for row in rows)

    def test_two_versions_of_a_cells_own_file_are_two_columns(self):
        runs = [run("mine", 0, 0.1, code={**make().code, "cell": version}) for version in ("a", "b")]
        rows, columns = arrange([*runs, run("gru", 0, 0.1)])
        assert columns == ["gru", "mine code=a", "mine code=b"]
        assert len(rows) == 1

    def test_a_result_stands_before_a_try_of_the_same_run(self):
        done = run("gru", 0, 0.1)
        tried = run("gru", 0, experiment="other", status="interrupted", run_id=done.run_id)
        for order in ([done, tried], [tried, done]):
            rows, _ = arrange(order)
            assert [each.status for each in rows[0].runs["gru"]] == ["completed"]

    def test_what_differs_only_between_cells_is_a_note(self):
        base = make().config
        runs = [
            run("rnn", 0, 0.1, config=changed(base, model={"hidden_size": 80})),
            run("lstm", 0, 0.1, config=changed(base, model={"hidden_size": 40})),
        ]
        rows, _ = arrange(runs)
        (row,) = rows
        assert row.uneven == {"model.hidden_size": {"rnn": 80, "lstm": 40}}
        text = " ".join(tables.render(runs, "terminal", {}).split())
        assert "model.hidden_size differs between cells: rnn 80, lstm 40." in text

    def test_lengths_sort_as_numbers(self):
        base = make().config
        runs = [run("gru", 0, 0.1, config=changed(base, task={"length": n})) for n in (1000, 25, 200)]
        rows, _ = arrange(runs)
        assert [row.settings for row in rows] == [("length=25",), ("length=200",), ("length=1000",)]


def test_latex_special_characters_are_escaped():
    text = tables.render([run("my_cell", 0, 0.1)], "latex", {})
    assert r"my\_cell" in text
    assert r"adding\_problem" in text
    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
    assert {line.count("&") for line in body if line.endswith(r"\\")} == {3}


def test_no_torch_in_the_process(bench: Bench, tmp_path: Path):
    bench.ready("probe=flow", "task.length=9")
    script = (
        "import sys\nfrom bench import cli\n"
        "try: cli.main(sys.argv[1:])\nexcept SystemExit as stop: assert stop.code == 0\n"
        "loaded = {'torch', 'lightning', 'hydra', 'omegaconf', 'wandb', 'torchmetrics'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    for arguments in (["table", str(bench.results)], ["figures", str(bench.results)], ["--version"]):
        done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_to_a_file(bench: Bench, tmp_path: Path):
    bench.ready()
    output = tmp_path / "table.md"
    outcome = bench.call("table", str(bench.results), "--format=markdown", f"--output={output}")
    assert (outcome.code, outcome.out) == (0, "")
    assert output.read_text() == bench.call("table", str(bench.results), "--format=markdown").out
