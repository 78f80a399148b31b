"""A cell's step and its derivative as graphs of core ATen operations.

The step is traced once, on fake tensors, so that nothing is computed and a branch that depends on numbers is an error.
What depends on parameters alone, such as a transposed matrix or a weight norm, is cut off from it: torch computes it
once a sequence, with autograd. The rest is the recurrence. autograd then writes its derivative, as a second graph.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch._decomp import core_aten_decompositions, get_decompositions
from torch.func import functional_call, functionalize
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from bench.cells import Cell
from bench.cells import base as cells
from bench.errors import is_stop


class UnsupportedError(Exception):
    """The cell has no place in generated code; the text says why, as a part of a sentence."""


@dataclass(frozen=True)
class StepGraph:
    """One step of a cell.

    Attributes:
        whole: Whether the step begins with the inputs; otherwise it begins with their projection, which depends on the
            place in the sequence.
        batch: The number of sequences that stands for any number in both graphs.
        weights: Function ``(tensors of the cell) -> weights`` by which torch computes what the recurrence reads and
            what no sequence changes. The tensors are those of :func:`tensors_of`, in that order.
        joint: Graph ``(x, states, weights, gradients of the next states) -> (next states, blocks, gradients of the next
            states along all paths, of x, states, weights)``, each a tuple; a gradient that is zero may be ``None``.
        states: Number of parts of the state.
        blocks: Number of blocks.
    """

    whole: bool
    batch: int
    weights: Callable[..., list[Tensor]]
    joint: fx.Graph
    states: int
    blocks: int


def tensors_of(cell: Cell) -> dict[str, Tensor]:
    """Return the parameters and buffers of a cell by name."""
    return {**dict(cell.named_parameters()), **dict(cell.named_buffers())}


def trace(cell: Cell) -> StepGraph:
    """Trace the step of a cell and its derivative.

    Args:
        cell: The cell, on any device, in training or evaluation.

    Raises:
        UnsupportedError: The step cannot be traced.
    """
    with _as_reason("it cannot be copied"):
        cell = copy.deepcopy(cell)  # What a step notes on the cell would be what a trace is made of.
    whole = type(cell).project is cells.Cell.project
    tensors = tensors_of(cell)
    sizes = {cell.input_size, cell.hidden_size, *(size for each in tensors.values() for size in each.shape)}
    batch = next(size for size in range(max(sizes) + 1, 4 * max(sizes) + 99) if size % 2 and size % 3 and size % 5)
    drawn = [_fresh(each) for each in tensors.values()]
    rows = cell.input_size if whole else _projected_rows(cell, tensors, drawn)
    x = torch.zeros(batch, rows, dtype=torch.double)
    state = []
    for name, part in zip(cell.states, cell.initial_state(1), strict=True):
        if not part.is_floating_point():
            raise UnsupportedError(f"the part {name} of its state is {str(part.dtype).removeprefix('torch.')}")
        state.append(torch.zeros(batch, part.shape[1], dtype=torch.double))

    def take(cell: Cell, x: Tensor, state: tuple[Tensor, ...]) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
        # The projection of all steps at once is that of one, without the axis of time that its annotation names.
        projected = inspect.unwrap(cells.Cell.project)(cell, x) if whole else x
        values = cell.activate(projected, state)
        return values, cell.update(values, state)

    def step(x: Tensor, state: list[Tensor], given: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        values, following = functional_call(_Applied(cell, take), _below(tensors, given), (x, tuple(state)))
        if len(following) != len(state):
            raise UnsupportedError(f"its state has {len(state)} parts and then {len(following)}")
        # A part that is handed on as it is would have the gradient of the part that it was, were it no copy.
        handed_on = [any(part is each for each in (x, *state)) for part in following]
        parts = [part.clone() if same else part for part, same in zip(following, handed_on, strict=True)]
        return parts, [values[name] for name in cell.blocks]

    with _as_reason("its step cannot be traced"):
        traced = _traced(functionalize(step), x, state, drawn)
        for node in _outputs(traced.graph):
            if node.meta["val"].dim() != 2 or node.meta["val"].shape[0] != batch:
                raise UnsupportedError("a part of its state or a block is not one vector for each sequence")
    weights, recurrence, examples = _cut(traced, 1 + len(state), batch)

    def joint(x: Tensor, state: list[Tensor], weights: list[Tensor], gradients: list[Tensor]) -> Any:
        following, blocks = recurrence(x, state, weights)
        wanted = [*following, x, *state, *weights]
        kinds = [each for each in wanted if each.requires_grad]
        found = iter(torch.autograd.grad(following, kinds, gradients, allow_unused=True))
        return following, blocks, [next(found) if each.requires_grad else None for each in wanted]

    def leaf(each: Tensor) -> Tensor:
        return torch.zeros(each.shape, dtype=each.dtype).requires_grad_(each.is_floating_point())

    with _as_reason("its derivative cannot be traced"):
        arguments = (
            leaf(x), list(map(leaf, state)), list(map(leaf, examples)), [torch.zeros_like(part) for part in state]
        )  # fmt: skip
        derived = _traced(joint, *arguments)
    derived.graph.eliminate_dead_code()
    return StepGraph(whole, batch, weights, derived.graph, len(state), len(cell.blocks))


def _traced(function: Callable[..., Any], *arguments: Any) -> fx.GraphModule:
    trace = functools.partial(make_fx, tracing_mode="fake", decomposition_table=_decompositions())
    found = trace(function)(*arguments)
    if any(_writes(node) for node in found.graph.nodes):
        # Some of torch's functions and derivatives write into tensors that they have made.
        found = trace(functionalize(found, remove="mutations"))(*arguments)
    return found


class _Applied(torch.nn.Module):
    """A function of a cell, for torch to call with other tensors in place of the cell's own."""

    def __init__(self, cell: Cell, function: Callable[..., Any]) -> None:
        super().__init__()
        self.cell = cell
        self.function = function

    def forward(self, *arguments: Any) -> Any:
        return self.function(self.cell, *arguments)


def _below(tensors: dict[str, Tensor], given: Sequence[Tensor]) -> dict[str, Tensor]:
    return {f"cell.{name}": each for name, each in zip(tensors, given, strict=True)}


@contextlib.contextmanager
def _as_reason(what: str) -> Iterator[None]:
    try:
        yield
    except UnsupportedError:
        raise
    except BaseException as error:
        # A user's equations and torch raise anything; some end the process.
        if is_stop(error):
            raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UnsupportedError(f"{what}: {lines[0][:200]}") from error


def _fresh(each: Tensor) -> Tensor:
    dtype = torch.double if each.is_floating_point() else each.dtype
    return torch.zeros(each.shape, dtype=dtype)


def _projected_rows(cell: Cell, tensors: dict[str, Tensor], drawn: list[Tensor]) -> int:
    with _as_reason("its projection cannot be traced"):
        inputs = torch.zeros(2, 1, cell.input_size, dtype=torch.double)
        projected = functional_call(_Applied(cell, type(cell).project), _below(tensors, drawn), (inputs,))
        if projected.dim() != 3:
            raise UnsupportedError("its projection has not the shape (time, batch, rows)")
        return projected.shape[2]


@functools.cache
def _decompositions() -> dict[Any, Any]:
    aten = torch.ops.aten
    further = [
        aten.native_layer_norm, aten.native_layer_norm_backward, aten._softmax, aten._softmax_backward_data,
        aten._log_softmax, aten._log_softmax_backward_data, aten.linalg_vector_norm, aten.leaky_relu,
        aten.leaky_relu_backward, aten.elu, aten.elu_backward, aten.gelu, aten.gelu_backward, aten.copy,
    ]  # fmt: skip
    table = {**core_aten_decompositions(), **get_decompositions(further)}
    # Its decomposition writes into zeros; as one operation it is read as zeros on both sides.
    table.pop(aten.slice_backward.default, None)
    return table


def _outputs(graph: fx.Graph) -> list[fx.Node]:
    (output,) = [node for node in graph.nodes if node.op == "output"]
    return list(output.all_input_nodes)


def _writes(node: fx.Node) -> bool:
    """Return whether an operation changes one of its arguments."""
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _cut(
    traced: fx.GraphModule, rows: int, batch: int
) -> tuple[Callable[..., list[Tensor]], Callable[..., Any], list[Tensor]]:
    """Part the traced step into what no sequence changes and the recurrence.

    Args:
        traced: Graph ``(x, states, tensors of the cell) -> (next states, blocks)``.
        rows: Number of its first arguments that differ between sequences.
        batch: See :class:`StepGraph`.

    Returns:
        The function that computes the weights, the recurrence ``(x, states, weights)``, and an example of each weight.
    """
    graph = traced.graph
    if any(_writes(node) for node in graph.nodes):
        raise UnsupportedError("its step writes into a parameter or a buffer")
    graph.eliminate_dead_code()
    if any(node.op == "get_attr" for node in graph.nodes):
        raise UnsupportedError("its step holds a tensor of its own, or writes into one")
    places = [node for node in graph.nodes if node.op == "placeholder"]
    moving = set(places[:rows])
    for node in graph.nodes:
        if node.op in ("placeholder", "output"):
            continue
        shaped = isinstance(node.meta.get("val"), Tensor) and batch in node.meta["val"].shape
        if shaped or any(each in moving for each in node.all_input_nodes):
            moving.add(node)
    read = [
        node
        for node in graph.nodes
        if node not in moving and node.op != "output" and any(user in moving for user in node.users)
    ]
    (output,) = [node for node in graph.nodes if node.op == "output"]
    if stray := [node for node in output.all_input_nodes if node not in moving]:
        raise UnsupportedError(f"a part of its state or a block does not depend on the input or the state ({stray[0]})")

    fixed = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in places[rows:]:
        copies[node] = fixed.placeholder(node.name)
    for node in graph.nodes:
        if node not in moving and node.op not in ("placeholder", "output"):
            copies[node] = fixed.node_copy(node, lambda each: copies[each])
    fixed.output([copies[node] for node in read])
    fixed.eliminate_dead_code()

    loop = fx.Graph()
    inside: dict[fx.Node, fx.Node] = {}
    for node in [*places[:rows], *read]:
        inside[node] = loop.placeholder(node.name)
    for node in graph.nodes:
        if node in moving and node.op != "placeholder":
            inside[node] = loop.node_copy(node, lambda each: inside[each])
    loop.output(map_arg(output.args[0], lambda each: inside[each]))
    module = fx.GraphModule(traced, loop)
    out_spec = traced.graph._codegen.pytree_info.out_spec  # type: ignore[attr-defined]

    def recurrence(x: Tensor, state: Sequence[Tensor], weights: Sequence[Tensor]) -> Any:
        return pytree.tree_unflatten(module(x, *state, *weights), out_spec)

    examples = [node.meta["val"] for node in read]
    return fx.GraphModule(traced, fixed), recurrence, examples
