"""From checked run specs to Hydra's jobs; one config, one record."""

from __future__ import annotations

import os
import shlex
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig

from bench.config import schema
from bench.config.compose import CONFIG_NAME, CONFIG_PATH
from bench.config.explain import explain
from bench.config.resolve import build
from bench.config.run_spec import RunSpec
from bench.records import lease, record
from bench.records.paths import checkpoint_path, failed_path
from bench.records.read import read_record
from bench.records.write import recover
from bench.runs.execute import execute
from bench.runs.progress import Pulse
from bench.sweeps import signals
from bench.sweeps.driver import Driver
from bench.sweeps.invocation import INVOCATION, Invocation, folder_of, planned
from bench.sweeps.state import SweepPlan
from bench.sweeps.terminal import ended

EXIT_CODES = {"SIGINT": 130, "SIGTERM": 143}

_invocation: Invocation | None = None
"""That of this process; a worker finds its own through the environment."""

_served: str | None = None
"""Token of the invocation that this worker had its last job from."""

schema.register()  # here, so that workers have it too


def make_all(specs: list[RunSpec], workers: int, overrides: list[str], config_dir: str | None) -> int:
    """Make every planned run, with Hydra's launcher; the exit code."""
    global _invocation
    runs, alone = planned(specs), len(specs) == 1
    folder = folder_of(specs, overrides).absolute()
    _invocation = invocation = Invocation.start(specs, folder, alone=alone)
    shared = folder / f".{invocation.sweep}.json"
    words = sys.argv

    def one_pass(only: Path | None) -> BaseException | None:
        if not alone:
            replace(invocation, only=str(only) if only is not None else None).write(shared)
        added = [f"hydra.sweep.dir={_quoted(folder)}"]
        added += [] if alone else [f"+hydra.job.env_set.{INVOCATION}={_quoted(shared)}"]
        if specs[0].launcher.name == "joblib":
            added.append(f"hydra.launcher.n_jobs={workers}")
        sys.argv = [*words, *added]
        with _planned_jobs([spec.overrides for spec in specs]):
            return hand_over()

    driver = Driver(specs, invocation, one_pass, workers, lambda spec: _command(spec.asked, config_dir))
    signals.listen()
    stopped = None
    try:
        if not alone:
            todo = sum(invocation.wants(folder) for folder in {spec.folder for spec in specs})
            at_once = f", {workers} at once" if workers > 1 and todo else ""
            print(f"{len(runs) - todo} of {len(runs)} runs are there already, {todo} to do{at_once}", flush=True)
            SweepPlan(specs[0].experiment, shlex.join(["bench", "run", *sys.argv[1:]]), tuple(runs)).write(folder)
        elif not invocation.wants(specs[0].folder):
            print(f"{specs[0].label}: already there, {specs[0].folder}")
        driver.run()
    except KeyboardInterrupt:
        # A second signal, or one before the first run.
        stopped = "SIGINT"
    finally:
        stopped = signals.requested() or stopped
        signals.forget()
        _invocation = None
        shared.unlink(missing_ok=True)
        Path(invocation.stop_file).unlink(missing_ok=True)
    if stopped is not None:
        again = " with rerun=failed" if invocation.rerun == "all" else ""
        print(f"bench run: stopped by {stopped}; the same command{again} goes on from here", file=sys.stderr)
        return EXIT_CODES[stopped]
    if driver.error is not None:
        return say_error(driver.error)
    return _report(specs, invocation)


def _planned_jobs(jobs: list[list[str]]) -> Any:
    """Let Hydra's sweeper launch these jobs, where it would make a product of its own."""
    # Hydra loads its plugins a second time: theirs is another class than the one that can be imported.
    [sweeper] = [each for each in Plugins.instance().discover(Sweeper) if each.__name__ == "BasicSweeper"]
    return mock.patch.object(sweeper, "split_arguments", return_value=[jobs])


def hand_over() -> BaseException | None:
    """Let Hydra go through all jobs; what it raises."""
    with warnings.catch_warnings():
        # joblib starts a worker anew when its memory has grown; that is as it should be.
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given")
        try:
            _hydra_main()
        except Exception as error:  # noqa: BLE001 - whatever Hydra raises becomes one line
            return error
    return None


def say_error(error: BaseException) -> int:
    """Say in one line what Hydra or the disk raised; the exit code."""
    writing = isinstance(error, OSError) and not isinstance(error, HydraException)
    print(f"bench run: {'results_dir must be writable: ' if writing else ''}{explain(error)}", file=sys.stderr)
    return 2


def _report(specs: list[RunSpec], invocation: Invocation) -> int:
    """Say which runs have no result, and where to look; 1 if any."""
    missing = []
    for spec in {spec.folder: spec for spec in specs}.values():
        path, failed = spec.folder / record.RECORD_FILE, failed_path(spec.folder)
        try:
            if invocation.is_news(failed) and failed.exists():
                missing.append(spec)
                where = f"{failed / record.RECORD_FILE}; the earlier result is kept"
                print(f"bench run: {spec.label} failed this time, see {where}", file=sys.stderr)
                continue
            if read_record(spec.folder).status in record.FINAL:
                continue
            where = f"see {path}"
        except record.DamagedRecordError as error:
            where = f"see {error}" if path.exists() else "not even a record"
        missing.append(spec)
        print(f"bench run: {spec.label} has no result, {where}", file=sys.stderr)
    if missing and len(specs) > 1:
        print(f"bench run: {len(missing)} of {len(specs)} runs failed; the others are kept", file=sys.stderr)
    return 1 if missing else 0


def job(cfg: DictConfig) -> None:
    """One job: Hydra calls this with one composed config, in this process or in a worker."""
    global _served
    hydra_config = HydraConfig.get()
    invocation = _invocation
    if invocation is None:
        invocation = Invocation.read(Path(os.environ[INVOCATION]))
        if invocation.token != _served:
            # A worker may have been stopped in an earlier sweep of a notebook.
            signals.forget()
            _served = invocation.token
        signals.listen(patient=True)
    if invocation.stopped:
        return
    spec = build(cfg, hydra_config.runtime.choices, list(hydra_config.overrides.task))
    if spec.run_id not in invocation.run_ids:
        print(
            f"bench run: {spec.label} must have the sources it was planned with, and they have changed", file=sys.stderr
        )
        return
    if invocation.only is not None and str(spec.folder) != invocation.only:
        return
    try:
        _make(spec, _command(spec.asked, _own_folder(hydra_config)), invocation)
    except OSError as error:
        where = f"results_dir must be writable, got {str(spec.results_dir)!r}"
        print(f"bench run: {where} ({error}); {spec.label} is not made", file=sys.stderr)


_hydra_main = hydra.main(config_path=CONFIG_PATH, config_name=CONFIG_NAME, version_base="1.3")(job)


def _make(spec: RunSpec, command: str, invocation: Invocation) -> None:
    """Make one run, unless it is there or somebody else is at it."""
    if not invocation.wants(spec.folder):
        return
    pulse = Pulse()
    held = lease.take(spec.folder, lease.this_process(invocation.sweep), lambda: pulse.numbers)
    if held is None:
        return
    with held:
        recover(spec.folder)
        # It may have been made between the first look and the lease.
        if not invocation.wants(spec.folder):
            return
        if invocation.starts_over(spec.folder):
            checkpoint_path(spec.folder).unlink(missing_ok=True)
        made = execute(spec, command, pulse, lambda: held.lost, spec.label if invocation.alone else None)
    if invocation.alone:
        print(ended(made, spec.label), flush=True)


def _quoted(path: Path) -> str:
    """A path as the value of an override."""
    return "'" + str(path).replace("\\", "\\\\").replace("'", "\\'") + "'"


def _own_folder(hydra_config: Any) -> str | None:
    own = [source.path for source in hydra_config.runtime.config_sources if source.provider == "command-line"]
    return own[0] if own else None


def _command(overrides: Sequence[str], config_dir: str | None) -> str:
    """The command that makes one run."""
    folder = [f"--config-dir={Path(config_dir).absolute()}"] if config_dir else []
    return shlex.join(["bench", "run", *folder, *overrides])
