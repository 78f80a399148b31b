"""One call of ``bench run`` over several runs, as all its processes know it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.config.run_spec import RunSpec
from bench.records import lease, record
from bench.records.paths import checkpoint_path, failed_path, signature
from bench.records.read import read_record
from bench.records.write import write_whole
from bench.sweeps import signals
from bench.sweeps.state import PlannedRun

INVOCATION = "BENCH_INVOCATION"
"""Environment variable by which workers find what the jobs of one command share."""


@dataclass(frozen=True)
class Invocation:
    """What the jobs of one ``bench run`` share.

    Attributes:
        sweep: Token of the process that was started by the user.
        token: Random, one for each invocation, of which a process may see several.
        run_ids: The runs it has planned.
        rerun: ``none``, ``failed`` or ``all``.
        before: Versions of the records and checkpoints that were there when it started, by path.
        alone: Whether there is one run only, which shows its own progress.
        stop_file: While this file is there, no job starts.
        only: Folder of the one run that this pass is for; ``None`` for all.
    """

    sweep: str
    token: str
    run_ids: list[str]
    rerun: str
    before: dict[str, str]
    alone: bool
    stop_file: str
    only: str | None = None

    @classmethod
    def start(cls, specs: Sequence[RunSpec], folder: Path, *, alone: bool) -> Invocation:
        """The invocation that starts now."""
        before = {}
        for spec in specs:
            for path in (spec.folder, failed_path(spec.folder)):
                version = signature(path)
                if version is not None:
                    before[str(path)] = version
            with contextlib.suppress(OSError):
                saved = checkpoint_path(spec.folder)
                before[str(saved)] = str(saved.stat().st_mtime_ns)
        sweep = lease.this_process().sweep
        return cls(
            sweep=sweep,
            token=secrets.token_hex(8),
            run_ids=[spec.run_id for spec in specs],
            rerun=specs[0].rerun,
            before=before,
            alone=alone,
            stop_file=str(folder.absolute() / f".{sweep}.stop"),
        )

    @classmethod
    def read(cls, path: Path) -> Invocation:
        """The invocation that a worker belongs to."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def write(self, path: Path) -> None:
        """Write it for the workers."""
        write_whole(path, json.dumps(asdict(self)).encode())

    @property
    def stopped(self) -> bool:
        """Whether no job is to start any more."""
        return signals.requested() is not None or Path(self.stop_file).exists()

    def is_news(self, folder: Path) -> bool:
        """Whether a record was written after the start."""
        return signature(folder) != self.before.get(str(folder))

    def wants(self, folder: Path) -> bool:
        """Whether a run is still to be made."""
        if signature(folder) is None:
            return True
        try:
            status = read_record(folder).status
        except record.DamagedRecordError:
            # A record that is being replaced this very moment is no damage.
            return signature(folder) is None
        if status == "interrupted":
            return True
        again = self.rerun == "all" or (self.rerun == "failed" and status == "failed")
        return again and not self.is_news(folder)

    def starts_over(self, folder: Path) -> bool:
        """Whether a checkpoint is from before, and not to be gone on from."""
        path = checkpoint_path(folder)
        with contextlib.suppress(OSError):
            return self.rerun == "all" and str(path.stat().st_mtime_ns) == self.before.get(str(path))
        return False


def planned(specs: Sequence[RunSpec]) -> list[PlannedRun]:
    """The runs of all run specs, each once."""
    runs = {
        spec.folder: PlannedRun(
            run_id=spec.run_id,
            folder=str(spec.folder.relative_to(spec.results_dir)),
            label=spec.label,
            kind=spec.kind,
            max_steps=spec.training.max_steps,
        )
        for spec in specs
    }
    return list(runs.values())


def folder_of(specs: Sequence[RunSpec], overrides: Sequence[str]) -> Path:
    """Where the plan of a sweep is kept: the same place whenever the same is asked."""
    asked = hashlib.sha256("\n".join(sorted(overrides)).encode()).hexdigest()[:8]
    return specs[0].results_dir / "sweeps" / f"{specs[0].experiment}-{asked}"
