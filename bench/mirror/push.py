"""Finished records to W&B, each as one clean run from its row 0: offline as files, or online."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from bench.analysis.run import Run, read_exponents, read_reaches
from bench.mirror import contents
from bench.mirror.client import MirrorError, Target, api, described, finish, start
from bench.mirror.entry import DIGEST, Entry, config_of, digest_of, directions_of, entry_of, exit_code_of
from bench.records.write import write_whole

FOLDER = "wandb"
"""Where W&B's files are, below a results folder."""
DIGEST_FILE = "record.sha256"
"""Stands in the folder of an offline run, with the digest of its record."""

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
        if digest_of(run.folder) in offline_digests(results_dir, entry.id):
            return "there"
        write_offline(run, entry, target, results_dir)
        return "pushed"
    if online_digest(entry.id, target) == digest_of(run.folder):
        return "there"
    fill(run)
    folder = results_dir / FOLDER
    with cleared(folder / f".{entry.id}.online") as draft:
        live = start(entry, config_of(run.record), directions_of(run.record), target, draft)
        with described("take a run"):
            contents.log_history(live, run)
            contents.complete(live, run, draft)
        finish(live, exit_code_of(run.record))
    verify(run, entry.id, target)
    drop_offline(results_dir, entry.id)
    return "pushed"


def verify(run: Run, run_id: str, target: Target) -> None:
    """Make sure that the server has a run whole: W&B's client says nothing where the server refuses its rows.

    Raises:
        MirrorError: It has not.
    """
    if online_digest(run_id, target) != digest_of(run.folder):
        raise MirrorError(f"W&B has not taken all of run {run_id}")


def id_of(run: Run) -> str:
    """Return the id under which W&B has a run: its own, or the one that an agent of a W&B sweep has given it."""
    told = run.record.runtime.get("mirror") or {}
    return str(told.get("id") or run.run_id)


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
    """
    fill(run)
    folder = results_dir / FOLDER
    data = folder / "data" / f"run-{entry.id}"
    with cleared(folder / f".{entry.id}.offline") as draft:
        live = start(entry, config_of(run.record), directions_of(run.record), target, draft)
        contents.log_history(live, run)
        contents.complete(live, run, data)
        finish(live, exit_code_of(run.record))
        return keep_offline(Path(live.dir).parent, entry.id, digest_of(run.folder), results_dir)


def keep_offline(made: Path, run_id: str, digest: str, results_dir: Path) -> Path:
    """Put the folder of an offline run into place, instead of those that are there for its id; return where it is."""
    for folder in offline_folders(results_dir, run_id):
        remove(folder)
    for name in ("logs", "tmp"):
        remove(made / name)
    write_whole(made / DIGEST_FILE, digest.encode())
    return made.rename(results_dir / FOLDER / made.name)


@contextlib.contextmanager
def cleared(folder: Path) -> Iterator[Path]:
    """Give an empty folder for W&B's files, and remove it with all that is still in it."""
    remove(folder)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        remove(folder)


def remove(folder: Path) -> None:
    """Remove a folder, if it is there, as far as that is possible."""
    shutil.rmtree(folder, ignore_errors=True)


def offline_folders(results_dir: Path, run_id: str) -> list[Path]:
    """Return the folders of offline runs with an id, the oldest first."""
    named = re.compile(rf"offline-run-\d+_\d+-{re.escape(run_id)}(-\d+)?")
    return sorted(path for path in (results_dir / FOLDER).glob("offline-run-*") if named.fullmatch(path.name))


def was_synced(results_dir: Path, run_id: str) -> bool:
    """Return whether ``wandb sync`` has uploaded an offline run that is still there."""
    return any(any(folder.glob("*.synced")) for folder in offline_folders(results_dir, run_id))


def drop_offline(results_dir: Path, run_id: str) -> None:
    """Remove the files of offline runs with an id."""
    for folder in offline_folders(results_dir, run_id):
        remove(folder)
    remove(results_dir / FOLDER / "data" / f"run-{run_id}")


def offline_digests(results_dir: Path, run_id: str) -> list[str]:
    """Return the digests of the records that offline runs with an id were made of."""
    files = [folder / DIGEST_FILE for folder in offline_folders(results_dir, run_id)]
    return [file.read_text() for file in files if file.exists()]


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
