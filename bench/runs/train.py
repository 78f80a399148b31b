"""One run trained: seeding, network, probes, checkpoint, fit, evaluation and test, to a result however it ends."""

from __future__ import annotations

import textwrap
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import pyarrow as pa
import torch

from bench.config.run_spec import RunSpec
from bench.errors import StoppedError
from bench.probes.probing import Probing
from bench.records.paths import checkpoint_path
from bench.runs import checkpoint, live_log
from bench.runs.checkpoint import Checkpointing
from bench.runs.costs import costs_of
from bench.runs.keeping import kept_of
from bench.runs.loggers import Mirror
from bench.runs.progress import Progress, Pulse
from bench.runs.result import Outcome, Result
from bench.runs.trainer import quiet_lightning, trainer_of
from bench.sweeps import signals
from bench.training.clock import Clock
from bench.training.curves import CURVES
from bench.training.data import SequenceData, steps_per_epoch
from bench.training.loop import TrainingModule
from bench.training.model import SequenceModel, parameter_count


@dataclass
class Built:
    """What has been built for a try so far. An exception may come before any of it is there."""

    wall: Clock = field(default_factory=Clock)
    model: SequenceModel | None = None
    module: TrainingModule | None = None
    probing: Probing | None = None
    compile_seconds: float = 0.0
    kept: Mapping[str, pa.Table | bytes] = field(default_factory=dict)
    costs: Mapping[str, int | str | None] = field(default_factory=dict)


def train(spec: RunSpec, mirror: Mirror, pulse: Pulse, lost: Callable[[], str | None], title: str | None) -> Result:
    """Train one network and look at its test set once; go on from the run's checkpoint if there is one.

    A loss that is not finite, any exception, and a request to stop end in a result, not in an exception.

    Args:
        spec: What to train.
        mirror: Follows the run live.
        pulse: Is told of every step.
        lost: Says why the run is no longer that of this process; ``None`` while it is.
        title: Is shown in front of the progress; ``None`` shows none.
    """
    built = Built()
    built.wall.start()
    try:
        module, resumed = build(spec, built)
        baseline = spec.task.baseline
        probing = [built.probing] if built.probing is not None else []
        shown = [Progress(title, baseline, pulse)] if title is not None else []
        checkpointing = Checkpointing(spec, resumed, built.probing, built.wall, lost)
        # In the order in which Lightning calls them in each step.
        callbacks = [*probing, live_log.LiveLog(baseline, built.probing), pulse, *shown, checkpointing]
        start = resumed["state"]["step"] if resumed is not None else 0
        fit(spec, built, module, callbacks, mirror, start, checkpointing.stop_if_asked)
        outcome = _outcome_of(spec, module)
        if outcome.status == "completed":
            built.kept = kept_of(spec, module)
            built.costs = costs_of(spec, module)
    except Exception as error:  # noqa: BLE001 - a failed run is a record, and the sweep goes on
        outcome = _failure(error)
    except BaseException as error:  # noqa: BLE001
        # Lightning turns a second Ctrl-C into an exit of its own, and leaves Ctrl-C switched off.
        signals.listen_again()
        stopped = signals.requested()
        if stopped is not None:
            outcome = Outcome("interrupted", f"stopped by {stopped}")
        elif isinstance(error, StoppedError):
            outcome = Outcome("interrupted", lost() or "stopped")
        else:
            # Nobody asked for it: a cell or a task has ended the process itself, and would do so again and again.
            outcome = _failure(error)
    return _result_of(built, outcome)


def build(spec: RunSpec, built: Built) -> tuple[TrainingModule, Mapping[str, Any] | None]:
    """Build the network with what trains and probes it, and let these take over the run's checkpoint.

    Args:
        spec: What to train.
        built: Is told of each piece as soon as it is there.

    Returns:
        The training, and the checkpoint, ``None`` where the run has none.

    Raises:
        DamagedCheckpointError: The checkpoint cannot be gone on from.
    """
    # Nothing here draws from the global generator, but a cell of a user's may.
    torch.manual_seed(spec.seed)
    built.model = spec.network.model(spec.seed)
    built.module = module = TrainingModule(
        spec.task,
        built.model,
        spec.make_optimizer(),
        spec.training,
        spec.seed,
        spec.device,
        spec.data.microbatch_size,
        steps_per_epoch(spec.task, spec.data) if spec.data.carry_state else None,
    )
    if spec.probe.enabled:
        built.probing = Probing(spec.probe, spec.task, spec.seed, spec.device)
    path = checkpoint_path(spec.folder)
    shapes = {name: value.shape for name, value in built.model.state_dict().items()}
    resumed = checkpoint.load(path, spec.run_id, shapes)
    if resumed is not None:
        built.wall.add(resumed["wall_seconds"])
        checkpoint.restore(path, resumed, module)
        if built.probing is not None:
            built.probing.restore(resumed["state"]["probes"])
    return module, resumed


def fit(
    spec: RunSpec,
    built: Built,
    module: TrainingModule,
    callbacks: list[L.Callback],
    mirror: Mirror,
    start: int,
    between: Callable[[], object],
) -> None:
    """Train from the step ``start`` on, evaluate after the last step, and test, unless the loss diverges.

    ``between`` is called between batches of sequences that are made to evaluate on, and may end all of it.
    """
    data = SequenceData(spec.task, spec.data, spec.seed, spec.device, start, between=between)
    with quiet_lightning():
        trainer = trainer_of(spec, callbacks)
        trainer.logger = mirror.open()
        built.compile_seconds = module.model.to(spec.device).warm_up(
            spec.data.microbatch_size or spec.data.batch_size, spec.precision
        )
        checkpoint.advance(trainer, start)
        trainer.fit(module, datamodule=data)
        if module.diverged_at is None and not module.evaluated:
            trainer.validate(module, datamodule=data, verbose=False)
        while module.diverged_at is None and module.undecided:
            again = SequenceData(
                spec.task, spec.data, spec.seed, spec.device, look=len(module.looks_again) + 1, between=between
            )
            trainer.validate(module, datamodule=again, verbose=False)
        if module.diverged_at is None and module.best_weights is not None:
            module.model.load_state_dict(module.best_weights)
        if module.diverged_at is None:
            trainer.test(module, datamodule=data, verbose=False)
        if module.diverged_at is None:
            _test_at_scales(spec, module, trainer, between)


def _test_at_scales(spec: RunSpec, module: TrainingModule, trainer: L.Trainer, between: Callable[[], object]) -> None:
    """Look once at the test set of the task at each further delay."""
    trained_on = module.task
    for name, module.task in spec.scaled_tasks.items():
        module.test_name = name
        data = SequenceData(module.task, spec.data, spec.seed, spec.device, between=between)
        trainer.test(module, datamodule=data, verbose=False)
    module.task, module.test_name = trained_on, None


def _outcome_of(spec: RunSpec, module: TrainingModule) -> Outcome:
    """Return how a try that no exception ended has ended."""
    if module.diverged_at is not None:
        return Outcome("diverged", f"loss not finite at step {module.diverged_at}")
    if spec.training.stop_when_solved and module.solved_at is not None and not module.looks_again:
        return Outcome("completed", "solved")
    if module.out_of_patience and module.steps < spec.training.steps:
        without = f"{spec.training.patience} evaluations without a better {spec.task.metric}"
        return Outcome("completed", f"stopped at step {module.steps}, after {without}")
    looks = len(module.looks_again)
    again = f", looked at {looks} time{'s' if looks > 1 else ''} more" if looks else ""
    return Outcome("completed", f"stopped at max_steps {spec.training.steps}{again}")


def _failure(error: BaseException) -> Outcome:
    """Return how a try that an exception ended has ended, while the exception is being handled."""
    if isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt):
        error = error.__context__  # Lightning has made an exit of it.
    text = textwrap.shorten(f"{type(error).__name__}: {error}".removesuffix(": "), 200, placeholder=" ...")
    last = traceback.extract_tb(error.__traceback__)[-1]
    reason = f"{text} ({Path(last.filename).name}:{last.lineno})"
    return Outcome("failed", reason, traceback.format_exc())


def _result_of(built: Built, outcome: Outcome) -> Result:
    """Return all that there is of a try."""
    wall_seconds, module, probing = built.wall.seconds, built.module, built.probing
    parameters = parameter_count(built.model) if built.model is not None else None
    if module is None:
        return Result(outcome, parameters=parameters, wall_seconds=wall_seconds)
    return Result(
        outcome,
        parameters=parameters,
        without_gradient=sorted(module.without_gradient or ()),
        steps=module.steps,
        solved_at=module.solved_at,
        curves=_curves_of(module, failed=outcome.status == "failed"),
        evaluations=tuple(module.curves.evaluations),
        probes=probing.rows if probing is not None else {},
        looks_again=tuple(module.looks_again),
        test_metrics=module.test_metrics,
        wall_seconds=wall_seconds,
        train_seconds=module.clock.seconds,
        compile_seconds=built.compile_seconds,
        probe_seconds=probing.seconds if probing is not None else 0.0,
        kept=built.kept,
        costs=built.costs,
    )


def _curves_of(module: TrainingModule, *, failed: bool) -> dict[str, list[float]]:
    """Return the curves so far; none where the device that holds them has failed."""
    try:
        return {name: getattr(module.curves, name)[: module.steps].tolist() for name in CURVES}
    except RuntimeError:
        if not failed:
            raise
        return {name: [] for name in CURVES}
