"""What the probes of a run found, out of its tables: curves over lag, and the numbers that they come down to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from bench import record
from bench.decay import Reach, reach
from bench.record import DamagedRecordError

LAYER, STATE = 1, "h"
"""What tables and figures show: the hidden state of the lowest layer, whose gradient has the longest way."""

Probes = Mapping[str, pa.Table]
"""The tables of :data:`bench.record.PROBES` of one run."""


@dataclass(frozen=True)
class Journey:
    """How far the gradient travels before the first step and after the last one."""

    start: Reach
    end: Reach


def flow_steps(flow: pa.Table) -> list[int]:
    """The steps after which there is a curve, increasing."""
    return sorted(set(flow["step"].to_pylist()))


def flow_curve(flow: pa.Table, step: int) -> tuple[list[int], list[float]]:
    """Lags, increasing, and the norms at them, after one step."""
    chosen = (pc.field("step") == step) & (pc.field("layer") == LAYER) & (pc.field("state") == STATE)
    curve = flow.filter(chosen).sort_by("lag")
    # A norm that was not finite is none.
    return curve["lag"].to_pylist(), curve["value"].fill_null(float("nan")).to_pylist()


def journey(flow: pa.Table) -> Journey | None:
    """The first curve and the last one; ``None`` where nothing was measured."""
    steps = flow_steps(flow)
    if not steps:
        return None
    return Journey(*(reach(*flow_curve(flow, step)) for step in (steps[0], steps[-1])))


def read_journeys(root: Path) -> tuple[dict[str, Journey], list[DamagedRecordError]]:
    """How far the gradient travels, by run id, for all probed runs below a folder, and what could not be read."""
    found, damaged = {}, []
    for folder in record.find_records(root):
        try:
            travelled = journey(record.read_probe(folder, "flow"))
        except DamagedRecordError as error:
            damaged.append(error)
        else:
            found |= {folder.name: travelled} if travelled is not None else {}
    return found, damaged


def statistic(activity: pa.Table, name: str) -> dict[str, dict[int, float]]:
    """One statistic of all gates of the lowest layer: gate to step to value; ``h`` is the hidden state."""
    chosen = (pc.field("layer") == LAYER) & (pc.field("statistic") == name)
    found: dict[str, dict[int, float]] = {}
    for row in activity.filter(chosen).to_pylist():
        if row["value"] is not None:
            found.setdefault(row["name"], {})[row["step"]] = row["value"]
    return found
