"""What training leaves: a row a step, and the evaluations."""

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
    """Training time so far, evaluations not counted."""


@dataclass
class Curves:
    """What is kept of every step; ``steps`` of the numbers are filled."""

    loss: Float[Tensor, " steps"]
    grad_norm: Float[Tensor, " steps"]
    grad_norm_clipped: Float[Tensor, " steps"]
    evaluations: list[Evaluation] = field(default_factory=list)


CURVES = ("loss", "grad_norm", "grad_norm_clipped")
"""The curves with a value a step."""
