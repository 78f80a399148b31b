"""``bench run``: from its words to a call, and from what comes of it to messages and an exit code."""

from __future__ import annotations

import argparse
import sys

from bench.cli.completion import completion
from bench.config import hydra_app
from bench.config.explain import ConfigError, explain
from bench.runs import launch
from bench.runs.outcome import LaunchError
from bench.sweeps import signals
from bench.training.waiting import SharedCores

DRY_RUN_FLAGS = ("--dry-run", "--plan")
"""One flag by two names."""
NOT_OURS = {
    "config_name": "--config-dir adds a folder of yours",
    "config_path": "--config-dir adds a folder of yours",
    "experimental_rerun": "bench replay makes a run again",
}
"""Flags of Hydra's that ``bench run`` does not take, and what to use."""


def run_command(arguments: list[str], cores: SharedCores) -> int:
    """Run what the command line asks for.

    Args:
        arguments: What follows ``bench run``.
        cores: The cores that other processes use, watched from the beginning.

    Returns:
        The exit code: 0 if every run is there, 1 if one has no result, 2 if the command line is wrong, or that of
        :func:`bench.sweeps.signals.exit_code`.
    """
    dry_run = any(flag in arguments for flag in DRY_RUN_FLAGS)
    parsed = hydra_app.parse([argument for argument in arguments if argument not in DRY_RUN_FLAGS])
    if _only_shows(parsed):
        return _show(parsed)
    try:
        _check_flags(parsed)
        outcome = launch.run(
            parsed.overrides, multirun=parsed.multirun, config_dir=parsed.config_dir, dry_run=dry_run, cores=cores
        )
    except (ConfigError, LaunchError) as error:
        print(f"bench run: {error}", file=sys.stderr)
        return 2
    for problem in outcome.problems:
        print(f"bench run: {problem}", file=sys.stderr)
    return signals.exit_code(outcome.stopped) if outcome.stopped is not None else int(bool(outcome.problems))


def _check_flags(parsed: argparse.Namespace) -> None:
    for name, instead in NOT_OURS.items():
        value = getattr(parsed, name)
        if value is not None:
            raise ConfigError(f"--{name.replace('_', '-')} is not for bench run, {instead}, got {value!r}")


def _only_shows(parsed: argparse.Namespace) -> bool:
    """Return whether nothing is run: a text answers, or what is wrong about a combination of Hydra's flags."""
    shows = parsed.help or parsed.hydra_help or parsed.cfg or parsed.info or parsed.shell_completion
    return bool(shows or parsed.resolve or (parsed.run and parsed.multirun))


def _show(parsed: argparse.Namespace) -> int:
    """Show what is asked for and train nothing; the exit code."""
    try:
        if parsed.shell_completion:
            print(completion(parsed.overrides))
        else:
            hydra_app.show(parsed)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever Hydra raises becomes one line
        print(f"bench run: {explain(error)}", file=sys.stderr)
        return 2
    return 0
