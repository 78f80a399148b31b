# %% [markdown]
# # How the dashboard in W&B is laid out
#
# This script draws `docs/dashboard.png`: the dashboard that `bench dashboard` makes of the demo runs of this
# repository, section by section, with the numbers that W&B gets from the same records. Which panels there are, and
# what they show, is read from the dashboard itself. Start it from the top of the repository:
# `python docs/dashboard_drawing.py`.

# %%
from __future__ import annotations

import io
import math
import re
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from PIL import Image

from bench.analysis.gradient_reach import flow_curve, looks
from bench.analysis.run import Run, read_reaches, read_runs
from bench.cli.dashboard import colours_of
from bench.mirror.entry import config_of, summary_of
from bench.mirror.history import history
from bench.mirror.task_facts import facts_of
from bench.mirror.workspace import workspace
from bench.report.figures.draw import FIGURES
from bench.report.figures.learning_curves import learning_curves
from bench.report.figures.style import LINE_STYLES, STYLE
from bench.report.figures.survival import draw_survival
from bench.report.figures.time_constants import time_constants

RUNS, PICTURE, TASK = Path("results/demo/runs"), Path("docs/dashboard.png"), "adding_problem"
DRAWN: dict[str, tuple[int, ...]] = {"Gradient flow": (0, 3, 7), "Cost": (0, 2, 3), "Tables and figures": (1, 2, 6)}
"""Places of the panels that are drawn, where they are not the first three."""
PICTURES = {"learning_curves": learning_curves, "survival": draw_survival, "time_constants": time_constants}
WIDTH, LEFT, ACROSS = 11.0, 1.55, 3
"""Width of the picture and of the list of runs, in inches, and the panels beside each other."""
PANEL, TITLE, ROOM, GAP = 1.45, 0.36, 0.86, 0.12
"""In inches: height of a panel's axes, of a section's title, of what stands around the axes, and between sections."""
MARGINS = {
    "Media Browser": (0.08, 0.08, PANEL + ROOM - 0.42),
    "Bar Chart": (0.85, 0.2, PANEL),
    "Scatter Plot": (0.68, 0.3, PANEL),
}
"""Left and right of a panel's axes, and their height, where they are not those of a line plot."""
PIXELS = 1600
FRAME, PAPER, BAR, INK = "#d4d7dc", "#f6f7f9", "#e9ecf0", "0.15"
SIZES = {"font.size": 8, "axes.titlesize": 8.5, "axes.labelsize": 7.5, "xtick.labelsize": 7, "ytick.labelsize": 7}

Rows = dict[str, dict[int, float]]


# %% [markdown]
# What W&B gets of a run: its history by metric and step, and its summary.


# %%
class Shown:
    """Runs of one task, by cell."""

    def __init__(self, runs: list[Run]) -> None:
        self.runs: dict[str, list[Run]] = {}
        self.rows: dict[str, list[Rows]] = {}
        for run in runs:
            rows: Rows = {}
            for step, row in history(run):
                for name, value in row.items():
                    if isinstance(value, int | float):
                        rows.setdefault(name, {})[step] = value
            self.runs.setdefault(run.cell, []).append(run)
            self.rows.setdefault(run.cell, []).append(rows)

    def ends(self, cell: str, name: str) -> list[float]:
        """Return a number of the summary, or of the settings, of each run that has it."""
        found = [(config_of(run.record) | summary_of(run)).get(name) for run in self.runs[cell]]
        return [value for value in found if value is not None]


def band(axes: Axes, curves: list[dict[int, float]], colour: str, style: Any) -> None:
    """Draw the median over runs, and the range, at the steps that all have."""
    steps = sorted(set.intersection(*map(set, curves)))
    values = [[curve[step] for curve in curves] for step in steps]
    axes.plot(steps, [statistics.median(each) for each in values], color=colour, linestyle=style, linewidth=1.3)
    axes.fill_between(steps, list(map(min, values)), list(map(max, values)), color=colour, alpha=0.16, linewidth=0)


def lines(axes: Axes, config: dict[str, Any], shown: Shown, colours: dict[str, str]) -> None:
    """Draw metrics over the training step."""
    for cell, members in shown.rows.items():
        known = sorted({name for rows in members for name in rows})
        regex = config.get("metricRegex")
        names = [name for name in known if re.search(regex, name)] if regex else config["metrics"]
        for place, name in enumerate(names):
            curves = [rows[name] for rows in members if name in rows]
            if curves:
                baseline = name == "eval/baseline"
                band(
                    axes, curves, "0.4" if baseline else colours[cell], (0, (2, 2)) if baseline else LINE_STYLES[place]
                )
    axes.set_xlabel(config["xAxisTitle"])
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    if config.get("yLogScale"):
        logarithmic(axes)


def logarithmic(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(numticks=5))
    axes.yaxis.set_minor_locator(NullLocator())


def bars(axes: Axes, config: dict[str, Any], shown: Shown, colours: dict[str, str]) -> None:
    """Draw a bar for each cell and number of the summary."""
    names = [name.removeprefix("summary_metrics.") for name in config["metrics"]]
    middle = statistics.mean if config["groupAgg"] == "mean" else statistics.median
    labels = []
    for name in names:
        for cell in shown.runs:
            place, values = len(labels), shown.ends(cell, name)
            labels.append(" ".join([cell, *name.split("/")[1:]]))
            if values:
                axes.barh(place, middle(values), height=0.65, color=colours[cell])
                if config["groupArea"] == "minmax":
                    axes.plot([min(values), max(values)], [place] * 2, color=INK, linewidth=1, solid_capstyle="butt")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.grid(visible=False, axis="y")


def points(axes: Axes, config: dict[str, Any], shown: Shown, colours: dict[str, str]) -> None:
    """Draw two numbers of each run against each other."""
    x, y = (config[name].partition(":")[2].removesuffix(".value") for name in ("xAxis", "yAxis"))
    for cell, runs in shown.runs.items():
        found = [config_of(run.record) | summary_of(run) for run in runs]
        places = [(each[x], each[y]) for each in found if each.get(y) is not None]
        axes.plot(*zip(*places, strict=True), "o", color=colours[cell], markersize=4) if places else None
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.margins(0.2)
    axes.xaxis.set_major_locator(MaxNLocator(4, prune="upper"))
    if config.get("yAxisLogScale"):
        logarithmic(axes)


def over_lag(axes: Axes, config: dict[str, Any], shown: Shown, colours: dict[str, str]) -> None:
    """Draw the custom chart: the gradient over lag before the training and after it."""
    for cell, runs in shown.runs.items():
        for last, style in ((False, LINE_STYLES[2]), (True, LINE_STYLES[0])):
            steps = [looks(run.flow, run.record)[last] for run in runs]
            curves = [flow_curve(run.flow, step) for run, step in zip(runs, steps, strict=True) if step is not None]
            norms = [dict(zip(*curve, strict=True)) for curve in curves]
            band(axes, [{lag: math.log10(norm) for lag, norm in each.items() if norm > 0} for each in norms],
                 colours[cell], style)  # fmt: skip
    axes.set_xlabel(config["stringSettings"]["xname"])
    axes.plot([], [], color="0.4", linestyle=LINE_STYLES[2], label="untrained")
    axes.plot([], [], color="0.4", linestyle=LINE_STYLES[0], label="trained")
    axes.legend(fontsize=7)


def picture(axes: Axes, config: dict[str, Any], shown: Shown, colours: dict[str, str]) -> None:
    """Show one of our own figures, as the summary run has it."""
    name = config["mediaKeys"][0].rpartition("/")[2]
    with plt.style.context(STYLE):
        figure = PICTURES[name]([run for runs in shown.runs.values() for run in runs])
        assert figure is not None
        content = io.BytesIO()
        figure.savefig(content)
        plt.close(figure)
    content.seek(0)
    axes.imshow(plt.imread(content), aspect="equal", interpolation="antialiased")
    axes.set_axis_off()


DRAW = {"Run History Line Plot": lines, "Bar Chart": bars, "Scatter Plot": points, "Vega2": over_lag,
        "Media Browser": picture}  # fmt: skip


# %% [markdown]
# The page: the runs at the left, and the sections one below the other.


# %%
class Page:
    """A figure on which everything has its place in inches from the upper left corner."""

    def __init__(self, height: float) -> None:
        self.height = height
        self.figure: Figure = plt.figure(figsize=(WIDTH, height), facecolor="white", layout="none")

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        place = (x / WIDTH, 1 - (y + height) / self.height, width / WIDTH, height / self.height)
        return self.figure.add_axes(place)

    def box(self, x: float, y: float, width: float, height: float, **look: Any) -> None:
        corner, size = (x / WIDTH, 1 - (y + height) / self.height), (width / WIDTH, height / self.height)
        self.figure.add_artist(FancyBboxPatch(corner, *size, boxstyle="square,pad=0", zorder=-1, **look))

    def text(self, x: float, y: float, words: str, **look: Any) -> None:
        self.figure.text(x / WIDTH, 1 - y / self.height, words, **{"va": "center", "color": INK, **look})


def list_of_runs(page: Page, shown: Shown, colours: dict[str, str]) -> None:
    page.box(0, 0, LEFT, page.height, facecolor=PAPER, edgecolor="none")
    page.text(0.15, 0.3, "rnn-bench", fontsize=12, weight="bold")
    page.text(0.15, 0.58, "runs, by cell", fontsize=8, color="0.4")
    y = 0.9
    for cell, runs in shown.runs.items():
        page.text(0.15, y, "●", fontsize=11, color=colours[cell])
        page.text(0.35, y, f"{cell}  ({len(runs)} seeds)", fontsize=8.5)
        y += 0.25
    page.text(0.15, y + 0.2, "filter", fontsize=8, color="0.4")
    page.text(0.15, y + 0.42, f"task_name =\n{TASK}", fontsize=8.5, va="top")
    page.text(0.15, y + 1.0, "lines and bars", fontsize=8, color="0.4")
    page.text(
        0.15,
        y + 1.14,
        "median of a cell's\nseeds, with the range\nfrom the smallest to\nthe largest",
        fontsize=8.5,
        va="top",
    )


def main(runs: Iterable[Run]) -> None:
    """Draw the dashboard of the demo."""
    runs = [run for run in runs if run.task == TASK]
    assert read_reaches(runs) == []
    facts, _ = facts_of(runs)
    colours = colours_of(runs)
    made = workspace("", "rnn-bench", facts, colours, TASK, figures=tuple(FIGURES))._to_model()
    shown = Shown(runs)
    shown.runs = {cell: shown.runs[cell] for cell in facts[TASK].cells}
    shown.rows = {cell: shown.rows[cell] for cell in facts[TASK].cells}
    sections = [each for each in made.spec.section.panel_bank_config.sections if len(each.panels) >= ACROSS]
    each_height = TITLE + PANEL + ROOM + GAP
    page = Page(GAP + each_height * len(sections))
    list_of_runs(page, shown, colours)
    wide = (WIDTH - LEFT - 0.15 * (ACROSS + 1)) / ACROSS
    for number, section in enumerate(sections):
        y = GAP + number * each_height
        page.box(LEFT + 0.15, y, WIDTH - LEFT - 0.3, TITLE - 0.08, facecolor=BAR, edgecolor="none")
        page.text(LEFT + 0.27, y + (TITLE - 0.08) / 2, section.name, fontsize=10, weight="bold")
        chosen = DRAWN.get(section.name, tuple(range(ACROSS)))
        if more := len(section.panels) - len(chosen):
            said = f"and {more} more panel{'s' if more > 1 else ''}"
            page.text(WIDTH - 0.27, y + (TITLE - 0.08) / 2, said, ha="right", fontsize=8, color="0.4")
        for place, index in enumerate(chosen):
            panel = section.panels[index].model_dump(by_alias=True)
            x = LEFT + 0.15 + place * (wide + 0.15)
            page.box(x, y + TITLE, wide, PANEL + ROOM - 0.06, facecolor="white", edgecolor=FRAME, linewidth=0.8)
            config = panel["config"]
            title = config.get("chartTitle") or config["stringSettings"]["title"]
            page.text(x + wide / 2, y + TITLE + 0.17, title, ha="center", fontsize=8.5)
            left, right, height = MARGINS.get(panel["viewType"], (0.68, 0.2, PANEL))
            axes = page.axes(x + left, y + TITLE + 0.32, wide - left - right, height)
            DRAW[panel["viewType"]](axes, config, shown, colours)
    content = io.BytesIO()
    page.figure.savefig(content, dpi=PIXELS / WIDTH, bbox_inches=page.figure.bbox_inches)
    # A palette makes the file half as large.
    Image.open(content).convert("RGB").quantize(256, kmeans=2, dither=Image.Dither.NONE).save(PICTURE, optimize=True)


if __name__ == "__main__":
    matplotlib.use("Agg")
    with plt.style.context([STYLE, SIZES]):
        main(read_runs(RUNS)[0])
