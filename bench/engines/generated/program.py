"""The order in which a step is computed: matrix products, and loops between them.

Products with a matrix are made over all rows at once. What lies between them, number by number, is gathered into
clusters, each one loop that keeps its values in registers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.engines.generated.values import (
    Joined,
    Leaf,
    Pointwise,
    Product,
    Reduction,
    Value,
    View,
    computed,
    in_order,
    operands_of,
)


@dataclass(frozen=True)
class Store:
    """A place in memory that a value goes to.

    Attributes:
        place: Name of the place in the generated code.
        width: Numbers of a row of the place.
        offset: Where in the row the value begins.
        guard: Name of the pointer without which nothing is stored; "" for a place that is always there.
        optional: Whether what only this place needs is not computed without it.
        local: Whether the place belongs to the thread, which may read it again.
    """

    place: str
    width: int
    offset: int = 0
    guard: str = ""
    optional: bool = False
    local: bool = False


@dataclass
class Cluster:
    """Values of one width that one loop computes.

    Attributes:
        width: Numbers for each sequence.
        guard: Pointer without which the loop is left out; "" if it always runs.
        values: The values, each after what it is made of.
        reductions: Sums and maxima over the width that the loop makes, for later stages.
    """

    width: int
    guard: str
    values: list[Pointwise] = field(default_factory=list)
    reductions: list[Reduction] = field(default_factory=list)


@dataclass
class Stage:
    """What is computed together: first the products, then the clusters.

    Attributes:
        products: The products, each with its guard, as a cluster has one.
        clusters: The clusters.
    """

    products: list[tuple[Product, str]] = field(default_factory=list)
    clusters: list[Cluster] = field(default_factory=list)


@dataclass
class Program:
    """The order in which a step is computed.

    Attributes:
        stages: What is computed, in order.
        stores: For each value the places that it goes to.
        homes: For each value that is read from memory the place where it is.
        buffers: Width of a row of every local place that the program has made.
    """

    stages: list[Stage]
    stores: dict[Value, list[Store]]
    homes: dict[Value, Store]
    buffers: dict[str, int]


def schedule(outputs: Sequence[tuple[Value, Store]]) -> Program:
    """Order the computation of some values.

    Args:
        outputs: Values and the places that they go to.
    """
    stores: dict[Value, list[Store]] = {}
    homes: dict[Value, Store] = {}
    guards: dict[Value, set[str]] = {}
    for value, store in outputs:
        # A product writes whole rows, and a reduction one number: neither goes into a part of a place.
        if store.local and (isinstance(value, Pointwise | Joined) or (store.offset, store.width) == (0, value.width)):
            homes.setdefault(value, store)
        guards.setdefault(value, set()).add(store.guard if store.optional else "")
        if isinstance(value, Product) and homes.get(value) is store:
            continue
        at = store.offset
        for each in value.pieces if isinstance(value, Joined) else [computed(value)]:
            stores.setdefault(each, []).append(dataclasses.replace(store, offset=at))
            guards.setdefault(each, set()).add(store.guard if store.optional else "")
            at += each.width
    values = in_order([*(value for value, _ in outputs), *stores])
    readers: dict[Value, list[Value]] = {value: [] for value in values}
    for value in values:
        for each in operands_of(value):
            readers[each].append(value)
    for value in reversed(values):
        guards.setdefault(value, set()).update(*(guards[reader] for reader in readers[value]))
    guard = {value: next(iter(found)) if len(found) == 1 else "" for value, found in guards.items()}

    def together(value: Value, reader: Value) -> bool:
        """Return whether a reader takes a value from a register if both are in one stage."""
        if not isinstance(value, Pointwise):
            return False
        if isinstance(reader, Reduction):
            return True
        return isinstance(reader, Pointwise) and reader.width == value.width and guard[reader] == guard[value]

    stage = _stages(values, readers, together)
    buffers: dict[str, int] = {}

    def settle(value: Value) -> None:
        if value not in homes:
            name = f"v{len(buffers)}"
            buffers[name] = value.width
            homes[value] = Store(name, value.width, local=True)

    for value in values:
        match value:
            case Leaf():
                homes[value] = Store(value.name, value.width)
            case View():
                base = homes[value.base]
                homes[value] = dataclasses.replace(base, offset=base.offset + value.offset)
            case Product() | Reduction():
                settle(value)
            case Joined() if readers[value]:
                if value not in homes:
                    settle(value)
                    at = 0
                    for each in value.pieces:
                        stores.setdefault(each, []).append(dataclasses.replace(homes[value], offset=at))
                        at += each.width
            case _:
                pass
    for value in values:
        if isinstance(value, Pointwise):
            read = [each for each in readers[value] if not isinstance(each, Joined)]
            if any(not together(value, each) or stage[each] != stage[value] for each in read):
                local = [store for store in stores.get(value, []) if store.local and not store.guard]
                if local:
                    homes.setdefault(value, local[0])
                if value not in homes:
                    settle(value)
                    stores.setdefault(value, []).append(homes[value])

    stages = [Stage() for _ in range(max(stage.values(), default=0) + 1)]
    clusters: dict[tuple[int, int, str], Cluster] = {}
    for value in values:
        if isinstance(value, Product):
            stages[stage[value]].products.append((value, guard[value]))
        elif isinstance(value, Pointwise):
            key = (stage[value], value.width, guard[value])
            if key not in clusters:
                clusters[key] = Cluster(value.width, guard[value])
                stages[stage[value]].clusters.append(clusters[key])
            clusters[key].values.append(value)
        elif isinstance(value, Reduction):
            clusters[stage[value.of], value.of.width, guard[value.of]].reductions.append(value)
    return Program(stages, stores, homes, buffers)


def _stages(
    values: list[Value], readers: dict[Value, list[Value]], together: Callable[[Value, Value], bool]
) -> dict[Value, int]:
    """Return the stage of every value; for what is in memory or is put together there, when it is whole."""
    stage: dict[Value, int] = {}
    for value in values:
        match value:
            case Leaf():
                stage[value] = -1
            case View():
                stage[value] = stage[value.base]
            case Joined():
                stage[value] = max(stage[each] for each in value.pieces)
            case Reduction():
                stage[value] = stage[value.of]
            case Product():
                stage[value] = max(stage[left] for left, _ in value.terms) + 1
            case Pointwise():
                stage[value] = max(
                    [0, *(_after(each, stage[each], together(each, value)) for each in operands_of(value))]
                )
    # What a loop computes goes to the stage of those who read it, where they take it from registers.
    for value in reversed(values):
        if isinstance(value, Pointwise | Joined | Reduction) and readers[value]:
            latest = min(
                stage[reader] if together(value, reader) or isinstance(reader, Joined) else stage[reader] - 1
                for reader in readers[value]
            )
            stage[value] = max(stage[value], latest)
    for value in values:
        if isinstance(value, Reduction):
            stage[value] = stage[value.of]
    return stage


def _after(value: Value, stage: int, together: bool) -> int:
    """Return the first stage in which a loop may read a value."""
    memory = isinstance(value, View | Leaf | Product)
    return stage if memory or together else stage + 1
