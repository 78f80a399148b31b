"""The words for the progress of a sweep: durations and states; and the place where it is shown."""

from __future__ import annotations

from collections.abc import Sequence

from bench.records import record
from bench.records.record import Record
from bench.sweeps.state import RunState, count


def duration(seconds: float) -> str:
    """Write seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def ended(made: Record, label: str) -> str:
    """Say in one line how a run ended; the label is that of its run spec."""
    if made.status in ("failed", "interrupted"):
        return f"{label}: {made.status}, {made.reason}"
    metric = made.task_facts["metric"]
    value = made.metrics["test"].get(metric)
    score = "" if value is None else f", test {metric} {value:.4g}"
    if made.status == "diverged":
        outcome = made.reason
    else:
        outcome = f"solved at step {made.steps_to_solve}" if made.solved else f"unsolved at step {made.steps}"
    return f"{label}: {outcome}{score}, {duration(made.time['wall_seconds'] or 0)}"


def summary_line(run_states: Sequence[RunState]) -> str:
    """Return a line such as ``12/18 runs, 2 running, 1 failed``."""
    by_state = count(run_states)
    done = sum(by_state[state] for state in record.FINAL)
    states = ("diverged", "running", "interrupted", "failed", "damaged")
    return ", ".join(
        [f"{done}/{len(run_states)} runs", *(f"{by_state[state]} {state}" for state in states if by_state[state])]
    )
