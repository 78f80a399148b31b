"""The tests between the columns of a table, against the statistics that they are made of."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from bench.analysis import metrics
from bench.analysis.comparisons import Comparison, compare
from bench.analysis.grouping import arrange
from bench.analysis.run import Run
from bench.analysis.table import Spec
from bench.report.tables.comparison import grid
from bench.report.tables.render import render
from bench.stats import paired, survival
from tests.records_made import CONFIG, changed, copy_run, run

RNN = [0.17, 0.18, 0.16, 0.19, 0.171, 0.172, 0.165, 0.181]
GRU = [0.001, 0.002, 0.15, 0.003, 0.0011, 0.002, 0.16, 0.0015]
TIMES = [500, 600, None, 900, 700, 700, None, 800]


def cells(length: int = 100, n: int = 8) -> list[Run]:
    config = changed(CONFIG, task={"length": length})
    return [run("rnn", seed, RNN[seed], config=config) for seed in range(n)] + [
        run("gru", seed, GRU[seed], TIMES[seed], config=config) for seed in range(n)
    ]


def compared(runs: list[Run], metric: str | None = None) -> list[Comparison]:
    return compare(arrange(runs)[0], metric)


def texts(found: list[Comparison]) -> list[tuple[str, ...]]:
    """Return the pair of each line, and the texts after it."""
    return [tuple(" ".join(entry.lines) for entry in row[1:]) for row in grid(found).rows]


def test_the_tests_are_those_of_the_seeds():
    (found,) = compared(cells())
    assert (found.first, found.second, found.metric) == ("rnn", "gru", "mse")
    assert found.row == ("adding_problem", "length=100")
    pairs = dict(enumerate(RNN)), dict(enumerate(GRU))
    assert found.test == paired.paired_test(*pairs, seed=metrics.SEED, statistic="rank", better="lower")
    assert found.test is not None
    assert found.test.p_value == 2 / 2**8
    assert found.improvement == paired.improvement(RNN, GRU, better="lower", seed=metrics.SEED)
    assert found.improvement.value == 1 / 128  # 0.16 against 0.16 is half a win of 64
    times = [3000] * 8 + [3000 if time is None else time for time in TIMES]
    flags = [False] * 8 + [time is not None for time in TIMES]
    assert found.sooner == survival.log_rank(times, flags, ["rnn"] * 8 + ["gru"] * 8)


def test_another_metric():
    (found,) = compared(cells(), "steps_to_solve")
    assert found.improvement.value == pytest.approx(2 / 8 / 2)  # better is sooner; none of both is a tie
    (found,) = compared(cells(), "solved")
    assert found.improvement.value == pytest.approx(2 / 8 / 2)
    assert found.test is not None
    assert (found.test.pairs, found.test.ties) == (8, 2)
    (found,) = compared(cells(), "within_tolerance")
    assert (found.improvement.value, found.test.p_value if found.test else None) == (0.5, 1.0)


def test_what_is_neither_better_higher_nor_lower():
    with pytest.raises(ValueError, match="`metric` must be one that is better higher or lower to be compared"):
        compared(cells(), "parameters")


def test_holm_is_over_the_whole_table():
    lstms = [dataclasses.replace(each.record, cell="lstm", run_id=f"l{each.seed}") for each in cells(100)[:8]]
    runs = [*cells(100), *cells(200, 6), *[Run(made, Path()) for made in lstms]]
    found = compared(runs)
    assert [(each.row[1], each.first, each.second) for each in found] == [
        ("length=100", "rnn", "lstm"), ("length=100", "rnn", "gru"), ("length=100", "lstm", "gru"),
        ("length=200", "rnn", "gru"),
    ]  # fmt: skip
    tests = [each.test for each in found if each.test is not None]
    p_values = [test.p_value for test in tests]
    assert p_values == [1.0, 2 / 2**8, 2 / 2**8, 2 / 2**6]
    adjusted = paired.holm(p_values)
    assert adjusted == (1.0, 8 / 2**8, 8 / 2**8, 4 / 2**6)
    assert [line[2:4] for line in texts(found)] == [
        (f"{p:.2g}", f"{holm:.2g}") for p, holm in zip(p_values, adjusted, strict=True)
    ]
    assert "Holm: corrected for the 4 tests of this table" in grid(found).notes[0]


def test_ragged_seeds():
    runs = cells()
    runs = [made for made in runs if (made.cell, made.seed) not in {("rnn", 0), ("gru", 7)}]
    (found,) = compared(runs)
    assert found.test is not None
    assert (found.test.pairs, found.test.left_out) == (6, 2)
    assert found.improvement.n == 14  # all of them
    assert texts([found])[0][:2] == ("rnn / gru", "6")


def test_diverged_runs_are_the_worst_and_failed_ones_none():
    runs = [*cells(), run("gru", 8, status="diverged"), run("rnn", 8, 0.2), run("gru", 9, status="failed")]
    (found,) = compared(runs)
    assert found.test is not None
    assert (found.test.pairs, found.test.failed) == (9, 1)
    assert found.improvement.value == paired.improvement(
        [*RNN, 0.2], [*GRU, float("nan")], better="lower", seed=0
    ).value  # fmt: skip
    assert found.sooner.n == (9, 9)


def test_no_seed_in_common():
    runs = [run("rnn", seed, RNN[seed]) for seed in range(4)] + [run("gru", 4 + s, GRU[s], 500) for s in range(4)]
    found = compared(runs)
    assert found[0].test is None
    assert texts(found)[0][:4] == ("rnn / gru", "0", "-", "-")
    assert "corrected for the 0 tests" in grid(found).notes[0]
    assert not any("no verdict" in note for note in grid(found).notes)


@pytest.mark.parametrize(
    ("runs", "note"),
    [
        (cells(n=3), "1 of the tests: no verdict: the smallest p of 3 pairs is 0.25; p <= 0.05 takes at least 6."),
        (cells(n=2) + cells(200, 1), "1 of the tests: no verdict: the smallest p of 1 pair is 1;"),
        ([run(c, s, 0.1) for c in ("rnn", "gru") for s in range(6)],
         "1 of the tests: no verdict: there is no seed that differs."),
        ([run(c, s, 0.1) for c in ("rnn", "gru") for s in range(6)],
         "Intervals of one point: no spread was seen, which is not certainty."),
        (cells(100, 6) + cells(200, 6), "Holm: no verdict, 2 tests take at least 7 seeds that differ in one of them."),
    ],
)  # fmt: skip
def test_what_so_few_seeds_cannot_say(runs: list[Run], note: str):
    assert any(said.startswith(note) for said in grid(compared(runs)).notes)


def test_enough_seeds_need_no_note():
    assert len(grid(compared(cells())).notes) == 1


def test_a_task_without_the_metric_is_passed_over():
    runs = [*cells(), *[copy_run(cell, seed, 0.1 * seed) for cell in ("rnn", "gru") for seed in range(3)]]
    assert [each.row[0] for each in compared(runs, "mse")] == ["adding_problem"]
    assert {each.row[0]: each.metric for each in compared(runs)} == {"adding_problem": "mse", "copy_memory": "recall"}
    assert "signed ranks of MSE, recall," in grid(compared(runs)).notes[0]


@pytest.mark.parametrize("runs", [[], cells()[:8], [*cells()[:8], run("gru", 0, status="failed")]])
def test_nothing_to_compare(runs: list[Run]):
    with pytest.raises(ValueError, match="`compare` must have two columns with results in a row, got none"):
        grid(compared(runs))


def test_mixed_runs_of_one_seed_are_not_compared():
    spec = Spec(rows=("task",), mixed=True, compare=True)
    with pytest.raises(ValueError, match="`compare` must have one run of each seed in a place, got several in rnn"):
        render([*cells(100), *cells(200)], "terminal", spec)


@pytest.mark.parametrize("form", ["terminal", "markdown", "latex", "html"])
def test_below_the_table(form: str):
    made = render([*cells(), *cells(200)], form, Spec(compare=True))
    assert made.count("Tests between columns.") == 1
    assert made.index("Tests between columns.") > made.index("steps to solve")
    if form == "terminal":
        assert max(map(len, made.splitlines())) <= 80
        lines = re.findall(r"^adding_problem +rnn / gru +(.*)\n", made, re.M)
        assert [line.split() for line in lines] == [["8", "0.0078", "0.016", "0.01", "0.007"]] * 2


def test_p_values_have_a_lower_end():
    (found,) = compared([run(c, s, 0.1 + (c == "rnn") + 0.01 * s) for c in ("rnn", "gru") for s in range(12)])
    assert texts([found])[0][2] == "<0.001"
    changes: dict[str, Any] = {"p_value": 0.00123}
    assert found.test is not None
    smaller = dataclasses.replace(found, test=dataclasses.replace(found.test, **changes))
    assert texts([smaller])[0][2] == "0.0012"
