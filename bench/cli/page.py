"""``bench page``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from bench.cli.common import RUNS, complain, fail, merged

PAGE = Path("results", "page.html")
"""Where the page is if nothing else is said."""
MANY = 1000
"""Number of runs from which on to read them takes a while, which is said."""
MOST_NAMED = 3
"""Number of experiments up to which a title names all of them."""


def page_command(parsed: argparse.Namespace) -> int:
    """Write the page of some folders of records; the exit code."""
    from bench.analysis.run import read_runs
    from bench.analysis.table import check_typed, chosen
    from bench.records.write import write_output
    from bench.report.web.content import content_of
    from bench.report.web.document import document

    runs, damaged = [], []
    for folder in parsed.folders:
        found, wrong = read_runs(folder)
        if not found and not wrong:
            return fail("page", f"DIR must hold records, found none below {str(folder)!r}")
        runs += found
        damaged += wrong
    if runs:
        output = parsed.output or (PAGE if parsed.folders == [RUNS] else parsed.folders[0] / PAGE.name)
        try:
            where = merged(parsed.where or ())
            check_typed(runs, where)
            kept = chosen(runs, where)
        except ValueError as error:
            return fail("page", str(error).replace("`", ""))
        if len(kept) >= MANY:
            print(f"bench page: reading the tables of {len(kept)} runs", file=sys.stderr, flush=True)
        content, wrong = content_of(kept)
        damaged += wrong
        try:
            write_output(output, document(content, parsed.title or _title(run.experiment for run in kept)))
        except OSError as error:
            return fail("page", f"--output must be a file that can be written, {error}")
        print(output)
    return complain("page", damaged)


def _title(experiments: Iterable[str]) -> str:
    names = sorted(set(experiments))
    return f"rnn-bench: {', '.join(names) if len(names) <= MOST_NAMED else f'{len(names)} experiments'}"
