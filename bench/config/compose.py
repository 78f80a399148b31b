"""What a command line asks for: every run of it, composed and checked before the first one starts."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_automatic_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from bench.config.explain import ConfigError, explain
from bench.config.resolve import build, default_of
from bench.config.run_spec import RunSpec
from bench.config.sweep_grid import SweepGrid
from bench.records import record
from bench.records.paths import checkpoint_path
from bench.records.read import check_record
from bench.runs import checkpoint
from bench.training import process

CONFIG_PATH = "pkg://conf"
CONFIG_NAME = "config"
OURS = {"hydra.launcher.n_jobs": "launcher.workers", "hydra.sweep.dir": "results_dir", "hydra.run.dir": "results_dir"}
"""Settings of Hydra's that follow from our own."""
LONGEST_OVERRIDE = 100_000
"""Characters; the grammar of overrides takes minutes for millions of them."""


def compose_runs(parsed: argparse.Namespace) -> list[RunSpec]:
    """Compose and check every run that a command line asks for, and what is there of it.

    Raises:
        ConfigError: What is wrong with the first run that cannot be made.
    """
    for override in parsed.overrides:
        _check_override(override)
    with _composer(parsed) as composer:
        specs = []
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
            specs.append(build(cfg, choices, overrides, _say))
            _check_place(specs[-1])
            _check_together(specs[-1], specs[0])
    return specs


def _say(text: str) -> None:
    print(f"bench run: {text}", file=sys.stderr, flush=True)


def _check_override(override: str) -> None:
    if len(override) > LONGEST_OVERRIDE:
        raise ConfigError(
            f"an override must have at most {LONGEST_OVERRIDE} characters, got {len(override)} ({override[:40]}...)"
        )
    key, _, value = override.lstrip("+~").partition("=")
    if key in OURS:
        raise ConfigError(f"{key} is not for bench run, {OURS[key]} sets it, got {value}")


def workers_of(specs: list[RunSpec]) -> int:
    """Runs at once, from the launcher's settings and the machine."""
    launcher, threads = specs[0].launcher, max(spec.runtime.thread_count for spec in specs)
    if launcher.name == "serial" or len(specs) == 1:
        return 1
    if any(spec.device.type == "cuda" for spec in specs):
        wanted = (launcher.workers_per_gpu or 1) * torch.cuda.device_count()
    else:
        wanted = launcher.workers or max(1, process.available_cores() // threads)
    return min(wanted, len(specs))


def _check_place(spec: RunSpec) -> None:
    """What is there of a run already must be whole: damage is not written over."""
    try:
        if spec.folder.exists():
            check_record(spec.folder)
        if spec.rerun != "all":
            checkpoint.load(checkpoint_path(spec.folder), spec.run_id, spec.shapes())
    except record.NewerRecordError as error:
        raise ConfigError(str(error)) from error
    except record.DamagedRecordError as error:
        if not (spec.folder / record.RECORD_FILE).exists() and not spec.folder.exists():
            return  # it is being replaced this very moment
        raise ConfigError(f"{error}; `bench status --repair` sets it aside") from error
    except checkpoint.DamagedCheckpointError as error:
        raise ConfigError(str(error)) from error


def _check_together(spec: RunSpec, first: RunSpec) -> None:
    """What all runs of one command share."""
    try:
        process.check(spec.runtime, first.runtime)
    except ValueError as error:
        raise ConfigError(f"runtime.{str(error).replace('`', '')}") from error
    for name in ("launcher", "rerun", "results_dir"):
        if getattr(spec, name) != getattr(first, name):
            raise ConfigError(
                f"{name} must be the same for all runs of one command: {_shown(first, name)}, got {_shown(spec, name)}"
            )
    if spec.launcher.workers_per_gpu is not None and spec.device.type != "cuda":
        raise ConfigError(
            f"launcher.workers_per_gpu must be null on the CPU, where launcher.workers counts, "
            f"got {spec.launcher.workers_per_gpu}"
        )
    if spec.launcher.workers is not None and spec.device.type == "cuda":
        raise ConfigError(
            "launcher.workers must be null on a GPU, where launcher.workers_per_gpu counts, "
            f"got {spec.launcher.workers}"
        )


def _shown(spec: RunSpec, name: str) -> str:
    """A setting as the command line has it."""
    value = getattr(spec, name)
    return value.name if name == "launcher" else str(value)


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
    sweep = _read_sweep(base)
    if base.get("budget") is not None and not sweep.budgets:
        raise ConfigError(f"budget must be null where no experiment has budgets, got {base.budget}")
    if not parsed.multirun and base.hydra.mode != RunMode.MULTIRUN:
        if swept:
            raise ConfigError(
                f"{swept[0].get_key_element()} must be one value, or a sweep with -m (--multirun), "
                f"got {swept[0].get_value_string()}"
            )
        if base.get("sweep") is not None:
            raise ConfigError("sweep must be null where hydra.mode is not MULTIRUN, got rows or settings")
        return [overrides]
    params = [f"{key}={value}" for key, value in (base.hydra.sweeper.get("params") or {}).items()]
    try:
        swept_params, given = (_values(parser.parse_overrides(texts)) for texts in (params, overrides))
        return sweep.jobs(swept_params, given, default_of(base, base.hydra.runtime.choices))
    except HydraException as error:
        raise ConfigError(f"a sweep's values must be a list, a choice() or a range(): {error}") from error
    except ValueError as error:
        raise ConfigError(str(error).replace("`", "")) from error


def _read_sweep(base: DictConfig) -> SweepGrid:
    node = base.get("sweep")
    try:
        return SweepGrid.read(OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node)
    except ValueError as error:
        raise ConfigError(" ".join(str(error).replace("`", "").split())) from error


def _values(overrides: list[Override]) -> dict[str, list[str]]:
    """The values of each key, as overrides have them; of a key given twice the last."""
    found = {}
    for override in overrides:
        if override.is_sweep_override() and not override.is_discrete_sweep():
            raise HydraException(f"got {override.get_value_string()} for {override.get_key_element()}")
        swept = override.is_sweep_override()
        values = list(override.sweep_string_iterator()) if swept else [override.get_value_element_as_str()]
        found[override.get_key_element()] = values
    return found
