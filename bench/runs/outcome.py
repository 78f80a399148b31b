"""What becomes of a command: its runs, or why there are none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hydra.errors import HydraException

from bench.config.explain import explain


@dataclass(frozen=True)
class Outcome:
    """What became of a command.

    Attributes:
        folders: The folder of each run that the command stands for, once, in order.
        problems: What kept runs from a result, a line each; empty if all results are there, and for a dry run.
        stopped: Name of the signal that stopped it, if one did.
    """

    folders: tuple[Path, ...]
    problems: tuple[str, ...] = ()
    stopped: str | None = None

    @classmethod
    def of_stop(cls, folders: tuple[Path, ...], stopped: str, flag: str = "") -> Outcome:
        """Return the outcome of a command that a signal has stopped.

        Args:
            folders: The folder of each run that has been planned.
            stopped: Name of the signal.
            flag: What the command needs besides its words to go on.
        """
        again = f" with {flag}" if flag else ""
        return cls(folders, (f"stopped by {stopped}; the same command{again} goes on from here",), stopped)


class LaunchError(RuntimeError):
    """The runs of a command cannot be launched, or the disk fails; one line."""

    @classmethod
    def of(cls, error: BaseException) -> LaunchError:
        """Return the error in one line."""
        writing = isinstance(error, OSError) and not isinstance(error, HydraException)
        return cls(f"{'results_dir must be writable: ' if writing else ''}{explain(error)}")
