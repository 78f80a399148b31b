"""``bench figures``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from functools import partial

from bench.cli.common import FIGURES, PICTURES, RUNS, complain, fail, listed_names, merged, names_given

MANY = 500
"""Number of runs whose tables take a second to read, which is said."""


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
    from bench.report.figures.draw import draw_runs, readable
    from bench.report.figures.drawing import Sheet

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
            whole, broken = readable(kept)
            damaged += broken
            if whole:
                forms = (*parsed.format, "csv")
                draw_runs(whole, parsed.output or output, forms, sheet, told=partial(print, flush=True))
        except ValueError as error:
            return fail("figures", str(error).replace("`", ""))
        except OSError as error:
            return fail("figures", f"--output must be a folder that can be written to, {error}")
    return complain("figures", damaged)


def _check(flag: str, wanted: Iterable[str], there: Iterable[str]) -> None:
    from bench.errors import one_of

    known = list(dict.fromkeys(there))
    for name in wanted:
        if name not in known:
            raise ValueError(f"--{flag} must be of {one_of(name, known)}")
