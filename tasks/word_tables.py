"""The words of the texts of a table as numbers; those of a large file lie on disk."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tasks import mapped
from tasks.large_tables import as_texts, digest_of, inferred, is_large, pieces
from tasks.sequences import Sequences
from tasks.tables import is_parquet, path_of, read_table, require_values

WORDS = re.compile(r"\w+(?:'\w+)?|[^\w\s]")
"""A word, which may hold an apostrophe, or a sign."""


@dataclass(frozen=True)
class WordTable:
    """The words and the labels of the texts of a table.

    Attributes:
        numbers: The number of each word of all texts, ``(words,)`` of int32.
        ends: The number of words up to and with each text.
        labels: The label of each text.
        words: The different words; the place of each is its number.
    """

    numbers: np.ndarray
    ends: np.ndarray
    labels: np.ndarray
    words: Sequence[str]


class _NumbersAloneError(Exception):
    """The texts of a large CSV file are all numbers, so that their words are not what stands there."""


def words_of(text: str) -> list[str]:
    """Return the words and signs of a text, in lower case."""
    return WORDS.findall(text.lower())


def _worded(
    source: str | pd.DataFrame, text: str, label: str | None = None
) -> Iterator[tuple[list[list[str]], np.ndarray]]:
    """Yield the words of each text of a table, and its labels, piece by piece.

    The labels of a large CSV file are texts of which only all together say what type they have.

    Raises:
        ValueError: The table is not as it must be, or a text has no word.
    """
    named = {"text": text} | ({"label": label} if label is not None else {})
    of_texts = isinstance(source, str) and is_large(source) and not is_parquet(path_of(source))
    all_numbers = of_texts
    for before, table in pieces(source, named.items(), list(named.values())):
        for name, column in named.items():
            require_values(table, name, column, before)
        all_numbers = all_numbers and pd.api.types.is_numeric_dtype(inferred(table[text].to_numpy()))
        found = [words_of(each) for each in table[text].astype(str)]
        for number, words in enumerate(found, start=before + 1):
            if not words:
                raise ValueError(f"`text` must have a word in every row, and row {number} has none")
        labels = table[label] if label is not None else pd.Series(np.zeros(len(table)))
        yield found, (labels if of_texts else labels.astype(str)).to_numpy(dtype=object)
    if all_numbers:
        raise _NumbersAloneError


def read_words(file: str, text: str, label: str, max_length: int | None) -> WordTable:
    """Read the texts of a table.

    Raises:
        ValueError: The table is not as it must be, a text has no word or too many, or the folder for arrays cannot be
            written to.
    """
    try:
        found = _on_disk(file, text, label) if is_large(file) else _in_memory(file, text, label)
    except _NumbersAloneError:
        found = _in_memory(read_table(file), text, label)
    _check_lengths(np.diff(found.ends, prepend=0), max_length)
    return found


def read_tokens(source: str | pd.DataFrame, text: str, words: Sequence[str], max_length: int | None) -> Sequences:
    """Return the tokens of the texts of a table, as numbers of ``words``; 0 is that of every other word.

    Raises:
        ValueError: As :func:`read_words`.
    """
    number_of, tokens, lengths = {word: number for number, word in enumerate(words)}, [], []
    try:
        for texts, _ in _worded(source, text):
            tokens.append(
                np.array([number_of.get(word, 0) for word in itertools.chain.from_iterable(texts)], dtype=np.int32)
            )
            lengths += map(len, texts)
    except _NumbersAloneError:
        return read_tokens(read_table(source), text, words, max_length)
    _check_lengths(np.array(lengths), max_length)
    return Sequences(np.concatenate(tokens), np.cumsum(lengths))


def _check_lengths(lengths: np.ndarray, max_length: int | None) -> None:
    """Raise ``ValueError`` where a text has too many words."""
    if max_length is not None and (long := np.flatnonzero(lengths > max_length)).size:
        raise ValueError(
            f"`max_length` must be null or >= {lengths[long[0]]}, the words of row {long[0] + 1}, got {max_length}"
        )


def _in_memory(source: str | pd.DataFrame, text: str, label: str) -> WordTable:
    numbering = _Numbering()
    ((texts, labels),) = _worded(source, text, label)
    return WordTable(numbering.of(texts), np.cumsum([len(words) for words in texts]), labels, numbering.words)


def _on_disk(file: str, text: str, label: str) -> WordTable:
    of_file = mapped.hash_of_file(path_of(file))
    array, words, about = (
        f"words-{of_file}-{digest_of([text])}.npy",
        f"words-{of_file}-{digest_of([text])}.parquet",
        f"texts-{of_file}-{digest_of([text, label])}.parquet",
    )

    def convert(scratch: Path) -> None:
        numbering, lengths, names = _Numbering(), [], []
        with mapped.ArrayFile(scratch / array, (), np.int32) as numbers:
            for texts, labels in _worded(file, text, label):
                numbers.add(numbering.of(texts))
                lengths += [len(words) for words in texts]
                names.append(labels)
        labels = as_texts(np.concatenate(names), of_csv=not is_parquet(path_of(file)))
        pd.DataFrame({"words": lengths, "label": labels}).to_parquet(scratch / about)
        pd.DataFrame({"word": numbering.words}).to_parquet(scratch / words)

    found = mapped.stored([array, words, about], convert)
    different, texts = pd.read_parquet(found[1]), pd.read_parquet(found[2])
    return WordTable(
        np.load(found[0], mmap_mode="r"),
        np.cumsum(texts["words"].to_numpy()),
        texts["label"].to_numpy(dtype=object),
        different["word"].tolist(),
    )


class _Numbering:
    """Numbers words in the order in which they come first."""

    def __init__(self) -> None:
        self._numbers: defaultdict[str, int] = defaultdict()
        self._numbers.default_factory = self._numbers.__len__

    @property
    def words(self) -> list[str]:
        """The words; the place of each is its number."""
        return list(self._numbers)

    def of(self, texts: Sequence[Sequence[str]]) -> np.ndarray:
        """Return the number of each word of some texts."""
        return np.fromiter(map(self._numbers.__getitem__, itertools.chain.from_iterable(texts)), dtype=np.int32)
