"""The choice of the engine that a run uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from bench.cells import Cell
from bench.engines.base import ENGINES, Engine
from bench.engines.generated import engine as generated
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
