"""``bench.run``: from Python what ``bench run`` is on the command line."""

from __future__ import annotations

import os
import sys
import threading

from bench.analysis.collection import Runs, completed
from bench.analysis.run import read_folders
from bench.config.explain import ConfigError
from bench.runs import launch
from bench.training.process import torch_as_it_starts

MULTIRUN = ("-m", "--multirun")
_one_at_a_time = threading.RLock()
"""Hydra and torch keep settings for a whole process; a call from another thread waits for the first."""


def run(*overrides: str, config_dir: str | os.PathLike[str] | None = None) -> Runs:
    """Make the runs that a command line names, as far as they are not there, and return all of them.

    Runs that this process makes itself set torch's threads and its deterministic mode, which stay as they set them.
    They are made with torch's own default type, device and modes, whatever the process has set; these are restored.
    With ``launcher=joblib``, other processes make them. A call from another thread waits until this one has ended.

    Args:
        overrides: The words of the command line, as in ``"+experiment=demo", "seed=range(0,3)"``, or in
            ``"-m", "cell=lstm,gru"``.
        config_dir: A folder of the user's own configs and modules.

    Returns:
        The runs that are named, those included that were there already, and those that failed; why a run has no result
        is said on standard error, and in its record.

    Raises:
        ConfigError: What is wrong with the command line, in the line that the command prints.
        LaunchError: The runs cannot be launched, or the disk fails.
        KeyboardInterrupt: The runs were stopped by a signal; the same call goes on from there.
    """
    words = [word for word in overrides if word not in MULTIRUN]
    if flags := [word for word in words if word.startswith("-")]:
        raise ConfigError(f"an override must have the form key=value, or be -m, got {flags[0]!r}")
    folder = None if config_dir is None else os.fspath(config_dir)
    with _one_at_a_time, torch_as_it_starts():
        environment = dict(os.environ)
        try:
            outcome = launch.run(words, multirun=len(words) < len(overrides), config_dir=folder)
        finally:
            # Deterministic algorithms on a GPU are asked for by a variable.
            os.environ.clear()
            os.environ.update(environment)
    for problem in outcome.problems:
        print(problem, file=sys.stderr)
    if outcome.stopped is not None:
        raise KeyboardInterrupt(f"stopped by {outcome.stopped}; the same call goes on from here")
    return completed(*read_folders(outcome.folders))
