"""Lightning's loggers as live mirrors of a run: CSV or W&B. The record on disk stays the truth."""

from __future__ import annotations

import contextlib
import os
import sys
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import hydra.utils
from lightning.pytorch.loggers import CSVLogger, Logger

from bench.analysis.run import Run
from bench.config.run_spec import RunSpec
from bench.mirror import client, contents, offline, push
from bench.mirror.client import MirrorError, Target
from bench.mirror.entry import Entry, config_of, digest_of, directions_of, entry_of, exit_code_of, id_for
from bench.mirror.history import Row
from bench.records import provenance
from bench.records.read import read_record
from bench.records.record import Record
from bench.runs.result import Outcome, Result
from bench.runs.to_record import record_of

KEPT = "runs are kept offline from here, and `bench push` uploads them"
BROUGHT = "`bench push` brings what is missing"
"""What follows the first thing that W&B does not take, online and offline."""
UNSAID = "W&B has failed another run of the sweep"
"""Stands where that run has not said yet how."""


def no_logger(spec: RunSpec, draft: Path) -> None:
    """Return ``None``: there is no mirror, and the record is all there is."""


def csv_logger(spec: RunSpec, draft: Path) -> Logger:
    """Make a logger that writes ``metrics.csv`` into the folder of the record."""
    return CSVLogger(save_dir=draft, name="", version="")


def wandb_logger(
    spec: RunSpec,
    draft: Path,
    *,
    mode: Literal["offline", "online"],
    project: str | None,
    entity: str | None,
    group: str | None = None,
    name: str | None = None,
    tags: list[str] | None = None,
    notes: str | None = None,
) -> WandbMirror:
    """Make one W&B run of one run, under the run's id; see :mod:`bench.mirror.entry` for what stands where.

    Args:
        spec: The run.
        draft: The folder in which its record is put together.
        mode: ``offline`` (files below ``results_dir/wandb``, written when the run ends, uploaded by ``wandb sync``) or
            ``online``. A run that is to be online, where the server does not answer, is kept offline.
        project: W&B project; ``None`` stands for ``WANDB_PROJECT``, or else ``rnn-bench``.
        entity: W&B user or team; ``None`` stands for ``WANDB_ENTITY``, or else that of the key.
        group: The group, with the fields of :data:`bench.mirror.entry.FIELDS` in braces; ``None`` stands for
            ``WANDB_RUN_GROUP``, or else the experiment.
        name: The name, likewise; ``None`` stands for ``WANDB_NAME``, or else task, cell and seed.
        tags: ``None`` stands for ``WANDB_TAGS``, or else cell and task.
        notes: ``None`` stands for ``WANDB_NOTES``, or else none.
    """
    asked = {"project": project, "entity": entity, "group": group, "name": name, "tags": tags, "notes": notes}
    asked = client.asked_of(asked)
    return WandbMirror(spec, asked, client.target_of(mode, asked))


class WandbMirror(Logger):
    """A run in W&B: its metrics as they come if it is online, and all of it from the record when the record is there.

    Args:
        spec: The run.
        asked: What the user wants of its names; see :func:`bench.mirror.entry.entry_of`.
        target: Where it goes.

    Attributes:
        note: Why the run is not online although it was to be; ``None`` if nothing is wrong.
    """

    def __init__(self, spec: RunSpec, asked: Mapping[str, Any], target: Target) -> None:
        super().__init__()
        self.note: str | None = None
        self._spec = spec
        self._asked = asked
        self._target = target
        self._live: Any = None
        self._files = contextlib.ExitStack()
        self._sign = self._folder = Path()

    @property
    def name(self) -> str:
        """W&B project."""
        return self._target.project

    @property
    def version(self) -> str:
        """Id of the run in W&B."""
        own = id_for(self._spec.run_id, self._spec.experiment)
        return os.environ.get("WANDB_RUN_ID", own) if os.environ.get(client.AGENT) else own

    @property
    def facts(self) -> dict[str, Any]:
        """What the record has to say of the mirror."""
        note = provenance.without_home(self.note) if self.note is not None else None
        return {"mode": self._target.mode, "id": self.version, "note": note}

    def begin(self, sweep: str) -> bool:
        """Start the run, if it is to be online; return whether metrics are to be logged as they come.

        Args:
            sweep: Token of the sweep. Where the server has failed one of its runs, no other asks again.
        """
        self._sign = offline_sign(self._spec.results_dir, sweep)
        if self._target.mode == "offline":
            return False
        if self._sign.exists():
            self.note = _read(self._sign)
        else:
            provisional = record_of(self._spec, Result(Outcome("interrupted", "running")), "", {})
            entry, names = self._entry(provisional), (config_of(provisional), directions_of(provisional))
            try:
                offline.drop(self._spec.results_dir, entry.id)
                self._folder = self._files.enter_context(push.temporary())
                self._live = client.start(entry, *names, self._target, self._folder)
            except (MirrorError, OSError) as error:
                self._files.close()
                self.give_up(error)
        if self._live is None:
            self._target = replace(self._target, mode="offline")
        return self._live is not None

    def give_up(self, error: Exception) -> None:
        """Note what W&B did not take; say it once a sweep, whose later runs are kept offline.

        Args:
            error: What went wrong.
        """
        self.note = str(error)
        if self._sign.exists():
            return
        # Where the sign cannot be written, each run says it.
        with contextlib.suppress(OSError):
            self._sign.parent.mkdir(parents=True, exist_ok=True)
            try:
                with self._sign.open("x", encoding="utf-8") as file:
                    file.write(self.note)
            except FileExistsError:
                return
        online = self._target.mode == "online"
        _say(f"{error}; {KEPT if online else BROUGHT}")

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add metrics to the row of a step."""
        assert step is not None
        self.log_row(step, dict(metrics))

    def log_row(self, step: int, row: Row) -> None:
        """Add metrics, and histograms, to the row of a step; what W&B does not take costs the run nothing."""
        if self._live is None or self.note is not None:
            return
        try:
            contents.log_row(self._live, step, row)
        except Exception as error:  # noqa: BLE001 - W&B's own process may have died, and raises what it likes
            self.give_up(MirrorError(f"W&B could not take a row: {error}"))

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Log nothing: the config of the run has all of it."""

    def end(self, run: Run | None) -> None:
        """Complete the run from its record and end it; a run that has no record yet counts as crashed.

        Raises:
            MirrorError: W&B has not taken all of it.
            DamagedRecordError: The record cannot be read back.
            OSError: The files cannot be written.
        """
        if self._live is None:
            if run is not None:
                push.write_offline(run, self._entry(run.record), self._target, self._spec.results_dir)
            return
        with self._files:
            try:
                if run is not None and self.note is None:
                    with client.described("take the end of a run"):
                        push.fill(run)
                        self._live.config.update(config_of(run.record), allow_val_change=True)
                        contents.complete(self._live, run, self._folder)
            finally:
                client.finish(self._live, 1 if run is None else exit_code_of(run.record))
        if run is not None and run.has_result:
            push.verify(self.version, digest_of(run.folder), self._target)

    def _entry(self, record: Record) -> Entry:
        return replace(entry_of(record, self._asked), id=self.version)


def mirror_again(spec: RunSpec) -> None:
    """Give an agent of a W&B sweep, where one has asked for it, a run that is there already, from its record."""
    logger = spec.config["logger"]
    if logger["_target_"] != f"{__name__}.{wandb_logger.__name__}" or not os.environ.get(client.AGENT):
        return
    asked = client.asked_of(logger)
    run = Run(read_record(spec.folder), spec.folder)
    try:
        push.push(run, client.target_of(logger["mode"], asked), asked, spec.results_dir, os.environ.get("WANDB_RUN_ID"))
    except (MirrorError, OSError, ValueError) as error:
        _say(str(error))


def offline_sign(results_dir: Path, sweep: str) -> Path:
    """Return the file that says, while a sweep goes on, why its runs are kept offline."""
    return results_dir / offline.FOLDER / f".{sweep}.offline"


class Mirror:
    """The live mirror of one run: it is opened when the run starts, and finished when the record is there.

    Args:
        spec: The run.
        draft: The folder in which its record is put together.
        sweep: Token of the sweep that the run belongs to.
    """

    def __init__(self, spec: RunSpec, draft: Path, sweep: str) -> None:
        self._sweep = sweep
        self._spec = spec
        self._draft = draft
        self._wandb: WandbMirror | None = None

    def open(self) -> Logger | None:
        """Make the logger that the run's config names and return it; return ``None`` if there is nothing to log live.

        Raises:
            Exception: What the logger raises.
        """
        make_logger = hydra.utils.instantiate(self._spec.config["logger"])
        logger = make_logger(self._spec, self._draft)
        if isinstance(logger, WandbMirror):
            self._wandb = logger
            return logger if logger.begin(self._sweep) else None
        return logger

    @property
    def facts(self) -> dict[str, Any]:
        """What the record has to say of the mirror, as settings of the process."""
        return {} if self._wandb is None else {"mirror": self._wandb.facts}

    def finish(self, run: Run | None) -> None:
        """Close the mirror. What W&B does not take is noted in :attr:`facts`; the run itself is safe.

        Args:
            run: The run with its record in place; ``None`` if it has none, or has not ended.
        """
        if self._wandb is None:
            return
        try:
            self._wandb.end(run)
        except Exception as error:  # noqa: BLE001 - the record is written, and a mirror must not cost the sweep
            if self._wandb.note is None:
                self._wandb.give_up(error)


def _read(sign: Path) -> str:
    """Return why runs are kept offline; another process may be about to write it."""
    with contextlib.suppress(OSError):
        return sign.read_text(encoding="utf-8") or UNSAID
    return UNSAID


def _say(text: str) -> None:
    print(f"bench run: {text}", file=sys.stderr, flush=True)
