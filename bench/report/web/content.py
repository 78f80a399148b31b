"""All that a page shows, as plain values; see the modules beside this one for its parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench import __version__
from bench.analysis import metrics
from bench.analysis.run import Run, garbage_left, read_exponents, read_reaches
from bench.records.record import DamagedRecordError
from bench.report.web.lines import flow_lines, gate_lines, read_tables, run_lines, survival_lines
from bench.report.web.places import (
    Setting,
    columns_of,
    delay_lines,
    key_of,
    looks_of,
    protocol_notes,
    row_numbers,
    setting_facts,
    settings_of,
    statuses,
)
from bench.report.web.run_list import run_list
from bench.report.web.shortened import MOST_DRAWN, Detail, evenly
from bench.report.web.verdicts import verdicts


def content_of(runs: Sequence[Run]) -> tuple[dict[str, Any], list[DamagedRecordError]]:
    """Return what a page of some runs shows.

    Args:
        runs: The runs, at least one; of two with one id, task and cell the first counts.

    Returns:
        The values, which JSON can hold; and what is wrong with the tables of probes and curves that cannot be read. The
        runs of these are in the tables of the page, and have no lines.
    """
    unique: dict[tuple[str, str, str], Run] = {}
    for run in runs:
        unique.setdefault((run.run_id, run.task, run.cell), run)
    runs = list(unique.values())
    damaged = read_reaches(runs) + read_exponents(runs)
    settings = settings_of(runs)
    columns = columns_of(settings)
    numbered = {run: number for number, run in enumerate(runs)}
    detail = Detail.of(len(runs), sum(len(setting.row.runs) for setting in settings))
    places: list[dict[str, Any]] = []
    lines: dict[int, dict[str, Any]] = {}
    for setting in settings:
        numbers = row_numbers(setting)
        for label, members in setting.row.runs.items():
            place, wrong = _place(setting, label, members, detail, numbered, lines)
            places.append({"column": columns.index(label), "numbers": numbers[label], **place})
            damaged += wrong
    shown = list(dict.fromkeys(metric for setting in settings for metric in setting.table.metrics(setting.row)))
    content = {
        "version": __version__,
        "statuses": statuses(runs),
        "thinned": detail.seeds is not None,
        "detail": _said(detail, len(runs), len(lines)),
        "columns": looks_of(columns),
        "metrics": {metric: metrics.name_of(metric) for metric in _in_order(shown)},
        "settings": [setting_facts(setting) for setting in settings],
        "places": places,
        "runs": run_list(runs),
        "lines": {str(number): lines[number] for number in sorted(lines)},
        "delays": delay_lines(settings, columns),
        "claims": verdicts(runs),
        "protocols": protocol_notes(settings),
    }
    # A table that is read twice is damaged twice.
    return content, list({str(error): error for error in damaged}.values())


def _place(
    setting: Setting,
    label: str,
    members: Sequence[Run],
    detail: Detail,
    numbered: dict[Run, int],
    lines: dict[int, dict[str, Any]],
) -> tuple[dict[str, Any], list[DamagedRecordError]]:
    """Return one place of the table, and add the lines of its runs to those of all."""
    results = metrics.results(members)
    drawn = {results[i] for i in evenly(len(results), detail.seeds or len(results))}
    with garbage_left():
        whole, tables, damaged = read_tables(members, drawn)
        for run, curves, flow in zip(whole, tables["curves"], tables["flow"], strict=True):
            if run in drawn:
                lines[numbered[run]] = run_lines(run.record, curves, flow, detail)
        flow = flow_lines(tables["flow"], [run.record for run in whole], detail.looks) if whole else None
        gates = gate_lines(tables["activity"]) if whole else {}
    place = {
        "key": key_of(setting.protocol, setting.row.label, label),
        "setting": setting.key,
        "cell": members[0].cell,
        "runs": [numbered[run] for run in members],
        "statuses": statuses(members),
        "survival": survival_lines(members),
        "flow": flow,
        "gates": gates,
    }
    return place, damaged


def _said(detail: Detail, runs: int, drawn: int) -> str:
    """Say what was left out."""
    text = (
        f"Lines over training steps have at most {detail.points} points, evenly apart, and lines over lag at most 40. "
        "Numbers in tables are those of whole records."
    )
    if detail.seeds is None:
        return text
    return (
        f"Thinned, as the page has more than {MOST_DRAWN:,} runs: of {runs:,} runs {drawn:,} have lines of their own, "
        f"up to {detail.seeds} seeds, evenly apart, of each cell in each setting. Medians, ranges and shares are those "
        f"of all runs. {text}"
    )


def _in_order(shown: Sequence[str]) -> list[str]:
    """Return metrics with those of every run around the scores, as tables have them."""
    last = [metric for metric in metrics.EVERY_RUN if metric != metrics.SOLVED]
    scores = [metric for metric in shown if metric not in metrics.EVERY_RUN]
    return [metrics.SOLVED, *scores, *(metric for metric in last if metric in shown)]
