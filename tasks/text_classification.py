"""Classes of texts, such as the sentiment of a sentence, word by word."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

from tasks.base import require_at_least
from tasks.classification import Classification
from tasks.data_set import dealt_out
from tasks.sequences import Sequences
from tasks.tables import read_table, require_column

NUMERICS = 1
"""Version of what this part computes. It is raised when the numbers change; `make numerics` says when that is so."""

WORDS = re.compile(r"\w+(?:'\w+)?|[^\w\s]")
"""A word, which may hold an apostrophe, or a sign."""
UNKNOWN = 0
"""The token of every word that is rare in the training split, or not in it."""


class TextClassification(Classification):
    """The class of each text of a CSV or Parquet table with a row for each text.

        text,label
        "a fine film, not dull at all",positive

    Texts are cut into words and signs in lower case. The words of the training split are the tokens, the most frequent
    first; all others are one token, the unknown word. Without ``model.embedding`` every token has its own input.

    Args:
        file: The table; CSV with a header in UTF-8, Parquet, or ``sentiment``, which comes with the package: sentences
            that a grammar has made, half of them positive. Their words alone do not tell, because a "not" turns what
            follows, and the part behind a "but" counts.
        text: Column of the texts.
        label: Column of the class.
        least_count: A word has a token of its own if the training split has it so many times, >= 1.
        max_length: Words of a text at most, >= 1; ``None`` for no limit.
        readout: ``"last"`` or ``"mean"``; see :class:`tasks.base.Task`.
        validation: Share of the texts that evaluations see, of each class the same.
        test: Share that the test at the end sees.
        solved_accuracy: See :class:`tasks.classification.Classification`.

    Raises:
        ValueError: The file or a value in it is not as described, or a value is out of range.
    """

    places = ("file",)

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
        table = read_table(file)
        for name, column in (("text", text), ("label", label)):
            require_column(table, name, column)
            if len(empty := np.flatnonzero(table[column].isna())):
                raise ValueError(f"`{name}` must have a value in every row, and row {empty[0] + 1} has none")
        texts = [words_of(each) for each in table[text].astype(str)]
        for number, words in enumerate(texts, start=1):
            if not words:
                raise ValueError(f"`text` must have a word in every row, and row {number} has none")
            if max_length is not None and len(words) > max_length:
                raise ValueError(
                    f"`max_length` must be null or >= {len(words)}, the words of row {number}, got {max_length}"
                )
        classes, labels = np.unique(table[label].astype(str).to_numpy(dtype=str), return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"`label` must have two classes at least, and {label} has {str(classes[0])!r} alone")
        splits = dealt_out(labels, validation, test)
        counts = Counter(word for number in splits["train"].tolist() for word in texts[number])
        known = sorted((word for word in counts if counts[word] >= least_count), key=lambda word: (-counts[word], word))
        self.words = ("", *known)
        self.tokens = self.input_size = len(self.words)
        number_of = {word: number for number, word in enumerate(self.words)}
        super().__init__(
            Sequences.of([np.array([number_of.get(word, UNKNOWN) for word in words], np.int32) for words in texts]),
            labels,
            splits,
            [str(each) for each in classes],
            readout=readout,
            solved_accuracy=solved_accuracy,
        )

    def pooled(self, sequence: np.ndarray) -> np.ndarray:
        """Return the share of each word."""
        return np.bincount(sequence, minlength=len(self.words)) / len(sequence)


def words_of(text: str) -> list[str]:
    """Return the words and signs of a text, in lower case."""
    return WORDS.findall(text.lower())
