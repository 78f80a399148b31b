"""``bench figures``."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.common import FIGURES, PICTURES, RUNS, complain, fail, listed_names, merged, names_given

if TYPE_CHECKING:
    from bench.records.record import DamagedRecordError

MANY = 500
"""Number of records from which on another process takes less time than it needs to start."""


def pictures(text: str) -> tuple[str, ...]:
    """Return the forms of pictures that a comma separates, each once."""
    found = tuple(dict.fromkeys(listed_names(text)))
    for name in found:
        if name not in PICTURES:
            raise argparse.ArgumentTypeError(f"must be of {', '.join(PICTURES)}, got {name!r}")
    return found


def figures_command(parsed: argparse.Namespace) -> int:
    """Draw the figures of a folder of records, with their data; the exit code."""
    from bench.records.read import find_records
    from bench.tuning.trials import TRIALS_FILE

    if (parsed.folder / TRIALS_FILE).is_file():
        return _figures_of_trials(parsed, parsed.folder / TRIALS_FILE)
    folders = find_records(parsed.folder)
    if not folders:
        return fail("figures", f"DIR must hold records, found none below {str(parsed.folder)!r}")
    try:
        return complain("figures", _drawn(parsed, folders))
    except ValueError as error:
        return fail("figures", str(error).replace("`", ""))
    except OSError as error:
        return fail("figures", f"--output must be a folder that can be written to, {error}")


def _drawn(parsed: argparse.Namespace, folders: list[Path]) -> list[DamagedRecordError]:
    """Draw the figures of records, and tell of each file; return what is wrong with those that cannot be read."""
    from bench.analysis.other_process import OtherProcess, is_of_use

    told = partial(print, flush=True)
    if len(folders) < MANY or not is_of_use():
        return _draw(parsed, folders, (0, 1), told)
    # The other process starts before this one has imported what it draws with, and later than this one; it gets less.
    with OtherProcess(_drawn_elsewhere, parsed, folders) as other:
        damaged = _draw(parsed, folders, (1,), told)
        files, more = other.answer()
    for path in files:
        told(path)
    told_once = {str(error): error for error in (*damaged, *more)}  # Both have read the records.
    return list(told_once.values())


def _drawn_elsewhere(parsed: argparse.Namespace, folders: list[Path]) -> tuple[list[Path], list[DamagedRecordError]]:
    """Draw the figures of the first group; return the files and what is wrong."""
    files: list[Path] = []
    return files, _draw(parsed, folders, (0,), files.append)


def _draw(
    parsed: argparse.Namespace, folders: list[Path], groups: tuple[int, ...], told: Callable[[Path], object]
) -> list[DamagedRecordError]:
    """Read records, choose those that are asked for, and draw some of the groups of figures."""
    from bench.analysis.run import read_folders
    from bench.analysis.table import check_typed, chosen
    from bench.report.figures.draw import draw_group
    from bench.report.figures.drawing import Sheet

    runs, damaged = read_folders(folders)
    if not runs:
        return damaged
    where = merged(parsed.where or ())
    check_typed(runs, where)
    kept = chosen(runs, where)
    for flag, key in (("cells", "cell"), ("tasks", "task")):
        if (wanted := getattr(parsed, flag)) is not None:
            _check(flag, wanted, (run.settings[key] for run in runs))
            kept = chosen(kept, {key: wanted})
    sheet = Sheet.of(names_given(parsed).resolved(runs), parsed.width)
    if len(kept) >= MANY and 1 in groups:
        print(f"bench figures: reading the tables of {len(kept)} runs", file=sys.stderr, flush=True)
    output = parsed.output or (FIGURES if parsed.folder == RUNS else parsed.folder / "figures")
    # What there is now stays until the end: not to look at it again for garbage saves a fifth of the time.
    gc.freeze()
    for group in groups:
        damaged += draw_group(kept, group, output, (*parsed.format, "csv"), sheet, told)
    return damaged


def _figures_of_trials(parsed: argparse.Namespace, file: Path) -> int:
    """Draw the figures of a folder of trials of ``bench tune``; each of its hundreds of settings has only few runs."""
    from bench.report.figures.draw import draw_trials
    from bench.report.figures.drawing import Sheet
    from bench.tuning.trials import read_trials

    if parsed.where:
        return fail("figures", "--where must not be given for trials, among which --cells and --tasks choose")
    try:
        lines = read_trials(file)
        for flag, name in (("cells", "cell"), ("tasks", "task")):
            if (wanted := getattr(parsed, flag)) is not None:
                _check(flag, wanted, (getattr(line, name) for line in lines))
                lines = [line for line in lines if getattr(line, name) in wanted]
        sheet = Sheet.of(names_given(parsed), parsed.width)
        forms = (*parsed.format, "csv")
        draw_trials(lines, parsed.output or file.parent / "figures", forms, sheet, partial(print, flush=True))
    except ValueError as error:
        return fail("figures", str(error).replace("`", ""))
    except OSError as error:
        return fail("figures", f"--output must be a folder that can be written to, {error}")
    return 0


def _check(flag: str, wanted: Iterable[str], there: Iterable[str]) -> None:
    from bench.errors import one_of

    known = list(dict.fromkeys(there))
    for name in wanted:
        if name not in known:
            raise ValueError(f"--{flag} must be of {one_of(name, known)}")
