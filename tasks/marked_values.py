"""The adding and multiplication problems of 1997: two marked values near the start of sequences of varying length."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tasks.base import Batch, Task, require_at_least, require_choice

NUMERICS = 1
"""Version of what this part computes. It is raised when the numbers change; `make numerics` says when that is so."""

TOLERANCE = 0.04
"""An answer is right if its absolute error is smaller than this."""
FIRST_PAIRS = 10
"""Number of pairs at the start of a sequence from which the first marked pair is chosen."""


class MarkedValues(Task):
    """The sum or the product of two marked values, after sequences of ``length`` to ``length + length // 10`` pairs.

    With T for ``length``, a sequence has a number of pairs (value, marker) drawn uniformly from the integers T to T + T
    // 10. Values are drawn from U[-1, 1) for the sum and from U[0, 1) for the product. The first marked pair is one of
    the first ten pairs, and its value is X1. The second is one of the first T // 2 - 1 pairs that are not marked yet,
    and its value is X2. The marker is 1 at both, -1 at the first and the last pair of the sequence, and 0 elsewhere.
    The target is 0.5 + (X1 + X2) / 4 for the sum, or X1 · X2 for the product, each in [0, 1]. The one answer follows
    the last pair.

    The first pair of the sequence is one of the two with probability p = 1/10 + 9/10 · 1/(T // 2 - 1). Its marker then
    stays -1, so the network sees one mark fewer, and the target is computed with the neutral value in place of the
    value shown: 0 for the sum and 1 for the product.

    All sequences of a batch end at the last step of its tensors. Those of fewer than T + T // 10 pairs begin later,
    after steps of zeros in both channels; the first -1 shows where a sequence begins.

    Args:
        length: The least number of pairs T, at least 20; each of the first ten pairs can then be the second marked one.
        operation: ``"sum"`` (experiment 4) or ``"product"`` (experiment 5).
        solved_error: The task counts as solved only if the mean absolute error on the evaluation set is at most this;
            between 0 and the baseline's, both excluded.
        solved_correct: It must also have at least this share of sequences with an absolute error below 0.04; above 0,
            at most 1.

    Raises:
        ValueError: The length is below 20, the operation is unknown, or a criterion is out of range.

    References:
        Hochreiter & Schmidhuber (1997), Long short-term memory, Neural Computation 9(8), experiments 4 and 5.
        What differs: they train on one sequence at a time, and no steps precede it. In experiment 4 they stop once the
        average training error is below 0.01 and the 2,000 most recent training sequences are all right. In experiment 5
        they stop once fewer than 140, or 13, of those 2,000 are wrong. Here an evaluation set decides. They set X1 to
        the neutral value when the first pair is chosen; they do not say whether the pair shows its mark.
        :class:`tasks.adding_problem.AddingProblem` is the later variant with one length and without a scale.
    """

    readout = "last"
    scaled_by = "length"
    metric = "mse"
    higher_is_better = False
    extra_metrics = ("within_tolerance", "absolute_error")
    lower_is_better = ("absolute_error",)
    input_size = 2
    output_size = 1

    def __init__(self, *, length: int, operation: str, solved_error: float, solved_correct: float) -> None:
        require_at_least("length", length, 20)
        require_choice("operation", operation, ("sum", "product"))
        self._least = length
        self.operation = operation
        most = self.baselines["absolute_error"]
        if not 0 < solved_error < most:
            raise ValueError(f"`solved_error` must be > 0 and below the baseline {most:.4f}, got {solved_error}")
        if not 0 < solved_correct <= 1:
            raise ValueError(f"`solved_correct` must be > 0 and <= 1, got {solved_correct}")
        self.solved_error = solved_error
        self.solved_correct = solved_correct

    @property
    def length(self) -> int:
        """Number of pairs of the longest sequences, which is the number of steps of every batch: T + T // 10."""
        return self._least + self._least // 10

    @property
    def delay(self) -> int:
        """The length, because the longest sequences begin at the first step, and the answer follows the last."""
        return self.length

    @property
    def first_chosen(self) -> float:
        """Probability that the first pair of a sequence is a marked one: 1/10 + 9/10 · 1/(T // 2 - 1)."""
        chance = 1 / FIRST_PAIRS
        return chance + (1 - chance) / (self._least // 2 - 1)

    @property
    def mean(self) -> float:
        """Mean of the target: 1/2 for the sum, (1 - p) / 4 + p / 2 for the product, with p for :attr:`first_chosen`."""
        return 0.5 if self.operation == "sum" else (1 - self.first_chosen) / 4 + self.first_chosen / 2

    @property
    def baselines(self) -> dict[str, float]:
        """The best score that one answer for all sequences can have, for each score by itself.

        The target depends on one value with weight p, and on two values otherwise. The squared error is least at the
        mean of the target, the absolute error at its median, and the share within t of the answer is largest where the
        target is densest.

        For the sum, mean, median and mode are 1/2: the target less 1/2 is U / 4 or (U + U') / 4 with U, U' from
        U[-1, 1). Its variance is (2 - p) / 48. The share within t is 4t for one value and 1 - (1 - 2t)^2 for two. The
        absolute error is 1/8 for one and 1/6 for two.

        For the product, the target has the distribution function z for one value and z - z ln z for two. The second
        moments are 1/3 and 1/9. The density falls, so that the best answer within t is t itself. The expected
        |Z - z| is mean - z + 2 ∫ F from 0 to z, and the integral of F is z^2 / 2 for one value and
        z^2 (3/4 - ln(z) / 2) for two; the median is found by bisection.
        """
        p, t = self.first_chosen, TOLERANCE
        if self.operation == "sum":
            variance = (2 - p) / 48
            within = p * 4 * t + (1 - p) * (1 - (1 - 2 * t) ** 2)
            absolute = p / 8 + (1 - p) / 6
        else:
            variance = p / 3 + (1 - p) / 9 - self.mean**2
            within = self._share_below(2 * t)
            z = self._median()
            absolute = self.mean - z + z**2 * (p + (1 - p) * (1.5 - math.log(z)))
        return {"loss": variance, "mse": variance, "within_tolerance": within, "absolute_error": absolute}

    def _share_below(self, z: float) -> float:
        """Return the distribution function of the product's target at ``z`` in (0, 1]."""
        return self.first_chosen * z + (1 - self.first_chosen) * (z - z * math.log(z))

    def _median(self) -> float:
        """Return the median of the product's target."""
        low, high = 1e-9, 1.0
        while high - low > 1e-12:
            middle = (low + high) / 2
            low, high = (middle, high) if self._share_below(middle) < 0.5 else (low, middle)
        return high

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Draw ``batch_size`` sequences; see :class:`tasks.base.Task`."""
        device = generator.device

        def whole(low: int, high: int) -> Int[Tensor, " batch"]:
            return torch.randint(low, high, (batch_size,), generator=generator, device=device)

        values = torch.rand(self.length, batch_size, generator=generator, device=device)
        if self.operation == "sum":
            values = 2 * values - 1
        begin = self.length - whole(self._least, self.length + 1)
        first = whole(0, FIRST_PAIRS)
        second = whole(0, self._least // 2 - 1)
        # The second is drawn among the pairs that are not marked. Shifting it past the first keeps the two different.
        second = second + (second >= first)
        column = torch.arange(batch_size, device=device)
        marks = torch.zeros_like(values)
        for chosen in (first, second):
            marks[begin + chosen, column] = 1
        marks[begin, column] = -1
        marks[-1] = -1
        one, two = (self._counted(values[begin + chosen, column], chosen == 0) for chosen in (first, second))
        target = 0.5 + (one + two) / 4 if self.operation == "sum" else one * two
        begun = torch.arange(self.length, device=device).unsqueeze(1) >= begin
        answered = torch.ones(1, batch_size, dtype=torch.bool, device=device)
        return Batch(
            inputs=torch.stack((values * begun, marks), dim=-1),
            targets=target.unsqueeze(0),
            scored=answered,
            answer=answered,
        )

    def _counted(self, shown: Float[Tensor, " batch"], first_pair: Bool[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """Return the chosen values as they enter the target."""
        return torch.where(first_pair, 0.0 if self.operation == "sum" else 1.0, shown)

    def loss(self, outputs: Float[Tensor, "readout batch output"], batch: Batch) -> Float[Tensor, ""]:
        """Compute the mean squared error of the one answer."""
        return F.mse_loss(outputs[..., 0], batch.targets)

    def answer_loss(self, outputs: Float[Tensor, "readout batch output"], batch: Batch) -> Float[Tensor, " batch"]:
        """Compute the squared error of the one answer."""
        return (outputs[0, :, 0] - batch.targets[0]).square()

    def scores(
        self, outputs: Float[Tensor, "readout batch output"], batch: Batch
    ) -> dict[str, Float[Tensor, " batch"]]:
        """Compute ``loss`` and ``mse``, the squared error; ``absolute_error``; and ``within_tolerance``.

        ``within_tolerance`` is 1 where the absolute error is below 0.04.
        """
        error = (outputs[0, :, 0] - batch.targets[0]).float().abs()
        squared = error.square()
        within = (error < TOLERANCE).float()
        return {"loss": squared, "mse": squared, "within_tolerance": within, "absolute_error": error}

    def solved(self, metrics: Mapping[str, float]) -> bool:
        """Return whether error and share of right answers on the evaluation set meet both criteria."""
        close = metrics["absolute_error"] <= self.solved_error
        return close and metrics["within_tolerance"] >= self.solved_correct
