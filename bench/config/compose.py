"""What a command line asks for: every run of it, composed and checked before the first one starts."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from bench.config.command import compose_command
from bench.config.explain import ConfigError, explain
from bench.config.hydra_app import Composer, opened
from bench.config.resolve import build, default_of
from bench.config.run_spec import RunSpec
from bench.config.search import Search
from bench.config.sweep_grid import MOST_RUNS, SweepGrid


def compose_runs(overrides: Sequence[str], *, config_dir: str | None = None) -> list[RunSpec]:
    """Compose and check every run that a command asks for, wherever its records would go.

    Args:
        overrides: ``key=value``, as on the command line; :data:`MULTIRUN` makes them a sweep.
        config_dir: A folder of configs of the user's.

    Raises:
        ConfigError: What is wrong with the first run that cannot be made.
    """
    with opened(config_dir) as hydra:
        return list(runs_of(compose_command(hydra, overrides), hydra.config_loader))


def runs_of(config: DictConfig, loader: ConfigLoader, jobs: Sequence[list[str]] | None = None) -> Iterator[RunSpec]:
    """Return the runs of a command, one after the other, each composed and built once.

    Args:
        config: What :func:`compose_command` returned, or Hydra made of the same overrides.
        loader: Composes.
        jobs: The overrides of each run; ``None`` for those of :func:`jobs_of`.

    Raises:
        ConfigError: What is wrong with the first run that cannot be made.
    """

    composer = Composer(config, loader)
    alike: dict[str, RunSpec] = {}
    for overrides in jobs_of(config, loader) if jobs is None else jobs:
        try:
            cfg, choices = composer.compose(overrides)
        except Exception as error:
            raise ConfigError(explain(error, composer.plainly, overrides)) from error
        yield build(cfg, choices, overrides, _say, alike)


def search_of(config: DictConfig) -> Search | None:
    """Return what the sweep of a command searches for.

    Raises:
        ConfigError: See :func:`jobs_of`.
    """
    return _read_sweep(config).search if config.hydra.mode == RunMode.MULTIRUN else None


def jobs_of(config: DictConfig, loader: ConfigLoader) -> list[list[str]]:
    """Return the overrides of each run: one list for a single run, the product of all values for a sweep.

    Args:
        config: See :func:`runs_of`.
        loader: See :func:`runs_of`.

    Raises:
        ConfigError: A sweep of the wrong form, or one where a single run is asked for.
    """
    if config.hydra.job.chdir:
        raise ConfigError("hydra.job.chdir must be false, as all paths are from where the command is given, got true")
    overrides = list(config.hydra.overrides.task)
    parser = OverridesParser.create(config_loader=loader)
    sweep = _read_sweep(config)
    if config.get("budget") is not None and not sweep.budgets:
        raise ConfigError(f"budget must be null where no experiment has budgets, got {config.budget}")
    if config.hydra.mode != RunMode.MULTIRUN:
        swept = [override for override in parser.parse_overrides(overrides) if override.is_sweep_override()]
        if swept:
            raise ConfigError(
                f"{swept[0].get_key_element()} must be one value, or a sweep with -m (--multirun), "
                f"got {swept[0].get_value_string()}"
            )
        if config.get("sweep") is not None:
            raise ConfigError("sweep must be null where hydra.mode is not MULTIRUN, got rows or settings")
        return [overrides]
    params = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    try:
        swept_params, given = (_values(parser.parse_overrides(texts)) for texts in (params, overrides))
        return sweep.jobs(swept_params, given, default_of(config, config.hydra.runtime.choices))
    except HydraException as error:
        raise ConfigError(f"a sweep's values must be a list, a choice() or a range(): {error}") from error
    except ValueError as error:
        raise ConfigError(str(error).replace("`", "")) from error


def _say(text: str) -> None:
    print(f"bench run: {text}", file=sys.stderr, flush=True)


def _read_sweep(config: DictConfig) -> SweepGrid:
    node = config.get("sweep")
    try:
        return SweepGrid.read(OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node)
    except ValueError as error:
        raise ConfigError(" ".join(str(error).replace("`", "").split())) from error


def _values(overrides: list[Override]) -> dict[str, list[str]]:
    """Return the values of each key, as overrides have them; of a key given twice the last."""
    found = {}
    for override in overrides:
        if override.is_sweep_override() and not override.is_discrete_sweep():
            raise HydraException(f"got {override.get_value_string()} for {override.get_key_element()}")
        swept = override.is_sweep_override()
        texts = override.sweep_string_iterator() if swept else [override.get_value_element_as_str()]
        # A range may have more values than the memory holds.
        values = list(itertools.islice(texts, MOST_RUNS + 1))
        found[override.get_key_element()] = values
    return found
