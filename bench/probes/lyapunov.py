"""The leading Lyapunov exponents of a cell's state map along real sequences.

An exponent is the mean growth of a small difference of the state over the sequence, as a natural logarithm a step:
below 0 where the difference dies out, 0 where it is kept, above 0 where it grows, which is chaos if it lasts. The state
is that of all parts together, such as h and c of an LSTM, and the map is the step of the cell, whatever order it
computes them in.

The exponents are those of the products of the transposed Jacobians, taken backwards in time, which have the same
singular values as the products forwards. So one backward pass of autograd a step is all that a cell must have. The
vectors are made orthogonal at each step by a QR decomposition (Benettin et al., 1980, doi:10.1007/BF02128236).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from bench.cells import Cell
from bench.cells.base import State
from bench.probes.flow import as_nodes, left_as_it_is
from bench.training.model import SequenceModel

SEED = 0
"""Seed of the vectors at the end of the sequence."""


def exponents_of(model: SequenceModel, inputs: Shaped[Tensor, "time batch *input"], count: int) -> list[list[float]]:
    """Return the leading exponents of every layer, the largest first; the mean over the sequences.

    The function touches no ``grad``. Each layer is taken along the hidden states of the one below. The spectrum of the
    whole network is that of all layers together, since none acts on a lower one. A step must take any number of
    sequences: it gets ``count`` copies of the batch. The last tenth of the sequence turns the first, random vectors to
    where they grow most, and is left out.

    Args:
        model: The network.
        inputs: One vector or one token for each step.
        count: Number of exponents, at least 1. A state of fewer dimensions has as many as it has dimensions.

    Returns:
        For each layer its exponents, in natural logarithms a step. One is minus infinity where the map loses a
        dimension, and NaN where a state is not finite.
    """
    found = []
    hidden = model.embed(inputs)
    with left_as_it_is(model), torch.inference_mode(False):
        for cell in model.layers:
            states = [cell.initial_state(hidden.shape[1])]
            with torch.no_grad():
                projected = cell.project(hidden)
                for each in projected:
                    states.append(cell.step(each, states[-1]))
            found.append(_exponents(cell, projected, states[:-1], count))
            hidden = torch.stack([state[0] for state in states[1:]])
    return found


def _exponents(cell: Cell, projected: Tensor, states: Sequence[State], count: int) -> list[float]:
    """Return the exponents of one cell from its projected inputs and the state before each step."""
    batch, size = _flat(states[0]).shape
    count = min(count, size)
    generator = torch.Generator().manual_seed(SEED)
    start = torch.randn(batch, size, count, generator=generator).to(_flat(states[0]))
    vectors = torch.linalg.qr(start).Q
    logarithms = []
    for each, state in zip(projected.flip(0), reversed(states), strict=True):
        vectors, triangle = torch.linalg.qr(_transposed(cell, each, state, vectors))
        logarithms.append(triangle.diagonal(dim1=1, dim2=2).abs().double().log())
    # The first vectors are random; those of the last tenth of the sequence are left to turn to where they grow most.
    kept = torch.stack(logarithms[len(logarithms) // 10 :])
    return sorted(kept.mean((0, 1)).tolist(), reverse=True)


def _transposed(
    cell: Cell, projected: Tensor, state: State, vectors: Float[Tensor, "batch size count"]
) -> Float[Tensor, "batch size count"]:
    """Multiply vectors by the transposed Jacobian of one step; every vector is a copy of the batch."""
    count = vectors.shape[2]

    def copies(tensor: Tensor) -> Tensor:
        return tensor.detach().repeat(count, *[1] * (tensor.ndim - 1))

    before = as_nodes(tuple(copies(part) for part in state))
    with torch.enable_grad():
        after = _flat(cell.step(copies(projected), before))
        if not after.requires_grad:
            return torch.zeros_like(vectors)  # The step has no memory.
        outer = vectors.permute(2, 0, 1).flatten(0, 1)
        nodes = [part for part in before if part.requires_grad]
        gradients = torch.autograd.grad(after, nodes, outer, materialize_grads=True)
    return _flat(gradients).unflatten(0, (count, -1)).permute(1, 2, 0)


def _flat(state: Sequence[Tensor]) -> Float[Tensor, "batch size"]:
    """Return all parts of a state that can be differentiated side by side, a complex number as two real ones."""
    parts = (part for part in state if part.is_floating_point() or part.is_complex())
    real = [torch.view_as_real(part.resolve_conj()) if part.is_complex() else part for part in parts]
    return torch.cat([part.flatten(1) for part in real], dim=1)
