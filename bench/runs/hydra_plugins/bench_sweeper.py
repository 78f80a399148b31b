"""The sweeper of ``bench run``, at the place where Hydra takes sweepers from: the namespace package ``hydra_plugins``.

The build puts this file there (``force-include`` in ``pyproject.toml``), for an editable installation too. It is a copy
then, and every other program in the environment that uses Hydra imports it as well. Therefore it holds nothing but the
class that Hydra asks for; what the class does stays in :mod:`bench.runs.sweeper`, which it imports when it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class BenchSweeper(Sweeper):
    """Plans and checks all runs of a command, and hands them to whichever launcher is chosen.

    Args:
        params: Values to sweep over by key, as ``hydra.sweeper.params`` has them; they are read from the config.
        workers: The number of runs at once; the sweep writes it into the config, for launchers to refer to.
    """

    def __init__(self, params: Mapping[str, str] | None, workers: int) -> None:
        self.params = params
        self.workers = workers

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what the sweep needs; the launcher is made when the number of workers is known."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> Any:
        """Make all runs.

        Args:
            arguments: Overrides that are not used, since the config names them, too.

        Returns:
            The outcome, a :class:`bench.runs.outcome.Outcome`.
        """
        from bench.runs.job import Command
        from bench.runs.sweeper import sweep

        assert isinstance(self.task_function, Command)
        assert self.config is not None
        assert self.hydra_context is not None
        return sweep(self.task_function, self.config, self.hydra_context)
