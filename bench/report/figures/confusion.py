"""Confusion matrices: which class a network takes for which, on the test set."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from bench.analysis.grouping import RunGroup
from bench.analysis.run import Run
from bench.records.series import CLASSES
from bench.report.figures.drawing import PLAIN, Drawing, Sheet, note
from bench.report.figures.style import COLUMN_INCHES, MOST_ACROSS, PAGE_INCHES, grid, rows_having, titled

SMALL = 4
"""Most classes whose fields have room for share and count."""
MOST_LARGE = 3
"""Most matrices of more classes that stand beside each other."""
MOST_WRITTEN = 20
"""Most classes whose counts are written into the fields."""
MOST_NAMED = 40
"""Most classes whose names stand beside the rows and columns."""
DARK = 0.55
"""Share from which on a field is so dark that its text is white."""


def confusion(runs: Iterable[Run], sheet: Sheet = PLAIN) -> Drawing | None:
    """Draw a matrix for each task and cell: rows are the true classes, columns those that the network takes them for.

    Counts are those of the test set, summed over the seeds. The colour of a field is its share of the row, so that a
    row sums to one. Runs whose predictions were not kept, or are no classes, are left out; the function returns
    ``None`` if there are no others.
    """
    rows, _ = rows_having(runs, lambda run: bool(classes_of(run)), sheet)
    if not rows:
        return None
    largest = max(len(classes_of(runs[0])) for row in rows for runs in row.runs.values())
    most = (MOST_ACROSS if largest <= SMALL else MOST_LARGE) // (2 if sheet.narrow else 1)
    places: list[tuple[RunGroup, list[str]]] = []
    for row in rows:
        cells = list(row.runs)
        places += [(row, cells[start : start + most]) for start in range(0, len(cells), most)]
    across = max(len(cells) for _, cells in places)
    width = COLUMN_INCHES if sheet.narrow or across == 1 else PAGE_INCHES
    # The matrices are square; beside them stand the names of classes and the key of the colours.
    height = (width - 0.9) / across - 0.35 + 0.85
    figure, axes = grid(len(places), across, width=width, height=height, sheet=sheet)
    for down, (row, cells) in enumerate(places):
        images = [
            _matrix(panel, row.label, column, row.runs[column], width / across)
            for panel, column in zip(axes[down], cells, strict=False)
        ]
        for panel in axes[down, len(cells) :]:
            panel.set_axis_off()
        for panel in axes[down, 1 : len(cells)]:
            panel.set_ylabel("")
        figure.colorbar(images[0], ax=list(axes[down]), label="share of the true class", shrink=0.8, pad=0.01)
    return figure


def classes_of(run: Run) -> tuple[str, ...]:
    """Return the names of the classes of a run's predictions; none where it has no such predictions."""
    table = run.predictions
    named = (table.schema.metadata or {}).get(CLASSES) if table is not None else None
    return tuple(json.loads(named)) if named is not None else ()


def counts_of(runs: Sequence[Run], classes: Sequence[str]) -> np.ndarray:
    """Return how often each class, in rows, was taken for each, in columns, in all runs together."""
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    for run in runs:
        if run.predictions is not None:
            pairs = (run.predictions[name].to_numpy() for name in ("target", "output"))
            np.add.at(counts, tuple(pairs), 1)
    return counts


def _matrix(axes: Axes, label: str, column: str, runs: Sequence[Run], width: float) -> AxesImage:
    """Draw one matrix, about ``width`` inches wide."""
    classes = classes_of(runs[0])
    counts = counts_of(runs, classes)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    true, taken = (np.ravel(each) for each in np.indices(counts.shape))
    note(axes, panel=label, line=column, true=[classes[i] for i in true], predicted=[classes[i] for i in taken],
         count=counts.ravel(), share=shares.ravel(), runs=len(runs))  # fmt: skip
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    if len(classes) <= MOST_WRITTEN:
        size = min(8.0, 23 * width / len(classes))
        for i, k in zip(true, taken, strict=True):
            if counts[i, k] or len(classes) <= SMALL:
                text = f"{100 * shares[i, k]:.1f} %\n{counts[i, k]:,}" if len(classes) <= SMALL else f"{counts[i, k]}"
                color = "white" if shares[i, k] > DARK else "0.15"
                axes.text(float(k), float(i), text, ha="center", va="center", fontsize=size, color=color)
    if len(classes) <= MOST_NAMED:
        long = max(map(len, classes)) * len(classes) > 12 * width
        axes.set_xticks(range(len(classes)), classes, rotation=90 if long else 0)
        axes.set_yticks(range(len(classes)), classes)
    axes.tick_params(length=0)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    seeds = f"{len(runs)} seed{'s' if len(runs) > 1 else ''}"
    titled(axes, f"{column}: {label}, {seeds}, {counts.sum():,} sequences", int(13 * width))
    return image
