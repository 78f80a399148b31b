from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
import torch

from bench.training.data import SequenceData, TrainingStream, select
from bench.training.rng import generator
from bench.training.settings import DataConfig
from tasks.base import Batch
from tasks.copy_memory import CopyMemory

TASK = CopyMemory(delay=3, form="categorical", solved_recall=0.99)
CPU = torch.device("cpu")


def config(**changes: Any) -> DataConfig:
    settings: dict[str, Any] = {
        "batch_size": 4,
        "train_size": None,
        "eval_size": 10,
        "test_size": 7,
        "eval_batch_size": 4,
    }
    return DataConfig(**(settings | changes))


def sequences(batches: list[Batch]) -> list[tuple[int, ...]]:
    return [tuple(column) for batch in batches for column in batch.targets[-10:].T.tolist()]


def test_fresh_batches_are_a_function_of_seed_and_index():
    stream = TrainingStream(TASK, config(), seed=3, device=CPU)
    batches = list(islice(stream, 3))
    again = list(islice(stream, 3))
    assert sequences(batches) == sequences(again)
    assert len(set(sequences(batches))) == 12
    assert torch.equal(batches[2].inputs, TASK.sample(4, generator("train", 3, 2)).inputs)


def test_a_fixed_set_is_shuffled_every_epoch_and_drops_its_incomplete_batch():
    stream = TrainingStream(TASK, config(train_size=10), seed=0, device=CPU)
    whole = set(sequences([TASK.sample(10, generator("train", 0, 0))]))
    first, second = (list(islice(stream, start, start + 2)) for start in (0, 2))
    for epoch in (first, second):
        assert len(set(sequences(epoch))) == 8
        assert set(sequences(epoch)) < whole
    assert sequences(first) != sequences(second)
    assert sequences(list(islice(stream, 4))) == sequences(first + second)


def test_evaluation_and_test_sets_are_whole_and_apart():
    data = SequenceData(TASK, config(), seed=0, device=CPU)
    evaluation, test = data.val_dataloader(), data.test_dataloader()
    assert [batch.inputs.shape[1] for batch in evaluation] == [4, 4, 2]
    assert [batch.inputs.shape[1] for batch in test] == [4, 3]
    train = list(islice(next(iter(data.train_dataloader())), 5))
    seen = [sequences(list(part)) for part in (evaluation, test, train)]
    assert len({each for part in seen for each in part}) == sum(map(len, seen))
    assert sequences(list(data.val_dataloader())) == seen[0], "the same at every evaluation"


def test_another_seed_is_other_data():
    one, two = (SequenceData(TASK, config(), seed=seed, device=CPU) for seed in (0, 1))
    assert sequences(list(one.val_dataloader())) != sequences(list(two.val_dataloader()))


def test_select_keeps_everything_of_a_sequence():
    batch = TASK.sample(6, generator("train", 0))
    part = select(batch, torch.tensor([4, 1]))
    assert torch.equal(part.inputs, batch.inputs[:, [4, 1]])
    assert torch.equal(part.targets, batch.targets[:, [4, 1]])
    assert part.scored.shape == part.answer.shape == (23, 2)


@pytest.mark.parametrize("name", ["batch_size", "eval_size", "test_size", "eval_batch_size"])
def test_sizes_below_one(name: str):
    with pytest.raises(ValueError, match=f"`{name}` must be >= 1, got 0"):
        config(**{name: 0})


@pytest.mark.parametrize("size", [0, 3, 8])
def test_a_piece_that_does_not_divide_the_batch(size: int):
    with pytest.raises(ValueError, match=rf"`microbatch_size` must be null or divide batch_size \(4\), got {size}"):
        config(microbatch_size=size)


def test_a_training_set_smaller_than_a_batch():
    with pytest.raises(ValueError, match=r"`train_size` must be null or >= batch_size \(4\), got 3"):
        config(train_size=3)
