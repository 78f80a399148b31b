"""The gated recurrent unit in torch's variant."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bench.cells.base import Cell

NUMERICS = 1
"""Version of what this part computes. It is raised when the numbers change; `make numerics` says when that is so."""


@final
class GRUCell(Cell):
    """Gated recurrent unit in the variant of torch and cuDNN, block order r, z, n.

        r = sigmoid(W_r x + b_r + U_r h + c_r)          reset gate
        z = sigmoid(W_z x + b_z + U_z h + c_z)          update gate
        n = tanh(W_n x + b_n + r * (U_n h + c_n))       new state
        h' = (1 - z) * n + z * h

    Cho et al. apply the reset gate to h before the product, U_n (r * h), and have no bias c_n inside it. Here the gate
    is applied after the product, so that one product serves all three blocks. A z near 1 keeps the old state; some
    papers exchange the roles of z and 1 - z.

    References:
        Cho et al. (2014), Learning phrase representations using RNN encoder-decoder. The variant: the
        documentation of ``torch.nn.GRU``.
    """

    year = 2014
    blocks = ("reset", "update", "new")
    gates = ("reset", "update")
    keeps = ("update",)

    def activate(
        self, projected: Float[Tensor, "batch rows"], state: tuple[Float[Tensor, "batch hidden"], ...]
    ) -> dict[str, Float[Tensor, "batch hidden"]]:
        """Compute ``reset``, ``update`` and ``new`` as in the class docstring."""
        (h,) = state
        r, z, n = self.split(projected)
        u_r, u_z, u_n = self.split(self.recur(h))
        reset = torch.sigmoid(r + u_r)
        return {"reset": reset, "update": torch.sigmoid(z + u_z), "new": torch.tanh(n + reset * u_n)}

    def update(
        self,
        values: dict[str, Float[Tensor, "batch hidden"]],
        state: tuple[Float[Tensor, "batch hidden"], ...],
    ) -> tuple[Float[Tensor, "batch hidden"], ...]:
        """Compute h' = (1 - z) * n + z * h."""
        (h,) = state
        z = values["update"]
        return ((1 - z) * values["new"] + z * h,)

    @property
    def bound(self) -> float:
        """1, the bound of tanh."""
        return 1.0

    def kernel(self) -> nn.RNNBase:
        """Make a ``torch.nn.GRU``."""
        return nn.GRU(self.input_size, self.hidden_size, device="meta")

    @property
    def recurrence(self) -> str:
        """The name ``gru``."""
        return "gru"
