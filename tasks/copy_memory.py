"""The copy memory task: repeat ten symbols after a long delay."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tasks.base import Batch, Task, require_at_least, require_choice

NUMERICS = 1
"""Version of what this part computes. It is raised when the numbers change; `make numerics` says when that is so."""

SYMBOLS = 8
"""Size of the alphabet."""
RECALLED = 10
"""Number of symbols to remember."""


class CopyMemory(Task):
    """The copy memory task over ``delay + 20`` steps, with an output at every step.

    The task shows ten symbols drawn uniformly from eight, then ``delay - 1`` blanks, then a delimiter. The network must
    repeat the ten symbols in the recall phase, which is the last ten steps; at every earlier step the blank is the
    right output. The loss is the cross entropy averaged over all ``delay + 20`` positions. A predictor without memory
    knows the blanks and guesses the ten symbols; its loss is 10 ln 8 / (delay + 20).

    There are two published forms:

    - ``"categorical"`` (Arjovsky) has ten one-hot input channels: eight symbols, blank, delimiter. The delimiter is
      shown once, at step ``delay + 9``, and the recall phase shows blanks. The nine output classes are the eight
      symbols and the blank.
    - ``"scalar"`` (Bai) has one raw input channel. The symbols are the numbers 1 to 8, the blank is 0, and the
      delimiter 9 is shown at step ``delay + 9`` and at all ten steps of the recall phase. The ten output classes are
      the numbers 0 to 9, of which 9 is never a target.

    Args:
        delay: The delay T of the papers, at least 1; each symbol is asked for again T + 10 steps after it was shown.
        form: ``"categorical"`` or ``"scalar"``, as above.
        solved_recall: The task counts as solved when at least this share of the recalled symbols is right on the
            evaluation set; above chance, 1/8, and at most 1.

    Raises:
        ValueError: The delay is below 1, the form is unknown, or the criterion is out of range.

    References:
        Hochreiter & Schmidhuber (1997): the idea. Arjovsky, Shah & Bengio (2016), section 4.1: categorical.
        Bai, Kolter & Koltun (2018), arXiv 1803.01271, and its released code: scalar. Other code (S4) shows
        ten delimiters and scores only the ten recalled positions; its loss is not comparable with this one.
    """

    readout = "every"
    scaled_by = "delay"
    metric = "recall"
    higher_is_better = True
    extra_metrics = ("exact", "loss")
    cross_entropy = True

    def __init__(self, *, delay: int, form: str, solved_recall: float) -> None:
        require_at_least("delay", delay, 1)
        require_choice("form", form, ("categorical", "scalar"))
        if not 1 / SYMBOLS < solved_recall <= 1:
            raise ValueError(f"`solved_recall` must be > {1 / SYMBOLS} and <= 1, got {solved_recall}")
        self._delay = delay
        self.form = form
        self.solved_recall = solved_recall
        categorical = form == "categorical"
        self.input_size = SYMBOLS + 2 if categorical else 1
        self.output_size = SYMBOLS + 1 if categorical else SYMBOLS + 2
        self._first_symbol = 0 if categorical else 1
        self._blank = SYMBOLS if categorical else 0
        self._delimiter = SYMBOLS + 1

    @property
    def length(self) -> int:
        """``delay + 20`` steps."""
        return self._delay + 2 * RECALLED

    @property
    def delay(self) -> int:
        """The delay T."""
        return self._delay

    @property
    def baselines(self) -> dict[str, float]:
        """Scores of a predictor that answers blanks until the recall phase and then guesses.

        Its loss is 10 ln 8 / (delay + 20) nats, and one recalled symbol in 8 is right.
        """
        chance = 1 / SYMBOLS
        return {
            "loss": RECALLED * math.log(SYMBOLS) / self.length,
            "recall": chance,
            "exact": chance**RECALLED,
            "accuracy_all": (self.length - RECALLED + RECALLED * chance) / self.length,
        }

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Draw ``batch_size`` sequences; see :class:`tasks.base.Task`."""
        device = generator.device
        shape = (RECALLED, batch_size)
        symbols = torch.randint(SYMBOLS, shape, generator=generator, device=device) + self._first_symbol
        shown = torch.full((self.length, batch_size), self._blank, device=device)
        shown[:RECALLED] = symbols
        delimiter = RECALLED + self._delay - 1
        if self.form == "categorical":
            shown[delimiter] = self._delimiter
            inputs = F.one_hot(shown, self.input_size).float()
        else:
            shown[delimiter:] = self._delimiter
            inputs = shown.float().unsqueeze(-1)
        targets = torch.full_like(shown, self._blank)
        targets[-RECALLED:] = symbols
        answer = torch.zeros_like(shown, dtype=torch.bool)
        answer[-RECALLED:] = True
        return Batch(inputs=inputs, targets=targets, scored=torch.ones_like(answer), answer=answer)

    def loss(self, outputs: Float[Tensor, "readout batch output"], batch: Batch) -> Float[Tensor, ""]:
        """Compute the cross entropy in nats, averaged over all positions."""
        return F.cross_entropy(outputs.flatten(0, 1), batch.targets.flatten())

    def answer_loss(self, outputs: Float[Tensor, "readout batch output"], batch: Batch) -> Float[Tensor, " batch"]:
        """Compute the cross entropy in nats, averaged over the ten recalled symbols."""
        recalled = outputs[-RECALLED:].movedim(-1, 1)
        return F.cross_entropy(recalled, batch.targets[-RECALLED:], reduction="none").mean(0)

    def scores(
        self, outputs: Float[Tensor, "readout batch output"], batch: Batch
    ) -> dict[str, Float[Tensor, " batch"]]:
        """Compute the loss and three accuracies, one value for each sequence.

        ``loss``: cross entropy over all positions; ``recall``: share of the ten recalled symbols that are right;
        ``exact``: 1 where all ten are right; ``accuracy_all``: share of all positions that are right, only for
        comparison with papers that print it (always answering blank scores delay + 10 of delay + 20).
        """
        loss = F.cross_entropy(outputs.movedim(-1, 1).float(), batch.targets, reduction="none").mean(0)
        right = outputs.argmax(-1) == batch.targets
        recalled = right[-RECALLED:]
        return {
            "loss": loss,
            "recall": recalled.float().mean(0),
            "exact": recalled.all(0).float(),
            "accuracy_all": right.float().mean(0),
        }

    def solved(self, metrics: Mapping[str, float]) -> bool:
        """Return whether at least ``solved_recall`` of the recalled symbols are right on the evaluation set."""
        return metrics["recall"] >= self.solved_recall
