"""The choice of the engine that a run uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from bench.cells import Cell
from bench.engines.base import ENGINES, Engine
from bench.engines.generated import engine as generated
from bench.engines.native import build
from bench.engines.readout import LOSS_ENGINES, LossEngine

ASKED = ("auto", *ENGINES)
"""The values that a config may ask for."""
ASKED_LOSS = ("auto", *LOSS_ENGINES)
"""The same for the loss."""


@dataclass(frozen=True)
class Choice:
    """The engine of a run.

    Attributes:
        engine: Its name.
        note: Why the fastest engine or loss for this cell and device cannot be had; ``None`` if these are the fastest.
        loss: What computes the readout and the loss behind it: ``torch``, one after the other, or ``native``, both in
            one pass.
    """

    engine: Engine
    note: str | None = None
    loss: LossEngine = "torch"


def choose(
    asked: str,
    cells: Sequence[Cell],
    device: torch.device,
    precision: str,
    say: Callable[[str], None] | None = None,
) -> Choice:
    """Choose the engine for what a config asks; ``auto`` takes the fastest one known.

    On the CPU in float32 that is ``native`` for a cell that names its recurrence, and ``generated`` for any other whose
    equations that engine can take. Otherwise it is ``fused`` for a cell with a torch kernel, and ``stepwise``. ``auto``
    never takes ``compiled``, which needs long to start. ``benchmarks/RESULTS.md`` has the times behind this.

    Args:
        asked: One of :data:`ASKED`.
        cells: The cells of the network, one a layer, on any device and in the sizes that they will have.
        device: Where the network will run.
        precision: ``32`` or ``bf16-mixed``.
        say: Function that is called with a message when the caller has to wait, for example while kernels are
            built.

    Raises:
        ValueError: ``asked`` is another word, or an engine that this cell, device, precision or machine does not have.
    """
    cell = cells[0]
    name = type(cell).__name__
    if asked not in ASKED:
        raise ValueError(f"`engine` must be one of {', '.join(ASKED)}, got {asked!r}")
    if asked == "auto":
        return _fastest(cells, device, precision, say)
    others = ["auto", *(["fused"] if cell.fused is not None else []), "stepwise"]
    if asked == "fused" and cell.fused is None:
        raise ValueError(
            f"`engine` must be auto, generated, stepwise or compiled for {name}, which has no kernel, got 'fused'"
        )
    if asked == "compiled" and device.type == "cpu" and build.compiler() is None:
        raise ValueError(f"`engine` must be {_either(others)} where there is no C++ compiler, got 'compiled'")
    if asked in ("native", "generated"):
        others.append("compiled")
        if asked == "native" and cell.recurrence is None:
            others.append("generated")
            raise ValueError(f"`engine` must be {_either(others)} for {name}, which names no recurrence, got 'native'")
        if device.type != "cpu" or precision != "32":
            place = "on a GPU" if device.type != "cpu" else f"with precision {precision}"
            raise ValueError(f"`engine` must be {_either(others)} {place}, got {asked!r}")
        try:
            build.load(say) if asked == "native" else _generate(cells, say)
        except (build.NativeUnavailableError, generated.UnsupportedError) as error:
            place = f"for {name}" if isinstance(error, generated.UnsupportedError) else "here"
            raise ValueError(f"`engine` must be {_either(others)} {place}, got {asked!r}: {error}") from error
    return Choice(engine=next(each for each in ENGINES if each == asked))


def choose_loss(
    asked: str,
    engine: Choice,
    suits: bool,
    device: torch.device,
    precision: str,
    say: Callable[[str], None] | None = None,
) -> Choice:
    """Choose what computes readout and loss; ``auto`` takes ``native`` beside the engines in C++, where it suits.

    Args:
        asked: One of :data:`ASKED_LOSS`.
        engine: The engine of the run, to which the loss is added.
        suits: Whether the task asks for an answer at every step, and its loss is their cross entropy.
        device: Where the network will run.
        precision: ``32`` or ``bf16-mixed``.
        say: Function that is called with a message when the caller has to wait.

    Raises:
        ValueError: ``asked`` is another word, or ``native`` where it does not suit or cannot be had.
    """
    if asked not in ASKED_LOSS:
        raise ValueError(f"`loss_engine` must be one of {', '.join(ASKED_LOSS)}, got {asked!r}")
    if asked == "torch" or (asked == "auto" and not (suits and engine.engine in ("native", "generated"))):
        return engine
    if not suits:
        raise ValueError(
            "`loss_engine` must be auto or torch where the loss is no cross entropy of every step, got 'native'"
        )
    if device.type != "cpu" or precision != "32":
        place = "on a GPU" if device.type != "cpu" else f"with precision {precision}"
        raise ValueError(f"`loss_engine` must be auto or torch {place}, got 'native'")
    try:
        build.load(say)
    except build.NativeUnavailableError as error:
        if asked == "native":
            raise ValueError(f"`loss_engine` must be auto or torch here, got 'native': {error}") from error
        return replace(engine, note=f"torch instead of native for readout and loss: {error}")
    return replace(engine, loss="native")


def _either(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _generate(cells: Sequence[Cell], say: Callable[[str], None] | None) -> None:
    for cell in cells:
        generated.recurrence_of(cell, say)


def _fastest(cells: Sequence[Cell], device: torch.device, precision: str, say: Callable[[str], None] | None) -> Choice:
    other: Engine = "fused" if cells[0].fused is not None else "stepwise"
    if device.type != "cpu" or precision != "32":
        return Choice(other)
    fastest: Engine = "generated" if cells[0].recurrence is None else "native"
    try:
        build.load(say) if fastest == "native" else _generate(cells, say)
    except (build.NativeUnavailableError, generated.UnsupportedError) as error:
        return Choice(other, f"{other} instead of {fastest}: {error}")
    return Choice(fastest)
