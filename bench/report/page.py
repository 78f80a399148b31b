"""A page of results, whose tables and figures are made anew from records where they stand in the text.

A page is Markdown with places to fill. The module replaces what stands between a place and its end, and leaves the
words around it as the author wrote them::

    <!-- records: published/runs -->
    <!-- table: copy_memory -->         a table of conf/table/, or of a YAML beside the page; writes LaTeX and CSV too
    <!-- end -->
    <!-- table: copy_memory terminal --> the same as a terminal shows it; writes nothing else
    <!-- end -->
    <!-- claims -->                     the published claims that these records speak to
    <!-- end -->
    <!-- figure: survival copy_memory --> a figure of the runs of that table: survival, reach,
                                        learning_curves, overfitting, confusion or forecasts
    <!-- end -->
    <!-- figure: expected_best trials.csv --> a figure of the trials of a tuning, from the file beside the page:
                                        expected_best or slices
    <!-- end -->

The tables and figures go into ``tables/`` and ``figures/`` beside the records' folder. Nothing here imports torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib
from matplotlib import pyplot as plt

from bench.analysis.run import Run, read_exponents, read_reaches, read_runs
from bench.analysis.table import Spec, read_spec
from bench.records.write import write_output
from bench.report.figures.confusion import confusion
from bench.report.figures.delay import draw_reach
from bench.report.figures.drawing import Drawing, Sheet
from bench.report.figures.forecasts import forecasts
from bench.report.figures.learning_curves import learning_curves
from bench.report.figures.overfitting import overfitting
from bench.report.figures.style import STYLE
from bench.report.figures.survival import draw_survival
from bench.report.figures.tuning import TRIAL_FIGURES
from bench.report.tables import claims as claims_table
from bench.report.tables.render import render
from bench.shapes import content_of
from bench.tuning.trials import read_trials

OPEN = r"<!-- (?P<kind>(?!end\b|records\b)\w+)(?:: (?P<what>[^>]+?))? -->\n"
PLACE = re.compile(rf"(?P<open>{OPEN})(?:(?!<!-- ).)*?(?P<end><!-- end -->)", re.S)
RECORDS = re.compile(r"<!-- records: (\S+) -->")
FIGURES: dict[str, tuple[str, Callable[[list[Run], Sheet], Drawing | None]]] = {
    "survival": ("share of seeds solved over training steps", draw_survival),
    "reach": ("share of seeds solved and reach of the gradient over delay", draw_reach),
    "learning_curves": ("the metric on the evaluation set over training steps", learning_curves),
    "overfitting": ("loss of training and of the evaluation set over training steps", overfitting),
    "confusion": ("which class was taken for which, on the test set", confusion),
    "forecasts": ("forecasts beside what came, on the test part", forecasts),
}
"""What each figure shows, and the function that draws it."""
Files = dict[Path, bytes]
"""The files to write, by path."""


@dataclass(frozen=True)
class Page:
    """A page and the data that its places are filled from.

    Attributes:
        path: The Markdown file.
        folder: Where the records' folder is, and tables and figures go.
        runs: All its runs, with their reach.
    """

    path: Path
    folder: Path
    runs: list[Run]


def fill_page(path: Path) -> list[Path]:
    """Fill the places of a page, and write the files that belong to it.

    Returns:
        The files that were written; the page comes last.

    Raises:
        ValueError: The page has no records or an unknown place, or a record is damaged.
        OSError: Something cannot be read or written.
    """
    text = content_of(path).decode("utf-8")
    places, openings = PLACE.findall(text), re.findall(OPEN, text)
    if len(places) != len(openings) or len(places) != text.count("<!-- end -->"):
        raise ValueError(
            f"`{path}` must have an <!-- end --> for each of its {len(openings)} places, got {len(places)}"
        )
    page = _open(path, text)
    files: Files = {}

    def filled(place: re.Match[str]) -> str:
        kind, what = place["kind"], (place["what"] or "").split()
        if kind == "claims" and not what:
            body = _claims(page, files)
        elif kind == "table" and len(what) == 1:
            body = _table(page, what[0], files)
        elif kind == "table" and what[1:] == ["terminal"]:
            body = f"```text\n{render(page.runs, 'terminal', _spec(page, what[0]))}```\n"
        elif kind == "figure" and len(what) == 2 and what[0] in FIGURES:
            body = _figure(page, what[0], what[1], files)
        elif kind == "figure" and len(what) == 2 and what[0] in TRIAL_FIGURES:
            body = _trial_figure(page, what[0], what[1], files)
        else:
            known = f"table: NAME, table: NAME terminal, claims, or figure: {' or '.join(FIGURES)} NAME"
            raise ValueError(f"`{path}` must have places such as {known}, got {place['open'].strip()!r}")
        return f"{place['open']}{body}{place['end']}"

    new = PLACE.sub(filled, text)
    # Files are written only now, so that a page with a place that cannot be filled stays as it is, with all its files.
    files[path] = new.encode()
    for name, content in files.items():
        write_output(name, content)
    return list(files)


def _open(path: Path, text: str) -> Page:
    named = RECORDS.search(text)
    if named is None:
        raise ValueError(f"`{path}` must name its records, as in <!-- records: published/runs -->, got none")
    root = path.parent / named[1]
    runs, damaged = read_runs(root)
    damaged += read_reaches(runs) + read_exponents(runs)
    if damaged:
        raise damaged[0]
    if not runs:
        raise ValueError(f"`{path}` must name a folder with records, found none below {str(root)!r}")
    return Page(path, root.parent, runs)


def _table(page: Page, name: str, files: Files) -> str:
    spec = _spec(page, name)
    latex, comma = (page.folder / "tables" / f"{Path(name).stem}.{suffix}" for suffix in ("tex", "csv"))
    files[latex] = render(page.runs, "latex", spec).encode()
    alone = replace(spec, compare=False, published=False)  # these are no lines of its CSV
    files[comma] = render(page.runs, "csv", alone).encode()
    body = render(page.runs, "markdown", spec)
    return f"{body}\n{_links(page, LaTeX=latex, CSV=comma)}\n"


def _spec(page: Page, name: str) -> Spec:
    """Read a spec by its name in ``conf/table/``, or from a file beside the page."""
    beside = page.path.parent / name
    return read_spec(str(beside) if beside.is_file() else name)


def _claims(page: Page, files: Files) -> str:
    judged = claims_table.judge_all(page.runs)
    latex, comma = (page.folder / "tables" / f"claims.{suffix}" for suffix in ("tex", "csv"))
    files[latex] = claims_table.render(judged, "latex").encode()
    files[comma] = claims_table.render(judged, "csv").encode()
    return f"{claims_table.render(judged, 'markdown')}\n{_links(page, LaTeX=latex, CSV=comma)}\n"


def _figure(page: Page, kind: str, name: str, files: Files) -> str:
    matplotlib.use("Agg")
    spec = _spec(page, name)
    chosen = spec.chosen(page.runs)
    words, draw = FIGURES[kind]
    with plt.style.context(STYLE):
        figure = draw(chosen, Sheet.of(spec.names.resolved(page.runs)))
    protocols = ", ".join(sorted({run.protocol for run in chosen}))
    return _drawn(page, kind, name, figure, f"{protocols}: {words}", files)


def _trial_figure(page: Page, kind: str, name: str, files: Files) -> str:
    matplotlib.use("Agg")
    words, draw = TRIAL_FIGURES[kind]
    with plt.style.context(STYLE):
        figure = draw(read_trials(page.path.parent / name), Sheet())
    return _drawn(page, kind, name, figure, words, files)


def _drawn(page: Page, kind: str, name: str, figure: Drawing | None, words: str, files: Files) -> str:
    """Add a figure's files, and return what the page has of it."""
    if figure is None:
        raise ValueError(f"`{page.path}` must have figures that its records allow, got {kind} {name}")
    png, pdf = (page.folder / "figures" / f"{kind}_{Path(name).stem}.{suffix}" for suffix in ("png", "pdf"))
    for path in (png, pdf):
        with plt.style.context(STYLE):
            files[path] = figure.to_bytes(path.suffix[1:])
    plt.close(figure)
    return f"![{words}]({_relative(page, png)})\n\n{_links(page, PDF=pdf)}\n"


def _links(page: Page, **files: Path) -> str:
    return ", ".join(f"[{name}]({_relative(page, path)})" for name, path in files.items())


def _relative(page: Page, path: Path) -> str:
    return path.relative_to(page.path.parent).as_posix()
