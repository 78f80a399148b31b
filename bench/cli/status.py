"""``bench status``."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli.common import RUNS, complain, fail
from bench.errors import one_of


def status_command(parsed: argparse.Namespace) -> int:
    """Show how far the planned runs are; the exit code."""
    from bench.sweeps import status

    if parsed.watch is not None and not 0 < parsed.watch < float("inf"):
        return fail("status", f"--watch must be a number of seconds > 0, got {parsed.watch}")
    folder = Path(parsed.what)
    if not folder.is_dir() and (RUNS / parsed.what).is_dir():
        folder = RUNS / parsed.what
    if not folder.is_dir():
        return _status_of_new(parsed.what)
    repaired: list[str] = []
    if parsed.repair:
        try:
            repaired = status.repair(status.ResultsFolder(folder))
            for line in repaired:
                print(line)
        except OSError as error:
            return fail("status", f"DIR must be writable for --repair ({error})")
    results = status.ResultsFolder(folder)
    if not results.runs and repaired:
        return 0
    if not results.runs:
        return fail("status", f"EXPERIMENT|DIR must hold runs, found none below {parsed.what!r}")
    if parsed.watch is not None:
        try:
            run_states = status.watch(lambda: status.ResultsFolder(folder), parsed.watch)
        except KeyboardInterrupt:
            return 0
    else:
        text, run_states = status.show(results)
        print(text, end="")
    return complain("status", [run_state.damage for run_state in run_states if run_state.damage is not None])


def _status_of_new(name: str) -> int:
    """Say how many runs an experiment plans of which none has begun, and return the exit code."""
    from bench.config.experiments import names, size

    if name not in names():
        return fail("status", f"EXPERIMENT|DIR must be a folder that is there, or {one_of(name, names())}")
    print(f"{name}: {size(name)} runs planned, none begun; bench run +experiment={name}")
    return 0
