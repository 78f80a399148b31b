"""The engine that runs the cell's torch kernel on the cell's own parameters."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from bench.cells import Cell, State

NUMERICS = 1
"""Version of what this part computes. It is raised when the numbers change; `make numerics` says when that is so."""


def unroll(
    cell: Cell, inputs: Float[Tensor, "time batch input"], state: State | None = None
) -> tuple[Float[Tensor, "time batch hidden"], State]:
    """See :class:`bench.engines.base.Unroll`.

    Raises:
        ValueError: The cell names no kernel.
    """
    if cell.fused is None:
        raise ValueError(f"`engine` fused needs a cell with a kernel, {type(cell).__name__} has none")
    if state is None and not cell.starts_at_zero:
        state = cell.initial_state(inputs.shape[1])
    # The kernel of a GPU wants each part in one piece.
    parts = [part.contiguous().unsqueeze(0) for part in state] if state is not None else []
    hidden, end = cell.fused(inputs, None if not parts else tuple(parts) if len(parts) > 1 else parts[0])
    return hidden, tuple(part[0] for part in end) if len(cell.states) > 1 else (end[0],)
