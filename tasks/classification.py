"""What all tasks share that ask for one class of a whole sequence: loss, scores, and what is known without memory."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torchmetrics.functional import classification as of_classes

from tasks.base import Batch, require_choice
from tasks.data_set import SPLITS, DataSet, Encoder, NewInputs, Split
from tasks.mapped import spans
from tasks.sequences import Sequences, hash_of

NUMERICS = 1
"""Version of what this part computes. It is raised when the numbers change; `make numerics` says when that is so."""

LINEAR = "linear on the mean input"


class Classification(DataSet):
    """One class for each sequence, read out after its last real step or from the mean of all hidden states.

    Two classes are told apart by one output, whose sigmoid is the probability of the second (binary cross entropy). For
    more there is an output for each, and a softmax.

    A subclass calls ``__init__`` with its sequences.

    Args:
        sequences: All sequences.
        labels: The class of each, from 0 to the number of classes - 1.
        splits: The numbers of the sequences of each split.
        classes: Names of the classes, at least two.
        readout: ``"last"`` or ``"mean"``.
        solved_accuracy: The task counts as solved when at least this share of the evaluation set is right; more than
            the most frequent class has, and at most 1.

    Raises:
        ValueError: There is one class only, a class is missing in the training split, or a value is out of range.
    """

    metric = "accuracy"
    higher_is_better = True
    extra_metrics = ("auroc", "macro_f1", "loss")
    set_metrics: ClassVar[tuple[str, ...]] = ("auroc", "macro_f1")

    def __init__(
        self,
        sequences: Sequences,
        labels: np.ndarray,
        splits: Mapping[Split, np.ndarray],
        classes: Sequence[str],
        *,
        readout: str,
        solved_accuracy: float,
    ) -> None:
        require_choice("readout", readout, ("last", "mean"))
        self.readout: Literal["every", "last", "mean"] = "last" if readout == "last" else "mean"
        self.sequences, self.labels, self.splits = sequences, labels.astype(np.int64), splits
        self.classes = tuple(classes)
        missing = sorted(set(range(len(classes))) - set(self.labels[splits["train"]].tolist()))
        if missing:
            raise ValueError(f"every class must be in the training split, and {self.classes[missing[0]]!r} is not")
        self.output_size = 1 if len(classes) == 2 else len(classes)
        if sequences.steps.dtype.kind == "f":
            self.input_size = sequences.steps.shape[1]
        chance = self._frequencies.max()
        if not chance < solved_accuracy <= 1:
            raise ValueError(
                f"`solved_accuracy` must be > {chance:.4f}, the share of the most frequent class, and <= 1, "
                f"got {solved_accuracy}"
            )
        self.solved_accuracy = solved_accuracy

    @property
    def length(self) -> int:
        """Steps of the longest sequence."""
        return int(self.sequences.lengths.max())

    @property
    def delay(self) -> int:
        """The length: what decides may stand at the first step, and the answer follows the last."""
        return self.length

    @property
    def fingerprint(self) -> str:
        """A hash of all sequences, labels and splits."""
        parts = [self.splits[split] for split in SPLITS]
        return hash_of(self.sequences.steps, self.sequences.ends, self.labels, *parts, *self.classes)

    def size(self, split: Split) -> int:
        """Return the number of sequences of a split."""
        return len(self.splits[split])

    def lengths(self, split: Split) -> Int[Tensor, " sequences"] | None:
        """Return the steps of each sequence of a split; ``None`` where all have the same."""
        lengths = self.sequences.lengths
        return None if lengths.min() == lengths.max() else torch.from_numpy(lengths[self.splits[split]])

    def take(self, split: Split, chosen: Int[Tensor, " batch"]) -> Batch:
        """Return sequences of a split; see :class:`tasks.data_set.DataSet`."""
        numbers, device = self.splits[split][chosen.cpu().numpy()], chosen.device
        inputs, lengths = self.sequences.padded(numbers)
        answered = torch.ones(1, len(numbers), dtype=torch.bool, device=device)
        return Batch(
            inputs=inputs.to(device),
            targets=torch.from_numpy(self.labels[numbers]).to(device).unsqueeze(0),
            scored=answered,
            answer=answered,
            lengths=lengths.to(device) if lengths is not None else None,
        )

    def loss(self, outputs: Float[Tensor, "readout batch output"], batch: Batch) -> Float[Tensor, ""]:
        """Compute the mean cross entropy in nats."""
        return self.answer_loss(outputs, batch).mean()

    def answer_loss(self, outputs: Float[Tensor, "readout batch output"], batch: Batch) -> Float[Tensor, " batch"]:
        """Compute the cross entropy of each sequence in nats."""
        if self.output_size == 1:
            return F.binary_cross_entropy_with_logits(outputs[0, :, 0], batch.targets[0].to(outputs), reduction="none")
        return F.cross_entropy(outputs[0], batch.targets[0], reduction="none")

    def scores(
        self, outputs: Float[Tensor, "readout batch output"], batch: Batch
    ) -> dict[str, Float[Tensor, " batch"]]:
        """Compute ``loss``, the cross entropy, and ``accuracy``, 1 where the class is right."""
        right = self.predicted(outputs)[0] == batch.targets[0]
        return {"loss": self.answer_loss(outputs.float(), batch), "accuracy": right.float()}

    def predicted(self, outputs: Float[Tensor, "readout batch output"]) -> Int[Tensor, "readout batch"]:
        """Return the most probable class."""
        return likeliest(outputs)

    def set_scores(
        self, outputs: Float[Tensor, "readout sequences output"], targets: Shaped[Tensor, "readout sequences"]
    ) -> dict[str, float]:
        """Compute ``auroc``, of one class against the rest in the mean, and ``macro_f1``, the mean F1 of all classes.

        Both are torchmetrics'. A class that no sequence of the set has counts in neither.
        """
        truth, count = targets[0], len(self.classes)
        # An average over classes that are missing would be a warning, and 0.
        there = truth.bincount(minlength=count) > 0
        chances = chances_of(outputs[0])
        several = int(there.sum())
        area = math.nan
        if several > 1:
            area = float(of_classes.multiclass_auroc(chances[:, there], _among(truth, there), several, average="macro"))
        f1 = of_classes.multiclass_f1_score(chances, truth, count, average="none")
        return {"auroc": area, "macro_f1": float(f1[there].mean())}

    @property
    def kept(self) -> dict[str, Any]:
        """The names of the classes; a subclass adds what its inputs need."""
        return {"classes": list(self.classes)}

    def told(
        self,
        first: int,
        outputs: Float[Tensor, "readout batch output"],
        targets: Shaped[Tensor, "readout batch *target"],
    ) -> Mapping[str, np.ndarray]:
        """Return target and output as numbers of classes, and the probability of each class."""
        count, chances = outputs.shape[1], chances_of(outputs[0].float()).cpu().numpy()
        return {
            "sequence": np.arange(first, first + count),
            "step": np.zeros(count, dtype=np.int64),
            "target": targets[0].cpu().numpy(),
            "output": self.predicted(outputs)[0].cpu().numpy(),
            **{f"probability_{number}": column for number, column in enumerate(chances.T)},
        }

    @property
    def _frequencies(self) -> np.ndarray:
        """Share of each class in the training split."""
        return np.bincount(self.labels[self.splits["train"]], minlength=len(self.classes)) / self.size("train")

    @property
    def baselines(self) -> dict[str, float]:
        """Scores, on the test split, of one answer for all sequences: the class frequencies of the training split."""
        return self._scores_of(np.tile(np.log(self._frequencies), (self.tested_size, 1)))

    @property
    def references(self) -> Mapping[str, Mapping[str, float]]:
        """Scores, on the test split, of a logistic regression on the mean of each sequence, which knows no order."""
        from scipy.sparse import issparse
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler

        train, test = (self.pooled_of(self._numbers(split)) for split in ("train", "test"))
        scaler = StandardScaler(with_mean=not issparse(train)).fit(train)
        fitted = LogisticRegression(max_iter=1000).fit(_scaled(train, scaler), self.labels[self.splits["train"]])
        chances = fitted.predict_proba(_scaled(test, scaler))
        return {LINEAR: self._scores_of(np.log(np.maximum(chances, 1e-12)))}

    @abstractmethod
    def pooled(self, sequence: np.ndarray) -> np.ndarray:
        """Return the mean of the vectors of one sequence, ``(input,)``."""

    def pooled_of(self, numbers: np.ndarray) -> Any:
        """Return the same of some sequences, a row for each; a sparse matrix will do, too."""
        return np.stack([self.pooled(self.sequences[number]) for number in numbers.tolist()])

    def _numbers(self, split: Literal["train", "test"]) -> np.ndarray:
        """Return the numbers of the training sequences, or of those that are tested."""
        return self.splits[split][: self.tested_size if split == "test" else None]

    def _scores_of(self, logits: np.ndarray) -> dict[str, float]:
        """Return all scores that the logarithms of the classes' probabilities have on the test split."""
        outputs = torch.from_numpy(logits).float().unsqueeze(0)
        if self.output_size == 1:
            outputs = outputs[..., 1:] - outputs[..., :1]
        targets = torch.from_numpy(self.labels[self._numbers("test")]).unsqueeze(0)
        answered = torch.ones_like(targets, dtype=torch.bool)
        batch = Batch(torch.zeros(1, targets.shape[1], 1), targets, answered, answered)
        means = {name: float(values.mean()) for name, values in self.scores(outputs, batch).items()}
        return means | self.set_scores(outputs, targets)

    def solved(self, metrics: Mapping[str, float]) -> bool:
        """Return whether at least ``solved_accuracy`` of the evaluation set is right."""
        return metrics["accuracy"] >= self.solved_accuracy


def chances_of(outputs: Float[Tensor, "*batch output"]) -> Float[Tensor, "*batch classes"]:
    """Return the probability of each class; one output stands for two classes."""
    if outputs.shape[-1] == 1:
        outputs = torch.cat((torch.zeros_like(outputs), outputs), dim=-1)
    return outputs.softmax(-1)


def likeliest(outputs: Float[Tensor, "*batch output"]) -> Int[Tensor, "*batch"]:
    """Return the most probable class; one output stands for two classes."""
    return (outputs[..., 0] > 0).long() if outputs.shape[-1] == 1 else outputs.argmax(-1)


class ClassEncoder(Encoder):
    """An encoder whose outputs are classes.

    Attributes:
        classes: Their names.
    """

    def __init__(self, kept: Mapping[str, Any]) -> None:
        self.classes = tuple(map(str, kept["classes"]))

    def told(
        self, new: NewInputs, chosen: np.ndarray, outputs: Float[Tensor, "batch output"]
    ) -> Mapping[str, np.ndarray]:
        """Return what names each sequence, its most probable class, and the probability of every class."""
        chances = chances_of(outputs).numpy()
        return {
            **{name: column[chosen] for name, column in new.about.items()},
            "class": np.array(self.classes, dtype=object)[likeliest(outputs).numpy()],
            **{f"probability {name}": column for name, column in zip(self.classes, chances.T, strict=True)},
        }


def _scaled(means: Any, scaler: Any) -> Any:
    """Return what ``scaler.transform`` does; a sparse matrix, which may lie on disk, is changed piece by piece."""
    if not hasattr(means, "indices"):
        return scaler.transform(means)
    for at in spans(means.data.shape):
        means.data[at] *= (1 / scaler.scale_)[means.indices[at]]
    return means


def _among(truth: Tensor, there: Tensor) -> Tensor:
    """Return the classes renumbered among those that are there."""
    return (there.cumsum(0) - 1)[truth]
