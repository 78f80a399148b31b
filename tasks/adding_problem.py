"""The adding problem: sum two marked numbers of a long sequence."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tasks.base import Batch, Task, require_at_least, require_choice

NUMERICS = 1
"""Version of what this part computes. It is raised when the numbers change; `make numerics` says when that is so."""

TOLERANCE = 0.04
"""Largest absolute error of an answer that counts as right."""


class AddingProblem(Task):
    """The adding problem with values in [0, 1) and one answer after the last step.

    Channel 0 holds values drawn from U[0, 1); channel 1 holds 1 at two marked steps and 0 elsewhere. The target is the
    sum of the two marked values. A predictor without memory does best with the mean of the target, 1, and its mean
    squared error is the variance of the target, 2 · 1/12 = 1/6.

    Args:
        length: Steps of a sequence, at least 2, the least that has two halves; ``halves`` is meaningful from 4 on.
        markers: ``"halves"`` puts one marker uniformly in the first half, steps [0, length // 2), and one in the
            second, steps [length // 2, length), as Arjovsky et al. do; ``"anywhere"`` puts two distinct markers
            uniformly over the whole sequence, as Bai et al. do; ``"early"`` puts one in the first tenth and one in the
            second half, as Campos et al. do.
        solved_mse: The task counts as solved when the mean squared error on the evaluation set is at most this;
            between 0 and the baseline, both excluded.

    Raises:
        ValueError: The length is too short for two markers, the variant is unknown, or the criterion is out of range.

    References:
        Hochreiter & Schmidhuber (1997), Long short-term memory, experiment 4: the origin, but not this variant. It has
        values in [-1, 1], markers near the start, varying length, a scaled target, and another stopping rule.
        Arjovsky, Shah & Bengio (2016), Unitary evolution recurrent neural networks, section 4.2: ``halves``.
        Bai, Kolter & Koltun (2018), arXiv 1803.01271, appendix A: ``anywhere``. They print a baseline of
        0.1767; the variance of the sum is 0.1667.
        Campos et al. (2018), Skip RNN, arXiv 1708.06834, section 4.1: ``early``.
    """

    readout = "last"
    scaled_by = "length"
    metric = "mse"
    higher_is_better = False
    extra_metrics = ("within_tolerance",)
    input_size = 2
    output_size = 1

    def __init__(self, *, length: int, markers: str, solved_mse: float) -> None:
        require_at_least("length", length, 2)
        require_choice("markers", markers, ("halves", "anywhere", "early"))
        self._length = length
        self.markers = markers
        if not 0 < solved_mse < self.baseline:
            raise ValueError(f"`solved_mse` must be > 0 and below the baseline {self.baseline:.4f}, got {solved_mse}")
        self.solved_mse = solved_mse

    @property
    def length(self) -> int:
        """Number of time steps of one sequence."""
        return self._length

    @property
    def delay(self) -> int:
        """The length, because the first marker may be at the first step, and the answer follows the last."""
        return self._length

    @property
    def baselines(self) -> dict[str, float]:
        """Scores of a predictor that always answers 1.

        Its error is the sum of two U[0, 1) values less 1, which is distributed as a triangle on (-1, 1). The variance
        of that is 1/6; the share within t of its middle is 1 - (1 - t)^2.
        """
        return {"loss": 1 / 6, "mse": 1 / 6, "within_tolerance": 1 - (1 - TOLERANCE) ** 2}

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Draw ``batch_size`` sequences; see :class:`tasks.base.Task`."""
        device = generator.device
        values = torch.rand(self._length, batch_size, generator=generator, device=device)
        first, second = self._marked_steps(batch_size, generator)
        column = torch.arange(batch_size, device=device)
        marks = torch.zeros_like(values)
        marks[first, column] = 1
        marks[second, column] = 1
        answered = torch.ones(1, batch_size, dtype=torch.bool, device=device)
        return Batch(
            inputs=torch.stack((values, marks), dim=-1),
            targets=(values[first, column] + values[second, column]).unsqueeze(0),
            scored=answered,
            answer=answered,
        )

    def _marked_steps(self, batch_size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        def steps(low: int, high: int) -> Tensor:
            return torch.randint(low, high, (batch_size,), generator=generator, device=generator.device)

        half = self._length // 2
        if self.markers == "halves":
            return steps(0, half), steps(half, self._length)
        if self.markers == "early":
            return steps(0, max(1, self._length // 10)), steps(half, self._length)
        first = steps(0, self._length)
        # The second is drawn among the other length - 1 steps. Shifting it past the first keeps the two different.
        second = steps(0, self._length - 1)
        return first, second + (second >= first)

    def loss(self, outputs: Float[Tensor, "readout batch output"], batch: Batch) -> Float[Tensor, ""]:
        """Compute the mean squared error of the one answer."""
        return F.mse_loss(outputs[..., 0], batch.targets)

    def answer_loss(self, outputs: Float[Tensor, "readout batch output"], batch: Batch) -> Float[Tensor, " batch"]:
        """Compute the squared error of the one answer."""
        return (outputs[0, :, 0] - batch.targets[0]).square()

    def scores(
        self, outputs: Float[Tensor, "readout batch output"], batch: Batch
    ) -> dict[str, Float[Tensor, " batch"]]:
        """Compute ``loss`` and ``mse``, which are the squared error, and ``within_tolerance``.

        ``within_tolerance`` is 1 where the absolute error is below 0.04. That is the tolerance of Hochreiter &
        Schmidhuber (1997), whose target has half the range of ours.
        """
        error = (outputs[0, :, 0] - batch.targets[0]).float()
        squared = error.square()
        return {"loss": squared, "mse": squared, "within_tolerance": (error.abs() < TOLERANCE).float()}

    def solved(self, metrics: Mapping[str, float]) -> bool:
        """Return whether the mean squared error on the evaluation set is at most ``solved_mse``."""
        return metrics["mse"] <= self.solved_mse
