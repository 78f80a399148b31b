"""The curves that training leaves: one row for each step, and the evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
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

    @classmethod
    def empty(cls, max_steps: int, device: torch.device) -> Curves:
        """Return curves with room for ``max_steps`` steps, on the device of the training; no number is known yet."""
        loss, grad_norm, grad_norm_clipped = torch.full((len(CURVES), max_steps), float("nan"), device=device)
        return cls(loss, grad_norm, grad_norm_clipped)

    def state(self, steps: int) -> dict[str, Any]:
        """Return the first ``steps`` numbers of each curve, and the evaluations, as tensors and plain containers."""
        return {
            "curves": {name: getattr(self, name)[:steps].cpu() for name in CURVES},
            "evaluations": [asdict(row) for row in self.evaluations],
        }

    def restore(self, state: Mapping[str, Any], steps: int) -> None:
        """Take over a :meth:`state` of ``steps`` steps."""
        for name in CURVES:
            getattr(self, name)[:steps] = state["curves"][name]
        self.evaluations = [Evaluation(**row) for row in state["evaluations"]]


CURVES = ("loss", "grad_norm", "grad_norm_clipped")
"""The curves that have a value for each step."""
