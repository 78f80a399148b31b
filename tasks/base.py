"""The task contract: what every task promises to the training loop and to the probes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

NUMERICS = 1
"""Version of what this part computes. It is raised when the numbers change; `make numerics` says when that is so."""


@dataclass(frozen=True)
class Batch:
    """One batch of sequences, time-major.

    Attributes:
        inputs: What the network reads: one vector for each step, or one token, a whole number, where the task has
            ``tokens``.
        targets: What the network should output at each read-out step: class indices or real values, several where one
            output is a vector. ``readout`` is the whole length for tasks answered at every step, and otherwise 1.
        scored: The positions the training loss averages over.
        answer: The positions that hold the delayed answer; a subset of ``scored``.
        lengths: The number of real steps of each sequence, from 1 to ``time``; the steps behind them are padding, which
            changes no number. ``None`` where all sequences have ``time`` steps.
    """

    inputs: Shaped[Tensor, "time batch *input"]
    targets: Shaped[Tensor, "readout batch *target"]
    scored: Bool[Tensor, "readout batch"]
    answer: Bool[Tensor, "readout batch"]
    lengths: Int[Tensor, " batch"] | None = None


class Task(ABC):
    """A source of sequences with a loss, a score, a memoryless baseline and a criterion of success.

    A task that reads data files names them in ``files``, a class attribute or a property: a list of paths relative to
    the file of the class. Their content is then part of a run's identity.

    Attributes:
        readout: ``"every"`` if an output is asked for at every step, ``"last"`` if only at the last real one,
            ``"mean"`` if one is asked for of the mean of the hidden states of all real steps.
        metric: The score that tables print for this task; a key of :meth:`scores`.
        higher_is_better: Whether a larger value of ``metric`` is the better one.
        extra_metrics: Further keys of :meth:`scores` that tables print below ``metric``.
        lower_is_better: Keys of :meth:`scores`, besides ``loss`` and ``metric``, of which a smaller value is the better
            one.
        scaled_by: The argument that sets how far back the answer lies, such as ``"length"``; ``None`` if there is none.
        tokens: Number of different tokens where the inputs are tokens, 0 to ``tokens`` - 1; ``input_size`` is then the
            same. ``None`` where they are vectors.
        set_metrics: Further keys of ``baselines`` that are no means over sequences; see :meth:`set_scores`.
        cross_entropy: Whether :meth:`loss` is the cross entropy in nats of the outputs, as logits, averaged over the
            scored positions, and ``targets`` are classes, from 0 to ``output_size`` - 1. Where every step is answered,
            the training may then compute readout and loss in one pass.
    """

    readout: Literal["every", "last", "mean"]
    metric: ClassVar[str]
    higher_is_better: ClassVar[bool]
    extra_metrics: ClassVar[tuple[str, ...]] = ()
    lower_is_better: ClassVar[tuple[str, ...]] = ()
    scaled_by: ClassVar[str | None] = None
    tokens: int | None = None
    set_metrics: ClassVar[tuple[str, ...]] = ()
    cross_entropy: ClassVar[bool] = False

    input_size: int
    output_size: int

    @property
    @abstractmethod
    def length(self) -> int:
        """Number of time steps of one sequence."""

    @property
    @abstractmethod
    def delay(self) -> int:
        """Number of steps over which the task asks the network to remember; at least 1."""

    @property
    @abstractmethod
    def baselines(self) -> dict[str, float]:
        """Expected value of every key of :meth:`scores` for the best predictor without memory, from its formula."""

    @property
    def baseline(self) -> float:
        """Expected loss of the best predictor without memory."""
        return self.baselines["loss"]

    @property
    def directions(self) -> dict[str, Literal["higher", "lower"]]:
        """Whether a higher or a lower value of every key of :meth:`scores` is the better one."""
        lower = {"loss", *self.lower_is_better} - {self.metric} | (
            {self.metric} if not self.higher_is_better else set()
        )
        return {name: "lower" if name in lower else "higher" for name in self.baselines}

    @abstractmethod
    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Draw a batch on the generator's device; the batch is a function of the generator's state alone.

        Args:
            batch_size: Number of sequences, at least 1.
            generator: Source of all randomness; its device is the device of the batch.

        Returns:
            A batch of ``batch_size`` sequences of :attr:`length` steps.
        """

    @abstractmethod
    def loss(self, outputs: Float[Tensor, "readout batch output"], batch: Batch) -> Float[Tensor, ""]:
        """Compute the training loss, averaged over the scored positions of the batch."""

    @abstractmethod
    def answer_loss(self, outputs: Float[Tensor, "readout batch output"], batch: Batch) -> Float[Tensor, " batch"]:
        """Compute the mean loss at the ``answer`` positions alone, for each sequence; the probes differentiate it."""

    @abstractmethod
    def scores(
        self, outputs: Float[Tensor, "readout batch output"], batch: Batch
    ) -> dict[str, Float[Tensor, " batch"]]:
        """Compute every metric, one value for each sequence; a metric of a data set is the mean over its sequences.

        The key ``loss`` is always there; its mean equals :meth:`loss`.
        """

    def set_scores(
        self, outputs: Float[Tensor, "readout sequences output"], targets: Shaped[Tensor, "readout sequences *target"]
    ) -> dict[str, float]:
        """Compute each of ``set_metrics``, of all sequences of a set together; such a task reads out once a sequence.

        Args:
            outputs: What the network said of each sequence.
            targets: What it should have said.
        """
        return {}

    @abstractmethod
    def solved(self, metrics: Mapping[str, float]) -> bool:
        """Return whether metrics (means over an evaluation set) meet the task's stated criterion."""


def require_at_least(name: str, value: int, least: int) -> None:
    """Raise ``ValueError`` in the house form unless ``value >= least``."""
    if value < least:
        raise ValueError(f"`{name}` must be >= {least}, got {value}")


def require_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise ``ValueError`` in the house form unless ``value`` is one of ``allowed``."""
    if value not in allowed:
        raise ValueError(f"`{name}` must be one of {', '.join(allowed)}, got {value!r}")
