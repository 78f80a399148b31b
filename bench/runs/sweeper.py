"""From a command's composed config to its records: all runs are planned and checked, and handed to the launcher."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from omegaconf import DictConfig

from bench.config.checks import check_writable
from bench.config.command import jobs_of, search_of
from bench.config.compose import runs_of
from bench.config.run_spec import RunSpec
from bench.config.search import Search
from bench.records import record
from bench.records.paths import failed_path
from bench.records.read import read_record
from bench.runs import dry_run
from bench.runs.execute import give_up
from bench.runs.job import Command
from bench.runs.loggers import mirror_again, offline_sign
from bench.runs.outcome import LaunchError, Outcome
from bench.runs.preflight import check_mirror, checked, planned, said_of_threads, workers_of
from bench.runs.remote import elsewhere_pass
from bench.runs.rounds import Rounds
from bench.sweeps import signals
from bench.sweeps.driver import Driver, Pass
from bench.sweeps.invocation import Invocation, folder_of
from bench.sweeps.state import Inventory, PlannedRun, SweepPlan


def sweep(command: Command, config: DictConfig, context: HydraContext) -> Outcome:
    """Plan and check all runs of a command, and make those that are not there.

    Args:
        command: What the user asks for.
        config: Its composed config; the number of workers and the folder of the sweep are written into it.
        context: What Hydra gives its plugins; its loader composes the runs.

    Raises:
        ConfigError: What is wrong with the first run that cannot be made; none has been started then.
        LaunchError: The launcher fails.
    """
    if command.tunes:
        # Optuna comes with it, which is no part of a plain installation.
        from bench.runs.tuning import tune

        make = lambda specs, before: _make(specs, before, command, config, context)  # noqa: E731
        return tune(make, command, config, context.config_loader)
    search = search_of(config)
    if search is None:
        jobs = jobs_of(config, context.config_loader)
        runs = runs_of(config, context.config_loader, jobs)
        return _make(checked(runs, len(jobs)), None, command, config, context)
    return _make_in_rounds(search, command, config, context)


def _make_in_rounds(search: Search, command: Command, config: DictConfig, context: HydraContext) -> Outcome:
    """Make the runs of a search, round by round."""
    rounds = Rounds(search, jobs_of(config, context.config_loader))
    made: dict[Path, RunSpec] = {}
    problems: list[str] = []
    while jobs := rounds.next():
        specs = checked(runs_of(config, context.config_loader, jobs), len(jobs))
        if specs[0].rerun == "all" or not rounds.are_there(specs):
            found = _make(specs, tuple(planned(list(made.values()))), command, config, context)
            if command.dry_run:
                print("this is one round of a search; what comes next depends on what is solved")
            if command.dry_run or found.stopped is not None:
                return replace(found, folders=(*made, *found.folders))
            problems += found.problems
        rounds.add(specs)
        made |= {spec.folder: spec for spec in specs}
    print(*rounds.report(), sep="\n")
    return Outcome(tuple(made), tuple(problems))


def _make(
    specs: list[RunSpec],
    before: tuple[PlannedRun, ...] | None,
    command: Command,
    config: DictConfig,
    context: HydraContext,
) -> Outcome:
    """Make those of some runs that are not there.

    Args:
        specs: The runs.
        before: Runs of earlier rounds of a search, which its plan names too; ``None`` where nothing is searched for.
        command: What the user asks for.
        config: See :func:`sweep`, like ``context``.
        context: What Hydra gives its plugins.
    """
    workers = workers_of(specs)
    folders = tuple(dict.fromkeys(spec.folder for spec in specs))
    elsewhere = specs[0].elsewhere
    for note in filter(None, dict.fromkeys(spec.network.engine.note for spec in specs)):
        print(f"bench run: engine {note}", file=sys.stderr)
    if command.dry_run:
        dry_run.show(specs, workers)
        return Outcome(folders)
    runs, first = planned(specs), specs[0]
    alone = len(specs) == 1 and before is None and not elsewhere
    folder = folder_of(first.results_dir, first.experiment, command.overrides).absolute()
    inventory = Inventory(first.results_dir, runs)
    invocation = Invocation.start(runs, first.results_dir, first.rerun, folder, alone=alone)
    config.hydra.sweeper.workers = workers
    # A launcher composes each run anew, from the overrides.
    place = f"hydra.sweep.dir={_quoted(first.results_dir if alone else folder)}"
    if place not in config.hydra.overrides.hydra:
        config.hydra.overrides.hydra.append(place)
    config.hydra.sweep.dir = str(first.results_dir if alone else folder)
    anything_to_do = any(invocation.wants(place) for place in folders)
    if anything_to_do:
        check_writable(first.results_dir)
        check_mirror(specs)
    by_folder = {spec.folder: spec for spec in reversed(specs)}
    command = replace(command, invocation=invocation)
    if elsewhere and anything_to_do:
        one_pass = elsewhere_pass(by_folder, command, config, context, folder)
    else:
        one_pass = _launching({place: spec.overrides for place, spec in by_folder.items()}, command, config, context)
    driver = Driver(
        inventory,
        invocation,
        one_pass,
        lambda place, reason: give_up(by_folder[place], command.of_run(by_folder[place]), reason),
        workers,
    )
    signals.listen()
    stopped = None
    try:
        if not alone:
            todo = sum(invocation.wants(place) for place in folders)
            at_once = f", {workers} at once" if workers > 1 and todo else ""
            print(f"{len(runs) - todo} of {len(runs)} runs are there already, {todo} to do{at_once}", flush=True)
            for line in said_of_threads(spec for place, spec in by_folder.items() if invocation.wants(place)):
                print(f"bench run: {line}", file=sys.stderr)
            # Where all is there already, the folder may be one that cannot be written to.
            with contextlib.nullcontext() if anything_to_do else contextlib.suppress(OSError):
                SweepPlan(first.experiment, str(command), (*(before or ()), *runs)).write(folder)
        elif not invocation.wants(first.folder):
            print(f"{first.label}: already there, {first.folder}")
            mirror_again(first)
        driver.run()
    except KeyboardInterrupt:
        # This was a second signal, or one before the first run.
        stopped = "SIGINT"
    finally:
        stopped = signals.requested() or stopped
        with contextlib.suppress(OSError):
            Path(invocation.stop_file).unlink()
        with contextlib.suppress(OSError):
            offline_sign(first.results_dir, invocation.sweep).unlink(missing_ok=True)
    if stopped is not None:
        return Outcome.of_stop(folders, stopped, "rerun=failed" if invocation.rerun == "all" else "")
    signals.listen(at_once=True)
    for cell, names in _idle_parameters(specs, invocation).items():
        print(f"bench run: warning: {cell} has parameters that get no gradient and yet count: {', '.join(names)}; "
              "see `Cell.weights`", file=sys.stderr)  # fmt: skip
    if driver.error is not None:
        raise LaunchError.of(driver.error) from driver.error
    return Outcome(folders, tuple(_problems(specs, invocation)))


def _launching(jobs: Mapping[Path, list[str]], command: Command, config: DictConfig, context: HydraContext) -> Pass:
    """Return a pass over runs, with whichever launcher the config has chosen.

    Args:
        jobs: The overrides of each run, by its folder.
        command: What the launcher calls.
        config: The config of the whole command.
        context: What Hydra gives its plugins.
    """

    def one_pass(folders: Sequence[Path]) -> BaseException | None:
        with warnings.catch_warnings():
            # joblib starts a worker anew when its memory has grown, as it should.
            warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given")
            try:
                launcher = Plugins.instance().instantiate_launcher(
                    hydra_context=context, task_function=command, config=config
                )
                for made in launcher.launch([jobs[folder] for folder in folders], initial_job_idx=0):
                    _ = made.return_value  # This raises what the job has raised.
            except Exception as error:  # noqa: BLE001 - a launcher can raise anything
                return error
        return None

    return one_pass


def _idle_parameters(specs: Sequence[RunSpec], invocation: Invocation) -> dict[str, list[str]]:
    """Return the parameters of each cell that no step of a run made now gave a gradient."""
    found: dict[str, list[str]] = {}
    for spec in specs:
        if invocation.is_news(spec.folder):
            with contextlib.suppress(record.DamagedRecordError):
                made = read_record(spec.folder)
                if names := made.model.get("without_gradient"):
                    found.setdefault(made.cell, names)
    return found


def _problems(specs: Sequence[RunSpec], invocation: Invocation) -> Iterator[str]:
    """Which runs have no result, and where to look."""
    missing = 0
    for spec in {spec.folder: spec for spec in specs}.values():
        path, failed = spec.folder / record.RECORD_FILE, failed_path(spec.folder)
        try:
            if invocation.is_news(failed) and failed.exists():
                missing += 1
                yield f"{spec.label} failed this time, see {failed / record.RECORD_FILE}; the earlier result is kept"
                continue
            if read_record(spec.folder).status in record.FINAL:
                continue
            where = f"see {path}"
        except record.DamagedRecordError as error:
            where = f"see {error}" if path.exists() else "not even a record"
        missing += 1
        yield f"{spec.label} has no result, {where}"
    if missing and len(specs) > 1:
        yield f"{missing} of {len(specs)} runs failed; the others are kept"


def _quoted(path: Path) -> str:
    """Return a path as the value of an override."""
    return "'" + str(path).replace("\\", "\\\\").replace("'", "\\'") + "'"
