"""The network of a run, as its config describes it; nothing is allocated before it is asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol, TypeVar, cast, runtime_checkable

import hydra.utils
import torch
from torch.nn.parameter import is_lazy

from bench.cells import Cell
from bench.cells.init import WeightRule
from bench.config.schema import ModelConfig
from bench.engines import Choice, Engine
from bench.training import rng
from bench.training.model import Around, SequenceModel
from tasks.base import Task

M = TypeVar("M", bound=torch.nn.Module)


@dataclass(frozen=True)
class Network:
    """The network of one run.

    Attributes:
        task: The task, which says the sizes of input and output.
        cell: The cell's node of the config.
        settings: The settings of the network.
        hidden_size: The hidden size, given or found for the parameter budget.
        engine: How the cells are unrolled.
    """

    task: Task
    cell: Mapping[str, Any]
    settings: ModelConfig
    hidden_size: int
    engine: Choice

    def model(self, seed: int) -> SequenceModel:
        """Return the network with its initial values, a function of the config and the seed; on the CPU."""
        model = _model(self.cell, self.task, self.settings, self.hidden_size, self.engine)
        model.reset_parameters(
            rng.generator("init", seed), self.task.delay, cast(WeightRule, self.settings.readout_init)
        )
        for name, weight in model.named_parameters():
            if not weight.isfinite().all():
                raise ValueError(f"`{name}` must start as finite numbers; `reset_parameters` must fill it")
        return model

    @property
    def input_size(self) -> int:
        """Size of the vectors that the lowest layer reads."""
        return self.settings.embedding or self.task.input_size

    def shapes(self) -> dict[str, torch.Size]:
        """Return the shapes of all weights, by name, without allocating any."""
        model = model_on_meta(self.cell, self.task, self.settings, self.hidden_size)
        return {name: value.shape for name, value in model.state_dict().items()}


def make_cell(node: Mapping[str, Any], input_size: int, hidden_size: int) -> Cell:
    """Return a cell as its node of the config describes it; its parameters have no values of their own yet."""
    return cast(Callable[[int, int], Cell], _make_cell(node))(input_size, hidden_size)


def smallest_cell(node: Mapping[str, Any]) -> Cell:
    """Return a cell of one unit, made without memory where it can be, to find what is wrong with its settings."""

    def make() -> Cell:
        maker = _make_cell(node)
        return maker.func(1, 1, **maker.keywords)

    return _without_memory(make)


def check_step(node: Mapping[str, Any]) -> None:
    """Take one step of a small cell on the ``meta`` device, to see that it returns a state.

    A cell that cannot take a step there, because it reads a value or wants other sizes, is not checked.

    Raises:
        ValueError: What it returns is no tuple of tensors with the shapes of the state before.
    """
    maker = _make_cell(node)
    with contextlib.suppress(NotImplementedError, RuntimeError, TypeError, SystemExit), torch.device("meta"):
        try:
            cell = maker.func(2, 3, **maker.keywords)
        except ValueError:
            return
        before = cell.initial_state(4)
        after = cell.step(cell.project(torch.zeros(1, 4, 2))[0], before)
        wanted, found = _shapes(before), _shapes(after)
        if found != wanted:
            raise ValueError(
                f"`update` of {type(cell).__name__} must return a tuple of {', '.join(cell.states)}, with shapes "
                f"{wanted} for a batch of 4 and 3 units, got {found or type(after).__name__}"
            )


def _shapes(state: object) -> list[tuple[int, ...]]:
    return [tuple(getattr(part, "shape", ())) for part in state] if isinstance(state, tuple) else []


def model_on_meta(node: Mapping[str, Any], task: Task, settings: ModelConfig, hidden_size: int) -> SequenceModel:
    """Return the network for its shapes, without memory where its cells can be made so.

    Raises:
        ValueError: A parameter has no shape yet.
    """
    model = _without_memory(lambda: _model(node, task, settings, hidden_size, Choice("stepwise")))
    for name, weight in model.named_parameters():
        if is_lazy(weight):
            raise ValueError(f"`{name}` must have its shape when the cell is made, got one of a lazy module")
    return model


def _without_memory(make: Callable[[], M]) -> M:
    """Return what a function makes, on the ``meta`` device.

    A cell that reads the value of a tensor while it is made cannot be made there. It gets memory on the CPU for as long
    as it is looked at, and the random numbers that it draws are given back.
    """
    try:
        with torch.device("meta"):
            return make()
    except (NotImplementedError, RuntimeError, TypeError) as error:
        if "meta" not in str(error).lower():
            raise
    with torch.random.fork_rng(devices=[]):
        return make()


def _make_cell(node: Mapping[str, Any]) -> partial[Cell]:
    """Return the cell's class with its settings; by way of Hydra, so that nested nodes are made too."""
    return hydra.utils.instantiate({**node, "_partial_": True})


@runtime_checkable
class Sizes(Protocol):
    """What a network takes from its task; see :class:`tasks.base.Task`."""

    @property
    def input_size(self) -> int: ...  # noqa: D102
    @property
    def output_size(self) -> int: ...  # noqa: D102
    @property
    def readout(self) -> Literal["every", "last", "mean"]: ...  # noqa: D102
    @property
    def tokens(self) -> int | None: ...  # noqa: D102


def without_values(
    node: Mapping[str, Any], sizes: Sizes, settings: ModelConfig, hidden_size: int, engine: Engine
) -> SequenceModel:
    """Return a network on the CPU whose weights have no values yet; what cells draw by themselves is given back."""
    with torch.random.fork_rng(devices=[]):
        return _model(node, sizes, settings, hidden_size, Choice(engine))


def _model(
    node: Mapping[str, Any], task: Sizes, settings: ModelConfig, hidden_size: int, engine: Choice
) -> SequenceModel:
    return SequenceModel(
        _make_cell(node),
        input_size=task.input_size,
        output_size=task.output_size,
        hidden_size=hidden_size,
        layers=settings.layers,
        dropout=settings.dropout,
        readout=task.readout,
        engine=engine.engine,
        loss_engine=engine.loss,
        around=Around(
            tokens=task.tokens,
            embedding=settings.embedding,
            head=tuple(settings.head),
            head_activation=settings.head_activation,
            input_dropout=settings.input_dropout,
            readout_dropout=settings.readout_dropout,
            bidirectional=settings.bidirectional,
        ),
    )
