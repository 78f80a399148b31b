"""Runs at a prompt or in a notebook: the published ones, and what is damaged."""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bench
from bench.records.read import find_records, read_curves, read_probe, read_record
from bench.records.series import PROBES
from bench.report.tables.render import render
from tests.conftest import ROOT, page

DEMO = ROOT / "results" / "demo" / "runs"
HORIZON = ROOT / "results" / "published" / "runs" / "horizon"


@pytest.fixture(scope="module")
def runs() -> bench.Runs:
    return bench.load(DEMO)


class TestImport:
    def test_it_is_light(self):
        reading, training = {"pandas", "pyarrow", "numpy", "matplotlib", "yaml"}, {"torch", "lightning", "hydra"}
        code = (
            f"import sys, bench; assert not {reading | training} & set(sys.modules);"
            f"bench.table; bench.load; assert not {training} & set(sys.modules);"
            "bench.Cell; assert 'torch' in sys.modules"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")

    def test_every_name_is_what_its_module_calls_so(self):
        assert set(bench.__all__) <= set(dir(bench))
        for name in bench.__all__:
            assert getattr(bench, name).__name__ == name
        with pytest.raises(AttributeError, match="module 'bench' has no attribute 'lod'"):
            bench.lod  # noqa: B018  # type: ignore[attr-defined]


class TestFrame:
    def test_a_row_a_run_with_what_its_record_says(self, runs: bench.Runs):
        frame = runs.frame().set_index("run")
        folders = {folder.name: folder for folder in find_records(DEMO)}
        assert len(runs) == len(frame) == len(folders) == 18
        for run_id, folder in folders.items():
            made, row = read_record(folder), frame.loc[run_id]
            assert (row["task"], row["cell"], row["seed"]) == (made.task, made.cell, made.seed)
            assert (row["experiment"], row["status"], row["solved"]) == ("demo", "completed", made.solved)
            assert (row["steps_to_solve"] if made.solved else None) == made.steps_to_solve
            assert math.isnan(row["steps_to_solve"]) == (not made.solved)
            settings = (row["optimizer.lr"], row["training.max_steps"])
            assert settings == ((0.005, 3000) if made.task == "adding_problem" else (0.012, 5000))
            assert row[f"test.{made.task_facts['metric']}"] == made.metrics["test"][made.task_facts["metric"]]
            assert row["eval.loss"] == made.metrics["eval"]["loss"]
            assert (row["parameters"], row["engine"]) == (made.model["parameters"], made.model["engine"])
            assert row["wall_seconds"] == made.time["wall_seconds"]
        adding = frame[frame["task"] == "adding_problem"].groupby("cell")
        assert adding["reach_untrained"].median().to_dict() == {"gru": 9, "lstm": 24, "rnn": 7}
        assert adding["reach_trained"].median().to_dict() == {"gru": 99, "lstm": 99, "rnn": 3}
        assert adding["rate_trained"].median().round(3).to_dict() == {"gru": 0.011, "lstm": 0.019, "rnn": -0.433}

    def test_no_run_is_an_empty_frame(self, runs: bench.Runs):
        nothing = runs[:0]
        assert (len(nothing), len(nothing.frame()), repr(nothing)) == (0, 0, "0 runs")
        for frame in (nothing.frame(), nothing.curves(), nothing.flow()):
            assert list(frame.columns)[:4] == ["run", "task", "cell", "seed"]

    @pytest.mark.parametrize("name", ["curves", *PROBES])
    def test_tables_below_each_other_with_their_runs_in_front(self, runs: bench.Runs, name: str):
        chosen = runs.where(cell=["gru", "lstm"], seed=1)
        frame = getattr(chosen, name)()
        assert list(frame.columns)[:4] == ["run", "task", "cell", "seed"]
        assert list(frame["run"].unique()) == [run.run_id for run in chosen]
        for run in chosen:
            table = read_curves(run.folder) if name == "curves" else read_probe(run.folder, name).drop_columns("run")
            mine = frame[frame["run"] == run.run_id].reset_index(drop=True)
            assert set(zip(mine["task"], mine["cell"], mine["seed"], strict=True)) == {(run.task, run.cell, 1)}
            pd.testing.assert_frame_equal(mine[table.column_names], table.to_pandas(), check_dtype=False)


class TestWhere:
    def test_values_are_compared_as_overrides_are(self):
        runs = bench.load(HORIZON)
        assert len(runs.where(cell="lstm")) == 25
        chosen = runs.where({"task.length": [100, "2e2", 400.0]}, cell=["lstm", "gru"], seed=range(2))
        assert len(chosen) == 3 * 2 * 2
        assert {run.record.config["task"]["length"] for run in chosen} == {100, 200, 400}
        assert len(chosen.where(status="completed")) == 12
        assert len(chosen.where(status="failed")) == 0

    def test_a_key_that_there_is_not(self, runs: bench.Runs):
        with pytest.raises(ValueError, match=r"^`where` must name one of .*, got 'tsk', did you mean task\?$"):
            runs.where(tsk="adding_problem")

    def test_one_run_and_several(self, runs: bench.Runs):
        assert isinstance(runs[0], bench.Run)
        assert [run.run_id for run in runs[2:4]] == [run.run_id for run in list(runs)[2:4]]


class TestShown:
    def test_a_line_for_each_task_and_cell(self, runs: bench.Runs):
        title, header, *lines = repr(runs).splitlines()
        assert title == "18 runs"
        assert header.split() == ["experiment", "task", "cell", "runs", "solved", "status"]
        assert [line.split() for line in lines][:2] == [
            ["demo", "adding_problem", "gru", "3", "3", "3", "completed"],
            ["demo", "adding_problem", "lstm", "3", "3", "3", "completed"],
        ]
        html = runs._repr_html_()
        assert html.startswith("<p>18 runs</p><table")
        assert (html.count("<tr>"), html.count("<td>")) == (len(lines), 6 * len(lines))

    def test_the_forms_of_a_table_are_those_of_the_command(self, runs: bench.Runs):
        made = bench.table(runs)
        forms = {"markdown": made.to_markdown(), "latex": made.to_latex(), "html": made.to_html(), "csv": made.to_csv(),
                 "terminal": str(made)}  # fmt: skip
        assert {form: render(runs, form) for form in forms} == forms
        assert repr(made) == str(made)
        assert made._repr_html_().startswith("<table>")
        assert made._repr_html_() in made.to_html()

    def test_what_it_shows_is_asked_for_by_name(self, runs: bench.Runs):
        where = {"task": "adding_problem", "task.length": [100]}
        made = bench.table(runs, where=where, rows="task.length", metrics="mse", compare=True)
        assert re.search(r"^adding_problem +0\.169 +0\.00197 +0\.00139$", str(made), re.M)
        for text in (str(made), made.to_markdown(), made._repr_html_()):
            assert text.count("Tests between columns.") == 1
        assert "Tests between columns." not in made.to_csv()
        assert bench.table(bench.load(HORIZON), "horizon").table.spec.title != ""

    def test_a_table_for_a_paper(self, runs: bench.Runs):
        made = bench.table(
            runs, metrics="mse", names={"lstm": "LSTM"}, caption="C.", label="tab:a", notes="none", width=1
        )
        text = made.to_latex(standalone=True)
        assert text.startswith(r"\documentclass[twocolumn]{article}")
        assert "\\caption{C.}\\label{tab:a}" in text
        assert "task & rnn & LSTM & gru" in text
        with pytest.raises(ValueError, match="`name` must be that of a cell"):
            bench.table(runs, names={"lstn": "LSTM"})

    @pytest.mark.parametrize(
        ("asked", "message"),
        [
            ({"rows": "task.lenth"}, "got 'task.lenth', did you mean task.length?"),
            ({"metrics": ["mse", "recal"]}, "got 'recal', did you mean recall?"),
            ({"where": {"cell": "elman"}}, "`where` must leave at least one run, got cell=elman"),
            ({"metrics": "parameters", "compare": True}, "must be one that is better higher or lower to be compared"),
            ({"published": True}, "`published` must have runs of a paper's protocol"),
            ({"spec": "horizn"}, "got 'horizn', did you mean horizon?"),
        ],
    )
    def test_what_means_nothing(self, runs: bench.Runs, asked: dict[str, object], message: str):
        with pytest.raises(ValueError, match=re.escape(message)):
            bench.table(runs, **asked)  # type: ignore[arg-type]


class TestDamage:
    @pytest.fixture
    def folders(self, tmp_path: Path) -> list[Path]:
        shutil.copytree(DEMO / "copy_memory" / "rnn", tmp_path / "copy_memory" / "rnn")
        return find_records(tmp_path)

    def test_a_record_is_warned_of_once_and_kept(self, folders: list[Path], tmp_path: Path):
        (folders[0] / "record.json").write_text("{")
        with pytest.warns(bench.DamagedRecordWarning, match=r"record\.json: not a readable record") as said:
            runs = bench.load(tmp_path)
        assert [str(each.message) for each in said] == [str(error) for error in runs.damaged]
        assert (len(runs), len(runs.damaged)) == (2, 1)
        assert repr(runs).startswith("2 runs, 1 damaged\n")
        assert len(runs.where(cell="rnn").damaged) == 1

    def test_a_run_without_its_flow_has_no_reach(self, folders: list[Path], tmp_path: Path):
        (folders[1] / "flow.parquet").write_bytes(b"PAR1")
        with pytest.warns(bench.DamagedRecordWarning, match=r"flow\.parquet: not readable"):
            runs = bench.load(tmp_path)
        assert runs.frame()["reach_trained"].isna().tolist() == [False, True, False]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            flow = runs.flow()
        assert list(flow["run"].unique()) == [folders[0].name, folders[2].name]

    def test_a_run_without_its_curves_is_left_out_of_them(self, folders: list[Path], tmp_path: Path):
        (folders[2] / "curves.parquet").unlink()
        runs = bench.load(tmp_path)
        with pytest.warns(bench.DamagedRecordWarning, match=r"curves\.parquet") as said:
            curves = runs.curves()
        assert len(said) == 1
        assert list(curves["run"].unique()) == [folders[0].name, folders[1].name]
        assert len(runs.damaged) == 1
        assert np.isnan(curves["eval_recall"]).any()

    def test_no_record_at_all(self, tmp_path: Path):
        with pytest.raises(ValueError, match=f"^`folder` must hold records, found none below '{tmp_path}'$"):
            bench.load(tmp_path)


def test_the_notebook_says_what_the_records_say():
    done = subprocess.run(
        [sys.executable, "-W", "error", "docs/notebook.py"],
        cwd=ROOT, env={**os.environ, "MPLBACKEND": "agg"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    made = [read_record(folder) for folder in find_records(HORIZON)]
    assert done.stdout.startswith(f"{len(made)} runs\n")
    for length in (25, 50, 100, 200, 400):
        solved = [[each.solved for each in made if (each.cell, each.task_facts["length"]) == (cell, length)]
                  for cell in ("gru", "lstm", "rnn")]  # fmt: skip
        shares = " +".join(str(statistics.fmean(each)) for each in solved)
        assert re.search(rf"^{length} +{shares}$", done.stdout, re.M)
    assert re.search(r"^gru +7\.0 +99\.0$", done.stdout, re.M)
    assert re.search(r"^length=400 \[e\]", done.stdout, re.M)
    steps = sorted(each.steps_to_solve or 0 for each in made
                   if (each.cell, each.task_facts["length"]) == ("gru", 400))  # fmt: skip
    assert re.search(rf"^adding_problem +>4000 +>4000 +{steps[2]}\nlength=400", done.stdout, re.M)


def test_what_the_documentation_says_to_type(monkeypatch: pytest.MonkeyPatch):
    (code,) = re.findall(r"```python\n(.*?)```", page("results.md"), re.DOTALL)
    monkeypatch.chdir(ROOT)
    printed = io.StringIO()
    names: dict[str, object] = {}
    with contextlib.redirect_stdout(printed):
        exec(code, names)
    assert re.search(r"^gru +500\.0 +0\.0013[89]\d* +99\.0$", printed.getvalue(), re.M)
    assert len(names["frame"]) == 6  # type: ignore[arg-type]
    assert set(names["flow"]["cell"]) == {"lstm", "gru"}  # type: ignore[index]
    assert "| **0.00139" not in printed.getvalue()
    assert "Tests between columns." in printed.getvalue()
