"""The figures of a tuning: what they show of the trials, from the file of these to pictures and a page."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import matplotlib
import pytest
from matplotlib import pyplot as plt

from bench.report.figures.tuning import expected_best_scores, slices
from bench.report.page import fill_page
from bench.tuning.trials import Line, Trial, as_csv, read_trials
from tests.conftest import Bench, assert_one_line
from tests.records_made import run, write

matplotlib.use("Agg")
SCORES = {"rnn": (0.16, 0.12, 1 / 6), "gru": (0.15, 0.05, 0.1)}


def line(cell: str, sampler: str = "random", task: str = "adding_problem", direction: str = "lower") -> Line:
    states = ("complete", "pruned", "failed" if cell == "rnn" else "complete")
    trials = tuple(
        Trial(i, state, {"optimizer": ("adam", "sgd")[i % 2], "optimizer.lr": 10.0 ** -(i + 1)},
              None if state == "failed" else SCORES[cell][i])  # pyright: ignore[reportArgumentType]
        for i, state in enumerate(states)
    )  # fmt: skip
    return Line(task, "length=100", cell, "mse", direction, 1 / 6, sampler, trials, ((2, "a b"), (1, "c"), (2, "d e")))  # pyright: ignore[reportArgumentType]


def data_of(figure) -> list[dict[str, str]]:
    assert figure is not None
    found = list(csv.DictReader(io.StringIO(figure.to_csv())))
    plt.close(figure)
    return found


def test_trials_come_back_from_their_file(tmp_path: Path):
    lines = [line("rnn"), line("gru", "tpe")]
    (tmp_path / "trials.csv").write_bytes(as_csv(lines))
    assert read_trials(tmp_path / "trials.csv") == lines
    assert lines[0].scores == [0.16, 0.12, 1 / 6], "a failed trial counts as the baseline"


def test_the_expected_best_of_random_trials():
    rows = data_of(expected_best_scores([line("rnn"), line("gru")]))
    assert {row["panel"] for row in rows} == {"adding_problem, length=100"}
    values = {cell: [float(row["value"]) for row in rows if row["line"] == cell] for cell in ("rnn", "gru")}
    assert values["gru"][0] == pytest.approx((0.15 + 0.05 + 0.1) / 3)
    # The least of two draws of three: 5/9 the best, 3/9 the second, 1/9 the last.
    assert values["gru"][1] == pytest.approx((5 * 0.05 + 3 * 0.1 + 0.15) / 9)
    assert all(float(row["low"]) <= float(row["value"]) <= float(row["high"]) for row in rows)


def test_trials_that_learn_have_no_interval():
    rows = data_of(expected_best_scores([line("gru", "tpe")]))
    assert [(float(row["value"]), row["low"], row["high"]) for row in rows] == [
        (0.15, "", ""), (0.05, "", ""), (0.05, "", ""),
    ]  # fmt: skip


def test_slices_show_each_trial_with_a_score():
    figure = slices([line("rnn"), line("gru")])
    assert figure is not None
    assert [axes.get_xlabel() for axes in figure.axes] == ["optimizer", "optimizer.lr"]
    assert figure.axes[0].get_xticklabels()[1].get_text() == "sgd"
    assert (figure.axes[1].get_xscale(), figure.axes[1].get_yscale()) == ("log", "linear"), (
        "two decades, and less than one"
    )
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
    rows = [row for row in data_of(figure) if row["key"] == "optimizer.lr"]
    assert [(row["line"], row["trial"], row["state"], float(row["at"]), float(row["value"])) for row in rows] == [
        ("rnn", "0", "complete", 0.1, 0.16), ("rnn", "1", "pruned", 0.01, 0.12), ("gru", "0", "complete", 0.1, 0.15),
        ("gru", "1", "pruned", 0.01, 0.05), ("gru", "2", "complete", 0.001, 0.1),
    ]  # fmt: skip


def test_the_command_draws_them_from_the_folder_of_the_trials(bench: Bench, tmp_path: Path):
    (tmp_path / "trials.csv").write_bytes(as_csv([line("rnn"), line("gru")]))
    made = bench.call("figures", str(tmp_path), "--cells=gru", "--format=svg", "--name=gru=GRU")
    assert (made.code, made.err) == (0, "")
    names = [Path(text).name for text in made.out.splitlines()]
    assert names == ["expected_best.svg", "expected_best.csv", "slices.svg", "slices.csv"]
    rows = list(csv.DictReader((tmp_path / "figures" / "slices.csv").read_text().splitlines()))
    assert {row["line"] for row in rows} == {"gru"}
    for words, message in (
        (["--cells=lstm"], "--cells must be of one of rnn, gru, got 'lstm'"),
        (["--where=seed=1"], "--where must not be given for trials, among which --cells and --tasks choose"),
    ):
        assert_one_line(bench.call("figures", str(tmp_path), *words), "figures", message)


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", as_csv([line("rnn")]).decode().replace("pruned", "odd")])
def test_a_file_that_has_no_trials(bench: Bench, tmp_path: Path, text: str):
    (tmp_path / "trials.csv").write_text(text)
    outcome = bench.call("figures", str(tmp_path))
    if text:
        assert_one_line(outcome, "figures", f"{tmp_path}/trials.csv must be the trials of a tuning (")
    else:
        assert (outcome.code, outcome.out) == (0, "")


def test_a_page_has_them_beside_its_tables(tmp_path: Path):
    write(tmp_path / "runs" / "a" / "adding_problem" / "gru" / "1", run("gru", 1, 0.1).record)
    (tmp_path / "trials.csv").write_bytes(as_csv([line("rnn"), line("gru")]))
    page = tmp_path / "README.md"
    page.write_text("<!-- records: runs -->\n<!-- figure: expected_best trials.csv -->\n<!-- end -->\n")
    assert [path.name for path in fill_page(page)] == [
        "expected_best_trials.png",
        "expected_best_trials.pdf",
        "README.md",
    ]
    words = "best score that a search is expected to find, over its number of trials"
    assert f"![{words}](figures/expected_best_trials.png)" in page.read_text()
    page.write_text("<!-- records: runs -->\n<!-- figure: expected_best nowhere.csv -->\n<!-- end -->\n")
    with pytest.raises(OSError, match=r"nowhere\.csv"):
        fill_page(page)
