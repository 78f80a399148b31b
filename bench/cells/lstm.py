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
    """Long short-term memory with a forget gate, in torch's block order i, f, g, o; by default without peepholes.

        i = sigmoid(W_i x + U_i h + b_i)        input gate
        f = sigmoid(W_f x + U_f h + b_f)        forget gate
        g = tanh(W_g x + U_g h + b_g)           candidate
        o = sigmoid(W_o x + U_o h + b_o)        output gate
        c' = f * c + i * g
        h' = o * tanh(c')

    With peepholes, the gates see the cell state, each unit its own: p_i * c and p_f * c are added in i and f, and
    p_o * c' in o.

    Args:
        input_size: Size of the input vector.
        hidden_size: Size of the hidden state and of the cell state.
        forget_bias: ``None`` leaves b_f as ``init.bias`` says. A number sets b_f, the sum of torch's two biases, to
            that number. ``"chrono"`` draws b_f from log U[1, T_max - 1] and sets b_i = -b_f; see
            :func:`bench.cells.init.chrono_bias`.
        chrono_range: T_max of ``chrono`` in delays of the task, > 0. Tallec & Ollivier have 1.5 for copy memory, and 1
            for adding and for copy memory of variable delay.
        peepholes: Whether there are peepholes: a parameter ``weight_peephole (3*hidden)`` in the order i, f, o, which
            starts as U(-1/sqrt(hidden), 1/sqrt(hidden)). With them there is no kernel.
        kwargs: See :class:`bench.cells.base.Cell`.

    Raises:
        ValueError: ``forget_bias`` is a word other than ``chrono``, or a number that is not finite; ``chrono_range`` is
            not a finite number > 0.

    References:
        Hochreiter & Schmidhuber (1997); Gers, Schmidhuber & Cummins (2000) for the forget gate and its bias; Gers,
        Schraudolph & Schmidhuber (2002) for the peepholes;
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
        chrono_range: float = 1.5,
        peepholes: bool = False,
        **kwargs: Any,
    ) -> None:
        if isinstance(forget_bias, str) and forget_bias != "chrono":
            raise ValueError(f"`forget_bias` must be a number, null or chrono, got {forget_bias!r}")
        if isinstance(forget_bias, float) and not math.isfinite(forget_bias):
            raise ValueError(f"`forget_bias` must be finite, got {forget_bias}")
        if not (chrono_range > 0 and math.isfinite(chrono_range)):
            raise ValueError(f"`chrono_range` must be a finite number > 0, got {chrono_range}")
        self.chrono_range = chrono_range
        self.forget_bias = forget_bias
        self.peepholes = peepholes
        super().__init__(input_size, hidden_size, **kwargs)
        self.weight_peephole = None
        if peepholes:
            self.weight_peephole = nn.Parameter(torch.empty(3 * hidden_size, device=self.weight_hh.device))

    def activate(
        self, projected: Float[Tensor, "batch rows"], state: tuple[Float[Tensor, "batch hidden"], ...]
    ) -> dict[str, Float[Tensor, "batch hidden"]]:
        """Compute ``input``, ``forget``, ``candidate`` and ``output`` as in the class docstring."""
        h, c = state
        i, f, g, o = self.split(projected + self.recur(h))
        if self.weight_peephole is not None:
            p_i, p_f, p_o = self.weight_peephole.chunk(3)
            i, f = i + p_i * c, f + p_f * c
            o = o + p_o * (torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g))
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

    def kernel(self) -> nn.RNNBase | None:
        """Make a ``torch.nn.LSTM``, which has no peepholes."""
        return nn.LSTM(self.input_size, self.hidden_size, device="meta") if not self.peepholes else None

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator, delay: int) -> None:
        """Fill all parameters, then the forget bias; see :class:`bench.cells.base.Cell`."""
        super().reset_parameters(generator, delay)
        if self.weight_peephole is not None:
            self.weight_peephole.uniform_(-(self.hidden_size**-0.5), self.hidden_size**-0.5, generator=generator)
        if self.forget_bias is None:
            return
        if self.forget_bias == "chrono":
            forget = chrono_bias(self.hidden_size, self.chrono_range * delay, generator)
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
    def recurrence(self) -> str | None:
        """The name ``lstm``, without peepholes."""
        return "lstm" if not self.peepholes else None
