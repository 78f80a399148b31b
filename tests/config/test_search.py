"""The search for the longest delay that is solved: where it ends, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest

from bench.config.search import Bracket, Search

NODE: dict[str, Any] = {"keys": ("task.length",), "share": 0.8, "least": 2, "most": 400, "close": 1.1}


@pytest.mark.parametrize("start", [2, 25, 400])
def test_it_ends_at_the_longest_that_is_solved(start: int):
    search = Search(**NODE)
    for longest in range(1, 420):
        tried: list[int] = []

        def outcome(value: int, longest: int = longest, tried: list[int] = tried) -> bool:
            tried.append(value)
            return value <= longest

        found = search.walk(start, outcome)
        assert found.next is None
        assert len(tried) == len(set(tried)) <= 14
        assert all(2 <= value <= 400 for value in tried)
        low, high = found.solved, found.unsolved
        assert (low is None) == (longest < 2)
        assert (high is None) == (longest >= 400)
        assert low is None or low <= longest
        assert high is None or high > longest
        if low is not None and high is not None:
            assert high <= max(1.1 * low, low + 1)


def test_it_stops_where_nothing_is_known():
    known = {25: True, 50: True, 100: False}
    assert Search(**NODE).walk(25, known.get) == Bracket(50, 100, round(math.sqrt(50 * 100)))
    assert Search(**NODE).walk(25, {}.get) == Bracket(None, None, 25)


def test_how_many_are_enough():
    search = Search(**NODE)
    assert [search.enough(solved, 5) for solved in range(6)] == [False] * 4 + [True] * 2
    assert [search.enough(solved, 10) for solved in (7, 8)] == [False, True]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keys": ()}, "`sweep.search.keys` must be a list of at least one key, got []"),
        ({"share": 0.0}, "`sweep.search.share` must be > 0 and <= 1, got 0.0"),
        ({"least": 500}, "`sweep.search.least` must be >= 1 and <= most (400), got 500"),
        ({"close": 1.0}, "`sweep.search.close` must be a finite number > 1, got 1.0"),
    ],
)
def test_bad_input(change: dict[str, Any], message: str):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        Search(**NODE | change)
    assert str(error.value) == message
