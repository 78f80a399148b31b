from __future__ import annotations

import copy
import dataclasses
import hashlib
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D

from bench.analysis import metrics
from bench.analysis.delay_series import delay_series
from bench.analysis.gradient_reach import GradientReach
from bench.analysis.grouping import arrange
from bench.analysis.run import Run
from bench.records.read import find_records
from bench.records.record import Record
from bench.report.figures.delay import draw_reach
from bench.report.figures.survival import draw_survival
from bench.stats.gradient_decay import Reach
from bench.stats.intervals import success
from bench.stats.survival import survival
from tests.conftest import Bench
from tests.processes import command

BUDGET = 600


def run_like(origin: Record, cell: str, seed: int, solved_at: int | None, **changes: Any) -> Run:
    """A run made up from a real one; changes are those of the record, or ``delay`` or ``budget``."""
    config = copy.deepcopy(origin.config)
    delay, budget = changes.pop("delay", origin.task_facts["delay"]), changes.pop("budget", BUDGET)
    config["task"]["length"], config["training"]["max_steps"] = delay, budget
    name = hashlib.sha256(repr((cell, seed, delay, budget)).encode()).hexdigest()[:12]
    model = {key: value for key, value in origin.model.items() if key != "cell_year"}
    made = dataclasses.replace(
        origin,
        run_id=name,
        model=model,
        cell=cell,
        seed=seed,
        config=config,
        status="completed",
        solved=solved_at is not None,
        steps_to_solve=solved_at,
        steps=budget,
        task_facts={**origin.task_facts, "length": delay, "delay": delay},
    )
    return Run(dataclasses.replace(made, **changes), Path())


def travelled(start: int | None, end: int | None = None, *, trained: bool = True) -> GradientReach:
    def reach(lag: int | None) -> Reach:
        return Reach(lag, lag, 40, None, None, 0, None, None, 0.0)

    return GradientReach(reach(start), reach(end) if trained else None)


def numbers(values: Any) -> list[float]:
    return [float(value) for value in np.asarray(values)]


def points(line: Line2D) -> list[tuple[float, float]]:
    return list(zip(numbers(line.get_xdata()), numbers(line.get_ydata()), strict=True))


def drawn(axes: Axes, gid: str) -> Line2D:
    (line,) = [line for line in axes.get_lines() if line.get_gid() == gid]
    return line


def bars(axes: Axes, gid: str) -> list[tuple[float, float]]:
    (made,) = [each for each in axes.collections if isinstance(each, LineCollection) and each.get_gid() == gid]
    return [(float(low), float(high)) for (_, low), (_, high) in made.get_segments()]


def key(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


@pytest.fixture
def origin(bench: Bench) -> Record:
    return bench.ready("cell=gru", "task=adding_problem")


class TestSurvival:
    def test_shares_steps_and_bands_are_those_of_the_runs(self, origin: Record):
        times = [200, 300, 300, None, None]
        runs = [run_like(origin, "lstm", seed, time) for seed, time in enumerate(times)]
        runs += [run_like(origin, "rnn", seed, None) for seed in range(3)]
        runs += [run_like(origin, "gru", seed, time) for seed, time in enumerate((100, 400))]
        figure = draw_survival(runs)
        assert figure is not None
        (axes,) = figure.axes
        assert axes.get_title() == f"adding_problem, length={origin.task_facts['length']}"
        assert key(axes) == ["rnn 0/3", "lstm 3/5", "gru 2/2"]
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("training step", "share of seeds solved\n(95 % interval)")
        rnn, lstm, gru = [line for line in axes.get_lines() if line.get_linestyle() != "None"]
        assert points(rnn) == [(0, 0), (BUDGET, 0)]
        assert points(lstm) == [(0, 0), (200, pytest.approx(0.2)), (300, pytest.approx(0.6)),
                                (BUDGET, pytest.approx(0.6))]  # fmt: skip
        assert points(gru) == [(0, 0), (100, 0.5), (400, 1), (BUDGET, 1)], "all solved: 1 until the end"
        assert {line.get_drawstyle() for line in (rnn, lstm, gru)} == {"steps-post"}
        assert len({str(line.get_linestyle()) + str(line.get_color()) for line in (rnn, lstm, gru)}) == 3
        ticks = [line for line in axes.get_lines() if line.get_gid() == "unsolved"]
        assert [(line.get_color(), points(line)) for line in ticks] == [
            (rnn.get_color(), [(BUDGET, 0)]),
            (lstm.get_color(), [(BUDGET, pytest.approx(0.6))]),
        ]
        (legend,) = figure.legends
        assert [text.get_text() for text in legend.get_texts()] == ["not solved within the budget"]
        nothing, band, single = axes.collections
        assert all(np.size(path.vertices) == 0 for path in nothing.get_paths()), "there is no interval at 0 of n"
        curve = survival([200, 300, 300, BUDGET, BUDGET], [True] * 3 + [False] * 2)
        (path,) = band.get_paths()
        corners = {(float(x), float(y)) for x, y in np.asarray(path.vertices)}
        for start, end, low, high in zip((200, 300), (300, BUDGET), curve.low, curve.high, strict=True):
            assert low is not None
            assert high is not None
            assert {(x, 1 - y) for x in (start, end) for y in (low, high)} <= corners
        assert np.asarray(single.get_paths()[0].vertices)[:, 0].max() == 400, "none where all have solved"
        plt.close(figure)

    def test_a_diverged_run_has_the_whole_budget_and_runs_without_a_result_none(self, origin: Record):
        runs = [
            run_like(origin, "rnn", 0, 300),
            run_like(origin, "rnn", 1, None, status="diverged", steps=20),
            run_like(origin, "rnn", 2, None, status="failed", steps=10),
            run_like(origin, "rnn", 3, None, status="interrupted", steps=10),
        ]
        assert metrics.times(runs[:2]) == ([300, BUDGET], [True, False])
        figure = draw_survival(runs)
        assert figure is not None
        assert key(figure.axes[0]) == ["rnn 1/2"]
        assert points(figure.axes[0].get_lines()[0]) == [(0, 0), (300, 0.5), (BUDGET, 0.5)]
        plt.close(figure)
        assert draw_survival(runs[2:]) is None

    def test_a_panel_for_each_setting_and_no_empty_one(self, origin: Record):
        runs = [run_like(origin, cell, 0, 100, delay=delay) for cell in ("rnn", "gru") for delay in (20, 40, 80)]
        runs += [run_like(origin, "gru", 0, None, delay=90, status="failed")]
        figure = draw_survival(runs)
        assert figure is not None
        assert [axes.get_title() for axes in figure.axes] == [f"adding_problem, length={n}" for n in (20, 40, 80)]
        assert figure.legends == [], "there is no tick to explain"
        plt.close(figure)


class TestReach:
    @pytest.fixture
    def runs(self, origin: Record) -> list[Run]:
        times = {"lstm": {20: (100, 100), 40: (100, None), 80: (None, None)}, "rnn": {20: (100, 100), 40: (None, None)}}
        return [
            run_like(origin, cell, seed, time, delay=delay)
            for cell, by_delay in times.items()
            for delay, each in by_delay.items()
            for seed, time in enumerate(each)
        ]

    def test_shares_and_reaches_over_the_delay(self, runs: list[Run]):
        reaches = {("lstm", 20): (19, 17), ("lstm", 40): (39, 4), ("lstm", 80): (3, 0), ("rnn", 20): (19, 19),
                    ("rnn", 40): (1, 2)}  # fmt: skip
        for run in runs:
            trained = reaches[run.cell, run.record.task_facts["delay"]][run.seed]
            run.reach = travelled(5 + 2 * run.seed, trained)
        figure = draw_reach(runs)
        assert figure is not None
        upper, lower = figure.axes
        assert upper.get_title() == "adding_problem"
        assert lower.get_xlabel() == "delay (steps)"
        assert (upper.get_ylabel(), lower.get_ylabel()) == (
            "share of seeds solved\n(95 % interval)", "gradient reach, steps\n(median, range)",
        )  # fmt: skip
        (legend,) = figure.legends
        assert [text.get_text() for text in legend.get_texts()] == ["rnn", "lstm"]
        assert key(lower) == ["untrained", "trained", "reach = delay"]
        assert upper.get_xscale() == lower.get_xscale() == "log"
        assert upper.get_xlim() == lower.get_xlim()
        assert numbers(lower.get_xticks()) == [20, 40, 80]
        expected = {"rnn": (1, 0), "lstm": (1, 0.5, 0)}
        for cell, shares in expected.items():
            line = drawn(upper, cell)
            assert numbers(line.get_ydata()) == pytest.approx(shares)
            wilson = [success(round(2 * share), 2).interval for share in shares]
            assert bars(upper, cell) == [(each.low, each.high) for each in wilson if each is not None]
            assert numbers(drawn(lower, f"{cell} trained").get_xdata()) == numbers(line.get_xdata())
        assert numbers(drawn(upper, "lstm").get_xdata()) == pytest.approx([20, 40, 80], rel=0.06), "beside its delay"
        assert numbers(drawn(upper, "lstm").get_xdata()) > numbers(drawn(upper, "rnn").get_xdata())
        assert drawn(upper, "lstm").get_marker() != drawn(upper, "rnn").get_marker()
        trained, untrained = drawn(lower, "lstm trained"), drawn(lower, "lstm untrained")
        assert numbers(trained.get_ydata()) == [18, 21.5, 1.5]
        assert bars(lower, "lstm trained") == [(17, 19), (4, 39), (0, 3)]
        assert numbers(untrained.get_ydata()) == [6, 6, 6]
        assert bars(lower, "rnn untrained") == [(5, 7)] * 2
        assert (trained.get_fillstyle(), untrained.get_fillstyle()) == ("full", "none")
        assert all(x == y for x, y in points(drawn(lower, "reach = delay")))
        low, high = lower.get_ylim()
        assert low < 0
        assert high > 80
        plt.close(figure)

    def test_a_note_says_where_there_are_fewer_reaches_than_runs(self, runs: list[Run]):
        diverged = dataclasses.replace(runs[1].record, status="diverged", solved=False, steps_to_solve=None)
        runs[1] = Run(diverged, Path())
        for run in runs[:-1]:
            run.reach = travelled(5, 5, trained=run.status == "completed")
        runs[2].reach = travelled(None, None)
        figure = draw_reach(runs)
        assert figure is not None
        assert figure.axes[1].get_xlabel().splitlines() == [
            "delay (steps)",
            "untrained rnn: 1 of 2 seeds at 40",
            "trained rnn: 1 of 2 seeds at 40",
            "untrained lstm: 1 of 2 seeds at 40",
            "trained lstm: 1 of 2 seeds at 20, 40",
        ]
        assert numbers(drawn(figure.axes[0], "lstm").get_ydata()) == [0.5, 0.5, 0], "a diverged run has not solved"
        plt.close(figure)

    def test_no_figure_without_two_delays_or_without_probes(self, runs: list[Run]):
        assert draw_reach(runs) is None
        for run in runs:
            run.reach = travelled(5, 5)
        assert draw_reach([run for run in runs if run.record.task_facts["delay"] == 20]) is None

    def test_two_tasks_beside_each_other_and_the_third_below(self, runs: list[Run]):
        three = [
            Run(dataclasses.replace(run.record, task=task, run_id=f"{task}{run.run_id}"), Path(), travelled(5, 5))
            for task in "abc"
            for run in runs
        ]
        figure = draw_reach(three)
        assert figure is not None
        figure.canvas.draw()
        at = {axes.get_title(): axes.get_position() for axes in figure.axes if axes.get_title()}
        assert sorted(at) == ["a", "b", "c"]
        assert len(figure.axes) == 6
        assert at["a"].y0 == pytest.approx(at["b"].y0)
        assert at["c"].y0 < at["a"].y0
        plt.close(figure)


def labels(runs: Iterable[Run]) -> list[tuple[str, list[int]]]:
    return [(each.label, [row.facts["delay"] for row in each.rows]) for each in delay_series(arrange(runs)[0])]


class TestDelaySeries:
    def test_rows_that_differ_in_more_than_the_delay_are_no_companions(self, origin: Record):
        runs = [run_like(origin, "gru", 0, 100, delay=delay, budget=600) for delay in (80, 20)]
        assert labels(runs) == [("adding_problem", [20, 80])]
        longer = [run_like(origin, "gru", 0, 100, delay=delay, budget=900) for delay in (40, 160)]
        parts = [f"adding_problem, training.max_steps={budget}" for budget in (600, 900)]
        assert labels(runs + longer) == [(parts[0], [20, 80]), (parts[1], [40, 160])]
        assert labels(runs[:1] + longer[:1]) == []

    def test_cells_may_differ_from_each_other_and_be_missing(self, origin: Record):
        runs = [run_like(origin, "gru", 0, 100, delay=delay, budget=600) for delay in (20, 80)]
        runs += [run_like(origin, "rnn", 0, 100, delay=delay, budget=900) for delay in (20, 40)]
        assert labels(runs) == [("adding_problem", [20, 40, 80])]
        assert labels([runs[0], runs[3]]) == [], "no cell is there twice"


@pytest.mark.long_run
def test_two_processes_draw_the_same_bytes(bench: Bench, tmp_path: Path):
    probed = dataclasses.replace(bench, always=("probe=flow",))
    for cell, length in itertools.product(("rnn", "gru"), (10, 20)):
        probed.one(f"cell={cell}", f"task.length={length}", "task=adding_problem")
    assert len(find_records(bench.results)) == 4
    assert bench.call("figures", str(bench.results), f"--output={tmp_path / 'once'}").code == 0
    made = command("figures", str(bench.results), f"--output={tmp_path / 'again'}")
    assert (made.returncode, made.stderr) == (0, "")
    drawn = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("once", "again")]
    assert {f"{name}{suffix}" for name in ("survival", "reach") for suffix in (".pdf", ".png")} <= drawn[0].keys()
    assert drawn[0] == drawn[1]
