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
"""Version of what this part computes. It is raised when the numbers change; `make numerics` says when that is so."""

SYMBOLS = ("E", "B", "a", "b", "c", "d", "X", "Y")
"""The input channels: start, end, four distractors, and the two symbols whose order is asked for."""
START, END, DISTRACTOR, X = (SYMBOLS.index(symbol) for symbol in "EBaX")
DISTRACTORS = 4
"""Number of distractors; their channels follow one another."""

WINDOWS = {4: ((10, 20), (50, 60)), 8: ((10, 20), (33, 43), (66, 76))}
"""For each number of classes, the first and last step at which each X or Y may stand, in hundredths of the length."""


class TemporalOrder(Task):
    """The network must name two or three symbols, each X or Y, in their order after the last step.

    With T for ``length``, a sequence has a number of symbols drawn uniformly from the integers T to T + T // 10, each
    in one of eight one-hot channels. It begins with E and ends with B. Two or three symbols between them are X or Y,
    with probability 1/2 each; all others are distractors drawn uniformly from a, b, c and d. The positions of X and Y,
    in steps after E, are uniform on the whole numbers, both ends included, of

    - 10 to 20 and 50 to 60 hundredths of T, with 4 classes: XX, XY, YX, YY;
    - 10 to 20, 33 to 43 and 66 to 76 hundredths of T, with 8 classes: XXX, XXY, XYX, ..., YYY;

    where n hundredths of T are T · n // 100. The class is the binary number in which X is 0 and Y is 1, with the first
    symbol in front. A predictor without memory sees B, which is the same for every class. It is right once in
    ``classes`` times, and its cross entropy is ln ``classes``.

    All sequences of a batch end at the last step of its tensors. Those of fewer than T + T // 10 symbols begin later,
    after steps of zeros in all channels.

    Args:
        length: The least number of symbols T, at least 20; 100 gives the paper's positions.
        classes: 4 (experiment 6a) or 8 (experiment 6b).
        solved_accuracy: The task counts as solved when at least this share of the sequences of the evaluation set is
            classified correctly; above chance, 1 / classes, and at most 1.

    Raises:
        ValueError: The length is below 20, the number of classes is another one, or the criterion is out of range.

    References:
        Hochreiter & Schmidhuber (1997), Long short-term memory, Neural Computation 9(8), experiments 6a and 6b.
        What differs: they train on one sequence at a time, and no steps precede it. Their loss is the squared error of
        sigmoid outputs, ours the cross entropy. For them a sequence is right when all outputs are within 0.3 of their
        targets; here it is right when the largest output is that of the class. They stop once the average training
        error is below 0.1 and the 2,000 most recent training sequences are all right; here an evaluation set decides.
    """

    readout = "last"
    scaled_by = "length"
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
        """Number of symbols of the longest sequences, which is the number of steps of every batch: T + T // 10."""
        return self._least + self._least // 10

    @property
    def delay(self) -> int:
        """T: the steps of the longest sequences from the earliest X or Y, at T // 10, to the end, both included."""
        return self.length - self.windows[0][0]

    @property
    def baselines(self) -> dict[str, float]:
        """Scores of a predictor that guesses: a loss of ln ``classes`` nats, and one sequence in ``classes`` right."""
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
        """Compute the cross entropy of the one answer, in nats."""
        return F.cross_entropy(outputs[0], batch.targets[0])

    def answer_loss(self, outputs: Float[Tensor, "readout batch output"], batch: Batch) -> Float[Tensor, " batch"]:
        """Compute the cross entropy of the one answer, in nats."""
        return F.cross_entropy(outputs[0], batch.targets[0], reduction="none")

    def scores(
        self, outputs: Float[Tensor, "readout batch output"], batch: Batch
    ) -> dict[str, Float[Tensor, " batch"]]:
        """Compute ``loss``, the cross entropy in nats, and ``accuracy``: 1 if the class has the largest output."""
        right = outputs[0].argmax(-1) == batch.targets[0]
        return {"loss": self.answer_loss(outputs.float(), batch), "accuracy": right.float()}

    def solved(self, metrics: Mapping[str, float]) -> bool:
        """Return whether at least ``solved_accuracy`` of the evaluation set's sequences are classified correctly."""
        return metrics["accuracy"] >= self.solved_accuracy
