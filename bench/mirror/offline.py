"""The files of offline runs, below a results folder: which there are, and how new ones take the place of old ones."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from filelock import FileLock

from bench.records.write import write_whole

FOLDER = "wandb"
"""Where W&B's files are, below a results folder."""
MARK_FILE = "record.sha256"
"""Stands in the folder of an offline run, with the digest of its record and the project that it goes to."""


def folders(results_dir: Path, run_id: str) -> list[Path]:
    """Return the folders of offline runs with an id, the oldest first."""
    named = re.compile(rf"offline-run-\d+_\d+-{re.escape(run_id)}(-\d+)?")
    return sorted(path for path in (results_dir / FOLDER).glob("offline-run-*") if named.fullmatch(path.name))


def marks(results_dir: Path, run_id: str) -> list[str]:
    """Return the marks of the offline runs with an id, see :meth:`bench.mirror.client.Target.mark`."""
    files = [folder / MARK_FILE for folder in folders(results_dir, run_id)]
    return [file.read_text() for file in files if file.exists()]


def drop(results_dir: Path, run_id: str) -> None:
    """Remove the files of offline runs with an id."""
    for folder in folders(results_dir, run_id):
        remove(folder)


def remove(folder: Path) -> None:
    """Remove a folder, if it is there, as far as that is possible."""
    shutil.rmtree(folder, ignore_errors=True)


class Draft:
    """A folder for the files of an offline run while W&B writes them, from the start of a ``with`` block to its end.

    Args:
        results_dir: The results folder.
        run_id: Id of the run.

    Attributes:
        folder: Where W&B writes; what is still in it at the end is removed.
    """

    def __init__(self, results_dir: Path, run_id: str) -> None:
        self._results_dir = results_dir
        self._run_id = run_id
        self.folder = results_dir / FOLDER / f".{run_id}.{os.getpid()}"

    def __enter__(self) -> Draft:
        remove(self.folder)
        self.folder.mkdir(parents=True)
        return self

    def __exit__(self, *_: object) -> None:
        remove(self.folder)

    def keep(self, made: Path, mark: str) -> Path:
        """Put a run that W&B has written into place, instead of those of its id; return where it is.

        Args:
            made: Where W&B has written it.
            mark: Which record it was made of, and where it goes.

        Raises:
            OSError: It cannot be put there.
        """
        for name in ("logs", "tmp"):
            remove(made / name)
        write_whole(made / MARK_FILE, mark.encode())
        # Two processes may push the same run.
        with FileLock(self._results_dir / FOLDER / ".lock"):
            for folder in folders(self._results_dir, self._run_id):
                remove(folder)
            return made.rename(self._results_dir / FOLDER / made.name)
