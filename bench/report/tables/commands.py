"""The command that makes a set of runs, merged from the commands that make each of them."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.records import older
from bench.records.record import Record

NOT_SAID = ("results_dir", "logger", "launcher", "rerun")
"""Settings that say where and how a run is made, and change no number."""
SAID = "launcher"
"""The choice of a launcher, unlike its settings, is said: ``launcher=joblib`` sets the threads of a run."""
WHOLE = ("-", "~")
"""Beginnings of a flag, and of the deletion of a key."""
THREADS = "runtime.threads"
COMPILED = ("native", "generated")
"""The engines that are chosen on the CPU in float32 where there is a compiler."""
ELSEWHERE = "..."
"""Stands for the folders above a path that is not below the working folder: they may name a person."""
_PATH = re.compile(r"(?<![\w./~-])(file://)?((?:~(?=/|$)|(?=/(?!/)))[^\s,'\"()\[\]{}]*)")
"""An absolute path in a value, or one that begins at the home folder."""


def command_of(record: Record) -> str:
    """Return the command that makes a run, on another machine, too.

    Threads, device and engine are part of what a run is. Where the command leaves them to the machine, the record has
    them. Threads are always said. The others are said where they are not what a machine without a GPU and with a
    compiler chooses, as most have: a run on a GPU, and one on the CPU without C++ of ours. So is a loss that a run of
    earlier computed in two passes, where it is one pass now.
    """
    config, on_cpu = record.config, record.device["type"] == "cpu"
    said = [record.command]
    if on_cpu and config.get("runtime", {"threads": 1}).get("threads") is None:
        said.append(f"{THREADS}={record.runtime['threads']}")
    if not on_cpu and config["trainer"].get("accelerator") == "auto":
        said.append("trainer=gpu")
    engine = record.model.get("engine")
    is_usual = engine in COMPILED or not on_cpu or config["trainer"]["precision"] != "32"
    if engine and not is_usual and config["model"].get("engine") == "auto":
        said.append(f"model.engine={engine}")
    if older.has_loss_in_two_passes(config["task"], record.model):
        said.append("model.loss_engine=torch")
    return " ".join(said)


def merged(commands: Iterable[str]) -> list[str]:
    """Return the fewest commands that together make the same runs: ``cell=rnn,lstm 'seed=range(0,5)'``.

    They name no absolute path. One below the working folder is relative to it; of any other one only the last name is
    left, as in ``.../mine``.

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
    # To read quotes takes ten times as long, and most commands have none.
    words = shlex.split(command) if any(quote in command for quote in "'\"\\#") else command.split()
    for word in words[2:]:
        key, is_set, value = word.partition("=")
        value = _without_place(value, whole=word.startswith(WHOLE))
        if word.startswith(WHOLE):
            values[f"{key}{is_set}{value}"] = ""
        elif (bare := key.lstrip("+")) == SAID or bare.partition(".")[0] not in NOT_SAID:
            values[key] = value
    return dict(sorted(values.items(), key=lambda pair: _place(pair[0])))


def _without_place(value: str, *, whole: bool) -> str:
    """Return a value with its absolute paths made relative or cut.

    Args:
        value: The value of a key or a flag.
        whole: Whether it can be one path alone, as that of a flag, which may have any character.
    """
    if whole:
        return _relative(value) if value.startswith(("/", "~")) else value
    return _PATH.sub(lambda found: f"{found[1] or ''}{_relative(found[2])}", value)


def _relative(path: str) -> str:
    here = Path.cwd()
    try:
        home, place = Path.home(), Path(path).expanduser()
    except RuntimeError:  # A process may have no user, as in a container.
        home, place = here, Path(path)
    # From a folder above the home folder, a relative path would name the user.
    if place.is_relative_to(here) and (home == here or not home.is_relative_to(here)):
        return place.relative_to(here).as_posix()
    return f"{ELSEWHERE}/{place.name}" if place not in (home, Path("/")) else ELSEWHERE


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
    # An empty text among others needs quotes.
    return ",".join(value or "''" for value in values) if len(values) > 1 else values[0]
