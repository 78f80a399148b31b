"""From the values of a step to its two programs, one forward and one back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, fx

from bench.engines.generated.program import Program, Store, schedule
from bench.engines.generated.read import Reading, Sum, shape_of
from bench.engines.generated.step_graph import StepGraph, UnsupportedError
from bench.engines.generated.values import (
    CHEAP,
    Joined,
    Leaf,
    Pointwise,
    Value,
    Vector,
    View,
    const,
    in_order,
    operands_of,
    replaced,
)


@dataclass(frozen=True)
class Outer:
    """A sum over sequences and steps of outer products, the gradient of a matrix.

    Attributes:
        group: Which place ``x<group>`` holds the left factors.
        offset: Where in the rows of ``y<group>`` the right factors begin.
        right: Numbers of a right factor.
        swapped: Whether the gradient is the transpose of the sum.
    """

    group: int
    offset: int
    right: int
    swapped: bool


@dataclass(frozen=True)
class Step:
    """A step in both directions, ready to be written down.

    Attributes:
        forward: The program forward: from ``x`` and ``s<i>``, the parts of the state, to ``n<i>``, the next ones,
            ``k<i>``, what is kept, and ``b<i>``, the blocks.
        backward: The program back: from these and ``d<i>``, the gradients of the next parts, to ``c<i>``, those of the
            parts, ``t<i>``, those of the next parts along all paths, ``g``, that of ``x``, and the sums.
        x: Numbers of an input.
        states: Numbers of each part of the state.
        blocks: Numbers of each block.
        kept: Numbers of each kept value.
        matrices: Which of the weights are right factors of products.
        vectors: Which of the weights are read number by number.
        derived: Function ``(weights) -> further weights``, for the backward pass.
        groups: For each group of outer products the numbers of a left factor and of all right factors.
        outers: The outer products.
        columns: Numbers of each sum over sequences and steps.
        gradients: Function ``(outer products, sums, all weights) -> gradients of the weights``; ``None`` for zero.
        has_input_gradient: Whether the gradient of ``x`` is more than zero.
    """

    forward: Program
    backward: Program
    x: int
    states: tuple[int, ...]
    blocks: tuple[int, ...]
    kept: tuple[int, ...]
    matrices: tuple[int, ...]
    vectors: tuple[int, ...]
    derived: Callable[..., list[Tensor]]
    groups: tuple[tuple[int, int], ...]
    outers: tuple[Outer, ...]
    columns: tuple[int, ...]
    gradients: Callable[..., list[Tensor | None]]
    has_input_gradient: bool


def lower(graph: StepGraph) -> Step:
    """Turn the graph of a step into programs.

    Raises:
        UnsupportedError: An operation has no place in generated code; the text names it.
    """
    reading, states = Reading(graph), graph.states
    (output,) = [node for node in graph.joint.nodes if node.op == "output"]
    found = list(output.args[0])
    parts, rest = found[: states + graph.blocks], found[states + graph.blocks :]
    following = [reading.row(node) for node in parts[:states]]
    blocks = [reading.row(node) for node in parts[states:]]

    def gradient(node: fx.Node | None, of: Value) -> Value:
        return reading.row(node) if node is not None else const(0.0, of.width)

    taps = [gradient(node, part) for node, part in zip(rest[:states], following, strict=True)]
    of_x = reading.row(rest[states]) if rest[states] is not None else None
    of_states = [gradient(*pair) for pair in zip(rest[states + 1 : 2 * states + 1], following, strict=True)]
    late, sums = _late_graph(reading, rest[2 * states + 1 :])

    results: list[tuple[Value, Store]] = []
    groups, outers = _groups({node: pair for node, pair in reading.outer.items() if node in sums})
    for i, (left, rights) in enumerate(groups.items()):
        results.append((left, Store(f"x{i}", left.width, local=True)))
        at, total = 0, sum(each.width for each in rights)
        for right in rights:
            results.append((right, Store(f"y{i}", total, at, local=True)))
            at += right.width
    columns = list(dict.fromkeys(value for node, value in reading.column.items() if node in sums))
    results += [(value, Store(f"a{i}", value.width)) for i, value in enumerate(columns)]
    for i, (part, tap) in enumerate(zip(of_states, taps, strict=True)):
        results.append((part, Store(f"c{i}", part.width, local=True)))
        results.append((tap, Store(f"t{i}", tap.width, guard=f"t{i}")))
    if of_x is not None:
        results.append((of_x, Store("g", of_x.width, guard="g", optional=True)))

    kept, by = _kept([value for value, _ in results], following)
    forward = schedule([
        *((value, Store(f"n{i}", value.width)) for i, value in enumerate(following)),
        *((value, Store(f"b{i}", value.width, guard=f"b{i}")) for i, value in enumerate(blocks)),
        *((value, Store(f"k{i}", value.width, guard=f"k{i}")) for i, value in enumerate(kept)),
    ])  # fmt: skip
    anew = replaced([value for value, _ in results], by)
    backward = schedule([(value, store) for value, (_, store) in zip(anew, results, strict=True)])
    matrices, vectors = _weights_read(forward, backward)
    reading.derived.output([reading.derived_of[node] for node in reading.further])
    return Step(
        forward=forward,
        backward=backward,
        x=shape_of(next(iter(graph.joint.nodes)))[1],
        states=tuple(each.width for each in following),
        blocks=tuple(each.width for each in blocks),
        kept=tuple(each.width for each in kept),
        matrices=matrices,
        vectors=vectors,
        derived=fx.GraphModule({}, reading.derived),
        groups=tuple((left.width, sum(each.width for each in rights)) for left, rights in groups.items()),
        outers=outers,
        columns=tuple(each.width for each in columns),
        gradients=_in_shape(
            late,
            [shape_of(node) for node in reading.outer if node in sums],
            [(shape_of(node), columns.index(value)) for node, value in reading.column.items() if node in sums],
        ),
        has_input_gradient=of_x is not None,
    )


def _late_graph(reading: Reading, wanted: list[fx.Node | None]) -> tuple[fx.Graph, set[fx.Node]]:
    """Return the graph from sums and weights to the gradients of the weights, and the sums that it reads."""
    late = fx.Graph()
    places = {node: late.placeholder(node.name) for node in [*reading.outer, *reading.column]}
    copies = dict(places)
    for node in [*reading.weights, *reading.further]:
        copies[node] = late.placeholder(f"w_{node.name}")
    for node in reading.graph.joint.nodes:
        if isinstance(reading.env.get(node), Sum) and node not in copies:
            copies[node] = late.node_copy(node, lambda each: copies[each])
    if stray := [node for node in wanted if node is not None and node not in copies]:
        raise UnsupportedError(f"the gradient of a weight is {stray[0].target}")
    late.output([copies[node] if node is not None else None for node in wanted])
    late.eliminate_dead_code()
    for node, place in list(places.items()):
        if not place.users:
            late.erase_node(place)
            del places[node]
    return late, set(places)


def _groups(
    outer: dict[fx.Node, tuple[Value, Value]],
) -> tuple[dict[Value, list[Value]], tuple[Outer, ...]]:
    """Gather outer products with a factor in common, so that one product serves them."""
    # A value that is computed on the way back stands to the left: one gradient often meets several inputs.
    pairs = [
        (right, left, True) if isinstance(left, Leaf) and not isinstance(right, Leaf) else (left, right, False)
        for left, right in outer.values()
    ]
    groups: dict[Value, list[Value]] = {}
    for one, other, _ in pairs:
        groups.setdefault(one, [])
        if other not in groups[one]:
            groups[one].append(other)
    order = list(groups)

    def offset(one: Value, other: Value) -> int:
        return sum(each.width for each in groups[one][: groups[one].index(other)])

    outers = [Outer(order.index(one), offset(one, other), other.width, swapped) for one, other, swapped in pairs]
    return groups, tuple(outers)


def _kept(results: list[Value], following: list[Value]) -> tuple[list[Value], dict[Value, Leaf]]:
    """Choose the values of the forward pass that the backward pass reads rather than computes again.

    Args:
        results: What the backward pass gives.
        following: The next state.

    Returns:
        The values to keep, and for each value that the backward pass finds in memory the place where it is.
    """
    by: dict[Value, Leaf] = {value: Leaf(f"n{i}", value.width) for i, value in enumerate(following)}
    order = in_order(results)
    late: set[Value] = {value for value in order if isinstance(value, Leaf) and value.name.startswith("d")}
    for value in order:
        if any(each in late for each in operands_of(value)):
            late.add(value)
    asked = {value: None for value in order if value not in late and value in results}
    for value in order:
        if value in late:
            asked |= {each: None for each in operands_of(value) if each not in late}
    # What is joined is put together again from its pieces.
    for value in list(asked):
        if isinstance(value, Joined):
            asked |= dict.fromkeys(value.pieces)
    kept: list[Value] = []
    there: set[Value] = set(by)

    def again(value: Value) -> bool:
        """Return whether the backward pass can compute a value from what is in memory, by cheap operations."""
        if isinstance(value, Leaf) or value in there:
            return True
        if isinstance(value, Pointwise):
            return value.operation in CHEAP and all(again(each) for each in operands_of(value))
        return isinstance(value, Joined) and all(again(each) for each in value.pieces)

    def in_memory(value: Value) -> bool:
        if isinstance(value, View):
            return value in there or in_memory(value.base)
        return isinstance(value, Leaf) or value in there

    def keep(value: Value) -> None:
        by[value] = Leaf(f"k{len(kept)}", value.width)
        kept.append(value)
        there.add(value)

    ordered = [value for value in order if value in asked]
    costly = [v for v in ordered if not (isinstance(v, Joined) or (isinstance(v, Pointwise) and v.operation in CHEAP))]
    for value in costly:
        if not in_memory(value):
            keep(value)
    for value in ordered:
        if isinstance(value, Pointwise) and not again(value):
            keep(value)
    return kept, by


def _weights_read(*programs: Program) -> tuple[tuple[int, ...], tuple[int, ...]]:
    matrices: set[int] = set()
    vectors: set[int] = set()
    for program in programs:
        for stage in program.stages:
            for product, _ in stage.products:
                matrices |= {index for _, index in product.terms}
            for cluster in stage.clusters:
                for value in cluster.values:
                    vectors |= {each.index for each in value.operands if isinstance(each, Vector)}
    return tuple(sorted(matrices)), tuple(sorted(vectors))


def _in_shape(
    late: fx.Graph, outers: list[tuple[int, ...]], columns: list[tuple[tuple[int, ...], int]]
) -> Callable[..., list[Tensor | None]]:
    """Return the function of a graph from sums to gradients, which gives each sum the shape that the graph knows.

    Args:
        late: The graph.
        outers: Shapes of the sums of outer products.
        columns: Shape of every other sum, and which of the sums over sequences and steps it is.
    """
    module = fx.GraphModule({}, late)

    def gradients(products: list[Tensor], sums: list[Tensor], weights: list[Tensor]) -> list[Tensor | None]:
        shaped = [each.reshape(shape) for each, shape in zip(products, outers, strict=True)]
        return module(*shaped, *(sums[index].reshape(shape) for shape, index in columns), *weights)

    return gradients
