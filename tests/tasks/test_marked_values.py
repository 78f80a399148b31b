"""The adding and multiplication problems of 1997: their sequences, targets, baselines and criterion."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from bench.training.rng import generator
from tasks.base import Batch
from tasks.marked_values import MarkedValues

LENGTHS = (20, 25, 39, 100)
OPERATIONS = ("sum", "product")


def marked(length: int, operation: Any = "sum", error: float = 0.01, correct: float = 1.0) -> MarkedValues:
    return MarkedValues(length=length, operation=operation, solved_error=error, solved_correct=correct)


def begins(batch: Batch) -> torch.Tensor:
    """Return the step of each sequence's first pair, which is the first -1 in the channel of markers."""
    return (batch.inputs[..., 1] == -1).int().argmax(0)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("length", LENGTHS)
class TestSequences:
    def test_the_lengths_are_uniform_and_all_end_at_the_last_step(self, length: int, operation: str):
        task = marked(length, operation)
        assert task.length == task.delay == length + length // 10
        batch = task.sample(20_000, generator("train", 0))
        begin = begins(batch)
        counts = torch.bincount(begin, minlength=length // 10 + 1)
        choices = length // 10 + 1
        assert len(counts) == choices, "from the shortest to the longest"
        assert (counts / 20_000).numpy() == pytest.approx(1 / choices, abs=5 * math.sqrt(1 / choices / 20_000))
        before = torch.arange(task.length).unsqueeze(1) < begin
        assert (batch.inputs[before] == 0).all()

    def test_the_markers(self, length: int, operation: str):
        batch = marked(length, operation).sample(20_000, generator("train", 0))
        marks, begin = batch.inputs[..., 1], begins(batch)
        assert (marks[-1] == -1).all()
        assert ((marks == -1).sum(0) == 2).all()
        assert set(marks.unique().tolist()) == {-1.0, 0.0, 1.0}
        assert set((marks == 1).sum(0).unique().tolist()) == {1, 2}, "one where the first pair is chosen"
        steps, column = (marks == 1).nonzero(as_tuple=True)
        offset = steps - begin[column]
        # If a pair before it is marked, the first T // 2 - 1 unmarked pairs end at T // 2 - 1.
        assert sorted(set(offset.tolist())) == list(range(1, length // 2))
        early = ((marks == 1) & (torch.arange(len(marks)).unsqueeze(1) < begin + 10)).any(0)
        hidden = (marks == 1).sum(0) == 1
        assert (early | hidden).all(), "one of the two is among the first ten"

    def test_how_often_each_pair_is_marked(self, length: int, operation: str):
        task = marked(length, operation)
        batch = task.sample(100_000, generator("train", 1))
        steps, column = (batch.inputs[..., 1] == 1).nonzero(as_tuple=True)
        share = torch.bincount(steps - begins(batch)[column], minlength=length // 2) / 100_000
        candidates = length // 2 - 1
        expected = torch.zeros(length // 2)
        for first in range(10):
            expected[first] += 1 / 10
            others = [pair for pair in range(length // 2) if pair != first][:candidates]
            expected[others] += 1 / 10 / candidates
        assert expected[0].item() == pytest.approx(task.first_chosen)
        expected[0] = 0
        assert ((share - expected).abs() <= 5 * (expected * (1 - expected) / 100_000).sqrt()).all()

    def test_the_target_is_that_of_the_values_shown(self, length: int, operation: str):
        batch = marked(length, operation).sample(2_000, generator("train", 0))
        values, marks = batch.inputs.unbind(-1)
        chosen = (marks == 1).T
        for sequence in range(2_000):
            shown = values[chosen[sequence], sequence].tolist()
            one, two = shown if len(shown) == 2 else (*shown, 0.0 if operation == "sum" else 1.0)
            target = 0.5 + (one + two) / 4 if operation == "sum" else one * two
            assert batch.targets[0, sequence].item() == pytest.approx(target, abs=1e-6)
        assert batch.targets.min() >= 0
        assert batch.targets.max() <= 1

    def test_the_values_are_uniform(self, length: int, operation: str):
        batch = marked(length, operation).sample(2_000, generator("train", 0))
        begun = torch.arange(len(batch.inputs)).unsqueeze(1) >= begins(batch)
        values = batch.inputs[..., 0][begun]
        low = -1 if operation == "sum" else 0
        assert values.min() >= low
        assert values.max() < 1
        counts = torch.histc(values, 10, low, 1) / len(values)
        assert counts.numpy() == pytest.approx(0.1, abs=5 * math.sqrt(0.09 / len(values)))

    def test_baselines_match_a_large_simulation(self, length: int, operation: str):
        task = marked(length, operation)
        batch = task.sample(200_000, generator("eval", 0))
        deviation = batch.targets.std().item()
        assert batch.targets.mean().item() == pytest.approx(task.mean, abs=4 * deviation / math.sqrt(200_000))
        # The best single answer of each score: the mean, the median, and where the target is densest.
        answers = {"loss": task.mean, "mse": task.mean, "absolute_error": batch.targets.median().item()}
        answers["within_tolerance"] = task.mean if operation == "sum" else 0.04
        assert answers.keys() == task.baselines.keys()
        for name, expected in task.baselines.items():
            score = task.scores(torch.full((1, 200_000, 1), answers[name]), batch)[name]
            error = score.std().item() / math.sqrt(200_000)
            assert score.mean().item() == pytest.approx(expected, abs=4 * error), name


def test_baselines_in_numbers():
    """At T = 100 the first pair is chosen once in 10 times, and in 9 of 10 times by the second draw, once in 49.

    For the product the mean, 0.28, has 11.6 % of the targets within 0.04; the answer 0.04 has 26 %.
    """
    assert marked(100, "product").baselines["within_tolerance"] == pytest.approx(0.2582, abs=1e-3)
    assert marked(100).first_chosen == pytest.approx(0.1 + 0.9 / 49)
    assert marked(100).baseline == pytest.approx(0.039201, abs=1e-6)
    assert marked(100, "product").baseline == pytest.approx(0.059243, abs=1e-6)


def test_scores():
    task = marked(20)
    batch = task.sample(3, generator("eval", 0))
    outputs = (batch.targets + torch.tensor([0.0, 0.039, -0.041])).unsqueeze(-1)
    scores = task.scores(outputs, batch)
    torch.testing.assert_close(scores["absolute_error"], torch.tensor([0.0, 0.039, 0.041]))
    torch.testing.assert_close(scores["mse"], scores["absolute_error"].square())
    assert torch.equal(scores["loss"], scores["mse"])
    torch.testing.assert_close(task.answer_loss(outputs, batch), scores["loss"])
    assert scores["within_tolerance"].tolist() == [1, 1, 0]


def test_solved_asks_for_both():
    task = marked(100, error=0.04, correct=0.93)
    assert task.solved({"absolute_error": 0.04, "within_tolerance": 0.93})
    assert not task.solved({"absolute_error": 0.0401, "within_tolerance": 1.0})
    assert not task.solved({"absolute_error": 0.01, "within_tolerance": 0.9299})
    for name in ("absolute_error", "within_tolerance"):
        assert not task.solved({"absolute_error": 0.01, "within_tolerance": 1.0, name: math.nan})


def test_bad_settings():
    with pytest.raises(ValueError, match=r"^`length` must be >= 20, got 19$"):
        marked(19)
    with pytest.raises(ValueError, match=r"^`operation` must be one of sum, product, got 'difference'$"):
        marked(20, "difference")
    for error in (0.0, -1.0, 0.5, math.nan):
        expected = rf"^`solved_error` must be > 0 and below the baseline 0.16\d\d, got {error}$"
        with pytest.raises(ValueError, match=expected):
            marked(100, error=error)
    for correct in (0.0, 1.01, math.nan):
        with pytest.raises(ValueError, match=rf"^`solved_correct` must be > 0 and <= 1, got {correct}$"):
            marked(100, correct=correct)
