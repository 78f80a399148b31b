"""Records to tables: terminal, Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import re
import statistics
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from tabulate import tabulate

from bench.layout import Row, arrange
from bench.measured import Journey
from bench.record import FINAL, Record

T = TypeVar("T")

TERMINAL_WIDTH = 80
NOTHING = "-"
MORE = ""
"""Name of a line that adds to the one above it."""
MISHAPS = ("diverged", "failed", "interrupted")


Journeys = Mapping[str, Journey]
"""How far the gradient travels, by run id, for the runs that were probed."""


def render(records: list[Record], form: str, journeys: Journeys) -> str:
    """The table of a set of records.

    Args:
        records: At least one.
        journeys: See :data:`Journeys`.
        form: ``terminal`` (80 columns), ``markdown``, ``csv`` or ``latex``.

    Raises:
        ValueError: Another form.
    """
    rows, columns = arrange(records)
    writers = {"terminal": _terminal, "markdown": _markdown, "csv": _csv, "latex": _latex}
    if form not in writers:
        raise ValueError(f"`form` must be one of {', '.join(writers)}, got {form!r}")
    return writers[form](rows, columns, journeys)


def number(value: float | None) -> str:
    """Three significant digits."""
    return NOTHING if value is None else f"{value:#.3g}".removesuffix(".")


def spread(values: Iterable[float]) -> str:
    """``[smallest, largest]`` with two significant digits, or nothing for no values."""
    values = list(values)
    return f"[{min(values):#.2g}, {max(values):#.2g}]".replace(".,", ",").replace(".]", "]") if values else ""


def solved(runs: list[Record]) -> str:
    """``k/n`` of the runs that have a result."""
    results = [run for run in runs if run.status in FINAL]
    return f"{sum(run.solved for run in results)}/{len(results)}" if runs else NOTHING


def mishaps(runs: list[Record]) -> str:
    """How many runs ended otherwise than completed, by status."""
    counts = {status: sum(run.status == status for run in runs) for status in MISHAPS}
    text = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    return f"({text})" if text else ""


def test_values(runs: Iterable[Record], metric: str) -> list[float]:
    """A test metric of the runs that have it; only completed ones do."""
    values = (run.metrics["test"].get(metric) for run in runs if run.status in FINAL)
    return [value for value in values if value is not None]


def _median(values: Iterable[float | int | None]) -> float | None:
    kept = [value for value in values if value is not None]
    return float(statistics.median(kept)) if kept else None


def _median_of(values: list[float], runs: int) -> str:
    """The median, with its n where not every run with a result has the value."""
    return number(_median(values)) + (f" (n={len(values)})" if 0 < len(values) < runs else "")


def _lines(row: Row, columns: Iterable[str], journeys: Journeys) -> list[list[str]]:
    """The statistics of a row: name, baseline, then one text for each column."""
    facts = row.facts
    runs = [row.runs.get(column, []) for column in columns]
    results = [[r for r in members if r.status in FINAL] for members in runs]

    def line(name: str, texts: Iterable[str], baseline: str = "") -> list[str]:
        return [name, baseline, *texts]

    def measured(metric: str) -> list[str]:
        medians = [_median_of(test_values(members, metric), len(members)) for members in results]
        return line(metric.replace("_", " "), medians, number(facts["baselines"].get(metric)))

    metric = facts["metric"]
    lines = [line("solved", [solved(members) for members in runs])]
    if any(map(mishaps, runs)):
        lines.append(line(MORE, [mishaps(members) for members in runs]))
    lines.append(measured(metric))
    lines.append(line(MORE, [spread(test_values(members, metric)) for members in runs]))
    lines += [measured(extra) for extra in facts["extra_metrics"]]
    solving = [[r.steps_to_solve for r in members if r.steps_to_solve is not None] for members in results]
    times = [[r.time["milliseconds_per_step"] for r in members] for members in results]
    sizes = [sorted({r.model["parameters"] for r in members if r.model["parameters"]}) for members in runs]
    lines.append(line("steps to solve", [number_of_steps(_median(steps)) for steps in solving]))
    if any(solving):
        lines.append(line(MORE, [f"[{min(s)}, {max(s)}]" if s else "" for s in solving]))
    travelled = [[journeys[r.run_id] for r in members if r.run_id in journeys] for members in results]
    lines += _gradient_lines(travelled, line)
    return [
        *lines,
        line("parameters", [", ".join(f"{size:,}" for size in each) or NOTHING for each in sizes]),
        line("ms a step", [number(_median(each)) for each in times]),
    ]


def _gradient_lines(journeys: list[list[Journey]], line: Callable[[str, Iterable[str]], list[str]]) -> list[list[str]]:
    """How far the gradient travels, where anything was measured."""
    if not any(journeys):
        return []
    before = [_kept(each.start.horizon for each in members) for members in journeys]
    ends = [_kept(each.end for each in members) for members in journeys]
    after = [_kept(end.horizon for end in members) for members in ends]
    slopes = [_kept(end.rate for end in members) for members in ends]
    return [
        line("horizon, untrained", [number_of_steps(_median(each)) for each in before]),
        line("horizon, trained", [number_of_steps(_median(each)) for each in after]),
        line(MORE, [f"[{min(each)}, {max(each)}]" if each else "" for each in after]),
        line("decay, trained", [number(_median(each)) for each in slopes]),
    ]


def _kept(values: Iterable[T | None]) -> list[T]:
    return [value for value in values if value is not None]


def number_of_steps(value: float | None) -> str:
    """A whole number of steps."""
    return NOTHING if value is None else f"{value:.0f}"


def _notes(rows: Iterable[Row], journeys: Journeys) -> list[str]:
    """What a reader must know to read the numbers."""
    rows = list(rows)
    runs = [run for row in rows for members in row.runs.values() for run in members]
    machines = sorted({_machine(run) for run in runs})
    return [
        "Scores on the test set. Median over seeds, in brackets the smallest and the largest. "
        "Baseline: the best predictor without memory. "
        "Solved: the task's criterion met at three evaluations in a row; steps to solve: the first of these, "
        "of the runs that solved it.",
        *_gradient_notes(journeys[run.run_id] for run in runs if run.run_id in journeys),
        f"Run on {'; '.join(machines)}.",
    ]


def _gradient_notes(journeys: Iterable[Journey]) -> list[str]:
    if not list(journeys):
        return []
    return [
        "Horizon: the largest probed lag, in steps before the first answer, at which the gradient of the answer's loss "
        "with respect to the hidden state of the lowest layer is at least 1 % of that at lag 0. Decay: slope of its "
        "log10 over lag, a step."
    ]


def _uneven(row: Row) -> list[str]:
    """A note for each setting that differs between the cells of a row."""
    notes = []
    for key, values in row.uneven.items():
        texts = ", ".join(f"{column} {value}" for column, value in values.items())
        notes.append(f"{key} differs between cells: {texts}.")
    return notes


def _all_notes(rows: list[Row], journeys: Journeys) -> list[str]:
    return [*_notes(rows, journeys), *(f"{row.label}: {note}" for row in rows for note in _uneven(row))]


def _machine(run: Record) -> str:
    threads = run.runtime["threads"]
    count = f", {threads} thread{'s' if threads != 1 else ''}" if run.device["type"] == "cpu" else ""
    return f"{run.device['name']} ({run.device['type']}{count})"


def _terminal(rows: list[Row], columns: list[str], journeys: Journeys) -> str:
    blocks = []
    for row in rows:
        present = [column for column in columns if column in row.runs]
        body = "\n\n".join(_fitting(row, present, journeys))
        beneath = "".join(f"\n{_wrapped(note)}" for note in _uneven(row))
        blocks.append(f"{_wrapped(row.label)}\n\n{body}\n{beneath}" + ("\n" if beneath else ""))
    notes = "\n".join(_wrapped(note) for note in _notes(rows, journeys))
    return "\n".join([*blocks, notes]) + "\n"


def _fitting(row: Row, columns: list[str], journeys: Journeys) -> list[str]:
    """The row's table, cut into as many as it takes to stay within the terminal's width."""
    text = tabulate(
        _lines(row, columns, journeys),
        headers=["", "baseline", *columns],
        tablefmt="simple",
        disable_numparse=True,
        colalign=("left", *["right"] * (len(columns) + 1)),
    )
    width = max(map(len, text.splitlines()))
    if width <= TERMINAL_WIDTH or len(columns) == 1:
        return [text]
    middle = (len(columns) + 1) // 2
    return _fitting(row, columns[:middle], journeys) + _fitting(row, columns[middle:], journeys)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, TERMINAL_WIDTH)


def _merged(rows: list[Row], columns: list[str], journeys: Journeys) -> list[list[str]]:
    """All rows in one table, with the task's label in front of each one's first line; ranges beside their medians."""
    merged = []
    for row in rows:
        joined: list[list[str]] = []
        for line in _lines(row, columns, journeys):
            if line[0] == MORE:
                joined[-1][2:] = [" ".join(pair).strip() for pair in zip(joined[-1][2:], line[2:], strict=True)]
            else:
                joined.append(line)
        merged += [[row.label if i == 0 else "", *line] for i, line in enumerate(joined)]
    return merged


def _markdown(rows: list[Row], columns: list[str], journeys: Journeys) -> str:
    align = ("left", "left", *["right"] * (len(columns) + 1))
    headers = ["task", "", "baseline", *columns]
    body = _merged(rows, columns, journeys)
    table = tabulate(body, headers=headers, tablefmt="github", disable_numparse=True, colalign=align)
    notes = "\n".join(f"- {note}" for note in _all_notes(rows, journeys))
    return f"{table}\n\n{notes}\n"


_LATEX = str.maketrans(
    {c: rf"\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
)


def _minus(text: str) -> str:
    """Numbers as they are set: a minus sign instead of a hyphen, and powers of ten."""
    signed = re.sub(r"(?<![\w.])-(?=\d)", "$-$", text)
    return re.sub(r"(\d)e-0?(\d+)", r"\1$\\times 10^{-\2}$", signed)


def _latex(rows: list[Row], columns: list[str], journeys: Journeys) -> str:
    def cells(texts: Iterable[str]) -> str:
        return " & ".join(_minus(re.sub(r"^-$", "--", text).translate(_LATEX)) for text in texts) + r" \\"

    lines = [
        r"% needs \usepackage{booktabs}",
        rf"\begin{{tabular}}{{ll{'r' * (len(columns) + 1)}}}",
        r"\toprule",
        cells(["task", "", "baseline", *columns]),
    ]
    for line in _merged(rows, columns, journeys):
        lines += [r"\midrule"] if line[0] else []
        lines.append(cells(line))
    lines += [r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*lines, *(f"% {note}" for note in _all_notes(rows, journeys))]) + "\n"


def _csv(rows: list[Row], columns: list[str], journeys: Journeys) -> str:
    """One line for each task and cell; numbers in full."""
    lines: list[dict[str, Any]] = []
    for row in rows:
        for column in columns:
            if runs := row.runs.get(column):
                lines.append(_csv_line(row, column, runs, journeys))
    names = list(dict.fromkeys(name for line in lines for name in line))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return buffer.getvalue()


def _csv_line(row: Row, column: str, runs: list[Record], journeys: Journeys) -> dict[str, Any]:
    results = [run for run in runs if run.status in FINAL]
    line: dict[str, Any] = {
        "task": row.task,
        "settings": " ".join(row.settings),
        "cell": column,
        "n": len(results),
        "solved": sum(run.solved for run in results),
    }
    for status in MISHAPS:
        line[status] = sum(run.status == status for run in runs)
    for metric in (row.facts["metric"], *row.facts["extra_metrics"]):
        values = test_values(runs, metric)
        line[f"{metric}_baseline"] = row.facts["baselines"].get(metric)
        for name, function in (("median", statistics.median), ("min", min), ("max", max)):
            line[f"{metric}_{name}"] = function(values) if values else None
    line["steps_to_solve_median"] = _median(run.steps_to_solve for run in results)
    travelled = [journeys[run.run_id] for run in results if run.run_id in journeys]
    ends_by_name = {"start": [each.start for each in travelled], "end": _kept(each.end for each in travelled)}
    for name, ends in ends_by_name.items() if journeys else ():
        line[f"horizon_{name}_median"] = _median(each.horizon for each in ends)
        line[f"decay_{name}_median"] = _median(each.rate for each in ends)
    line["parameters"] = max((run.model["parameters"] or 0 for run in runs), default=0)
    line["milliseconds_per_step_median"] = _median(run.time["milliseconds_per_step"] for run in results)
    return line
