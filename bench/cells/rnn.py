"""The vanilla recurrent network."""

from __future__ import annotations

from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bench.cells.base import Cell

NUMERICS = 1
"""Version of what this part computes. It is raised when the numbers change; `make numerics` says when that is so."""


@final
class RNNCell(Cell):
    """Elman's recurrence, without gates.

        h' = phi(W_ih x + b_ih + W_hh h + b_hh),    phi = tanh or relu

    Args:
        input_size: Size of the input vector.
        hidden_size: Size of the hidden state.
        nonlinearity: phi. With ``relu`` and an identity recurrent matrix, the cell is the IRNN.
        kwargs: See :class:`bench.cells.base.Cell`.

    Raises:
        ValueError: The nonlinearity is unknown.

    References:
        Elman (1990), Finding structure in time. Le, Jaitly & Hinton (2015), arXiv 1504.00941, for the IRNN.
    """

    year = 1990
    blocks = ("candidate",)

    def __init__(self, input_size: int, hidden_size: int, *, nonlinearity: str, **kwargs: Any) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"`nonlinearity` must be one of tanh, relu, got {nonlinearity!r}")
        self.nonlinearity = nonlinearity
        super().__init__(input_size, hidden_size, **kwargs)

    def activate(
        self, projected: Float[Tensor, "batch rows"], state: tuple[Float[Tensor, "batch hidden"], ...]
    ) -> dict[str, Float[Tensor, "batch hidden"]]:
        """Compute ``candidate``: phi of the summed projections."""
        (h,) = state
        phi = torch.tanh if self.nonlinearity == "tanh" else torch.relu
        return {"candidate": phi(projected + self.recur(h))}

    def update(
        self,
        values: dict[str, Float[Tensor, "batch hidden"]],
        state: tuple[Float[Tensor, "batch hidden"], ...],
    ) -> tuple[Float[Tensor, "batch hidden"], ...]:
        """Return the candidate as the new hidden state."""
        return (values["candidate"],)

    @property
    def bound(self) -> float | None:
        """1 for tanh; ``None`` for ``relu``, which is unbounded."""
        return 1.0 if self.nonlinearity == "tanh" else None

    def kernel(self) -> nn.RNNBase:
        """Make a ``torch.nn.RNN``."""
        return nn.RNN(self.input_size, self.hidden_size, nonlinearity=self.nonlinearity, device="meta")

    @property
    def recurrence(self) -> str:
        """The name ``rnn_tanh`` or ``rnn_relu``."""
        return f"rnn_{self.nonlinearity}"
