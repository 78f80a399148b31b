"""What the probes of a run found: curves of the gradient norm over lag, and the numbers that summarise them.

Tables and figures show the gradient with respect to the network's input, which compares cells whatever their state is;
see :mod:`bench.stats.gradient_decay`. Records that were made before it was measured have no reach.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bench.records.record import Record
from bench.stats.gradient_decay import FLOAT32, Reach, reaches

INPUT = 0
"""The layer under which the flow has the gradient with respect to the network's input."""
LOWEST = 1
"""The layer whose activity figures show."""


@dataclass(frozen=True)
class GradientReach:
    """How far the gradient travels before the first step, and after the last step of a completed run."""

    start: Reach
    end: Reach | None


def flow_steps(flow: pa.Table) -> list[int]:
    """Return the steps after which there is a curve of the network's input, increasing."""
    return np.unique(flow["step"].to_numpy()[_shown(flow)]).tolist()


def flow_curve(flow: pa.Table, step: int) -> tuple[list[int], list[float]]:
    """Return the lags, increasing, and the norms at them, after one step."""
    steps, lags, norms = (flow[name].to_numpy() for name in ("step", "lag", "value"))
    (chosen,) = np.nonzero(_shown(flow) & (steps == step))
    chosen = chosen[np.argsort(lags[chosen], kind="stable")]
    return lags[chosen].tolist(), norms[chosen].tolist()


def _shown(flow: pa.Table) -> np.ndarray:
    """Return which rows are of the network's input."""
    return flow["layer"].to_numpy() == INPUT


def looks(flow: pa.Table, made: Record) -> tuple[int | None, int | None]:
    """Return the steps of the looks at the network as initialised and as trained; ``None`` for a look that is missing.

    A run that has diverged, failed or been interrupted does not count as trained.
    """
    steps = flow_steps(flow)
    trained = made.status == "completed" and made.steps in steps
    return 0 if 0 in steps else None, made.steps if trained else None


def gradient_reach(flow: pa.Table, made: Record) -> GradientReach | None:
    """Compute the gradient reach of a run at the steps of :func:`looks`; ``None`` if the first look is missing."""
    return gradient_reaches([flow], [made])[0]


def gradient_reaches(flows: Sequence[pa.Table], records: Sequence[Record]) -> list[GradientReach | None]:
    """Compute the gradient reach of several runs, which takes far less time than to ask for each."""
    whole = pa.concat_tables(flows)
    run = np.repeat(np.arange(len(flows)), [flow.num_rows for flow in flows])
    step, shown = whole["step"].to_numpy(), _shown(whole)
    last = np.array([made.steps if made.status == "completed" else -1 for made in records])
    found: list[list[Reach | None]] = []
    for looked in (step == 0, step == last[run]):
        (chosen,) = np.nonzero(shown & looked)
        lags, norms = whole["lag"].to_numpy()[chosen], whole["value"].to_numpy()[chosen]
        each: list[Reach | None] = [None] * len(flows)
        for number, reach in zip(np.unique(run[chosen]), reaches(run[chosen], lags, norms, FLOAT32), strict=True):
            each[number] = reach
        found.append(each)
    return [GradientReach(start, end) if start else None for start, end in zip(*found, strict=True)]


@dataclass(frozen=True)
class Exponents:
    """The leading Lyapunov exponent of the whole network at both looks, in natural logarithms a step."""

    start: float | None
    end: float | None


def leading_exponents(activities: Sequence[pa.Table], records: Sequence[Record]) -> list[Exponents | None]:
    """Return the leading exponents of several runs; ``None`` for a run of which none were measured.

    The layers of a network do not act on lower ones, so that the largest exponent of all layers is that of the network.
    There is none where a state was not finite, and none where the network has no memory at all, minus infinity.
    """
    whole = pa.concat_tables(activities)
    (chosen,) = np.nonzero(pc.call_function("equal", [whole["statistic"], "lyapunov_1"]).to_numpy())
    run = np.repeat(np.arange(len(activities)), [activity.num_rows for activity in activities])[chosen]
    by_step: list[dict[int, list[float]]] = [{} for _ in activities]
    kept = whole.take(chosen)
    for number, step, value in zip(run.tolist(), kept["step"].to_pylist(), kept["value"].to_pylist(), strict=True):
        by_step[number].setdefault(step, []).append(math.nan if value is None else value)
    return [_exponents(found, made) if found else None for found, made in zip(by_step, records, strict=True)]


def _exponents(by_step: Mapping[int, Sequence[float]], made: Record) -> Exponents:
    largest = {step: max(values) for step, values in by_step.items() if not any(map(math.isnan, values))}
    start, end = (largest.get(step, math.nan) for step in (0, made.steps))
    return Exponents(
        start if math.isfinite(start) else None, end if math.isfinite(end) and made.status == "completed" else None
    )


def statistic(activity: pa.Table, name: str) -> dict[str, dict[int, float]]:
    """Return one statistic of all gates of the lowest layer: gate to step to value; ``h`` is the hidden state."""
    chosen = (pc.field("layer") == LOWEST) & (pc.field("statistic") == name)
    found: dict[str, dict[int, float]] = {}
    for row in activity.filter(chosen).to_pylist():
        if row["value"] is not None:
            found.setdefault(row["name"], {})[row["step"]] = row["value"]
    return found
