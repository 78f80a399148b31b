"""The config of a whole command and the overrides of its runs. No torch is imported: mistakes are answered at once."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep, Sweep
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bench.config import schema
from bench.config.explain import ConfigError, explain, groups
from bench.config.hydra_app import CONFIG_NAME, Hydra
from bench.config.search import Search
from bench.config.sweep_grid import MOST_RUNS, SweepGrid

OURS = {
    "hydra.launcher.n_jobs": "launcher.workers",
    "hydra.sweeper.workers": "launcher.workers",
    "hydra.sweep.dir": "results_dir",
    "hydra.run.dir": "results_dir",
}
"""Settings of Hydra's that follow from our own."""
MULTIRUN = "hydra.mode=MULTIRUN"
"""The override that ``-m`` stands for."""
LONGEST_OVERRIDE = 100_000
"""Characters; the grammar of overrides takes minutes for millions of them."""

schema.register()


def compose_command(hydra: Hydra, overrides: Sequence[str]) -> DictConfig:
    """Return the config of a whole command, from which that of each run follows; it has the ``hydra`` node.

    Raises:
        ConfigError: It does not compose.
    """
    for override in overrides:
        _check_override(override)

    def compose(chosen: list[str], mode: RunMode = RunMode.RUN) -> DictConfig:
        return hydra.compose_config(CONFIG_NAME, chosen, run_mode=mode, validate_sweep_overrides=False)

    try:
        config = compose(list(overrides), RunMode.MULTIRUN)
    except Exception as error:
        raise ConfigError(explain(error, compose, list(overrides))) from error
    sweeper = config.hydra.runtime.choices["hydra/sweeper"]
    if sweeper != schema.SWEEPER:
        raise ConfigError(f"hydra/sweeper must be {schema.SWEEPER}, which checks all runs first, got {sweeper}")
    return config


def grid_of(config: DictConfig) -> SweepGrid:
    """Return the ``sweep`` node of a command, checked.

    Raises:
        ConfigError: See :func:`jobs_of`.
    """
    with _in_one_line():
        return _read_sweep(config)


def search_of(config: DictConfig) -> Search | None:
    """Return what the sweep of a command searches for.

    Raises:
        ConfigError: See :func:`jobs_of`.
    """
    with _in_one_line():
        return _read_sweep(config).search if config.hydra.mode == RunMode.MULTIRUN else None


def jobs_of(config: DictConfig, loader: ConfigLoader) -> list[list[str]]:
    """Return the overrides of each run: one list for a single run, the product of all values for a sweep.

    Args:
        config: What :func:`compose_command` returned, or Hydra made of the same overrides.
        loader: Reads the overrides.

    Raises:
        ConfigError: A sweep of the wrong form, or one where a single run is asked for.
    """
    with _in_one_line():
        return _jobs_of(config, loader)


@contextlib.contextmanager
def _in_one_line() -> Iterator[None]:
    """Turn whatever Hydra and OmegaConf raise into one line, as for a circle of interpolations in ``sweep``."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(explain(error)) from error


def _jobs_of(config: DictConfig, loader: ConfigLoader) -> list[list[str]]:
    if config.hydra.job.chdir:
        raise ConfigError("hydra.job.chdir must be false, as all paths are from where the command is given, got true")
    # An interpolation such as data.eval_size=${task.length} is one of each run.
    overrides = cast(list[str], OmegaConf.to_container(config.hydra.overrides.task, resolve=False))
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
    except OmegaConfBaseException:
        raise
    except ValueError as error:
        raise ConfigError(str(error).replace("`", "")) from error


def default_of(cfg: DictConfig, choices: Mapping[str, str | None]) -> Callable[[str], Any]:
    """Return the value of a key where no override has it; of a config group such as the cell, its choice."""
    return lambda key: choices[key] if key in choices else OmegaConf.select(cfg, key)


def _check_override(override: str) -> None:
    if len(override) > LONGEST_OVERRIDE:
        raise ConfigError(
            f"an override must have at most {LONGEST_OVERRIDE} characters, got {len(override)} ({override[:40]}...)"
        )
    key, _, value = override.lstrip("+~").partition("=")
    if key in OURS:
        raise ConfigError(f"{key} is not for bench run, {OURS[key]} sets it, got {value}")
    if (value[:1] == "[" or value == "{}") and key in groups():
        raise ConfigError(f"{key} must be the name of one option, got {value}")


def _read_sweep(config: DictConfig) -> SweepGrid:
    node = config.get("sweep")
    # As on the command line, an interpolation in a setting is one of each run.
    try:
        return SweepGrid.read(OmegaConf.to_container(node, resolve=False) if OmegaConf.is_config(node) else node)
    except ValueError as error:
        raise ConfigError(" ".join(str(error).replace("`", "").split())) from error


def _values(overrides: list[Override]) -> dict[str, list[str]]:
    """Return the values of each key, as overrides have them; of a key given twice the last."""
    found = {}
    for override in overrides:
        if override.is_sweep_override() and not override.is_discrete_sweep():
            raise HydraException(f"got {override.get_value_string()} for {override.get_key_element()}")
        swept, value = override.is_sweep_override(), override.value()
        if isinstance(value, RangeSweep):
            _check_range(value, override)
        if isinstance(value, ChoiceSweep) and any(isinstance(each, Sweep) for each in value.list):
            key, text = override.get_key_element(), override.get_value_string()
            raise ValueError(f"{key} must be a sweep of values, got one with another sweep inside ({text})")
        values = list(override.sweep_string_iterator()) if swept else [override.get_value_element_as_str()]
        if not values:
            key, text = override.get_key_element(), override.get_value_string()
            raise ValueError(f"{key} must have 1 to {MOST_RUNS} values, got 0 ({text})")
        found[override.get_key_element()] = values
    return found


def _check_range(value: RangeSweep, override: Override) -> None:
    """Refuse a range without values, and one with more than the memory holds, before it becomes a list.

    Raises:
        ValueError: It is such a range.
    """
    assert value.start is not None
    assert value.stop is not None
    count = (value.stop - value.start) / value.step if value.step else 0
    if not 0 < count <= MOST_RUNS:
        count = max(0, math.ceil(count)) if math.isfinite(count) else count
        text = f"{override.get_key_element()} must have 1 to {MOST_RUNS} values, got {count}"
        raise ValueError(f"{text} ({override.get_value_string()})")
