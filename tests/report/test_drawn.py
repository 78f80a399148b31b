"""Figures for a paper: their width, their forms, which runs they show, and the data beside them."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.collections import QuadMesh

from bench.analysis.names import Names
from bench.analysis.run import Run, read_reaches, read_runs
from bench.report.figures.delay import draw_reach
from bench.report.figures.draw import FIGURES
from bench.report.figures.drawing import Drawing, Sheet
from bench.report.figures.gradient_flow import flow_heatmap, gradient_flow
from bench.report.figures.learning_curves import learning_curves
from bench.report.figures.style import STYLE
from bench.report.figures.survival import draw_survival
from tests.conftest import ROOT, Bench

DEMO = ROOT / "results" / "demo"


@pytest.fixture(scope="module")
def demo() -> list[Run]:
    runs, _ = read_runs(DEMO)
    read_reaches(runs)
    return runs


def lines_of(figure: Drawing) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(figure.to_csv())))


def test_the_data_of_learning_curves_are_the_points_that_are_drawn(demo: list[Run]):
    figure = learning_curves(demo)
    panel = figure.axes[0]
    drawn: list[list[float]] = []
    for line in panel.get_lines():
        x, y = (np.asarray(values, float) for values in line.get_data())
        if line.get_marker() == "None" and np.isnan(x).any():  # a part for each seed, with a gap behind it
            drawn += [part[~np.isnan(part)].tolist() for part in np.split(y, np.flatnonzero(np.isnan(x)))[:-1]]
    lines = [line for line in lines_of(figure) if line["panel"] == "adding_problem, length=100"]
    found: dict[tuple[str, str], list[float]] = {}
    for line in lines:
        found.setdefault((line["line"], line["seed"]), []).append(float(line["value"]))
    assert len(found) == 10
    assert found.pop(("without memory", "")) == [1 / 6]
    assert sorted(found.values()) == sorted(drawn)
    ends = [(line["line"], line["end"]) for line in lines if line["end"]]
    assert ends == [(cell, "solved") for cell in ("lstm", "gru") for _ in range(3)]
    plt.close(figure)


def test_the_data_of_the_gradient_flow_with_its_range(demo: list[Run]):
    figure = gradient_flow(demo)
    assert figure is not None
    panel = figure.axes[1]
    lines = [line for line in lines_of(figure) if (line["panel"], line["when"]) == (
        "adding_problem, length=100", "after training")]  # fmt: skip
    for drawn in panel.get_lines():
        if drawn.get_gid() != "flow":
            continue
        mine = [line for line in lines if line["line"] == drawn.get_label()]
        values = [float(line["value"]) or np.nan for line in mine]  # a 0 is drawn as a mark at the floor
        np.testing.assert_equal(np.asarray(drawn.get_ydata(), float), values)
        assert all(float(line["low"]) <= float(line["value"]) for line in mine)
    assert {line["line"] for line in lines} == {"rnn", "lstm", "gru"}
    plt.close(figure)


def test_the_data_of_a_heat_map(demo: list[Run]):
    figure = flow_heatmap(demo)
    assert figure is not None
    (mesh,) = [each for each in figure.axes[1].collections if isinstance(each, QuadMesh)]
    lines = [line for line in lines_of(figure) if (line["panel"], line["line"]) == (
        "adding_problem, length=100", "lstm")]  # fmt: skip
    shape = len({line["step"] for line in lines}), len({line["lag"] for line in lines})
    values = np.array([float(line["value"]) for line in lines]).reshape(shape)
    np.testing.assert_array_equal(np.asarray(mesh.get_array()), values.T)
    plt.close(figure)


def test_the_data_of_shares_solved_with_their_interval(demo: list[Run]):
    figure = draw_survival(demo)
    assert figure is not None
    lines = [line for line in lines_of(figure) if line["panel"] == "copy_memory, delay=3" and line["line"] == "lstm"]
    steps = [float(line["step"]) for line in lines]
    (drawn,) = [line for line in figure.axes[1].get_lines() if list(np.asarray(line.get_xdata())) == steps]
    assert [float(line["share"]) for line in lines] == list(np.asarray(drawn.get_ydata()))
    assert {(line["solved"], line["n"]) for line in lines} == {("2", "3")}
    assert [(line["low"] == "", line["high"] == "") for line in lines] == [
        (True, True),
        *[(False, False)] * 2,
        (True, True),
    ]
    assert all(float(line["low"]) < float(line["share"]) < float(line["high"]) for line in lines[1:-1])
    plt.close(figure)


def test_the_data_of_the_reach_have_the_delay_and_not_the_place_beside_it():
    runs, _ = read_runs(ROOT / "results" / "published" / "runs" / "horizon")
    read_reaches(runs)
    figure = draw_reach(runs, Sheet.of(Names(cells={"lstm": "L$M$"})))
    assert figure is not None
    lines = lines_of(figure)
    assert {line["delay"] for line in lines} == {"25", "50", "100", "200", "400"}
    assert {line["what"] for line in lines} == {"share solved", "reach, untrained", "reach, trained"}
    assert "L$M$" in {line["line"] for line in lines}
    solved = [float(line["value"]) for line in lines if (line["line"], line["what"]) == ("L$M$", "share solved")]
    (drawn,) = [line for line in figure.axes[0].get_lines() if line.get_gid() == r"L\$M\$"]
    assert solved == list(np.asarray(drawn.get_ydata()))
    plt.close(figure)


@pytest.mark.parametrize(("width", "inches"), [(1, 3.4), (2, 6.8)])
def test_a_figure_is_as_wide_as_it_should_be(demo: list[Run], width: int, inches: float):
    for name in ("learning_curves", "survival"):
        figure = FIGURES[name](demo, Sheet(width))
        assert figure is not None
        drawn = figure.to_bytes("svg").decode()
        (points,) = re.findall(r'<svg [^>]*width="([\d.]+)pt"', drawn.replace("\n", " "))
        assert float(points) == pytest.approx(72 * inches, abs=0.01)
        across = {round(axes.get_position().x0, 2) for axes in figure.axes}
        assert len(across) == width
        plt.close(figure)


def test_two_panels_of_a_row_stand_below_each_other_in_one_column(demo: list[Run]):
    figure = gradient_flow(demo, Sheet(1))
    assert figure is not None
    assert figure.get_figwidth() == 3.4
    titles = [axes.get_title().replace("\n", " ").rpartition(", ")[2] for axes in figure.axes]
    assert titles == ["at initialisation", "after training"] * 2
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim() != figure.axes[2].get_ylim()
    assert all(axes.get_ylabel() for axes in figure.axes)
    plt.close(figure)


def test_chosen_runs_forms_and_names(bench: Bench, tmp_path: Path):
    flags = ("--cells=lstm,gru", "--tasks=adding_problem", "--where=cell=lstm,rnn", "--format=svg", "--name=lstm=L_$1$")
    outcome = bench.call("figures", str(DEMO), f"--output={tmp_path / 'a'}", *flags, "--name=mse=error")
    assert (outcome.code, outcome.err) == (0, "")
    assert [Path(line).name for line in outcome.out.splitlines()][:2] == ["learning_curves.svg", "learning_curves.csv"]
    assert {path.suffix for path in (tmp_path / "a").iterdir()} == {".svg", ".csv"}
    with (tmp_path / "a" / "learning_curves.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert {(line["line"], line["metric"]) for line in lines} == {("L_$1$", "error"), ("without memory", "error")}
    assert {line["panel"] for line in lines} == {"adding_problem, length=100"}


@pytest.mark.parametrize("form", ["svg", "pdf"])
def test_the_same_runs_give_the_same_bytes(demo: list[Run], form: str):
    made = []
    with plt.style.context(STYLE):
        for _ in range(2):
            figure = learning_curves(demo[:2])
            made.append(figure.to_bytes(form))
            plt.close(figure)
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--cells=lstm,grr", "--cells must be of one of gru, lstm, rnn, got 'grr', did you mean gru?"),
        (
            "--tasks=adding",
            "--tasks must be of one of adding_problem, copy_memory, got 'adding', did you mean adding_p",
        ),
        ("--where=tsk=a", "where must name one of task, cell, "),
        ("--cells=lstm --where=cell=gru", "where must leave at least one run, got cell=lstm"),
        ("--name=lstn=L", "name must be that of a cell, task, metric or key of these runs, got 'lstn'"),
    ],
)
def test_what_means_nothing(bench: Bench, tmp_path: Path, flags: str, message: str):
    outcome = bench.call("figures", str(DEMO), f"--output={tmp_path / 'a'}", *flags.split())
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert outcome.err.startswith(f"bench figures: {message}")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("flag", ["--format=pdf,jpg", "--format=,", "--width=3"])
def test_flags_of_another_form(bench: Bench, flag: str):
    outcome = bench.call("figures", str(DEMO), flag)
    assert (outcome.code, outcome.out) == (2, "")
    assert f"argument {flag.partition('=')[0]}: " in outcome.err
