"""A step's programs as C++."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.engines.generated.lower import Step
from bench.engines.generated.program import Cluster, Program, Store
from bench.engines.generated.values import Product, Value, Vector

_SIZES = "// sizes"
_FRAME = """#include "runtime.h"

#define ARGUMENTS \\
  const int64_t *n, void *const *tensors, const int64_t *strides, int64_t time, int64_t batch, int64_t workers

namespace {

FUNCTIONS
}  // namespace

#define EXPORT(T)                                                                              \\
  extern "C" int64_t padded_##T(int64_t width) { return padded<T>(width); }                    \\
  extern "C" void forward_##T(ARGUMENTS) { forward<T>(n, tensors, strides, time, batch, workers); } \\
  extern "C" void backward_##T(ARGUMENTS) { backward<T>(n, tensors, strides, time, batch, workers); }
EXPORT(float)
EXPORT(double)
"""


@dataclass(frozen=True)
class Source:
    """C++ for a step, and what its two functions are called with.

    Attributes:
        text: The C++. Sizes are not in it: cells with the same equations share it.
        sizes: The sizes that it reads, in order.
        forward: Names of the tensors that the function ``forward`` takes, in order.
        backward: Names of the tensors that the function ``backward`` takes, in order.
    """

    text: str
    sizes: tuple[int, ...]
    forward: tuple[str, ...]
    backward: tuple[str, ...]


def emit(step: Step) -> Source:
    """Write a step down."""
    return _Emitter(step).source()


class _Emitter:
    def __init__(self, step: Step) -> None:
        self.step = step
        self.sizes: dict[int, str] = {}
        self.lines: list[str] = []
        self.depth = 0

    def source(self) -> Source:
        step = self.step
        states = range(len(step.states))
        weights = [*(f"w{index}" for index in step.vectors), *(f"m{index}" for index in step.matrices)]
        read = ["x", *(f"s{i}" for i in states), *(f"k{i}" for i in range(len(step.kept)))]
        forward = [*read, *(f"b{i}" for i in range(len(step.blocks))), *weights]
        backward = [*read, "dh", *(f"{letter}{i}" for letter in "eot" for i in states), "g"]
        backward += [
            *(f"p{i}" for i in range(len(step.groups))),
            *(f"a{i}" for i in range(len(step.columns))),
            *weights,
        ]
        self.function("forward", forward, self.walk_forward, step.forward)
        self.function("backward", backward, self.walk_backward, step.backward)
        sizes = "\n".join(f"  const int64_t {name} = n[{i}];" for i, name in enumerate(self.sizes.values()))
        text = _FRAME.replace("FUNCTIONS", "\n".join(self.lines)).replace(f"  {_SIZES}", sizes)
        return Source(text, tuple(self.sizes), tuple(forward), tuple(backward))

    # ------------------------------------------------------------------------------------------------------ functions

    def function(self, name: str, tensors: list[str], walk: Callable[[], None], program: Program) -> None:
        self.put("template <typename T>")
        with self.block(f"void {name}(ARGUMENTS)"):
            self.put(_SIZES)
            shapes = {
                index: (left.width, product.width)
                for stage in program.stages
                for product, _ in stage.products
                for left, index in product.terms
            }
            for i, tensor in enumerate(tensors):
                if not tensor.startswith("m") or int(tensor[1:]) in shapes:
                    self.put(f"T* const {tensor}_all = static_cast<T*>(tensors[{i}]);")
            for index, (rows, columns) in sorted(shapes.items()):
                at = 2 * self.step.matrices.index(index)
                of = f"m{index}_all, {self.size(rows)}, {self.size(columns)}, strides[{at}], strides[{at + 1}]"
                self.put(f"const auto m{index} = packed({of});")
            with self.block("over_rows(batch, workers, [&](int64_t worker, int64_t first, int64_t last)", "});"):
                self.put("const int64_t rows = last - first;")
                walk()
        self.put("")

    def walk_forward(self) -> None:
        self.own(self.step.forward.buffers)
        with self.block("for (int64_t t = 0; t < time; ++t)"):
            self.steps()
            self.each_step({f"b{i}": width for i, width in enumerate(self.step.blocks)})
            self.program(self.step.forward)

    def walk_backward(self) -> None:
        step = self.step
        states = {f"{i}": self.size(width) for i, width in enumerate(step.states)}
        chunked = {f"x{i}": left for i, (left, _) in enumerate(step.groups)}
        chunked |= {f"y{i}": right for i, (_, right) in enumerate(step.groups)}
        columns = {f"a{i}": self.size(width) for i, width in enumerate(step.columns)}
        self.put("const int64_t chunk = std::max<int64_t>(1, std::min(time, kChunkRows / rows));")
        for name, width in chunked.items():
            self.put(f"Buffer<T> {name}_own(chunk * rows * {self.padded(width)}, T(0));")
        self.own(step.backward.buffers)
        for name, size in columns.items():
            self.put(f"Buffer<T> {name}_own({size}, T(0));")
            self.put(f"T* const {name} = {name}_own.data();")
        for i, size in states.items():
            for name in (f"c{i}", f"d{i}"):
                self.put(f"Buffer<T> {name}_own(rows * padded<T>({size}), T(0));")
                self.put(f"T* {name} = {name}_own.data();")
            self.put(f"if (e{i}_all != nullptr)")
            self.put(f"  copy_rows(e{i}_all + first * {size}, {size}, d{i}, padded<T>({size}), rows, {size});")
        with self.block("for (int64_t to = time; to > 0; to -= std::min(chunk, to))"):
            self.put("const int64_t from = std::max<int64_t>(0, to - chunk);")
            with self.block("for (int64_t t = to - 1; t >= from; --t)"):
                self.steps()
                self.each_step({**{f"t{i}": width for i, width in enumerate(step.states)}, "g": step.x})
                for name, width in chunked.items():
                    self.put(f"T* const {name} = {name}_own.data() + (t - from) * rows * {self.padded(width)};")
                hidden = states["0"]
                self.put("if (dh_all != nullptr)")
                self.put(f"  add_rows(dh_all + at * {hidden}, {hidden}, d0, padded<T>({hidden}), rows, {hidden});")
                self.program(step.backward)
                for i in states:
                    self.put(f"std::swap(c{i}, d{i});")
            for i, (left, right) in enumerate(step.groups):
                factors = f"x{i}_own.data(), {self.size(left)}, y{i}_own.data(), {self.size(right)}"
                sums = f"p{i}_all + worker * {self.size(left)} * {self.padded(right)}"
                self.put(f"if (p{i}_all != nullptr)")
                self.put(f"  add_products({factors}, (to - from) * rows, {sums});")
            for name, size in columns.items():
                self.put(f"if ({name}_all != nullptr) flush({name}, {name}_all + worker * {size}, {size});")
        for i, size in states.items():
            self.put(f"copy_rows(d{i}, padded<T>({size}), o{i}_all + first * {size}, {size}, rows, {size});")

    def own(self, buffers: dict[str, int]) -> None:
        """Make the places of a thread for a step's values."""
        for name, width in buffers.items():
            self.put(f"Buffer<T> {name}_own(rows * {self.padded(width)});")
            self.put(f"T* const {name} = {name}_own.data();")

    def steps(self) -> None:
        """Point to where a step's values are in the tensors of all steps."""
        self.put("const int64_t at = t * batch + first;")
        self.put(f"T* const x = x_all + at * {self.size(self.step.x)};")
        for i, width in enumerate(self.step.states):
            self.put(f"T* const s{i} = s{i}_all + at * {self.size(width)};")
            self.put(f"T* const n{i} = s{i} + batch * {self.size(width)};")
        self.each_step({f"k{i}": width for i, width in enumerate(self.step.kept)})

    def each_step(self, widths: dict[str, int]) -> None:
        """Point to a step's values in tensors that may not be there."""
        for name, width in widths.items():
            self.put(f"T* const {name} = {name}_all == nullptr ? nullptr : {name}_all + at * {self.size(width)};")

    # -------------------------------------------------------------------------------------------------------- programs

    def program(self, program: Program) -> None:
        for stage in program.stages:
            for product, guard in stage.products:
                self.product(program, product, guard)
            for cluster in sorted(stage.clusters, key=lambda each: each.guard):
                self.cluster(program, cluster)

    def product(self, program: Program, product: Product, guard: str) -> None:
        home = program.homes[product]
        condition = f"if ({guard} != nullptr) " if guard else ""
        for i, (left, index) in enumerate(product.terms):
            place, stride = self.where(program.homes[left])
            factors = f"{place}, {stride}, m{index}.data(), {self.size(left.width)}"
            result = f"{home.place}, {self.stride(home)}, rows, {self.size(product.width)}"
            self.put(f"{condition}multiply<T, {str(i > 0).lower()}>({factors}, {result});")

    def where(self, store: Store) -> tuple[str, str]:
        """Return a pointer to the first row of a place and the numbers from row to row."""
        offset = f" + {self.size(store.offset)}" if store.offset else ""
        return f"{store.place}{offset}", self.stride(store)

    def stride(self, store: Store) -> str:
        return self.padded(store.width) if _own(store.place) else self.size(store.width)

    def cluster(self, program: Program, cluster: Cluster) -> None:
        width = self.size(cluster.width)
        names: dict[Value, str] = {}
        loads: dict[str, str] = {}
        singles: dict[str, str] = {}
        code: list[str] = []
        inside = set(cluster.values)

        def operand(each: Value | Vector | float) -> str:
            if isinstance(each, int | float):
                return f"V{{}} + T({_number(each)})"
            if isinstance(each, Vector):
                if each.single:
                    singles.setdefault(f"*w{each.index}_all", f"e{len(singles)}")
                    return singles[f"*w{each.index}_all"]
                offset = f"{self.size(each.offset)} + " if each.offset else ""
                return load(f"w{each.index}_all + {offset}u")
            if each in inside:
                return names[each]
            home = program.homes[each]
            offset = f" + {self.size(home.offset)}" if home.offset else ""
            place = f"{home.place} + m * {self.stride(home)}{offset}"
            if each.width == 1 and cluster.width > 1:
                singles.setdefault(f"*({place})", f"e{len(singles)}")
                return singles[f"*({place})"]
            return load(f"{place} + u")

        def load(place: str) -> str:
            if place not in loads:
                loads[place] = f"l{len(loads)}"
                code.append(f"const V {loads[place]} = load(part, {place}, count);")
            return loads[place]

        for i, value in enumerate(cluster.values):
            words = [operand(each) for each in value.operands]
            names[value] = f"z{i}"
            code.append(f"const V z{i} = {_expression(value.operation, words)};")
            for store in program.stores.get(value, []):
                offset = f" + {self.size(store.offset)}" if store.offset else ""
                if store.place[0] == "a":
                    code.append(f"accumulate(part, {store.place}{offset} + u, z{i}, count);")
                    continue
                guard = f"if ({store.guard} != nullptr) " if store.guard else ""
                code.append(f"{guard}store(part, {store.place} + m * {self.stride(store)}{offset} + u, z{i}, count);")
        for i, value in enumerate(cluster.reductions):
            code.append(f"r{i} = {value.operation}_with(part, r{i}, {names[value.of]}, count);")
        with self.block(f"if ({cluster.guard} != nullptr)" if cluster.guard else ""):
            self.put("using V = typename Lanes<T>::type;")
            with self.block("for (int64_t m = 0; m < rows; ++m)"):
                for place, name in singles.items():
                    self.put(f"const V {name} = V{{}} + {place};")
                for i, value in enumerate(cluster.reductions):
                    self.put(f"V r{i} = {value.operation}_begin<T>();")
                with self.block(f"over_units<T>({width}, [&](int64_t u, auto part, int64_t count)", "});"):
                    for line in code:
                        self.put(line)
                for i, value in enumerate(cluster.reductions):
                    home = program.homes[value]
                    self.put(f"{home.place}[m * {self.stride(home)}] = {value.operation}_end<T>(r{i});")

    # ------------------------------------------------------------------------------------------------------------ text

    def size(self, number: int) -> str:
        """Return the name under which a size is read, so that the text fits all sizes."""
        return self.sizes.setdefault(number, f"n{len(self.sizes)}_")

    def padded(self, number: int) -> str:
        """Return the numbers of a row of a thread's place."""
        return f"padded<T>({self.size(number)})"

    @contextlib.contextmanager
    def block(self, head: str, end: str = "}") -> Iterator[None]:
        """Put what is written inside between braces."""
        self.put(f"{head} {{".lstrip())
        self.depth += 1
        yield
        self.depth -= 1
        self.put(end)

    def put(self, line: str) -> None:
        self.lines.append("  " * self.depth + line if line else "")


_SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
_TESTS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "eq": "==", "ne": "!="}


def _own(place: str) -> bool:
    """Return whether a place belongs to a thread: values, factors of gradients, and gradients of the state."""
    return place[0] in "vycd" or (place[0] == "x" and len(place) > 1)


def _number(number: float) -> str:
    if math.isfinite(number):
        return repr(number)
    return "NAN" if math.isnan(number) else f"{'-' if number < 0 else ''}INFINITY"


def _expression(operation: str, words: list[str]) -> str:
    if operation in _SIGNS:
        return f"({words[0]}) {_SIGNS[operation]} ({words[1]})"
    if operation in _TESTS:
        return f"number<T>(({words[0]}) {_TESTS[operation]} ({words[1]}))"
    if operation in ("copy", "const"):
        return words[0]
    return f"{operation}_of<T>({', '.join(words)})"
