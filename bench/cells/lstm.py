"""Long short-term memory."""

from __future__ import annotations

import math
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bench.cells.base import Cell
from bench.cells.init import chrono_bias

NUMERICS = 1
"""Version of what this part computes. It is raised when the numbers change; `make numerics` says when that is so."""


@final
class LSTMCell(Cell):
    """Long short-term memory with a forget gate and without peepholes, in torch's block order i, f, g, o.

        i = sigmoid(W_i x + U_i h + b_i)        input gate
        f = sigmoid(W_f x + U_f h + b_f)        forget gate
        g = tanh(W_g x + U_g h + b_g)           candidate
        o = sigmoid(W_o x + U_o h + b_o)        output gate
        c' = f * c + i * g
        h' = o * tanh(c')

    Args:
        input_size: Size of the input vector.
        hidden_size: Size of the hidden state and of the cell state.
        forget_bias: ``None`` leaves b_f as ``init.bias`` says. A number sets b_f, the sum of torch's two biases, to
            that number. ``"chrono"`` draws b_f from log U[1, T_max - 1] and sets b_i = -b_f; see
            :func:`bench.cells.init.chrono_bias`.
        kwargs: See :class:`bench.cells.base.Cell`.

    Raises:
        ValueError: ``forget_bias`` is a word other than ``chrono``, or a number that is not finite.

    References:
        Hochreiter & Schmidhuber (1997); Gers, Schmidhuber & Cummins (2000) for the forget gate and its bias;
        Jozefowicz, Zaremba & Sutskever (2015) for a bias of 1; Tallec & Ollivier (2018) for chrono.
    """

    year = 1997
    blocks = ("input", "forget", "candidate", "output")
    gates = ("input", "forget", "output")
    keeps = ("forget",)
    states = ("h", "c")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        forget_bias: float | str | None,
        **kwargs: Any,
    ) -> None:
        if isinstance(forget_bias, str) and forget_bias != "chrono":
            raise ValueError(f"`forget_bias` must be a number, null or chrono, got {forget_bias!r}")
        if isinstance(forget_bias, float) and not math.isfinite(forget_bias):
            raise ValueError(f"`forget_bias` must be finite, got {forget_bias}")
        self.forget_bias = forget_bias
        super().__init__(input_size, hidden_size, **kwargs)

    def activate(
        self, projected: Float[Tensor, "batch rows"], state: tuple[Float[Tensor, "batch hidden"], ...]
    ) -> dict[str, Float[Tensor, "batch hidden"]]:
        """Compute ``input``, ``forget``, ``candidate`` and ``output`` as in the class docstring."""
        h, _ = state
        i, f, g, o = self.split(projected + self.recur(h))
        return {
            "input": torch.sigmoid(i),
            "forget": torch.sigmoid(f),
            "candidate": torch.tanh(g),
            "output": torch.sigmoid(o),
        }

    def update(
        self,
        values: dict[str, Float[Tensor, "batch hidden"]],
        state: tuple[Float[Tensor, "batch hidden"], ...],
    ) -> tuple[Float[Tensor, "batch hidden"], ...]:
        """Compute c' = f * c + i * g, then h' = o * tanh(c')."""
        _, c = state
        c = values["forget"] * c + values["input"] * values["candidate"]
        return values["output"] * torch.tanh(c), c

    @property
    def bound(self) -> float:
        """1, the bound of tanh; the output gate only makes it smaller."""
        return 1.0

    def kernel(self) -> nn.RNNBase:
        """Make a ``torch.nn.LSTM``."""
        return nn.LSTM(self.input_size, self.hidden_size, device="meta")

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator, delay: int) -> None:
        """Fill all parameters, then the forget bias; see :class:`bench.cells.base.Cell`."""
        super().reset_parameters(generator, delay)
        if self.forget_bias is None:
            return
        if self.forget_bias == "chrono":
            forget = chrono_bias(self.hidden_size, delay, generator)
            self._set_bias("input", -forget)
        else:
            forget = torch.full((self.hidden_size,), float(self.forget_bias))
        self._set_bias("forget", forget)

    def _set_bias(self, block: str, value: Tensor) -> None:
        start = self.blocks.index(block) * self.hidden_size
        rows = slice(start, start + self.hidden_size)
        self.bias_ih[rows] = value.to(self.bias_ih)
        self.bias_hh[rows] = 0

    @property
    def recurrence(self) -> str:
        """The name ``lstm``."""
        return "lstm"
