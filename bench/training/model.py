"""The network: one or more layers of cells, unrolled over time, and a linear readout."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bench.cells import Cell
from bench.cells.init import WeightRule, fill_weight
from bench.engines import ENGINES, Engine, Unroll, fused, stepwise
from bench.engines.compiled import Compiled
from bench.engines.generated import engine as generated
from bench.engines.native import engine as native

MakeCell = Callable[[int, int], Cell]
"""Function ``(input_size, hidden_size) -> cell``."""


@dataclass(frozen=True)
class LayerTrace:
    """All that happened in one layer during one pass.

    Attributes:
        states: For each name in the cell's ``states``, its value after every step.
        blocks: For each name in the cell's ``blocks``, its value at every step; the gates are among them.
    """

    states: dict[str, Float[Tensor, "time batch hidden"]]
    blocks: dict[str, Float[Tensor, "time batch hidden"]]


class SequenceModel(nn.Module):
    """Layers of recurrent cells and a linear readout, which acts at every step or at the last one.

    Args:
        make_cell: ``(input_size, hidden_size) -> Cell``.
        input_size: Size of the input vector, at least 1.
        output_size: Size of the output vector, at least 1.
        hidden_size: Size of the hidden state of every layer, at least 1.
        layers: Number of layers, at least 1; each layer above the first reads the hidden states of the one below.
        dropout: Share of the hidden states between two layers that training sets to zero, in [0, 1); a share above 0
            needs at least two layers.
        readout: ``"every"`` reads out every step, ``"last"`` only the last one.
        engine: ``"fused"`` (torch kernel), ``"stepwise"`` (the cell's own equations), ``"compiled"`` (the same through
            ``torch.compile``, see :meth:`warm_up`), ``"native"`` (C++, on the CPU), or ``"generated"`` (C++ written
            from the cell's own equations, on the CPU); see :func:`bench.engines.choose`.

    Raises:
        ValueError: A number is out of range, the engine is unknown, or the cell does not have it.
    """

    def __init__(
        self,
        make_cell: MakeCell,
        *,
        input_size: int,
        output_size: int,
        hidden_size: int,
        layers: int,
        dropout: float,
        readout: Literal["every", "last"],
        engine: str,
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"`layers` must be >= 1, got {layers}")
        if not 0 <= dropout < 1:
            raise ValueError(f"`dropout` must be >= 0 and < 1, got {dropout}")
        if dropout > 0 and layers == 1:
            raise ValueError(f"`dropout` acts between layers: it must be 0 where layers is 1, got {dropout}")
        if engine not in ENGINES:
            raise ValueError(f"`engine` must be one of {', '.join(ENGINES)}, got {engine!r}")
        self.cells = nn.ModuleList(
            make_cell(input_size if layer == 0 else hidden_size, hidden_size) for layer in range(layers)
        )
        # nn.Linear alone would draw its first values from the global generator; skip_init avoids that.
        self.readout_layer = cast(
            nn.Linear,
            nn.utils.skip_init(nn.Linear, hidden_size, output_size, device=next(self.cells.parameters()).device),
        )
        self.dropout = dropout
        self.readout = readout
        name = type(self.layers[0]).__name__
        if engine == "fused" and self.layers[0].fused is None:
            raise ValueError(f"`engine` must not be fused for {name}, which has no kernel, got 'fused'")
        if engine == "native" and self.layers[0].recurrence is None:
            raise ValueError(f"`engine` must not be native for {name}, which names no recurrence, got 'native'")
        self.engine: Engine = next(each for each in ENGINES if each == engine)
        self._compiled = [Compiled() for _ in self.layers] if engine == "compiled" else []

    @property
    def layers(self) -> list[Cell]:
        """The cells, from the input upwards."""
        return [cell for cell in self.cells if isinstance(cell, Cell)]

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator, delay: int, readout: WeightRule) -> None:
        """Fill all parameters: those of the cells by their own rules, then those of the readout.

        Args:
            generator: Source of randomness, on the CPU.
            delay: The task's delay in steps, for initialisations that follow it.
            readout: ``torch``: weights and bias as ``torch.nn.Linear`` does; ``glorot`` and ``gaussian``: weights as
                in :class:`bench.cells.init.Initialization`, bias 0.
        """
        for cell in self.layers:
            cell.reset_parameters(generator, delay)
        weight, bias = self.readout_layer.weight, self.readout_layer.bias
        if readout == "torch":
            bound = self.readout_layer.in_features**-0.5
            weight.uniform_(-bound, bound, generator=generator)
            bias.uniform_(-bound, bound, generator=generator)
        else:
            fill_weight(weight, readout, generator)
            bias.zero_()

    def forward(
        self, inputs: Float[Tensor, "time batch input"], dropout_generator: torch.Generator | None = None
    ) -> Float[Tensor, "readout batch output"]:
        """Compute the outputs at the steps that are read out.

        Args:
            inputs: One vector for each step.
            dropout_generator: Source of the dropout masks, on the inputs' device; ``None`` means no dropout.
        """
        hidden, last = inputs, inputs[-1]
        for depth, cell in enumerate(self.layers):
            if depth > 0 and self.dropout > 0 and dropout_generator is not None:
                kept = torch.empty_like(hidden).bernoulli_(1 - self.dropout, generator=dropout_generator)
                hidden = hidden * kept / (1 - self.dropout)
            hidden, (last, *_) = self._unroll(depth)(cell, hidden)
        # The engine returns the last h by itself: the gradient of a slice would hold zeros for all other steps.
        return self.readout_layer(last.unsqueeze(0) if self.readout == "last" else hidden)

    def warm_up(self, batch_size: int, precision: str = "32") -> float:
        """Do what the compiled engine does once, before the first step; the other engines need no such step.

        Args:
            batch_size: Sequences of a training batch; with the ``compiled`` engine, batches of another size run step by
                step.
            precision: ``32`` or ``bf16-mixed``.

        Returns:
            Seconds of compiling.
        """
        for cell, compiled in zip(self.layers, self._compiled, strict=False):
            compiled.warm_up(cell, batch_size, precision)
        return math.fsum(compiled.seconds for compiled in self._compiled)

    def _unroll(self, depth: int) -> Unroll:
        if self.engine == "compiled":
            return self._compiled[depth]
        return {
            "fused": fused.unroll, "stepwise": stepwise.unroll, "native": native.unroll, "generated": generated.unroll,
        }[self.engine]  # fmt: skip

    def trace(self, inputs: Float[Tensor, "time batch input"]) -> list[LayerTrace]:
        """Return all states and block values of every layer, without dropout.

        The engines in C++ compute them at their speed, all others step by step.
        """
        traces = []
        layer_inputs = inputs
        for cell in self.layers:
            if self.engine in ("native", "generated"):
                engine = native if self.engine == "native" else generated
                traces.append(LayerTrace(*engine.trace(cell, layer_inputs)))
                layer_inputs = traces[-1].states["h"]
                continue
            state = cell.initial_state(inputs.shape[1])
            states: dict[str, list[Tensor]] = {name: [] for name in cell.states}
            blocks: dict[str, list[Tensor]] = {name: [] for name in cell.blocks}
            for projected in cell.project(layer_inputs):
                values = cell.activate(projected, state)
                state = cell.update(values, state)
                for name, value in zip(cell.states, state, strict=True):
                    states[name].append(value)
                for name in cell.blocks:
                    blocks[name].append(values[name])
            trace = LayerTrace(
                states={name: torch.stack(values) for name, values in states.items()},
                blocks={name: torch.stack(values) for name, values in blocks.items()},
            )
            traces.append(trace)
            layer_inputs = trace.states["h"]
        return traces


def parameter_count(module: nn.Module) -> int:
    """Count the trainable numbers of a module."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def hidden_size_for_budget(count: Callable[[int], int], budget: int) -> int:
    """Find the hidden size whose parameter count is nearest to a budget; of two equally near, the smaller one.

    Args:
        count: Number of parameters as a function of the hidden size; increasing.
        budget: Number of parameters to aim at.

    Raises:
        ValueError: The smallest network, with hidden size 1, has more parameters than the budget.
    """
    if count(1) > budget:
        raise ValueError(f"`parameter_budget` must be >= {count(1)}, the parameters at hidden size 1, got {budget}")
    low, high = 1, 2
    while count(high) <= budget:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) <= budget else (low, middle)
    return low if budget - count(low) <= count(high) - budget else high
