"""The names of the engines, and the call that all of them offer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from bench.cells import Cell, State

Engine = Literal["fused", "stepwise", "compiled", "native", "generated"]
ENGINES: tuple[Engine, ...] = get_args(Engine)


@dataclass
class Tap:
    """Receives gradients that the backward pass computes anyway.

    Attributes:
        gradients: dL/dstate of every part of the state after every step, along all paths, a tensor for each part;
            ``None`` until the backward pass has run.
    """

    gradients: Sequence[Float[Tensor, "time batch _"]] | None = None


@runtime_checkable
class Unroll(Protocol):
    """A function that unrolls a cell over a sequence."""

    def __call__(
        self, cell: Cell, inputs: Float[Tensor, "time batch input"], state: State | None = None
    ) -> tuple[Float[Tensor, "time batch hidden"], State]:
        """Return the hidden states of all steps, and the state after the last.

        Args:
            cell: The cell.
            inputs: One vector for each step, at least one step.
            state: The state before the first step; ``None`` stands for the cell's initial state.
        """
        ...
