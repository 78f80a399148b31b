"""The config of a whole command, composed before torch is imported: a misspelt key is answered at once."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.types import RunMode
from omegaconf import DictConfig

from bench.config import schema
from bench.config.explain import ConfigError, explain
from bench.config.hydra_app import CONFIG_NAME, Hydra

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


def _check_override(override: str) -> None:
    if len(override) > LONGEST_OVERRIDE:
        raise ConfigError(
            f"an override must have at most {LONGEST_OVERRIDE} characters, got {len(override)} ({override[:40]}...)"
        )
    key, _, value = override.lstrip("+~").partition("=")
    if key in OURS:
        raise ConfigError(f"{key} is not for bench run, {OURS[key]} sets it, got {value}")
