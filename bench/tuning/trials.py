"""The trials of a tuning: what each tried, what it scored, and the CSV that figures are drawn from. Pure."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.errors import as_override
from bench.records.older import Direction
from bench.records.record import FINAL, Record
from bench.shapes import content_of

TRIALS_FILE = "trials.csv"
State = Literal["open", "complete", "pruned", "failed"]
COLUMNS = ("task", "setting", "cell", "trial", "state", "score", "metric", "direction", "baseline", "sampler", "seeds",
           "runs")  # fmt: skip
"""The columns of the CSV that every line has; one for each key that is searched over follows."""


@dataclass(frozen=True)
class Trial:
    """One setting that is tried.

    Attributes:
        number: Its number among the trials of its cell and task, from 0.
        state: ``open``, ``complete``, ``pruned`` (its later seeds were not worth it) or ``failed`` (a run has no
            result).
        values: The value of each key that was drawn.
        score: The mean score over its seeds, of a pruned one over those that it got; ``None`` if it is open or failed.
    """

    number: int
    state: State
    values: Mapping[str, Any]
    score: float | None


@dataclass(frozen=True)
class Line:
    """The trials of one cell on one task.

    Attributes:
        task: Name of the task.
        setting: The place of the runs in the rows of the experiment, as ``length=100``.
        cell: Name of the cell.
        metric: The score that is optimised, of the evaluation set.
        direction: Which end of it is the better one.
        baseline: Its value for the best predictor without memory.
        sampler: What drew the settings, ``random`` or ``tpe``.
        trials: The trials in their order.
        runs: The number of seeds and the ids of the runs of each trial.
    """

    task: str
    setting: str
    cell: str
    metric: str
    direction: Direction
    baseline: float
    sampler: str
    trials: tuple[Trial, ...]
    runs: tuple[tuple[int, str], ...]

    @property
    def scores(self) -> list[float]:
        """The score of each trial that has ended; one that failed counts as the baseline."""
        return [self.baseline if each.score is None else each.score for each in self.trials if each.state != "open"]


def score_of(record: Record, metric: str) -> float | None:
    """Return the score of a run on the evaluation set, no worse than that of the best predictor without memory.

    A network that diverged, or that is worse than one that has learned nothing of order, has found nothing: how far it
    is off says nothing, and would rule a mean over seeds.

    Returns:
        The score; ``None`` if the run has no result.
    """
    if record.status not in FINAL:
        return None
    baseline = float(record.task_facts["baselines"][metric])
    value = record.metrics.get("eval", {}).get(metric)
    if record.status == "diverged" or value is None or not math.isfinite(value):
        return baseline
    return max(value, baseline) if record.directions[metric] == "higher" else min(value, baseline)


def best_of(trials: Iterable[Trial], direction: Direction) -> Trial | None:
    """Return the best complete trial, of several the first; ``None`` if there is none."""
    sign = -1 if direction == "higher" else 1
    complete = [(sign * each.score, each.number, each) for each in trials
                if each.state == "complete" and each.score is not None]  # fmt: skip
    return min(complete)[2] if complete else None


def as_csv(lines: Sequence[Line]) -> bytes:
    """Return the trials as a CSV, one line a trial; numbers have all their digits."""
    keys = list(dict.fromkeys(key for line in lines for trial in line.trials for key in trial.values))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*COLUMNS, *keys])
    for line in lines:
        for trial, (seeds, runs) in zip(line.trials, line.runs, strict=True):
            score = "" if trial.score is None else repr(trial.score)
            values = (as_override(trial.values[key]) if key in trial.values else "" for key in keys)
            writer.writerow(
                [line.task, line.setting, line.cell, trial.number, trial.state, score, line.metric, line.direction,
                 repr(line.baseline), line.sampler, seeds, runs, *values]
            )  # fmt: skip
    return buffer.getvalue().encode()


def read_trials(path: Path) -> list[Line]:
    """Read the trials of a tuning from their CSV.

    Raises:
        ValueError: It is none; the message is one line.
        OSError: It cannot be read.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(content_of(path).decode("utf-8"))))
        found: dict[tuple[str, ...], list[dict[str, str]]] = {}
        for row in rows:
            found.setdefault(tuple(row[name] for name in ("task", "setting", "cell")), []).append(row)
        return [_line(place, members) for place, members in found.items()]
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise ValueError(f"{path} must be the trials of a tuning ({type(error).__name__}: {error})") from error


def _line(place: tuple[str, ...], rows: list[dict[str, str]]) -> Line:
    task, setting, cell = place
    first, trials = rows[0], []
    for row in rows:
        state = row["state"]
        if state not in ("open", "complete", "pruned", "failed") or row["direction"] not in ("higher", "lower"):
            raise ValueError(f"got {state!r} and {row['direction']!r}")
        values = {key: _value(text) for key, text in row.items() if key not in COLUMNS and text}
        score = float(row["score"]) if row["score"] else None
        if score is not None and not math.isfinite(score):
            raise ValueError(f"got {score}")
        trials.append(Trial(int(row["trial"]), state, values, score))
    direction: Direction = "higher" if first["direction"] == "higher" else "lower"
    runs = tuple((int(row["seeds"]), row["runs"]) for row in rows)
    return Line(task, setting, cell, first["metric"], direction, float(first["baseline"]), first["sampler"],
                tuple(trials), runs)  # fmt: skip


def _value(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
