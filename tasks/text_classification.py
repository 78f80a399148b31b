"""Classes of texts, such as the sentiment of a sentence, word by word."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tasks.base import require_at_least
from tasks.classification import ClassEncoder, Classification
from tasks.data_set import NewInputs, Source, dealt_out
from tasks.sequences import Sequences
from tasks.tables import as_table, read_table, require_values

NUMERICS = 1
"""Version of what this part computes. It is raised when the numbers change; `make numerics` says when that is so."""

WORDS = re.compile(r"\w+(?:'\w+)?|[^\w\s]")
"""A word, which may hold an apostrophe, or a sign."""
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
        table = read_table(as_table(source, self.text))
        require_values(table, "text", self.text)
        texts = table[self.text].astype(str).to_numpy()
        sequences = _tokens(_words(texts, self.max_length), self.words)
        return NewInputs(sequences, {"row": np.arange(1, len(texts) + 1)})


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
        table = read_table(file)
        for name, column in (("text", text), ("label", label)):
            require_values(table, name, column)
        texts = _words(table[text].astype(str), max_length)
        classes, labels = np.unique(table[label].astype(str).to_numpy(dtype=str), return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"`label` must have two classes at least, and {label} has {str(classes[0])!r} alone")
        splits = dealt_out(labels, validation, test)
        counts = Counter(word for number in splits["train"].tolist() for word in texts[number])
        known = sorted((word for word in counts if counts[word] >= least_count), key=lambda word: (-counts[word], word))
        self.words = ("", *known)
        self.tokens = self.input_size = len(self.words)
        self._text, self._max_length = text, max_length
        super().__init__(
            _tokens(texts, self.words),
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

        texts = [self.sequences[number] for number in numbers.tolist()]
        shares = np.concatenate([np.full(len(text), 1 / len(text)) for text in texts])
        rows = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
        return csr_matrix((shares, (rows, np.concatenate(texts))), shape=(len(texts), len(self.words)))


def words_of(text: str) -> list[str]:
    """Return the words and signs of a text, in lower case."""
    return WORDS.findall(text.lower())


def _words(texts: Iterable[str], max_length: int | None) -> list[list[str]]:
    """Return the words of each text.

    Raises:
        ValueError: A text has none, or too many.
    """
    found = [words_of(each) for each in texts]
    for number, words in enumerate(found, start=1):
        if not words:
            raise ValueError(f"`text` must have a word in every row, and row {number} has none")
        if max_length is not None and len(words) > max_length:
            raise ValueError(
                f"`max_length` must be null or >= {len(words)}, the words of row {number}, got {max_length}"
            )
    return found


def _tokens(texts: Iterable[Sequence[str]], words: Sequence[str]) -> Sequences:
    """Return the tokens of texts, where ``words`` has the word of each token."""
    number_of = {word: number for number, word in enumerate(words)}
    return Sequences.of([np.array([number_of.get(word, UNKNOWN) for word in text], np.int32) for text in texts])
