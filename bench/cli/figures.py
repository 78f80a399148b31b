"""``bench figures``."""

from __future__ import annotations

import argparse

from bench.cli.common import FIGURES, RUNS, complain, fail


def figures_command(parsed: argparse.Namespace) -> int:
    """Draw the figures of a folder of records; the exit code."""
    from bench.records.read import find_records
    from bench.report.figures.draw import draw_all

    folders = find_records(parsed.folder)
    if not folders:
        return fail("figures", f"DIR must hold records, found none below {str(parsed.folder)!r}")
    output = FIGURES if parsed.folder == RUNS else parsed.folder / "figures"
    try:
        written, damaged = draw_all(parsed.folder, parsed.output or output)
    except OSError as error:
        return fail("figures", f"--output must be a folder that can be written to, {error}")
    for path in written:
        print(path)
    return complain("figures", damaged)
