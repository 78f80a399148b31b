"""``bench run``: checks every run of a command line first, then hands over to Hydra; one config, one record."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from bench import record, schema
from bench.attempt import execute
from bench.build import ConfigError, Plan, build
from bench.messages import explain
from bench.plan import CONFIG_NAME, CONFIG_PATH, plan_runs
from bench.progress import duration
from bench.record import Record

_RUNS_IN_SWEEP = "BENCH_RUNS_IN_SWEEP"
"""Environment variable by which the jobs of a sweep know how many they are."""


def main(arguments: list[str]) -> int:
    """Run what the command line asks for.

    Args:
        arguments: What follows ``bench run``.

    Returns:
        The exit code: 0 if every run is there, 1 if one failed, 2 if the command line is wrong, 130 if interrupted.
    """
    schema.register()
    # Flags may stand anywhere here; Hydra wants them in front.
    parsed = get_args_parser().parse_intermixed_args(arguments)
    flags = [argument for argument in arguments if argument not in parsed.overrides]
    sys.argv = ["bench run", *flags, *parsed.overrides]
    # Files of one's own: beside the YAML, or where the command is given.
    sys.path[:0] = [str(Path(parsed.config_dir).absolute())] if parsed.config_dir else []
    sys.path.append(str(Path.cwd()))
    os.environ["HYDRA_FULL_ERROR"] = "1"
    if parsed.help or parsed.hydra_help or parsed.cfg or parsed.info or parsed.shell_completion:
        return _hand_over()
    try:
        plans = plan_runs(parsed)
    except ConfigError as error:
        print(f"bench run: {error}", file=sys.stderr)
        return 2
    os.environ[_RUNS_IN_SWEEP] = str(len(plans))
    there = sum(_is_final(plan) for plan in plans)
    if there and len(plans) > 1:
        print(f"{there} of {len(plans)} runs are there already, {len(plans) - there} to do")
    try:
        code = _hand_over()
    except KeyboardInterrupt:
        print("bench run: interrupted", file=sys.stderr)
        return 130
    return code or _report(plans)


def _hand_over() -> int:
    try:
        _hydra_main()
    except Exception as error:  # noqa: BLE001 - whatever Hydra raises becomes one line
        writing = isinstance(error, OSError) and not isinstance(error, HydraException)
        print(f"bench run: {'results_dir must be writable: ' if writing else ''}{explain(error)}", file=sys.stderr)
        return 2
    return 0


def _is_final(plan: Plan) -> bool:
    with contextlib.suppress(record.DamagedRecordError):
        return record.read_record(plan.folder).status in record.FINAL
    return False


def _report(plans: list[Plan]) -> int:
    """Say which runs have no result, and where to look; 1 if any."""
    missing = [plan for plan in plans if not _is_final(plan)]
    for plan in missing:
        path = plan.folder / record.RECORD_FILE
        where = f"see {path}" if path.exists() else "not even a record"
        print(f"bench run: {plan.label} has no result, {where}", file=sys.stderr)
    if missing and len(plans) > 1:
        print(f"bench run: {len(missing)} of {len(plans)} runs failed; the others are kept", file=sys.stderr)
    return 1 if missing else 0


@hydra.main(config_path=CONFIG_PATH, config_name=CONFIG_NAME, version_base="1.3")
def _hydra_main(cfg: DictConfig) -> None:
    """One job: Hydra calls this with one composed config."""
    hydra_config = HydraConfig.get()
    overrides = list(hydra_config.overrides.task)
    plan = build(cfg, hydra_config.runtime.choices, overrides)
    position = _position(hydra_config)
    if _is_final(plan):
        print(f"{position}{plan.label}: already there, {plan.folder}")
        return
    try:
        made = execute(plan, _command(hydra_config, overrides), position)
    except OSError as error:
        print(f"bench run: results_dir must be writable, got {str(plan.results_dir)!r} ({error})", file=sys.stderr)
    else:
        print(f"{position}{_line(plan, made)}", flush=True)


def _position(hydra_config: Any) -> str:
    """``[ 3/18] `` in a sweep, nothing for a single run."""
    count = os.environ.get(_RUNS_IN_SWEEP, "1")
    number = OmegaConf.select(hydra_config, "job.num", throw_on_missing=False)
    if hydra_config.mode != RunMode.MULTIRUN or number is None:
        return ""
    return f"[{number + 1:>{len(count)}}/{count}] "


def _command(hydra_config: Any, overrides: list[str]) -> str:
    """The command that makes this very run."""
    own = [source.path for source in hydra_config.runtime.config_sources if source.provider == "command-line"]
    folder = [f"--config-dir={own[0]}"] if own else []
    return shlex.join(["bench", "run", *folder, *overrides])


def _line(plan: Plan, made: Record) -> str:
    """One line on how a run ended."""
    if made.status == "failed":
        return f"{plan.label}: failed, {made.reason}"
    metric = plan.task.metric
    value = made.metrics["test"].get(metric)
    score = "" if value is None else f", test {metric} {value:.4g}"
    if made.status != "completed":
        outcome = made.reason
    else:
        outcome = f"solved at step {made.steps_to_solve}" if made.solved else f"unsolved at step {made.steps}"
    return f"{plan.label}: {outcome}{score}, {duration(made.time['wall_seconds'] or 0)}"
