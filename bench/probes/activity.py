"""Statistics of gates and hidden units: where their values lie, how often they saturate, and how long a gate keeps.

If any of the values is NaN, all of their statistics are NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from bench.cells import Cell
from bench.probes.flow import left_as_it_is
from bench.training.model import LayerTrace, SequenceModel

LOW, HIGH = 0.05, 0.95
"""Bounds of saturation: a gate is saturated outside of both, a hidden unit above ``HIGH`` times its bound."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles that are taken of the time constants."""
MANY = 1 << 16
"""Number of values from which on it is faster to count in which of 65,536 ranges they lie than to order them."""


@dataclass(frozen=True)
class Activity:
    """One statistic of one gate, or of the hidden state.

    Attributes:
        layer: Number of the layer, from 1 at the input.
        name: Name of the gate; ``h`` for the hidden state.
        statistic: See :func:`gate_activity` and :func:`hidden_activity`.
        value: Its value.
    """

    layer: int
    name: str
    statistic: str
    value: float


@torch.no_grad()
def activity_of(
    model: SequenceModel,
    inputs: Shaped[Tensor, "time batch *input"],
    *,
    gates: bool,
    bins: int = 0,
    traces: Sequence[LayerTrace] = (),
) -> list[Activity]:
    """Compute all statistics of all layers, from the cells' own equations, step by step.

    Args:
        model: The network.
        inputs: One vector or one token for each step.
        gates: Whether to look at the gates; the hidden state is always looked at.
        bins: Number of bars of the histogram of each gate; 0 for none.
        traces: What the model's ``trace`` of these inputs returns, where that is known already.
    """
    rows = []
    if not traces:
        with left_as_it_is(model):
            traces = model.trace(inputs)
    for layer, (cell, trace) in enumerate(zip(model.layers, traces, strict=True), start=1):
        # What lies apart in memory takes several times as long to go through, and each is gone through several times.
        found = {"h": hidden_activity(trace.states["h"].contiguous(), cell.bound)}
        if gates:
            found |= _gates(cell, trace, bins)
        rows += [Activity(layer, name, what, value) for name, each in found.items() for what, value in each.items()]
    return rows


def _gates(cell: Cell, trace: LayerTrace, bins: int) -> dict[str, dict[str, float]]:
    found = {}
    for name in cell.gates:
        values = trace.blocks[name].contiguous()
        found[name] = gate_activity(values)
        if name in cell.keeps:
            found[name] |= time_constants(values)
        if bins:
            found[name] |= histogram(values, bins)
    return found


def gate_activity(values: Float[Tensor, "*shape"]) -> dict[str, float]:
    """Return ``mean``, and the shares ``low`` (under 0.05) and ``high`` (over 0.95) of a gate's values."""
    found = {
        "mean": float(values.mean(dtype=torch.float64)),
        "low": _share(values < LOW),
        "high": _share(values > HIGH),
    }
    return _nothing(found) if math.isnan(found["mean"]) else found


def _share(is_so: Bool[Tensor, "*shape"]) -> float:
    return int(is_so.count_nonzero()) / is_so.numel()


def _nothing(found: dict[str, float]) -> dict[str, float]:
    return dict.fromkeys(found, math.nan)


def time_constants(values: Float[Tensor, "*shape"]) -> dict[str, float]:
    """Return quantiles ``tau_05`` to ``tau_95`` of -1 / ln(value), in steps, over all steps, sequences and units.

    A value of 1 keeps the state for ever, so its time constant is infinite. A value of 0 keeps nothing, so its time
    constant is 0. A quantile is the value that has the given share below it, without interpolation.
    """
    flat = values.detach().flatten().cpu().numpy()
    places = [round(share * (len(flat) - 1)) for share in QUANTILES]
    if np.isnan(flat).any():
        return _nothing({f"tau_{100 * share:02.0f}": math.nan for share in QUANTILES})
    gates = _in_order(flat, places)
    return {f"tau_{100 * share:02.0f}": time_constant(gate) for share, gate in zip(QUANTILES, gates, strict=True)}


def _in_order(values: np.ndarray, places: Sequence[int]) -> list[float]:
    """Return what stands at some places, from 0, where the values, none of them NaN, are in order."""
    if values.dtype != np.float32 or len(values) < MANY:
        return np.partition(values, places)[places].tolist()
    bits = values.view(np.int32)
    # Without the sign bit, bits grow as the size of a number does; for negative ones they must fall.
    ranges = (bits ^ ((bits >> 31) & 0x7FFFFFFF)) >> 16
    counts = np.bincount(ranges + (1 << 15))
    ends = counts.cumsum()
    found = []
    for place in places:
        number = int(ends.searchsorted(place, side="right"))
        within, before = values[ranges == number - (1 << 15)], int(ends[number] - counts[number])
        found.append(float(np.partition(within, place - before)[place - before]))
    return found


def histogram(values: Float[Tensor, "*shape"], bins: int) -> dict[str, float]:
    """Return the shares ``bin_00``, ``bin_01``, ... of the values in bars of equal width over [0, 1].

    A value on the edge of two bars counts in the upper one; what lies outside counts in the first or the last.

    Args:
        values: The values of a gate.
        bins: Number of bars, from 1 to :data:`MOST_BINS`.
    """
    flat = values.detach().flatten().cpu().numpy().astype(np.float64)
    names = [f"bin_{number:02d}" for number in range(bins)]
    if np.isnan(flat).any():
        return _nothing(dict.fromkeys(names, math.nan))
    counts = np.bincount(np.clip(np.floor(flat * bins), 0, bins - 1).astype(int), minlength=bins)
    return dict(zip(names, (counts / len(flat)).tolist(), strict=True))


def time_constant(gate: float) -> float:
    """Return -1 / ln(gate): the steps until a state that is multiplied by the gate at each step has fallen to 1/e.

    Args:
        gate: In [0, 1].
    """
    if math.isnan(gate):
        return math.nan
    if gate <= 0:
        return 0.0
    return -1 / math.log(gate) if gate < 1 else math.inf


def hidden_activity(h: Float[Tensor, "time batch hidden"], bound: float | None) -> dict[str, float]:
    """Return ``rms`` of the hidden units, and ``dead``, the share of units that are 0 at every step of every sequence.

    With a bound it also returns ``saturated``, the share of all values whose size is above 0.95 times the bound.
    """
    found = {
        "rms": float(torch.linalg.vector_norm(h, dtype=torch.float64)) / h.numel() ** 0.5,
        "dead": _share((h == 0).flatten(0, 1).all(0)),
    }
    if bound is not None:
        found["saturated"] = _share(h.abs() > HIGH * bound)
    return _nothing(found) if math.isnan(found["rms"]) else found
