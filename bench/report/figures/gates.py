"""Gates and states of a trained cell over one sequence: a panel for each, a row a unit, a column a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from bench.analysis.unit_traces import UnitTraces
from bench.records.validation import readable
from bench.report.figures.drawing import PLAIN, Drawing, Sheet, note
from bench.report.figures.style import COLUMN_INCHES, PAGE_INCHES, grid, titled

UNIT_INCHES = 0.085
"""Height of a row of a panel, up to :data:`MOST_INCHES` for all of them."""
LEAST_INCHES, MOST_INCHES = 0.42, 1.5
NARROW_STEPS = 30
"""Most steps of a figure that is as wide as one column where nothing else is asked for."""
TOKEN_POINTS = 4.2
"""Least width of a step whose token is written below it, in points, and least size of that text."""
AXIS_SHARE = 0.8
"""Share of the width of a figure that its panels take, about."""
VISIBLE = {" ": "\u2423", "\n": "\u21b5", "": "<unk>"}
"""What stands for tokens that would not be seen; the empty one is that of all that the training data did not have."""
WRITTEN = {"": "<unk>"}
"""The same in the data beside a figure."""


@dataclass(frozen=True)
class _Panel:
    """What one panel shows: ``values (time, row)``, and the numbers of its rows."""

    name: str
    values: np.ndarray
    rows: Sequence[int]
    gate: bool = False
    row_name: str = "unit"


def gates(traces: UnitTraces, units: Sequence[int], sheet: Sheet = PLAIN) -> Drawing:
    """Draw a panel for the input, for each gate and other block, and for each part of the state, the hidden one last.

    Gates go from white, closed, to blue, open. All else goes from blue, below zero, over white to red, each panel by
    its own largest absolute value. Of complex states the absolute value is shown. Tokens stand below their steps, where
    there is room.

    Args:
        traces: What is shown.
        units: Numbers of the units, from 0, from above.
        sheet: What the figure is for.
    """
    panels = _panels(traces, units)
    width = COLUMN_INCHES if traces.steps <= NARROW_STEPS else PAGE_INCHES
    heights = [min(MOST_INCHES, max(LEAST_INCHES, UNIT_INCHES * len(each.rows))) for each in panels]
    height = (sum(heights) + 0.12 * len(panels) + 0.75) / len(panels)
    shares = {"height_ratios": heights}
    figure, axes = grid(len(panels), 1, width=width, height=height, sheet=sheet, sharex=True, gridspec_kw=shares)
    column = list(axes[:, 0])
    for each, panel in zip(panels, column, strict=True):
        image = _draw(panel, each, traces)
        figure.colorbar(image, ax=panel, pad=0.01, aspect=8, ticks=MaxNLocator(2))
    shown = "all units" if len(units) == traces.size else f"{len(units)} of {traces.size} units"
    title = readable(f"{traces.title}, {shown}").replace("$", r"\$")
    titled(column[0], title, int(13 * figure.get_figwidth()))
    _steps(column[-1], traces, 72 * AXIS_SHARE * figure.get_figwidth())
    return figure


def _panels(traces: UnitTraces, units: Sequence[int]) -> list[_Panel]:
    chosen = list(units)
    found = []
    if traces.inputs is not None:
        found.append(_Panel("network\ninput", traces.inputs, range(traces.inputs.shape[1]), row_name="input"))
    for name, values in traces.blocks.items():
        gate = name in traces.gates
        found.append(_Panel(f"{name}\ngate" if gate else name, values[:, chosen], chosen, gate))
    # The hidden state comes last: it is what the others make.
    for name, values in [*traces.states.items()][::-1]:
        size = np.abs(values) if np.iscomplexobj(values) else values
        found.append(_Panel(f"state\n{name}" if size is values else f"state\n|{name}|", size[:, chosen], chosen))
    return found


def _draw(axes: Axes, panel: _Panel, traces: UnitTraces) -> AxesImage:
    """Draw one panel, and keep its data."""
    count, steps = len(panel.rows), np.arange(1, traces.steps + 1)
    most = float(np.abs(panel.values).max()) or 1.0
    span = {"cmap": "Blues", "vmin": 0, "vmax": 1} if panel.gate else {"cmap": "RdBu_r", "vmin": -most, "vmax": most}
    image = axes.imshow(
        panel.values.T,
        aspect="auto",
        interpolation="nearest",
        extent=(0.5, traces.steps + 0.5, count - 0.5, -0.5),
        **span,
    )
    axes.grid(visible=False)
    axes.tick_params(length=0 if traces.tokens else 2)
    names = [str(number) for number in panel.rows]
    room = int(min(MOST_INCHES, max(LEAST_INCHES, UNIT_INCHES * count)) / UNIT_INCHES)
    every = -(-count // max(1, room))
    axes.set_yticks(range(0, count, every), names[::every], fontsize=5)
    axes.set_ylabel(panel.name, rotation=0, ha="right", va="center")
    tokens = _shown(traces, WRITTEN)
    for row, number in enumerate(panel.rows):
        read = {"token": tokens} if tokens else {}
        note(axes, panel=panel.name.replace("\n", " "), row=panel.row_name, number=number, step=steps, **read,
             value=panel.values[:, row])  # fmt: skip
    return image


def _steps(axes: Axes, traces: UnitTraces, points: float) -> None:
    """Name the steps of the lowest panel: by their tokens where these have room, or else by their numbers."""
    tokens = _shown(traces, VISIBLE)
    each = points / traces.steps
    if not tokens or each < TOKEN_POINTS:
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_xlabel("step")
        return
    letters = max(map(len, tokens)) <= 2
    size = min(8.0, 1.2 * each) if letters else min(8.0, each)
    axes.set_xticks(
        range(1, traces.steps + 1),
        [token.replace("$", r"\$") for token in tokens],
        fontsize=size,
        rotation=0 if letters else 90,
        family="DejaVu Sans Mono",
    )
    axes.tick_params(axis="x", length=0, pad=1.5)
    axes.set_xlabel("what is read, step by step")


def _shown(traces: UnitTraces, instead: Mapping[str, str]) -> list[str]:
    """Return the tokens with what stands for some of them; what steers a terminal is escaped."""
    return [instead.get(each, str(readable(each))) for each in traces.tokens]
