"""The settings of a training: data, loop and process. It imports no torch, so that a command line is read at once."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from typing import Any


@dataclass
class DataConfig:
    """Sizes of the data; every number counts sequences.

    Attributes:
        batch_size: Sequences of a training step, at least 1.
        microbatch_size: Sequences that a training step computes at once; divides ``batch_size``. The gradients of all
            are added up, so that the step is that of the whole batch up to rounding, in less memory. Dropout draws
            other masks, and a cell that looks at the whole batch sees the piece. ``None`` computes the whole batch at
            once.
        train_size: Size of a fixed training set, at least ``batch_size``. It is shuffled anew every epoch and used
            without its last incomplete batch. ``None`` draws fresh sequences for every step. Of a data set it is the
            number of sequences of the training split that are used, ``None`` for all, and no batch is left out.
        eval_size: Size of the set that decides when the task is solved, at least 1; of a data set, the most sequences
            of the validation split. ``None``, for a data set alone, takes the whole split.
        test_size: Size of the set that is looked at once, at the end, at least 1; of a data set as ``eval_size``.
        eval_batch_size: Sequences that evaluation and test handle at once, at least 1.
        test_scales: Further test sets, looked at once after the first: those of the task at so many times its delay,
            each > 0, not 1, and given once. ``None`` for none.
        bucketing: Put sequences of like lengths into a batch, so that there is less padding. For a data set with
            sequences of different lengths; the batches are others, and come in a random order.
        carry_state: Let each sequence of a batch follow on the one at its place in the batch before, and the network go
            on from the state that it had there; the gradient ends where the sequence begins (truncated backpropagation
            through time). For data sets that are one long sequence, cut without a gap. A state is forgotten at the end
            of an epoch. Evaluation and test do the same, with at least 20 sequences behind each other.
    """

    batch_size: int
    train_size: int | None
    eval_size: int | None
    test_size: int | None
    eval_batch_size: int
    microbatch_size: int | None = None
    test_scales: Any = None
    bucketing: bool = False
    carry_state: bool = False

    def __post_init__(self) -> None:
        for name in ("batch_size", "eval_size", "test_size", "eval_batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"`{name}` must be >= 1, got {value}")
        piece = self.microbatch_size
        if piece is not None and (piece < 1 or self.batch_size % piece):
            raise ValueError(f"`microbatch_size` must be null or divide batch_size ({self.batch_size}), got {piece}")
        if piece is not None and self.carry_state:
            raise ValueError(f"`microbatch_size` must be null where carry_state is true, got {piece}")
        scales = self.test_scales
        if scales is not None and not (
            isinstance(scales, list)
            and all(type(each) in (int, float) and 0 < each < math.inf and each != 1 for each in scales)
            and len(set(scales)) == len(scales)
        ):
            raise ValueError(f"`test_scales` must be null or a list of different numbers > 0 but 1, got {scales!r}")
        if self.train_size is not None and self.train_size < self.batch_size:
            raise ValueError(f"`train_size` must be null or >= batch_size ({self.batch_size}), got {self.train_size}")


SCHEDULES = ("constant", "cosine", "step", "plateau")
"""How the learning rate may change; see :class:`TrainingConfig`."""


@dataclass
class TrainingConfig:
    """How a network is trained.

    Attributes:
        max_steps: Training steps at most, at least 1; ``None`` where ``max_epochs`` is given.
        max_epochs: Passes through the training sequences at most, at least 1, where their number is fixed; ``None``
            where ``max_steps`` is given.
        eval_every: Steps between two evaluations, at least 1; there is always one after the last step. ``None``, where
            the number of training sequences is fixed, evaluates after every epoch.
        clip_norm: Largest Euclidean norm of the gradient of all parameters together, > 0; ``None`` for no limit.
        clip_value: Largest absolute value of each entry of the gradient, > 0; ``None`` for no limit.
        stop_when_solved: Stop at the third evaluation in a row that meets the task's criterion.
        patience: Stop after so many evaluations in a row, at least 1, without a better value of the task's metric than
            before; ``None`` to go on.
        tested_weights: The weights that the test set sees: ``last``, or ``best``, those of the first evaluation with
            the best value of the task's metric.
        keep_weights: Keep the weights that were tested, as a file beside the record. Changes no number.
        keep_predictions: Keep what the network says of each sequence of the test set, as a table beside the record, for
            a data set. Changes no number.
        schedule: How the learning rate changes: ``constant``; ``cosine``, down to 0 at the last step; ``step``, by
            ``decay`` after every ``decay_every`` steps; ``plateau``, by ``decay`` after ``decay_every`` evaluations in
            a row without a better value of the task's metric. Those of torch.optim.lr_scheduler.
        warm_up_steps: Steps over which the learning rate rises in equal parts to its value, at least 0.
        decay_every: Steps or evaluations, at least 1, as ``schedule`` says; ``None`` where it needs none.
        decay: Factor of the learning rate, > 0 and < 1, as ``schedule`` says; ``None`` where it needs none.
        checkpoint_every: Steps between two checkpoints, at least 1; ``None`` writes one only when stopped. Changes no
            number.
    """

    max_steps: int | None
    eval_every: int | None
    clip_norm: float | None
    clip_value: float | None
    stop_when_solved: bool
    checkpoint_every: int | None
    max_epochs: int | None = None
    patience: int | None = None
    tested_weights: str = "last"
    keep_weights: bool = False
    keep_predictions: bool = False
    schedule: str = "constant"
    warm_up_steps: int = 0
    decay_every: int | None = None
    decay: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_steps", "max_epochs", "eval_every", "checkpoint_every", "patience", "decay_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                null = "" if name in ("max_steps", "eval_every") else "null or "
                raise ValueError(f"`{name}` must be {null}>= 1, got {value}")
        for name in ("clip_norm", "clip_value"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ValueError(f"`{name}` must be null or a finite number > 0, got {value}")
        if self.clip_norm is not None and self.clip_value is not None:
            raise ValueError(f"`clip_value` must be null where clip_norm is given, got {self.clip_value}")
        if self.tested_weights not in ("last", "best"):
            raise ValueError(f"`tested_weights` must be one of last, best, got {self.tested_weights!r}")
        self._check_schedule()

    def _check_schedule(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ValueError(f"`schedule` must be one of {', '.join(SCHEDULES)}, got {self.schedule!r}")
        if self.warm_up_steps < 0:
            raise ValueError(f"`warm_up_steps` must be >= 0, got {self.warm_up_steps}")
        decays = self.schedule in ("step", "plateau")
        for name in ("decay_every", "decay"):
            value = getattr(self, name)
            if decays and value is None:
                raise ValueError(f"`{name}` must be given where schedule is {self.schedule}, got null")
            if not decays and value is not None:
                raise ValueError(f"`{name}` must be null where schedule is {self.schedule}, got {value}")
        if self.decay is not None and not 0 < self.decay < 1:
            raise ValueError(f"`decay` must be > 0 and < 1, got {self.decay}")

    @property
    def steps(self) -> int:
        """Training steps at most, once :meth:`in_steps` has found them."""
        assert self.max_steps is not None
        return self.max_steps

    @property
    def interval(self) -> int:
        """Steps between two evaluations, once :meth:`in_steps` has found them."""
        assert self.eval_every is not None
        return self.eval_every

    def in_steps(self, epoch: int | None) -> TrainingConfig:
        """Return the same with the number of steps in place of what counts epochs.

        Args:
            epoch: Steps of an epoch; ``None`` where there are no epochs.

        Raises:
            ValueError: There are none, though the settings count them; or they give both numbers, and these differ.
        """
        for name in ("max_epochs",) if epoch is None else ():
            if (value := getattr(self, name)) is not None:
                raise ValueError(f"`{name}` must be null where every step has new sequences, got {value}")
        for name, instead in (("max_steps", "max_epochs"), ("eval_every", None)):
            if getattr(self, name) is None and (epoch is None or (instead and getattr(self, instead) is None)):
                where = f"where {instead} is null" if epoch is not None else "where every step has new sequences"
                raise ValueError(f"`{name}` must be given {where}, got null")
        found = self
        if epoch is not None and self.max_epochs is not None:
            steps = self.max_epochs * epoch
            if self.max_steps not in (None, steps):
                raise ValueError(
                    f"`max_steps` must be null where max_epochs is given, as {self.max_epochs} epochs have {steps} "
                    f"steps, got {self.max_steps}"
                )
            found = replace(found, max_steps=steps)
        if self.eval_every is None:
            found = replace(found, eval_every=epoch)
        if found.warm_up_steps > found.steps:
            raise ValueError(f"`warm_up_steps` must be <= max_steps ({found.steps}), got {found.warm_up_steps}")
        return found


@dataclass
class RuntimeConfig:
    """Process-wide settings.

    Attributes:
        threads: Threads inside one operation on the CPU, at least 1; ``None`` takes all cores this process may use.
        flush_subnormals: Treat subnormal numbers as 0, in the calling thread and the threads that it starts later.
        keep_pages: Tell glibc's allocator to keep freed memory; other C libraries have no such switch.
        deterministic: Use only deterministic algorithms; an operation that has none raises an error.
        tf32: Let an NVIDIA GPU round the factors of float32 products to 10 bits of mantissa.
    """

    threads: int | None
    flush_subnormals: bool
    keep_pages: bool
    deterministic: bool
    tf32: bool

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"`threads` must be null or >= 1, got {self.threads}")

    @property
    def thread_count(self) -> int:
        """Number of threads after ``None`` is resolved."""
        return self.threads if self.threads is not None else available_cores()


def available_cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
