"""Finished records to W&B, each as one clean run from its row 0: offline as files, or online."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from bench.analysis.run import Run, read_exponents, read_reaches
from bench.mirror import contents, offline
from bench.mirror.client import MirrorError, Target, api, described, finish, started
from bench.mirror.entry import DIGEST, Entry, config_of, digest_of, directions_of, entry_of, exit_code_of, id_for
from bench.mirror.history import history

PAUSES = (0.0, 1.0, 3.0)
"""Seconds before each look at whether the server has a run whole."""

Pushed = Literal["pushed", "there"]


def push(run: Run, target: Target, asked: Mapping[str, Any], results_dir: Path, run_id: str | None = None) -> Pushed:
    """Bring one record to W&B, unless it is there already.

    A run that is there with another record, or half of one, is written anew. Online, the files of an offline run of the
    same id are then removed: ``wandb sync`` would add their rows to those that are there.

    Args:
        run: The run; its reach and exponents are read where they are missing.
        target: Where it goes.
        asked: What is asked of its names, see :func:`bench.mirror.client.asked_of`.
        results_dir: The folder below which W&B keeps its files, in a folder ``wandb``.
        run_id: The id in W&B; by default see :func:`id_of`.

    Raises:
        MirrorError: W&B cannot be reached, or refuses the run.
        DamagedRecordError: A table of the record cannot be read.
        OSError: The files cannot be written.
        ValueError: A name or group that cannot be read.
    """
    entry = entry_of(run.record, asked)
    entry = replace(entry, id=run_id or id_of(run))
    if target.mode == "offline":
        if target.mark(digest_of(run.folder)) in offline.marks(results_dir, entry.id):
            return "there"
        write_offline(run, entry, target, results_dir)
        return "pushed"
    there = online_digest(entry.id, target) == digest_of(run.folder)
    if not there:
        # All is read before anything is sent.
        fill(run)
        rows = list(history(run))
        with temporary() as draft:
            with started(entry, config_of(run.record), directions_of(run.record), target, draft) as live:
                contents.log_history(live, rows)
                contents.complete(live, run, draft)
            finish(live, exit_code_of(run.record))
        verify(entry.id, digest_of(run.folder), target)
    offline.drop(results_dir, entry.id)
    return "there" if there else "pushed"


def verify(run_id: str, digest: str, target: Target) -> None:
    """Make sure that the server has a run whole: W&B's client says nothing where the server refuses its rows.

    Raises:
        MirrorError: It has not, some seconds after the run has ended.
    """
    for pause in PAUSES:
        time.sleep(pause)
        if online_digest(run_id, target) == digest:
            return
    raise MirrorError(f"W&B has not taken all of run {run_id}")


def id_of(run: Run) -> str:
    """Return the id under which W&B has a run: its own, or the one that an agent of a W&B sweep has given it."""
    told = run.record.runtime.get("mirror") or {}
    return str(told.get("id") or id_for(run.run_id, run.experiment))


def fill(run: Run) -> None:
    """Read the reach and the exponents of a run, where they have not been read.

    Raises:
        DamagedRecordError: They cannot be read.
    """
    damaged = [*(read_reaches([run]) if run.reach is None else []), *read_exponents([run])]
    if damaged:
        raise damaged[0]


def write_offline(run: Run, entry: Entry, target: Target, results_dir: Path) -> Path:
    """Write the files of an offline run in place of those that are there for its id; return their folder.

    They appear whole or not at all: ``wandb sync`` passes over the beginnings of a file without a word, and over the
    id for good.

    Raises:
        MirrorError: W&B does not take the run, or the record cannot be copied.
        DamagedRecordError: A table of the record cannot be read.
        OSError: The folder cannot be made, or put into place.
    """
    fill(run)
    rows = list(history(run))
    with offline.Draft(results_dir, entry.id) as draft:
        with started(entry, config_of(run.record), directions_of(run.record), target, draft.folder) as live:
            contents.log_history(live, rows)
            contents.complete(live, run, None)
        finish(live, exit_code_of(run.record))
        return draft.keep(Path(live.dir).parent, target.mark(digest_of(run.folder)))


@contextlib.contextmanager
def temporary() -> Iterator[Path]:
    """Give an empty folder for the files of an online run; its path, which W&B uploads, tells nothing of the user."""
    with tempfile.TemporaryDirectory(prefix="rnn-bench-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def online_digest(run_id: str, target: Target) -> str | None:
    """Return the digest of the record that a finished run on the server was made of; ``None`` if there is no such run.

    Raises:
        MirrorError: The server does not answer.
    """
    from wandb.errors import CommError

    path = "/".join(filter(None, (target.entity, target.project, run_id)))
    with described("be asked for a run"):
        try:
            found = api().run(path)
        except (CommError, ValueError) as error:
            if "not find" in str(error) or "not found" in str(error).lower():
                return None
            raise
        return found.summary.get(DIGEST) if found.state == "finished" else None
