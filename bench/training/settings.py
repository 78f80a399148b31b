"""The settings of a training: data, loop and process. It imports no torch, so that a command line is read at once."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
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
            without its last incomplete batch. ``None`` draws fresh sequences for every step.
        eval_size: Size of the set that decides when the task is solved, at least 1.
        test_size: Size of the set that is looked at once, at the end, at least 1.
        eval_batch_size: Sequences that evaluation and test handle at once, at least 1.
        test_scales: Further test sets, looked at once after the first: those of the task at so many times its delay,
            each > 0, not 1, and given once. ``None`` for none.
    """

    batch_size: int
    train_size: int | None
    eval_size: int
    test_size: int
    eval_batch_size: int
    microbatch_size: int | None = None
    test_scales: Any = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "eval_size", "test_size", "eval_batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be >= 1, got {getattr(self, name)}")
        piece = self.microbatch_size
        if piece is not None and (piece < 1 or self.batch_size % piece):
            raise ValueError(f"`microbatch_size` must be null or divide batch_size ({self.batch_size}), got {piece}")
        scales = self.test_scales
        if scales is not None and not (
            isinstance(scales, list)
            and all(type(each) in (int, float) and 0 < each < math.inf and each != 1 for each in scales)
            and len(set(scales)) == len(scales)
        ):
            raise ValueError(f"`test_scales` must be null or a list of different numbers > 0 but 1, got {scales!r}")
        if self.train_size is not None and self.train_size < self.batch_size:
            raise ValueError(f"`train_size` must be null or >= batch_size ({self.batch_size}), got {self.train_size}")


@dataclass
class TrainingConfig:
    """How a network is trained.

    Attributes:
        max_steps: Training steps at most, at least 1.
        eval_every: Steps between two evaluations, at least 1; there is always one after the last step.
        clip_norm: Largest Euclidean norm of the gradient of all parameters together, > 0; ``None`` for no limit.
        clip_value: Largest absolute value of each entry of the gradient, > 0; ``None`` for no limit.
        stop_when_solved: Stop at the third evaluation in a row that meets the task's criterion.
        checkpoint_every: Steps between two checkpoints, at least 1; ``None`` writes one only when stopped. Changes no
            number.
    """

    max_steps: int
    eval_every: int
    clip_norm: float | None
    clip_value: float | None
    stop_when_solved: bool
    checkpoint_every: int | None

    def __post_init__(self) -> None:
        for name in ("max_steps", "eval_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be >= 1, got {getattr(self, name)}")
        if self.checkpoint_every is not None and self.checkpoint_every < 1:
            raise ValueError(f"`checkpoint_every` must be null or >= 1, got {self.checkpoint_every}")
        for name in ("clip_norm", "clip_value"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ValueError(f"`{name}` must be null or a finite number > 0, got {value}")
        if self.clip_norm is not None and self.clip_value is not None:
            raise ValueError(f"`clip_value` must be null where clip_norm is given, got {self.clip_value}")


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
