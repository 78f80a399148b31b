"""Checkpoints: the whole state of an unfinished run in one file, from which it goes on bit for bit."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import lightning as L
import msgspec
import torch
from msgspec import Meta

from bench.config.run_spec import RunSpec
from bench.errors import StoppedError
from bench.probes.probing import Probing
from bench.records.paths import checkpoint_path
from bench.records.write import write_whole
from bench.shapes import ShapeError, convert
from bench.sweeps import signals
from bench.training.clock import Clock
from bench.training.curves import CURVES
from bench.training.loop import TrainingModule
from tasks.base import Batch

SCHEMA = 1


class _Random(msgspec.Struct):
    cpu: Annotated[torch.Tensor, Meta(description="the state of a generator")]


class _Optimizer(msgspec.Struct):
    state: dict[Any, Any]
    param_groups: list[Any]


class _Probes(msgspec.Struct):
    rows: dict[str, Any]
    seconds: float


class _State(msgspec.Struct):
    step: int
    model: dict[str, Any]
    optimizer: _Optimizer
    curves: dict[str, Any]
    evaluations: list[Any]
    solved_in_a_row: int
    looked_at: int
    train_seconds: float
    solved_at: int | None = None
    probes: _Probes | None = None


class _Content(msgspec.Struct):
    """What :meth:`bench.training.loop.TrainingModule.restore` relies on; its own checks come later."""

    schema: int
    run_id: str
    wall_seconds: float
    random: _Random
    state: _State


class DamagedCheckpointError(ValueError):
    """A checkpoint that cannot be gone on from; the message names the file and what is wrong with it."""


def save(
    path: Path, run_id: str, state: Mapping[str, Any], wall_seconds: float, random: Mapping[str, Any] | None = None
) -> None:
    """Write a checkpoint, whole or not at all, in place of an older one.

    Args:
        path: Where.
        run_id: The run it belongs to.
        state: See :meth:`bench.training.loop.TrainingModule.state`.
        wall_seconds: Time spent on the run so far.
        random: The state of the global generators, see :func:`generators`; ``None`` stands for that of now.

    Raises:
        OSError: The place cannot be written to.
    """
    content = {
        "schema": SCHEMA, "run_id": run_id, "wall_seconds": wall_seconds, "random": random or generators(),
        "state": dict(state),
    }  # fmt: skip
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_whole(path, buffer.getvalue())


def generators() -> dict[str, torch.Tensor]:
    """Return the state of the global generators, by the kind of device."""
    found = {"cpu": torch.get_rng_state()}
    return found | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def load(path: Path, run_id: str, shapes: Mapping[str, torch.Size]) -> dict[str, Any] | None:
    """Read the checkpoint of a run; tensors and plain containers only, so that no file can bring code along.

    Args:
        path: Where.
        run_id: The run it must belong to.
        shapes: The shapes its weights must have, by name.

    Returns:
        ``wall_seconds``, ``random`` and ``state``; ``None`` without a checkpoint.

    Raises:
        DamagedCheckpointError: It cannot be read, or does not fit.
    """
    try:
        saved = _intact(path)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")  # it is refused anyway
            content = torch.load(saved, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except Exception as error:
        # An unpickler that is fed with noise can raise anything.
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise _damaged(path, f"not a readable checkpoint ({reason})") from error
    try:
        found = convert(content, _Content)
    except ShapeError as error:
        raise _damaged(path, str(error)) from error
    if found.schema > SCHEMA:
        raise _damaged(path, f"`schema` must be <= {SCHEMA} for this version, got {found.schema}")
    if found.run_id != run_id:
        raise _damaged(path, f"`run_id` must be {run_id}, got {found.run_id!r}")
    weights = {name: getattr(value, "shape", None) for name, value in found.state.model.items()}
    for name in sorted(weights.keys() | shapes.keys()):
        if weights.get(name) != shapes.get(name):
            raise _damaged(path, f"`{name}` must have the shape {_shape(shapes, name)}, got {_shape(weights, name)}")
    if found.random.cpu.dtype != torch.uint8:
        raise _damaged(path, "`random.cpu` must be the state of a generator")
    for name in CURVES:
        if getattr(found.state.curves.get(name), "shape", None) != (found.state.step,):
            raise _damaged(path, f"`state.curves.{name}` must be {found.state.step} numbers")
    return content


def _intact(path: Path) -> io.BytesIO:
    """Return the bytes of a checkpoint; torch writes checksums into it, and does not look at them when it reads it."""
    saved = io.BytesIO(path.read_bytes())
    if (part := zipfile.ZipFile(saved).testzip()) is not None:
        raise zipfile.BadZipFile(f"{part} is not what was written")
    saved.seek(0)
    return saved


def restore(path: Path, content: Mapping[str, Any], module: TrainingModule) -> None:
    """Let a training module take over a checkpoint.

    Raises:
        DamagedCheckpointError: It does not fit after all.
    """
    try:
        module.restore(content["state"])
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise _damaged(path, f"not a checkpoint of this run ({reason})") from error


def _shape(found: Mapping[str, Any], name: str) -> str:
    return str(tuple(found[name])) if found.get(name) is not None else "none"


def _damaged(path: Path, what: str) -> DamagedCheckpointError:
    return DamagedCheckpointError(f"{path}: {what}; without this file the run starts anew")


class Checkpointing(L.Callback):
    """Writes checkpoints between two steps, when the evaluation after the first of them is done; stops when asked to.

    A stop comes between two steps, or between two batches of an evaluation or of the test. The run then goes on at the
    beginning of this evaluation, or after its last step.

    Args:
        spec: The run.
        resumed: The checkpoint that this try goes on from, as :func:`load` gives it; ``None`` if it began anew.
        probing: The probes, whose findings are part of the state; ``None`` without any.
        wall: Counts the time spent on the run, earlier tries included.
        lost: Says why the run is no longer that of this process; ``None`` while it is.
    """

    def __init__(
        self,
        spec: RunSpec,
        resumed: Mapping[str, Any] | None,
        probing: Probing | None,
        wall: Clock,
        lost: Callable[[], str | None],
    ) -> None:
        self.spec = spec
        self.resumed = resumed
        self.probing = probing
        self.wall = wall
        self.lost = lost
        self._before_evaluation: Mapping[str, torch.Tensor] = {}
        self._last: tuple[Mapping[str, Any], Mapping[str, torch.Tensor]] | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Go on with the global generators where they were, at the evaluation that is due; take the signals back."""
        signals.listen_again()
        if self.resumed is None:
            return
        torch.set_rng_state(self.resumed["random"]["cpu"])
        if "cuda" in self.resumed["random"] and torch.cuda.is_available():
            torch.cuda.set_rng_state(self.resumed["random"]["cuda"])
        assert isinstance(pl_module, TrainingModule)
        trainer.fit_loop.epoch_loop.max_steps = pl_module.config.steps
        if trainer.global_step % pl_module.config.interval == 0 and not pl_module.evaluated:
            # As Lightning does after a step.
            trainer.validating = True
            trainer.fit_loop.epoch_loop.val_loop.run()
            trainer.training = True
        if pl_module.ended_early:
            trainer.should_stop = True

    def due(self, step: int) -> bool:
        """Return whether there is something to do after a step, see :class:`bench.training.loop.TrainingModule`."""
        every = self.spec.training.checkpoint_every
        return signals.requested() is not None or (every is not None and step % every == 0)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Iterator[Batch], batch_idx: int
    ) -> None:
        """Save if it is due, after a step without an evaluation."""
        assert isinstance(pl_module, TrainingModule)
        if trainer.global_step % pl_module.config.interval:
            self._between_steps(trainer, pl_module)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember the global generators, which a cell may draw from; take the signals back from Lightning."""
        signals.listen_again()
        self._before_evaluation = generators()

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Stop before a batch of an evaluation, if asked to."""
        assert isinstance(pl_module, TrainingModule)
        if pl_module.diverged_at is not None:
            return  # The run has ended; what it has evaluated is not looked at.
        if trainer.state.fn == "fit" and signals.requested() is not None:
            self._last = self._state(pl_module), self._before_evaluation
        self.stop_if_asked()

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the signals back from Lightning."""
        signals.listen_again()

    def on_test_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Stop before a batch of the test, if asked to."""
        self.stop_if_asked()

    def stop_if_asked(self) -> None:
        """Stop where no step is being made: before the first or after the last one, or in an evaluation.

        Raises:
            StoppedError: A signal has asked for it, or the run is no longer that of this process.
        """
        if self.lost() is not None:
            raise StoppedError
        if signals.requested() is not None:
            if self._last is not None:
                self._save(*self._last)
            raise StoppedError

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save if it is due, after the evaluation that follows a step."""
        assert isinstance(pl_module, TrainingModule)
        if trainer.state.fn == "fit":
            self._between_steps(trainer, pl_module)

    def _between_steps(self, trainer: L.Trainer, module: TrainingModule) -> None:
        step = trainer.global_step
        if step == module.config.steps or trainer.should_stop:
            self._last = self._state(module), generators()
            return
        if self.lost() is not None:
            raise StoppedError
        stop, every = signals.requested() is not None, module.config.checkpoint_every
        if stop or (every is not None and step % every == 0):
            self._save(self._state(module), generators())
        if stop:
            raise StoppedError

    def _state(self, module: TrainingModule) -> Mapping[str, Any]:
        return {**module.state(), "probes": self.probing.state() if self.probing is not None else None}

    def _save(self, state: Mapping[str, Any], random: Mapping[str, torch.Tensor]) -> None:
        save(checkpoint_path(self.spec.folder), self.spec.run_id, state, self.wall.seconds, random)


def advance(trainer: L.Trainer, steps: int) -> None:
    """Let a fresh trainer count on from ``steps``, so that steps, evaluations and the end fall where they would have.

    A checkpoint of Lightning's own would bring its loops back in the middle of an epoch, with the batches of its
    beginning; here batches are numbered by the step.
    """
    # A trainer that has made all its steps would not begin; `Checkpointing.on_train_start` gives it its limit back.
    loop = trainer.fit_loop.epoch_loop
    loop.max_steps = max(trainer.max_steps, steps + 1)
    loop.batch_progress.total.ready = steps
    loop.batch_progress.total.completed = steps
    updates = loop.manual_optimization.optim_step_progress.total
    updates.ready = updates.completed = steps
