"""The temporal order problem: which of two symbols came first, second (and third) among distractors."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from tasks.base import Batch, Task, require_at_least

NUMERICS = 1
"""Raised when what is computed here changes; `make numerics` says when that is."""

SYMBOLS = ("E", "B", "a", "b", "c", "d", "X", "Y")
"""The input channels: start, end, four distractors, and the two symbols whose order is asked for."""
START, END, DISTRACTOR, X = (SYMBOLS.index(symbol) for symbol in "EBaX")
DISTRACTORS = 4
"""Number of distractors, whose channels follow one another."""

WINDOWS = {4: ((10, 20), (50, 60)), 8: ((10, 20), (33, 43), (66, 76))}
"""For each number of classes, the steps at which X or Y stand, first and last, in hundredths of the length."""


class TemporalOrder(Task):
    """Two or three symbols, each X or Y, are to be named in their order after the last step.

    With T for ``length``, a sequence has a number of symbols drawn uniformly from the integers T to T + T // 10,
    each in one of eight one-hot channels. It begins with E, ends with B, and otherwise consists of distractors drawn
    uniformly from a, b, c and d, but for two or three symbols that are X or Y with probability 1/2 each. Where they
    stand, in steps after E, is uniform on the whole numbers, both ends included, of

    - 10 to 20 and 50 to 60 hundredths of T, with 4 classes: XX, XY, YX, YY;
    - 10 to 20, 33 to 43 and 66 to 76 hundredths of T, with 8 classes: XXX, XXY, XYX, ..., YYY;

    where n hundredths of T are T · n // 100. The class is the binary number with Y for 1, the first symbol in front.
    A predictor without memory sees B, the same for every class: it is right once in ``classes`` times, and its cross
    entropy is ln ``classes``.

    All sequences of a batch end at the last step of its tensors: those of fewer than T + T // 10 symbols begin
    later, after steps of zeros in all channels.

    Args:
        length: The least number of symbols T, at least 20; 100 gives the paper's positions.
        classes: 4 (experiment 6a) or 8 (experiment 6b).
        solved_accuracy: The task counts as solved when the share of sequences of the evaluation set that are
            classified correctly is at least this; above chance, 1 / classes, and at most 1.

    Raises:
        ValueError: A length below 20, another number of classes, a criterion out of range.

    References:
        Hochreiter & Schmidhuber (1997), Long short-term memory, Neural Computation 9(8), experiments 6a and 6b. What
        differs: they train on one sequence at a time, and no steps precede it; the squared error of sigmoid outputs
        is their loss, the cross entropy is ours; a sequence is right there when all outputs are within 0.3 of their
        targets, here when the largest output is that of the class; they stop once the average training error is
        below 0.1 and the 2,000 most recent training sequences are all right, where an evaluation set decides here.
    """

    readout = "last"
    metric = "accuracy"
    higher_is_better = True
    extra_metrics = ("loss",)
    input_size = len(SYMBOLS)

    def __init__(self, *, length: int, classes: int, solved_accuracy: float) -> None:
        require_at_least("length", length, 20)
        if classes not in WINDOWS:
            raise ValueError(f"`classes` must be one of {', '.join(map(str, WINDOWS))}, got {classes}")
        if not 1 / classes < solved_accuracy <= 1:
            raise ValueError(f"`solved_accuracy` must be > {1 / classes} and <= 1, got {solved_accuracy}")
        self._least = length
        self.output_size = classes
        self.solved_accuracy = solved_accuracy
        self.windows = tuple((length * low // 100, length * high // 100) for low, high in WINDOWS[classes])
        """For each X or Y its first and last possible step, counted from E at 0."""

    @property
    def length(self) -> int:
        """Symbols of the longest sequences, the steps of every batch: T + T // 10."""
        return self._least + self._least // 10

    @property
    def delay(self) -> int:
        """T: the steps of the longest sequences from the earliest X or Y, at T // 10, to the end, both included."""
        return self.length - self.windows[0][0]

    @property
    def baselines(self) -> dict[str, float]:
        """Guesses: a loss of ln ``classes`` nats, one sequence in ``classes`` right."""
        return {"loss": math.log(self.output_size), "accuracy": 1 / self.output_size}

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Draw ``batch_size`` sequences; see :class:`tasks.base.Task`."""
        device = generator.device

        def whole(low: int, high: int) -> Int[Tensor, " batch"]:
            return torch.randint(low, high, (batch_size,), generator=generator, device=device)

        shape = (self.length, batch_size)
        shown = DISTRACTOR + torch.randint(DISTRACTORS, shape, generator=generator, device=device)
        begin = self.length - whole(self._least, self.length + 1)
        column = torch.arange(batch_size, device=device)
        target = torch.zeros_like(begin)
        for low, high in self.windows:
            step, bit = begin + whole(low, high + 1), whole(0, 2)
            shown[step, column] = X + bit
            target = 2 * target + bit
        shown[begin, column] = START
        shown[-1] = END
        begun = torch.arange(self.length, device=device).unsqueeze(1) >= begin
        answered = torch.ones(1, batch_size, dtype=torch.bool, device=device)
        return Batch(
            inputs=F.one_hot(shown, self.input_size).float() * begun.unsqueeze(-1),
            targets=target.unsqueeze(0),
            scored=answered,
            answer=answered,
        )

    def loss(self, outputs: Float[Tensor, "readout batch output"], batch: Batch) -> Float[Tensor, ""]:
        """Cross entropy of the one answer, in nats."""
        return F.cross_entropy(outputs[0], batch.targets[0])

    def answer_loss(self, outputs: Float[Tensor, "readout batch output"], batch: Batch) -> Float[Tensor, " batch"]:
        """Cross entropy of the one answer, in nats."""
        return F.cross_entropy(outputs[0], batch.targets[0], reduction="none")

    def scores(
        self, outputs: Float[Tensor, "readout batch output"], batch: Batch
    ) -> dict[str, Float[Tensor, " batch"]]:
        """``loss``: cross entropy in nats; ``accuracy``: 1 where the largest output is that of the class."""
        right = outputs[0].argmax(-1) == batch.targets[0]
        return {"loss": self.answer_loss(outputs.float(), batch), "accuracy": right.float()}

    def solved(self, metrics: Mapping[str, float]) -> bool:
        """Share of sequences of the evaluation set classified correctly at least ``solved_accuracy``."""
        return metrics["accuracy"] >= self.solved_accuracy
