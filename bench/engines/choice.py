"""The choice of the engine that a run uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from bench.cells import Cell
from bench.engines.base import ENGINES, Engine
from bench.engines.native import build

ASKED = ("auto", *ENGINES)
"""The values that a config may ask for."""


@dataclass(frozen=True)
class Choice:
    """The engine of a run.

    Attributes:
        engine: Its name.
        note: Why the fastest engine for this cell and device cannot be had; ``None`` if ``engine`` is that one.
    """

    engine: Engine
    note: str | None = None


def choose(
    asked: str,
    cell: Cell,
    device: torch.device,
    precision: str,
    say: Callable[[str], None] | None = None,
) -> Choice:
    """Choose the engine for what a config asks; ``auto`` takes the fastest one known.

    On the CPU in float32 that is ``native`` for a cell that names its recurrence. Otherwise it is ``fused`` for a cell
    with a torch kernel, and ``stepwise`` for all others. ``auto`` never takes ``compiled``, which needs long to start.
    ``benchmarks/RESULTS.md`` has the times behind this.

    Args:
        asked: One of :data:`ASKED`.
        cell: A cell of the network, on any device.
        device: Where the network will run.
        precision: ``32`` or ``bf16-mixed``.
        say: Function that is called with a message when the caller has to wait, for example while the native kernels
            are built.

    Raises:
        ValueError: ``asked`` is another word, or an engine that this cell, device, precision or machine does not have.
    """
    name = type(cell).__name__
    if asked not in ASKED:
        raise ValueError(f"`engine` must be one of {', '.join(ASKED)}, got {asked!r}")
    if asked == "auto":
        return _fastest(cell, device, precision, say)
    others = ["auto", *(["fused"] if cell.fused is not None else []), "stepwise"]
    if asked == "fused" and cell.fused is None:
        raise ValueError(f"`engine` must be auto, stepwise or compiled for {name}, which has no kernel, got 'fused'")
    if asked == "compiled" and device.type == "cpu" and build.compiler() is None:
        raise ValueError(f"`engine` must be {_either(others)} where there is no C++ compiler, got 'compiled'")
    if asked == "native":
        others.append("compiled")
        if cell.recurrence is None:
            raise ValueError(f"`engine` must be {_either(others)} for {name}, which names no recurrence, got 'native'")
        if device.type != "cpu" or precision != "32":
            place = "on a GPU" if device.type != "cpu" else f"with precision {precision}"
            raise ValueError(f"`engine` must be {_either(others)} {place}, got 'native'")
        try:
            build.load(say)
        except build.NativeUnavailableError as error:
            raise ValueError(f"`engine` must be {_either(others)} here, got 'native': {error}") from error
    return Choice(engine=next(each for each in ENGINES if each == asked))


def _either(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _fastest(cell: Cell, device: torch.device, precision: str, say: Callable[[str], None] | None) -> Choice:
    other: Engine = "fused" if cell.fused is not None else "stepwise"
    if cell.recurrence is None or device.type != "cpu" or precision != "32":
        return Choice(other)
    try:
        build.load(say)
    except build.NativeUnavailableError as error:
        return Choice(other, f"{other} instead of native: {error}")
    return Choice("native")
