"""``bench replay``."""

from __future__ import annotations

import argparse

from bench.cli.common import fail


def replay_command(parsed: argparse.Namespace) -> int:
    """Make a run again from its record and compare; the exit code."""
    from bench.records.read import run_folder

    try:
        folder = run_folder(parsed.run)
    except ValueError as error:
        return fail("replay", str(error))
    if not 0 <= parsed.tolerance < float("inf"):
        return fail("replay", f"--tolerance must be a number >= 0, got {parsed.tolerance}")
    from bench.runs.replay import replay_run

    return replay_run(folder, parsed.trust, parsed.config_dir, parsed.tolerance)
