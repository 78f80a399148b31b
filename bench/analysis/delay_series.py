"""Series of rows that differ only in the delay, in the order of the delay. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bench.analysis.grouping import RunGroup
from bench.analysis.hyperparameters import differing, text


@dataclass(frozen=True)
class DelaySeries:
    """One task with one protocol over several delays.

    Attributes:
        label: Task and settings, without the setting of the delay.
        rows: One row for each delay, in increasing order; at least two.
    """

    label: str
    rows: tuple[RunGroup, ...]


def delay_series(rows: Iterable[RunGroup]) -> list[DelaySeries]:
    """Find the rows that differ in their delay and in nothing else; a row without such a companion is left out.

    Rows of one series agree in the settings of the task except the first one, and in the protocol of every cell that
    two of them share. Each row shares a cell with one of the others.

    Args:
        rows: See :func:`bench.analysis.grouping.arrange`.
    """
    found: list[list[RunGroup]] = []
    for row in rows:
        companions = (
            members
            for members in found
            if all(_differ_in_delay(row, other) for other in members)
            and any(row.runs.keys() & other.runs.keys() for other in members)
        )
        if (home := next(companions, None)) is None:
            found.append([row])
        else:
            home.append(row)
    kept = [sorted(members, key=lambda row: row.facts["delay"]) for members in found if len(members) > 1]
    labels = [(members[0].task, *members[0].settings[1:]) for members in kept]
    rests = [next(iter(members[0].runs.values()))[0].training for members in kept]
    made = []
    for members, label, rest in zip(kept, labels, rests, strict=True):
        namesakes = [other for other, its in zip(rests, labels, strict=True) if its == label]
        parts = [f"{key}={text(rest.get(key))}" for key in differing(namesakes)]
        made.append(DelaySeries(", ".join((*label, *parts)), tuple(members)))
    return made


def _differ_in_delay(one: RunGroup, other: RunGroup) -> bool:
    delays = [row.facts.get("delay") for row in (one, other)]
    if one.task != other.task or one.settings[1:] != other.settings[1:] or None in delays or len(set(delays)) == 1:
        return False
    shared = one.runs.keys() & other.runs.keys()
    return all(not differing((one.runs[column][0].training, other.runs[column][0].training)) for column in shared)
