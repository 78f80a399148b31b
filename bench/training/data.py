"""Streams of ready-made batches, and the LightningDataModule that hands them out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import lightning as L
import torch

from bench.training import rng
from bench.training.settings import DataConfig
from tasks.base import Batch, Task


def select(batch: Batch, columns: torch.Tensor) -> Batch:
    """Return the sequences of a batch at the given columns."""
    return Batch(**{field.name: getattr(batch, field.name)[:, columns] for field in fields(Batch)})


def pieces(batch: Batch, size: int) -> list[Batch]:
    """Cut a batch into pieces of ``size`` sequences."""
    columns = torch.arange(batch.inputs.shape[1], device=batch.inputs.device)
    return [select(batch, chosen) for chosen in columns.split(size)]


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
        self._evaluation: EvaluationSet | None = None

    def train_dataloader(self) -> TrainingStream:
        """Return endless batches of the ``train`` stream."""
        return TrainingStream(self.task, self.config, self.seed, self.device, self.start)

    def val_dataloader(self) -> EvaluationSet:
        """Return the evaluation set, which is made once."""
        if self._evaluation is None:
            self._evaluation = self._set("eval", self.config.eval_size, self.look)
        return self._evaluation

    def test_dataloader(self) -> EvaluationSet:
        """Make the test set, from its own random stream."""
        return self._set("test", self.config.test_size)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Return the batch as it is: batches are made on the device that uses them."""
        return batch

    def _set(self, stream: rng.Stream, size: int, look: int = 0) -> EvaluationSet:
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
