"""The figures of many runs, drawn by two processes: each reads the tables that its own figures show."""

from __future__ import annotations

import contextlib
import gc
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.analysis.run import Run, read_folders
from bench.records.record import DamagedRecordError
from bench.report.figures.draw import GROUPS, draw_group
from bench.report.figures.drawing import Sheet
from bench.training.settings import available_cores

MANY = 500
"""Number of runs from which on another process takes less time than it needs to start."""
_OTHER = f"from {__name__} import other_process; other_process()"


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
    if len(runs) < MANY or available_cores() < 2:
        return [error for group in (first, second) for error in draw_group(runs, group, output, forms, sheet, told)]
    with tempfile.TemporaryFile() as asked:
        pickle.dump(([run.folder for run in runs], second, output, forms, sheet), asked)
        asked.seek(0)
        # In a session of its own it does not hear Ctrl-C: this process ends it.
        other = subprocess.Popen(
            [sys.executable, "-c", _OTHER], stdin=asked, stdout=subprocess.PIPE, start_new_session=True
        )
    with other:
        try:
            damaged = draw_group(runs, first, output, forms, sheet, told)
            files, more = _answer_of(other)
        finally:
            other.kill()
    for path in files:
        told(path)
    return [*damaged, *more]


def other_process() -> None:
    """Draw the figures of a group, asked for on the standard input; say there which files and errors there are."""
    folders, group, output, forms, sheet = pickle.load(sys.stdin.buffer)
    files: list[Path] = []
    answer: object
    try:
        runs, _ = read_folders(folders)
        gc.freeze()
        answer = files, draw_group(runs, group, output, forms, sheet, files.append)
    except Exception as error:  # noqa: BLE001  It is raised in the first process.
        answer = error
    with contextlib.suppress(BrokenPipeError):  # Nobody may be there any more who asks.
        pickle.dump(answer, sys.stdout.buffer)
        sys.stdout.buffer.flush()


def _answer_of(other: subprocess.Popen[bytes]) -> tuple[list[Path], list[DamagedRecordError]]:
    assert other.stdout is not None
    try:
        answer = pickle.load(other.stdout)
    except EOFError as error:
        raise ValueError("the process that draws half of the figures has ended too early") from error
    if isinstance(answer, Exception):
        raise answer
    return answer
