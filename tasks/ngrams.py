"""Language models that count: n-grams, which a network is set beside."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tasks.texts import Tokens

DENSE = 1 << 22
"""Most different n-grams that are counted in a table with a place for each."""
MOST_KNOWN = 1 << 14
"""Contexts whose probabilities are kept."""


class NGram:
    """Probabilities of the next token from the last ``order`` - 1, smoothed by those of one fewer, and so on.

    With c(h, w) for how often w followed the context h, c(h) for the sum of these and d(h) for how many different w
    there were, P(w | h) = (c(h, w) + d(h) P(w | h')) / (c(h) + d(h)), where h' is h without its first token. Below the
    shortest context all tokens are equally likely.

    An n-gram has a number among those of its length, in the order of the number of its first n - 1 tokens and of its
    last one. So all n-grams behind one context lie side by side.

    Args:
        tokens: The text.
        order: Tokens of the longest n-gram, >= 1.
        vocabulary: Number of different tokens.

    References:
        Witten & Bell (1991), The zero-frequency problem, IEEE Transactions on Information Theory 37(4), method C.
    """

    def __init__(self, tokens: Tokens, order: int, vocabulary: int) -> None:
        self.order, self.vocabulary = order, vocabulary
        self._codes: list[np.ndarray] = []
        self._counts: list[np.ndarray] = []
        for length in range(order):
            most = vocabulary * (len(self._codes[-1]) if self._codes else 1)
            counted = _Dense(most) if most <= DENSE else _Sparse()
            for piece in tokens.portions(overlap=length):
                counted.add(self._codes_of(piece.astype(np.int64), length))
            codes, counts = counted.collected()
            self._codes.append(codes)
            self._counts.append(counts)

    def _codes_of(self, tokens: np.ndarray, length: int) -> np.ndarray:
        """Return, for each token behind ``length`` others: number of these others * vocabulary + token."""
        codes = tokens
        for shorter in range(length):
            numbers = np.searchsorted(self._codes[shorter], codes[:-1])
            codes = numbers * self.vocabulary + tokens[shorter + 1 :]
        return codes

    def _number(self, context: tuple[int, ...]) -> int | None:
        """Return the number of a context among those of its length; ``None`` where the text does not have it."""
        number = 0
        for length, token in enumerate(context):
            code = number * self.vocabulary + token
            codes = self._codes[length]
            number = int(np.searchsorted(codes, code))
            if number == len(codes) or codes[number] != code:
                return None
        return number

    def probabilities(self, context: tuple[int, ...], order: int | None = None) -> np.ndarray:
        """Return the probability of each token behind a context; only the last ``order`` - 1 of it count."""
        found = np.full(self.vocabulary, 1 / self.vocabulary)
        for length in range(min(len(context), (order or self.order) - 1) + 1):
            number = self._number(context[len(context) - length :])
            if number is None:
                break
            codes = self._codes[length]
            first, last = np.searchsorted(codes, (number * self.vocabulary, (number + 1) * self.vocabulary))
            if first == last:
                break
            counts = self._counts[length][first:last]
            different, total = int(last - first), int(counts.sum())
            found *= different
            found[codes[first:last] - number * self.vocabulary] += counts
            found /= total + different
        return found

    def score(
        self, tokens: Tokens, asked: Iterable[tuple[np.ndarray, np.ndarray]], order: int | None = None
    ) -> tuple[float, float]:
        """Return the mean cross entropy in nats, and the share of tokens that were the likeliest.

        Args:
            tokens: A text.
            asked: Piece by piece, where the tokens stand that are asked for, and how many tokens before each may be
                looked at.
            order: Length of the n-grams; ``None`` for the longest.
        """
        back, count = (order or self.order) - 1, 0
        known: dict[tuple[int, ...], tuple[np.ndarray, int]] = {}
        nats = right = 0.0
        for places, known_before in asked:
            begin = max(0, int(places.min()) - back)
            listed = tokens[begin : int(places.max()) + 1].tolist()
            for place, before in zip((places - begin).tolist(), known_before.tolist(), strict=True):
                context = tuple(listed[place - min(back, before) : place])
                if context not in known:
                    if len(known) == MOST_KNOWN:
                        known.clear()
                    chances = self.probabilities(context, order)
                    known[context] = np.log(chances), int(chances.argmax())
                logs, likeliest = known[context]
                nats -= float(logs[listed[place]])
                right += listed[place] == likeliest
            count += len(places)
        return nats / count, right / count


class _Dense:
    """Counts codes in a table."""

    def __init__(self, most: int) -> None:
        self._table = np.zeros(most, dtype=np.int64)

    def add(self, codes: np.ndarray) -> None:
        self._table += np.bincount(codes, minlength=len(self._table))

    def collected(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the codes that there are, in their order, and how often each is there."""
        codes = np.flatnonzero(self._table)
        return codes, self._table[codes]


class _Sparse:
    """Counts codes of which few are there."""

    def __init__(self) -> None:
        self._codes, self._counts = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)

    def add(self, codes: np.ndarray) -> None:
        new, counts = np.unique(codes, return_counts=True)
        both = np.concatenate((self._codes, new))
        self._codes, place = np.unique(both, return_inverse=True)
        counted = np.concatenate((self._counts, counts))
        self._counts = np.zeros(len(self._codes), dtype=np.int64)
        np.add.at(self._counts, place, counted)

    def collected(self) -> tuple[np.ndarray, np.ndarray]:
        return self._codes, self._counts
