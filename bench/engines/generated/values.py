"""What a step computes, for generated code: values, each one vector for each sequence, ``(batch, width)``."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Vector:
    """A weight that all sequences share, along the width or, with ``single``, one number.

    Attributes:
        index: Which of the weights.
        offset: Its first number that is read.
        single: Whether one number stands for all.
    """

    index: int
    offset: int = 0
    single: bool = False


@dataclass(eq=False, frozen=True)
class Leaf:
    """A value that is in memory before the step: the input, a part of the state, a gradient, or a value that was kept.

    Attributes:
        name: Its name in the generated code.
        width: Numbers for each sequence.
    """

    name: str
    width: int


@dataclass(eq=False, frozen=True)
class Pointwise:
    """A value that is computed number by number.

    Attributes:
        operation: ``copy``, ``const``, one with a sign in ``emit.py``, or ``f`` for ``f_of`` in ``runtime.h``.
        operands: Values of the same width or of width 1, weights, and numbers.
        width: Numbers for each sequence.
    """

    operation: str
    operands: tuple[Value | Vector | float, ...]
    width: int


@dataclass(eq=False, frozen=True)
class Product:
    """A sum of matrix products.

    Attributes:
        terms: For each product the left factor and which of the weights is the right one, ``(width of left, width)``.
        width: Numbers for each sequence.
    """

    terms: tuple[tuple[Value, int], ...]
    width: int


@dataclass(eq=False, frozen=True)
class View:
    """A piece of another value.

    Attributes:
        base: The value that is in memory.
        offset: Its first number that belongs to the piece.
        width: Numbers for each sequence.
    """

    base: Leaf | Product
    offset: int
    width: int


@dataclass(eq=False, frozen=True)
class Joined:
    """Values side by side.

    Attributes:
        pieces: The values; what is in memory already is copied.
        width: The sum of their widths.
    """

    pieces: tuple[Pointwise, ...]
    width: int


@dataclass(eq=False, frozen=True)
class Reduction:
    """One number for each sequence out of all numbers of a value.

    Attributes:
        operation: ``sum`` or ``max``.
        of: The value.
        width: 1.
    """

    operation: str
    of: Pointwise
    width: int = 1


Value = Leaf | Pointwise | Product | View | Joined | Reduction

CHEAP = {
    "add", "sub", "mul", "neg", "abs", "copy", "const", "square", "maximum", "minimum", "relu",
    "where", "gt", "ge", "lt", "le", "eq", "ne", "both", "either", "flip",
}  # fmt: skip
"""Operations that the backward pass does again; it reads what all others gave."""


def pointwise(operation: str, *operands: Value | Vector | float, width: int) -> Value:
    """Return the value of an operation; joined operands are taken apart, so that the result is joined instead."""
    values = [each for each in operands if not isinstance(each, Vector | int | float)]
    cuts = sorted({0, width, *(end for each in values if isinstance(each, Joined) for end in _ends(each))})
    if len(cuts) > 2:
        return joined(
            pointwise(operation, *(_piece(each, start, end - start, width) for each in operands), width=end - start)
            for start, end in itertools.pairwise(cuts)
        )
    zeros = [each for each in values if _is_zero(each)]
    others = [each for each in values if not _is_zero(each)]
    if operation == "add" and zeros and len(values) == 2:
        kept = (others or zeros)[0]
        if kept.width == width:
            return kept
    if operation == "mul" and zeros:
        return const(0.0, width)
    return Pointwise(operation, tuple(operands), width)


def const(number: float, width: int) -> Pointwise:
    """Return a value that is one number everywhere."""
    return Pointwise("const", (float(number),), width)


def _is_zero(each: Value | Vector | float) -> bool:
    return isinstance(each, Pointwise) and each.operation == "const" and each.operands == (0.0,)


def _ends(value: Joined) -> list[int]:
    ends, at = [], 0
    for each in value.pieces:
        at += each.width
        ends.append(at)
    return ends


def _piece(value: Value | Vector | float, offset: int, width: int, whole: int) -> Value | Vector | float:
    """Return a piece of an operand of an operation over ``whole`` numbers."""
    if isinstance(value, int | float):
        return value
    if isinstance(value, Vector):
        return value if value.single else Vector(value.index, value.offset + offset)
    return value if value.width == 1 and whole > 1 else view(value, offset, width)


def view(value: Value, offset: int, width: int) -> Value:
    """Return a piece of a value; a piece of what is computed number by number is computed for itself."""
    if offset == 0 and width == value.width:
        return value
    return _view(value, offset, width)


@functools.lru_cache(maxsize=4096)
def _view(value: Value, offset: int, width: int) -> Value:
    match value:
        case View():
            return view(value.base, value.offset + offset, width)
        case Pointwise():
            operands = [_piece(each, offset, width, value.width) for each in value.operands]
            return Pointwise(value.operation, tuple(operands), width)
        case Joined():
            found, at = [], 0
            for each in value.pieces:
                start, end = max(offset, at), min(offset + width, at + each.width)
                if start < end:
                    found.append(view(each, start - at, end - start))
                at += each.width
            return joined(found)
        case Reduction():
            raise AssertionError("a reduction has one number")
        case Leaf() | Product():
            return View(value, offset, width)


def joined(pieces: Iterable[Value]) -> Value:
    """Return values side by side as one."""
    flat: list[Value] = []
    for each in pieces:
        flat += each.pieces if isinstance(each, Joined) else [each]
    if len(flat) == 1:
        return flat[0]
    return Joined(tuple(map(computed, flat)), sum(each.width for each in flat))


def computed(value: Value) -> Pointwise:
    """Return a value as one that a loop computes, which is a copy of what is in memory."""
    return value if isinstance(value, Pointwise) else Pointwise("copy", (value,), value.width)


def reduced(operation: str, value: Value) -> Value:
    """Return the sum or the maximum of a value over its width."""
    parts: list[Value] = [
        Reduction(operation, computed(each)) for each in (value.pieces if isinstance(value, Joined) else [value])
    ]
    between = {"sum": "add", "max": "maximum"}[operation]
    return functools.reduce(lambda one, other: pointwise(between, one, other, width=1), parts)


def operands_of(value: Value) -> list[Value]:
    """Return the values that a value is made of."""
    match value:
        case Leaf():
            return []
        case Pointwise():
            return [each for each in value.operands if not isinstance(each, Vector | int | float)]
        case Product():
            return [left for left, _ in value.terms]
        case View():
            return [value.base]
        case Joined():
            return list(value.pieces)
        case Reduction():
            return [value.of]


def in_order(roots: Iterable[Value]) -> list[Value]:
    """Return the values and all that they are made of, each after what it is made of."""
    found: dict[Value, None] = {}
    stack = [(root, False) for root in reversed(list(roots))]
    while stack:
        value, done = stack.pop()
        if value in found:
            continue
        if done:
            found[value] = None
            continue
        stack.append((value, True))
        stack += [(each, False) for each in operands_of(value)]
    return list(found)


def replaced(roots: Sequence[Value], by: dict[Value, Leaf]) -> list[Value]:
    """Return the values made anew with some of those that they rest on replaced by others."""
    made: dict[Value, Value] = {}

    def new(value: Value | Vector | float) -> Value | Vector | float:
        return value if isinstance(value, Vector | int | float) else made[value]

    pending = list(reversed(roots))
    while pending:
        value = pending[-1]
        if value in made:
            pending.pop()
            continue
        if value in by:
            made[value] = by[value]
            continue
        missing = [each for each in operands_of(value) if each not in made]
        if missing:
            pending += missing
            continue
        match value:
            case Leaf():
                made[value] = value
            case Pointwise():
                made[value] = Pointwise(value.operation, tuple(map(new, value.operands)), value.width)
            case Product():
                made[value] = Product(tuple((made[left], index) for left, index in value.terms), value.width)
            case View():
                made[value] = view(made[value.base], value.offset, value.width)
            case Joined():
                made[value] = joined(made[each] for each in value.pieces)
            case Reduction():
                made[value] = Reduction(value.operation, computed(made[value.of]))
    return [made[root] for root in roots]
