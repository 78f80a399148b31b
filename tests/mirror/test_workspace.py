"""The dashboard: what is in it, as the library reads its JSON, and what becomes of it on a server."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex

from bench.analysis.run import Run, read_reaches, read_runs
from bench.cli.dashboard import colours_of, dashboard_command
from bench.mirror.entry import config_of, summary_of
from bench.mirror.history import history
from bench.mirror.task_facts import facts_of
from bench.mirror.workspace import as_json, workspace
from bench.report.figures.draw import FIGURES
from bench.report.figures.style import STYLE
from bench.report.figures.survival import draw_survival
from tests.conftest import ROOT
from tests.records_made import SWEEP, copy_run, make, run, write
from tests.wandb_server import WandbServer

TASKS = ("adding_problem", "copy_memory")
CELLS = ("rnn", "lstm", "gru")

Command = Callable[..., tuple[int, str, str]]


def text_of(runs: list[Run], task: str | None = None) -> str:
    facts, damaged = facts_of(runs)
    assert damaged == []
    return as_json(workspace("somebody", "rnn-bench", facts, colours_of(runs), task, figures=tuple(FIGURES)))


def section_of(text: str) -> dict[str, Any]:
    return json.loads(text)["section"]


def panels_of(text: str) -> dict[str, list[dict[str, Any]]]:
    return {each["name"]: each["panels"] for each in section_of(text)["panelBankConfig"]["sections"]}


def configs(text: str, kind: str) -> list[dict[str, Any]]:
    return [panel["config"] for panels in panels_of(text).values() for panel in panels if panel["viewType"] == kind]


def colours_in(text: str) -> dict[tuple[str, ...], str]:
    """Return the colours by the values of a group, from keys that have them as JSON in percent signs."""
    runset = section_of(text)["runSets"][0]
    grouping = [f"{key['section']}:{key['name']}" for key in runset["grouping"]]
    found = {}
    for key, colour in section_of(text)["customRunColors"].items():
        name, owner, path = (unquote(part) for part in key.split(":"))
        steps = json.loads(path)
        assert (name, json.loads(owner)) == ("run-color-group", runset["id"])
        assert [step["key"] for step in steps] == grouping
        found[tuple(step["value"] for step in steps)] = colour
    return found


class TestContent:
    def test_the_same_runs_make_the_same_text_and_the_library_reads_it(self):
        text = text_of(SWEEP)
        # The product has imported the library by now, whose warnings it keeps to itself.
        from wandb_workspaces.workspaces.internal import WorkspaceViewspec

        assert text == text_of(SWEEP) == text_of(SWEEP[::-1])
        model = WorkspaceViewspec.model_validate_json(text)
        assert json.loads(model.model_dump_json(by_alias=True, exclude_none=True)) == json.loads(text)
        sections = panels_of(text)
        assert list(sections) == ["Accuracy against the baseline", "Time to solve", "Gradient flow", "Cost",
                                  "Tables and figures", "Runs beside each other"]  # fmt: skip
        ids = [panel["__id__"] for panels in sections.values() for panel in panels]
        assert len(set(ids)) == len(ids)
        assert section_of(text)["settings"]["shouldAutoGeneratePanels"] is False

    def test_runs_are_grouped_by_task_and_cell_and_have_the_colours_of_the_figures(self):
        text = text_of(SWEEP)
        (runset,) = section_of(text)["runSets"]
        keys = [key["name"] for key in runset["grouping"]]
        assert keys == ["task_name.value", "cell_name.value"]
        assert all(key.removesuffix(".value") in config_of(make()) for key in keys)
        for panel in configs(text, "Run History Line Plot"):
            assert (panel["groupAgg"], panel["groupArea"], panel["xAxis"]) == ("median", "minmax", "step")
        with plt.style.context(STYLE):
            figure = draw_survival(SWEEP)
            assert figure is not None
            drawn = {}
            for axes in figure.axes:
                legend = axes.get_legend()
                assert legend is not None
                for label, line in zip(legend.get_texts(), legend.get_lines(), strict=True):
                    drawn[axes.get_title().partition(",")[0], label.get_text().split()[0]] = to_hex(line.get_color())
            plt.close(figure)
        assert colours_in(text) == drawn
        assert set(drawn) == {(task, cell) for task in TASKS for cell in CELLS}

    def test_a_cell_with_several_settings_has_its_first_colour(self):
        other = {"cell": {"_target_": "bench.cells.lstm", "forget_bias": 5}}
        runs = [*SWEEP[:7], run("lstm", 0, 0.1, config=make().config | other)]
        assert set(colours_of(runs)) == set(CELLS)
        assert colours_of(runs)["lstm"] == colours_of(SWEEP)["lstm"]

    def test_every_score_is_there_and_losses_have_their_baseline_and_a_logarithmic_axis(self):
        text = text_of(SWEEP)
        lines = {tuple(panel["metrics"]): panel for panel in configs(text, "Run History Line Plot")}
        bars = {name for panel in configs(text, "Bar Chart") for name in panel["metrics"]}
        for record in (each.record for each in SWEEP):
            for name, way in record.directions.items():
                metrics = ("eval/loss", "eval/baseline") if name == "loss" else (f"eval/{name}",)
                assert lines[metrics]["yLogScale"] is (way == "lower")
            assert {f"summary_metrics.test/{name}" for name in record.metrics["test"]} <= bars
        scatter = {panel["yAxis"] for panel in configs(text, "Scatter Plot")}
        assert {"summary:test/mse", "summary:test/recall", "summary:steps_to_solve"} == scatter
        (markdown,) = configs(text, "Markdown Panel")
        assert "- adding_problem, length=100: loss 0.1667, mse 0.1667, within_tolerance 0.0784" in markdown["value"]
        assert "- copy_memory, delay=10: exact 9.313e-10, loss 0.6931, recall 0.125" in markdown["value"]

    def test_one_task_is_filtered_and_grouped_by_cell(self):
        text = text_of(SWEEP, "copy_memory")
        (runset,) = section_of(text)["runSets"]
        filters = runset["filters"]["filters"]
        assert [(each["key"], each["op"], each["value"], each.get("connector")) for each in filters] == [
            ({"section": "config", "name": "task_name"}, "=", "copy_memory", None),
            ({"section": "run", "name": "jobType"}, "=", "summary", "OR"),
        ]
        assert [key["name"] for key in runset["grouping"]] == ["cell_name.value"]
        assert colours_in(text) == {(cell,): colour for cell, colour in colours_of(SWEEP).items()}
        assert "mse" not in text
        assert section_of(text_of(SWEEP))["runSets"][0]["filters"]["filters"] == []

    def test_a_task_of_no_known_name_and_its_scores(self):
        directions = {"loss": "lower", "f1": "higher"}
        facts = make().task_facts | {"metric": "f1", "baselines": {"loss": 1.0, "f1": 0.5}, "directions": directions}
        metrics = {"eval": {}, "test": {"f1": 0.9, "f1@2": 0.8}}
        text = text_of([run("mine", 0, task="my_task", metrics=metrics, task_facts=facts)])
        assert colours_in(text) == {("my_task", "mine"): "#0072b2"}
        assert ["eval/f1"] in [panel["metrics"] for panel in configs(text, "Run History Line Plot")]
        assert ["summary_metrics.test/f1@2"] in [panel["metrics"] for panel in configs(text, "Bar Chart")]

    def test_metrics_are_those_of_a_run_and_none_of_the_summary_of_an_experiment(self):
        runs = read_runs(ROOT / "results" / "demo" / "runs" / "adding_problem" / "lstm")[0][:1]
        assert read_reaches(runs) == []
        logged = {name for _, row in history(runs[0]) for name in row}
        text = text_of(runs)
        lines = configs(text, "Run History Line Plot")
        plain = {name for panel in lines for name in panel["metrics"]}
        assert plain <= logged
        assert {name for name in logged if not name.startswith("detail/")} <= plain
        regexes = [panel["metricRegex"] for panel in lines if panel.get("useMetricRegex")]
        for regex in regexes:
            assert any(re.search(regex, name) for name in logged), regex
        gates = {name for name in logged if name.startswith("detail/gates/")}
        assert len(gates) > 15
        left = {name for name in gates if not any(re.search(regex, name) for regex in regexes)}
        assert {name.rpartition("/")[2] for name in left} == {"tau_25", "tau_75"}
        summary = {name for panel in configs(text, "Bar Chart") for name in panel["metrics"]}
        assert {name.removeprefix("summary_metrics.") for name in summary} <= set(summary_of(runs[0]))
        others = ["table", "table_html", *(f"figures/{name}" for name in FIGURES)]
        assert not any(re.search(regex, name) for regex in regexes for name in others)
        assert plain.isdisjoint(others)

    def test_the_curve_over_lag_is_a_custom_chart_of_its_table(self):
        chart, _ = configs(text_of(SWEEP), "Vega2")
        (query,) = chart["userQuery"]["queryFields"]
        (table,) = [field for field in query["fields"] if field["name"] == "summaryTable"]
        assert [(each["name"], each["value"]) for each in table["args"]] == [("tableKey", "flow/curve")]
        assert chart["fieldSettings"] == {"x": "lag", "y": "value", "stroke": "cell"}

    def test_all_figures_that_are_drawn_are_shown(self):
        drawn = {path.stem for path in (ROOT / "results" / "demo" / "figures").glob("*.png")}
        assert drawn <= set(FIGURES)
        shown = {key for panel in configs(text_of(SWEEP), "Media Browser") for key in panel["mediaKeys"]}
        assert shown == {"table_html", *(f"figures/{name}" for name in FIGURES)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copied = dataclasses.replace(copy_run("gru", 0, 0.5).record, run_id="c")
    for record in (make(run_id="a"), make(run_id="b", cell="lstm"), copied):
        write(tmp_path / "runs" / record.task / record.cell / record.run_id, record)
    return tmp_path / "runs"


@pytest.fixture
def command(folder: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Call the command with the records of the folder; its exit code, and what it printed."""

    def call(**words: Any) -> tuple[int, str, str]:
        nothing = {"project": None, "entity": None, "task": None, "output": None, "online": False, "folder": folder}
        code = dashboard_command(argparse.Namespace(**{**nothing, **words}))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


class TestCommand:
    def test_the_json_is_printed_or_written(self, command: Command, folder: Path, tmp_path: Path):
        code, out, err = command()
        assert (code, err) == (0, "")
        assert out == text_of(read_runs(folder)[0])
        assert command(output=tmp_path / "new" / "dashboard.json") == (0, "", "")
        assert (tmp_path / "new" / "dashboard.json").read_text() == out
        assert [path.name for path in (tmp_path / "new").iterdir()] == ["dashboard.json"]

    def test_bad_input_is_one_line(self, command: Command, tmp_path: Path):
        (tmp_path / "empty").mkdir()
        for words, line in (
            ({"folder": tmp_path / "empty"}, f"DIR must hold records, found none below '{tmp_path / 'empty'}'"),
            ({"task": "copy"}, f"--task must be one of {', '.join(TASKS)}, got 'copy', did you mean copy_memory?"),
            ({"output": tmp_path / "empty"}, "--output must be a file that can be written, "),
        ):
            code, out, err = command(**words)
            assert (code, out, err.count("\n")) == (2, "", 1)
            assert err.startswith(f"bench dashboard: {line}")
        assert list((tmp_path / "empty").iterdir()) == []

    def test_a_damaged_record_is_left_out_and_named(self, command: Command, folder: Path):
        (folder / "copy_memory" / "gru" / "c" / "record.json").write_text("{")
        code, out, err = command()
        assert (code, err.count("\n")) == (1, 1)
        assert err.startswith("bench dashboard: ")
        assert {path[0] for path in colours_in(out)} == {"adding_problem"}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    """A server with a project; W&B's client in this process knows it, and nothing of the user."""
    import wandb

    with WandbServer() as started:
        started.upsert_project({"entityName": "tester", "name": "rnn-bench"})
        for name, value in {**started.env, "HOME": str(tmp_path)}.items():
            monkeypatch.setenv(name, value)
        wandb.teardown()
        yield started
        wandb.teardown()


class TestOnline:
    def test_saved_twice_it_is_one_view_that_was_changed(self, command: Command, server: WandbServer):
        assert command(online=True) == (0, f"{server.url}/tester/rnn-bench?nw=rnnbench\n", "")
        ((number, first),) = server.views.items()
        assert (first.name, first.display_name, first.type) == ("nw-rnnbench-v", "rnn-bench", "project-view")
        assert json.loads(command()[1]) == first.spec
        assert command(online=True, task="copy_memory", entity="tester")[::2] == (0, "")
        ((again, second),) = server.views.items()
        assert (again, second.name, second.display_name) == (number, first.name, first.display_name)
        assert second.spec == json.loads(command(task="copy_memory")[1]) != first.spec
        saved = [body for body in server.received if b"mutation UpsertView2" in body]
        assert [number.encode() in body for body in saved] == [False, True], "the view is changed by its id"
        assert server.problems == []

    @pytest.mark.parametrize(
        ("words", "line"),
        [
            ({"project": "nothing"}, "--project must be a project of W&B that the key may see, got tester/nothing"),
            ({"entity": "nobody"}, "W&B's entity must be one of tester, team for this key, got 'nobody'"),
        ],
    )
    def test_an_unknown_place_is_one_line(
        self, command: Command, server: WandbServer, words: dict[str, str], line: str
    ):
        assert command(online=True, **words) == (2, "", f"bench dashboard: {line}\n")
        assert server.views == {}

    @pytest.mark.parametrize("key", [None, "123", "f" * 40])
    def test_no_key_or_a_wrong_one_is_one_line(
        self, command: Command, server: WandbServer, monkeypatch: pytest.MonkeyPatch, key: str | None
    ):
        monkeypatch.delenv("WANDB_API_KEY") if key is None else monkeypatch.setenv("WANDB_API_KEY", key)
        code, out, err = command(online=True)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert ("has no key" if key is None else "does not take the key") in err
        assert server.views == {}

    def test_a_refusal_is_one_line(self, command: Command, server: WandbServer):
        server.fail("UpsertView2", 403)
        code, out, err = command(online=True)
        assert (code, out, err) == (2, "", "bench dashboard: W&B could not save the dashboard: permission denied\n")

    def test_without_a_network_it_is_one_line(
        self, command: Command, server: WandbServer, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr("bench.mirror.client.CONNECT_SECONDS", 1)
        server.stop()
        code, out, err = command(online=True)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert err.startswith("bench dashboard: W&B could not be reached: no answer from http://127.0.0.1:")
