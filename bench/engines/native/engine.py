"""The engine that runs recurrences in C++ on the CPU, several times as fast as torch's loops; see ``ops.cpp``.

On the CPU, torch has a fused kernel for the LSTM only. It runs the RNN and the GRU as one small operation after
another.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from bench.cells import Cell, State
from bench.engines.base import Seen, Tap
from bench.engines.native import build

NUMERICS = 1
"""Version of what this part computes. It is raised when the numbers change; `make numerics` says when that is so."""

BLOCKS = {"rnn_tanh": (), "rnn_relu": (), "lstm": (0, 1, 2, 3), "gru": (0, 1, 3)}
"""For each recurrence, the places of the cell's blocks among the kept values; an RNN's only block is h itself."""


def unroll(
    cell: Cell, inputs: Float[Tensor, "time batch input"], state: State | None = None, tap: Tap | None = None
) -> tuple[Float[Tensor, "time batch hidden"], State]:
    """Unroll as in :class:`bench.engines.base.Unroll`, on the CPU, in float32 or float64, without second derivatives.

    Args:
        cell: A cell that names its recurrence.
        inputs: One vector for each step.
        state: The state before the first step.
        tap: Receives the gradients of the states, if they are wanted.

    Raises:
        ValueError: The cell names no recurrence.
        NativeUnavailableError: The kernels are not available on this machine.
    """
    if cell.recurrence is None:
        raise ValueError(f"`engine` native needs a cell with a recurrence, {type(cell).__name__} has none")
    build.load()
    state = cell.initial_state(inputs.shape[1]) if state is None else state
    tensors = (inputs, cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh, *state)
    keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    hidden, *end = _Recurrence.apply(cell.recurrence, tap, keep, *tensors)
    return hidden, tuple(end)


@torch.no_grad()
def trace(cell: Cell, inputs: Float[Tensor, "time batch input"]) -> Seen:
    """Return every part of the state after every step, and every block's value at every step, by name.

    Args:
        cell: A cell that names its recurrence.
        inputs: One vector for each step.
    """
    build.load()
    assert cell.recurrence is not None
    weights = (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)
    start = list(cell.initial_state(inputs.shape[1]))
    return _named(cell, *torch.ops.rnn_bench.forward(cell.recurrence, inputs, start, *weights, True))


def seen(cell: Cell, tap: Tap) -> Seen:
    """Return what :func:`trace` does, of a forward pass with a tap and gradients."""
    return _named(cell, *tap.seen)


def _named(cell: Cell, rows: Tensor, kept: Tensor, c: Tensor) -> Seen:
    assert cell.recurrence is not None
    states = dict(zip(cell.states, (rows[1:, :, : cell.hidden_size], c[1:]), strict=False))
    places = BLOCKS[cell.recurrence]
    values = [kept[:, :, place] for place in places] if places else [states["h"]]
    return states, dict(zip(cell.blocks, values, strict=True))


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        recurrence: str,
        tap: Tap | None,
        keep: bool,
        inputs: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
        *state: Tensor,
    ) -> tuple[Tensor, ...]:
        rows, kept, c = torch.ops.rnn_bench.forward(
            recurrence, inputs, list(state), weight_ih, weight_hh, bias_ih, bias_hh, keep
        )
        ctx.set_materialize_grads(False)
        if tap is not None:
            tap.seen = rows, kept, c
        if keep:
            ctx.save_for_backward(rows, kept, c, weight_ih, weight_hh)
            ctx.recurrence, ctx.tap, ctx.input_size = recurrence, tap, inputs.shape[2]
        # In a row of z, h stands in front of the input; `hidden` is a view into these rows, not a copy.
        hidden = rows[1:, :, : weight_hh.shape[1]]
        return (hidden, hidden[-1].clone(), c[-1].clone()) if len(state) > 1 else (hidden, hidden[-1].clone())

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - the decorator hides the names
        ctx: Any, *grads: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        d_hidden, d_h, d_c = (*grads, None)[:3]
        rows, kept, c, weight_ih, weight_hh = ctx.saved_tensors
        _, _, _, wants_inputs, *wants_weights = ctx.needs_input_grad[:8]
        d_inputs, d_start, d_start_c, *of_weights, of_states = torch.ops.rnn_bench.backward(
            ctx.recurrence, ctx.input_size, rows, kept, c, d_hidden, d_h, d_c, weight_ih, weight_hh,
            wants_inputs, any(wants_weights), ctx.tap is not None,
        )  # fmt: skip
        if ctx.tap is not None:
            ctx.tap.gradients = list(of_states)
        found = [d_inputs, *of_weights, d_start, d_start_c]
        wanted = ctx.needs_input_grad[3:]
        return None, None, None, *(each if asked else None for each, asked in zip(found, wanted, strict=False))
