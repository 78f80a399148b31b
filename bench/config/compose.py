"""What a command line asks for: every run of it, composed and checked before the first one starts."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig

from bench.config.command import compose_command, jobs_of
from bench.config.explain import ConfigError, explain
from bench.config.hydra_app import Composer, opened
from bench.config.resolve import build
from bench.config.run_spec import RunSpec


def compose_runs(overrides: Sequence[str], *, config_dir: str | None = None) -> list[RunSpec]:
    """Compose and check every run that a command asks for, wherever its records would go.

    Args:
        overrides: ``key=value``, as on the command line; :data:`bench.config.command.MULTIRUN` makes them a sweep.
        config_dir: A folder of configs of the user's.

    Raises:
        ConfigError: What is wrong with the first run that cannot be made.
    """
    with opened(config_dir) as hydra:
        return list(runs_of(compose_command(hydra, overrides), hydra.config_loader))


def runs_of(
    config: DictConfig,
    loader: ConfigLoader,
    jobs: Sequence[list[str]] | None = None,
    composer: Composer | None = None,
) -> Iterator[RunSpec]:
    """Return the runs of a command, one after the other, each composed and built once.

    Args:
        config: What :func:`compose_command` returned, or Hydra made of the same overrides.
        loader: Composes.
        jobs: The overrides of each run; ``None`` for those of :func:`jobs_of`.
        composer: Composes; one that several calls share composes what their runs have in common once.

    Raises:
        ConfigError: What is wrong with the first run that cannot be made.
    """

    composer = composer or Composer(config, loader)
    alike: dict[str, RunSpec] = {}
    for overrides in jobs_of(config, loader) if jobs is None else jobs:
        try:
            cfg, choices = composer.compose(overrides)
        except Exception as error:
            raise ConfigError(explain(error, composer.plainly, overrides)) from error
        yield build(cfg, choices, overrides, _say, alike)


def _say(text: str) -> None:
    print(f"bench run: {text}", file=sys.stderr, flush=True)
