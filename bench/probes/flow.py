"""The distance that the gradient travels back: the norm of the total derivatives dL/dx_t and dL/dh_t over lag.

The loss is that of the delayed answer alone. A loss over all positions would hide a vanished gradient behind the
gradients of nearby positions. The engines in C++ compute the gradient of every state anyway and hand it out. For the
other engines the module cuts the sequence at the probed steps and runs the fused kernel piece by piece; autograd then
returns the gradients at the cuts. This is exact. The gradient of the network's input is autograd's, with any engine.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from bench.cells import Cell
from bench.cells.base import State
from bench.engines import Tap, fused, stepwise
from bench.engines.generated import engine as generated
from bench.engines.native import engine as native
from bench.training.model import LayerTrace, SequenceModel
from tasks.base import Batch, Task

INPUT = "x"
"""The name under which the network's input stands beside the parts of the state, as layer 0."""
MOST_LAGS = 64
"""Largest number of lags that the logarithmic choice makes."""


@dataclass(frozen=True)
class Flow:
    """One point of a curve.

    Attributes:
        layer: Number of the layer, from 1 at the input; 0 for the input itself.
        state: Name of the part of the state; :data:`INPUT` for the input.
        lag: Steps back from the first answer.
        value: Root mean square over the batch of the Euclidean norm of the gradient of a sequence's own loss.
    """

    layer: int
    state: str
    lag: int
    value: float


def logarithmic_lags(longest: int, most: int = MOST_LAGS) -> list[int]:
    """Return 0 and the whole numbers nearest to equal ratios from 1 to ``longest``, each once.

    Args:
        longest: The largest lag, at least 0.
        most: Largest number of lags, at least 2.

    Raises:
        ValueError: A number is out of range.
    """
    if longest < 0:
        raise ValueError(f"`longest` must be >= 0, got {longest}")
    if most < 2:
        raise ValueError(f"`most` must be >= 2, got {most}")
    if longest == 0:
        return [0]
    return [0, *np.unique(np.geomspace(1, longest, most - 1).round().astype(int)).tolist()]


def check_lags(lags: Sequence[int], longest: int) -> list[int]:
    """Check the lags and return them sorted.

    Raises:
        ValueError: There are no lags, a lag is there twice, or a lag is outside of the sequence.
    """
    if not len(lags):
        raise ValueError("`lags` must hold at least one lag, got []")
    for lag in lags:
        if type(lag) is not int:
            raise ValueError(f"`lags` must be integers, got {lag!r}")
        if not 0 <= lag <= longest:
            raise ValueError(f"`lags` must be >= 0 and <= {longest}, the steps before the first answer, got {lag}")
    if len(set(lags)) < len(lags):
        raise ValueError(f"`lags` must be different from each other, got {list(lags)}")
    return sorted(lags)


def resolve_lags(lags: Sequence[int] | str, longest: int) -> list[int]:
    """Return the lags that a setting stands for.

    Args:
        lags: ``"log"`` (see :func:`logarithmic_lags`), ``"all"``, or a list.
        longest: Number of steps before the first answer.

    Raises:
        ValueError: See :func:`check_lags`; also for another word.
    """
    if isinstance(lags, str):
        if lags not in ("log", "all"):
            raise ValueError(f"`lags` must be log, all, or a list of integers, got {lags!r}")
        return logarithmic_lags(longest) if lags == "log" else list(range(longest + 1))
    return check_lags(lags, longest)


def answer_step(task: Task, batch: Batch) -> int:
    """Return the first step, counted from 0, at which the delayed answer is asked for; it has lag 0."""
    if task.readout != "every":
        return batch.inputs.shape[0] - 1
    return int(batch.answer.any(1).nonzero()[0, 0])


def longest_lag(task: Task) -> int:
    """Return the number of steps before the first answer."""
    return answer_step(task, task.sample(1, torch.Generator()))


def gradient_flow_of(
    model: SequenceModel, task: Task, batch: Batch, lags: Sequence[int], *, inputs: bool = False
) -> list[Flow]:
    """Compute the gradient norms of every layer and part of the state, at every one of the lags.

    See :func:`flow_and_traces`.
    """
    return flow_and_traces(model, task, batch, lags, inputs=inputs)[0]


def flow_and_traces(
    model: SequenceModel, task: Task, batch: Batch, lags: Sequence[int], *, inputs: bool = False
) -> tuple[list[Flow], list[LayerTrace]]:
    """Compute the gradient norms of every layer and part of the state, at every one of the lags.

    The function touches neither a global random generator nor any ``grad``, and turns dropout off.

    Args:
        model: The network, in any mode. Its engine decides how the norms are computed: natively, in fused pieces, or
            step by step.
        task: The task; its ``answer_loss`` is differentiated.
        batch: The sequences.
        lags: Different lags, each between 0 and the first answer's step.
        inputs: Whether to compute the norms of the network's input as well.

    Returns:
        The norms, and what :meth:`bench.training.model.SequenceModel.trace` returns, where the engine sees it on its
        way; else nothing.

    Raises:
        ValueError: See :func:`check_lags`.
    """
    traces: list[LayerTrace] = []
    last = answer_step(task, batch)
    lags = check_lags(lags, last)
    with left_as_it_is(model), _gradients_of_states(model):
        x = model.embed(batch.inputs).detach().requires_grad_(inputs)
        if model.engine in ("native", "generated"):
            points = _from_taps(model, task, batch, x, lags, last, traces)
        else:
            points = _from_cuts(model, task, batch, x.unbind(), lags, last)
    order = [INPUT, *model.layers[0].states]
    return sorted(points, key=lambda point: (point.layer, order.index(point.state), point.lag)), traces


def _from_taps(
    model: SequenceModel,
    task: Task,
    batch: Batch,
    x: Tensor,
    lags: Sequence[int],
    last: int,
    traces: list[LayerTrace],
) -> list[Flow]:
    """Compute the norms in one pass forward and one back through the kernels in C++, and add what they see."""
    engine = native if model.engine == "native" else generated
    hidden, taps, starts = x, [], []
    for cell in model.layers:
        # Differentiating with respect to the initial state makes the backward pass go through all steps.
        start = tuple(part.detach().requires_grad_() for part in cell.initial_state(hidden.shape[1]))
        taps.append(Tap())
        starts.append(start[0])
        hidden, _ = engine.unroll(cell, hidden, start, taps[-1])
        traces.append(LayerTrace(*engine.seen(cell, taps[-1])))
    nodes = [x, *starts] if x.requires_grad else starts
    gradients = torch.autograd.grad(_answer_loss(model, task, batch, hidden), nodes, materialize_grads=True)
    at, points = [last - lag for lag in lags], []
    if x.requires_grad:
        values = _root_mean_squares(gradients[0][at])
        points += [Flow(0, INPUT, lag, value) for lag, value in zip(lags, values, strict=True)]
    for layer, (cell, tap) in enumerate(zip(model.layers, taps, strict=True), start=1):
        for part, name in enumerate(cell.states):
            # The backward pass does not reach a layer that has no part in the loss.
            values = [0.0] * len(at) if tap.gradients is None else _root_mean_squares(tap.gradients[part][at])
            points += [Flow(layer, name, lag, value) for lag, value in zip(lags, values, strict=True)]
    return points


def _answer_loss(model: SequenceModel, task: Task, batch: Batch, hidden: Tensor) -> Float[Tensor, ""]:
    return task.answer_loss(model.read(hidden), batch).sum()


def _from_cuts(
    model: SequenceModel, task: Task, batch: Batch, steps: Sequence[Tensor], lags: Sequence[int], last: int
) -> list[Flow]:
    """Compute the norms by running the sequence in pieces, with a node of the graph at every probed step.

    Every step of the input is a node of its own.
    """
    cuts = [last - lag for lag in reversed(lags)]
    nodes = [steps[step] for step in cuts if steps[0].requires_grad]
    names = [(0, INPUT, last - step) for step in cuts if steps[0].requires_grad]
    hidden = torch.stack(list(steps))
    for layer, cell in enumerate(model.layers, start=1):
        hidden, states = unroll_cut(cell, hidden, cuts, in_kernel=model.engine == "fused")
        for step, state in zip(cuts, states, strict=True):
            shown = [(name, part) for name, part in zip(cell.states, state, strict=True) if part.requires_grad]
            nodes += [part for _, part in shown]
            names += [(layer, name, last - step) for name, _ in shown]
    norms = gradient_norms(_answer_loss(model, task, batch, hidden), nodes)
    return [Flow(*name, value) for name, value in zip(names, norms, strict=True)]


def gradient_norms(loss: Float[Tensor, ""], nodes: Sequence[Shaped[Tensor, "batch _"]]) -> list[float]:
    """Return the root mean square over the batch of the norm of the gradient that reaches each node.

    Args:
        loss: The sum of the losses of all sequences, so that each sequence has the gradient of its own loss.
        nodes: Nodes of the graph of ``loss``; one that has no part in it has a gradient of 0.
    """
    gradients = torch.autograd.grad(loss, nodes, materialize_grads=True)
    norms = [0.0] * len(gradients)
    alike: dict[tuple[torch.Size, torch.dtype], list[int]] = {}
    for place, gradient in enumerate(gradients):
        alike.setdefault((gradient.shape, gradient.dtype), []).append(place)
    for places in alike.values():
        values = _root_mean_squares(torch.stack([gradients[place] for place in places]))
        for place, value in zip(places, values, strict=True):
            norms[place] = value
    return norms


def _root_mean_squares(gradients: Shaped[Tensor, "point batch *_"]) -> list[float]:
    """Return the root mean square of the norm at each point, scaled by its largest entry: the square of 1e-200 is 0."""
    sizes = gradients.abs().double().flatten(2)  # of a complex number, too
    largest = sizes.amax((1, 2))
    scale = torch.where(largest > 0, largest, torch.ones_like(largest))
    return (largest * (sizes / scale[:, None, None]).square().sum(-1).mean(-1).sqrt()).tolist()


def unroll_cut(
    cell: Cell, inputs: Float[Tensor, "time batch input"], cuts: Sequence[int], *, in_kernel: bool
) -> tuple[Float[Tensor, "time batch hidden"], list[State]]:
    """Return the hidden states of a cell, and its states after some steps as nodes that all later steps depend on.

    Args:
        cell: The cell.
        inputs: One vector for each step.
        cuts: Steps to cut after, counted from 0, increasing.
        in_kernel: Whether the pieces between the cuts run in the cell's torch kernel.

    Returns:
        The hidden states of all steps, and for each cut all parts of the state.
    """
    project = stepwise.projection(cell, inputs)
    hidden: list[Tensor] = []
    states: list[State] = []

    def between(start: int, end: int, state: State) -> State:
        """Go on over the steps between two cuts, perhaps none."""
        if start == end:
            return state
        if in_kernel:
            piece, state = fused.unroll(cell, inputs[start:end], state)
        else:
            piece, state = stepwise.walk(cell, project(slice(start, end)), state)
        hidden.append(piece)
        return state

    start, state = 0, cell.initial_state(inputs.shape[1])
    for cut, rows in zip(cuts, project(list(cuts)), strict=True):
        # The probed step itself runs by the cell's own equations. A kernel returns h and the other parts of the state
        # side by side, and the gradient that reaches the other parts by way of h would be missing.
        before = as_nodes(between(start, cut, state))
        state = as_nodes(cell.step(rows, before), before)
        hidden.append(state[0].unsqueeze(0))
        states.append(state)
        start = cut + 1
    between(start, len(inputs), state)
    return torch.cat(hidden), states


def as_nodes(state: State, before: State = ()) -> State:
    """Return a state whose parts are separate nodes of the graph.

    Args:
        state: What a step returned.
        before: What the step was given. The step may hand on a part of it unchanged. That part needs a node of its own:
            the step has used the old node, and the gradient of those uses belongs to the step before.
    """
    nodes: list[Tensor] = []
    for part in state:
        if not (part.is_floating_point() or part.is_complex()):
            nodes.append(part)  # A counter, for example, has no gradient.
        elif not part.requires_grad:
            nodes.append(part.detach().requires_grad_())
        else:
            nodes.append(part.view_as(part) if any(part is other for other in (*before, *nodes)) else part)
    return tuple(nodes)


@contextlib.contextmanager
def _gradients_of_states(model: nn.Module) -> Iterator[None]:
    """Turn gradients on, but not those of the parameters.

    Leaving them out halves the work.
    """
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)


@contextlib.contextmanager
def left_as_it_is(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and restore modes and buffers at the end.

    Buffers are restored because a cell may hold layers whose buffers follow the batches they see. Kernels are not
    submodules and stay in training mode, the only mode in which cuDNN has a backward pass.
    """
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
