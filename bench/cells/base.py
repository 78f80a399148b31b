"""The cell contract: a recurrence that projects a whole sequence of inputs at once, then steps."""

from __future__ import annotations

import contextlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Inexact
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from bench.cells import init

NUMERICS = 1
"""Version of what this part computes. It is raised when the numbers change; `make numerics` says when that is so."""

WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
"""The parameters of a torch cell, in torch's order."""

State = tuple[Tensor, ...]
"""The state between two steps, each ``(batch, hidden)``; the hidden state ``h`` comes first, others may be complex."""


class Cell(nn.Module, ABC):
    """A recurrent cell: named blocks of parameters and one step.

    The parameters carry torch's names and order: ``weight_ih (blocks*hidden, input)``, ``weight_hh
    (blocks*hidden, hidden)``, ``bias_ih`` and ``bias_hh (blocks*hidden)``. Each holds one block of ``hidden`` rows for
    every name in :attr:`blocks`. A subclass names its blocks and says how they are computed and how they make the next
    state. It is final: other cells do not inherit from it.

    A cell whose equations do without one of these parameters leaves it out of :attr:`weights`, so that it is neither
    made nor counted. It overrides :meth:`project` or :meth:`recur` where these need what it lacks, and adds its own
    parameters in ``__init__`` and :meth:`reset_parameters`. A cell without any of them needs no blocks either.

    A cell that reads data files names them in ``files``, a class attribute or a property: a list of paths relative to
    the file of the class. Their content is then part of a run's identity.

    Attributes:
        blocks: Names of the row blocks, in order; the keys of what :meth:`activate` returns.
        gates: Those blocks that are gates, with values in (0, 1).
        keeps: Those gates whose value is the share of the old state that stays, so that -1 / ln(value) is a time
            constant in steps.
        states: Names of the parts of the state, ``h`` first.
        weights: Those of :data:`WEIGHTS` that the cell has; what it lacks is ``None``.
        year: When the cell was published, by which tables order their columns; a cell without a year comes last.

    Args:
        input_size: Size of the input vector, at least 1.
        hidden_size: Size of each part of the state, at least 1.
        init: How :attr:`weights` start; see :class:`bench.cells.init.Initialization`.
        initial_state: The state before the first step, the same for all sequences: ``zeros``; ``learned``, a parameter
            ``start (parts, hidden)`` that starts at 0; or a number that every unit has, or a number for each part.
        device: Where the parameters are made.

    Raises:
        ValueError: A size is below 1, or :attr:`blocks`, :attr:`gates`, :attr:`states` or :attr:`weights` do not
            fit the cell.
    """

    weight_ih: nn.Parameter
    weight_hh: nn.Parameter
    bias_ih: nn.Parameter
    bias_hh: nn.Parameter
    blocks: tuple[str, ...] = ()
    gates: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()
    states: tuple[str, ...] = ("h",)
    weights: ClassVar[tuple[str, ...]] = WEIGHTS
    year: ClassVar[int | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # A kernel and a recurrence compute the equations of the class that names them. A subclass may have other
        # equations, so it has to name its own.
        super().__init_subclass__(**kwargs)
        for name in ("kernel", "recurrence"):
            if name not in vars(cls):
                setattr(cls, name, vars(Cell)[name])

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        init: init.Initialization,
        initial_state: str | float | Sequence[float] = "zeros",
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self._given = _numbers(initial_state, self.states)
        for name, size in (("input_size", input_size), ("hidden_size", hidden_size)):
            if size < 1:
                raise ValueError(f"`{name}` must be >= 1, got {size}")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.init = init
        name = type(self).__name__
        if not (blocks := self.blocks) and self.weights:
            raise ValueError(f"`blocks` of {name} must name at least one block, got {blocks!r}")
        for kind, names in (("blocks", blocks), ("states", self.states)):
            if len(set(names)) < len(names):
                raise ValueError(f"`{kind}` of {name} must name each once, got {names!r}")
        if not set(self.gates) <= set(blocks):
            raise ValueError(f"`gates` of {name} must be some of {', '.join(blocks)}, got {self.gates!r}")
        if "x" in self.states:
            raise ValueError(f"`states` of {name} must not be called x, as the input is, got {self.states!r}")
        if not set(self.weights) <= set(WEIGHTS):
            raise ValueError(f"`weights` of {name} must be some of {', '.join(WEIGHTS)}, got {self.weights!r}")
        rows = len(blocks) * hidden_size
        sizes = {"weight_ih": (rows, input_size), "weight_hh": (rows, hidden_size)}
        for weight in WEIGHTS:
            empty = torch.empty(sizes.get(weight, rows), device=device) if weight in self.weights else None
            self.register_parameter(weight, nn.Parameter(empty) if empty is not None else None)
        size = (len(self.states), hidden_size)
        self.start = nn.Parameter(torch.empty(size, device=device)) if initial_state == "learned" else None
        # The list keeps torch from registering the kernel as a submodule: its parameters are this cell's own.
        self._kernel = [kernel] if (kernel := self._shared_kernel()) is not None else []

    @abstractmethod
    def activate(
        self, projected: Float[Tensor, "batch rows"], state: tuple[Inexact[Tensor, "batch hidden"], ...]
    ) -> dict[str, Float[Tensor, "batch hidden"]]:
        """Compute the value of every block at one step, by name, from the projected input and the previous state."""

    @abstractmethod
    def update(
        self,
        values: dict[str, Float[Tensor, "batch hidden"]],
        state: tuple[Inexact[Tensor, "batch hidden"], ...],
    ) -> tuple[Inexact[Tensor, "batch hidden"], ...]:
        """Compute the next state from the block values and the previous state."""

    def kernel(self) -> nn.RNNBase | None:
        """Make a one-layer torch module on the ``meta`` device that computes this recurrence, or return ``None``.

        The cell replaces the module's parameters with its own, so naming a kernel costs no memory.
        """
        return None

    @property
    def recurrence(self) -> str | None:
        """Name under which the native kernels compute this recurrence on these parameters, or ``None``.

        See ``bench/engines/native/engine.py`` for the names.
        """
        return None

    def project(self, inputs: Float[Tensor, "time batch input"]) -> Float[Tensor, "time batch rows"]:
        """Compute the input's share of every block, for all steps at once: W_ih x + b_ih."""
        return F.linear(inputs, self.weight_ih, self.bias_ih)

    def recur(self, h: Float[Tensor, "batch hidden"]) -> Float[Tensor, "batch rows"]:
        """Compute the hidden state's share of every block: W_hh h + b_hh."""
        return F.linear(h, self.weight_hh, self.bias_hh)

    def split(self, rows: Float[Tensor, "batch rows"]) -> tuple[Inexact[Tensor, "batch hidden"], ...]:
        """Cut a vector over all rows into one piece for each block, in the order of :attr:`blocks`."""
        return rows.chunk(len(self.blocks), dim=-1)

    def step(
        self, projected: Float[Tensor, "batch rows"], state: tuple[Inexact[Tensor, "batch hidden"], ...]
    ) -> tuple[Inexact[Tensor, "batch hidden"], ...]:
        """Take one step of the recurrence: compute the block values, then the next state."""
        return self.update(self.activate(projected, state), state)

    def initial_state(self, batch_size: int) -> State:
        """Return the state before the first step: one ``(batch, hidden)`` tensor for each name in :attr:`states`."""
        if self.start is not None:
            return tuple(part.expand(batch_size, -1) for part in self.start)
        like = getattr(self, self.weights[0]) if self.weights else next(self.parameters())
        empty = like.new_empty(batch_size, self.hidden_size)
        return tuple(torch.full_like(empty, number) for number in self._given)

    @property
    def starts_at_zero(self) -> bool:
        """Whether the state before the first step is that of torch's kernels where none is given to them."""
        return type(self).initial_state is Cell.initial_state and self.start is None and not any(self._given)

    @property
    def bound(self) -> float | None:
        """Largest absolute value that a unit of ``h`` can saturate at, or ``None`` where there is none."""
        return None

    @property
    def fused(self) -> nn.RNNBase | None:
        """The torch kernel on this cell's parameters, or ``None`` where the cell has none."""
        return self._kernel[0] if self._kernel else None

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator, delay: int) -> None:
        """Fill all parameters as :attr:`init` says.

        Args:
            generator: Source of randomness, on the CPU.
            delay: The task's delay in steps, for initialisations that follow it.
        """
        rules: dict[str, init.RecurrentRule] = {"weight_ih": self.init.input, "weight_hh": self.init.recurrent}
        for name, rule in rules.items():
            with self._filled(name) as weight:
                for block in weight.split(self.hidden_size) if weight is not None else ():
                    init.fill_weight(block, rule, generator)
                    if name == "weight_hh" and self.init.spectral_radius is not None:
                        init.scale_to_radius(block, self.init.spectral_radius)
        for name in ("bias_ih", "bias_hh"):
            with self._filled(name) as bias:
                if bias is not None:
                    init.fill_bias(bias, self.init.bias, self.hidden_size, generator)
        if self.start is not None:
            self.start.zero_()

    @contextlib.contextmanager
    def _filled(self, name: str) -> Iterator[Tensor | None]:
        """Hand a weight out to be filled; ``None`` where the cell lacks it."""
        weight = getattr(self, name) if name in self.weights else None
        # What a parametrization such as weight norm computes is no parameter: its numbers must be given back to it.
        if weight is None or not is_parametrized(self, name):
            yield weight
            return
        filled = torch.empty_like(weight)
        yield filled
        setattr(self, name, filled)

    def _shared_kernel(self) -> nn.RNNBase | None:
        kernel = self.kernel()
        if set(self.weights) != set(WEIGHTS) and (kernel is not None or self.recurrence is not None):
            raise ValueError(
                f"`weights` of {type(self).__name__} must be all four, as its kernel or recurrence has them"
            )
        if kernel is None:
            return None
        for name in WEIGHTS:
            own = getattr(self, name)
            if getattr(kernel, f"{name}_l0").shape != own.shape:
                raise ValueError(f"`{name}` of {type(self).__name__} does not have the shape of its kernel's")
            setattr(kernel, f"{name}_l0", own)
        return kernel

    def _apply(self, fn: Any, recurse: bool = True) -> Cell:
        # nn.Module calls this to move or cast the parameters. They stay the same objects, which the kernel relies on,
        # unless a global torch option says otherwise. After a move, cuDNN wants them in one contiguous piece.
        moved = super()._apply(fn, recurse)
        for kernel in self._kernel:
            for name in WEIGHTS:
                setattr(kernel, f"{name}_l0", getattr(self, name))
            kernel.flatten_parameters()
        return cast(Cell, moved)


def _numbers(initial_state: str | float | Sequence[float], states: Sequence[str]) -> list[float]:
    """Return the number that the units of each part of the state start at; 0 where it is learned."""
    if initial_state in ("zeros", "learned"):
        return [0.0] * len(states)
    given: Any = [initial_state] * len(states) if isinstance(initial_state, int | float) else initial_state
    numbers = isinstance(given, list | tuple) and all(type(each) in (int, float) for each in given)
    if not numbers or len(given) != len(states) or not all(map(math.isfinite, given)):
        raise ValueError(
            f"`initial_state` must be zeros, learned, a finite number, or one for each of {', '.join(states)}, "
            f"got {initial_state!r}"
        )
    return list(map(float, given))
