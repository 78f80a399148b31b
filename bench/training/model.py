"""The network: an embedding of tokens, layers of cells unrolled over time, dense layers, and a linear readout."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from bench.cells import Cell, State
from bench.cells.init import WeightRule, fill_weight
from bench.engines import ENGINES, LOSS_ENGINES, Engine, LossEngine, Unroll, fused, stepwise
from bench.engines import readout as one_pass
from bench.engines.compiled import Compiled
from bench.engines.generated import engine as generated
from bench.engines.native import engine as native
from tasks.base import Batch, Task

MakeCell = Callable[[int, int], Cell]
"""Function ``(input_size, hidden_size) -> cell``."""


ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "tanh": torch.tanh}
"""What may stand behind each dense layer of a head, by name."""


@dataclass(frozen=True)
class Around:
    """What stands around the recurrent layers of a network.

    Attributes:
        tokens: Number of different tokens where the inputs are tokens; ``None`` where they are vectors.
        embedding: Size of the vector that is learned for each token; ``None`` gives each an entry of its own, 1 where
            it is there and else 0.
        head: Sizes of the dense layers between the hidden states and the readout, from below; each at least 1.
        head_activation: What follows each of them, a key of :data:`ACTIVATIONS`.
        input_dropout: Share of the entries of the input vectors that training sets to zero, in [0, 1).
        readout_dropout: The same for what the readout reads.
        bidirectional: Whether each layer has a second cell, which goes through the sequence from its end; the layer
            above, or the readout, reads the hidden states of both.

    Raises:
        ValueError: A value is out of range.
    """

    tokens: int | None = None
    embedding: int | None = None
    head: tuple[int, ...] = ()
    head_activation: str = "relu"
    input_dropout: float = 0.0
    readout_dropout: float = 0.0
    bidirectional: bool = False

    def __post_init__(self) -> None:
        if self.embedding is not None and self.tokens is None:
            raise ValueError(f"`embedding` must be null for a task whose inputs are no tokens, got {self.embedding}")
        if self.embedding is not None and self.embedding < 1:
            raise ValueError(f"`embedding` must be null or >= 1, got {self.embedding}")
        if not all(size >= 1 for size in self.head):
            raise ValueError(f"`head` must be a list of sizes >= 1, got {list(self.head)}")
        if self.head_activation not in ACTIVATIONS:
            allowed = ", ".join(ACTIVATIONS)
            raise ValueError(f"`head_activation` must be one of {allowed}, got {self.head_activation!r}")
        for name in ("input_dropout", "readout_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be >= 0 and < 1, got {getattr(self, name)}")


@dataclass
class Carried:
    """The states that a network goes on from in the next batch, without a gradient.

    Attributes:
        states: The state of each layer; ``None`` stands for the initial state.
    """

    states: list[State] | None = None


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
    """Layers of recurrent cells and a linear readout, which acts at every step, the last one, or the mean of all.

    Args:
        make_cell: ``(input_size, hidden_size) -> Cell``.
        input_size: Size of the input vector, at least 1; number of different tokens where the inputs are tokens.
        output_size: Size of the output vector, at least 1.
        hidden_size: Size of the hidden state of every layer, at least 1.
        layers: Number of layers, at least 1; each layer above the first reads the hidden states of the one below.
        dropout: Share of the hidden states between two layers that training sets to zero, in [0, 1); a share above 0
            needs at least two layers.
        readout: ``"every"`` reads out every step, ``"last"`` only the last real one, ``"mean"`` the mean of the hidden
            states of all real steps.
        engine: ``"fused"`` (torch kernel), ``"stepwise"`` (the cell's own equations), ``"compiled"`` (the same through
            ``torch.compile``, see :meth:`warm_up`), ``"native"`` (C++, on the CPU), or ``"generated"`` (C++ written
            from the cell's own equations, on the CPU); see :func:`bench.engines.choose`.
        around: What stands around these layers.
        loss_engine: What :meth:`loss` computes readout and loss with: ``"torch"``, one after the other, or
            ``"native"``, both in one pass; see :func:`bench.engines.choose_loss`.

    Raises:
        ValueError: A number is out of range, an engine is unknown, or the cell does not have it.
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
        readout: Literal["every", "last", "mean"],
        engine: str,
        around: Around = Around(),
        loss_engine: str = "torch",
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
        if around.bidirectional and readout == "every":
            raise ValueError("`bidirectional` must be false where every step is answered, got true")
        lowest, wide = around.embedding or input_size, hidden_size * (2 if around.bidirectional else 1)
        self.cells = nn.ModuleList(make_cell(wide if layer else lowest, hidden_size) for layer in range(layers))
        self.backward_cells = nn.ModuleList(
            make_cell(wide if layer else lowest, hidden_size) for layer in range(layers if around.bidirectional else 0)
        )
        device = next(self.cells.parameters()).device
        sizes = (wide, *around.head)
        self.readout_layer = _linear(sizes[-1], output_size, device)
        self.head = nn.ModuleList(_linear(below, above, device) for below, above in itertools.pairwise(sizes))
        table = torch.empty(input_size, around.embedding, device=device) if around.embedding is not None else None
        self.embedding = nn.Parameter(table) if table is not None else None
        self.around = around
        self.dropout = dropout
        self.readout = readout
        name = type(self.layers[0]).__name__
        if engine == "fused" and self.layers[0].fused is None:
            raise ValueError(f"`engine` must not be fused for {name}, which has no kernel, got 'fused'")
        if engine == "native" and self.layers[0].recurrence is None:
            raise ValueError(f"`engine` must not be native for {name}, which names no recurrence, got 'native'")
        if loss_engine not in LOSS_ENGINES:
            raise ValueError(f"`loss_engine` must be one of {', '.join(LOSS_ENGINES)}, got {loss_engine!r}")
        self.engine: Engine = next(each for each in ENGINES if each == engine)
        self.loss_engine: LossEngine = next(each for each in LOSS_ENGINES if each == loss_engine)
        unrolled = (*self.cells, *self.backward_cells)
        self._compiled = [Compiled() for _ in unrolled] if engine == "compiled" else []

    @property
    def layers(self) -> list[Cell]:
        """The cells that go forwards, from the input upwards."""
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
        for layer in self.head:
            assert isinstance(layer, nn.Linear)
            bound = layer.in_features**-0.5
            layer.weight.uniform_(-bound, bound, generator=generator)
            layer.bias.uniform_(-bound, bound, generator=generator)
        if self.embedding is not None:
            self.embedding.normal_(generator=generator)
        for cell in self.backward_cells:
            cast(Cell, cell).reset_parameters(generator, delay)

    @property
    def drops(self) -> bool:
        """Whether training sets anything to zero by chance."""
        return max(self.dropout, self.around.input_dropout, self.around.readout_dropout) > 0

    def forward(
        self,
        inputs: Shaped[Tensor, "time batch *input"],
        dropout_generator: torch.Generator | None = None,
        lengths: Int[Tensor, " batch"] | None = None,
        carried: Carried | None = None,
    ) -> Float[Tensor, "readout batch output"]:
        """Compute the outputs at the steps that are read out.

        Args:
            inputs: One vector or one token for each step.
            dropout_generator: Source of the dropout masks, on the inputs' device; ``None`` means no dropout.
            lengths: The number of real steps of each sequence, which stand first; ``None`` where all steps are real.
            carried: The states to go on from, which become those after the last step; ``None`` begins anew.
        """
        return self.readout_layer(self.features(inputs, dropout_generator, lengths, carried))

    def loss(
        self,
        task: Task,
        batch: Batch,
        dropout_generator: torch.Generator | None = None,
        carried: Carried | None = None,
    ) -> Float[Tensor, ""]:
        """Compute the training loss of a batch; arguments as for :meth:`forward`."""
        if self.loss_engine == "torch":
            return task.loss(self(batch.inputs, dropout_generator, batch.lengths, carried), batch)
        read = self.features(batch.inputs, dropout_generator, batch.lengths, carried)
        layer = self.readout_layer
        return one_pass.cross_entropy(read, layer.weight, layer.bias, batch.targets, batch.scored)

    def features(
        self,
        inputs: Shaped[Tensor, "time batch *input"],
        dropout_generator: torch.Generator | None = None,
        lengths: Int[Tensor, " batch"] | None = None,
        carried: Carried | None = None,
    ) -> Float[Tensor, "readout batch feature"]:
        """Compute what the readout reads; arguments as for :meth:`forward`."""
        hidden = self.embed(inputs)
        last, ends = hidden[-1], []
        for depth, cell in enumerate(self.layers):
            share = self.dropout if depth > 0 else self.around.input_dropout
            below = _dropped(hidden, share, dropout_generator)
            start = carried.states[depth] if carried is not None and carried.states is not None else None
            hidden, end = self._unroll(depth)(cell, below, start)
            last = end[0] if lengths is None else _at_end(hidden, lengths)
            ends.append(tuple(part.detach() for part in end))
            if self.backward_cells:
                back, (begin, *_) = self._unroll(len(self.cells) + depth)(
                    cast(Cell, self.backward_cells[depth]), _turned(below, lengths)
                )
                begin = begin if lengths is None else _at_end(back, lengths)
                hidden = torch.cat((hidden, _turned(back, lengths)), dim=-1)
                last = torch.cat((last, begin), dim=-1)
        if carried is not None:
            carried.states = ends
        return self._to_read(hidden, last, lengths, dropout_generator)

    def embed(self, inputs: Shaped[Tensor, "time batch *input"]) -> Float[Tensor, "time batch vector"]:
        """Return the vector of each step that the lowest layer reads."""
        if self.around.tokens is None:
            return inputs
        if self.embedding is None:
            return F.one_hot(inputs, self.around.tokens).to(self.readout_layer.weight.dtype)
        return F.embedding(inputs, self.embedding)

    def read(self, hidden: Float[Tensor, "time batch hidden"]) -> Float[Tensor, "readout batch output"]:
        """Compute the outputs from the hidden states of the highest layer at all steps, all real, without dropout."""
        return self.readout_layer(self._to_read(hidden))

    def _to_read(
        self,
        hidden: Float[Tensor, "time batch hidden"],
        last: Float[Tensor, "batch hidden"] | None = None,
        lengths: Int[Tensor, " batch"] | None = None,
        dropout_generator: torch.Generator | None = None,
    ) -> Float[Tensor, "readout batch feature"]:
        """Return what the readout reads of the hidden states.

        ``last`` are those of the last real step; ``None`` takes them from ``hidden``. An engine returns them by
        themselves: the gradient of a slice would hold zeros for all other steps.
        """
        if self.readout == "every":
            read = hidden
        elif self.readout == "mean":
            read = _mean(hidden, lengths).unsqueeze(0)
        else:
            read = last.unsqueeze(0) if last is not None else hidden[-1:]
        for layer in self.head:
            read = ACTIVATIONS[self.around.head_activation](layer(read))
        return _dropped(read, self.around.readout_dropout, dropout_generator)

    def warm_up(self, batch_size: int, precision: str = "32") -> float:
        """Do what the compiled engine does once, before the first step; the other engines need no such step.

        Args:
            batch_size: Sequences of a training batch; with the ``compiled`` engine, batches of another size run step by
                step.
            precision: ``32`` or ``bf16-mixed``.

        Returns:
            Seconds of compiling.
        """
        for cell, compiled in zip((*self.cells, *self.backward_cells), self._compiled, strict=False):
            compiled.warm_up(cast(Cell, cell), batch_size, precision)
        return math.fsum(compiled.seconds for compiled in self._compiled)

    def _unroll(self, depth: int) -> Unroll:
        if self.engine == "compiled":
            return self._compiled[depth]
        return {
            "fused": fused.unroll, "stepwise": stepwise.unroll, "native": native.unroll, "generated": generated.unroll,
        }[self.engine]  # fmt: skip

    def trace(self, inputs: Shaped[Tensor, "time batch *input"]) -> list[LayerTrace]:
        """Return all states and block values of every layer, without dropout.

        The engines in C++ compute them at their speed, all others step by step.
        """
        traces = []
        layer_inputs = self.embed(inputs)
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


def _linear(inputs: int, outputs: int, device: torch.device) -> nn.Linear:
    """Return a linear layer without values: nn.Linear alone would draw its first from the global generator."""
    return cast(nn.Linear, nn.utils.skip_init(nn.Linear, inputs, outputs, device=device))


def _dropped(values: Tensor, share: float, generator: torch.Generator | None) -> Tensor:
    """Return the values with a share of them set to zero and the others scaled up; all of them without a generator."""
    if share == 0 or generator is None:
        return values
    kept = torch.empty_like(values).bernoulli_(1 - share, generator=generator)
    return values * kept / (1 - share)


def _at_end(
    hidden: Float[Tensor, "time batch hidden"], lengths: Int[Tensor, " batch"]
) -> Float[Tensor, "batch hidden"]:
    """Return the hidden state at the last real step of each sequence."""
    return hidden[lengths - 1, torch.arange(hidden.shape[1], device=hidden.device)]


def _turned(
    steps: Float[Tensor, "time batch vector"], lengths: Int[Tensor, " batch"] | None
) -> Float[Tensor, "time batch vector"]:
    """Return the real steps of each sequence from the last to the first; the padding stays behind them."""
    if lengths is None:
        return steps.flip(0)
    at = torch.arange(len(steps), device=steps.device).unsqueeze(1)
    at = torch.where(at < lengths, lengths - 1 - at, at)
    return steps[at, torch.arange(steps.shape[1], device=steps.device)]


def _mean(
    hidden: Float[Tensor, "time batch hidden"], lengths: Int[Tensor, " batch"] | None
) -> Float[Tensor, "batch hidden"]:
    """Return the mean over the real steps of each sequence."""
    if lengths is None:
        return hidden.mean(0)
    real = torch.arange(len(hidden), device=hidden.device).unsqueeze(1) < lengths
    return torch.where(real.unsqueeze(-1), hidden, 0.0).sum(0) / lengths.unsqueeze(-1)


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
    count = functools.cache(count)
    if count(1) > budget:
        raise ValueError(f"`parameter_budget` must be >= {count(1)}, the parameters at hidden size 1, got {budget}")
    low = _where_a_parabola_is(budget, [count(size) for size in (1, 2, 3)])
    high = low + 1
    if not count(low) <= budget < count(high):
        low, high = 1, 2
    while count(high) <= budget:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) <= budget else (low, middle)
    return low if budget - count(low) <= count(high) - budget else high


def _where_a_parabola_is(value: int, first: list[int]) -> int:
    """Return the greatest whole number from 1 where the parabola through 1, 2 and 3 is at most a value.

    The parameters of most cells are such a parabola in the hidden size, so that five networks tell what a bisection
    asks fifteen for.
    """
    half = (first[2] - 2 * first[1] + first[0]) / 2
    slope = first[1] - first[0] - half
    if half < 0 or slope <= 0:
        return 1
    return 1 + int(2 * (value - first[0]) / (slope + math.sqrt(slope**2 + 4 * half * (value - first[0]))))
