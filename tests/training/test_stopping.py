"""The criterion of a solved task, and the watch over losses, without a network."""

from __future__ import annotations

import math

import pytest
import torch

from bench.training.curves import Evaluation
from bench.training.stopping import Divergence, first_not_finite, solved_at, solved_in_a_row


def evaluations(met: str) -> list[Evaluation]:
    """An evaluation every 10 steps; ``+`` meets the criterion."""
    return [Evaluation(10 * number, {"mse": float(each != "+")}, 0.0) for number, each in enumerate(met, start=1)]


@pytest.mark.parametrize(
    ("met", "in_a_row", "step"),
    [
        ("", 0, None),
        ("++", 2, None),
        ("+++", 3, 10),
        ("-+-++-", 0, None),
        ("++-+++", 3, 40),
        ("+++-++", 2, 10),
        ("-++++", 4, 20),
    ],
)
def test_three_in_a_row_count_as_solved_from_the_first_of_them_on(met: str, in_a_row: int, step: int | None):
    rows = evaluations(met)
    assert solved_in_a_row(rows, lambda metrics: metrics["mse"] == 0) == in_a_row
    assert solved_at(rows, lambda metrics: metrics["mse"] == 0) == step


def test_the_first_loss_that_is_not_finite():
    assert first_not_finite([1.0, math.inf, math.nan], 7) == 8
    assert first_not_finite([1.0, -2.0], 7) is None


def test_a_divergence_keeps_its_first_step_and_looks_at_no_loss_twice():
    losses = torch.tensor([1.0, 2.0, math.nan, 4.0, math.inf, 6.0])
    watch = Divergence()
    watch.look(losses, 2)
    assert (watch.step, watch.looked_at) == (None, 2)
    watch.look(losses, 4)
    assert (watch.step, watch.looked_at) == (3, 4)
    watch.look(losses, 6)
    assert (watch.step, watch.looked_at) == (3, 6)
    resumed = Divergence(looked_at=3)
    resumed.look(losses, 4)
    assert resumed.step is None
