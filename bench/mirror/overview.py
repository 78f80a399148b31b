"""The summary run of an experiment in W&B: its table and its figures, computed here, where every number has an n."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.analysis.run import Run
from bench.mirror import offline
from bench.mirror.client import Target, finish, started
from bench.mirror.contents import as_files, staged_in
from bench.mirror.entry import DIGEST, Entry, digest_of
from bench.mirror.push import online_digest, temporary, verify

JOB_TYPE = "summary"
"""The job type of summary runs, by which dashboards leave them out of their curves."""


@dataclass(frozen=True)
class Overview:
    """What an experiment has come to.

    Attributes:
        experiment: Its name.
        digest: A text that is the same for the same records.
        table: The table as CSV.
        page: The table as HTML.
        figures: Pictures as PNG.
    """

    experiment: str
    digest: str
    table: str
    page: str
    figures: Sequence[Path]

    @property
    def entry(self) -> Entry:
        """Its names in W&B."""
        name = f"summary of {self.experiment}"
        run_id = hashlib.sha256(name.encode()).hexdigest()[:12]
        return Entry(run_id, name, self.experiment, JOB_TYPE, (JOB_TYPE,), None)


def digest_of_all(runs: Sequence[Run]) -> str:
    """Return a text that is the same for the same records, in whatever order."""
    return hashlib.sha256("".join(sorted(digest_of(run.folder) for run in runs)).encode()).hexdigest()[:16]


def is_there(experiment: str, digest: str, target: Target, results_dir: Path) -> bool:
    """Return whether W&B has the summary run of an experiment, made of the same records."""
    entry = Overview(experiment, digest, "", "", ()).entry
    if target.mode == "offline":
        return target.mark(digest) in offline.marks(results_dir, entry.id)
    there = online_digest(entry.id, target) == digest
    if there:
        offline.drop(results_dir, entry.id)
    return there


def push_overview(overview: Overview, target: Target, results_dir: Path) -> None:
    """Bring the summary run of an experiment to W&B, in place of the one that is there.

    Raises:
        MirrorError: W&B cannot be reached, or refuses the run.
        OSError: The files cannot be written.
    """
    entry = overview.entry
    if target.mode == "offline":
        with offline.Draft(results_dir, entry.id) as draft:
            made = _send(overview, entry, target, draft.folder)
            draft.keep(made, target.mark(overview.digest))
        return
    with temporary() as folder:
        _send(overview, entry, target, folder)
    verify(entry.id, overview.digest, target)
    offline.drop(results_dir, entry.id)


def _send(overview: Overview, entry: Entry, target: Target, folder: Path) -> Path:
    """Make the summary run, and return the folder of its files."""
    import wandb

    config = {"experiment": overview.experiment, "task_name": None, "cell_name": None}
    header: Any
    header, *rows = csv.reader(io.StringIO(overview.table))
    with started(entry, config, {}, target, folder) as live, staged_in(folder):
        media = {
            "table": wandb.Table(columns=header, data=[[cell or None for cell in row] for row in rows]),
            "table_html": wandb.Html(overview.page, inject=False),
            **{f"figures/{path.stem}": wandb.Image(str(path)) for path in overview.figures},
        }
        if target.mode == "offline":
            as_files(live, media, 0)
        live.log(media)
        live.summary.update({DIGEST: overview.digest})
    finish(live, 0)
    return Path(live.dir).parent
