"""A figure that knows what it is for and which data it shows, and how it is written to a file."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation
from matplotlib.transforms import Bbox

from bench.analysis.names import KINDS, Names

PAD_INCHES = 0.02
"""Room above and below a figure of a given width, as the style has it around others."""
FORMULA = re.compile(r"\$\\mathdefault\{(?:(\d+)\\times)?10\^\{(-?\d+)\}\}\$")
"""A power of ten as matplotlib writes it."""
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Sheet:
    """What a figure is for.

    Attributes:
        width: Columns of a page of two that it is to fill; ``None`` leaves the width to the number of panels.
        names: What cells, tasks, metrics and settings are called.
    """

    width: int | None = None
    names: Names = field(default_factory=Names)

    @classmethod
    def of(cls, names: Names, width: int | None = None) -> Sheet:
        """Return a sheet whose names are shown as they are: a dollar sign would begin a formula."""
        shown = {
            kind: {name: text.replace("$", r"\$") for name, text in getattr(names, kind).items()} for kind in KINDS
        }
        return cls(width, replace(names, **shown))

    @property
    def narrow(self) -> bool:
        """Whether it is for one column."""
        return self.width == 1


PLAIN = Sheet()
"""For nothing in particular."""


class Drawing(Figure):
    """A figure with its sheet, and the data that it shows.

    Attributes:
        sheet: What it is for.
        noted: What it shows, in parts: sequences of one length, or single values that stand for all of it, by column.
    """

    def __init__(self, *args: Any, sheet: Sheet = PLAIN, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sheet = sheet
        self.noted: list[dict[str, Any]] = []
        self._tight: Bbox | None = None

    @property
    def data(self) -> Iterator[dict[str, Any]]:
        """What it shows, one mapping of column to value for each line of its CSV."""
        for columns in self.noted:
            for i in range(_length(columns)):
                yield {key: value[i] if _is_sequence(value) else value for key, value in columns.items()}

    def to_csv(self) -> str:
        """Return the data, numbers with all their digits; what a line does not have, and what is not there, is empty.

        An infinite number is ``inf``.
        """
        columns = list(dict.fromkeys(column for columns in self.noted for column in columns))
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(columns)
        for noted in self.noted:
            length = _length(noted)
            writer.writerows(zip(*(_column(noted.get(name), length) for name in columns), strict=True))
        return buffer.getvalue()

    def to_bytes(self, form: str) -> bytes:
        """Return the figure as ``pdf``, ``png`` or ``svg``, or its data as ``csv``; the same figure gives the same."""
        if form == "csv":
            return self.to_csv().encode()
        buffer = io.BytesIO()
        undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
        # In a picture of lines only bars of colours are of dots; for each of them, dots as fine as those of a PNG take
        # the memory of a whole PNG.
        dots: dict[str, Any] = {"dpi": "figure"} if form in undated else {}
        self.savefig(buffer, format=form, metadata=undated.get(form), bbox_inches=self._box(), **dots)
        return buffer.getvalue()

    def _box(self) -> Bbox:
        """Return what is to be written: what there is, or where a width is given, that and so much of the height.

        A title that is longer than the figure is wide is not cut off; the picture is then so much wider. The panels get
        their places once, for all forms, which takes longer than to draw them.
        """
        if self._tight is None:
            self._label_in_plain_text()
            engine = self.get_layout_engine()
            if engine is not None:
                engine.execute(self)
            # With none at all, each form is drawn once; with one that does nothing, twice.
            self.set_layout_engine(None)
            self._tight = self.get_tightbbox()
        box = self._tight
        if self.sheet.width is None:
            return box.padded(PAD_INCHES)
        left, right = min(0, box.x0), max(self.get_figwidth(), box.x1)
        return Bbox.from_extents(left, box.y0 - PAD_INCHES, right, box.y1 + PAD_INCHES)

    def _label_in_plain_text(self) -> None:
        """Take the formulas from the labels of logarithmic axes: hundreds of them are laid out several times each."""
        for axis in (axis for axes in self.axes for axis in (axes.xaxis, axes.yaxis)):
            for labels, change in (
                (axis.get_major_formatter(), axis.set_major_formatter),
                (axis.get_minor_formatter(), axis.set_minor_formatter),
            ):
                if type(labels) is LogFormatterSciNotation:
                    change(Powers(labelOnlyBase=labels.labelOnlyBase))


class Powers(LogFormatterSciNotation):
    """Labels of a logarithmic axis in base ten, ``10⁻³`` or ``2×10⁴``, as plain text."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Return the label of a tick, which is empty where there is no room for all."""
        formula = super().__call__(x, pos)
        found = FORMULA.fullmatch(formula)
        if found is None:
            return formula
        factor, power = found.groups()
        return f"{factor}×10{power.translate(RAISED)}" if factor else f"10{power.translate(RAISED)}"


def root_of(axes: Axes) -> Figure:
    """Return the figure that a panel is in."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


def note(axes: Axes, **columns: Any) -> None:
    """Keep data that a panel shows, where the figure is one that keeps data.

    Args:
        axes: The panel.
        columns: Sequences of one length, or single values that stand for all of it.
    """
    figure = root_of(axes)
    if isinstance(figure, Drawing):
        figure.noted.append(columns)


def _length(columns: Mapping[str, Any]) -> int:
    lengths = {len(value) for value in columns.values() if _is_sequence(value)}
    assert len(lengths) <= 1, columns
    return lengths.pop() if lengths else 1


def _column(value: Any, length: int) -> Iterable[Any]:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    return map(_plain, value) if _is_sequence(value) else itertools.repeat(_plain(value), length)


_SEQUENCES = (list, tuple, range, np.ndarray)
"""What a figure notes as values of many points; to ask whether something is any sequence takes ten times as long."""


def _is_sequence(value: Any) -> bool:
    return isinstance(value, _SEQUENCES)


def _plain(value: Any) -> Any:
    """Return a value as a CSV has it; a number that is none is not there."""
    if isinstance(value, str):
        return value.replace(r"\$", "$")  # A picture needs the backslash.
    if value is None or value != value:
        return ""
    return value.item() if isinstance(value, np.generic) else value
