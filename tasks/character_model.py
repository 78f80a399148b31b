"""A language model of characters: which one comes next in a text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from tasks.base import Batch, require_at_least, require_choice
from tasks.data_set import DataSet, NewInputs, Source, Split, TextEncoder, check_shares
from tasks.mapped import PORTION
from tasks.ngrams import NGram
from tasks.sequences import hash_of
from tasks.tables import not_utf8
from tasks.texts import MOST_POINTS, Tokens, code_points, distinct, points_of

NUMERICS = 1
"""Version of what this part computes. It is raised when the numbers change; `make numerics` says when that is so."""

UNKNOWN = 0
"""The token of every character that the training part of the text does not have."""
PYTHON = "python"
"""The name of the text that every machine has: Python's own help on its language, ``pydoc_data.topics``."""
ORDERS = (2, 3, 5)
"""Lengths of the n-grams that a model is set beside."""


@dataclass(frozen=True)
class Contexts:
    """For each character of a text but the first, those before it, as many as a window has at most."""

    tokens: np.ndarray
    window: int

    def __len__(self) -> int:
        return len(self.tokens) - 1

    def padded(self, chosen: np.ndarray) -> tuple[Int[Tensor, "time batch"], Int[Tensor, " batch"] | None]:
        """Return contexts side by side, with zeros behind the shorter ones, and their lengths, as sequences are."""
        lengths = np.minimum(chosen + 1, self.window)
        at = np.arange(lengths.max())[:, None]
        found = np.where(at < lengths, self.tokens[np.minimum(chosen + 1 - lengths + at, len(self))], UNKNOWN)
        several = len(set(lengths.tolist())) > 1
        return torch.from_numpy(found.astype(np.int64)), torch.from_numpy(lengths) if several else None


class CharacterEncoder(TextEncoder):
    """Reads a text, and says how many bits each of its characters takes after those before it."""

    def __init__(self, kept: Mapping[str, Any]) -> None:
        self.window, self.characters = int(kept["window"]), tuple(map(str, kept["characters"]))

    def encode(self, text: str) -> np.ndarray:
        """Return the token of each character; none may be unknown."""
        found = _encoded(text, self.characters)
        if (unknown := np.flatnonzero(found == UNKNOWN)).size:
            character, line = text[unknown[0]], text.count("\n", 0, unknown[0]) + 1
            where = f"{character!r} of line {line}" if "\n" in text.strip() else f"{character!r}"
            raise ValueError(f"`file` must have no characters but those of the training part, got {where}")
        return found

    def read(self, source: Source) -> NewInputs:
        """Read a text from a file."""
        if not isinstance(source, str):
            raise ValueError(f"`file` must be the path of a text, got a {type(source).__name__}")
        text = text_of(source)
        if len(text) < 2:
            raise ValueError(f"`file` must have two characters at least, got {source!r}, which has {len(text)}")
        tokens = self.encode(text)
        about = {"place": np.arange(2, len(text) + 1), "character": np.array(list(text[1:]), dtype=object)}
        return NewInputs(Contexts(tokens, self.window), {**about, "token": tokens[1:]})

    def told(
        self, new: NewInputs, chosen: np.ndarray, outputs: Float[Tensor, "batch token"]
    ) -> Mapping[str, np.ndarray]:
        """Return the place of each character in the text, from 1, the character, and its bits."""
        asked = torch.from_numpy(new.about["token"][chosen].astype(np.int64))
        bits = F.cross_entropy(outputs.double(), asked, reduction="none") / math.log(2)
        return {**{name: new.about[name][chosen] for name in ("place", "character")}, "bits": bits.numpy()}


class CharacterModel(DataSet):
    """The next character of a text, from the characters of a window before it.

    The text is cut in three, in its order: the first part is for training, the last for the test, and what lies between
    for validation. The characters of the training part are the tokens; any other is one token, the unknown one. A
    sequence is a window of each part. With ``readout: last`` the network says which character follows the window; with
    ``every`` it says so after each character of the window, where the first have little before them.

    The loss is in nats, and ``bits`` is the same in bits a character.

    Args:
        file: A text in UTF-8, or ``python``: the help on the language that comes with every Python, whose content
            depends on Python's version.
        window: Characters of a window, >= 1.
        stride: Characters from the beginning of one window to that of the next, >= 1.
        readout: ``"last"`` or ``"every"``.
        validation: Share of the text that evaluations see.
        test: Share that the test at the end sees.
        solved_bits: The task counts as solved when the evaluation set takes at most so many bits a character; > 0 and
            below the baseline.

    Raises:
        ValueError: The file is missing, no text in UTF-8, or too short for a window in each part; or a value is out of
            range.
    """

    places = ("file",)
    encoder = CharacterEncoder
    metric = "bits"
    higher_is_better = False
    lower_is_better = ("bits",)
    extra_metrics = ("accuracy",)
    cross_entropy = True

    def __init__(
        self,
        *,
        file: str,
        window: int,
        stride: int,
        readout: str,
        validation: float,
        test: float,
        solved_bits: float,
    ) -> None:
        require_at_least("window", window, 1)
        require_at_least("stride", stride, 1)
        require_choice("readout", readout, ("last", "every"))
        self.readout: Literal["every", "last", "mean"] = "every" if readout == "every" else "last"
        self._window, self.stride = window, stride
        check_shares(validation, test)
        points = points_in(file)
        first = round(len(points) * (1 - validation - test))
        second = round(len(points) * (1 - test))
        there = distinct(points[:first])
        self.characters = ("", *map(chr, there))
        self.tokens = self.input_size = self.output_size = len(self.characters)
        table = np.full(MOST_POINTS, UNKNOWN, dtype=np.int32)
        table[there] = np.arange(1, len(self.characters))
        self.parts: dict[Split, Tokens] = {
            "train": Tokens(points[:first], table),
            "validation": Tokens(points[first:second], table),
            "test": Tokens(points[second:], table),
        }
        for name, part in self.parts.items():
            if len(part) <= window:
                raise ValueError(
                    f"`window` must be shorter than each part of the text, and {name} has {len(part)} characters, "
                    f"got {window}"
                )
        if not 0 < solved_bits < (most := self._of_frequencies()["bits"]):
            raise ValueError(f"`solved_bits` must be > 0 and below the baseline {most:.4f}, got {solved_bits}")
        self.solved_bits = solved_bits

    @property
    def length(self) -> int:
        """Characters of a window."""
        return self._window

    @property
    def consecutive(self) -> bool:
        """Whether the windows lie side by side, and every character is asked for."""
        return self.stride == self._window and self.readout == "every"

    @property
    def delay(self) -> int:
        """The length of a window, as far as the network can look back."""
        return self._window

    @property
    def on_disk(self) -> bool:
        """Whether the text stays on disk."""
        return isinstance(self.parts["train"].points, np.memmap)

    @property
    def fingerprint(self) -> str:
        """A hash of the text and of where it is cut."""
        return hash_of("".join(self.characters), *self.parts.values())

    def encode(self, text: str) -> np.ndarray:
        """Return the token of each character."""
        return _encoded(text, self.characters)

    @property
    def kept(self) -> dict[str, Any]:
        """The characters that have tokens, and the length of a window."""
        return {"characters": list(self.characters), "window": self._window}

    def told(
        self,
        first: int,
        outputs: Float[Tensor, "readout batch output"],
        targets: Shaped[Tensor, "readout batch *target"],
    ) -> Mapping[str, np.ndarray]:
        """Return a row for each character that is asked for: its token, the likeliest one, and the bits it takes."""
        steps, count = targets.shape
        bits = F.cross_entropy(outputs.movedim(-1, 1).float(), targets, reduction="none") / math.log(2)
        return {
            "sequence": np.repeat(np.arange(first, first + count), steps),
            "step": np.tile(np.arange(steps) + int(steps > 1), count),
            "target": targets.T.flatten().cpu().numpy(),
            "output": outputs.argmax(-1).T.flatten().cpu().numpy(),
            "bits": bits.T.flatten().cpu().numpy(),
        }

    def size(self, split: Split) -> int:
        """Return the number of windows of a part."""
        return (len(self.parts[split]) - self._window - 1) // self.stride + 1

    def take(self, split: Split, chosen: Int[Tensor, " batch"]) -> Batch:
        """Return windows; see :class:`tasks.data_set.DataSet`."""
        device = chosen.device
        at = chosen.cpu().numpy() * self.stride + np.arange(self._window + 1)[:, None]
        both = torch.from_numpy(self.parts[split][at].astype(np.int64)).to(device)
        targets = both[1:] if self.readout == "every" else both[-1:]
        answer = torch.zeros_like(targets, dtype=torch.bool)
        answer[-1] = True
        return Batch(inputs=both[:-1], targets=targets, scored=torch.ones_like(answer), answer=answer)

    def loss(self, outputs: Float[Tensor, "readout batch output"], batch: Batch) -> Float[Tensor, ""]:
        """Compute the cross entropy in nats, averaged over all characters that are asked for."""
        return F.cross_entropy(outputs.flatten(0, 1), batch.targets.flatten())

    def answer_loss(self, outputs: Float[Tensor, "readout batch output"], batch: Batch) -> Float[Tensor, " batch"]:
        """Compute the cross entropy of the character behind the window, in nats."""
        return F.cross_entropy(outputs[-1], batch.targets[-1], reduction="none")

    def scores(
        self, outputs: Float[Tensor, "readout batch output"], batch: Batch
    ) -> dict[str, Float[Tensor, " batch"]]:
        """Compute ``loss``, ``bits``, the same in bits, and ``accuracy``, the share of characters that are right."""
        loss = F.cross_entropy(outputs.movedim(-1, 1).float(), batch.targets, reduction="none").mean(0)
        right = (outputs.argmax(-1) == batch.targets).float().mean(0)
        return {"loss": loss, "bits": loss / math.log(2), "accuracy": right}

    @property
    def baselines(self) -> dict[str, float]:
        """Scores, on the test part, of the frequencies of the characters in the training part, one more for each."""
        return self._of_frequencies()

    def _of_frequencies(self) -> dict[str, float]:
        counts = np.ones(self.output_size, dtype=np.int64)
        for piece in self.parts["train"].portions():
            counts += np.bincount(piece, minlength=self.output_size)
        logs, sizes, nats, right = np.log(counts / counts.sum()), [], [], []
        for places, _ in self._asked():
            asked = self.parts["test"][places]
            sizes.append(len(asked))
            nats.append(-float(logs[asked].mean()))
            right.append(float((asked == counts.argmax()).mean()))
        loss, accuracy = (np.average(each, weights=sizes) if len(sizes) > 1 else each[0] for each in (nats, right))
        return {"loss": float(loss), "bits": float(loss) / math.log(2), "accuracy": float(accuracy)}

    @property
    def references(self) -> Mapping[str, Mapping[str, float]]:
        """Scores, on the test part, of n-grams with Witten and Bell's smoothing, which look n - 1 characters back.

        Like the network, they know nothing of what stands before a window.
        """
        found, counted = {}, NGram(self.parts["train"], max(ORDERS), self.output_size)
        for order in ORDERS:
            nats, right = counted.score(self.parts["test"], self._asked(), order)
            found[f"{order}-gram"] = {"loss": nats, "bits": nats / math.log(2), "accuracy": right}
        return found

    def _asked(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the places of all characters of the test part that are asked for, and how many are known before each.

        A character stands in it as often as windows ask for it. They come piece by piece.
        """
        ahead = np.arange(1, self._window + 1) if self.readout == "every" else np.array([self._window])
        windows = max(1, PORTION // len(ahead))
        for start in range(0, self.tested_size, windows):
            begins = np.arange(start, min(start + windows, self.tested_size))[:, None] * self.stride
            yield (begins + ahead).ravel(), np.broadcast_to(ahead, (len(begins), len(ahead))).ravel()

    def solved(self, metrics: Mapping[str, float]) -> bool:
        """Return whether the evaluation set takes at most ``solved_bits`` bits a character."""
        return metrics["bits"] <= self.solved_bits


def _encoded(text: str, characters: Sequence[str]) -> np.ndarray:
    """Return the token of each character, where ``characters`` has the character of each token."""
    number_of = {character: number for number, character in enumerate(characters) if character}
    return np.fromiter((number_of.get(each, UNKNOWN) for each in text), dtype=np.int32, count=len(text))


def text_of(file: str) -> str:
    """Return the text of a file, with line ends of one character.

    Raises:
        ValueError: It is missing, empty, or not in UTF-8.
    """
    return points_in(file).astype("<u4").tobytes().decode("utf-32-le")


def points_in(file: str) -> np.ndarray:
    """Return the code points of the text of a file, with line ends of one character; those of a large one lie on disk.

    Raises:
        ValueError: It is missing, empty, or not in UTF-8.
    """
    if file == PYTHON:
        from pydoc_data.topics import topics

        return points_of("\n".join(topics.values()))
    path = Path(file).expanduser()
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not there"
        raise ValueError(f"`file` must be a text, or {PYTHON}, got {file!r}, which {what}")
    try:
        points = code_points(path)
    except UnicodeDecodeError:
        raise ValueError(not_utf8(path, file)) from None
    except OSError as error:
        raise ValueError(f"`file` must be a file that can be read, got {file!r}: {error.strerror}") from None
    if not len(points):
        raise ValueError(f"`file` must be a text, got {file!r}, which is empty")
    return points
