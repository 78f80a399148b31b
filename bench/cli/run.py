"""``bench run``: from its words to checked runs; Hydra reads the rest of the command line."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path

from hydra._internal.utils import get_args_parser

from bench.config.compose import compose_runs, workers_of
from bench.config.explain import ConfigError
from bench.runs import dry_run
from bench.runs.launch import EXIT_CODES, hand_over, make_all, say_error

DRY_RUN_FLAGS = ("--dry-run", "--plan")
"""One flag by two names."""
NO_CHOICE = ("published:", "table:")
"""Folders of ``conf/`` that Hydra takes for choices: what papers report, and tables."""


def run_command(arguments: list[str]) -> int:
    """Run what the command line asks for.

    Args:
        arguments: What follows ``bench run``.

    Returns:
        The exit code: 0 if every run is there, 1 if one has no result, 2 if the command line is wrong, 130 or 143 if
        stopped by a signal.
    """
    only_dry_run = any(flag in arguments for flag in DRY_RUN_FLAGS)
    arguments = [argument for argument in arguments if argument not in DRY_RUN_FLAGS]
    # Flags may stand anywhere here; Hydra wants them in front.
    parsed = get_args_parser().parse_intermixed_args(arguments)
    flags = [argument for argument in arguments if argument not in parsed.overrides]
    sys.argv = ["bench run", *flags, *parsed.overrides]
    # Files of one's own: beside the YAML, or where the command is given.
    sys.path[:0] = [str(Path(parsed.config_dir).absolute())] if parsed.config_dir else []
    sys.path.append(str(Path.cwd()))
    os.environ["HYDRA_FULL_ERROR"] = "1"
    if parsed.help:
        return _help()
    if parsed.hydra_help or parsed.cfg or parsed.info or parsed.shell_completion:
        error = hand_over()
        return 0 if error is None else say_error(error)
    try:
        specs = compose_runs(parsed)
        workers = workers_of(specs)
        for note in dict.fromkeys(spec.engine.note for spec in specs if spec.engine.note is not None):
            print(f"bench run: engine {note}", file=sys.stderr)
        if only_dry_run:
            dry_run.show(specs, workers)
            return 0
        return make_all(specs, workers, parsed.overrides, parsed.config_dir)
    except ConfigError as error:
        print(f"bench run: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench run: interrupted", file=sys.stderr)
        return EXIT_CODES["SIGINT"]
    except BrokenPipeError:
        raise
    except OSError as error:
        return say_error(error)


def _help() -> int:
    """Hydra's help, without the folders of ``conf/`` that are no choice of a run."""
    shown, error = io.StringIO(), None
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        error = hand_over()
    lines = shown.getvalue().splitlines(keepends=True)
    print("".join(line for line in lines if not line.startswith(NO_CHOICE)), end="")
    return 0 if error is None else say_error(error)
