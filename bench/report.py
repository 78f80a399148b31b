"""A page of results: its tables and figures, made anew from records where they stand in the text.

A page is Markdown with places to fill. What stands between a place and its end is replaced; the words around it are
one's own::

    <!-- records: first_round/runs -->
    <!-- table: copy_memory -->         a table of conf/table/, with LaTeX and CSV beside
    <!-- end -->
    <!-- claims -->                     the published claims that these records speak to
    <!-- end -->
    <!-- figure: survival copy_memory --> a figure of the runs of that table: survival or reach
    <!-- end -->

Tables and figures go into ``tables/`` and ``figures/`` beside the records' folder. Nothing here imports torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from bench import claims_table, reach_figures, record, settings, table_spec, tables
from bench.measured import read_journeys
from bench.panels import STYLE
from bench.record import Record, write_whole
from bench.summary import Journeys

PLACE = re.compile(
    r"(?P<open><!-- (?P<kind>table|claims|figure)(?:: (?P<what>[\w ]+))? -->\n)(?P<old>.*?)(?P<end><!-- end -->)", re.S
)
RECORDS = re.compile(r"<!-- records: (\S+) -->")
FIGURES: dict[str, tuple[str, Callable[[list[Record], Journeys], Figure | None]]] = {
    "survival": ("share of seeds solved over training steps", lambda runs, _: reach_figures.draw_survival(runs)),
    "reach": ("share of seeds solved and gradient horizon over delay", reach_figures.draw_reach),
}
"""What a figure shows, and how it is drawn."""


@dataclass(frozen=True)
class Page:
    """A page and what its places are filled from.

    Attributes:
        path: The Markdown file.
        folder: Where the records' folder is, and tables and figures go.
        records: All its records.
        journeys: How far the gradient travels, by run id.
    """

    path: Path
    folder: Path
    records: list[Record]
    journeys: Journeys


def make(path: Path) -> list[Path]:
    """Fill the places of a page, and write what is beside it.

    Returns:
        The files written; the page last.

    Raises:
        ValueError: A page without records or with a place that means nothing, or a damaged record.
        OSError: Something cannot be read or written.
    """
    text = path.read_text(encoding="utf-8")
    page = _open(path, text)
    written: list[Path] = []

    def filled(place: re.Match[str]) -> str:
        kind, what = place["kind"], (place["what"] or "").split()
        if kind == "claims":
            body, files = _claims(page)
        elif kind == "table" and len(what) == 1:
            body, files = _table(page, what[0])
        elif kind == "figure" and len(what) == 2 and what[0] in FIGURES:
            body, files = _figure(page, *what)
        else:
            known = f"table: NAME, claims, or figure: {' or '.join(FIGURES)} NAME"
            raise ValueError(f"`{path}` must have places such as {known}, got {place['open'].strip()!r}")
        written.extend(files)
        return f"{place['open']}{body}{place['end']}"

    new = PLACE.sub(filled, text)
    write_whole(path, new.encode())
    return [*written, path]


def _open(path: Path, text: str) -> Page:
    named = RECORDS.search(text)
    if named is None:
        raise ValueError(f"`{path}` must name its records, as in <!-- records: first_round/runs -->, got none")
    root = path.parent / named[1]
    records, damaged = record.read_all(root)
    journeys, more = read_journeys(root)
    if damaged or more:
        raise (damaged or more)[0]
    if not records:
        raise ValueError(f"`{path}` must name a folder with records, found none below {str(root)!r}")
    return Page(path, root.parent, records, journeys)


def _table(page: Page, name: str) -> tuple[str, list[Path]]:
    spec = table_spec.read(name)
    files = {}
    for form, suffix in (("latex", "tex"), ("csv", "csv")):
        path = page.folder / "tables" / f"{name}.{suffix}"
        write_whole(path, tables.render(page.records, form, page.journeys, spec).encode())
        files[form] = path
    body = tables.render(page.records, "markdown", page.journeys, spec)
    return f"{body}\n{_links(page, LaTeX=files['latex'], CSV=files['csv'])}\n", list(files.values())


def _claims(page: Page) -> tuple[str, list[Path]]:
    judged = claims_table.judge_all(page.records)
    latex, comma = page.folder / "tables" / "claims.tex", page.folder / "tables" / "claims.csv"
    write_whole(latex, claims_table.render(judged, "latex").encode())
    write_whole(comma, claims_table.render(judged, "csv").encode())
    body = claims_table.render(judged, "markdown")
    return f"{body}\n{_links(page, LaTeX=latex, CSV=comma)}\n", [latex, comma]


def _figure(page: Page, kind: str, name: str) -> tuple[str, list[Path]]:
    matplotlib.use("Agg")
    spec = table_spec.read(name)
    words, draw = FIGURES[kind]
    with plt.style.context(STYLE):
        figure = draw(spec.chosen(page.records), page.journeys)
    if figure is None:
        raise ValueError(f"`{page.path}` must have figures that its records allow, got {kind} {name}")
    files = [page.folder / "figures" / f"{kind}_{name}.{suffix}" for suffix in ("png", "pdf")]
    files[0].parent.mkdir(parents=True, exist_ok=True)
    for path in files:
        figure.savefig(path, metadata={"CreationDate": None} if path.suffix == ".pdf" else None)
    plt.close(figure)
    protocols = ", ".join(sorted({settings.protocol_of(made) for made in spec.chosen(page.records)}))
    picture = f"![{protocols}: {words}]({_relative(page, files[0])})"
    return f"{picture}\n\n{_links(page, PDF=files[1])}\n", files


def _links(page: Page, **files: Path) -> str:
    return ", ".join(f"[{name}]({_relative(page, path)})" for name, path in files.items())


def _relative(page: Page, path: Path) -> str:
    return path.relative_to(page.path.parent).as_posix()
