from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from matplotlib import pyplot as plt
from matplotlib.collections import QuadMesh
from matplotlib.lines import Line2D

from bench.analysis import other_process
from bench.analysis.run import Run, read_runs
from bench.cli import figures
from bench.report.figures import style
from bench.report.figures.clipping import gradient_norms
from bench.report.figures.gradient_flow import flow_heatmap, gradient_flow
from bench.report.figures.learning_curves import learning_curves
from bench.report.figures.overfitting import overfitting
from bench.report.figures.time_constants import time_constants
from tests.conftest import Bench


@pytest.fixture
def bench(bench: Bench) -> Bench:
    """Make runs with probes."""
    return dataclasses.replace(bench, always=("probe=flow",))


def parts_of(line: Line2D) -> list[tuple[list[float], list[float]]]:
    """Return the points of each part of a line, which gaps divide."""
    x, y = (np.asarray(values, float) for values in line.get_data())
    cuts = np.flatnonzero(np.isnan(x))
    starts = [0, *(cuts + 1)]
    return [(x[a:b].tolist(), y[a:b].tolist()) for a, b in zip(starts, cuts, strict=False)]


def test_one_panel_a_task_one_line_a_seed(bench: Bench):
    for cell, task, seed in itertools.product(("rnn", "gru"), ("copy_memory", "adding_problem"), (0, 1)):
        bench.one(f"cell={cell}", f"task={task}", f"seed={seed}", "probe=none")
    runs, _ = read_runs(bench.results)
    figure = learning_curves(runs)
    panels = figure.axes
    assert [axes.get_title() for axes in panels] == ["adding_problem, length=100", "copy_memory, delay=10"]
    assert panels[0].get_yscale() == "log"
    assert panels[1].get_ylim() == (0, 1.02)
    for axes, metric in zip(panels, ("mse", "recall"), strict=True):
        assert axes.get_xlabel() == "training step"
        assert axes.get_ylabel() == f"{metric}, evaluation set"
        *lines, baseline = axes.get_lines()
        assert [line.get_label() for line in lines] == ["rnn", "gru"]
        assert baseline.get_label() == "without memory"
        drawn = [part for line in lines for part in parts_of(line)]
        assert len(drawn) == 4
        task = axes.get_title().partition(",")[0]
        for table in (run.curves.to_pydict() for run in runs if run.task == task):
            points = [(s, v) for s, v in zip(table["step"], table[f"eval_{metric}"], strict=True) if v is not None]
            assert ([s for s, _ in points], [v for _, v in points]) in drawn
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["rnn", "gru", "without memory"]
    plt.close(figure)


@pytest.mark.long_run
def test_pdf_and_png_are_written_by_one_process_or_two(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bench.ready("task.length=9")
    calls, arrange = list[object](), style.arrange
    monkeypatch.setattr(style, "arrange", lambda *given: (calls.append(given), arrange(*given))[1])
    outcome = bench.call("figures", str(bench.results), f"--output={tmp_path / 'pictures'}")
    assert outcome.code == 0
    assert len(calls) == 2, "runs are arranged once for each group of figures"
    alone = gradient_flow(read_runs(bench.results)[0])
    assert alone is not None
    assert (tmp_path / "pictures" / "gradient_flow.csv").read_text() == alone.to_csv()
    names = ["learning_curves", "survival", "gradient_norms", "gradient_flow_in_training", "gradient_flow",
             "time_constants"]  # fmt: skip
    assert outcome.out.splitlines() == [
        str(tmp_path / "pictures" / f"{name}{suffix}") for name in names for suffix in (".pdf", ".png", ".csv")
    ]
    for name in names:
        assert (tmp_path / "pictures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert (tmp_path / "pictures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr(figures, "MANY", 1)
    monkeypatch.setattr(other_process, "is_of_use", lambda: True)
    again = bench.call("figures", str(bench.results), f"--output={tmp_path / 'again'}")
    assert again.code == 0
    assert sorted(again.out.splitlines()) == sorted(outcome.out.replace("pictures", "again").splitlines())
    for path in (tmp_path / "pictures").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name
    # What the other process finds wrong is told, and its figures are those of the runs that are whole.
    (flow,) = bench.results.rglob("flow.parquet")
    flow.write_bytes(b"")
    broken = bench.call("figures", str(bench.results), f"--output={tmp_path / 'broken'}")
    assert (broken.code, len(broken.out.splitlines())) == (1, 9)
    assert broken.err.startswith(f"bench figures: reading the tables of 1 runs\nbench figures: {flow}: not readable")


def test_the_flow_of_a_run_is_what_is_drawn(bench: Bench):
    made = bench.one("cell=lstm", "task.length=30", "probe.every=3")
    run = Run(made, bench.folder(made))
    flow = run.flow.to_pylist()
    figure = gradient_flow([run])
    assert figure is not None
    lags = sorted({row["lag"] for row in flow})
    assert (lags[0], lags[-1]) == (0, 29)
    for panel, step in zip(figure.axes, (0, 6), strict=True):
        (line,) = panel.get_lines()
        expected = [row["value"] for row in flow if (row["step"], row["state"]) == (step, "x")]
        assert list(np.asarray(line.get_ydata())) == expected
        assert np.asarray(line.get_xdata()).tolist() == lags
        assert panel.get_yscale() == "log"
    plt.close(figure)
    heatmap = flow_heatmap([run])
    assert heatmap is not None
    (mesh,) = [each for each in heatmap.axes[0].collections if isinstance(each, QuadMesh)]
    values = np.asarray(mesh.get_array())
    assert values.shape == (len(lags), 3)
    assert list(values[:, 1]) == [row["value"] for row in flow if (row["step"], row["state"]) == (3, "x")]
    plt.close(heatmap)
    constants = time_constants([run])
    assert constants is not None
    lines = {str(line.get_label()): line for line in constants.axes[0].get_lines()}
    activity = run.activity.to_pylist()
    expected = [row["value"] for row in activity if (row["name"], row["statistic"]) == ("forget", "tau_50")]
    assert list(np.asarray(lines["lstm forget gate"].get_ydata())) == expected
    assert list(np.asarray(lines["delay of the task"].get_ydata())) == [made.task_facts["delay"]] * 2
    plt.close(constants)


def test_gates_are_drawn_without_a_gradient_of_the_input(bench: Bench):
    made = bench.one("cell=lstm", "task.length=9", "probe.every=3", "probe.inputs=false")
    run = Run(made, bench.folder(made))
    assert gradient_flow([run]) is None
    # Beside a run of an older record, the curve of another one is drawn as it is.
    other = bench.one("cell=lstm", "task.length=9", "probe.every=3", "seed=1")
    both = [run, Run(other, bench.folder(other))]
    heatmap, curves = flow_heatmap(both), gradient_flow(both)
    assert heatmap is not None
    assert curves is not None
    (mesh,) = [each for each in heatmap.axes[0].collections if isinstance(each, QuadMesh)]
    assert np.asarray(mesh.get_array()).shape == (9, 3)
    (line,) = curves.axes[0].get_lines()
    assert len(np.asarray(line.get_xdata())) == 9
    plt.close(curves)
    plt.close(heatmap)
    constants = time_constants([run])
    assert constants is not None
    plt.close(constants)


def test_a_cell_without_gates_or_probes_has_no_such_figure(bench: Bench):
    made = bench.one("cell=rnn", "probe=none")
    assert bench.call("figures", str(bench.results)).out.startswith(str(bench.results / "figures"))
    names = {path.stem for path in (bench.results / "figures").iterdir()}
    assert names == {"learning_curves", "survival", "gradient_norms"}
    assert made.model["parameters"] > 0


def test_the_loss_of_training_stands_beside_that_of_the_evaluation_set(bench: Bench):
    words = ("data.train_size=9", "training.max_steps=7", "training.eval_every=2", "probe=none")
    for seed in (0, 1, 2):
        bench.one(*words, f"seed={seed}")
    drawn = bench.one("training.max_steps=7", "probe=none")
    assert overfitting([Run(drawn, bench.folder(drawn))]) is None, "every step has new sequences"
    runs, _ = read_runs(bench.results)
    figure = overfitting(runs)
    assert figure is not None
    (axes,) = figure.axes
    trained, evaluated = axes.get_lines()
    curves = [run.curves.to_pydict() for run in runs if run.record.config["data"]["train_size"] == 9]
    assert np.asarray(evaluated.get_xdata()).tolist() == [2, 4, 6, 7]
    losses = np.array([[curve["train_loss"][i] for i in range(7)] for curve in curves])
    means = [losses[:, begin:end].mean(1) for begin, end in ((0, 2), (2, 4), (4, 6), (6, 7))]
    assert np.asarray(trained.get_ydata()).tolist() == pytest.approx(np.median(means, axis=1).tolist())
    looks = np.array([[curve["eval_loss"][step - 1] for step in (2, 4, 6, 7)] for curve in curves])
    assert np.asarray(evaluated.get_ydata()).tolist() == pytest.approx(np.median(looks, axis=0).tolist())
    plt.close(figure)


def test_gradient_norms_before_and_after_the_clip(bench: Bench):
    made = bench.one("optimizer=sgd", "training.clip_norm=0.01", "training.max_steps=6", "probe=none")
    figure = gradient_norms([Run(made, bench.folder(made))])
    assert figure is not None
    before, after = figure.axes[0].get_lines()
    curves = bench.curves(made)
    assert list(np.asarray(before.get_ydata())) == curves["grad_norm"]
    assert list(np.asarray(after.get_ydata())) == curves["grad_norm_clipped"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["100% of steps clipped"]
    plt.close(figure)
    plt.close(figure)
    curves = bench.folder(made) / "curves.parquet"
    pq.write_table(pq.read_table(curves).drop_columns("grad_norm"), curves)
    assert gradient_norms([Run(made, bench.folder(made))]) is None


def test_a_diverged_run_with_infinite_gradients_and_many_cells_are_drawn(bench: Bench):
    explode = ("cell=rnn", "cell.nonlinearity=relu", "optimizer=sgd", "optimizer.momentum=0", "probe.every=1",
               "training.clip_norm=null", "task.length=30", "training.max_steps=20")  # fmt: skip
    for rate in ("3", "1e30"):  # the trained network of the second run could not be probed
        assert bench.one(*explode, f"optimizer.lr={rate}").status == "diverged"
    bench.one("cell=lstm", "probe.every=2", "task.length=9")
    outcome = bench.call("figures", str(bench.results), "--format=png")
    assert (outcome.code, outcome.err) == (0, "")
    assert len(outcome.out.splitlines()) == 12
    for bias in range(2, 9):
        bench.one("cell=lstm", f"cell.forget_bias={bias}", "probe.every=2", "task.length=9")
    lstms = [run for run in read_runs(bench.results)[0] if run.cell == "lstm"]
    for figure in (gradient_norms(lstms), flow_heatmap(lstms)):
        assert figure is not None
        titled = [axes for axes in figure.axes if axes.get_title()]
        assert len(titled) == 8
        assert len({round(axes.get_position().y0, 3) for axes in titled}) == 2, "four beside each other"
        plt.close(figure)
