"""The figures of many runs, drawn by two processes: each reads the tables that its own figures show."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.analysis.other_process import OtherProcess, is_of_use
from bench.analysis.run import Run, read_folders
from bench.records.record import DamagedRecordError
from bench.report.figures.draw import GROUPS, draw_group
from bench.report.figures.drawing import Sheet

MANY = 500
"""Number of runs from which on another process takes less time than it needs to start."""


def draw(
    runs: Sequence[Run], output: Path, forms: Sequence[str], sheet: Sheet, told: Callable[[Path], object]
) -> list[DamagedRecordError]:
    """Read what figures show, draw all that the runs allow, and write each file whole or not at all.

    Args:
        runs: The runs.
        output: The folder.
        forms: See :func:`bench.report.figures.draw.draw_runs`.
        sheet: What the figures are for.
        told: Called with each file when it and those before it are there.

    Returns:
        What is wrong with the tables that cannot be read.

    Raises:
        OSError: The output folder cannot be written to.
        ValueError: A figure cannot be drawn, or the other process has ended too early.
    """
    first, second = range(len(GROUPS))
    if len(runs) < MANY or not is_of_use():
        return [error for group in (first, second) for error in draw_group(runs, group, output, forms, sheet, told)]
    folders = [run.folder for run in runs]
    with OtherProcess(_drawn_elsewhere, folders, second, output, forms, sheet) as other:
        damaged = draw_group(runs, first, output, forms, sheet, told)
        files, more = other.answer()
    for path in files:
        told(path)
    return [*damaged, *more]


def _drawn_elsewhere(
    folders: Sequence[Path], group: int, output: Path, forms: Sequence[str], sheet: Sheet
) -> tuple[list[Path], list[DamagedRecordError]]:
    """Draw the figures of a group of runs that this process does not know yet; return the files and the errors."""
    files: list[Path] = []
    runs, _ = read_folders(folders)
    gc.freeze()
    return files, draw_group(runs, group, output, forms, sheet, files.append)
