"""The page in a real browser, without a network: what a mouse and keys do, and what is shown against the records."""

from __future__ import annotations

import importlib.util
import itertools
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench.analysis.run import Run, read_runs
from bench.report.tables.numbers import number
from bench.report.web.content import content_of
from bench.report.web.document import document
from tests.conftest import ROOT
from tests.pages_made import HOSTILE, hostile

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

DEMO = ROOT / "results" / "demo" / "runs"
ADDING, COPY = "adding_problem, length=100", "copy_memory, delay=3"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None or importlib.util.find_spec("playwright") is None:
        pytest.skip("a page needs a browser: apt-get install chromium, pip install playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return read_runs(DEMO)[0]


@pytest.fixture(scope="module")
def file(runs: list[Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "a page.html"
    path.write_bytes(document(content_of(runs)[0], "demo"))
    return path


class Opened:
    """A page that is open, and all that it asked for or complained of."""

    def __init__(self, browser: Browser, path: Path, view: str = "", **options: Any) -> None:
        context = browser.new_context(
            offline=True, viewport=options.pop("viewport", {"width": 1300, "height": 900}), **options
        )
        self.page: Page = context.new_page()
        self.wrong: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri() + (f"#{view}" if view else ""))
        self.page.wait_for_selector("html[data-ready]", state="attached", timeout=10_000)

    @property
    def view(self) -> str:
        """What the link has, after the page has had the time to keep its view there."""
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
        return self.page.evaluate("location.hash").removeprefix("#")

    def row(self, cell: str, setting: str = ADDING) -> Locator:
        rows = self.page.locator("#results tbody tr").filter(has_text=setting)
        return rows.filter(has=self.page.locator(f"td.setting:text-is('{cell}')"))

    def plot(self, title: str, setting: str = ADDING) -> Locator:
        group = self.page.locator("#settings .group").filter(has_text=setting)
        return group.locator("figure").filter(has=self.page.locator(f"h4:has-text('{title}')"))

    def column(self, name: str, table: str = "results") -> list[str]:
        head = [text.strip() for text in self.page.locator(f"#{table} thead th").all_inner_texts()]
        place = head.index(name) + 1
        cells = self.page.locator(f"#{table} tbody tr > :nth-child({place})").all_inner_texts()
        return [text.partition("\n")[0] for text in cells]

    def close(self) -> None:
        self.page.context.close()


@pytest.fixture
def opened(browser: Browser, file: Path) -> Iterator[Opened]:
    opened = Opened(browser, file)
    yield opened
    assert (opened.wrong, opened.asked) == ([], [file.as_uri()])
    opened.close()


def scores(runs: list[Run], cell: str, metric: str = "mse", task: str = "adding_problem") -> list[float]:
    return [float(each.record.metrics["test"][metric] or 0) for each in runs if (each.cell, each.task) == (cell, task)]


def test_the_numbers_shown_are_those_of_the_records_and_are_sorted(opened: Opened, runs: list[Run]):
    medians = {cell: float(np.median(scores(runs, cell))) for cell in ("rnn", "lstm", "gru")}
    assert opened.column("MSE")[:3] == [number(medians[cell]) for cell in ("rnn", "lstm", "gru")]
    assert opened.column("solved") == ["0/3", "3/3", "3/3", "0/3", "2/3", "2/3"]
    head = opened.page.locator("#results thead th", has_text="MSE")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert opened.column("MSE") == [number(value) for value in sorted(medians.values())] + [""] * 3
    # A click keeps the focus, so that a key can sort it the other way round.
    opened.page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert opened.column("MSE") == [number(value) for value in sorted(medians.values(), reverse=True)] + [""] * 3
    steps = opened.page.locator("#results thead th", has_text="steps to solve")
    steps.locator("button").click()
    assert opened.column("steps to solve") == ["500", "1400", "3100", "4900", ">3000", ">5000"]
    opened.page.locator("#runs thead button", has_text="MSE").click()
    every = sorted(value for cell in medians for value in scores(runs, cell))
    assert [text for text in opened.column("MSE", "runs") if text] == [number(value) for value in every]
    assert opened.view == "results=steps_to_solve&runs=score.mse"


def test_filters_and_a_link_that_keeps_the_view(opened: Opened, browser: Browser, file: Path, runs: list[Run]):
    page = opened.page
    page.locator("#filter-cell").select_option("lstm")
    page.locator("#filter-task").select_option("copy_memory")
    assert opened.column("Cell") == ["lstm"]
    assert sorted(opened.column("Run", "runs")) == sorted(
        each.run_id for each in runs if (each.cell, each.task) == ("lstm", "copy_memory")
    )
    assert page.locator("#settings h3").all_inner_texts() == [COPY]
    assert page.get_by_role("status").inner_text() == "1 row, 3 runs"
    opened.row("lstm", COPY).locator("input").check()
    other = Opened(browser, file, opened.view)
    assert other.column("Cell") == ["lstm"]
    assert other.row("lstm", COPY).locator("input").is_checked()
    assert (other.view, other.wrong) == (opened.view, [])
    other.close()
    page.get_by_role("button", name="Clear all").click()
    page.get_by_label("Text").fill("gru adding")
    assert opened.column("Cell") == ["gru"]
    assert opened.view == "q=gru+adding"
    page.get_by_label("Text").fill("nothing has this")
    assert page.get_by_role("status").inner_text() == "0 rows, 0 runs"
    unknown = Opened(browser, file, "cell=sru&run=000&mark=r.1&task=copy_memory")
    assert unknown.page.get_by_role("status").inner_text().startswith("This page does not have sru, 000, r.1.")
    assert unknown.column("Cell") == ["rnn", "lstm", "gru"]
    unknown.close()


def opacities(plot: Locator) -> dict[str, float]:
    """How much of each line is seen, by its colour."""
    lines = plot.locator("g[aria-label='line'] > g").all()
    return {
        str(line.get_attribute("stroke")).lower(): float(line.get_attribute("stroke-opacity") or 1) for line in lines
    }


def test_a_row_marks_its_lines_and_a_line_its_row(opened: Opened):
    page = opened.page
    opened.row("lstm").click()
    for title in ("Learning curves", "Share of seeds solved", "lag, untrained", "lag, trained", "Gates"):
        seen = opacities(opened.plot(title))
        assert seen.pop("#d55e00") == 1
        assert seen
        assert max(seen.values()) <= 0.2
    assert opened.row("lstm").get_attribute("class") == "marked"
    opened.row("lstm").locator("input").press("Space")
    assert opened.view == ""
    # The end of the line of GRU, where no other line is: by mouse.
    plot = opened.plot("Share of seeds solved")
    plot.scroll_into_view_if_needed()
    x, y = plot.evaluate("""figure => {
        const line = figure.querySelector("g[aria-label='line'] [stroke='#009E73'] path");
        const at = line.getPointAtLength(line.getTotalLength() * 0.3);
        const seen = new DOMPoint(at.x, at.y).matrixTransform(line.getScreenCTM());
        return [seen.x, seen.y];
    }""")
    assert not opened.row("gru").locator("input").is_checked()
    page.mouse.move(x, y)
    assert plot.locator(".tip").inner_text().startswith("gru, 3/3: ")
    page.mouse.click(x, y)
    assert opened.row("gru").locator("input").is_checked()
    assert page.get_by_role("status").inner_text().startswith("gru, 3/3 marked")
    # By keys: the second line is that of LSTM, and Enter marks it as well.
    plot.locator(".canvas").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.get_by_role("status").inner_text().startswith("lstm, 3/3: ")
    page.keyboard.press("Enter")
    assert [opened.row(cell).locator("input").is_checked() for cell in ("rnn", "lstm", "gru")] == [False, True, True]
    key = page.locator("#settings .group", has_text=ADDING).get_by_role("button", name="gru")
    assert key.get_attribute("aria-pressed") == "true"
    key.press("Enter")
    assert not opened.row("gru").locator("input").is_checked()


def test_a_line_of_a_run_marks_the_run(opened: Opened, runs: list[Run]):
    plot = opened.plot("Learning curves")
    plot.locator(".canvas").focus()
    opened.page.keyboard.press("ArrowUp")
    said = opened.page.get_by_role("status").inner_text()
    (seed,) = re.findall(r"^gru, seed (\d): ", said)
    (marked,) = [each for each in runs if (each.cell, each.task, each.seed) == ("gru", "adding_problem", int(seed))]
    opened.page.keyboard.press("Enter")
    assert opened.page.locator("#runs tr.marked button").all_inner_texts() == [marked.run_id]
    assert opened.view == f"mark=r.{marked.run_id}"
    # Its own gradient is drawn beside the medians of the three cells.
    assert opened.plot("lag, untrained").locator("g[aria-label='line']").count() == 4


def test_the_slider_shows_the_gradient_after_a_step(opened: Opened, runs: list[Run]):
    plot = opened.plot("Gradient over lag, trained")
    slider = plot.get_by_role("slider")
    assert slider.get_attribute("aria-valuetext") == "after training"
    slider.focus()
    opened.page.keyboard.press("Home")
    opened.page.keyboard.press("ArrowRight")
    plot = opened.plot("Gradient over lag, after step 200")
    assert opened.view == "look=200"
    assert plot.get_by_role("slider").get_attribute("aria-valuetext") == "after step 200"
    plot.locator("summary").click()
    plot.locator("tbody tr").first.wait_for()
    rows = [row.split("\t") for row in plot.locator("tbody tr").all_inner_texts()]
    shown = {int(lag): value for name, lag, value, *_ in rows if name == "lstm"}
    flows = [each.flow.to_pandas() for each in runs if (each.cell, each.task) == ("lstm", "adding_problem")]
    for lag in (0, max(shown)):
        at = [flow.query(f"layer == 0 and step == 200 and lag == {lag}")["value"].item() for flow in flows]
        assert float(shown[lag]) == pytest.approx(float(np.median(at)), rel=6e-3)
    # The other setting, which was looked at after other steps, shows the nearest of these.
    assert opened.plot("Gradient over lag, before the first step", COPY).count() == 1


def test_a_run_opens(opened: Opened, runs: list[Run]):
    (run,) = [each for each in runs if (each.cell, each.task, each.seed) == ("lstm", "adding_problem", 1)]
    button = opened.page.get_by_role("button", name=f"Open run {run.run_id}")
    button.press("Enter")
    dialog = opened.page.get_by_role("dialog")
    assert dialog.get_by_role("heading", level=2).inner_text() == f"lstm on {ADDING}, seed 1"
    assert dialog.locator("pre").inner_text() == run.record.command
    shown = dict(row.split("\t") for row in dialog.locator("tbody tr").all_inner_texts())
    assert float(shown["MSE, test set"]) == pytest.approx(run.record.metrics["test"]["mse"], rel=1e-5)
    assert shown["optimizer.lr"] == "0.005"
    assert shown["torch"] == run.record.libraries["torch"]
    assert dialog.locator("figure h4").all_inner_texts() == [
        "Learning curves", "Training loss", "Gradient norm before the clip", "Gradient over lag",
    ]  # fmt: skip
    assert opened.view == f"run={run.run_id}"
    opened.page.keyboard.press("Escape")
    assert opened.view == ""
    assert button.evaluate("button => button === document.activeElement")


def test_names_harm_nothing(browser: Browser, tmp_path: Path):
    path = tmp_path / "hostile.html"
    path.write_bytes(document(content_of(hostile())[0], HOSTILE))
    opened = Opened(browser, path)
    page = opened.page
    assert page.title().split() == HOSTILE.split()
    page.locator("#filter-cell").select_option(HOSTILE)
    assert [each.split() for each in opened.column("Cell")] == [HOSTILE.split()]
    for head in page.locator("#runs thead button, #results thead button").all():
        head.click()
    page.locator("#results tbody tr").first.click()
    page.locator("#runs tbody button").first.click()
    assert page.get_by_role("dialog").locator("h2").inner_text().split()[: len(HOSTILE.split())] == HOSTILE.split()
    again = Opened(browser, path, opened.view)
    assert again.page.locator("#filter-cell").input_value() == HOSTILE
    page.keyboard.press("Escape")
    page.locator("#filter-cell").select_option("constructor")
    assert opened.column("solved") == ["0/0"]
    page.get_by_role("button", name="Clear all").click()
    page.locator("#filter-status").select_option("failed")
    assert sorted(opened.column("Run", "runs")) == sorted(each.run_id for each in hostile() if each.status == "failed")
    assert opened.column("Cell") == ["gru", "constructor"]
    for each in (opened, again):
        assert each.page.evaluate("[typeof hacked, document.images.length, document.scripts.length]") == [
            "undefined",
            0,
            4,
        ]
        assert (each.wrong, each.asked) == ([], [path.as_uri()])
        each.close()


def test_a_verdict_shows_the_runs_that_bear_it(browser: Browser):
    opened = Opened(browser, ROOT / "results" / "page.html")
    claim = "The LSTM convincingly beats the baseline on adding with a length of 200."
    row = opened.page.locator("#claims tbody tr", has_text=claim)
    row.get_by_role("button").press("Enter")
    bearing, _ = read_runs(ROOT / "results" / "published" / "runs" / "arjovsky2016" / "adding_problem" / "lstm")
    bearing = [each for each in bearing if each.record.task_facts["length"] == 200]
    assert sorted(opened.column("Run", "runs")) == sorted(each.run_id for each in bearing)
    assert opened.column("solved") == ["5/5"]
    assert opened.row("lstm", "adding_problem, length=200").locator("input").is_checked()
    opened.page.get_by_role("button", name="Only runs that bear one claim").click()
    opened.page.locator("#filter-experiment").select_option("horizon")
    plot = opened.page.locator("#delays figure").first
    plot.locator("summary").click()
    plot.locator("tbody tr").first.wait_for()
    shown = [each.split("\t") for each in plot.locator("tbody tr").all_inner_texts()]
    assert [value for name, delay, value, *_ in shown if name == "gru"] == ["1.00"] * 5
    assert [delay for name, delay, value, *_ in shown if (name, value) == ("lstm", "1.00")] == ["25", "50", "100"]
    assert (opened.wrong, opened.asked) == ([], [(ROOT / "results" / "page.html").as_uri()])
    opened.close()


MARKED, OPEN = "gate=mean&mark=r.0c957bb9a17b", "run=0c957bb9a17b"
SEEN = [(1300, "light", MARKED), (400, "dark", OPEN)]


@pytest.mark.parametrize(
    ("width", "scheme", "view"),
    [
        *SEEN,
        *(
            pytest.param(*each, marks=pytest.mark.long_run)
            for each in itertools.product((1300, 400), ("light", "dark"), (MARKED, OPEN))
            if each not in SEEN
        ),
    ],
)
def test_for_all(browser: Browser, file: Path, width: int, scheme: str, view: str):
    """axe-core finds nothing, and nothing is wider than the screen."""
    spec = importlib.util.find_spec("axe_playwright_python")
    if spec is None or spec.origin is None:
        pytest.skip("axe-core comes with pip install axe-playwright-python")
    opened = Opened(browser, file, view, viewport={"width": width, "height": 900}, color_scheme=scheme)
    # One list of numbers is like the others, and thousands of cells take a minute.
    opened.page.evaluate("for (const each of document.querySelectorAll('section > details')) each.open = true")
    if view != OPEN:
        opened.plot("Share of seeds solved").locator("summary").click()
        opened.plot("Share of seeds solved").locator("tbody tr").first.wait_for()
    opened.page.evaluate((Path(spec.origin).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = opened.page.evaluate("axe.run()")
    assert [each["id"] for each in found["violations"]] == []
    assert len(found["passes"]) > 20
    assert opened.page.evaluate("document.documentElement.scrollWidth") == width
    assert opened.wrong == []
    opened.close()
