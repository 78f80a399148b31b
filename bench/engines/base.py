"""The names of the engines, and the call that all of them offer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from bench.cells import Cell, State

Engine = Literal["fused", "stepwise", "compiled", "native", "generated"]
ENGINES: tuple[Engine, ...] = get_args(Engine)

Seen = tuple[dict[str, Float[Tensor, "time batch _"]], dict[str, Float[Tensor, "time batch _"]]]
"""Every part of the state after every step, and every block's value at every step, by name."""


@dataclass
class Tap:
    """Receives what an engine in C++ computes anyway.

    Attributes:
        gradients: dL/dstate of every part of the state after every step, along all paths, a tensor for each part;
            ``None`` until the backward pass has run.
        seen: What the engine's ``seen`` makes states and blocks of; empty until the forward pass has run.
    """

    gradients: Sequence[Float[Tensor, "time batch _"]] | None = None
    seen: tuple[Any, ...] = ()


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
