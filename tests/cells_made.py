"""Cells made for tests, with weights drawn from a seed, and the comparison of two ways to unroll one."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench.cells import Cell
from bench.cells.gru import GRUCell
from bench.cells.init import Initialization
from bench.cells.lstm import LSTMCell
from bench.cells.rnn import RNNCell
from bench.engines import Unroll
from bench.training.rng import generator

TORCH = Initialization(input="torch", recurrent="torch", bias="torch")
CELLS: dict[str, Callable[..., Cell]] = {
    "rnn_tanh": partial(RNNCell, nonlinearity="tanh", init=TORCH),
    "rnn_relu": partial(RNNCell, nonlinearity="relu", init=TORCH),
    "lstm": partial(LSTMCell, forget_bias=1.0, init=TORCH),
    "gru": partial(GRUCell, init=TORCH),
}


class Leak(Cell):
    """A cell without a kernel that counts the steps that Python makes; compiled steps are not among them.

    Its projection is one of its own and depends on the place of a step in the sequence.
    """

    blocks = ("new",)
    steps = 0

    def project(self, inputs: Any) -> Any:
        clock = torch.linspace(0.5, 1.5, len(inputs), dtype=inputs.dtype, device=inputs.device)
        return clock.view(-1, 1, 1) * super().project(inputs)

    def activate(self, projected: Any, state: Any) -> Any:
        if not torch.compiler.is_compiling():
            self.steps += 1
        return {"new": torch.tanh(projected + self.recur(state[0]))}

    def update(self, values: Any, state: Any) -> Any:
        return (0.9 * state[0] + 0.1 * values["new"],)


class Linear(Cell):
    """A cell with h' = x + W h."""

    blocks = ("new",)

    def activate(self, projected: Any, state: Any) -> Any:
        return {"new": projected + self.recur(state[0])}

    def update(self, values: Any, state: Any) -> Any:
        return (values["new"],)


def make(kind: str | Callable[..., Cell], inputs: int, hidden: int) -> Cell:
    """Make a cell of :data:`CELLS`, ``leak`` or a class, in float64, with the initial weights of seed 0."""
    maker = CELLS.get(kind, partial(Leak, init=TORCH)) if isinstance(kind, str) else partial(kind, init=TORCH)
    cell = maker(inputs, hidden)
    cell.reset_parameters(generator("init", 0), 10)
    return cell.double()


def draw(*size: int, index: int = 0) -> Tensor:
    """Draw normal numbers in float64; another index gives other numbers."""
    return torch.randn(*size, generator=generator("probe", 0, index), dtype=torch.double)


def draw_state(cell: Cell, batch: int) -> tuple[Tensor, ...]:
    """Draw a state to begin with."""
    return tuple(draw(batch, each.shape[1], index=9 + part) for part, each in enumerate(cell.initial_state(1)))


def everything(unroll: Unroll, cell: Cell, inputs: Tensor, state: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Return outputs, the state at the end, and all gradients of a sum over both with random weights.

    Args:
        unroll: The way to unroll the cell.
        cell: The cell, in the precision and on the device to compute with.
        inputs: The sequence, in any precision on any device.
        state: The state before the first step, in any precision on any device.

    Returns:
        Each tensor by its name, in float64 on the CPU.
    """
    weight = next(cell.parameters())
    leaves = [each.to(weight).requires_grad_() for each in (inputs, *state)]
    hidden, end = unroll(cell, leaves[0], tuple(leaves[1:]))
    values = [hidden, *end]
    loss = torch.stack([(each * draw(*each.shape, index=i + 1).to(each)).sum() for i, each in enumerate(values)]).sum()
    names = ["inputs", *cell.states, *(name for name, _ in cell.named_parameters())]
    gradients = torch.autograd.grad(loss, [*leaves, *cell.parameters()], materialize_grads=True)
    found = {"hidden": hidden.detach(), **{f"end {i}": each.detach() for i, each in enumerate(end)}}
    found |= {f"d {name}": each for name, each in zip(names, gradients, strict=True)}
    return {name: each.cpu().double() for name, each in found.items()}


def error(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Return the largest difference, in units of the largest value of the same tensor."""
    assert found.keys() == expected.keys()
    assert all(found[name].shape == expected[name].shape for name in expected)
    # An output of a module from elsewhere is no part of its state, and the one before has a gradient of zero.
    sizes = {name: each.abs().max() for name, each in expected.items()}
    ratios = [(found[name] - expected[name]).abs().max() / (size or 1.0) for name, size in sizes.items()]
    assert all(math.isfinite(ratio) for ratio in ratios)
    return float(max(ratios))
