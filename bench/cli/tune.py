"""``bench tune``: from its words to a call, and from what comes of it to messages and an exit code."""

from __future__ import annotations

import importlib.util
import sys

from bench.cli.common import fail
from bench.training.waiting import SharedCores

HELP = """usage: bench tune +experiment=NAME [KEY=VALUE ...] [--dry-run] [--config-dir DIR]

Looks for the best setting of each cell, by the same number of trials of the same number of steps for all, and runs it
with seeds that no trial has seen: only these belong in a table. Takes the words of `bench run`; the experiment says
in `sweep.tune` what is searched over, and the command line can change it. What is there already is not made again.

  --dry-run, --plan   the trials, what is searched over, and the time; trains and writes nothing

  bench tune +experiment=tuning
  bench tune +experiment=tuning cell=lstm,gru sweep.tune.trials=60 sweep.tune.sampler=tpe
  bench tune +experiment=tuning --config-dir ./mine cell=rnn,mine sweep.tune.trials=60

Needs Optuna: pip install 'rnn-bench[tune]'. docs/tune.md says what is fair about it, and when it misleads.
"""


def tune_command(arguments: list[str], cores: SharedCores) -> int:
    """Look for the best setting of each cell.

    Args:
        arguments: What follows ``bench tune``.
        cores: The cores that other processes use, watched from the beginning.

    Returns:
        The exit code, as of :func:`bench.cli.run.run_command`.
    """
    if not arguments or "-h" in arguments or "--help" in arguments:
        print(HELP, end="")
        return 0
    if importlib.util.find_spec("optuna") is None:
        return fail("tune", "Optuna must be installed, pip install 'rnn-bench[tune]'")
    from bench.cli.run import DRY_RUN_FLAGS
    from bench.config import hydra_app
    from bench.config.explain import ConfigError
    from bench.runs import launch
    from bench.runs.outcome import LaunchError
    from bench.sweeps import signals

    dry_run = any(flag in arguments for flag in DRY_RUN_FLAGS)
    parsed = hydra_app.parse([argument for argument in arguments if argument not in DRY_RUN_FLAGS])
    if parsed.cfg or parsed.info or parsed.resolve or parsed.run or parsed.shell_completion or parsed.hydra_help:
        return fail("tune", "takes overrides, --config-dir and --dry-run alone, no other flag")
    try:
        outcome = launch.run(
            parsed.overrides, multirun=parsed.multirun, config_dir=parsed.config_dir, dry_run=dry_run, tunes=True,
            cores=cores,
        )  # fmt: skip
    except (ConfigError, LaunchError) as error:
        return fail("tune", str(error))
    for problem in outcome.problems:
        print(f"bench tune: {problem}", file=sys.stderr)
    return signals.exit_code(outcome.stopped) if outcome.stopped is not None else int(bool(outcome.problems))
