"""The table of a page: each protocol arranged by itself, its rows as settings, and the number of each place."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from cycler import Cycler

from bench.analysis import metrics
from bench.analysis.delay_series import delay_series
from bench.analysis.grouping import NO_YEAR, RunGroup, arrange
from bench.analysis.metrics import MetricEstimate
from bench.analysis.names import Names
from bench.analysis.run import Run
from bench.analysis.table import Spec, Table
from bench.report.figures.style import LINE_STYLES, STYLE, look
from bench.report.tables import captions, numbers
from bench.report.tables.render import row_entries
from bench.report.web.shortened import short, shorter
from bench.stats.intervals import success

NAMES = Names()
LINE_WIDTH = 1.6
"""Width of a line in pixels; dashes are multiples of it, as in the figures."""


@dataclass(frozen=True)
class Setting:
    """One row of the table of one protocol.

    Attributes:
        table: The table of its protocol.
        row: The row.
        mark: The letter by which notes refer to the row.
    """

    table: Table
    row: RunGroup
    mark: str

    @property
    def protocol(self) -> str:
        """The protocol that all its runs share."""
        return next(iter(self.row.runs.values()))[0].protocol

    @property
    def key(self) -> str:
        """What a link to the page calls it, the same each time the page is made."""
        return key_of(self.protocol, self.row.label)


def key_of(*names: str) -> str:
    """Return eight characters that stand for some names."""
    return hashlib.sha256("\0".join(names).encode()).hexdigest()[:8]


def settings_of(runs: Iterable[Run]) -> list[Setting]:
    """Arrange runs, each protocol by itself, so that labels name only what differs within it."""
    found = []
    for _, members in itertools.groupby(sorted(runs, key=lambda run: run.protocol), key=lambda run: run.protocol):
        rows, columns = arrange(members)
        table = Table(Spec(), rows, columns, NAMES)
        found += [Setting(table, row, mark) for row, mark in zip(rows, captions.marks(rows), strict=True)]
    return found


def columns_of(settings: Sequence[Setting]) -> list[str]:
    """Return the columns of all tables: cells in the order in which they were published, and after them variants.

    So a cell that no setting tells apart has the same colour on most pages.
    """
    years: dict[str, tuple[int, int]] = {}
    for setting in settings:
        for place, label in enumerate(setting.table.columns):
            members = setting.row.runs.get(label, ())
            year = min((run.record.cell_year or NO_YEAR for run in members), default=NO_YEAR)
            years[label] = min(years.get(label, (NO_YEAR, place)), (year, place))
    return sorted(years, key=lambda label: (" " in label, *years[label], label))


def looks_of(columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return the colour and the dashes of each column, in the order of the columns, as in the figures."""
    cycle = matplotlib.rc_params_from_file(STYLE, use_default_template=False)["axes.prop_cycle"]
    assert isinstance(cycle, Cycler)
    colours = [f"#{colour.lstrip('#')}" for colour in cycle.by_key()["color"]]
    found = []
    for index, label in enumerate(columns):
        style = look(index)
        dashes = _dashes(LINE_STYLES[index % len(LINE_STYLES)])
        found.append({"label": label, "colour": colours[int(style["color"][1:])], "dashes": dashes})
    return found


def _dashes(style: Any) -> list[float]:
    """Return the lengths of dashes and gaps in pixels; none for a whole line."""
    pattern = {"-": (), "-.": matplotlib.rcParamsDefault["lines.dashdot_pattern"]}[style] if isinstance(
        style, str
    ) else style[1]  # fmt: skip
    return [round(LINE_WIDTH * length, 1) for length in pattern]


def setting_facts(setting: Setting) -> dict[str, Any]:
    """Return what is shown of a row beside its numbers."""
    facts, metric = setting.row.facts, setting.row.facts["metric"]
    first = next(iter(setting.row.runs.values()))[0]
    runs = [run for members in setting.row.runs.values() for run in members]
    return {
        "key": setting.key,
        "task": first.task,
        "experiment": first.experiment,
        "protocol": setting.protocol,
        "label": setting.row.label,
        "mark": setting.mark,
        "metric": metric,
        "metric_name": metric.replace("_", " "),
        "higher": facts["higher_is_better"],
        "baseline": shorter(facts["baselines"][metric]),
        "delay": facts.get("delay"),
        "budget": max(run.budget for run in runs),
    }


def row_numbers(setting: Setting) -> dict[str, dict[str, list[Any]]]:
    """Return the numbers of a row as ``bench table`` prints them.

    Returns:
        By column and metric: the number by which rows are sorted, ``"Infinity"`` for one that is worse than all others;
        its text; the text of its interval and of what became of the runs; the baseline's, or nothing; and whether it is
        the best of its row.
    """
    row, table, columns = setting.row, setting.table, list(setting.row.runs)
    found: dict[str, dict[str, list[Any]]] = {column: {} for column in columns}
    for metric in table.metrics(row):
        baseline = row.facts["baselines"].get(metric)
        below = "" if baseline is None else numbers.number(baseline)
        for column, entry in zip(columns, row_entries(table, row, metric, columns), strict=True):
            value = _sortable(table.number(row, column, metric))
            found[column][metric] = [value, entry.lines[0], " ".join(entry.lines[1:]), below, entry.best]
    return found


def _sortable(number: MetricEstimate | None) -> float | int | str | None:
    if number is None or number.value is None:
        return None
    if math.isinf(number.value) and number.better == "lower":
        return "Infinity"
    return shorter(number.value, 6)


def statuses(runs: Iterable[Run]) -> dict[str, int]:
    """Return how many runs have each status."""
    return dict(sorted(Counter(run.status for run in runs).items()))


def protocol_notes(settings: Sequence[Setting]) -> list[dict[str, Any]]:
    """Return, for each protocol with results, how its runs were made and what one must know to read its numbers."""
    tables = {setting.protocol: setting.table for setting in settings}
    return [
        {"protocol": protocol, "notes": [captions.caption(table), *captions.notes(table)]}
        for protocol, table in tables.items()
        if metrics.results(table.runs)
    ]


def delay_lines(settings: Sequence[Setting], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return the share of seeds that have solved a task, and the reach, over series of rows that differ in the delay.

    Returns:
        For each series its ``label`` and ``protocol``, and for each column the ``settings`` and ``delays`` that it was
        run at, with the ``share`` solved, its Wilson interval, and the median reach ``untrained`` and ``trained``.
    """
    keys = {id(setting.row): setting.key for setting in settings}
    found = []
    for protocol, members in itertools.groupby(settings, key=lambda setting: setting.protocol):
        for series in delay_series([setting.row for setting in members]):
            lines = [
                {"column": columns.index(label), **_over_delays(series.rows, label, keys)}
                for label in columns
                if any(label in row.runs for row in series.rows)
            ]
            found.append({"label": series.label, "protocol": protocol, "lines": lines})
    return found


def _over_delays(rows: Sequence[RunGroup], label: str, keys: dict[int, str]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {
        name: [] for name in ("settings", "delays", "share", "low", "high", "n", "untrained", "trained")
    }
    for row in rows:
        results = metrics.results(row.runs.get(label, []))
        if not results:
            continue
        share = success(sum(run.record.solved for run in results), len(results))
        assert share.interval is not None
        found["settings"].append(keys[id(row)])
        found["delays"].append(row.facts["delay"])
        found["n"].append(len(results))
        for name, value in (("share", share.value), ("low", share.interval.low), ("high", share.interval.high)):
            found[name] += short([value])
        for when in metrics.WHEN:
            found[when].append(metrics.estimate(results, f"reach_{when}", "median").value)
    return found
