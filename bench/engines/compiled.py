"""The engine that runs a cell's own equations through ``torch.compile``, some steps at a time.

Compiling a whole unrolled sequence takes many minutes. Compiling a chunk of steps takes well under one, and the engine
calls the chunk again and again. Only training batches run compiled. Batches of any other shape, as in evaluation and
probes, would have to be compiled anew, so they run step by step.
"""

from __future__ import annotations

import time
from types import FunctionType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from bench.cells import Cell, State
from bench.engines import stepwise

NUMERICS = 1
"""Version of what this part computes. It is raised when the numbers change; `make numerics` says when that is so."""

CHUNK = 10
"""Number of steps that are compiled together."""


def counted_apart(function: FunctionType) -> FunctionType:
    """Return the function with a copy of its code, so that torch compiles it however often it has compiled another.

    torch counts the compilations of each code object and stops after a few; a process trains more networks than that.
    ``tests/compiled_engine.py`` fails where torch counts otherwise.
    """
    function.__code__ = function.__code__.replace()
    return function


class Compiled:
    """Unroller of one cell; see :class:`bench.engines.base.Unroll`.

    Attributes:
        seconds: Time of the first pass, forward and backward, which compiles; 0 before that pass.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._chunk: Any = None
        self._shape: tuple[int, ...] | None = None

    def __call__(
        self, cell: Cell, inputs: Float[Tensor, "time batch input"], state: State | None = None
    ) -> tuple[Float[Tensor, "time batch hidden"], State]:
        """See :class:`bench.engines.base.Unroll`."""
        shape = tuple(inputs.shape[1:])
        if self._shape != shape or not torch.is_grad_enabled() or len(inputs) < CHUNK:
            return stepwise.unroll(cell, inputs, state)
        parts = cell.initial_state(inputs.shape[1]) if state is None else state
        # The state of the first chunk would otherwise need no gradient, and torch would compile that chunk separately.
        parts = tuple(part if part.requires_grad else part.detach().requires_grad_() for part in parts)
        whole = len(inputs) // CHUNK * CHUNK
        project = stepwise.projection(cell, inputs)
        pieces = []
        for projected in project(slice(whole)).split(CHUNK):
            piece, *parts = self._chunk(projected, *parts)
            pieces.append(piece)
        if whole < len(inputs):
            piece, parts = stepwise.walk(cell, project(slice(whole, None)), tuple(parts))
            pieces.append(piece)
        return torch.cat(pieces), tuple(parts)

    def warm_up(self, cell: Cell, batch_size: int, precision: str = "32") -> None:
        """Compile for training batches; leave parameters and their gradients as they are.

        Args:
            cell: The cell, on the device where it will run.
            batch_size: Sequences of a training batch.
            precision: ``32`` or ``bf16-mixed``: the precision it will run in.

        Raises:
            Exception: What torch raises for equations it cannot compile.
        """
        started = time.perf_counter()

        def chunk(projected: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
            hidden = []
            for each in projected.unbind(0):
                state = cell.step(each, state)
                hidden.append(state[0])
            return torch.stack(hidden), *state

        self._chunk = torch.compile(counted_apart(chunk), fullgraph=True, dynamic=False)
        self._shape = (batch_size, cell.input_size)
        inputs = next(cell.parameters()).new_zeros(CHUNK, batch_size, cell.input_size)
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
            hidden, _ = self(cell, inputs)
        wanted = [parameter for parameter in cell.parameters() if parameter.requires_grad]
        torch.autograd.grad(hidden.sum(), wanted, allow_unused=True)
        self.seconds = time.perf_counter() - started
