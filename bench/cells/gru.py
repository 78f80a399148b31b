"""The gated recurrent unit, with the reset gate after the recurrent product, as torch has it, or before it."""

from __future__ import annotations

from typing import Any, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from bench.cells.base import Cell

NUMERICS = 1
"""Version of what this part computes. It is raised when the numbers change; `make numerics` says when that is so."""


@final
class GRUCell(Cell):
    """Gated recurrent unit, block order r, z, n; by default in the variant of torch and cuDNN.

        r = sigmoid(W_r x + b_r + U_r h + c_r)          reset gate
        z = sigmoid(W_z x + b_z + U_z h + c_z)          update gate
        n = tanh(W_n x + b_n + r * (U_n h + c_n))       new state
        h' = (1 - z) * n + z * h

    Here the reset gate is applied after the product, so that one product serves all three blocks. With ``reset`` before
    it is applied to h, as Cho et al. have it, as Keras does with ``reset_after=False`` and ONNX by default:

        n = tanh(W_n x + b_n + U_n (r * h) + c_n)

    A z near 1 keeps the old state; some papers exchange the roles of z and 1 - z.

    Args:
        input_size: Size of the input vector.
        hidden_size: Size of the hidden state.
        reset: Whether the reset gate acts ``after`` the recurrent product or ``before`` it; for the latter there is no
            kernel.
        kwargs: See :class:`bench.cells.base.Cell`.

    Raises:
        ValueError: ``reset`` is another word.

    References:
        Cho et al. (2014), Learning phrase representations using RNN encoder-decoder. The variant: the
        documentation of ``torch.nn.GRU``.
    """

    year = 2014
    blocks = ("reset", "update", "new")
    gates = ("reset", "update")
    keeps = ("update",)

    def __init__(self, input_size: int, hidden_size: int, *, reset: str = "after", **kwargs: Any) -> None:
        if reset not in ("after", "before"):
            raise ValueError(f"`reset` must be one of after, before, got {reset!r}")
        self.reset = reset
        super().__init__(input_size, hidden_size, **kwargs)

    def activate(
        self, projected: Float[Tensor, "batch rows"], state: tuple[Float[Tensor, "batch hidden"], ...]
    ) -> dict[str, Float[Tensor, "batch hidden"]]:
        """Compute ``reset``, ``update`` and ``new`` as in the class docstring."""
        (h,) = state
        r, z, n = self.split(projected)
        if self.reset == "before":
            gates = 2 * self.hidden_size
            u_r, u_z = F.linear(h, self.weight_hh[:gates], self.bias_hh[:gates]).chunk(2, dim=-1)
            reset = torch.sigmoid(r + u_r)
            u_n = F.linear(reset * h, self.weight_hh[gates:], self.bias_hh[gates:])
            return {"reset": reset, "update": torch.sigmoid(z + u_z), "new": torch.tanh(n + u_n)}
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

    def kernel(self) -> nn.RNNBase | None:
        """Make a ``torch.nn.GRU``, which has the reset gate after the product."""
        return nn.GRU(self.input_size, self.hidden_size, device="meta") if self.reset == "after" else None

    @property
    def recurrence(self) -> str | None:
        """The name ``gru``, for the reset gate after the product."""
        return "gru" if self.reset == "after" else None
