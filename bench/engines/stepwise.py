"""The engine that takes one step after another by the cell's own equations; the reference for all faster ones."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from bench.cells import Cell, State

NUMERICS = 1
"""Version of what this part computes. It is raised when the numbers change; `make numerics` says when that is so."""


def unroll(
    cell: Cell, inputs: Float[Tensor, "time batch input"], state: State | None = None
) -> tuple[Float[Tensor, "time batch hidden"], State]:
    """See :class:`bench.engines.base.Unroll`."""
    state = cell.initial_state(inputs.shape[1]) if state is None else state
    hidden = []
    for projected in cell.project(inputs):
        state = cell.step(projected, state)
        hidden.append(state[0])
    return torch.stack(hidden), state
