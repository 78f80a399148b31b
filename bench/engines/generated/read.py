"""From the graph of a step to values, one operation after another."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx

from bench.engines.generated.step_graph import StepGraph, UnsupportedError
from bench.engines.generated.values import (
    Leaf,
    Pointwise,
    Product,
    Value,
    Vector,
    const,
    joined,
    pointwise,
    reduced,
    view,
)

aten = torch.ops.aten

UNARY = {
    aten.neg.default: "neg", aten.sigmoid.default: "sigmoid", aten.tanh.default: "tanh", aten.relu.default: "relu",
    aten.exp.default: "exp", aten.expm1.default: "expm1", aten.log.default: "log", aten.log1p.default: "log1p",
    aten.sqrt.default: "sqrt", aten.rsqrt.default: "rsqrt", aten.reciprocal.default: "reciprocal",
    aten.abs.default: "abs", aten.sign.default: "sign", aten.sin.default: "sin", aten.cos.default: "cos",
    aten.atan.default: "atan", aten.erf.default: "erf", aten.floor.default: "floor",
    aten.logical_not.default: "flip", aten.bitwise_not.default: "flip",
}  # fmt: skip
BINARY = {
    aten.mul.Tensor: "mul", aten.mul.Scalar: "mul", aten.div.Tensor: "div", aten.div.Scalar: "div",
    aten.maximum.default: "maximum", aten.minimum.default: "minimum", aten.pow.Tensor_Tensor: "pow",
    aten.gt.Scalar: "gt", aten.gt.Tensor: "gt", aten.ge.Scalar: "ge", aten.ge.Tensor: "ge",
    aten.lt.Scalar: "lt", aten.lt.Tensor: "lt", aten.le.Scalar: "le", aten.le.Tensor: "le",
    aten.eq.Scalar: "eq", aten.eq.Tensor: "eq", aten.ne.Scalar: "ne", aten.ne.Tensor: "ne",
    aten.logical_and.default: "both", aten.bitwise_and.Tensor: "both",
    aten.logical_or.default: "either", aten.bitwise_or.Tensor: "either",
}  # fmt: skip
SAME = {
    aten.alias.default, aten.clone.default, aten.detach.default, aten.lift_fresh_copy.default, aten._to_copy.default,
    aten.contiguous.default,
}  # fmt: skip
RESHAPES = {aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.unsqueeze.default,
            aten.squeeze.dim, aten.squeeze.dims, aten.expand.default}  # fmt: skip
LINEAR = {
    *SAME, *RESHAPES, aten.permute.default, aten.t.default, aten.add.Tensor, aten.sub.Tensor, aten.neg.default,
    aten.mul.Tensor, aten.mul.Scalar, aten.div.Tensor, aten.div.Scalar, aten.sum.dim_IntList, aten.sum.default,
    aten.slice.Tensor, aten.slice_backward.default, aten.cat.default, aten.constant_pad_nd.default,
}  # fmt: skip
"""Operations on gradients of weights that may be done once, to the sums over all steps."""


@dataclass(frozen=True)
class Weight:
    """What no sequence changes.

    Attributes:
        index: Its number among the weights and what the graph makes of them.
    """

    index: int


@dataclass(frozen=True)
class Transposed:
    """A value with the sequences last."""

    value: Value


class Sum:
    """A gradient of weights, which is summed up over the steps."""


class Reading:
    """What the nodes of a step's graph stand for.

    Args:
        graph: The graph.

    Attributes:
        env: For each node a value, a :class:`Weight`, a :class:`Transposed`, a :class:`Sum`, or a list of values.
        outer: Nodes that are sums over the sequences of outer products, with the factors.
        column: Nodes that are sums of a value over the sequences.
        weights: Nodes of the weights.
        further: Nodes that the graph makes of weights alone.
        derived: The graph ``weights -> further``; its output is still to be set.
        derived_of: The node in ``derived`` for each of these nodes.

    Raises:
        UnsupportedError: An operation has no place in generated code; the text names it.
    """

    def __init__(self, graph: StepGraph) -> None:
        self.graph = graph
        self.env: dict[fx.Node, Any] = {}
        self.outer: dict[fx.Node, tuple[Value, Value]] = {}
        self.column: dict[fx.Node, Value] = {}
        self.weights: list[fx.Node] = []
        self.further: list[fx.Node] = []
        self.derived = fx.Graph()
        self.derived_of: dict[fx.Node, fx.Node] = {}
        self._added_once: set[Product] = set()
        states = graph.states
        places = [node for node in graph.joint.nodes if node.op == "placeholder"]
        self.env[places[0]] = Leaf("x", shape_of(places[0])[1])
        for i in range(states):
            self.env[places[1 + i]] = Leaf(f"s{i}", shape_of(places[1 + i])[1])
            self.env[places[i - states]] = Leaf(f"d{i}", shape_of(places[i - states])[1])
        self.weights = places[1 + states : -states]
        for index, node in enumerate(self.weights):
            self.env[node] = Weight(index)
            self.derived_of[node] = self.derived.placeholder(f"w{index}")
        for node in graph.joint.nodes:
            if node.op == "call_function":
                self.env[node] = self._read(node)
            elif node.op not in ("placeholder", "output"):
                raise UnsupportedError(f"its step reads {node.target}")

    def row(self, node: Any) -> Value:
        """Return the value of a node that has one vector for each sequence.

        Raises:
            UnsupportedError: It has not.
        """
        value = self.env[node]
        if not isinstance(value, Value):
            raise UnsupportedError(f"{node.target} is not one vector for each sequence")
        return value

    def _read(self, node: fx.Node) -> Any:
        """Return what a node of the graph stands for."""
        target, args = node.target, node.args
        if target is operator.getitem:
            return self.env[args[0]][args[1]]  # type: ignore[index]
        known = [self.env[each] for each in node.all_input_nodes]
        if any(isinstance(each, Sum) for each in known):
            if target not in LINEAR or any(not isinstance(each, Sum | Weight) for each in known):
                raise UnsupportedError(f"a gradient of its weights goes through {target}")
            if target in (aten.mul.Tensor, aten.div.Tensor) and all(isinstance(each, Sum) for each in known):
                raise UnsupportedError(f"a gradient of its weights goes through {target}")
            return Sum()
        number = self._constant(node)
        if number is not None:
            return number
        if all(isinstance(each, Weight) for each in known) and self.graph.batch not in shape_of(node):
            self.derived_of[node] = self.derived.node_copy(node, lambda each: self.derived_of[each])
            self.further.append(node)
            return Weight(len(self.weights) + len(self.further) - 1)
        shape = shape_of(node)
        batch = self.graph.batch
        if target in (aten.permute.default, aten.t.default):
            value = self.env[args[0]]  # type: ignore[index]
            return value.value if isinstance(value, Transposed) else Transposed(self.row(args[0]))
        if target is aten.mm.default:
            return self._product(node, args[0], args[1])
        if target is aten.addmm.default:
            if node.kwargs:
                raise UnsupportedError("aten.addmm has factors")
            product = self._product(node, args[1], args[2])
            if not isinstance(product, Product):
                raise UnsupportedError("aten.addmm adds to a gradient")
            self._added_once.add(product)
            return pointwise("add", product, self._operand(args[0], product.width), width=product.width)
        if target in (aten.sum.dim_IntList, aten.sum.default, aten.mean.dim, aten.mean.default,
                      aten.var.correction, aten.var_mean.correction, aten.amax.default):  # fmt: skip
            return self._sum(node)
        if target in (aten.split_with_sizes.default, aten.split.Tensor):
            return self._split(node)
        if not isinstance(node.meta["val"], Tensor):
            raise UnsupportedError(f"{target} has no place in generated code")
        if not (node.meta["val"].is_floating_point() or node.meta["val"].dtype is torch.bool):
            raise UnsupportedError(
                f"{target} makes numbers of type {str(node.meta['val'].dtype).removeprefix('torch.')}"
            )
        if len(shape) != 2 or shape[0] != batch:
            raise UnsupportedError(f"{target} makes a tensor of the shape {_words(shape, batch)}")
        return self._row_operation(node, shape[1])

    def _row_operation(self, node: fx.Node, width: int) -> Value:
        target, args = node.target, node.args
        if target in SAME:
            return self.row(args[0])
        if target is aten.copy.default:
            return pointwise("copy", self._operand(args[1], width), width=width)
        if target in RESHAPES:
            if isinstance(self.env[args[0]], Weight):  # type: ignore[index]
                return pointwise("copy", self._operand(args[0], width), width=width)
            value = self.row(args[0])
            if value.width == width:
                return value
            if value.width == 1:
                return pointwise("copy", value, width=width)
            raise UnsupportedError(f"{target} makes another shape")
        if target is aten.cat.default:
            if (args[1] if len(args) > 1 else 0) not in (1, -1):
                raise UnsupportedError("aten.cat joins sequences")
            return joined(self.row(each) for each in args[0])  # type: ignore[union-attr]
        if target is aten.slice.Tensor:
            dim, start, _, step = (*args[1:], *(0, 0, None, 1)[len(args) - 1 :])
            value = self.row(args[0])
            if dim in (1, -1) and step == 1:
                start = start if start >= 0 else start + value.width  # type: ignore[operator]
                return view(value, start, width)  # type: ignore[arg-type]
            if value.width == width and step == 1:
                return value
            raise UnsupportedError("aten.slice takes some of the sequences, or numbers apart")
        if target is aten.slice_scatter.default:
            dim, start, _, step = cast(
                tuple[int, int | None, Any, int], (*args[2:], *(0, None, None, 1)[len(args) - 2 :])
            )
            whole, part = self.row(args[0]), self.row(args[1])
            if dim not in (1, -1) or step != 1:
                raise UnsupportedError("aten.slice_scatter takes some of the sequences, or numbers apart")
            first = (start or 0) % width
            after = first + part.width
            before = [view(whole, 0, first)] if first else []
            return joined([*before, part, *([view(whole, after, width - after)] if after < width else [])])
        if target is aten.slice_backward.default:
            _, _, dim, start, _, step = args
            value = self.row(args[0])
            if dim not in (1, -1) or step != 1:
                raise UnsupportedError("aten.slice takes some of the sequences, or numbers apart")
            return self._padded(value, start, width)  # type: ignore[arg-type]
        if target is aten.constant_pad_nd.default and len(args[1]) == 2 and not (args[2] if len(args) > 2 else 0):  # type: ignore[arg-type]
            return self._padded(self.row(args[0]), args[1][0], width)  # type: ignore[index]
        if target in UNARY:
            return pointwise(UNARY[target], self._operand(args[0], width), width=width)  # type: ignore[index]
        if target in BINARY:
            return pointwise(BINARY[target], *(self._operand(each, width) for each in args[:2]), width=width)  # type: ignore[index]
        if target in (aten.add.Tensor, aten.add.Scalar, aten.sub.Tensor, aten.sub.Scalar, aten.rsub.Scalar):
            return self._added(node, width)
        if target is aten.where.self:
            return pointwise("where", *(self._operand(each, width) for each in args), width=width)
        if target is aten.pow.Tensor_Scalar:
            return _power(self._operand(args[0], width), float(args[1]), width)  # type: ignore[arg-type]
        if target in (aten.clamp.default, aten.clamp.Tensor, aten.hardtanh.default):
            value, bounds = self.row(node.args[0]), list(node.args[1:])
            if target is aten.hardtanh.default and not bounds:
                bounds = [-1.0, 1.0]
            for bound, operation in zip(bounds, ("maximum", "minimum"), strict=False):
                if bound is not None:
                    value = pointwise(operation, value, self._operand(bound, width), width=width)
            return value
        raise UnsupportedError(f"{target} has no place in generated code")

    def _constant(self, node: fx.Node) -> Value | None:
        """Return the value of a node that is one number for all sequences, if it is one."""
        target, args, shape = node.target, node.args, shape_of(node)
        numbers = {aten.full.default: 1, aten.full_like.default: 1, aten.zeros_like.default: 0.0,
                   aten.ones_like.default: 1.0, aten.zeros.default: 0.0, aten.ones.default: 1.0,
                   aten.new_zeros.default: 0.0, aten.new_full.default: 2}  # fmt: skip
        if target not in numbers or len(shape) != 2 or shape[0] != self.graph.batch:
            return None
        number = numbers[target]  # type: ignore[index]
        return const(float(args[number] if isinstance(number, int) else number), shape[1])  # type: ignore[arg-type, index]

    def _operand(self, each: Any, width: int) -> Value | Vector | float:
        if isinstance(each, bool | int | float):
            return float(each)
        value, shape = self.env[each], shape_of(each)
        if isinstance(value, Weight):
            count = each.meta["val"].numel()
            if count == 1:
                return Vector(value.index, single=True)
            if count == width and shape[-1] == width:
                return Vector(value.index)
            raise UnsupportedError(f"a weight of the shape {shape} meets values of width {width}")
        row = self.row(each)
        if row.width not in (1, width):
            raise UnsupportedError(f"values of width {row.width} meet values of width {width}")
        return row

    def _product(self, node: fx.Node, left: Any, right: Any) -> Product | Sum:
        one, other = self.env[left], self.env[right]
        if isinstance(one, Value) and isinstance(other, Weight):
            product = Product(((one, other.index),), shape_of(right)[1])
            if len(node.users) == 1:
                self._added_once.add(product)
            return product
        if isinstance(one, Transposed) and isinstance(other, Value):
            self.outer[node] = (one.value, other)
            return Sum()
        raise UnsupportedError("aten.mm has two factors that differ between sequences")

    def _added(self, node: fx.Node, width: int) -> Value:
        one, other = (self._operand(each, width) for each in node.args[:2])
        factor = node.kwargs.get("alpha", node.args[2] if len(node.args) > 2 else 1)
        if node.target is aten.rsub.Scalar:
            one, other = other, one
        if factor != 1:
            other = pointwise("mul", other, float(factor), width=width)  # type: ignore[arg-type]
        if node.target not in (aten.add.Tensor, aten.add.Scalar):
            return pointwise("sub", one, other, width=width)
        # Two products that are only added up become one, which adds the second to the first while it is made.
        products, rest = [], []
        for each, value in zip(node.args[:2], (one, other), strict=True):
            single = isinstance(each, fx.Node) and len(each.users) == 1
            if single and isinstance(value, Product) and value in self._added_once:
                products.append(value)
            elif (
                single and isinstance(value, Pointwise) and value.operation == "add"
                and isinstance(value.operands[0], Product) and value.operands[0] in self._added_once
            ):  # fmt: skip
                products.append(value.operands[0])
                rest.append(value.operands[1])
            else:
                rest.append(value)
        if not products:
            return pointwise("add", one, other, width=width)
        merged: Value = products[0]
        if len(products) == 2:
            merged = Product((*products[0].terms, *products[1].terms), width)
            self._added_once.add(merged)
        for each in rest:
            merged = pointwise("add", merged, each, width=width)
        return merged

    def _padded(self, value: Value, start: int, width: int) -> Value:
        pieces = [const(0.0, start), value, const(0.0, width - start - value.width)]
        return joined(each for each in pieces if each.width)

    def _sum(self, node: fx.Node) -> Any:
        value = self.row(node.args[0])
        mean = node.target in (aten.mean.dim, aten.mean.default)
        asked = node.args[1] if len(node.args) > 1 else None
        dims = {each % 2 for each in asked} if asked else {0, 1}  # type: ignore[union-attr, operator]
        whole = value.width
        if node.target in (aten.var.correction, aten.var_mean.correction):
            return self._variance(node, value, dims)
        if node.target is aten.amax.default:
            if dims != {1} or len(shape_of(node)) != 2:
                raise UnsupportedError("aten.amax takes the maximum of sequences")
            return reduced("max", value)
        if 1 in dims and value.width > 1:
            value = reduced("sum", value)
        if mean:
            if 0 in dims:
                raise UnsupportedError(f"{node.target} takes the mean of sequences")
            return pointwise("mul", value, 1.0 / whole, width=1)
        if 0 in dims:
            self.column[node] = value
            return Sum()
        if len(shape_of(node)) != 2:
            raise UnsupportedError(
                f"{node.target} makes a tensor of the shape {_words(shape_of(node), self.graph.batch)}"
            )
        return value

    def _variance(self, node: fx.Node, value: Value, dims: set[int]) -> Any:
        correction = node.kwargs.get("correction", 1)
        if dims != {1} or not node.kwargs.get("keepdim"):
            raise UnsupportedError(f"{node.target} takes the variance of sequences")
        mean = pointwise("mul", reduced("sum", value), 1.0 / value.width, width=1)
        squares = pointwise("square", pointwise("sub", value, mean, width=value.width), width=value.width)
        variance = pointwise("mul", reduced("sum", squares), 1.0 / (value.width - float(correction or 0)), width=1)  # type: ignore[arg-type]
        return [variance, mean] if node.target is aten.var_mean.correction else variance

    def _split(self, node: fx.Node) -> list[Value]:
        value = self.row(node.args[0])
        if (node.args[2] if len(node.args) > 2 else 0) not in (1, -1):
            raise UnsupportedError(f"{node.target} parts sequences")
        pieces, at = [], 0
        for each in node.meta["val"]:
            pieces.append(view(value, at, each.shape[1]))
            at += each.shape[1]
        return pieces


def _power(value: Value | Vector | float, exponent: float, width: int) -> Value:
    named = {2: "square", 1: "copy", 0.5: "sqrt", -0.5: "rsqrt", -1: "reciprocal"}
    if exponent in named:
        return pointwise(named[exponent], value, width=width)
    if exponent == 3:
        return pointwise("mul", value, pointwise("square", value, width=width), width=width)
    return pointwise("pow", value, float(exponent), width=width)


def shape_of(node: Any) -> tuple[int, ...]:
    """Return the shape of what a node gives; () for what is no tensor."""
    found = node.meta.get("val")
    return tuple(found.shape) if isinstance(found, Tensor) else ()


def _words(shape: tuple[int, ...], batch: int) -> str:
    return f"({', '.join('batch' if size == batch else str(size) for size in shape)})"
