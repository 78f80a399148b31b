"""Tables as texts: their numbers, their notes, and their forms."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bench.analysis import metrics
from bench.analysis.gradient_reach import Exponents, GradientReach
from bench.analysis.grouping import arrange
from bench.analysis.metrics import MetricEstimate
from bench.analysis.run import read_reaches, read_runs
from bench.analysis.table import Spec, Table
from bench.report.tables import captions
from bench.report.tables.grid import Entry, Grid
from bench.report.tables.latex import Layout, latex
from bench.report.tables.render import FORMS, render
from bench.stats import intervals, survival
from bench.stats.gradient_decay import Reach
from tests.conftest import ROOT, Bench
from tests.records_made import CONFIG, SWEEP, changed, copy_run, csv_of, make, run

GOLDEN = ROOT / "tests" / "golden"


SPECS = {
    "table": Spec(),
    "matrix": Spec("Two tasks", rows=("task.length", "task.delay"), metrics=("loss",), statistic="iqm"),
}


def gradient_reach(reaches: tuple[int | None, int], rate: float, growth: float = 1.0) -> GradientReach:
    start, end = (Reach(reach, reach, 40, rate, 1.0, 9, growth, None, 0.0) for reach in reaches)
    return GradientReach(start, end)


def test_a_diverged_run_has_no_reach_of_a_trained_network(bench: Bench):
    made = bench.one("cell=rnn", "cell.nonlinearity=relu", "optimizer=sgd", "optimizer.lr=1e30", "probe=flow",
                     "optimizer.momentum=0", "training.clip_norm=null", "training.max_steps=20")  # fmt: skip
    assert made.status == "diverged"
    (found,), damaged = read_runs(bench.results)
    assert (damaged, read_reaches([found])) == ([], [])
    assert found.reach is not None
    assert found.reach.start.reach is not None
    assert found.reach.end is None
    text = bench.call("table", str(bench.results)).out
    assert "reach, untrained" in text
    assert "reach, trained" not in text
    explicit = bench.call("table", str(bench.results), "--metric=mse,reach_trained").out
    assert "Not measured by any of these runs: reach, trained." in explicit


def test_how_far_the_gradient_travels():
    runs = [run(cell, seed, 0.1, run_id=f"{cell}{seed}") for cell in ("rnn", "lstm") for seed in range(3)]
    for rnn in runs[:3]:
        rnn.reach = gradient_reach((5, 7 + rnn.seed), -0.31)
    runs[3].reach = gradient_reach((None, 99), -0.002, growth=7.0)
    runs[4].exponents = Exponents(-0.5, -0.25)
    text = render(runs, "terminal")
    assert max(map(len, text.splitlines())) <= 80
    lines = {line[:18].strip(): line[18:].split() for line in text.splitlines()}
    assert lines["reach, untrained"] == ["5", "-"]
    assert lines["reach, trained"] == ["8", "99"]
    assert re.search(r"^ +\[7, 9\] +n=1$", text, re.M)
    assert lines["rate, trained"] == ["-0.310", "-0.00200"]
    assert lines["growth, trained"] == ["1.00", "7.00"]
    assert lines["Lyapunov, trained"] == ["-", "-0.250"]
    assert "Reach: the largest lag up to which" in text
    assert "leading exponent" in text
    found = csv_of(runs)
    shown = ("reach_untrained", "reach_trained", "rate_trained", "growth_trained", "lyapunov_trained")
    assert [found["rnn", name]["value"] for name in shown] == ["5.0", "8.0", "-0.31", "1.0", ""]
    assert [found["lstm", name]["value"] for name in shown] == ["", "99.0", "-0.002", "7.0", "-0.25"]
    assert [found["lstm", name]["n"] for name in shown] == ["0", "1", "1", "1", "1"]


def test_what_no_run_has_measured_is_said():
    runs = [run("rnn", seed, 0.1, run_id=f"rnn{seed}") for seed in range(3)]
    for wanted in (("reach_untrained", "rate_trained"), ("reach_untrained",), ("mse", "reach_untrained")):
        text = " ".join(render(runs, "terminal", Spec(metrics=wanted)).split())
        names = "; ".join(metrics.name_of(name) for name in wanted if name != "mse")
        assert f"Not measured by any of these runs: {names}." in text


def test_long_tables_are_cut_between_blocks_for_latex():
    def tables(n: int, rules: set[int]) -> list[list[str]]:
        grid = Grid("c", ("a", "b"), tuple((Entry((str(i),)), Entry(("1",))) for i in range(n)), frozenset(rules))
        parts = latex([grid], Layout()).split(r"\midrule" + "\n", 1)[1].split(r"\begin{table}")
        return [[line for line in part.splitlines() if "tabularnewline" in line or "rule" in line] for part in parts]

    for n, rules in ((40, {20}), (40, {39}), (41, {1}), (100, {50})):
        found = tables(n, rules)
        rows = [sum(r"1 \tabularnewline" in line for line in part) for part in found]
        assert sum(rows) == n
        assert max(rows) <= 40
        assert all(part[i : i + 2] != [r"\midrule", r"\bottomrule"] for part in found for i in range(len(part)))
    assert [sum("1 " in line for line in part) for part in tables(40, {20})] == [20, 20]


def test_holes_and_lines_through_two_points_are_told():
    runs = [run("rnn", seed, 0.1, run_id=f"rnn{seed}") for seed in range(3)]
    for each, farthest in zip(runs, (9, 5, 40), strict=True):
        start = Reach(5, farthest, 40, -0.3, 1.0, 2 if each.seed else 9, 1.0, None, 0.0)
        each.reach = GradientReach(start, None)
    text = " ".join(render(runs, "terminal", Spec(metrics=("mse", "reach_untrained", "rate_untrained"))).split())
    assert (
        "rnn, untrained: in 2 of 3 runs the gradient falls under 1 % and is above it again farther back, up to lag 40."
        in text
    )
    assert "rnn, untrained: in 2 of 3 runs the rate is that of two points." in text


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["table", "matrix"])
def test_the_text_of_a_table(name: str, form: str):
    shuffled = random.Random(0).sample(SWEEP, len(SWEEP))
    assert render(shuffled, form, SPECS[name]) == (GOLDEN / f"{name}.{form}.txt").read_text()


def test_the_terminal_has_80_columns_however_many_cells():
    many = [run(f"a_cell_{i}", seed, 0.1, 12345) for i in range(9) for seed in (0, 1)]
    text = render(many, "terminal")
    assert max(map(len, text.splitlines())) <= 80
    assert all(f"a_cell_{i}" in text for i in range(9))


def test_csv_has_the_numbers_in_full():
    runs = [made for made in SWEEP if made.task == "adding_problem"]
    found = csv_of(runs)
    lstm = found["lstm", "mse"]
    assert (lstm["n"], lstm["solved"], lstm["value"], lstm["low"], lstm["high"]) == (
        "3",
        "2",
        "0.0031",
        "0.0012",
        "0.15",
    )
    assert (lstm["baseline"], lstm["statistic"], lstm["max_steps"]) == (repr(1 / 6), "median", "3000")
    share = found["lstm", "solved"]
    interval = intervals.success(2, 3).interval
    assert interval is not None
    assert (share["value"], share["low"], share["high"]) == (repr(2 / 3), repr(interval.low), repr(interval.high))
    gru = found["gru", "steps_to_solve"]
    assert (gru["n"], gru["runs"], gru["diverged"], gru["failed"], gru["interrupted"]) == ("3", "4", "1", "1", "0")
    assert (gru["value"], gru["low"], gru["high"]) == ("500.0", "400.0", "inf")
    assert (found["rnn", "steps_to_solve"]["value"], found["rnn", "steps_to_solve"]["low"]) == ("inf", "")
    assert gru["command"] == "bench run -m task=adding_problem cell=gru 'seed=range(0,4)'"
    assert (gru["protocol"], gru["code"]) == ("default", "sources s1")


def test_unknown_form():
    with pytest.raises(ValueError, match="`form` must be one of terminal, markdown, latex, html, csv, got 'word'"):
        render(SWEEP, "word")


def number(
    value: float | None, low: float | None, high: float | None, better: str | None = "lower", n: int = 9
) -> MetricEstimate:
    return MetricEstimate("mse", "median", value, low, high, n, better)


class TestBest:
    @pytest.mark.parametrize(
        ("numbers", "best"),
        [
            ([(0.1, 0.05, 0.15), (0.3, 0.2, 0.4)], 0),
            ([(0.3, 0.2, 0.4), (0.1, 0.05, 0.15), (0.5, 0.4, 0.6)], 1),
            ([(0.1, 0.05, 0.2), (0.3, 0.2, 0.4)], None),  # they touch
            ([(0.1, 0.05, 0.15), (0.3, 0.2, 0.4), (0.12, 0.1, 0.2)], None),
            ([(0.1, None, None), (0.3, 0.2, 0.4)], None),  # one run
            ([(0.1, 0.05, 0.15), (0.3, None, None)], None),
            ([(0.1, 0.1, 0.1), (0.1, 0.1, 0.1)], None),  # a tie
            ([(0.1, 0.05, 0.15), (math.inf, math.inf, math.inf)], 0),
            ([(0.1, 0.05, 0.15), (math.inf, 0.1, math.inf)], None),
            ([(math.inf, math.inf, math.inf)] * 2, None),
            ([(0.1, 0.05, 0.15), (None, None, None)], None),  # nothing to be better than
            ([(0.1, 0.05, 0.15)], None),
        ],
    )
    def test_apart_from_all_others(self, numbers: list[tuple[float | None, ...]], best: int | None):
        assert metrics.best_of([number(value, low, high) for value, low, high in numbers]) == best
        negative = [tuple(-each if each is not None else None for each in (v, high, low)) for v, low, high in numbers]
        higher = [number(value, low, high, "higher") for value, low, high in negative]
        assert metrics.best_of(higher) == best

    def test_a_place_without_runs_is_passed_over(self):
        assert metrics.best_of([None, number(0.3, 0.2, 0.4), number(0.1, 0.0, 0.1)]) == 2

    def test_what_is_neither_better_higher_nor_lower_has_no_best(self):
        assert metrics.best_of([number(0.3, 0.2, 0.4, None), number(0.1, 0.0, 0.1, None)]) is None

    def test_bootstrap_intervals_of_few_runs_set_nothing_apart(self):
        few = [number(0.3, 0.2, 0.4), number(0.1, 0.0, 0.1, n=4)]
        assert metrics.best_of(few) is None
        assert metrics.best_of([dataclasses.replace(each, n=5) for each in few]) == 1
        # Intervals of shares and of survival count for any number of runs.
        assert metrics.best_of([dataclasses.replace(each, statistic="share", n=1) for each in few]) == 1

    @pytest.mark.parametrize(
        ("form", "text"),
        [
            ("terminal", "*0.675"),
            ("markdown", "**0.675 [0.65, 0.70] 0/6 solved**"),
            ("latex", r"\textbf{0.675}"),
            ("html", "<b>0.675<br>"),
        ],
    )
    def test_in_all_forms(self, form: str, text: str):
        made = render(SWEEP, form, Spec(rows=("task",), metrics=("loss",)))
        assert made.count(text) == 1
        star = {"terminal": "*", "markdown": "**", "latex": "textbf", "html": "<b>"}[form]
        assert made.replace("or * in", "").count(star) == (2 if form == "markdown" else 1)


ADDING = [made for made in SWEEP if made.task == "adding_problem"]


class TestNumbers:
    @pytest.mark.parametrize(
        ("metric", "statistic", "value"),
        [
            ("solved", "share", 2 / 3),
            ("mse", "median", 0.0031),
            ("mse", "iqm", (0.0012 + 0.0031 + 0.15) / 3),
            ("within_tolerance", "median", 0.5),
            ("loss", "median", 0.0031),
            ("steps_to_solve", "survival", 1200),
            ("steps_to_solve", "median", 1200),
            ("steps_to_solve", "iqm", math.inf),
            ("parameters", "median", 1234),
            ("milliseconds_per_step", "median", 10),
            ("milliseconds_per_step", "iqm", 10),
            ("reach_untrained", "median", 6),
            ("reach_trained", "iqm", 8),
            ("rate_trained", "median", -0.5),
            ("growth_trained", "median", 1),
            ("lyapunov_untrained", "median", -0.5),
        ],
    )
    def test_every_metric_and_statistic(self, metric: str, statistic: str, value: float):
        runs = [dataclasses.replace(made) for made in ADDING]
        for lstm in (made for made in runs if made.cell == "lstm"):
            lstm.reach = gradient_reach((5 + lstm.seed, 7 + lstm.seed), -0.5)
            lstm.exponents = Exponents(-0.5, None)
        spec = Spec(metrics=(metric,), statistic=statistic)
        found = csv_of(runs, spec)["lstm", metric]
        assert (found["statistic"], found["n"]) == (statistic, "3")
        assert float(found["value"]) == pytest.approx(value)
        for form in FORMS:
            assert render(runs, form, spec)

    def test_survival_is_that_of_the_times_with_the_budget_for_the_rest(self):
        found = csv_of(ADDING)["lstm", "steps_to_solve"]
        expected = survival.median_time([900, 1200, 3000], [True, True, False])
        assert (float(found["value"]), float(found["low"])) == (expected.value, expected.low)
        assert (expected.high, found["high"]) == (None, "inf")

    @pytest.mark.parametrize("statistic", ["survival", "median", "iqm"])
    def test_steps_that_no_run_solved_in_are_more_than_the_budget(self, statistic: str):
        runs = [run("rnn", seed, 0.2) for seed in range(6)]
        text = render(runs, "terminal", Spec(metrics=("steps_to_solve",), statistic=statistic))
        assert ">3000\n" in text
        assert "∞" not in text
        assert "0/6 solved" in text

    def test_an_open_interval(self):
        assert "[900, ∞]" in render(ADDING, "terminal", Spec(metrics=("steps_to_solve",)))
        assert r"[900, $\infty$]" in render(ADDING, "latex", Spec(metrics=("steps_to_solve",)))
        assert "$>$3000" in render(ADDING, "latex", Spec(metrics=("steps_to_solve",)))

    def test_where_all_diverged(self):
        runs = [run("rnn", seed, status="diverged") for seed in range(5)] + [run("gru", s, 0.1) for s in range(5)]
        text = render(runs, "terminal", Spec(metrics=("mse",)))
        assert re.search(r"length=100 \[a\] +0/5 solved, 5 diverged +\[0.10, 0.10\]", text)
        assert re.search(r"adding_problem +diverged +\*0.100", text)

    def test_a_diverged_run_has_no_score_of_another_task(self):
        runs = [run("rnn", 0, status="diverged"), copy_run("rnn", 0, 0.3)]
        lines = csv.DictReader(io.StringIO(render(runs, "csv", Spec(rows=("task",), metrics=("recall",)))))
        assert [(line["task"], line["value"], line["n"]) for line in lines] == [
            ("adding_problem", "", "0"), ("copy_memory", "0.3", "1"),
        ]  # fmt: skip

    def test_pooled_settings_are_strata_and_protocols_of_one_setting_are_not(self):
        runs = [run("gru", seed, 0.1 * seed) for seed in range(4)]
        other = [*runs, run("gru", 4, 0.4, experiment="other")]
        both = Spec(rows=("task",), metrics=("mse",), mixed=True)
        assert csv_of(other, both)["gru", "mse"]["low"] != ""
        longer = changed(CONFIG, task={"length": 7})
        spec = Spec(rows=("task",), metrics=("mse",), mixed=True)
        assert csv_of([*runs, run("gru", 4, 0.4, config=longer)], spec)["gru", "mse"]["low"] == ""

    def test_one_run_has_no_interval(self):
        found = csv_of([run("gru", 0, 0.25, 700)])
        assert [found["gru", "mse"][key] for key in ("value", "low", "high", "n")] == ["0.25", "", "", "1"]
        text = render([run("gru", 0, 0.25, 700)], "terminal", Spec(metrics=("mse",)))
        assert re.search(r"0\.250\n.*1/1 solved", text)

    def test_what_became_of_the_runs_is_told_without_a_line_for_the_solved(self):
        text = render(ADDING, "terminal", Spec(metrics=("mse", "steps_to_solve")))
        assert text.count("1 diverged, 1 failed") == 1
        assert text.count("0/3 solved") == 1

    def test_no_exponents_of_what_can_be_read_without(self):
        times = {"wall_seconds": 2.0, "train_seconds": 1.0, "steps_per_second": 7.0}
        runs = [
            run("gru", seed, 0.1, time={**times, "milliseconds_per_step": value})
            for seed, value in enumerate([131.4, 1310.6, 12.04])
        ]
        text = render(runs, "terminal", Spec(metrics=("milliseconds_per_step", "parameters")))
        assert re.search(r"ms a step +131\n", text)
        assert "[12, 1400]" in text


class TestNotes:
    def test_two_groups(self):
        runs = [run("gru", seed, mse) for seed, mse in enumerate([0.001, 0.0011, 0.0012, 0.16, 0.161, 0.162])]
        text = " ".join(render(runs, "terminal").split())
        assert (
            "[a] gru, MSE: two groups: 3 values <= 0.0012 and 3 >= 0.16; one number in the middle describes neither."
            in text
        )
        assert "two groups" not in render(runs[:3], "terminal")

    def test_too_few_seeds_names_the_columns_that_have_few(self):
        runs = [run(cell, seed, 0.1 + seed) for cell in ("rnn", "lstm") for seed in range(6)]
        assert "no verdict" not in render(runs, "terminal")
        runs += [run("gru", seed, 0.1 + seed) for seed in range(2)]
        (note,) = [each for each in captions.notes(Table.of(runs, Spec())) if "no verdict" in each]
        assert note == (
            "[a] Between gru and others, by a paired test, no verdict: the smallest p of 2 pairs is 0.5; "
            "p <= 0.05 takes at least 6."
        )

    def test_seeds_that_are_not_shared_are_no_pairs(self):
        runs = [run("rnn", seed, 0.1 + seed) for seed in range(6)] + [run("gru", 9 + s, 0.1 + s) for s in range(6)]
        text = " ".join(render(runs, "terminal").split())
        assert "[a] Between columns, by a paired test, no verdict: the smallest p of 0 pairs is 1;" in text

    def test_a_column_of_failed_runs_alone_is_no_reason(self):
        runs = [run(cell, seed, 0.1 + seed) for cell in ("rnn", "lstm") for seed in range(6)]
        runs.append(run("gru", 0, status="failed"))
        text = render(runs, "terminal")
        assert "no verdict" not in text
        assert re.search(r"solved +0/6 +0/6 +0/0\n", text)
        assert "(1 failed)" in text

    def test_how_little_an_interval_of_few_runs_covers(self):
        said = "An interval of 3 runs covers their median with 75 %."
        assert said in render(ADDING, "terminal")
        assert "covers" not in render(ADDING, "terminal", Spec(metrics=("solved",)))
        for n, statistic, share in (
            (5, "median", "93.8 %"), (6, "median", None), (4, "iqm", "less than 90 %"), (7, "iqm", "about 90 %"),
            (8, "iqm", None),
        ):  # fmt: skip
            text = render([run("gru", s, 0.1) for s in range(n)], "markdown", Spec(statistic=statistic))
            assert ("covers" in text) == (share is not None)
            assert share is None or f"with {share}." in text

    def test_caption(self):
        dirty = {**make().code, "commit": "0123456789ab", "dirty": True}
        clean = {**make().code, "commit": "0123456789ab", "dirty": False}
        long = changed(CONFIG, training={"max_steps": 20_000})
        runs = [run("gru", 0, 0.1, code=dirty), run("gru", 1, 0.1, code=clean), run("gru", 2, 0.1, config=long)]
        assert captions.caption(Table.of(runs, Spec(title="what came out."))) == (
            "What came out. Protocol: default, at most 3,000 or 20,000 steps. Run on a processor (cpu, 1 thread). "
            "Code: commit 0123456, sources s1, sources s1, changed since commit 0123456."
        )

    def test_marks_of_many_rows(self):
        row = arrange(ADDING)[0][0]
        assert captions.marks([row] * 54)[25:28] == ["z", "aa", "ab"]
        assert captions.marks([row] * 54)[-1] == "bb"


class TestOwnNames:
    """The author of a cell may give it any name."""

    NAME = r"a_|*<b>&%$#~^{c}\\x"

    def test_latex(self):
        text = render([run(self.NAME, 0, 0.1)], "latex")
        assert (
            r"a\_\textbar{}*$<$b$>$\&\%\$\#\textasciitilde{}\textasciicircum{}\{c\}\textbackslash{}\textbackslash{}x"
            in text
        )
        assert r"adding\_problem" in text
        body = [line for line in text.splitlines() if line.endswith(r"\tabularnewline") and "multicolumn" not in line]
        assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {2}
        assert text.count(r"\begin{") == text.count(r"\end{") == 2

    def test_markdown(self):
        text = render([run(self.NAME, 0, 0.1)], "markdown")
        assert r"a_\|\*&lt;b>&%$#~^{c}\\\\x" in text
        rows = [line for line in text.splitlines() if line.startswith("|")]
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {5}

    def test_html(self):
        text = render([run(self.NAME, 0, 0.1)], "html")
        assert '<th class="right">a_|*&lt;b&gt;&amp;%$#~^{c}' in text
        assert text.count("<b>") == 0

    @pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")
    @pytest.mark.parametrize("cells", [1, 9, 14])
    @pytest.mark.parametrize(
        "spec", [Spec(), Spec(compare=True), Spec(metrics=("mse",))], ids=["all", "compare", "one"]
    )
    def test_latex_fits_the_page(self, tmp_path: Path, cells: int, spec: Spec):
        names = [self.NAME.replace("|", ""), *(f"cell_{number}" for number in range(1, cells))]
        body = render([*SWEEP, *(run(name, seed, 0.1) for name in names for seed in range(3))], "latex", spec)
        page = r"\documentclass{article}\usepackage{booktabs}\begin{document}" + body + r"\end{document}"
        (tmp_path / "page.tex").write_text(page)
        words = ["pdflatex", "-halt-on-error", "-interaction=batchmode", "page.tex"]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
        log = (tmp_path / "page.log").read_text()
        assert done.returncode == 0, log[-1500:]
        assert re.findall(r"Overfull .hbox .*|.*Float too large.*", log) == []
