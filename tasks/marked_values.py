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
"""Raised when what is computed here changes; `make numerics` says when that is."""

TOLERANCE = 0.04
"""An answer with a smaller absolute error is right."""
FIRST_PAIRS = 10
"""The first marked pair is one of so many at the start of a sequence."""


class MarkedValues(Task):
    """The sum or the product of two marked values, after sequences of ``length`` to ``length + length // 10`` pairs.

    With T for ``length``, a sequence has a number of pairs (value, marker) drawn uniformly from the integers T to
    T + T // 10. Values are drawn from U[-1, 1) for the sum and from U[0, 1) for the product. One of the first ten
    pairs is marked, its value is X1; then one of the first T // 2 - 1 pairs that are not marked yet, its value is
    X2. The marker is 1 at both, -1 at the first and the last pair of the sequence, and 0 elsewhere. The target is
    0.5 + (X1 + X2) / 4, or X1 · X2, each in [0, 1]; the one answer follows the last pair.

    The first pair of the sequence is chosen with probability p = 1/10 + 9/10 · 1/(T // 2 - 1). Its marker then
    stays -1, the network sees one mark fewer, and the target is computed with the neutral value, 0 for the sum and
    1 for the product, in the place of the value shown.

    All sequences of a batch end at the last step of its tensors: those of fewer than T + T // 10 pairs begin later,
    after steps of zeros in both channels. The first -1 shows where.

    Args:
        length: The least number of pairs T, at least 20: all first ten can then come second.
        operation: ``"sum"`` (experiment 4) or ``"product"`` (experiment 5).
        solved_error: The task counts as solved when the mean absolute error on the evaluation set is at most this,
            between 0 and the baseline's, both excluded; and when
        solved_correct: at least this share of its sequences has an absolute error below 0.04; above 0, at most 1.

    Raises:
        ValueError: A length below 20, an unknown operation, a criterion out of range.

    References:
        Hochreiter & Schmidhuber (1997), Long short-term memory, Neural Computation 9(8), experiments 4 and 5. What
        differs: they train on one sequence at a time, and no steps precede it; they stop once the average training
        error is below 0.01 and the 2,000 most recent training sequences are all right (experiment 4), or once fewer
        than 140, or 13, of those 2,000 are wrong (experiment 5), where an evaluation set decides here. A first pair
        that is chosen has its X1 set to the neutral value there; whether it shows its mark is not said.
        :class:`tasks.adding_problem.AddingProblem` is the later variant of one length, without a scale.
    """

    readout = "last"
    metric = "mse"
    higher_is_better = False
    extra_metrics = ("within_tolerance", "absolute_error")
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
        """Pairs of the longest sequences, the steps of every batch: T + T // 10."""
        return self._least + self._least // 10

    @property
    def delay(self) -> int:
        """The same number: the longest sequences begin at the first step, and the answer follows the last."""
        return self.length

    @property
    def first_chosen(self) -> float:
        """Probability that the first pair of a sequence is one of the two: 1/10 + 9/10 · 1/(T // 2 - 1)."""
        chance = 1 / FIRST_PAIRS
        return chance + (1 - chance) / (self._least // 2 - 1)

    @property
    def mean(self) -> float:
        """Mean of the target, with p for :attr:`first_chosen`: 1/2, or (1 - p) / 4 + p / 2 for the product."""
        return 0.5 if self.operation == "sum" else (1 - self.first_chosen) / 4 + self.first_chosen / 2

    @property
    def baselines(self) -> dict[str, float]:
        """Always answering the mean m of the target: a mixture of one value, of weight p, and of two.

        Sum, where the target less m is U / 4 or (U + U') / 4 with U, U' from U[-1, 1): variance (2 - p) / 48;
        share within t: 4t of one and 1 - (1 - 2t)^2 of two; absolute error: 1/8 of one and 1/6 of two.

        Product, where the target has the distribution function z of one and z - z ln z of two: second moments 1/3
        and 1/9; share within t: their difference between m - t and m + t. The expected |Z - m| of a Z of mean m is
        2 ∫ F from 0 to m, here m^2 of one and m^2 (3/2 - ln m) of two.
        """
        p, m, t = self.first_chosen, self.mean, TOLERANCE
        if self.operation == "sum":
            variance = (2 - p) / 48
            within = p * 4 * t + (1 - p) * (1 - (1 - 2 * t) ** 2)
            absolute = p / 8 + (1 - p) / 6
        else:
            variance = p / 3 + (1 - p) / 9 - m**2
            low, high = (p * z + (1 - p) * (z - z * math.log(z)) for z in (m - t, m + t))
            within = high - low
            absolute = m**2 * (p + (1 - p) * (1.5 - math.log(m)))
        return {"loss": variance, "mse": variance, "within_tolerance": within, "absolute_error": absolute}

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
        # Drawn among the pairs that are not marked: shifted past the first, so never equal to it.
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
        """The chosen values as they enter the target."""
        return torch.where(first_pair, 0.0 if self.operation == "sum" else 1.0, shown)

    def loss(self, outputs: Float[Tensor, "readout batch output"], batch: Batch) -> Float[Tensor, ""]:
        """Mean squared error of the one answer."""
        return F.mse_loss(outputs[..., 0], batch.targets)

    def answer_loss(self, outputs: Float[Tensor, "readout batch output"], batch: Batch) -> Float[Tensor, " batch"]:
        """Squared error of the one answer."""
        return (outputs[0, :, 0] - batch.targets[0]).square()

    def scores(
        self, outputs: Float[Tensor, "readout batch output"], batch: Batch
    ) -> dict[str, Float[Tensor, " batch"]]:
        """``loss`` and ``mse``: the squared error; ``absolute_error``; ``within_tolerance``: 1 where that is < 0.04."""
        error = (outputs[0, :, 0] - batch.targets[0]).float().abs()
        squared = error.square()
        within = (error < TOLERANCE).float()
        return {"loss": squared, "mse": squared, "within_tolerance": within, "absolute_error": error}

    def solved(self, metrics: Mapping[str, float]) -> bool:
        """On the evaluation set, an error of at most ``solved_error`` and ``solved_correct`` of the answers right."""
        close = metrics["absolute_error"] <= self.solved_error
        return close and metrics["within_tolerance"] >= self.solved_correct
