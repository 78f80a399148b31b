"""What a table is to show, from flags or a file, and which runs it chooses."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.analysis import metrics
from bench.analysis.grouping import arrange_by
from bench.analysis.run import Run
from bench.analysis.table import Spec, read_spec, spec_names
from bench.report.tables.render import render
from tests.conftest import DATA_EXPERIMENTS, ROOT, TINY, options, spec_of
from tests.records_made import CONFIG, SWEEP, changed, csv_of, run


def lengths(*values: int, cell: str = "gru", seeds: int = 2, **changes: Any) -> list[Run]:
    return [
        run(cell, seed, 0.1 + seed, config=changed(CONFIG, task={"length": n}, cell={"_target_": cell}), **changes)
        for n in values
        for seed in range(seeds)
    ]


class TestSpec:
    def test_where(self):
        runs = lengths(25, 200, 1000)
        found = csv_of(runs, Spec(where={"task.length": ("200",)}, metrics=("mse",)))
        assert [line["settings"] for line in found.values()] == ["length=200"]
        text = render(runs, "csv", Spec(where={"task.length": ("25", "1e3")}, metrics=("mse",)))
        assert [line["settings"] for line in csv.DictReader(io.StringIO(text))] == ["length=25", "length=1000"]

    def test_rows_columns_and_their_labels(self):
        runs = lengths(1000, 25, 200) + lengths(25, cell="rnn")
        rows, columns = arrange_by(runs, ("cell",), ("task.length",), mixed=False)
        assert [row.label for row in rows] == ["adding_problem, cell=gru", "adding_problem, cell=rnn"]
        assert columns == ["length=25", "length=200", "length=1000"]
        rows, columns = arrange_by(runs, ("task.length",), ("cell", "optimizer.lr"), mixed=False)
        assert [row.settings for row in rows] == [("length=25",), ("length=200",), ("length=1000",)]
        assert columns == ["rnn lr=0.01", "gru lr=0.01"]
        rows, columns = arrange_by(runs[:2], ("task.length",), ("budget",), mixed=False)
        assert columns == ["all"]

    def test_a_place_without_runs(self):
        runs = lengths(25, 200) + lengths(25, cell="rnn")
        text = render(runs, "terminal", Spec(rows=("task.length",), metrics=("mse",)))
        assert re.search(r"^adding_problem +- +0\.600$", text, re.M)

    def test_what_a_column_says_is_no_note(self):
        runs = [
            run("gru", seed, 0.1, config=changed(CONFIG, training={"clip_norm": clip}))
            for seed in range(2)
            for clip in (1.0, 100.0)
        ]
        spec = Spec(rows=("task.length",), columns=("cell", "training.clip_norm"), metrics=("mse",))
        text = render(runs, "terminal", spec)
        assert re.search(r"^task +gru clip_norm=1 +gru clip_norm=100$", text, re.M)
        assert "differs" not in text

    def test_runs_of_one_place_must_not_differ(self):
        runs = lengths(25, 200)
        spec = Spec(rows=("task",), metrics=("mse",))
        message = (
            "`mixed` must be given where runs of one place differ in task.length, got 25, 200; "
            "or name task.length in rows or columns"
        )
        with pytest.raises(ValueError, match=message):
            render(runs, "terminal", spec)
        text = " ".join(render(runs, "terminal", dataclasses.replace(spec, mixed=True)).split())
        assert "[a] in one place runs that differ in task.length: gru." in text
        assert "[a]†" in text

    def test_protocols_must_not_be_mixed(self):
        runs = lengths(25) + lengths(200, experiment="demo")
        spec = Spec(rows=("task.length",), metrics=("mse",))
        with pytest.raises(
            ValueError, match="`mixed` must be given for a table of several protocols, got default, demo"
        ):
            render(runs, "terminal", spec)
        text = render(runs, "terminal", dataclasses.replace(spec, mixed=True))
        assert "[a] protocol default." in text
        assert "[b] protocol demo." in text
        by_name = render(runs, "terminal", Spec(rows=("experiment", "task.length"), metrics=("mse",)))
        assert "[a] protocol" not in by_name
        assert "experiment=demo" in by_name

    def test_no_completed_run(self):
        runs = [run("gru", 0, status="failed"), run("gru", 1, status="interrupted"), run("rnn", 0, status="failed")]
        message = "a table must have at least one run with a result, got 2 failed, 1 interrupted"
        with pytest.raises(ValueError, match=message):
            render(runs, "terminal")

    def test_flags_win_over_a_file(self):
        spec = Spec("title", {"cell": ("gru",)}, ("task.length",), ("cell",), ("mse",), "iqm", published=True)
        assert spec.with_flags(where=None, rows=None, metrics=None, mixed=False, published=False) == spec
        changes: dict[str, Any] = {"where": {"cell": ("rnn",)}, "metrics": ("loss", "solved"), "mixed": True}
        assert spec.with_flags(**changes) == dataclasses.replace(spec, **changes)

    def test_a_file_of_ones_own(self, tmp_path: Path):
        path = tmp_path / "mine.yaml"
        path.write_text(
            "title: Mine\nwhere: {task.length: [100, 200], optimizer.lr: 1e-2}\nrows: task.length\n"
            "columns: [cell]\nmetrics: [mse]\nstatistic: null\nmixed: true\n"
        )
        assert read_spec(str(path)) == Spec(
            "Mine", {"task.length": ("100", "200"), "optimizer.lr": ("1e-2",)}, ("task.length",), ("cell",), ("mse",),
            mixed=True,
        )  # fmt: skip
        assert "Mine: MSE." in render(SWEEP[:10], "terminal", read_spec(str(path)))

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("rows: [", "`spec` must be YAML, got "),
            ("- rows", "`spec` must have settings by name, got "),
            ("row: [cell]", "`spec` must name one of title, where, rows, .*, got 'row', did you mean rows"),
            ("where: cell", "`where` must have values by key, got 'cell'"),
            ("rows: []", r"`rows` must be a value or a list of values, got \[\]"),
            ("rows: [[a]]", r"`rows` must be a value or a list of values, got \[\['a'\]\]"),
            ("mixed: 1", "`mixed` must be true or false, got 1"),
            ("title: [a]", r"`title` must be a text, got \['a'\]"),
        ],
    )  # fmt: skip
    def test_bad_files(self, tmp_path: Path, content: str, message: str):
        path = tmp_path / "mine.yaml"
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            read_spec(str(path))

    @pytest.mark.parametrize("name", options("table"))
    def test_every_file_of_ours_reads_and_names_what_there_is(self, name: str):
        spec = read_spec(name)
        assert name in spec_names()
        assert spec.where is not None
        experiment, *tuned = spec.where["experiment"]
        assert experiment in options("experiment")
        assert {*tuned} <= {f"{experiment}-tuned30"}
        assert spec.only is None
        task_name = spec.where.get("task", [{**DATA_EXPERIMENTS, "cost": "digits"}.get(experiment, "adding_problem")])[
            0
        ]
        scores = ("mse", "loss", "recall", "accuracy", "within_tolerance")
        if experiment in DATA_EXPERIMENTS:
            scores = tuple(spec_of(*TINY, f"task={task_name}").task.baselines)
        if experiment == "cost":  # It has several tasks.
            scores = ("accuracy", "mase", "bits")
        for metric in spec.metrics or ():
            assert metric.partition("@")[0] in (*metrics.EVERY_RUN, *scores)
        keys = [key for group in (spec.where, spec.rows or (), spec.columns or ()) for key in group]
        for key in (key for key in keys if key.startswith("task.")):
            assert key.partition(".")[2] in yaml.safe_load((ROOT / "conf" / "task" / f"{task_name}.yaml").read_text())
