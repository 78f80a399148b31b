"""When a training ends before its last step: the task is solved, or a loss is not finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from bench.training.curves import Evaluation

SOLVED_IN_A_ROW = 3
"""Evaluations in a row that must meet the task's criterion before it counts as solved."""

Criterion = Callable[[Mapping[str, float]], bool]
"""Whether the metrics of one evaluation meet the task's criterion."""


def solved_in_a_row(evaluations: Sequence[Evaluation], solved: Criterion) -> int:
    """Return how many of the last evaluations, without a gap, meet the criterion.

    Args:
        evaluations: In the order of their steps.
        solved: The criterion.
    """
    missed = [number for number, row in enumerate(evaluations, start=1) if not solved(row.metrics)]
    return len(evaluations) - (missed[-1] if missed else 0)


def solved_at(evaluations: Sequence[Evaluation], solved: Criterion) -> int | None:
    """Return the step from which :data:`SOLVED_IN_A_ROW` evaluations in a row meet the criterion, or ``None``.

    Args:
        evaluations: In the order of their steps.
        solved: The criterion.
    """
    met = [solved(row.metrics) for row in evaluations]
    for first in range(len(met) - SOLVED_IN_A_ROW + 1):
        if all(met[first : first + SOLVED_IN_A_ROW]):
            return evaluations[first].step
    return None


def first_not_finite(losses: Iterable[float], first_step: int) -> int | None:
    """Return the step of the first loss that is infinite or NaN, if there is one.

    Args:
        losses: Losses of steps that follow each other.
        first_step: The step of the first of them.
    """
    return next((step for step, loss in enumerate(losses, start=first_step) if not math.isfinite(loss)), None)


@dataclass
class Divergence:
    """What is known of the losses so far.

    Attributes:
        step: The first step with a loss that is not finite, or ``None``.
        looked_at: The losses of this many steps have been looked at.
    """

    step: int | None = None
    looked_at: int = 0

    def look(self, losses: Float[Tensor, " steps"], steps: int) -> None:
        """Look at the losses of the steps since the last look.

        Args:
            losses: A loss for each step; a GPU must be waited for to read them.
            steps: So many steps have been made.
        """
        found = first_not_finite(losses[self.looked_at : steps].tolist(), self.looked_at + 1)
        self.step = found if self.step is None else self.step
        self.looked_at = steps
