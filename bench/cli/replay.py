"""``bench replay``."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli.common import fail


def replay_command(parsed: argparse.Namespace) -> int:
    """Make a run again from its record and compare; the exit code."""
    from bench.records.read import find_records

    folder = Path(parsed.run)
    if not folder.is_dir():
        found = [each for each in find_records(Path("results")) if each.name == parsed.run]
        if len(found) != 1:
            there = f"found {len(found)} records of {parsed.run!r}"
            return fail("replay", f"RUN must be the folder of a record, or a run id below results, {there}")
        folder = found[0]
    if not 0 <= parsed.tolerance < float("inf"):
        return fail("replay", f"--tolerance must be a number >= 0, got {parsed.tolerance}")
    from bench.runs.replay import replay_run

    return replay_run(folder, parsed.trust, parsed.config_dir, parsed.tolerance)
