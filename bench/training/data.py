"""Streams of ready-made batches, and the LightningDataModule that hands them out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import lightning as L
import numpy as np
import torch

from bench.training import rng
from bench.training.settings import DataConfig
from tasks.base import Batch, Task
from tasks.data_set import DataSet, Split
from tasks.mapped import empty

LANE = 20
"""Sequences behind each other at least, in each lane of an evaluation that carries the state on."""
POOL = 50
"""Batches whose sequences are sorted by length together, where ``data.bucketing`` is on."""


def select(batch: Batch, columns: torch.Tensor) -> Batch:
    """Return the sequences of a batch at the given columns."""
    return Batch(
        inputs=batch.inputs[:, columns],
        targets=batch.targets[:, columns],
        scored=batch.scored[:, columns],
        answer=batch.answer[:, columns],
        lengths=batch.lengths[columns] if batch.lengths is not None else None,
    )


def steps_per_epoch(task: Task, config: DataConfig) -> int | None:
    """Return the training steps that see every training sequence once; ``None`` where every step draws new ones."""
    if isinstance(task, DataSet):
        size = config.train_size or task.size("train")
        return size // config.batch_size if config.carry_state else -(-size // config.batch_size)
    return config.train_size // config.batch_size if config.train_size is not None else None


def pieces(batch: Batch, size: int) -> list[Batch]:
    """Cut a batch into pieces of ``size`` sequences."""
    columns = torch.arange(batch.inputs.shape[1], device=batch.inputs.device)
    return [select(batch, chosen) for chosen in columns.split(size)]


class Source:
    """What Lightning is given in the place of batches: one iterator over them, again and again.

    A step of Lightning's takes as many batches as it makes updates, see
    :meth:`bench.training.loop.TrainingModule.training_step`.
    """

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[Iterator[Batch]]:
        return itertools.repeat(iter(self._batches))


@dataclass(frozen=True)
class TrainingStream:
    """An endless stream of training batches; batch ``k`` is a function of (seed, k) alone.

    Attributes:
        task: The task that the batches are drawn from.
        config: The sizes.
        seed: The run's seed.
        device: Where the batches are made.
        start: Number of the first batch, so that a resumed run goes on where it stopped.
    """

    task: Task
    config: DataConfig
    seed: int
    device: torch.device
    start: int = 0

    def __iter__(self) -> Iterator[Batch]:
        if isinstance(self.task, DataSet):
            return self._of_split(self.task, self.config.train_size or self.task.size("train"))
        return self._fresh() if self.config.train_size is None else self._fixed(self.config.train_size)

    def _fresh(self) -> Iterator[Batch]:
        for index in itertools.count(self.start):
            yield self.task.sample(self.config.batch_size, rng.generator("train", self.seed, index, self.device))

    def _fixed(self, train_size: int) -> Iterator[Batch]:
        whole = self.task.sample(train_size, rng.generator("train", self.seed, 0, self.device))
        first_epoch, skipped = divmod(self.start, train_size // self.config.batch_size)
        for epoch in itertools.count(first_epoch):
            shuffle = rng.generator("shuffle", self.seed, epoch, self.device)
            order = torch.randperm(train_size, generator=shuffle, device=self.device)
            for columns in order.split(self.config.batch_size)[skipped:]:
                if len(columns) == self.config.batch_size:
                    yield select(whole, columns)
            skipped = 0

    def _of_split(self, task: DataSet, size: int) -> Iterator[Batch]:
        per_epoch = steps_per_epoch(task, self.config)
        assert per_epoch is not None
        first_epoch, skipped = divmod(self.start, per_epoch)
        for epoch in itertools.count(first_epoch):
            shuffle = rng.generator("shuffle", self.seed, epoch, self.device)
            for chosen in itertools.islice(self._portions(task, size, shuffle), skipped, None):
                yield task.take("train", chosen)
            skipped = 0

    def _portions(self, task: DataSet, size: int, shuffle: torch.Generator) -> Iterable[torch.Tensor]:
        """Return the numbers of the sequences of each batch of one epoch; the last may be smaller."""
        if self.config.carry_state:
            return lanes(size, self.config.batch_size, self.device)
        order = self._order(task, size, shuffle)
        lengths = task.lengths("train")
        if not self.config.bucketing or lengths is None:
            return in_turn(order, self.config.batch_size)
        portions: list[torch.Tensor] = []
        lengths = lengths.to(self.device)
        for pool in order.split(POOL * self.config.batch_size):
            by_length = pool[lengths[pool].argsort(stable=True)]
            portions += by_length.split(self.config.batch_size)
        mixed = torch.randperm(len(portions), generator=shuffle, device=self.device).tolist()
        return [portions[number] for number in mixed]

    def _order(self, task: DataSet, size: int, shuffle: torch.Generator) -> torch.Tensor:
        if task.on_disk and self.device.type == "cpu":
            # There may be as many sequences as the data has values.
            return torch.randperm(size, generator=shuffle, out=torch.from_numpy(empty((size,), np.int64)))
        return torch.randperm(size, generator=shuffle, device=self.device)


def in_turn(numbers: torch.Tensor, count: int) -> Iterator[torch.Tensor]:
    """Yield ``count`` numbers at a time; the last may be fewer."""
    return (numbers[start : start + count] for start in range(0, len(numbers), count))


def lanes(size: int, count: int, device: torch.device) -> list[torch.Tensor]:
    """Return batches of ``count`` sequences each of which follows on the one at its place in the batch before.

    The last sequences, fewer than ``count``, are left out.
    """
    long = size // count
    return list((torch.arange(count, device=device) * long + torch.arange(long, device=device).unsqueeze(1)).unbind())


class SplitSet:
    """The first ``size`` sequences of a split, taken batch by batch as they are asked for.

    ``between`` is called before each batch is taken.
    """

    def __init__(
        self,
        task: DataSet,
        split: Split,
        *,
        size: int | None,
        batch_size: int,
        device: torch.device,
        carry_state: bool = False,
        between: Callable[[], object] = lambda: None,
    ) -> None:
        there = task.size(split)
        size = there if size is None else min(size, there)
        self._task, self._between = task, between
        self._split: Split = split
        if carry_state:
            self._portions = lanes(size, max(1, min(batch_size, size // LANE)), device)
        else:
            self._portions = list(torch.arange(size, device=device).split(batch_size))

    def __iter__(self) -> Iterator[Batch]:
        for chosen in self._portions:
            self._between()
            yield self._task.take(self._split, chosen)

    def __len__(self) -> int:
        return len(self._portions)


class EvaluationSet:
    """A fixed set of sequences in ready-made batches, the last may be smaller; each ``look`` has other sequences.

    ``between`` is called before each batch is made.
    """

    def __init__(
        self,
        task: Task,
        stream: rng.Stream,
        *,
        size: int,
        batch_size: int,
        seed: int,
        device: torch.device,
        look: int = 0,
        between: Callable[[], object] = lambda: None,
    ) -> None:
        self.batches: list[Batch] = []
        starts = range(0, size, batch_size)
        for index, start in enumerate(starts, start=look * len(starts)):
            between()
            generator = rng.generator(stream, seed, index, device)
            self.batches.append(task.sample(min(batch_size, size - start), generator))

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class SequenceData(L.LightningDataModule):
    """Training, evaluation and test batches of one task and seed, made on the device that uses them.

    Args:
        task: The task.
        config: The sizes.
        seed: The run's seed.
        device: Where the batches are made.
        start: Number of the first training batch.
        look: Number of the evaluation set: 0 for the one of the whole training; others have other sequences.
        between: Is called before each batch of an evaluation or test set is made; what it raises ends that.
    """

    def __init__(
        self,
        task: Task,
        config: DataConfig,
        seed: int,
        device: torch.device,
        start: int = 0,
        look: int = 0,
        between: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__()
        self.task = task
        self.config = config
        self.seed = seed
        self.device = device
        self.start = start
        self.look = look
        self.between = between
        self._evaluation: EvaluationSet | SplitSet | None = None

    def train_dataloader(self) -> Source:
        """Return the source of endless batches of the ``train`` stream."""
        return Source(TrainingStream(self.task, self.config, self.seed, self.device, self.start))

    def val_dataloader(self) -> EvaluationSet | SplitSet:
        """Return the evaluation set, which is made once; the validation split of a data set."""
        if self._evaluation is None:
            self._evaluation = self._set("eval", self.config.eval_size, self.look)
        return self._evaluation

    def test_dataloader(self) -> EvaluationSet | SplitSet:
        """Make the test set, from its own random stream; the test split of a data set."""
        return self._set("test", self.config.test_size)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Return the batch, or the source of batches, as it is: they are made on the device that uses them."""
        return batch

    def _set(self, stream: Literal["eval", "test"], size: int | None, look: int = 0) -> EvaluationSet | SplitSet:
        if isinstance(self.task, DataSet):
            return SplitSet(
                self.task,
                "test" if stream == "test" else "validation",
                size=size,
                batch_size=self.config.eval_batch_size,
                device=self.device,
                carry_state=self.config.carry_state,
                between=self.between,
            )
        assert size is not None
        return EvaluationSet(
            self.task,
            stream,
            size=size,
            batch_size=self.config.eval_batch_size,
            seed=self.seed,
            device=self.device,
            look=look,
            between=self.between,
        )
