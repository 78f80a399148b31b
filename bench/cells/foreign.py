"""A cell from elsewhere: any module that takes one step, unchanged, under the contract of our own cells."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bench.cells.base import Cell, State
from bench.cells.init import Initialization

NUMERICS = 1
"""Version of what this part computes. It is raised when the numbers change; `make numerics` says when that is so."""

MOST_PARTS = 4
"""Largest number of parts of a state that is looked for where a module cannot begin without one."""
NOTHING_TO_FILL = Initialization(input="torch", recurrent="torch", bias="torch")
"""What the contract asks for; the module fills its parameters by itself."""
SIGMOIDS = (
    torch.sigmoid, torch.sigmoid_, Tensor.sigmoid, Tensor.sigmoid_, torch.special.expit, nn.functional.sigmoid,
    nn.functional.hardsigmoid,
)  # fmt: skip
"""The functions whose values are taken for gates."""


@dataclass(frozen=True)
class Form:
    """How a module takes its state, and what it returns.

    Attributes:
        container: ``tuple`` or ``list`` of the parts of the state; ``None`` for a state that is one tensor.
        widths: The sizes of the parts of the state.
        pair: Whether a step returns an output and the state.
        output: The size of an output that is no part of the state; ``None`` where there is none.
    """

    container: Callable[[Sequence[Tensor]], Any] | None
    widths: tuple[int, ...]
    pair: bool
    output: int | None

    def take(self, module: nn.Module, x: Tensor, parts: Sequence[Tensor]) -> Any:
        """Return what the module makes of an input and the parts of a state."""
        return module(x, parts[0] if self.container is None else self.container(parts))

    def parts(self, returned: Any) -> State:
        """Return the parts of the state among what a step returned, an output of its own before them."""
        state = returned[1] if self.pair else returned
        found = (state,) if self.container is None else tuple(state)
        return found if self.output is None else (returned[0], *found)


@final
class ForeignCell(Cell):
    """A module from elsewhere whose ``forward`` takes one step: ``(input, state) -> state`` or ``(output, state)``.

    The input is ``(batch, input)``. A state is one tensor, or a tuple or list of tensors, each ``(batch, size)``. A
    step is tried when the cell is made, to find out which of these it is. ``h`` is the output if it is no part of the
    state, which the next step then does not read; otherwise it is the first part of the state.

    The module stays as it is. Its parameters start at the values that it draws by itself, from generators of torch,
    numpy and Python that the seed of the run sets. It must not draw anything in a step. Data files
    that its class names in ``files`` are part of a run's identity, as those of any class of a user's.

    Args:
        input_size: Size of the input vector.
        hidden_size: Size of ``h``.
        module: Dotted name of the module's class. What that takes besides two sizes: ``+cell.arguments.NAME=VALUE``.
        arguments: Function ``(input_size, hidden_size) -> module`` that makes it.
        states: Names of the parts of the state; ``None`` for ``h`` and ``c``, or ``h``, ``s1``, ``s2``, ...
        gates: Names of the sigmoids that a step computes, in their order, for the probes; the first ones or all. A
            sigmoid over several times the hidden size counts as that many.
        keeps: Those gates whose value is the share of the old state that stays.
        initial_state: The state before the first step: ``zeros``, ``learned``, a number, or a number for each part.

    Raises:
        ValueError: The module has another form, or the names do not fit it.
    """

    weights = ()
    blocks = ()

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        module: str,
        arguments: Callable[..., nn.Module],
        states: Sequence[str] | None = None,
        gates: Sequence[str] = (),
        keeps: Sequence[str] = (),
        initial_state: str | float | Sequence[float] = "zeros",
    ) -> None:
        # The class has been imported by now. A name that has not must not be: it may be that of a foreign record.
        home, _, name = module.rpartition(".")
        named = getattr(sys.modules.get(home), name, None)
        if named is not (arguments.func if isinstance(arguments, partial) else arguments):
            raise ValueError(f"`arguments` must be those of {module}, got {arguments}")
        self.module = module
        self.arguments = arguments
        with _seeded(0):
            inner = arguments(input_size, hidden_size)
            if not isinstance(inner, nn.Module):
                raise ValueError(f"`module` must be a class of torch.nn.Module, got {module}, a {type(inner).__name__}")
            # A module that names a device by itself has memory where the others have none.
            inner = inner.to(torch.get_default_device())
            self.form, sigmoids = _form_of(inner, input_size, hidden_size)
        widths = (*(() if self.form.output is None else (self.form.output,)), *self.form.widths)
        if widths[0] != hidden_size:
            raise ValueError(f"`module` must return {hidden_size} numbers a step for as many units, got {widths[0]}")
        self.widths = widths
        self.states = _state_names(states, widths)
        self.blocks = self.gates = tuple(gates)
        if len(set(gates)) < len(gates) or len(gates) > sigmoids:
            raise ValueError(f"`gates` must be different names for at most {sigmoids} sigmoids, got {list(gates)}")
        self.keeps = tuple(keeps)
        if not set(keeps) <= set(gates):
            raise ValueError(f"`keeps` must be some of {', '.join(gates) or 'no gates'}, got {list(keeps)}")
        if initial_state == "learned" and len(set(widths)) > 1:
            raise ValueError(f"`initial_state` must be zeros or numbers for parts of sizes {widths}, got 'learned'")
        super().__init__(input_size, hidden_size, init=NOTHING_TO_FILL, initial_state=initial_state)
        self.inner = inner

    def project(self, inputs: Float[Tensor, "time batch input"]) -> Float[Tensor, "time batch input"]:
        """Return the inputs, since the module multiplies them in its step."""
        return inputs

    def step(self, projected: Float[Tensor, "batch input"], state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Take the module's step."""
        before = state if self.form.output is None else state[1:]
        return self.form.parts(self.form.take(self.inner, projected, before))

    def activate(self, projected: Float[Tensor, "batch input"], state: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Take the module's step; return its gates by name, and the next state."""
        with _Sigmoids(self.hidden_size) if self.gates else contextlib.nullcontext() as seen:
            after = self.step(projected, state)
        found = dict(zip(self.gates, seen.values, strict=False)) if seen is not None else {}
        return {**found, **{f"next {name}": part for name, part in zip(self.states, after, strict=True)}}

    def update(self, values: dict[str, Tensor], state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the next state, which :meth:`activate` has computed."""
        return tuple(values[f"next {name}"] for name in self.states)

    def initial_state(self, batch_size: int) -> State:
        """Return the state before the first step, each part in its own size."""
        if self.start is not None:
            return super().initial_state(batch_size)
        like = next(self.inner.parameters())
        numbers = zip(self.widths, self._given, strict=True)
        return tuple(like.new_full((batch_size, width), number) for width, number in numbers)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator, delay: int) -> None:
        """Fill the module with what another one of its class starts with, made under a seed from the generator."""
        with _seeded(int(torch.randint(2**31, (), generator=generator))):
            fresh = self.arguments(self.input_size, self.hidden_size)
        self.inner.load_state_dict(fresh.state_dict())
        for own, buffer in zip(self.inner.buffers(), fresh.buffers(), strict=True):
            own.copy_(buffer)  # The state has not those that are not persistent.
        if self.start is not None:
            self.start.zero_()


def _state_names(given: Sequence[str] | None, widths: Sequence[int]) -> tuple[str, ...]:
    if given is None:
        return ("h", "c") if len(widths) == 2 else ("h", *(f"s{part}" for part in range(1, len(widths))))
    if len(given) != len(widths) or len(set(given)) < len(given) or given[0] != "h":
        raise ValueError(f"`states` must be {len(widths)} different names, h first, got {list(given)}")
    return tuple(given)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed all global generators that a module may draw from, and put them back afterwards."""
    # The global generator of numpy is the one that a module may draw from.
    python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(of_numpy)  # noqa: NPY002


class _Sigmoids(TorchFunctionMode):
    """Sees the sigmoids that are computed while it is entered, each in pieces of the hidden size."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.values: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        returned = func(*args, **(kwargs or {}))
        if func in SIGMOIDS and isinstance(returned, Tensor):
            width = returned.shape[-1]
            self.values += returned.split(self.hidden_size, -1) if width % self.hidden_size == 0 else [returned]
        return returned


@torch.no_grad()
def _form_of(module: nn.Module, input_size: int, hidden_size: int) -> tuple[Form, int]:
    """Find out how a module takes a step, and how many sigmoids of the hidden size it computes.

    Raises:
        ValueError: It takes no step of the forms that there are.
    """
    like = next(module.parameters(), None)
    if like is None:
        raise ValueError(f"`module` must have parameters, got {type(module).__name__}, which has none")
    batch = 3
    x, zeros = like.new_zeros(batch, input_size), like.new_zeros(batch, hidden_size)
    beginnings: list[tuple[Any, ...]] = [(), (zeros,), *(((zeros,) * n,) for n in range(2, MOST_PARTS + 1))]
    errors: list[Exception] = []
    for given in beginnings:
        try:
            returned = module(x, *given)
            forms = _forms(returned, batch)
        except Exception as error:  # noqa: BLE001 - a module from elsewhere raises anything where a state does not fit
            errors.append(error)
            continue
        for form in forms:
            try:
                seen = _Sigmoids(hidden_size)
                with seen:
                    again = form.take(module, x, [like.new_zeros(batch, width) for width in form.widths])
                if form in _forms(again, batch):
                    return form, len(seen.values)
            except Exception as error:  # noqa: BLE001 - as above
                errors.append(error)
    for error in errors:
        if like.is_meta and "meta" in str(error).lower():
            raise error  # The caller tries again with memory.
    shown = next((error for error in errors if not isinstance(error, TypeError)), errors[0] if errors else None)
    reason = f" ({type(shown).__name__}: {' '.join(str(shown).split())})" if shown is not None else ""
    raise ValueError(
        "`module` must take one step, (input, state) -> state or (output, state), of tensors (batch, size), "
        f"got {type(module).__name__}{reason}"
    )


def _forms(returned: Any, batch: int) -> list[Form]:
    """Return the forms that what a step returned may have, the likelier first."""

    def sizes(parts: Sequence[Any]) -> tuple[int, ...] | None:
        fit = all(isinstance(part, Tensor) and part.dim() == 2 and len(part) == batch for part in parts)
        return tuple(part.shape[1] for part in parts) if parts and fit else None

    if isinstance(returned, Tensor):
        return [Form(None, found, False, None)] if (found := sizes([returned])) else []
    if not isinstance(returned, tuple | list):
        return []
    forms = []
    if found := sizes(returned):
        forms.append(Form(list if isinstance(returned, list) else tuple, found, False, None))
    if len(returned) == 2 and (output := sizes(returned[:1])):
        state = returned[1]
        container = None if isinstance(state, Tensor) else list if isinstance(state, list) else tuple
        parts = [state] if container is None else state
        if isinstance(parts, tuple | list) and (found := sizes(parts)):
            forms.append(Form(container, found, True, None if returned[0] is parts[0] else output[0]))
    return forms
