"""``bench figures``."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from bench.cli.common import FIGURES, PICTURES, RUNS, complain, fail, listed_names, merged, names_given


def pictures(text: str) -> tuple[str, ...]:
    """Return the forms of pictures that a comma separates, each once."""
    found = tuple(dict.fromkeys(listed_names(text)))
    for name in found:
        if name not in PICTURES:
            raise argparse.ArgumentTypeError(f"must be of {', '.join(PICTURES)}, got {name!r}")
    return found


def figures_command(parsed: argparse.Namespace) -> int:
    """Draw the figures of a folder of records, with their data; the exit code."""
    from bench.analysis.run import read_runs
    from bench.analysis.table import chosen
    from bench.report.figures.drawing import Sheet
    from bench.report.figures.two_processes import MANY, draw
    from bench.tuning.trials import TRIALS_FILE

    if (parsed.folder / TRIALS_FILE).is_file():
        return _figures_of_trials(parsed, parsed.folder / TRIALS_FILE)
    runs, damaged = read_runs(parsed.folder)
    if not runs and not damaged:
        return fail("figures", f"DIR must hold records, found none below {str(parsed.folder)!r}")
    if runs:
        output = FIGURES if parsed.folder == RUNS else parsed.folder / "figures"
        try:
            kept = chosen(runs, merged(parsed.where or ()))
            for flag, key in (("cells", "cell"), ("tasks", "task")):
                if (wanted := getattr(parsed, flag)) is not None:
                    _check(flag, wanted, (run.settings[key] for run in runs))
                    kept = chosen(kept, {key: wanted})
            sheet = Sheet.of(names_given(parsed).resolved(runs), parsed.width)
            if len(kept) >= MANY:
                print(f"bench figures: reading the tables of {len(kept)} runs", file=sys.stderr, flush=True)
            forms = (*parsed.format, "csv")
            # What is there now stays until the end: not to look at it again for garbage saves a fifth of the time.
            gc.freeze()
            damaged += draw(kept, parsed.output or output, forms, sheet, partial(print, flush=True))
        except ValueError as error:
            return fail("figures", str(error).replace("`", ""))
        except OSError as error:
            return fail("figures", f"--output must be a folder that can be written to, {error}")
    return complain("figures", damaged)


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
