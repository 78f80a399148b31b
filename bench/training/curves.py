"""The curves that training leaves: one row for each step, and the evaluations."""

from __future__ import annotations

from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor


@dataclass
class Evaluation:
    """The metrics of one look at the evaluation set."""

    step: int
    metrics: dict[str, float]
    seconds: float
    """Training time so far, without the time of evaluations."""


@dataclass
class Curves:
    """The numbers that are kept of every step; the first ``steps`` entries of each curve are filled."""

    loss: Float[Tensor, " steps"]
    grad_norm: Float[Tensor, " steps"]
    grad_norm_clipped: Float[Tensor, " steps"]
    evaluations: list[Evaluation] = field(default_factory=list)


CURVES = ("loss", "grad_norm", "grad_norm_clipped")
"""The curves that have a value for each step."""
