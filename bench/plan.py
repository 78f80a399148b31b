"""What a command line asks for: every run of it, composed and checked before the first one starts."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_automatic_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from bench import runtime
from bench.build import ConfigError, Plan, build
from bench.messages import explain

CONFIG_PATH = "pkg://conf"
CONFIG_NAME = "config"


def plan_runs(parsed: argparse.Namespace) -> list[Plan]:
    """Compose and check every run that a command line asks for.

    Raises:
        ConfigError: What is wrong with the first run that cannot be made.
    """
    with _composer(parsed) as composer:
        plans = []
        for overrides in _jobs(composer, parsed):
            try:
                cfg = _compose(composer, overrides, RunMode.RUN)
                choices = cfg.hydra.runtime.choices
                with open_dict(cfg):
                    del cfg["hydra"]
            except Exception as error:
                raise ConfigError(
                    explain(error, lambda keep: _compose(composer, keep, RunMode.RUN), overrides)
                ) from error
            plans.append(build(cfg, choices, overrides))
            try:
                runtime.check(plans[-1].runtime, plans[0].runtime)
            except ValueError as error:
                raise ConfigError(f"runtime.{str(error).replace('`', '')}") from error
    return plans


@contextlib.contextmanager
def _composer(parsed: argparse.Namespace) -> Iterator[Hydra]:
    """Hydra with the search path that ``@hydra.main`` will have."""
    for flag, value in (("--config-name", parsed.config_name), ("--config-path", parsed.config_path)):
        if value is not None:
            raise ConfigError(f"{flag} is not for bench run, --config-dir adds a folder of yours, got {value!r}")
    search_path = create_automatic_config_search_path(None, None, CONFIG_PATH)
    if parsed.config_dir is not None:
        folder = Path(parsed.config_dir).absolute()
        if not folder.is_dir():
            raise ConfigError(f"--config-dir must be a folder, got {parsed.config_dir!r}")
        search_path.prepend(provider="command-line", path=f"file://{folder}")
    try:
        yield Hydra.create_main_hydra2("bench", search_path)
    finally:
        GlobalHydra.instance().clear()


def _compose(composer: Hydra, overrides: list[str], mode: RunMode) -> DictConfig:
    return composer.compose_config(
        CONFIG_NAME, overrides, run_mode=mode, with_log_configuration=False, validate_sweep_overrides=False
    )


def _jobs(composer: Hydra, parsed: argparse.Namespace) -> list[list[str]]:
    """The overrides of each run: one list for a single run, the product of all values for a sweep."""
    overrides = list(parsed.overrides)
    try:
        base = _compose(composer, overrides, RunMode.MULTIRUN)
        parser = OverridesParser.create(config_loader=composer.config_loader)
        swept = [override for override in parser.parse_overrides(overrides) if override.is_sweep_override()]
    except Exception as error:
        raise ConfigError(explain(error, lambda keep: _compose(composer, keep, RunMode.RUN), overrides)) from error
    if not parsed.multirun and base.hydra.mode != RunMode.MULTIRUN:
        if swept:
            raise ConfigError(
                f"{swept[0].get_key_element()} must be one value, or a sweep with -m (--multirun), "
                f"got {swept[0].get_value_string()}"
            )
        return [overrides]
    params = [f"{key}={value}" for key, value in (base.hydra.sweeper.get("params") or {}).items()]
    task_overrides = list(base.hydra.overrides.task)
    try:
        batches = BasicSweeper.split_arguments(parser.parse_overrides([*params, *task_overrides]), None)
    except HydraException as error:
        raise ConfigError(f"a sweep's values must be a list, a choice() or a range(): {error}") from error
    return [list(overrides) for overrides in batches[0]]
