"""A page of results is made from records, and needs none of the libraries that train."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.analysis.run import read_reaches, read_runs
from bench.analysis.table import Spec
from bench.records.read import find_records
from bench.report.page import fill_page
from bench.report.tables import claims as claims_table
from bench.report.tables.render import render
from tests.claims_made import FOUND, of
from tests.conftest import ROOT, Bench

PAGE = """# What came out

<!-- records: demo/runs -->

Our words about the table.

<!-- table: demo.yaml -->
an old table
<!-- end -->

More of our words.

<!-- figure: survival demo.yaml -->
<!-- end -->
"""
SPEC = "title: Demo\nwhere: {task: adding_problem}\nrows: [task.length]\nmetrics: [solved, mse, reach_trained]\n"
CLAIMS = "<!-- claims -->\n<!-- end -->\n"
BLOCKED = ("torch", "lightning", "hydra", "omegaconf", "wandb", "torchmetrics")


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the demo's records once."""
    folder = tmp_path_factory.mktemp("origin")
    shutil.copytree(ROOT / "results" / "demo" / "runs", folder / "runs")
    return folder


@pytest.fixture
def page(tmp_path: Path, origin: Path) -> Path:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "runs").symlink_to(origin / "runs")
    (tmp_path / "demo.yaml").write_text(SPEC)
    (tmp_path / "README.md").write_text(PAGE)
    return tmp_path / "README.md"


PAGES = (
    "README.md",
    "results/README.md",
    "results/sequences/README.md",
    "results/tuning/README.md",
    "docs/ten_minutes.md",
)


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files except the records."""
    files = [path for path in folder.rglob("*") if path.is_file() and "runs" not in path.relative_to(folder).parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_page_is_filled(bench: Bench, page: Path):
    outcome = bench.call("report", str(page))
    assert outcome.code == 0, outcome.err
    names = ["tables/demo.tex", "tables/demo.csv", "figures/survival_demo.png", "figures/survival_demo.pdf"]
    assert outcome.out.splitlines() == [str(page.parent / "demo" / name) for name in names] + [str(page)]
    made = contents(page.parent)
    assert sorted(made) == sorted([*(f"demo/{name}" for name in names), "demo.yaml", "README.md"])

    runs, damaged = read_runs(page.parent / "demo" / "runs")
    assert (damaged, read_reaches(runs)) == ([], [])
    spec = Spec("Demo", {"task": ("adding_problem",)}, ("task.length",), None, ("solved", "mse", "reach_trained"))
    texts = {form: render(runs, form, spec) for form in ("markdown", "latex", "csv")}
    assert made["demo/tables/demo.tex"].decode() == texts["latex"]
    assert made["demo/tables/demo.csv"].decode() == texts["csv"]
    text = page.read_text()
    assert "an old table" not in text
    assert (
        f"<!-- table: demo.yaml -->\n{texts['markdown']}\n[LaTeX](demo/tables/demo.tex), [CSV](demo/tables/demo.csv)\n"
        "<!-- end -->" in text
    )
    assert (
        "<!-- figure: survival demo.yaml -->\n"
        "![demo: share of seeds solved over training steps](demo/figures/survival_demo.png)\n\n"
        "[PDF](demo/figures/survival_demo.pdf)\n<!-- end -->" in text
    )
    for words in ("# What came out", "Our words about the table.", "More of our words."):
        assert text.count(words) == 1
    assert made["demo/figures/survival_demo.png"].startswith(b"\x89PNG")


def test_a_second_time_no_byte_changes(page: Path):
    written = fill_page(page)
    before = contents(page.parent)
    assert fill_page(page) == written
    assert contents(page.parent) == before


def test_a_table_of_ours_by_its_name(page: Path, monkeypatch: pytest.MonkeyPatch):
    """The tables of conf/table are those of experiments; this test uses one that fits the demo."""
    monkeypatch.setattr("bench.report.page.read_spec", lambda name: {"mine": Spec(metrics=("solved",))}[name])
    page.write_text(PAGE.replace("demo.yaml", "mine"))
    assert [path.name for path in fill_page(page)][:2] == ["mine.tex", "mine.csv"]


def test_claims(page: Path, monkeypatch: pytest.MonkeyPatch):
    page.write_text(PAGE + CLAIMS)
    with pytest.raises(ValueError, match="`published` must have runs of a paper's protocol"):
        fill_page(page)
    monkeypatch.setattr(claims_table, "judge_all", lambda _: of(FOUND))
    names = [path.relative_to(page.parent).as_posix() for path in fill_page(page)]
    assert names[-3:] == ["demo/tables/claims.tex", "demo/tables/claims.csv", "README.md"]
    text = page.read_text()
    assert "<!-- claims -->\nPublished claims put to the test: 6 with a verdict;" in text
    assert "[LaTeX](demo/tables/claims.tex), [CSV](demo/tables/claims.csv)\n<!-- end -->" in text
    before = contents(page.parent)
    fill_page(page)
    assert contents(page.parent) == before


def test_a_table_as_a_terminal_shows_it(page: Path):
    page.write_text("<!-- records: demo/runs -->\n\n<!-- table: demo.yaml terminal -->\nold\n<!-- end -->\n")
    assert fill_page(page) == [page]
    runs, _ = read_runs(page.parent / "demo" / "runs")
    read_reaches(runs)
    spec = Spec("Demo", {"task": ("adding_problem",)}, ("task.length",), None, ("solved", "mse", "reach_trained"))
    text = render(runs, "terminal", spec)
    assert page.read_text() == (
        f"<!-- records: demo/runs -->\n\n<!-- table: demo.yaml terminal -->\n```text\n{text}```\n<!-- end -->\n"
    )


@pytest.mark.parametrize("name", ["README.md", "docs/ten_minutes.md"])
def test_the_documentation_has_such_pages(tmp_path: Path, name: str):
    (tmp_path / "results").symlink_to(ROOT / "results")
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / name, tmp_path / name)
    assert fill_page(tmp_path / name) == [tmp_path / name]
    assert (tmp_path / name).read_text() == (ROOT / name).read_text()


def test_markers_are_those_of_the_documentation(bench: Bench):
    shown = bench.call("report", "--help").out
    told = re.findall(r"<!-- [^>]+ -->", (ROOT / "docs" / "paper.md").read_text())
    assert len(told) == 13
    assert all(marker in shown for marker in told)
    pages = "".join((ROOT / name).read_text() for name in PAGES)
    known = [re.sub(r"NAME|FOLDER|FILE", r"\\S+", marker) for marker in told]
    for marker in re.findall(r"<!-- .*? -->", pages):
        assert any(re.fullmatch(each, marker) for each in known), marker


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<!-- records: demo/runs -->", "", "README.md must name its records, as in <!-- records: "),
        ("records: demo/runs", "records: nothing/here", "README.md must name a folder with records, found none below"),
        ("table: demo.yaml", "table: demo.yaml twice", "got '<!-- table: demo.yaml twice -->'"),
        ("<!-- table: demo.yaml -->", "<!-- table -->", "got '<!-- table -->'"),
        ("<!-- table: demo.yaml -->", "<!-- claims: demo -->", "got '<!-- claims: demo -->'"),
        ("table: demo.yaml", "table: nothing.yaml", "spec must be a file or one of "),
        ("table: demo.yaml", "table: horizn", "got 'horizn', did you mean horizon?"),
        ("table: demo.yaml", "table: horizon", "where must leave at least one run, got experiment=horizon"),
        ("table: demo.yaml", "table: no-such-table", "got 'no-such-table'"),
        ("figure: survival", "figure: survivl", "must have places such as table: NAME, table: NAME terminal, claims, "
                                                "or figure: survival or reach or learning_curves or overfitting "
                                                "or confusion or forecasts NAME, "
                                                "got '<!-- figure: survivl demo.yaml -->'"),
        ("figure: survival demo.yaml", "figure: survival", "got '<!-- figure: survival -->'"),
        ("figure: survival", "figure: reach", "must have figures that its records allow, got reach demo"),
        ("an old table\n<!-- end -->", "", "must have an <!-- end --> for each of its 2 places, got 1"),
        ("<!-- figure: survival demo.yaml -->\n<!-- end -->", "<!-- figure: survival demo.yaml -->",
         "must have an <!-- end --> for each of its 2 places, got 1"),
    ],
)  # fmt: skip
def test_places_that_mean_nothing(bench: Bench, page: Path, old: str, new: str, message: str):
    text = PAGE.replace(old, new)
    assert text != PAGE
    page.write_text(text)
    outcome = bench.call("report", str(page))
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert outcome.err.startswith("bench report: ")
    assert message in outcome.err
    assert page.read_text() == text


def test_a_damaged_record(bench: Bench, page: Path, origin: Path):
    runs = page.parent / "demo" / "runs"
    runs.unlink()
    shutil.copytree(origin / "runs", runs)
    (find_records(runs)[0] / "record.json").write_text("{")
    outcome = bench.call("report", str(page))
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert "record.json: not a readable record" in outcome.err
    assert sorted(contents(page.parent)) == ["README.md", "demo.yaml"]


def test_a_page_that_is_not_there(bench: Bench, tmp_path: Path):
    outcome = bench.call("report", str(tmp_path / "nothing.md"))
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "FILE and the folder of its records must be readable and writable" in outcome.err


@pytest.mark.first
def test_without_what_trains(page: Path, tmp_path: Path):
    """The libraries that train are neither imported nor there, as on a machine that has only the records."""
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(
        "import sys\n\n\nclass Blocked:\n    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {BLOCKED!r}:\n"
        "            raise ImportError(f'{name} is not here')\n\n\nsys.meta_path.insert(0, Blocked())\n"
    )
    runs = str(page.parent / "demo" / "runs")
    commands = [
        ["report", str(page)],
        ["table", runs, "--compare", f"--spec={page.parent / 'demo.yaml'}"],
        ["table", runs, "--format=html"],
        ["figures", runs, f"--output={tmp_path / 'drawn'}"],
    ]
    paths = {
        "PYTHONPATH": f"{hook}:{ROOT}",
        "PATH": "/usr/bin:/bin",
        "MPLCONFIGDIR": str(tmp_path),
        "HOME": str(tmp_path),
    }

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words], env=paths, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )

    for name in BLOCKED:
        assert f"{name} is not here" in call("-c", f"import {name}").stderr
    for words in commands:
        done = call("-m", "bench", *words)
        assert (done.returncode, done.stderr) == (0, ""), words
        assert done.stdout
    assert (tmp_path / "drawn" / "learning_curves.pdf").exists()


@pytest.mark.parametrize("name", PAGES[1:4])
def test_the_committed_page_is_what_its_records_give(tmp_path: Path, name: str):
    page, place = tmp_path / "README.md", (ROOT / name).parent
    # Beside `published` may lie the runs and figures of whoever has run `make demo` here.
    for folder in ("published",) if (place / "published").exists() else ("runs", "tables", "figures"):
        shutil.copytree(place / folder, tmp_path / folder)
    shutil.copy(ROOT / name, page)
    trials = tmp_path / "trials.csv"
    if (there := (ROOT / name).with_name(trials.name)).exists():
        shutil.copy(there, trials)
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and "runs" not in path.parts}
    written = fill_page(page)
    assert set(written) == set(kept) - {trials}
    # Pictures depend on the libraries that draw them; all other files are text.
    assert [str(path) for path in written if path.suffix not in (".png", ".pdf")
            and path.read_bytes() != kept[path]] == []  # fmt: skip


def test_enough_claims_of_the_committed_page_have_a_verdict():
    with (ROOT / "results" / "published" / "tables" / "claims.csv").open() as file:
        verdicts = [line["verdict"] for line in csv.DictReader(file)]
    assert len(verdicts) >= 20
    assert all(re.fullmatch(r"reproduced|direction only|not solved in [\d,]+ steps|contradicts|undecided", verdict)
               for verdict in verdicts)  # fmt: skip
