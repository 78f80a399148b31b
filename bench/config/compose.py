"""What a command line asks for: every run of it, composed and checked before the first one starts."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf

from bench.config.command import compose_command, jobs_of
from bench.config.explain import ConfigError, explain
from bench.config.hydra_app import Composer, opened
from bench.config.resolve import build, with_seed
from bench.config.run_spec import RunSpec

SEED = re.compile(r"seed=(0|[1-9]\d{0,17})")
"""An override that is a seed, of which each is as good as the other."""
RESOLVER = re.compile(r"\$\{\s*([\w.]+)\s*:")
"""A function in an interpolation, with its name."""
OUR_RESOLVERS = ("unless",)
"""Those that look at nothing but what they are given."""


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
    first_of: dict[tuple[str, ...], RunSpec] = {}
    for overrides in jobs_of(config, loader) if jobs is None else jobs:
        rest, seed = _without_seed(overrides)
        if seed is not None and rest in first_of:
            yield with_seed(first_of[rest], seed, overrides)
            continue
        try:
            cfg, choices = composer.compose(overrides)
        except Exception as error:
            raise ConfigError(explain(error, composer.plainly, overrides)) from error
        spec = build(cfg, choices, overrides, _say, alike)
        if seed is not None and _seed_stands_alone(OmegaConf.to_container(cfg, resolve=False)):
            first_of[rest] = spec
        yield spec


def _without_seed(overrides: Sequence[str]) -> tuple[tuple[str, ...], int | None]:
    """Return the overrides of a run but for its seed, and the seed; ``None`` if that is not one number."""
    found = [SEED.fullmatch(text) for text in overrides]
    seeds = [int(match[1]) for match in found if match is not None]
    rest = tuple("seed" if match is not None else text for text, match in zip(overrides, found, strict=True))
    return rest, seeds[0] if len(seeds) == 1 else None


def _seed_stands_alone(node: Any, depth: int = 0) -> bool:
    """Return whether nothing else in a config, given with its interpolations, can depend on the seed.

    No condition may have its name, no text refer to it, and no function be asked for a value that can look anywhere.
    """
    if isinstance(node, dict):
        named = depth and "seed" in node
        return not named and all(_seed_stands_alone(value, depth + 1) for value in node.values())
    if isinstance(node, list):
        return all(_seed_stands_alone(value, depth + 1) for value in node)
    return not isinstance(node, str) or ("seed" not in node and {*RESOLVER.findall(node)} <= {*OUR_RESOLVERS})


def _say(text: str) -> None:
    print(f"bench run: {text}", file=sys.stderr, flush=True)
