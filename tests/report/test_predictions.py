"""The figures of predictions: confusion matrices and forecasts show what the tables beside the records hold."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt

from bench.analysis.run import Run, read_runs
from bench.records.record import PREDICTIONS_FILE
from bench.report.figures.confusion import confusion, counts_of
from bench.report.figures.drawing import Drawing, Sheet
from bench.report.figures.forecasts import forecasts
from tests.conftest import DATA, Bench, assert_one_line

KEEP = "training.keep_predictions=true"


def runs_of(bench: Bench, *words: str, cells: tuple[str, ...] = ("rnn", "gru")) -> list[Run]:
    for cell in cells:
        for seed in (0, 1):
            bench.ready(f"cell={cell}", f"seed={seed}", KEEP, *words)
    return read_runs(bench.results)[0]


def lines_of(figure: Drawing) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(figure.to_csv())))


def test_a_confusion_matrix_counts_the_test_set_over_the_seeds(bench: Bench):
    runs = runs_of(bench, "task=digits", "task.target=parity", "data.test_size=40")
    figure = confusion(runs)
    assert figure is not None
    panels = [axes for axes in figure.axes if axes.images]
    assert [" ".join(axes.get_title().split()) for axes in panels] == [
        f"{cell}: digits, images=small, 2 seeds, 80 sequences" for cell in ("rnn", "gru")
    ]
    for axes, cell in zip(panels, ("rnn", "gru"), strict=True):
        tables = [run.predictions for run in runs if run.cell == cell]
        true, taken = (np.concatenate([table[name].to_numpy() for table in tables if table is not None])
                       for name in ("target", "output"))  # fmt: skip
        counts = np.array([[np.sum((true == i) & (taken == k)) for k in (0, 1)] for i in (0, 1)])
        shares = counts / counts.sum(1, keepdims=True)
        np.testing.assert_allclose(np.asarray(axes.images[0].get_array()), shares)
        written = [text.get_text() for text in axes.texts]
        assert written == [f"{100 * shares[i, k]:.1f} %\n{counts[i, k]}" for i in (0, 1) for k in (0, 1)]
        assert [label.get_text() for label in axes.get_yticklabels()] == ["even", "odd"]
        kept = [line for line in lines_of(figure) if line["line"] == cell]
        assert [(line["true"], line["predicted"], int(line["count"])) for line in kept] == [
            (one, other, counts[i, k])
            for i, one in enumerate(("even", "odd"))
            for k, other in enumerate(("even", "odd"))
        ]
    assert panels[0].get_xlabel() == "predicted class"
    assert panels[0].get_ylabel() == "true class"
    plt.close(figure)
    # No forecast is drawn of classes.
    assert forecasts(runs) is None


def test_of_many_classes_the_counts_alone_are_written(bench: Bench):
    runs = runs_of(bench, "task=digits", "data.test_size=60", cells=("gru",))
    for sheet in (Sheet(), Sheet(width=1)):
        figure = confusion(runs, sheet)
        assert figure is not None
        (axes,) = [axes for axes in figure.axes if axes.images]
        counts = counts_of(runs, [str(digit) for digit in range(10)])
        assert counts.sum() == 120
        assert [int(text.get_text()) for text in axes.texts] == counts[counts > 0].tolist()
        plt.close(figure)


@pytest.mark.parametrize("horizon", [1, 4])
def test_forecasts_follow_each_other_beside_the_series(bench: Bench, horizon: int):
    runs = runs_of(bench, "task=forecast", f"task.horizon={horizon}", "data.test_size=10")
    figure = forecasts(runs)
    assert figure is not None
    (axes,) = figure.axes
    lines = lines_of(figure)
    one = runs[0].predictions
    assert one is not None
    table = one.to_pandas()
    known = {row.sequence + row.step: row.target for row in table.itertuples()}
    assert len(known) == 10 + horizon - 1
    series = {int(line["time"]): float(line["value"]) for line in lines if line["line"] == "series"}
    assert series == pytest.approx(known)
    assert list(np.asarray(axes.get_lines()[0].get_ydata())) == [known[time] for time in sorted(known)]
    for cell in ("rnn", "gru"):
        tables = [run.predictions.to_pandas() for run in runs if run.cell == cell and run.predictions is not None]
        told = [line for line in lines if line["line"] == cell]
        times = [int(line["time"]) for line in told]
        assert times == list(range(1, len(times) + 1)), "each value is forecast once"
        assert len(times) == (10 if horizon == 1 else 12)
        for line in told:
            time, step = int(line["time"]), int(line["step"])
            assert step == (time - 1) % horizon + 1
            found = [
                float(each.query(f"sequence == {time - step} and step == {step}")["output"].iloc[0]) for each in tables
            ]
            assert float(line["value"]) == pytest.approx(np.median(found))
            assert (float(line["low"]), float(line["high"])) == pytest.approx((min(found), max(found)))
            assert line["n"] == "2"
    (legend,) = figure.legends
    made = ["a forecast is made"] if horizon > 1 else []
    assert [text.get_text() for text in legend.get_texts()] == ["series", "rnn", "gru", *made]
    assert axes.get_ylabel() == "ppm"
    plt.close(figure)
    assert confusion(runs) is None


def test_the_command_draws_them_and_names_a_damaged_table(bench: Bench, tmp_path: Path):
    made = bench.ready("task=digits", KEEP)
    bench.ready("task=forecast", KEEP, "data.test_size=10")
    bench.ready("task=character_model", *DATA["character_model"], KEEP)  # a matrix of characters would say nothing
    outcome = bench.call("figures", str(bench.results), f"--output={tmp_path}", "--format=png")
    assert (outcome.code, outcome.err) == (0, "")
    drawn = {path.name for path in tmp_path.iterdir()}
    assert {"confusion.png", "confusion.csv", "forecasts.png", "forecasts.csv"} <= drawn
    lines = list(csv.DictReader(io.StringIO((tmp_path / "confusion.csv").read_text())))
    assert {line["panel"].partition(",")[0] for line in lines} == {"digits"}
    lines = list(csv.DictReader(io.StringIO((tmp_path / "forecasts.csv").read_text())))
    assert {line["panel"].partition(",")[0] for line in lines} == {"forecast"}
    # A page shows the same, from the runs of a table.
    (tmp_path / "all.yaml").write_text("where: {experiment: default}\n")
    places = "".join(f"<!-- figure: {name} all.yaml -->\n<!-- end -->\n" for name in ("confusion", "forecasts"))
    (tmp_path / "page.md").write_text(f"<!-- records: results/runs -->\n{places}")
    outcome = bench.call("report", str(tmp_path / "page.md"))
    assert (outcome.code, outcome.err) == (0, "")
    for name in ("confusion", "forecasts"):
        figure = bench.results / "figures" / f"{name}_all.png"
        assert figure.read_bytes() == (tmp_path / f"{name}.png").read_bytes()
    (bench.folder(made) / PREDICTIONS_FILE).write_bytes(b"PAR1")
    assert_one_line(bench.call("report", str(tmp_path / "page.md")), "report", f"{bench.folder(made)}")
    outcome = bench.call("figures", str(bench.results), f"--output={tmp_path}", "--format=png")
    assert outcome.code == 1
    assert outcome.err.startswith(f"bench figures: {bench.folder(made) / PREDICTIONS_FILE}: not readable")
