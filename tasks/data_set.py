"""The contract of tasks whose sequences are there before they are asked for: data sets with splits of their own."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, get_args, runtime_checkable

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from tasks.base import Batch, Task

NUMERICS = 1
"""Version of what this part computes. It is raised when the numbers change; `make numerics` says when that is so."""

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

SPLIT_SEED = 1
"""Seed of the order in which sequences are dealt out to the splits; the same for all runs, so that they compare."""


Source = str | pd.DataFrame | Sequence[str]
"""Where new inputs come from: the path of a file, a table, or texts."""


@runtime_checkable
class Padded(Protocol):
    """Sequences that can be asked for in batches, as :class:`tasks.sequences.Sequences`."""

    def __len__(self) -> int:
        """Return the number of sequences."""
        ...

    def padded(self, chosen: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """Return some of them, ``(time, batch, ...)``, with their lengths; ``None`` where all are equally long."""
        ...


@dataclass(frozen=True)
class NewInputs:
    """New sequences as a network reads them, without targets.

    Attributes:
        sequences: The sequences, encoded.
        about: What is known of them, one value a sequence in each array: what names them, for example.
    """

    sequences: Padded
    about: Mapping[str, np.ndarray]


class Encoder(ABC):
    """Encodes new inputs as those of the training were, and says what the outputs mean.

    All that it knows is what :attr:`DataSet.kept` has kept beside the weights; it needs no training data.

    Args:
        kept: That.
    """

    @abstractmethod
    def __init__(self, kept: Mapping[str, Any]) -> None: ...

    @property
    def tokens(self) -> Sequence[str]:
        """What each token stands for, a text that may be empty; nothing where the inputs are vectors."""
        return ()

    @abstractmethod
    def read(self, source: Source) -> NewInputs:
        """Encode new inputs, from a file in the form that the task reads, or what stands for its content.

        Raises:
            ValueError: Something is wrong with it; the message begins with ```file```.
        """

    @abstractmethod
    def told(
        self, new: NewInputs, chosen: np.ndarray, outputs: Float[Tensor, "batch output"]
    ) -> Mapping[str, np.ndarray]:
        """Return what outputs say, in the words and units of the data.

        Args:
            new: All new inputs.
            chosen: Numbers of those that were asked.
            outputs: What the network said of each after its last step.

        Returns:
            Columns of one length by name, in their order.
        """


class TextEncoder(Encoder):
    """An encoder of the characters of texts, whose outputs are the logits of the next one.

    Attributes:
        window: The number of characters that the network has been trained to look back at most.
        characters: The character of each token; empty for a token that stands for none. They are its ``tokens``.
    """

    window: int
    characters: tuple[str, ...]

    @property
    def tokens(self) -> Sequence[str]:
        """The characters."""
        return self.characters

    @abstractmethod
    def encode(self, text: str) -> np.ndarray:
        """Return the token of each character.

        Raises:
            ValueError: The training part does not have one of them; the message names it.
        """


class DataSet(Task):
    """A task on sequences that are there: a training, a validation and a test split, made once and always the same.

    A run goes through the training split in epochs, in an order that its seed decides. It evaluates on the validation
    split, and looks at the test split once.

    Attributes:
        places: Names of the arguments that say where the data lies. They are no part of what a run is; the content of
            the data is, see :attr:`fingerprint`.
        tested: How many sequences of the test split are looked at, the first ones; ``None`` for all. ``baselines`` and
            ``references`` are those of the same ones.
        encoder: Makes an :class:`Encoder` of :attr:`kept`; ``None`` for a task that cannot read new inputs.
        classes: Names of the classes, where targets are classes, by number.
    """

    places: ClassVar[tuple[str, ...]] = ()
    tested: int | None = None
    encoder: ClassVar[type[Encoder] | None] = None
    classes: tuple[str, ...] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # A data set stays as it is: what takes long is computed once, whoever asks for it.
        super().__init_subclass__(**kwargs)
        for name in ("fingerprint", "baselines", "references"):
            found = vars(cls).get(name)
            if isinstance(found, property) and found.fget is not None:
                setattr(cls, name, property(_once(name, found.fget), doc=found.__doc__))

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of the data and of all that decides how it is split; part of a run's identity."""

    @abstractmethod
    def size(self, split: Split) -> int:
        """Return the number of sequences of a split, at least 1."""

    @abstractmethod
    def take(self, split: Split, chosen: Int[Tensor, " batch"]) -> Batch:
        """Return sequences of a split, on the device of ``chosen``.

        Args:
            split: The split.
            chosen: Numbers of the sequences, each from 0 to :meth:`size` - 1.

        Returns:
            A batch that is padded to its longest sequence.
        """

    def lengths(self, split: Split) -> Int[Tensor, " sequences"] | None:
        """Return the steps of each sequence of a split; ``None`` where all have :attr:`length`."""
        return None

    @property
    def consecutive(self) -> bool:
        """Whether each sequence of a split goes on where the one before it ends."""
        return False

    @property
    def on_disk(self) -> bool:
        """Whether the data stays on disk because it is large; what grows with it then lies there, too."""
        return False

    @property
    def tested_size(self) -> int:
        """Number of sequences of the test split that are looked at."""
        return min(self.tested or self.size("test"), self.size("test"))

    @property
    def references(self) -> Mapping[str, Mapping[str, float]]:
        """Scores, on the test split, of simple predictors that are fitted to the training split, by their names.

        ``baselines`` are those of the predictor that knows nothing of the sequence. These may know something of it, but
        not its order, or only what lies a few steps back: they show what a memory adds.
        """
        return {}

    @property
    def kept(self) -> dict[str, Any]:
        """What an :attr:`encoder` needs of the training data, as JSON can have it."""
        return {}

    def told(
        self,
        first: int,
        outputs: Float[Tensor, "readout batch output"],
        targets: Shaped[Tensor, "readout batch *target"],
    ) -> Mapping[str, np.ndarray] | None:
        """Return what the network said of sequences of the test split, for a table of predictions.

        Args:
            first: Number of the first of these sequences; the others follow it.
            outputs: What the network said.
            targets: What it should have said.

        Returns:
            Columns by name: ``sequence``, its number; ``step``, of a forecast, from 1, or 0; ``target`` and ``output``
            as classes or in the units of the data; and what the task has besides. ``None`` for a task without.
        """
        return None

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Draw sequences of the validation split with replacement, all of one length, for the probes.

        Where lengths differ, the sequences are among those that have at least the median length, and only their last
        steps are taken, as many as the median.
        """
        device = generator.device
        lengths = self.lengths("validation")
        among = None if lengths is None else (lengths >= lengths.median()).nonzero()[:, 0]
        count = self.size("validation") if among is None else len(among)
        drawn = torch.randint(count, (batch_size,), generator=generator, device=device)
        batch = self.take("validation", drawn if among is None else among.to(device)[drawn])
        return last_steps(batch, self.length if lengths is None else int(lengths.median()))


def _once(name: str, compute: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function of a data set that computes once, and again only for another number of tested sequences."""

    @functools.wraps(compute)
    def found(task: DataSet) -> Any:
        known = vars(task).setdefault("_known", {})
        key = (name, compute, None if name == "fingerprint" else task.tested)
        if key not in known:
            known[key] = compute(task)
        return known[key]

    return found


def last_steps(batch: Batch, steps: int) -> Batch:
    """Return the last ``steps`` real steps of each sequence, of a batch that reads out once a sequence."""
    time, columns = batch.inputs.shape[0], torch.arange(batch.inputs.shape[1], device=batch.inputs.device)
    if batch.lengths is None and time == steps:
        return batch
    lengths = batch.lengths if batch.lengths is not None else torch.full_like(columns, time)
    at = lengths - steps + torch.arange(steps, device=columns.device).unsqueeze(1)
    return Batch(batch.inputs[at, columns], batch.targets, batch.scored, batch.answer)


def check_shares(validation: float, test: float) -> None:
    """Raise ``ValueError`` unless the shares of a data set leave something for the training: each > 0, together < 1."""
    for name, share in (("validation", validation), ("test", test)):
        if not 0 < share < 1:
            raise ValueError(f"`{name}` must be > 0 and < 1, got {share}")
    if not validation + test < 1:
        raise ValueError(f"`validation` must be < 1 together with test ({test}), got {validation}")


def dealt_out(labels: np.ndarray, validation: float, test: float) -> dict[Split, np.ndarray]:
    """Deal sequences out to the splits, of each label the same share, in an order that is the same for all runs.

    Args:
        labels: A label for each sequence; all the same where there are none.
        validation: Share of the sequences that evaluations see, between 0 and 1.
        test: Share that the one look at the end sees; less than 1 together with ``validation``.

    Returns:
        The numbers of the sequences of each split, in an order of their own.

    Raises:
        ValueError: A share is out of range, or leaves a split empty.
    """
    check_shares(validation, test)
    order = np.random.Generator(np.random.PCG64(SPLIT_SEED)).permutation(len(labels))
    found: dict[Split, list[np.ndarray]] = {split: [] for split in SPLITS}
    for label in np.unique(labels):
        its = order[labels[order] == label]
        first, second = round(test * len(its)), round((test + validation) * len(its))
        found["test"].append(its[:first])
        found["validation"].append(its[first:second])
        found["train"].append(its[second:])
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    splits: dict[Split, np.ndarray] = {}
    for split, parts in found.items():
        both = np.concatenate(parts)
        splits[split] = both[np.argsort(place[both])]
    for name, part in splits.items():
        if not len(part):
            key, share = ("test", test) if name == "test" else ("validation", validation)
            raise ValueError(f"`{key}` must leave every split one of the {len(labels)} sequences, got {share}")
    return splits
