"""What is looked at before the first run of a command starts: places that are taken, shared settings, free workers."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from bench.config.explain import ConfigError
from bench.config.resolve import run_id_with_threads
from bench.config.run_spec import RunSpec
from bench.mirror import client
from bench.mirror.entry import Entry, named
from bench.records import record
from bench.records.paths import checkpoint_path
from bench.records.read import check_record
from bench.runs import checkpoint
from bench.sweeps.state import PlannedRun
from bench.sweeps.terminal import duration
from bench.training import process
from bench.training.settings import available_cores

WANDB = "bench.runs.loggers.wandb_logger"
"""The logger whose runs go to W&B."""


SECONDS_OF_SILENCE, SECONDS_BETWEEN_WORDS = 2.0, 10.0
"""Seconds of planning until it is said how far it is, and until it is said again."""


def checked(specs: Iterable[RunSpec], total: int) -> list[RunSpec]:
    """Return all runs of a command, each checked before the next one is composed.

    Where that takes long, it is said on standard error how far it is.

    Args:
        specs: The runs in their order; composing them may take its time.
        total: Their number.

    Raises:
        ConfigError: What is wrong with the first run that cannot be made.
    """
    found: list[RunSpec] = []
    first = time.monotonic()
    next_word = first + SECONDS_OF_SILENCE
    for spec in specs:
        found.append(spec)
        now = time.monotonic()
        if len(found) == 1:
            first = now  # The first run may have had to wait for a compiler.
        elif now > next_word and len(found) < total:
            left = duration((now - first) / (len(found) - 1) * (total - len(found)))
            print(
                f"bench run: {len(found)} of {total} runs are planned, about {left} left", file=sys.stderr, flush=True
            )
            next_word = now + SECONDS_BETWEEN_WORDS
        _check_names(spec)
        _check_place(spec)
        _check_together(spec, found[0])
    return found


def planned(specs: Sequence[RunSpec]) -> list[PlannedRun]:
    """Return the runs as the sweep knows them, each once."""
    runs = {
        spec.folder: PlannedRun(
            run_id=spec.run_id,
            folder=str(spec.folder.relative_to(spec.results_dir)),
            label=spec.label,
            kind=spec.kind,
            max_steps=spec.training.steps,
        )
        for spec in specs
    }
    return list(runs.values())


def workers_of(specs: Sequence[RunSpec]) -> int:
    """Return the number of runs at once, from the launcher's settings and the machine."""
    launcher, threads = specs[0].launcher, max(spec.runtime.thread_count for spec in specs)
    if specs[0].elsewhere:
        return min(launcher.workers or len(specs), len(specs))
    if launcher.name == "serial" or len(specs) == 1:
        return 1
    if any(spec.device.type == "cuda" for spec in specs):
        wanted = (launcher.workers_per_gpu or 1) * torch.cuda.device_count()
    else:
        wanted = launcher.workers or max(1, available_cores() // threads)
    return min(wanted, len(specs))


def check_mirror(specs: Sequence[RunSpec]) -> None:
    """Make sure that runs which are to go to W&B can: in what they are called, and online that the server takes them.

    Raises:
        ConfigError: They cannot, or the server does not answer in :data:`bench.mirror.client.CONNECT_SECONDS`.
    """
    mirrored = [spec for spec in specs if spec.config["logger"]["_target_"] == WANDB]
    online = [spec for spec in mirrored if spec.config["logger"]["mode"] == "online"]
    for line in dict.fromkeys(line for spec in mirrored for line in client.said_of_variables(spec.config["logger"])):
        print(f"bench run: {line}", file=sys.stderr)
    if len(specs) > 1 and mirrored and os.environ.get(client.AGENT):
        raise ConfigError(f"an agent of a W&B sweep must start one run at a time, got {len(specs)}")
    try:
        for spec in mirrored:
            asked = client.asked_of(spec.config["logger"])
            client.check_names(_entry_of(spec, asked), client.target_of(spec.config["logger"]["mode"], asked))
    except client.MirrorError as error:
        raise ConfigError(f"logger: {error}") from error
    for entity in dict.fromkeys(client.asked_of(spec.config["logger"])["entity"] for spec in online):
        try:
            client.check(entity)
        except client.MirrorError as error:
            raise ConfigError(f"logger.mode=online: {error}") from error


def said_of_threads(specs: Iterable[RunSpec]) -> list[str]:
    """Return a line for runs that are to be made and are there with another number of threads.

    Another launcher has another default, and the number of threads is part of what a run is.

    Args:
        specs: The runs that are to be made.
    """
    found: Counter[int] = Counter()
    for spec in specs:
        for threads in {1, available_cores()} - {spec.runtime.thread_count}:
            other = spec.folder.with_name(run_id_with_threads(spec, threads))
            found[threads] += (other / record.RECORD_FILE).exists()
    return [
        f"{count} of the runs to do are there with runtime.threads={threads}, which this setting takes as they are"
        for threads, count in found.items()
        if count
    ]


def _check_names(spec: RunSpec) -> None:
    """Make sure that the name and the group of a run in W&B have no fields that there are not."""
    if spec.config["logger"]["_target_"] == WANDB:
        try:
            _entry_of(spec, client.asked_of(spec.config["logger"]))
        except ValueError as error:
            raise ConfigError(f"logger.{str(error).replace('`', '')}") from error


def _entry_of(spec: RunSpec, asked: Mapping[str, Any]) -> Entry:
    """Return what the run is called in W&B; see :func:`bench.mirror.entry.entry_of`."""
    return named(asked, spec.task_name, spec.cell_name, spec.seed, spec.experiment, spec.run_id)


def _check_place(spec: RunSpec) -> None:
    """Make sure that what is there of a run is whole: damage is not written over."""
    try:
        if os.path.lexists(spec.folder):
            check_record(spec.folder)
        saved = checkpoint_path(spec.folder)
        if spec.rerun != "all" and os.path.lexists(saved):
            checkpoint.load(saved, spec.run_id, spec.network.shapes())
    except record.NewerRecordError as error:
        raise ConfigError(str(error)) from error
    except record.DamagedRecordError as error:
        if not os.path.lexists(spec.folder):
            return  # Another process replaces the record at this very moment.
        place = shlex.quote(os.path.relpath(spec.results_dir))
        command = "bench status --repair" if place == "results" else f"bench status {place} --repair"
        raise ConfigError(f"{error}; `{command}` sets it aside") from error
    except checkpoint.DamagedCheckpointError as error:
        raise ConfigError(str(error)) from error


def _check_together(spec: RunSpec, first: RunSpec) -> None:
    """Make sure that a run agrees with the first one in what all runs of a command share."""
    try:
        process.check(spec.runtime, first.runtime)
    except ValueError as error:
        raise ConfigError(f"runtime.{str(error).replace('`', '')}") from error
    for name in ("launcher", "rerun", "results_dir"):
        if getattr(spec, name) != getattr(first, name):
            raise ConfigError(
                f"{name} must be the same for all runs of one command: {_shown(first, name)}, got {_shown(spec, name)}"
            )
    if spec.elsewhere:
        return
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
    """Return a setting as the command line has it."""
    value = getattr(spec, name)
    return value.name if name == "launcher" else str(value)
