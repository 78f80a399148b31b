"""One call of ``bench run``, as all its processes know it."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.records import lease, record
from bench.records.paths import checkpoint_path, failed_path, signature
from bench.records.read import read_record
from bench.sweeps import signals
from bench.sweeps.state import PlannedRun


@dataclass(frozen=True)
class Invocation:
    """What the jobs of one ``bench run`` share.

    Attributes:
        sweep: Token of the process that the user has started.
        token: A random text. Each invocation has its own, and a worker may see several.
        run_ids: The runs that are planned.
        rerun: ``none``, ``failed`` or ``all``.
        before: Versions of the records and checkpoints that were there when it started, by path.
        alone: Whether there is one run only, which shows its own progress.
        stop_file: While this file is there, no job starts.
    """

    sweep: str
    token: str
    run_ids: list[str]
    rerun: str
    before: dict[str, str]
    alone: bool
    stop_file: str

    @classmethod
    def start(
        cls, runs: Sequence[PlannedRun], results_dir: Path, rerun: str, folder: Path, *, alone: bool
    ) -> Invocation:
        """Return the invocation that starts now.

        Args:
            runs: All its runs.
            results_dir: The results folder.
            rerun: ``none``, ``failed`` or ``all``.
            folder: Where the plan of the sweep is kept.
            alone: Whether there is one run only, which shows its own progress.
        """
        before = {}
        for place in (results_dir / run.folder for run in runs):
            for path in (place, failed_path(place)):
                version = signature(path)
                if version is not None:
                    before[str(path)] = version
            with contextlib.suppress(OSError):
                saved = checkpoint_path(place)
                before[str(saved)] = str(saved.stat().st_mtime_ns)
        sweep = lease.this_process().sweep
        return cls(
            sweep=sweep,
            token=secrets.token_hex(8),
            run_ids=[run.run_id for run in runs],
            rerun=rerun,
            before=before,
            alone=alone,
            stop_file=str(folder.absolute() / f".{sweep}.stop"),
        )

    @property
    def stopped(self) -> bool:
        """Whether no job is to start any more."""
        return signals.requested() is not None or Path(self.stop_file).exists()

    def is_news(self, folder: Path) -> bool:
        """Return whether a record was written after the start."""
        return signature(folder) != self.before.get(str(folder))

    def wants(self, folder: Path) -> bool:
        """Return whether a run is still to be made."""
        if signature(folder) is None:
            return True
        try:
            status = read_record(folder).status
        except record.DamagedRecordError:
            # A record that another process replaces at this very moment is no damage.
            return signature(folder) is None
        if status == "interrupted":
            return True
        again = self.rerun == "all" or (self.rerun == "failed" and status == "failed")
        return again and not self.is_news(folder)

    def starts_over(self, folder: Path) -> bool:
        """Return whether a checkpoint is from before, and not to be gone on from."""
        path = checkpoint_path(folder)
        with contextlib.suppress(OSError):
            return self.rerun == "all" and str(path.stat().st_mtime_ns) == self.before.get(str(path))
        return False


def folder_of(results_dir: Path, experiment: str, overrides: Sequence[str]) -> Path:
    """Where the plan of a sweep is kept: the same place whenever the same is asked."""
    asked = hashlib.sha256("\n".join(sorted(overrides)).encode()).hexdigest()[:8]
    return results_dir / "sweeps" / f"{experiment}-{asked}"
