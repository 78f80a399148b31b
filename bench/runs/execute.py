"""One run as one story: train, look at the result, write it down as a record, and commit the record."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bench.analysis.run import Run
from bench.config.run_spec import RunSpec
from bench.records import record
from bench.records.paths import checkpoint_path, failed_path
from bench.records.read import read_record
from bench.records.record import Record
from bench.records.write import amend, commit, discard, prepare
from bench.runs.loggers import Mirror
from bench.runs.progress import Pulse
from bench.runs.result import Outcome, Result
from bench.runs.to_record import curves_of, probes_of, record_of
from bench.runs.train import train
from bench.training import process


def execute(
    spec: RunSpec, command: str, pulse: Pulse, lost: Callable[[], str | None], title: str | None, sweep: str = ""
) -> Record:
    """Train one network, test it once, and write the record; go on from the run's checkpoint if there is one.

    A loss that is not finite, any exception, and a request to stop end in a record, not in an exception. A record
    without a result never takes the place of one with a result, and keeps the checkpoint; that of a failed try goes
    beside it, see :func:`bench.records.paths.failed_path`.

    Args:
        spec: What to run. This process must hold the run's lease.
        command: The command line that makes this run, for the record.
        pulse: Is told of every step.
        lost: Says why this process has the lease no longer, ``None`` while it has; then nothing is written any more.
        title: Is shown in front of the progress; ``None`` shows none.
        sweep: Token of the sweep that the run belongs to.

    Raises:
        OSError: The record cannot be written.
    """
    draft = prepare(spec.folder)
    mirror = Mirror(spec, draft, sweep)
    mirrored: Run | None = None
    try:
        with process.torch_as_it_starts():
            runtime = process.set_up(spec.runtime)
            result = train(spec, mirror, pulse, lost, title)
        made = record_of(spec, result, command, {**runtime, **mirror.facts})
        if not lost():
            there = _put_in_place(draft, spec, made, result)
            # A run that goes on later is mirrored as a whole then.
            mirrored = Run(made, spec.folder) if there and made.status != "interrupted" else None
    finally:
        discard(draft)
        mirror.finish(mirrored)
    told = replace(made, runtime={**made.runtime, **mirror.facts})
    if mirrored is not None and told != made and not lost():
        # The record is in place, and what is said of its mirror is not worth an error.
        with contextlib.suppress(OSError):
            amend(spec.folder, told)
    return told


def give_up(spec: RunSpec, command: str, reason: str) -> Record:
    """Write a ``failed`` record for a run that has taken its process with it.

    Args:
        spec: The run. This process must hold its lease.
        command: See :func:`execute`.
        reason: What happened.

    Raises:
        OSError: The record cannot be written.
    """
    draft = prepare(spec.folder)
    try:
        result = Result(Outcome("failed", reason))
        made = record_of(spec, result, command, {"threads": spec.runtime.thread_count})
        _put_in_place(draft, spec, made, result)
    finally:
        discard(draft)
    return made


def _put_in_place(draft: Path, spec: RunSpec, made: Record, result: Result) -> bool:
    """Commit a record to its place: a result anywhere, anything else only where there is no result.

    Returns:
        Whether the record is now that of the run.
    """
    folder, files = spec.folder, (curves_of(result), probes_of(spec, result), result.kept)
    if made.status in record.FINAL:
        commit(draft, folder, made, *files)
        discard(failed_path(folder))
        checkpoint_path(folder).unlink(missing_ok=True)
    elif not has_result(folder):
        commit(draft, folder, made, *files)
    elif made.status == "failed":
        commit(draft, failed_path(folder), made, *files)
        return False
    else:
        return False
    return True


def has_result(folder: Path) -> bool:
    """Return whether a run has a record that is a result."""
    with contextlib.suppress(record.DamagedRecordError):
        return read_record(folder).status in record.FINAL
    return False
