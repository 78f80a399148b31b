"""Modules as others write them, each with one step of another form."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class Paired(nn.Module):
    """``(input, (h, c)) -> (h, (h, c))``, as layers of Keras and JAX have it."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.inner = nn.LSTMCell(inputs, units)

    def forward(self, x: Tensor, state: Any = None) -> Any:
        h, c = self.inner(x, state)
        return h, (h, c)


class Apart(nn.Module):
    """``(input, state) -> (output, state)`` with an output that is no part of the state, of another size."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.into = nn.Linear(inputs + units + 2, units + 2)
        self.out = nn.Linear(units + 2, units)
        self.wide = units + 2

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        state = x.new_zeros(len(x), self.wide) if state is None else state
        after = torch.tanh(self.into(torch.cat([x, state], 1)))
        return self.out(after), after


class Listed(nn.Module):
    """``(input, [a, b, c]) -> [a, b, c]``; the third part has a size of its own."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.into = nn.Linear(inputs + units, units)
        self.small = nn.Linear(units, 2)
        self.units = units

    def forward(self, x: Tensor, state: list[Tensor] | None = None) -> list[Tensor]:
        if state is None:
            state = [x.new_zeros(len(x), size) for size in (self.units, self.units, 2)]
        a, b, c = state
        new = torch.tanh(self.into(torch.cat([x, a], 1)))
        return [new + 0.5 * b, 0.9 * b + 0.1 * a, torch.tanh(self.small(new)) + 0.5 * c]


class Demanding(nn.Module):
    """``(input, (h, c)) -> (h, c)`` without a state of its own to begin with."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.inner = nn.LSTMCell(inputs, units)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        h, c = state
        return self.inner(x, (h, c))


class Drawn(nn.Module):
    """Draws its first values from every global generator that there is."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(units, inputs + units))
        self.of_numpy = nn.Parameter(torch.tensor(np.random.rand(units)))  # noqa: NPY002
        self.of_python = nn.Parameter(torch.tensor([random.random() for _ in range(units)]))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(torch.cat([x, h], 1) @ self.matrix.T + self.of_python) * self.of_numpy.to(x.dtype)


class Gated(nn.Module):
    """One sigmoid over two gates, and one of a gate of its own."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.both, self.new = nn.Linear(inputs + units, 2 * units), nn.Linear(inputs + units, units)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        seen = torch.cat([x, h], 1)
        first, second = torch.sigmoid(self.both(seen)).chunk(2, 1)
        new = self.new(seen)
        return second * h + first * torch.tanh(new) * new.sigmoid()


class Widened(nn.Module):
    """Returns one number more than there are units."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.inner = nn.GRUCell(inputs, units + 1)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        return self.inner(x, h)


class Flipped(nn.Module):
    """Has no parameters."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return -h
