"""The engine that runs C++ written from a cell's own equations; see ``lower.py`` and ``emit.py`` for the writing."""

from __future__ import annotations

import copy
import dataclasses
import functools
import types
import weakref
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from bench.cells import Cell, State
from bench.engines import stepwise
from bench.engines.base import Seen, Tap
from bench.engines.generated import step_graph
from bench.engines.generated.emit import Source, emit
from bench.engines.generated.library import Library, library
from bench.engines.generated.lower import Step, lower
from bench.engines.generated.step_graph import StepGraph, UnsupportedError
from bench.errors import is_stop

NUMERICS = 2
"""Version of what this part computes. It is raised when the numbers change; `make numerics` says when that is so."""


class Recurrence:
    """A cell's step, traced, written down, compiled, and compared with the cell's own.

    Args:
        cell: The cell, on any device, in training or evaluation.
        say: Function that is called with a message when the caller has to wait.

    Raises:
        UnsupportedError: The cell's step has no place in generated code, or does not give the numbers of the cell.
        NativeUnavailableError: There is no compiler, or it fails.
    """

    def __init__(self, cell: Cell, say: Callable[[str], None] | None = None) -> None:
        # The first to ask may be an evaluation, which has switched gradients off.
        with torch.inference_mode(False), torch.enable_grad():
            self.graph: StepGraph = step_graph.trace(cell)
            self.step: Step = lower(self.graph)
            self.source: Source = emit(self.step)
            self.library: Library = library(self.source.text, say)
            check(self, cell)

    def weights(self, cell: Cell, dtype: torch.dtype) -> list[Tensor]:
        """Return what the recurrence reads and no sequence changes."""
        found = self.graph.weights(*step_graph.tensors_of(cell).values())
        return [each if each.dtype == dtype else each.to(dtype) for each in found]

    def all_weights(self, weights: list[Tensor]) -> list[Tensor]:
        """Return the weights and what the backward pass makes of them."""
        with torch.no_grad():
            further = [each.to(weights[0].dtype) for each in self.step.derived(*weights)]
        return [*(each.detach() for each in weights), *further]

    def call(self, name: str, weights: list[Tensor], given: Mapping[str, Tensor | None], time: int, batch: int) -> None:
        """Call ``forward`` or ``backward``.

        Args:
            name: Which of them.
            weights: See :meth:`all_weights`.
            given: The other tensors by name, contiguous; those that are not there are ``None`` or not named.
            time: Number of steps.
            batch: Number of sequences.
        """
        step = self.step
        named = {f"w{index}": weights[index].contiguous() for index in step.vectors}
        named |= {f"m{index}": weights[index] for index in step.matrices}
        strides = [stride for index in step.matrices for stride in weights[index].stride()]
        names = self.source.forward if name == "forward" else self.source.backward
        tensors = [named[each] if each in named else given.get(each) for each in names]
        self.library.call(name, weights[0].dtype, self.source.sizes, tensors, strides, time, batch)


_of_cell: weakref.WeakKeyDictionary[Cell, tuple[Hashable | None, Recurrence]] = weakref.WeakKeyDictionary()
_of_likeness: dict[Hashable, Recurrence] = {}


def recurrence_of(cell: Cell, say: Callable[[str], None] | None = None) -> Recurrence:
    """Return the compiled step of a cell; cells of one class with equal settings and sizes share it.

    A cell whose settings have changed since the last call gets another one.

    Raises:
        UnsupportedError: See :class:`Recurrence`.
        NativeUnavailableError: See :class:`Recurrence`.
    """
    alike = likeness(cell)
    before, recurrence = _of_cell.get(cell, (None, None))
    if recurrence is None or before != alike:
        recurrence = (_of_likeness.get(alike) if alike is not None else None) or Recurrence(cell, say)
        if alike is not None:
            _of_likeness[alike] = recurrence
        _of_cell[cell] = alike, recurrence
    return recurrence


def unroll(
    cell: Cell, inputs: Float[Tensor, "time batch input"], state: State | None = None, tap: Tap | None = None
) -> tuple[Float[Tensor, "time batch hidden"], State]:
    """Unroll as in :class:`bench.engines.base.Unroll`, on the CPU, in float32 or float64, without second derivatives.

    Args:
        cell: The cell.
        inputs: One vector for each step.
        state: The state before the first step.
        tap: Receives the gradients of the states, if they are wanted.

    Raises:
        ValueError: A shape does not fit.
        UnsupportedError: The cell's step has no place in generated code.
        NativeUnavailableError: There is no compiler, or it fails.
    """
    return _unroll(recurrence_of(cell), cell, inputs, state, tap)


def _unroll(
    recurrence: Recurrence, cell: Cell, inputs: Tensor, state: State | None = None, tap: Tap | None = None
) -> tuple[Tensor, State]:
    x, state = _checked(cell, recurrence, inputs, state)
    tensors = (x, *state, *recurrence.weights(cell, x.dtype))
    keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    hidden, *end = _Recurrence.apply(recurrence, tap, keep, *tensors)
    return hidden, tuple(end)


@torch.no_grad()
def trace(cell: Cell, inputs: Float[Tensor, "time batch input"]) -> Seen:
    """Return every part of the state after every step, and every block's value at every step, by name.

    Args:
        cell: The cell.
        inputs: One vector for each step.
    """
    recurrence = recurrence_of(cell)
    x, state = _checked(cell, recurrence, inputs, None)
    weights, blocks = recurrence.all_weights(recurrence.weights(cell, x.dtype)), _blocks(recurrence, x)
    return _named(cell, _forward(recurrence, weights, x, state, _numbered("b", blocks)), blocks)


def seen(cell: Cell, tap: Tap) -> Seen:
    """Return what :func:`trace` does, of a forward pass with a tap."""
    return _named(cell, *tap.seen)


def _named(cell: Cell, states: Sequence[Tensor], blocks: Sequence[Tensor]) -> Seen:
    return (
        dict(zip(cell.states, (each[1:] for each in states), strict=True)),
        dict(zip(cell.blocks, blocks, strict=True)),
    )


def _blocks(recurrence: Recurrence, x: Tensor) -> list[Tensor]:
    """Return tensors for the blocks' values at every step."""
    return [x.new_empty(*x.shape[:2], width) for width in recurrence.step.blocks]


def _checked(cell: Cell, recurrence: Recurrence, inputs: Tensor, state: State | None) -> tuple[Tensor, State]:
    """Return what the recurrence begins with; its functions read memory without looking at shapes."""
    if inputs.dim() != 3 or not len(inputs) or inputs.shape[2] != cell.input_size:
        raise ValueError(
            f"`inputs` must be (time, batch, {cell.input_size}) with at least one step, got {list(inputs.shape)}"
        )
    state = cell.initial_state(inputs.shape[1]) if state is None else state
    for part, width in zip(state, recurrence.step.states, strict=True):
        if part.shape != (inputs.shape[1], width):
            raise ValueError(f"`state` must have the shape {[inputs.shape[1], width]}, got {list(part.shape)}")
    x = inputs if recurrence.graph.whole else cell.project(inputs)
    if x.shape != (*inputs.shape[:2], recurrence.step.x):
        raise ValueError(f"`project` must give {recurrence.step.x} numbers a step, got {list(x.shape)}")
    for each in (x, *state):
        if each.device.type != "cpu" or each.dtype not in (torch.float32, torch.float64) or each.dtype != x.dtype:
            raise ValueError(
                f"`inputs` and `state` must be float32 or float64 on the CPU, got {each.dtype} {each.device}"
            )
    return x, state


def _forward(
    recurrence: Recurrence, weights: list[Tensor], x: Tensor, state: State, wanted: Mapping[str, Tensor | None]
) -> list[Tensor]:
    """Return every part of the state before the first and after every step; fill what else is wanted, by name."""
    time, batch = x.shape[:2]
    states = []
    for part in state:
        whole = x.new_empty(time + 1, *part.shape)
        whole[0] = part
        states.append(whole)
    given = {"x": x.contiguous(), **_numbered("s", states), **wanted}
    recurrence.call("forward", weights, given, time, batch)
    return states


def _numbered(letter: str, tensors: Iterable[Tensor | None]) -> dict[str, Tensor | None]:
    return {f"{letter}{i}": each for i, each in enumerate(tensors)}


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, recurrence: Recurrence, tap: Tap | None, keep: bool, x: Tensor, *rest: Tensor) -> Any:
        step = recurrence.step
        state, weights = rest[: len(step.states)], recurrence.all_weights(list(rest[len(step.states) :]))
        kept = [x.new_empty(*x.shape[:2], width) for width in step.kept] if keep else []
        blocks = _blocks(recurrence, x) if tap is not None else []
        states = _forward(recurrence, weights, x, state, {**_numbered("k", kept), **_numbered("b", blocks)})
        ctx.set_materialize_grads(False)
        if tap is not None:
            tap.seen = states, blocks
        if keep:
            ctx.save_for_backward(x, *states, *kept, *weights)
            ctx.recurrence, ctx.tap = recurrence, tap
        return (states[0][1:], *(each[-1].clone() for each in states))

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - the decorator hides the names
        ctx: Any, *grads: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        recurrence, step, saved = ctx.recurrence, ctx.recurrence.step, list(ctx.saved_tensors)
        x, states, saved = saved[0].contiguous(), saved[1 : 1 + len(step.states)], saved[1 + len(step.states) :]
        kept, weights = saved[: len(step.kept)], saved[len(step.kept) :]
        time, batch = x.shape[:2]
        workers = min(batch, torch.get_num_threads())
        padded = recurrence.library.padding(x.dtype)
        d_hidden, *d_end = (each.contiguous() if each is not None else None for each in grads)
        d_x = torch.empty_like(x) if ctx.needs_input_grad[3] and step.has_input_gradient else None
        d_start = [x.new_empty(batch, width) for width in step.states]
        of_states = [x.new_empty(time, batch, width) for width in step.states] if ctx.tap is not None else []
        wants_weights = any(ctx.needs_input_grad[4 + len(step.states) :])
        groups = [x.new_zeros(workers, left, padded(right)) for left, right in step.groups] if wants_weights else []
        columns = [x.new_zeros(workers, width) for width in step.columns]
        given = {"x": x, "dh": d_hidden, "g": d_x, **_numbered("s", states), **_numbered("k", kept)}
        given |= {**_numbered("e", d_end), **_numbered("o", d_start), **_numbered("t", of_states)}
        given |= {**_numbered("p", groups), **_numbered("a", columns)}
        recurrence.call("backward", weights, given, time, batch)
        if ctx.tap is not None:
            ctx.tap.gradients = of_states
        if not wants_weights:
            return (None, None, None, d_x, *d_start, *(None for _ in ctx.needs_input_grad[4 + len(step.states) :]))
        sums = [group.sum(0) for group in groups]
        products = []
        for outer in step.outers:
            found = sums[outer.group][:, outer.offset : outer.offset + outer.right]
            products.append(found.t() if outer.swapped else found)
        d_weights = step.gradients(products, [column.sum(0) for column in columns], weights)
        return (None, None, None, d_x, *d_start, *_apart(d_weights))


def _apart(gradients: Iterable[Tensor | None]) -> list[Tensor | None]:
    """Return gradients each of which has memory of its own.

    Two biases that are added up have one gradient. Autograd takes what it is given for ``grad`` without a copy, and a
    clip multiplies each ``grad`` in place: in common memory the one gradient would be clipped twice.
    """
    found: list[Tensor | None] = []
    taken: set[int] = set()
    for each in gradients:
        if each is not None:
            each = each.clone() if each.untyped_storage().data_ptr() in taken else each
            taken.add(each.untyped_storage().data_ptr())
        found.append(each)
    return found


def likeness(cell: Cell) -> Hashable | None:
    """Return what two cells have in common if one compiled step serves both; ``None`` where that cannot be told."""
    found: list[Hashable] = [
        (name, tuple(each.shape), each.dtype) for name, each in step_graph.tensors_of(cell).items()
    ]
    try:
        for name, part in cell.named_modules():
            own = {key: value for key, value in vars(part).items() if key not in _EVERY_MODULE}
            found.append((name, type(part), _frozen(own)))
    except TypeError:
        return None
    return tuple(found)


_EVERY_MODULE = {*vars(torch.nn.Module()), "_kernel"}


def _frozen(value: Any) -> Hashable:
    """Return a setting as something that can be compared.

    Raises:
        TypeError: It is no plain setting.
    """
    if isinstance(value, dict):
        return tuple((key, _frozen(each)) for key, each in value.items())
    if isinstance(value, list | tuple):
        return tuple(map(_frozen, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return type(value), _frozen({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    if isinstance(value, functools.partial):
        return value.func, _frozen(value.args), _frozen(value.keywords)
    if value is None or isinstance(value, bool | int | float | str):
        return type(value), value
    if isinstance(value, type | types.BuiltinFunctionType):
        return value
    raise TypeError(f"{value!r} is no plain setting")


STEPS, SEQUENCES = 35, 5
"""Size of the check: more rows than the backward pass takes together, and more steps than a counter may hide in."""
TOLERANCE = 1e-7
"""Largest error of the check, in units of the largest number of a tensor; torch has constants in float32 even here."""


def check(recurrence: Recurrence, cell: Cell) -> None:
    """Compare the compiled step with the cell's own, in float64, in training and in evaluation.

    Raises:
        UnsupportedError: They differ in an output or a gradient, or the cell cannot be tried.
    """
    try:
        tried = (
            copy.deepcopy(cell).to_empty(device="cpu").double() if _elsewhere(cell) else copy.deepcopy(cell).double()
        )
        generator = torch.Generator().manual_seed(0)
        with torch.random.fork_rng(devices=[]):
            tried.reset_parameters(generator, STEPS)
            with torch.no_grad():
                for each in tried.parameters():
                    # Some parameters begin at zero, where two gradients of theirs could look the same.
                    each += 0.1 * torch.empty_like(each).uniform_(generator=generator)
            for training, steps in ((True, STEPS), (False, 3)):
                tried.train(training)
                _compare(recurrence, tried, steps, generator)
    except UnsupportedError:
        raise
    except BaseException as error:
        if is_stop(error):
            raise
        reason = " ".join(f"{type(error).__name__} {error}".split())
        raise UnsupportedError(f"it cannot be tried: {reason[:200]}") from error


def _elsewhere(cell: Cell) -> bool:
    return any(each.device.type == "meta" for each in step_graph.tensors_of(cell).values())


def _compare(recurrence: Recurrence, cell: Cell, steps: int, generator: torch.Generator) -> None:
    def draw(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.double)

    inputs = draw(steps, SEQUENCES, cell.input_size).requires_grad_()
    state = tuple(draw(SEQUENCES, width).requires_grad_() for width in recurrence.step.states)
    leaves = [inputs, *state, *(each for each in cell.parameters() if each.requires_grad)]
    weights = [draw(steps, SEQUENCES, recurrence.step.states[0]), *(draw(*part.shape) for part in state)]
    results: list[list[Tensor]] = []
    for way in (stepwise.unroll, functools.partial(_unroll, recurrence)):
        hidden, end = way(cell, inputs, state)
        values = [hidden, *end]
        loss = torch.stack([(each * weight).sum() for each, weight in zip(values, weights, strict=True)]).sum()
        gradients = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
        results.append([each.detach() for each in (*values, *gradients)])
    for expected, found in zip(*results, strict=True):
        error = float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-30))
        if not error <= TOLERANCE:
            mode = "training" if cell.training else "evaluation"
            raise UnsupportedError(f"its steps in {mode} differ from the traced one by {error:.0e}")
