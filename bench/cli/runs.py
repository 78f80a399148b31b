"""``bench runs``."""

from __future__ import annotations

import argparse

from bench.cli.common import complain, fail

COLUMNS = (
    "run", "status", "experiment", "task", "cell", "seed", "steps", "steps_to_solve", "metric", "test", "seconds",
    "folder",
)  # fmt: skip
"""What a line tells: ``test`` is the value of the task's metric, and ``-`` stands for what a run does not have."""


def runs_command(parsed: argparse.Namespace) -> int:
    """Print one line for each run, its fields parted by tabs; the exit code."""
    from bench.analysis.run import Run, read_runs
    from bench.errors import as_override

    def fields(run: Run) -> tuple[object, ...]:
        made = run.record
        metric = made.task_facts["metric"]
        return (
            run.run_id, run.status, run.experiment, run.task, run.cell, run.seed, made.steps, made.steps_to_solve,
            metric, made.metrics["test"].get(metric), made.time["wall_seconds"], run.folder,
        )  # fmt: skip

    runs, damaged = read_runs(parsed.folder)
    if not runs and not damaged:
        return fail("runs", f"DIR must hold records, found none below {str(parsed.folder)!r}")
    print("\t".join(COLUMNS))
    for run in runs:
        print("\t".join("-" if value is None else as_override(value) for value in fields(run)))
    return complain("runs", damaged)
