"""The engine that takes one step after another by the cell's own equations; the reference for all faster ones."""

from __future__ import annotations

from collections.abc import Callable

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
    return walk(cell, cell.project(inputs), cell.initial_state(inputs.shape[1]) if state is None else state)


def walk(
    cell: Cell, projected: Float[Tensor, "time batch rows"], state: State
) -> tuple[Float[Tensor, "time batch hidden"], State]:
    """Unroll over inputs that are projected already."""
    hidden = []
    for each in projected:
        state = cell.step(each, state)
        hidden.append(state[0])
    return torch.stack(hidden), state


def projection(
    cell: Cell, inputs: Float[Tensor, "time batch input"]
) -> Callable[[slice | list[int]], Float[Tensor, "steps batch rows"]]:
    """Return a function that projects some steps of a sequence, for whoever cuts it into pieces.

    A projection of the cell's own may depend on the place of a step in the sequence, so it gets the whole of it.
    """
    if type(cell).project is Cell.project:
        return lambda steps: cell.project(inputs[steps])
    projected = cell.project(inputs)
    return lambda steps: projected[steps]
