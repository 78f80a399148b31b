"""Runs to rows and columns: what stands together, what apart, and what is told of it."""

from __future__ import annotations

from typing import Any

import pytest

from bench.analysis.grouping import arrange, arrange_by
from bench.report.tables.render import render
from tests.records_made import SWEEP, changed, make, run


def test_runs_that_differ_in_their_probes_alone_are_one_training():
    probed = {"config": run("rnn", 0).record.config | {"probe": {"enabled": True}}, "run_id": "b"}
    runs = [run("rnn", 0, 0.1, run_id="a"), run("rnn", 0, 0.1, **probed), run("rnn", 1, 0.2, run_id="c")]
    rows, _ = arrange(runs)
    assert [[made.run_id for made in row.runs["rnn"]] for row in rows] == [["b", "c"]]


@pytest.mark.parametrize("order", [1, -1])
def test_of_equal_trainings_the_one_with_the_most_probes_is_shown(order: int):
    config = run("rnn", 0).record.config
    probes = ({"enabled": False}, {"enabled": True}, {"enabled": True, "inputs": True, "exponents": 4})
    runs = [run("rnn", 0, 0.1, run_id=f"r{i}", config=config | {"probe": each}) for i, each in enumerate(probes)]
    rows, _ = arrange(runs[::order])
    assert [made.run_id for made in rows[0].runs["rnn"]] == ["r2"]


class TestLayout:
    def test_a_run_that_is_there_twice_counts_once(self):
        rows, _ = arrange([SWEEP[0], SWEEP[0], SWEEP[1]])
        assert len(rows[0].runs["rnn"]) == 2

    def test_one_cell_under_two_names_has_the_runs_of_both(self):
        """The name of a YAML is no part of a run id, so that runs of one seed have one id."""
        runs = [run(cell, seed, 0.1, run_id=f"r{seed}") for cell in ("lstm", "mine") for seed in range(2)]
        for order in (runs, runs[::-1]):
            rows, columns = arrange(order)
            assert sorted(columns) == ["lstm", "mine"]
            assert {column: len(members) for column, members in rows[0].runs.items()} == {"lstm": 2, "mine": 2}
        rows, _ = arrange_by(runs, ("task",), ("cell",), mixed=False)
        assert {column: len(members) for column, members in rows[0].runs.items()} == {"lstm": 2, "mine": 2}
        other = run("lstm", 0, 0.1, run_id="r0", task="mine")
        assert [row.task for row in arrange([*runs, other])[0]] == ["adding_problem", "mine"]

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
        """The code all cells share makes rows; each row still holds all cells."""
        runs = [
            run(cell, 0, 0.1, code={**make().code, "numerics": {"training": shared, f"cells.{cell}": "1"}})
            for cell in ("rnn", "gru")
            for shared in ("1", "2")
        ]
        rows, columns = arrange(runs)
        assert columns == ["rnn", "gru"]
        assert [row.settings[-1] for row in rows] == ["code=1", "code=training 2"]
        assert [list(row.runs) for row in rows] == [["rnn", "gru"]] * 2
        assert all(row.uneven == {} for row in rows)

    def test_other_files_and_another_commit_part_no_rows(self):
        """Neither do records from before parts of the code had versions, which were all the first."""
        older = {name: value for name, value in make().code.items() if name != "numerics"}
        moved = {**older, "sources": "moved", "cell": "moved", "commit": "f" * 40}
        codes = (older, moved, {**moved, "numerics": {"training": "1", "cells.gru": "1"}})
        rows, columns = arrange([run("gru", seed, 0.1, code=code) for seed, code in enumerate(codes)])
        assert columns == ["gru"]
        assert [len(row.runs["gru"]) for row in rows] == [3]

    def test_two_versions_of_a_cells_own_file_are_two_columns(self):
        runs = [run("mine", 0, 0.1, code={**make().code, "numerics": {"cell": version}}) for version in ("a", "b")]
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
        text = " ".join(render(runs, "terminal").split())
        assert "model.hidden_size differs between columns: rnn 80, lstm 40." in text

    def test_lengths_sort_as_numbers(self):
        base = make().config
        runs = [run("gru", 0, 0.1, config=changed(base, task={"length": n})) for n in (1000, 25, 200)]
        rows, _ = arrange(runs)
        assert [row.settings for row in rows] == [("length=25",), ("length=200",), ("length=1000",)]
