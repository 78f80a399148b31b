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

from bench.records.record import Record
from bench.records.series import as_numpy, as_texts, rows_where, stacked
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
    return np.unique(as_numpy(flow["step"])[_shown(flow)]).tolist()


def flow_curve(flow: pa.Table, step: int) -> tuple[list[int], list[float]]:
    """Return the lags, increasing, and the norms at them, after one step."""
    steps, lags, norms = (as_numpy(flow[name]) for name in ("step", "lag", "value"))
    (chosen,) = np.nonzero(_shown(flow) & (steps == step))
    chosen = chosen[np.argsort(lags[chosen], kind="stable")]
    return lags[chosen].tolist(), norms[chosen].tolist()


def flow_points(flows: Sequence[pa.Table]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return all points of the curves of the network's input of one or more runs.

    Returns:
        The number of the table, the step, the lag and the norm of each point, sorted by all three, each once.
    """
    whole, run = stacked(flows, ("step", "layer", "lag", "value"))
    shown = _shown(whole)
    run, step, lag, norm = run[shown], *(as_numpy(whole[name])[shown] for name in ("step", "lag", "value"))
    order = np.lexsort((lag, step, run))
    run, step, lag, norm = run[order], step[order], lag[order], norm[order]
    # Of a point that is there twice, the later one counts.
    again = (np.diff(run) == 0) & (np.diff(step) == 0) & (np.diff(lag) == 0)
    kept = np.append(~again, True)[: len(run)]
    return run[kept], step[kept], lag[kept], norm[kept]


def _shown(flow: pa.Table) -> np.ndarray:
    """Return which rows are of the network's input."""
    return as_numpy(flow["layer"]) == INPUT


def has_flow(flow: pa.Table) -> bool:
    """Return whether there is a curve of the network's input."""
    return bool(_shown(flow).any())


def looks(flow: pa.Table, made: Record) -> tuple[int | None, int | None]:
    """Return the steps of the looks at the network as initialised and as trained; ``None`` for a look that is missing.

    A run that has diverged, failed or been interrupted does not count as trained.
    """
    steps = flow_steps(flow)
    trained = made.status == "completed" and made.steps in steps
    return 0 if 0 in steps else None, made.steps if trained else None


def gradient_reaches(flows: Sequence[pa.Table], records: Sequence[Record]) -> list[GradientReach | None]:
    """Compute the gradient reach of runs at the steps of :func:`looks`; ``None`` if the first look is missing."""
    whole = pa.concat_tables(flows)
    run = np.repeat(np.arange(len(flows)), [flow.num_rows for flow in flows])
    step, shown = as_numpy(whole["step"]), _shown(whole)
    last = np.array([made.steps if made.status == "completed" else -1 for made in records])
    found: list[list[Reach | None]] = []
    for looked in (step == 0, step == last[run]):
        (chosen,) = np.nonzero(shown & looked)
        lags, norms = as_numpy(whole["lag"])[chosen], as_numpy(whole["value"])[chosen]
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
    wanted = _among(whole["statistic"], ("lyapunov_1",))
    (chosen,) = np.nonzero(wanted)
    run = np.repeat(np.arange(len(activities)), [activity.num_rows for activity in activities])[chosen]
    by_step: list[dict[int, list[float]]] = [{} for _ in activities]
    kept = rows_where(whole, wanted)
    for number, step, value in zip(run.tolist(), kept["step"].to_pylist(), kept["value"].to_pylist(), strict=True):
        by_step[number].setdefault(step, []).append(math.nan if value is None else value)
    return [_exponents(found, made) if found else None for found, made in zip(by_step, records, strict=True)]


def _exponents(by_step: Mapping[int, Sequence[float]], made: Record) -> Exponents:
    largest = {step: max(values) for step, values in by_step.items() if not any(map(math.isnan, values))}
    start, end = (largest.get(step, math.nan) for step in (0, made.steps))
    return Exponents(
        start if math.isfinite(start) else None, end if math.isfinite(end) and made.status == "completed" else None
    )


def statistics_over(activities: Sequence[pa.Table], names: Sequence[str]) -> dict[str, dict[str, dict[int, float]]]:
    """Return medians over runs of statistics of all gates of the lowest layer.

    Returns:
        Gate to statistic to step to the median of the runs that have the step; the gate ``h`` is the hidden state.
    """
    columns = ["layer", "step", "name", "statistic", "value"]
    whole = pa.concat_tables(activity.select(columns) for activity in activities)
    kept = rows_where(whole, rows_of(whole, LOWEST, names) & as_numpy(whole["value"].is_valid()))
    gates, of_gate = as_texts(kept["name"])
    statistics, of_statistic = as_texts(kept["statistic"])
    steps, values = as_numpy(kept["step"]), as_numpy(kept["value"])
    order = np.lexsort((steps, of_statistic, of_gate))
    keys = np.stack([of_gate, of_statistic, steps])[:, order]
    starts = np.flatnonzero(np.any(np.diff(keys, prepend=-1) != 0, axis=0))
    found: dict[str, dict[str, dict[int, float]]] = {gate: {} for gate in gates}
    for (gate, statistic, step), group in zip(
        keys[:, starts].T.tolist(), np.split(values[order], starts[1:]) if len(starts) else (), strict=True
    ):
        found[gates[gate]].setdefault(statistics[statistic], {})[step] = float(np.median(group))
    return found


def rows_of(table: pa.Table, layer: int, statistics: Sequence[str] = ()) -> np.ndarray:
    """Return which rows of a table of the probes are of a layer, and of one of some statistics."""
    of_layer = as_numpy(table["layer"]) == layer
    return of_layer & _among(table["statistic"], statistics) if statistics else of_layer


def _among(column: pa.ChunkedArray, wanted: Sequence[str]) -> np.ndarray:
    texts, places = as_texts(column)
    return np.isin(places, [place for place, text in enumerate(texts) if text in wanted])
