"""Classes of texts, such as the sentiment of a sentence, word by word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tasks import mapped
from tasks.base import require_at_least
from tasks.classification import ClassEncoder, Classification
from tasks.data_set import NewInputs, Source, dealt_out
from tasks.sequences import Sequences
from tasks.tables import as_table
from tasks.texts import Tokens
from tasks.word_tables import read_tokens, read_words

NUMERICS = 1
"""Version of what this part computes. It is raised when the numbers change; `make numerics` says when that is so."""

UNKNOWN = 0
"""The token of every word that is rare in the training split, or not in it."""


class WordEncoder(ClassEncoder):
    """Reads the texts of a table, as :class:`TextClassification` does; a list of texts stands for such a table."""

    def __init__(self, kept: Mapping[str, Any]) -> None:
        super().__init__(kept)
        self.text, self.max_length = str(kept["text"]), kept["max_length"]
        self.words = list(map(str, kept["words"]))

    @property
    def tokens(self) -> Sequence[str]:
        """The words."""
        return self.words

    def read(self, source: Source) -> NewInputs:
        """Read a table; the column of labels and others are not needed."""
        sequences = read_tokens(as_table(source, self.text), self.text, self.words, self.max_length)
        return NewInputs(sequences, {"row": np.arange(1, len(sequences) + 1)})


class TextClassification(Classification):
    """The class of each text of a CSV or Parquet table with a row for each text.

        text,label
        "a fine film, not dull at all",positive

    Texts are cut into words and signs in lower case. The words of the training split are the tokens, the most frequent
    first; all others are one token, the unknown word. Without ``model.embedding`` every token has its own input. The
    words of a large file, from :data:`tasks.mapped.MAPPED_FROM` on, stay on disk.

    Args:
        file: The table; CSV with a header in UTF-8, Parquet, or ``sentiment``, which comes with the package: sentences
            that a grammar has made, half of them positive. Their words alone do not tell, because a "not" turns what
            follows, and the part behind a "but" counts.
        text: Column of the texts.
        label: Column of the class.
        least_count: A word has a token of its own if the training split has it so many times, >= 1.
        max_length: Words of a text at most, >= 1; ``None`` for no limit.
        readout: What the answer is read from: ``"last"``, the state after the last real step, or ``"mean"``, the mean
            of the states of all real steps.
        validation: Share of the texts that evaluations see, of each class the same.
        test: Share that the test at the end sees.
        solved_accuracy: The task counts as solved when at least this share of the evaluation set is right; more than
            the most frequent class has, and at most 1.

    Raises:
        ValueError: The file or a value in it is not as described, or a value is out of range.
    """

    places = ("file",)
    encoder = WordEncoder

    def __init__(
        self,
        *,
        file: str,
        text: str,
        label: str,
        least_count: int,
        max_length: int | None,
        readout: str,
        validation: float,
        test: float,
        solved_accuracy: float,
    ) -> None:
        require_at_least("least_count", least_count, 1)
        if max_length is not None:
            require_at_least("max_length", max_length, 1)
        found = read_words(file, text, label, max_length)
        classes, labels = np.unique(found.labels.astype(str), return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"`label` must have two classes at least, and {label} has {str(classes[0])!r} alone")
        splits = dealt_out(labels, validation, test)
        counts = np.zeros(len(found.words), dtype=np.int64)
        for piece in Sequences(found.numbers, found.ends).steps_of(splits["train"]):
            counts += np.bincount(piece, minlength=len(counts))
        frequent = np.flatnonzero(counts >= least_count).tolist()
        known = sorted(frequent, key=lambda number: (-counts[number], found.words[number]))
        self.words = ("", *(found.words[number] for number in known))
        self.tokens = self.input_size = len(self.words)
        token_of = np.full(len(counts), UNKNOWN, dtype=np.int32)
        token_of[known] = np.arange(1, len(self.words))
        tokens = Tokens(found.numbers, token_of)
        self._text, self._max_length = text, max_length
        super().__init__(
            Sequences(tokens if isinstance(found.numbers, np.memmap) else tokens[:], found.ends),
            labels,
            splits,
            [str(each) for each in classes],
            readout=readout,
            solved_accuracy=solved_accuracy,
        )

    @property
    def kept(self) -> dict[str, Any]:
        """The classes, and the words that have tokens."""
        return super().kept | {"text": self._text, "max_length": self._max_length, "words": list(self.words)}

    def pooled(self, sequence: np.ndarray) -> np.ndarray:
        """Return the share of each word."""
        return np.bincount(sequence, minlength=len(self.words)) / len(sequence)

    def pooled_of(self, numbers: np.ndarray) -> Any:
        """Return the same of some texts as a sparse matrix: most words are in few of them."""
        from scipy.sparse import csr_matrix

        lengths = self.sequences.lengths[numbers]
        words, shape = int(lengths.sum()), (len(numbers), len(self.words))
        # Of many words the matrix lies on disk.
        shares, tokens = mapped.empty((words,)), mapped.empty((words,), np.int32)
        ends = np.zeros(len(numbers) + 1, dtype=np.int64)
        bounds = np.flatnonzero(np.diff(np.cumsum(lengths) // (mapped.PORTION // 8))) + 1
        for at in np.split(np.arange(len(numbers)), bounds):
            texts = [self.sequences[number] for number in numbers[at].tolist()]
            share, row = (np.repeat(each, lengths[at]) for each in (1 / lengths[at], at - at[0]))
            part = csr_matrix((share, (row, np.concatenate(texts))), (len(at), shape[1]))
            first = ends[at[0]]
            ends[at + 1] = first + part.indptr[1:]
            shares[first : ends[at[-1] + 1]], tokens[first : ends[at[-1] + 1]] = part.data, part.indices
        return csr_matrix((shares[: ends[-1]], tokens[: ends[-1]], ends), shape)
