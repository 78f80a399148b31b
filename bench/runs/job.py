"""One run as a launcher makes it: what Hydra calls with a composed config, in this process or in another one."""

from __future__ import annotations

import multiprocessing
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from bench.config import schema
from bench.config.place import Place
from bench.config.resolve import build
from bench.config.run_spec import RunSpec
from bench.records import lease
from bench.records.paths import checkpoint_path
from bench.records.write import recover
from bench.runs.execute import execute
from bench.runs.own_modules import own_modules
from bench.runs.progress import Pulse
from bench.sweeps import signals
from bench.sweeps.invocation import Invocation
from bench.sweeps.terminal import ended

_served: Invocation | None = None
"""The invocation that this worker had its last job from."""
_at_work = threading.Lock()
"""Is held while a run is made."""
SECONDS_BETWEEN_LOOKS = 1.0
"""Time after which a worker looks again whether the process that started it is there, and whether it is to stop."""

schema.register()  # A worker composes configs, too, and imports this module first.


class RefusedError(RuntimeError):
    """A planned run that this machine would make as another run; one line."""


@dataclass(frozen=True)
class Planned:
    """What the plan says of one run to whichever machine makes it.

    Attributes:
        place: Its threads, device and engine.
        numerics: Versions of the code that it uses.
    """

    place: Place
    numerics: Mapping[str, Any]


@dataclass(frozen=True)
class Command:
    """One ``bench run`` as Hydra's task function.

    Launchers carry it to where the runs are made, pickled if that is another process, and call it there with the config
    of each run. So it has all that a run must know of the command.

    Attributes:
        overrides: What the command line sets.
        multirun: Whether it asks for a sweep with ``-m``.
        config_dir: The absolute folder of the user's own configs and modules, if there is one.
        dry_run: Whether the runs are only listed.
        tunes: Whether it is ``bench tune``.
        invocation: What its runs share; ``None`` until they are planned.
        planned: What the plan says of each run, by its overrides, where another machine may make it.
    """

    overrides: tuple[str, ...]
    multirun: bool
    config_dir: str | None
    dry_run: bool
    tunes: bool = False
    invocation: Invocation | None = None
    planned: Mapping[tuple[str, ...], Planned] = field(default_factory=dict)

    def __call__(self, cfg: DictConfig) -> None:
        """Make one run, unless that is no longer wanted.

        Args:
            cfg: Its composed config, without the ``hydra`` node.
        """
        invocation = self.invocation
        assert invocation is not None
        _listen(invocation)
        if invocation.stopped:
            return
        with _at_work:
            self._make(cfg, invocation)

    def _make(self, cfg: DictConfig, invocation: Invocation) -> None:
        hydra_config = HydraConfig.get()
        overrides = list(hydra_config.overrides.task)
        planned = self.planned.get(tuple(overrides))
        try:
            with own_modules(self.config_dir):
                place = planned.place if planned is not None else None
                spec = build(cfg, hydra_config.runtime.choices, overrides, place=place)
                _check_planned(spec, planned, invocation)
                try:
                    _make(spec, self.of_run(spec), invocation)
                except OSError as error:
                    where = f"results_dir must be writable, got {str(spec.results_dir)!r}"
                    raise RefusedError(f"{where} ({error}); {spec.label} is not made") from error
        except RefusedError as error:
            # Another machine has no terminal; what it raises, the launcher brings back.
            if planned is not None:
                raise
            print(f"bench run: {error}", file=sys.stderr)

    def __str__(self) -> str:
        return self._words("tune" if self.tunes else "run", ["-m"] if self.multirun else [], self.overrides)

    def of_run(self, spec: RunSpec) -> str:
        """Return the command line that makes one of its runs."""
        return self._words("run", [], spec.asked)

    def _words(self, name: str, flags: Sequence[str], overrides: Sequence[str]) -> str:
        folder = [f"--config-dir={self.config_dir}"] if self.config_dir is not None else []
        return shlex.join(["bench", name, *folder, *flags, *overrides])


def _check_planned(spec: RunSpec, planned: Planned | None, invocation: Invocation) -> None:
    """Make sure that a run is the one that was planned."""
    if spec.run_id in invocation.run_ids:
        return
    if planned is None:
        raise RefusedError(
            f"{spec.label} must be the run that was planned, and its sources or its settings have changed since"
        )
    ours = spec.code["numerics"]
    other = sorted(name for name in {*ours, *planned.numerics} if ours.get(name) != planned.numerics.get(name))
    what = f"code of {', '.join(other)}" if other else "settings"
    raise RefusedError(f"{spec.label} must have the {what} that it was planned with, and has other here")


def _listen(invocation: Invocation) -> None:
    """In a worker, take the signals; in the process that the user has started, the sweep has taken them."""
    global _served
    if lease.this_process().sweep == invocation.sweep:
        return
    first = _served is None
    if _served is None or invocation.token != _served.token:
        # In a notebook, this worker may have been stopped during an earlier sweep.
        signals.forget()
        _served = invocation
    signals.listen(patient=True)
    if first:
        # The process that started this one may be gone by now: orphans belong to process 1. Otherwise it is the parent
        # that counts, which need not be the one that multiprocessing knows.
        started_by = multiprocessing.parent_process()
        orphan = started_by is not None and os.getppid() == 1
        parent = started_by.pid if started_by is not None and orphan else os.getppid()
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int | None) -> None:
    """In a worker, stop when its sweep is told to, and end when the process that started it has.

    No signal comes from another machine, so that the sweep's file says it. A queue whose other end has gone would let
    the worker wait for ever. A run that is being made stops at its next step, with a checkpoint.
    """
    while os.getppid() == parent:
        if _at_work.locked() and _served is not None and signals.requested() is None and _served.stopped:
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os.kill(os.getpid(), signal.SIGTERM)
    with _at_work:
        os._exit(signals.exit_code("SIGTERM"))


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
        title = spec.label if invocation.alone else None
        made = execute(spec, command, pulse, lambda: held.lost, title, invocation.sweep)
    if held.lost is not None and made.reason == held.lost:
        print(f"bench run: {spec.label} is given up: {held.lost}", file=sys.stderr)
    elif invocation.alone:
        print(ended(made, spec.label), flush=True)
