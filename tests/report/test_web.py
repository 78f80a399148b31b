"""The page for a browser as a file: its numbers, what is in its HTML, and the command that makes it."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.analysis.run import Run, read_reaches, read_runs
from bench.analysis.table import Spec
from bench.report.tables import numbers
from bench.report.tables.render import render
from bench.report.web import shortened
from bench.report.web.content import content_of
from bench.report.web.document import VENDORED, document
from bench.report.web.shortened import Detail, differences, evenly, short
from tests.conftest import ROOT, Bench
from tests.pages_made import HOSTILE, hostile

DEMO = ROOT / "results" / "demo" / "runs"
PUBLISHED = [ROOT / "results" / name / "runs" for name in ("published", "sequences", "tuning", "demo")]


@pytest.fixture(scope="module")
def demo() -> tuple[list[Run], dict[str, Any]]:
    runs, _ = read_runs(DEMO)
    content, damaged = content_of(runs)
    assert damaged == []
    return runs, content


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the texts of its scripts and styles."""

    def __init__(self, page: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[int, str] = {}
        self.is_open = False
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.is_open = True

    def handle_endtag(self, tag: str) -> None:
        self.is_open = False

    def handle_data(self, data: str) -> None:
        if self.is_open:
            here = len(self.elements) - 1
            self.texts[here] = self.texts.get(here, "") + data

    def inside(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        return [(own, self.texts.get(i, "")) for i, (name, own) in enumerate(self.elements) if name == tag]


def data_of(page: bytes) -> dict[str, Any]:
    (text,) = [text for own, text in Elements(page).inside("script") if own.get("id") == "data"]
    return json.loads(text)


def place_of(content: dict[str, Any], task: str, cell: str) -> dict[str, Any]:
    settings = {setting["key"]: setting["task"] for setting in content["settings"]}
    (place,) = [each for each in content["places"] if (settings[each["setting"]], each["cell"]) == (task, cell)]
    return place


def test_the_table_is_that_of_bench_table(demo: tuple[list[Run], dict[str, Any]]):
    runs, content = demo
    read_reaches(runs)
    lines = list(csv.DictReader(io.StringIO(render(runs, "csv", Spec()))))
    compared = 0
    for line in lines:
        task = line["row"].partition(",")[0] if "row" in line else line["task"]
        value, text, *_ = place_of(content, task, line["column"])["numbers"][line["metric"]]
        if line["metric"] in ("mse", "recall", "within_tolerance", "growth_trained"):
            assert text == numbers.number(float(line["value"]))
            assert value == pytest.approx(float(line["value"]), rel=1e-5)
            compared += 1
    assert compared == 3 * 2 + 3 + 2 * 3
    assert place_of(content, "copy_memory", "lstm")["numbers"]["solved"][1:3] == ["2/3", "[0.20, 0.94]"]
    assert place_of(content, "copy_memory", "lstm")["numbers"]["parameters"][:3] == [72841, "72,841", ""]
    assert place_of(content, "copy_memory", "gru")["numbers"]["recall"][3] == "0.125"
    assert place_of(content, "adding_problem", "rnn")["numbers"]["steps_to_solve"][:2] == ["Infinity", ">3000"]


def test_the_lines_are_those_of_the_records(demo: tuple[list[Run], dict[str, Any]]):
    runs, content = demo
    place = place_of(content, "adding_problem", "gru")
    members = [runs[number] for number in place["runs"]]
    flows = [member.flow.filter(np.equal(member.flow["layer"].to_numpy(), 0)).to_pandas() for member in members]
    for look in place["flow"]["looks"]:
        ends = [member.record.steps if look["step"] is None else look["step"] for member in members]
        norms = np.array([
            flow[flow["step"] == end].set_index("lag")["value"].loc[place["flow"]["lags"]]
            for flow, end in zip(flows, ends, strict=True)
            if end in set(flow["step"])
        ])  # fmt: skip
        assert look["n"] == len(norms)
        np.testing.assert_allclose(np.array(look["middle"], float), np.median(norms, axis=0), rtol=6e-3)
        np.testing.assert_allclose(np.array(look["high"], float), norms.max(axis=0), rtol=6e-3)
    assert [look["step"] for look in place["flow"]["looks"]] == [0, 200, 400, 600, None]
    for number, member in zip(place["runs"], members, strict=True):
        steps, values = content["lines"][str(number)]["eval"]
        kept = member.curves.filter(member.curves["eval_mse"].is_valid())
        assert undone(steps) == kept["step"].to_pylist()
        assert values == short(kept["eval_mse"].to_pylist())
    solved = sorted(member.record.steps_to_solve for member in members if member.record.steps_to_solve is not None)
    assert place["survival"]["steps"] == [0, *sorted(set(solved))]
    assert place["survival"]["share"][-1] == len(solved) / len(members) == 1
    median = np.median([member.activity.to_pandas().query("name == 'update' and statistic == 'mean' and step == 0")
                        ["value"].item() for member in members])  # fmt: skip
    assert place["gates"]["update"]["mean"][0] == pytest.approx(median, rel=6e-3)
    assert place["gates"]["update"].keys() >= {"tau_05", "tau_50", "tau_95", "low", "high"}


def undone(pairs: list[int]) -> list[int]:
    steps = [step for step, times in zip(pairs[::2], pairs[1::2], strict=True) for _ in range(times)]
    return np.cumsum(steps).tolist()


def test_steps_as_differences():
    for steps in ([], [0], [100, 200, 300, 350], [7, 8, 30], list(range(0, 1000, 25))):
        assert undone(differences(steps)) == steps
    assert differences(list(range(250, 20250, 250))) == [250, 80]
    assert evenly(5, 10) == [0, 1, 2, 3, 4]
    kept = evenly(1001, 11)
    assert kept == list(range(0, 1001, 100))


def test_many_runs_are_thinned_and_the_page_says_so(
    demo: tuple[list[Run], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
):
    assert Detail.of(200, 50).seeds is None
    assert Detail.of(10_000, 75) == Detail(13, 40, 10)
    monkeypatch.setattr(shortened, "MOST_DRAWN", 12)
    monkeypatch.setattr("bench.report.web.content.MOST_DRAWN", 12)
    runs, whole = demo
    content, _ = content_of(runs)
    assert len(content["lines"]) == 12 < len(whole["lines"]) == 18
    assert "more than 12 runs: of 18 runs 12 have lines of their own, up to 2 seeds" in content["detail"]
    assert [place["flow"]["looks"][-1] for place in content["places"]] == [
        place["flow"]["looks"][-1] for place in whole["places"]
    ]
    assert content["runs"] == whole["runs"]


def test_the_policy_allows_what_is_in_the_file_and_nothing_else(demo: tuple[list[Run], dict[str, Any]]):
    page = document(demo[1], "demo")
    found = Elements(page)
    ((policy, _),) = [each for each in found.inside("meta") if "http-equiv" in each[0]]
    parts = dict(part.split(" ", 1) for part in str(policy["content"]).split("; "))
    assert (parts["default-src"], parts["base-uri"], parts["form-action"]) == ("'none'", "'none'", "'none'")
    scripts = [text for own, text in found.inside("script") if own.get("type") != "application/json"]
    assert parts["script-src"].split() == [source(text) for text in scripts]
    ((_, style),) = found.inside("style")
    assert parts["style-src"].split()[0] == source(style)
    assert not {"src", "href", "style", "onclick", "onload"} & {name for _, own in found.elements for name in own}
    assert not re.search(r"url\(|@import", style)
    # Libraries name only what a namespace is called, and where d3 is from, in a comment.
    named = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", "".join(scripts)))
    assert named <= {"http://www.w3.org", "https://d3js.org", "//www.w3.org"}


def source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_a_vendored_script_is_the_pinned_one_and_has_its_licence(monkeypatch: pytest.MonkeyPatch):
    folder = ROOT / "bench" / "report" / "web" / "assets" / "vendor"
    for name, pinned in VENDORED.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == pinned
    licences = (folder / "LICENSES.txt").read_text()
    for package in ("d3 7.9.2", "@observablehq/plot 0.6.17", "delaunator", "internmap", "interval-tree-1d"):
        assert package in licences
    assert licences in Elements(document({}, "")).texts.values()
    monkeypatch.setitem(VENDORED, "d3.min.js", "0" * 64)
    with pytest.raises(ValueError, match=r"`d3.min.js` must be the script with the SHA-256 000"):
        document({}, "")


def test_names_are_data():
    content, damaged = content_of(hostile())
    page = document(content, HOSTILE)
    # The runs lie nowhere, so that their tables are missing; the page has them all the same.
    assert damaged
    assert page == document(content_of(hostile())[0], HOSTILE)
    assert data_of(page) == json.loads(json.dumps(content))
    usual = [tag for tag, _ in Elements(document({}, "")).elements]
    assert [tag for tag, _ in Elements(page).elements] == usual
    assert page.count(b"<script>") == 3
    assert HOSTILE in data_of(page)["runs"]["cell"]
    # A command that no shell would take is shown as it is.
    assert f"bench run +experiment={HOSTILE!r} seed=0" in data_of(page)["runs"]["command"]
    assert [text for _, text in Elements(page).inside("title")] == [HOSTILE]
    lone = document({"cell": "\udc80"}, "a name that is no Unicode")
    assert data_of(lone) == {"cell": "?"}


def test_every_status_is_there():
    content, _ = content_of(hostile())
    assert content["statuses"] == {"completed": 28, "diverged": 1, "failed": 2}
    place = place_of(content, "adding_problem", "gru")
    assert place["statuses"] == {"completed": 2, "diverged": 1, "failed": 1}
    assert place["numbers"]["mse"][1] == "0.000510"
    (failed,) = [place for place in content["places"] if place["cell"] == "constructor"]
    assert failed["numbers"]["solved"][:2] == [None, "0/0"]
    assert (failed["survival"], failed["flow"], failed["gates"]) == (None, None, {})


def test_claims_with_the_runs_that_bear_them():
    runs, _ = read_runs(ROOT / "results" / "published" / "runs" / "arjovsky2016")
    claims = content_of(runs)[0]["claims"]
    rows = {row["id"]: row for row in claims["rows"]}
    (row,) = [
        row for row in rows.values() if row["claim"].endswith("beats the baseline on adding with a length of 200.")
    ]
    bearing = [runs[number] for number in row["runs"]]
    assert {(each.cell, each.record.task_facts["length"]) for each in bearing} == {("lstm", 200)}
    assert (row["verdict"], len(bearing), row["ours"]) == (
        "direction only",
        5,
        "mse 0.00238, baseline 0.167, 5/5 solved",
    )
    assert row["because"].startswith("5/5 runs solved")


def test_the_best_of_a_row_is_the_one_that_bench_table_has_bold():
    runs, _ = read_runs(ROOT / "results" / "published" / "runs" / "horizon")
    bold = re.findall(r"\*\*([\d./]+)", render(runs, "markdown", Spec()))
    best = [
        text for place in content_of(runs)[0]["places"] for _, text, _, _, best in place["numbers"].values() if best
    ]
    assert sorted(best) == sorted(bold)
    assert len(bold) > 3


@pytest.mark.first
def test_the_page_of_results_is_that_of_the_records():
    runs = [each for folder in PUBLISHED for each in read_runs(folder)[0]]
    committed = (ROOT / "results" / "page.html").read_bytes()
    content, damaged = content_of(runs)
    assert damaged == []
    # A run that two experiments share is there once.
    assert data_of(committed)["runs"]["id"] == list(dict.fromkeys(each.run_id for each in runs))
    assert document(content, "rnn-bench: published runs") == committed
    assert len(committed) < 2_000_000 / 200 * len(runs)


def test_what_the_docs_say_is_what_was_measured():
    page = (ROOT / "docs" / "page.md").read_text(encoding="utf-8")
    rows = json.loads((ROOT / "benchmarks" / "page.json").read_text())["rows"]
    assert [row["runs"] for row in rows] == [200, 1000, 10000]
    assert rows[0]["bytes"] < 2_000_000
    assert rows[2]["open_median"] <= 3
    said = re.findall(r"^\| ([\d,]+) \| (.*) MB \| (.*) s \| (.*) s \|$", page, re.MULTILINE)
    assert said == [
        (f"{row['runs']:,}", f"{row['bytes'] / 1e6:.1f}", f"{row['make_median']:.0f}", f"{row['open_median']:.1f}")
        for row in rows
    ]


def test_the_command(bench: Bench, tmp_path: Path):
    shutil.copytree(DEMO / "adding_problem" / "gru", tmp_path / "runs")
    output = tmp_path / "a" / "b.html"
    made = bench.call("page", str(tmp_path / "runs"), "-o", str(output), "--where", "cell=gru", "--title", "a < b")
    assert (made.code, made.out, made.err) == (0, f"{output}\n", "")
    first = output.read_bytes()
    assert b"<title>a &lt; b</title>" in first
    assert bench.call("page", str(tmp_path / "runs"), "-o", str(output), "--title", "a < b").code == 0
    assert output.read_bytes() == first
    beside = bench.call("page", str(tmp_path / "runs"))
    assert beside.out == f"{tmp_path / 'runs' / 'page.html'}\n"
    assert b"<title>rnn-bench: demo</title>" in (tmp_path / "runs" / "page.html").read_bytes()
    assert list(output.parent.iterdir()) == [output]


def test_a_damaged_table_is_named_and_the_rest_is_shown(bench: Bench, tmp_path: Path):
    shutil.copytree(DEMO / "adding_problem" / "gru", tmp_path / "runs")
    flow = sorted(tmp_path.rglob("flow.parquet"))[0]
    flow.write_bytes(b"")
    made = bench.call("page", str(tmp_path))
    assert made.code == 1
    assert made.err.startswith(f"bench page: {flow}: not readable")
    assert len(made.err.splitlines()) == 1
    data = data_of((tmp_path / "page.html").read_bytes())
    assert (len(data["runs"]["id"]), len(data["lines"])) == (3, 2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (lambda folder: [str(folder / "none")], "DIR must hold records, found none below '{}/none'"),
        (lambda folder: [str(DEMO), "--where", "sell=gru"], "where must name one of"),
        (lambda folder: [str(DEMO), "-o", str(folder / "file" / "page.html")], "--output must be a file that can be"),
    ],
)
def test_bad_input(bench: Bench, tmp_path: Path, words: Callable[[Path], list[str]], said: str):
    (tmp_path / "file").write_text("")
    made = bench.call("page", *words(tmp_path))
    assert (made.code, len(made.err.splitlines())) == (2, 1)
    assert made.err.startswith(f"bench page: {said.format(tmp_path)}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]
