"""One run: from a checked run spec to a record, however it ends."""

from __future__ import annotations

import contextlib
import logging
import platform
import textwrap
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import pyarrow as pa
import torch
from lightning.pytorch.loggers import Logger

from bench.config.run_spec import RunSpec
from bench.probes.probing import Probing
from bench.records import provenance, record
from bench.records.paths import checkpoint_path, failed_path
from bench.records.read import read_record
from bench.records.record import Record, Status
from bench.records.series import curves_table, probe_table
from bench.records.write import commit, discard, prepare
from bench.runs import checkpoint, live_log, loggers
from bench.runs.checkpoint import Checkpointing
from bench.runs.progress import Progress, Pulse
from bench.runs.trainer import trainer_of
from bench.sweeps import signals
from bench.training import process
from bench.training.data import SequenceData
from bench.training.loop import TrainingModule
from bench.training.model import SequenceModel, parameter_count

EMPTY_CURVES = curves_table({"train_loss": [], "grad_norm": [], "grad_norm_clipped": []}, [])


@dataclass(frozen=True)
class _Outcome:
    status: Status
    reason: str
    traceback: str | None = None


def execute(spec: RunSpec, command: str, pulse: Pulse, lost: Callable[[], bool], title: str | None) -> Record:
    """Train one network, test it once, and write the record; go on from the run's checkpoint if there is one.

    A loss that is not finite, any exception, and a request to stop end in a record, not in an exception. A record
    without a result never takes the place of one with a result, and keeps the checkpoint; that of a failed try goes
    beside it, see :func:`bench.records.paths.failed_path`.

    Args:
        spec: What to run. This process must hold the run's lease.
        command: The command line that makes this run, for the record.
        pulse: Told of every step.
        lost: Whether the lease has been taken over; then nothing is written any more.
        title: Shown in front of the progress; ``None`` shows none.

    Raises:
        OSError: The record cannot be written.
    """
    draft = prepare(spec.folder)
    attempt = _Attempt(spec, draft, process.set_up(spec.runtime), pulse, lost)
    try:
        made = attempt.made = attempt.record(attempt.outcome(title), command)
        if not lost():
            _put_in_place(draft, spec.folder, made, attempt.curves(), attempt.probes())
    finally:
        discard(draft)
        loggers.finish(attempt.logger, attempt.made)
    return made


def give_up(spec: RunSpec, command: str, reason: str) -> Record:
    """Write a ``failed`` record for a run that has taken its process with it.

    Args:
        spec: The run. This process must hold its lease.
        command: See :func:`execute`.
        reason: What happened.

    Raises:
        OSError: The record cannot be written.
    """
    draft = prepare(spec.folder)
    try:
        attempt = _Attempt(spec, draft, {"threads": spec.runtime.thread_count}, Pulse(), lambda: False)
        made = attempt.record(_Outcome("failed", reason), command)
        _put_in_place(draft, spec.folder, made, EMPTY_CURVES, {})
    finally:
        discard(draft)
    return made


def _put_in_place(draft: Path, folder: Path, made: Record, curves: pa.Table, probes: dict[str, pa.Table]) -> None:
    """Put a record in its place: a result anywhere, anything else only where there is no result."""
    if made.status in record.FINAL:
        commit(draft, folder, made, curves, probes)
        discard(failed_path(folder))
        checkpoint_path(folder).unlink(missing_ok=True)
    elif not has_result(folder):
        commit(draft, folder, made, curves, probes)
    elif made.status == "failed":
        commit(draft, failed_path(folder), made, curves, probes)


def has_result(folder: Path) -> bool:
    """Whether a run has a record that is a result."""
    with contextlib.suppress(record.DamagedRecordError):
        return read_record(folder).status in record.FINAL
    return False


class _Attempt:
    """One try at one run, and what there is of it however it ends."""

    def __init__(
        self, spec: RunSpec, draft: Path, applied: dict[str, object], pulse: Pulse, lost: Callable[[], bool]
    ) -> None:
        self.spec = spec
        self.draft = draft
        self.applied = applied
        self.pulse = pulse
        self.checkpointing = Checkpointing(
            checkpoint_path(spec.folder), spec.run_id, spec.training.checkpoint_every, time.perf_counter(), lost
        )
        self.model: SequenceModel | None = None
        self.module: TrainingModule | None = None
        self.probing: Probing | None = None
        self.logger: Logger | None = None
        self.compile_seconds = 0.0
        self.made: Record | None = None

    def outcome(self, title: str | None) -> _Outcome:
        """Train and test; an exception is an outcome too."""
        try:
            return self._train(title)
        except (signals.StoppedError, KeyboardInterrupt, SystemExit):
            # Lightning turns a second Ctrl-C into an exit of its own, and leaves Ctrl-C switched off.
            signals.listen_again()
            return _Outcome("interrupted", f"stopped by {signals.requested() or 'the user'}")
        except Exception as error:  # noqa: BLE001 - a failed run is a record, and the sweep goes on
            text = textwrap.shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")
            last = traceback.extract_tb(error.__traceback__)[-1]
            reason = f"{text} ({Path(last.filename).name}:{last.lineno})"
            return _Outcome("failed", reason, traceback.format_exc())

    def _train(self, title: str | None) -> _Outcome:
        spec = self.spec
        # Nothing here draws from the global generator, but a cell of a user's may.
        torch.manual_seed(spec.seed)
        self.model = spec.model()
        self.module = module = TrainingModule(
            spec.task, self.model, spec.make_optimizer(), spec.training, spec.seed, spec.device
        )
        if spec.probe.enabled:
            self.probing = self.checkpointing.probing = Probing(spec.probe, spec.task, spec.seed, spec.device)
        resumed = checkpoint.load(self.checkpointing.path, spec.run_id, spec.shapes())
        if resumed is not None:
            self.checkpointing.resumed = resumed
            checkpoint.restore(self.checkpointing.path, resumed, module)
            if self.probing is not None:
                self.probing.restore(resumed["state"]["probes"])
        start = resumed["state"]["step"] if resumed is not None else 0
        self.logger = spec.make_logger()(
            loggers.RunInfo(
                run_id=spec.run_id,
                experiment=spec.experiment,
                task=spec.task_name,
                cell=spec.cell_name,
                seed=spec.seed,
                config=spec.config,
                draft=self.draft,
                results_dir=spec.results_dir,
            )
        )
        data = SequenceData(spec.task, spec.data, spec.seed, spec.device, start)
        self.compile_seconds = self.model.to(spec.device).warm_up(spec.data.batch_size, spec.precision)
        with quiet_lightning():
            trainer = trainer_of(spec, self._callbacks(title), self.logger if self.logger is not None else False)
            checkpoint.advance(trainer, start)
            trainer.fit(module, datamodule=data)
            if module.diverged_at is None and not module.evaluated:
                trainer.validate(module, datamodule=data, verbose=False)
            if module.diverged_at is None:
                trainer.test(module, datamodule=data, verbose=False)
        if module.diverged_at is not None:
            return _Outcome("diverged", f"loss not finite at step {module.diverged_at}")
        if spec.training.stop_when_solved and module.solved_at is not None:
            return _Outcome("completed", "solved")
        return _Outcome("completed", f"stopped at max_steps {spec.training.max_steps}")

    def _callbacks(self, title: str | None) -> list[L.Callback]:
        baseline = self.spec.task.baseline
        probing = [self.probing] if self.probing is not None else []
        shown = [Progress(title, baseline)] if title is not None else []
        return [*probing, live_log.LiveLog(baseline, self.probing), self.pulse, *shown, self.checkpointing]

    def curves(self) -> pa.Table:
        """The curves so far, as the record keeps them; none if the device that holds them has failed."""
        try:
            return self._curves_so_far()
        except RuntimeError:
            if self.made is None or self.made.status != "failed":
                raise
            return EMPTY_CURVES

    def _curves_so_far(self) -> pa.Table:
        if self.module is None:
            return EMPTY_CURVES
        curves, steps = self.module.curves, self.module.steps
        columns = {
            "train_loss": curves.loss[:steps].tolist(),
            "grad_norm": curves.grad_norm[:steps].tolist(),
            "grad_norm_clipped": curves.grad_norm_clipped[:steps].tolist(),
        }
        rows = [
            {"step": row.step, **row.metrics, "train_seconds": row.seconds}
            for row in curves.evaluations
            if row.step <= steps
        ]
        return curves_table(columns, rows)

    def probes(self) -> dict[str, pa.Table]:
        """What the probes found so far, as the record keeps it; nothing after the step at which a loss diverged."""
        if self.probing is None or self.module is None:
            return {}
        steps, run_id = self.module.steps, self.spec.run_id
        return {
            name: probe_table(name, run_id, [row for row in rows if row[0] <= steps])
            for name, rows in self.probing.rows.items()
        }

    def record(self, outcome: _Outcome, command: str) -> Record:
        """The record of this try."""
        spec, module = self.spec, self.module
        evaluations = module.curves.evaluations if module is not None else []
        return Record(
            run_id=spec.run_id,
            experiment=spec.experiment,
            task=spec.task_name,
            cell=spec.cell_name,
            seed=spec.seed,
            status=outcome.status,
            reason=outcome.reason,
            traceback=outcome.traceback,
            command=command,
            config=spec.config,
            code=spec.code,
            libraries={"python": platform.python_version(), **provenance.library_versions()},
            device=_device(spec.device),
            runtime=self.applied,
            model=self._model_facts(),
            task_facts={
                "metric": spec.task.metric,
                "higher_is_better": spec.task.higher_is_better,
                "extra_metrics": list(spec.task.extra_metrics),
                "length": spec.task.length,
                "delay": spec.task.delay,
                "baselines": spec.task.baselines,
            },
            solved=module is not None and module.solved_at is not None,
            steps_to_solve=module.solved_at if module is not None else None,
            steps=module.steps if module is not None else 0,
            metrics={
                "eval": dict(evaluations[-1].metrics) if evaluations else {},
                "test": dict(module.test_metrics) if module is not None else {},
            },
            time=self._times(),
        )

    def _model_facts(self) -> dict[str, Any]:
        parameters = parameter_count(self.model) if self.model is not None else None
        budget = self.spec.model_config.parameter_budget
        return {
            "hidden_size": self.spec.hidden_size,
            "engine": self.spec.engine.engine,
            "engine_note": self.spec.engine.note,
            "parameters": parameters,
            "parameter_budget": budget,
            "budget_residual": parameters - budget if parameters is not None and budget is not None else None,
        }

    def _times(self) -> dict[str, float | None]:
        steps = self.module.steps if self.module is not None else 0
        seconds = self.module.seconds if self.module is not None else 0.0
        timed = steps > 0 and seconds > 0
        return {
            "wall_seconds": self.checkpointing.wall_seconds,
            "train_seconds": seconds,
            "compile_seconds": self.compile_seconds,
            "probe_seconds": self.probing.seconds if self.probing is not None else 0.0,
            "steps_per_second": steps / seconds if timed else None,
            "milliseconds_per_step": 1000 * seconds / steps if timed else None,
        }


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's advice out of the output: each line here is a choice of ours, not a mistake."""
    names = ("lightning.pytorch", "lightning.fabric")
    levels = [logging.getLogger(name).level for name in names]
    for name in names:
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for message in (
            ".*does not have many workers.*",  # batches are ready-made on the device
            "GPU available but not used.*",  # trainer=cpu
            ".*isinstance\\(treespec, LeafSpec\\).*",  # Lightning 2.6 on torch 2.13
        ):
            warnings.filterwarnings("ignore", message=message)
        try:
            yield
        finally:
            for name, level in zip(names, levels, strict=True):
                logging.getLogger(name).setLevel(level)


def _device(device: torch.device) -> dict[str, str]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else process.processor_name()
    return {"type": device.type, "name": name, "machine": platform.machine(), "system": platform.system()}
