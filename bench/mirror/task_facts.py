"""What the runs of each task show, which decides what is in their dashboard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.analysis.grouping import arrange
from bench.analysis.run import Run
from bench.records.read import read_probe
from bench.records.record import DamagedRecordError, probed


@dataclass(frozen=True)
class TaskFacts:
    """What the runs of one task show.

    Attributes:
        cells: The cells that were trained on it, in the order of all figures.
        metric: The score that counts.
        scores: Its scores at the evaluations, each with the direction of the better ones, or ``None``.
        tested: Its scores at the test, those on further test sets included.
        baselines: For each setting of the task, the scores of the best predictor without memory.
        activity: Layer, name and statistic of all that the probes tell of gates and states.
    """

    cells: tuple[str, ...]
    metric: str
    scores: Mapping[str, str | None]
    tested: tuple[str, ...]
    baselines: Mapping[str, Mapping[str, float]]
    activity: frozenset[tuple[int, str, str]]


def counting(shown: Mapping[str, TaskFacts]) -> dict[str, str | None]:
    """Return the score that counts in each task, and its direction."""
    return {facts.metric: facts.scores.get(facts.metric) for facts in shown.values()}


def facts_of(runs: Sequence[Run]) -> tuple[dict[str, TaskFacts], list[DamagedRecordError]]:
    """Return what the runs of each task show, and what is wrong with tables of probes that cannot be read."""
    rows, _ = arrange(runs)
    found, damaged = {}, []
    for task in sorted({row.task for row in rows}):
        own = [row for row in rows if row.task == task]
        members = [run for row in own for its in row.runs.values() for run in its]
        activity, wrong = _activity(members)
        damaged += wrong
        scores: dict[str, str | None] = {}
        for record in (run.record for run in members):
            scores = {**dict.fromkeys(record.metrics["eval"]), **record.directions, **scores}
        found[task] = TaskFacts(
            cells=tuple(dict.fromkeys(run.cell for run in members)),
            metric=own[0].facts["metric"],
            scores=scores,
            tested=tuple(dict.fromkeys(name for run in members for name in run.record.metrics["test"])),
            baselines={row.label: row.facts["baselines"] for row in own},
            activity=activity,
        )
    return found, damaged


def _activity(runs: Iterable[Run]) -> tuple[frozenset[tuple[int, str, str]], list[DamagedRecordError]]:
    """Return which statistics there are; runs of one cell, depth and setting of the probes have the same."""
    found: set[tuple[int, str, str]] = set()
    damaged, seen = [], set()
    for run in runs:
        config = run.record.config
        alike = (run.cell, config["model"].get("layers"), repr(config.get("probe")))
        if not probed(run.record) or alike in seen:
            continue
        try:
            table = read_probe(run.folder, "activity", ["layer", "name", "statistic"])
        except DamagedRecordError as error:
            damaged.append(error)
            continue
        seen.add(alike)
        found |= set(zip(*(column.to_pylist() for column in table.columns), strict=True))
    return frozenset(found), damaged
