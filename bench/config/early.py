"""What the settings alone tell to be wrong, said before torch is imported; the whole check of a run comes after it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bench.config.plain import check_names, check_seed, naming, section, values
from bench.probes.settings import ProbeConfig
from bench.training.settings import DataConfig, RuntimeConfig, TrainingConfig

SECTIONS = {
    "data": DataConfig,
    "training": TrainingConfig,
    "probe": ProbeConfig,
    "runtime": RuntimeConfig,
}
"""Sections whose classes need no torch."""


def check_early(config: DictConfig) -> None:
    """Check the names of all settings, and those of a single run in sections that need no torch.

    Args:
        config: That of a whole command, with the ``hydra`` node.

    Raises:
        ConfigError: A setting is not there, or its value is out of range.
    """
    check_names(str(name) for name in config if name != "hydra")
    if config.hydra.mode == RunMode.MULTIRUN:
        return  # What the command has is not what each of its runs has.
    try:
        found: Any = OmegaConf.to_container(config, resolve=True)
    except (OmegaConfBaseException, RecursionError):
        return  # The whole check says which key it is.
    if isinstance(found.get("seed"), int):
        check_seed(found["seed"])
    for name, kind in SECTIONS.items():
        if isinstance(found.get(name), dict) and not any(value == "???" for _, value in values(found[name], "")):
            section(kind, found, name)
    if isinstance(found.get("optimizer"), dict):
        with naming("optimizer"):
            check_numbers(found["optimizer"])


def check_numbers(optimizer: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` for a number of an optimiser's that no optimiser takes."""
    for name, value in optimizer.items():
        if isinstance(value, bool) or not isinstance(value, float | int):
            continue
        sign = ">" if name == "lr" else ">="
        if not math.isfinite(value) or value < 0 or (value == 0 and name == "lr"):
            raise ValueError(f"`{name}` must be a finite number {sign} 0, got {value}")
        if name == "alpha" and value >= 1:
            raise ValueError(f"`{name}` must be >= 0 and < 1, got {value}")
    for name, value in optimizer.items():
        if isinstance(value, list) and not all(isinstance(item, float | int) and 0 <= item < 1 for item in value):
            raise ValueError(f"`{name}` must be numbers >= 0 and < 1, got {value}")
