"""The command that makes a set of runs, merged from the commands that make each of them. Pure."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Sequence

NOT_SAID = ("results_dir", "logger", "launcher", "rerun")
"""Settings that say where and how a run is made, and change no number."""

WHOLE = ("-", "~")
"""Beginnings of a flag, and of the deletion of a key."""


def merged(commands: Iterable[str]) -> list[str]:
    """Return the fewest commands that together make the same runs: ``cell=rnn,lstm 'seed=range(0,5)'``.

    Args:
        commands: The command of each run: ``bench run [flags] key=value ...``.
    """
    runs = [_parsed(command) for command in dict.fromkeys(commands)]
    found: list[str] = []
    for keys in dict.fromkeys(tuple(run) for run in runs):
        found += _as_one(keys, {tuple(run.values()): None for run in runs if tuple(run) == keys})
    return found


def _parsed(command: str) -> dict[str, str]:
    """Return the value of each key, in a fixed order; a flag or a deletion is a key without a value."""
    values = {}
    for word in shlex.split(command)[2:]:
        key, _, value = word.partition("=")
        if word.startswith(WHOLE):
            values[word] = ""
        elif key.lstrip("+").partition(".")[0] not in NOT_SAID:
            values[key] = value
    return dict(sorted(values.items(), key=lambda pair: _place(pair[0])))


def _place(key: str) -> tuple[int, str]:
    """Return a sort key: flags, the experiment, the task and its settings, the cell and its own, the rest, the seed."""
    section = key.lstrip("+").partition(".")[0]
    known = ["experiment", "task", "cell"]
    place = -1 if key.startswith(WHOLE) else known.index(section) if section in known else len(known)
    return (place + (section == "seed"), key)


def _as_one(keys: tuple[str, ...], runs: Iterable[tuple[str, ...]]) -> list[str]:
    """Return one command if the runs are a product of values.

    Otherwise split the runs by the first key that separates them, and return one command for each part.
    """
    runs = list(runs)
    values = [list(dict.fromkeys(column)) for column in zip(*runs, strict=True)]
    if math.prod(map(len, values)) == len(runs):
        return [_command(keys, values)]
    for place in (i for i, column in enumerate(values) if len(column) > 1):
        # Values that have the same rest stay together.
        parts: dict[frozenset[tuple[str, ...]], list[tuple[str, ...]]] = {}
        for value in values[place]:
            members = [run for run in runs if run[place] == value]
            rest = frozenset(run[:place] + run[place + 1 :] for run in members)
            parts[rest] = [*parts.get(rest, []), *members]
        if len(parts) > 1:
            return [command for members in parts.values() for command in _as_one(keys, members)]
    raise AssertionError("runs whose values all have the same rest are a product")


def _command(keys: Sequence[str], values: Sequence[list[str]]) -> str:
    swept = any(len(column) > 1 for column in values)
    words = []
    for key, column in zip(keys, values, strict=True):
        words.append(shlex.quote(key if key.startswith(WHOLE) else f"{key}={_several(column)}"))
    multirun = ["-m"] if swept and "-m" not in keys else []
    return " ".join(["bench", "run", *multirun, *words])


def _several(values: list[str]) -> str:
    numbers = [int(value) for value in values if value.isdecimal()]
    first = min(numbers, default=0)
    if len(values) > 2 and sorted(numbers) == list(range(first, first + len(values))):
        return f"range({first},{first + len(values)})"
    return ",".join(values)
