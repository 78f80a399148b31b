"""The temporal order problem: its sequences, classes and criterion."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torchmetrics.functional.classification as tmc

from bench.probes.flow import longest_lag
from bench.training.rng import generator
from tasks.base import Batch
from tasks.temporal_order import TemporalOrder

LENGTHS = (20, 25, 39, 100)
E, B, A, D, X, Y = 0, 1, 2, 5, 6, 7
N = 20_000


def order(length: int, classes: Any = 4, accuracy: float = 0.99) -> TemporalOrder:
    return TemporalOrder(length=length, classes=classes, solved_accuracy=accuracy)


def begins(batch: Batch) -> torch.Tensor:
    """Return the step of each sequence's E."""
    return batch.inputs[..., E].int().argmax(0)


def named(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the steps after E of every X or Y, and whether it is Y, one row for each sequence."""
    sequence, step = (batch.inputs[..., X:].sum(-1) == 1).T.nonzero(as_tuple=True)
    count = batch.inputs.shape[1]
    offset = (step - begins(batch)[sequence]).view(count, -1)
    return offset, batch.inputs[step, sequence, Y].int().view(count, -1)


@pytest.mark.parametrize("classes", [4, 8])
@pytest.mark.parametrize("length", LENGTHS)
class TestSequences:
    def test_the_lengths_are_uniform_and_all_end_at_the_last_step(self, length: int, classes: int):
        task = order(length, classes)
        assert task.length == length + length // 10
        batch = task.sample(N, generator("train", 0))
        choices = length // 10 + 1
        counts = torch.bincount(begins(batch)) / N
        assert len(counts) == choices, "from the shortest to the longest"
        assert counts.numpy() == pytest.approx(1 / choices, abs=5 * math.sqrt(1 / choices / N))
        begun = torch.arange(task.length).unsqueeze(1) >= begins(batch)
        assert torch.equal(batch.inputs.sum(-1), begun.float()), "one-hot, after steps of zeros"
        assert set(batch.inputs.unique().tolist()) == {0.0, 1.0}

    def test_e_and_b_stand_at_the_ends_alone(self, length: int, classes: int):
        batch = order(length, classes).sample(N, generator("train", 0))
        assert (batch.inputs[..., [E, B]].sum(0) == 1).all()
        assert (batch.inputs[-1, :, B] == 1).all()

    def test_x_and_y_stand_in_their_windows(self, length: int, classes: int):
        task = order(length, classes)
        offset, is_y = named(task.sample(N, generator("train", 0)))
        bits = {4: 2, 8: 3}[classes]
        assert offset.shape == (N, bits)
        hundredths = {4: ((10, 20), (50, 60)), 8: ((10, 20), (33, 43), (66, 76))}[classes]
        for steps, (low, high) in zip(offset.T, hundredths, strict=True):
            first, last = length * low // 100, length * high // 100
            counts = torch.bincount(steps)[first:] / N
            assert len(counts) == last - first + 1
            assert counts.numpy() == pytest.approx(1 / len(counts), abs=5 * math.sqrt(1 / len(counts) / N))
        assert is_y.float().mean(0).numpy() == pytest.approx(0.5, abs=5 * math.sqrt(0.25 / N))

    def test_the_class_is_the_order(self, length: int, classes: int):
        batch = order(length, classes).sample(N, generator("train", 0))
        _, is_y = named(batch)
        digits = ["".join(map(str, row)) for row in is_y.tolist()]
        assert batch.targets[0].tolist() == [int(row, 2) for row in digits]
        shares = torch.bincount(batch.targets[0], minlength=classes) / N
        assert shares.numpy() == pytest.approx(1 / classes, abs=5 * math.sqrt(1 / classes / N))

    def test_the_distractors_are_uniform(self, length: int, classes: int):
        batch = order(length, classes).sample(N, generator("train", 0))
        counts = batch.inputs[..., A : D + 1].sum((0, 1))
        share = counts / counts.sum()
        assert share.numpy() == pytest.approx(1 / 4, abs=5 * math.sqrt(0.19 / counts.sum().item()))

    def test_the_delay_reaches_from_the_earliest_symbol_to_the_end(self, length: int, classes: int):
        task = order(length, classes)
        batch = task.sample(N, generator("train", 0))
        symbols = batch.inputs[..., X:].sum((1, 2)).nonzero()
        assert task.delay == length
        assert task.delay == task.length - symbols.min()
        assert longest_lag(task) == task.length - 1

    def test_baselines_match_a_large_simulation(self, length: int, classes: int):
        task = order(length, classes)
        batch = task.sample(200_000 if length == 20 else N, generator("eval", 0))
        count = batch.targets.shape[1]
        scores = task.scores(torch.zeros(1, count, classes), batch)
        assert scores["loss"].mean().item() == pytest.approx(task.baselines["loss"])
        error = scores["accuracy"].std().item() / math.sqrt(count)
        assert scores["accuracy"].mean().item() == pytest.approx(task.baselines["accuracy"], abs=4 * error)
        assert scores.keys() == task.baselines.keys()


def test_the_positions_of_the_paper():
    assert order(100).windows == ((10, 20), (50, 60))
    assert order(100, 8).windows == ((10, 20), (33, 43), (66, 76))


def test_scores_against_torchmetrics():
    task = order(20, 8)
    batch = task.sample(500, generator("eval", 0))
    noise = torch.randn(1, 500, 8, generator=generator("probe", 0))
    outputs = 2 * torch.nn.functional.one_hot(batch.targets, 8) + noise
    scores = task.scores(outputs, batch)
    accuracy = tmc.multiclass_accuracy(outputs[0].argmax(-1), batch.targets[0], 8, average="micro")
    assert 0.2 < accuracy < 0.95
    torch.testing.assert_close(scores["accuracy"].mean(), accuracy)
    likelihood = outputs[0].softmax(-1)[torch.arange(500), batch.targets[0]]
    torch.testing.assert_close(scores["loss"], -likelihood.log())
    torch.testing.assert_close(task.answer_loss(outputs, batch), scores["loss"])


def test_solved_is_an_accuracy_of_at_least_the_criterion():
    task = order(100)
    assert task.solved({"accuracy": 0.99})
    assert not task.solved({"accuracy": 0.9899})
    assert not task.solved({"accuracy": math.nan})


def test_bad_settings():
    with pytest.raises(ValueError, match=r"^`length` must be >= 20, got 19$"):
        order(19)
    for classes in (2, 5, 16):
        with pytest.raises(ValueError, match=rf"^`classes` must be one of 4, 8, got {classes}$"):
            order(20, classes)
    for classes, accuracy in ((4, 0.25), (8, 0.125), (4, 1.01), (8, math.nan)):
        expected = rf"^`solved_accuracy` must be > {1 / classes} and <= 1, got {accuracy}$"
        with pytest.raises(ValueError, match=expected):
            order(20, classes, accuracy)
