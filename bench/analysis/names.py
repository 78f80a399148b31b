"""What cells, tasks, metrics and settings are called in a table or a figure, where their own names are not to be shown.

Names come from a YAML, from the ``names`` of a table's YAML, or one by one from the command line::

    cells: {lstm: LSTM, rnn: Elman}
    tasks: {adding_problem: Adding}
    metrics: {mse: error, steps_to_solve: steps}
    keys: {task.length: T}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import msgspec

from bench.analysis import metrics
from bench.analysis.run import Run
from bench.errors import nearest, one_of
from bench.shapes import convert, read_yaml

KINDS = ("cells", "tasks", "metrics", "keys")


class _Shape(msgspec.Struct, forbid_unknown_fields=True):
    """The maps of a YAML."""

    cells: dict[str, str] = msgspec.field(default_factory=dict)
    tasks: dict[str, str] = msgspec.field(default_factory=dict)
    metrics: dict[str, str] = msgspec.field(default_factory=dict)
    keys: dict[str, str] = msgspec.field(default_factory=dict)


@dataclass(frozen=True)
class Names:
    """Names to be shown, by the own name of what they stand for.

    Attributes:
        cells: Of cells.
        tasks: Of tasks.
        metrics: Of metrics; ``mse`` is also the base of ``mse@2``.
        keys: Of settings, by the keys that tables use, as in ``task.length``.
        loose: Of whichever of these has the name; see :meth:`resolved`.
    """

    cells: Mapping[str, str] = field(default_factory=dict)
    tasks: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    loose: Mapping[str, str] = field(default_factory=dict)

    def cell(self, name: str) -> str:
        """Return what a cell is called."""
        return self.cells.get(name, name)

    def task(self, name: str) -> str:
        """Return what a task is called."""
        return self.tasks.get(name, name)

    def key(self, key: str, short: str) -> str:
        """Return what a setting is called: ``short``, unless its key has a name."""
        return self.keys.get(key, short)

    def metric(self, metric: str) -> str:
        """Return what a metric is called."""
        base, _, scale = metric.partition("@")
        if metric in self.metrics or base not in self.metrics:
            return self.metrics.get(metric) or metrics.name_of(metric)
        return f"{self.metrics[base]} at {scale}x"

    def joined(self, other: Names) -> Names:
        """Return these names with those of another set, which win."""
        return Names(**{each.name: {**getattr(self, each.name), **getattr(other, each.name)} for each in fields(Names)})

    def resolved(self, runs: Iterable[Run]) -> Names:
        """Return the names with each loose one in its place, all checked against some runs.

        Raises:
            ValueError: A name is that of nothing in these runs, or two things would be called the same.
        """
        known = _known(runs)
        found = {kind: dict[str, str](getattr(self, kind)) for kind in KINDS}
        for kind in KINDS:
            for name in found[kind]:
                if name not in known[kind]:
                    raise ValueError(f"`names.{kind}` must be of {one_of(name, known[kind])}")
        for name, shown in self.loose.items():
            kinds = [kind for kind in KINDS if name in known[kind]]
            if not kinds:
                near = nearest(name, (each for kind in KINDS for each in known[kind]))
                raise ValueError(
                    f"`name` must be that of a cell, task, metric or key of these runs, got {name!r}{near}"
                )
            for kind in kinds:
                found[kind][name] = shown
        made = replace(self, loose={}, **found)
        for kind, called in (("cells", made.cell), ("tasks", made.task), ("metrics", made.metric)):
            _check_apart(kind, {name: called(name) for name in known[kind]})
        _check_apart("keys", made.keys)
        return made


def read_names(path: Path) -> Names:
    """Read names from a YAML.

    Raises:
        ValueError: It cannot be read, or has anything but names by kind.
    """
    try:
        node = read_yaml(path)
    except OSError as error:
        raise ValueError(f"`names` must be a file that can be read, got {str(path)!r} ({error})") from error
    except ValueError as error:
        raise ValueError(f"`names` must be YAML, got {str(path)!r} ({error})") from error
    return names_of(node)


def names_of(node: Any) -> Names:
    """Return the names that a node of a YAML holds.

    Raises:
        ValueError: It has another form.
    """
    shape = convert({} if node is None else node, _Shape, "names")
    for kind in KINDS:
        for name, shown in getattr(shape, kind).items():
            check_shown(f"names.{kind}.{name}", shown)
    return Names(shape.cells, shape.tasks, shape.metrics, shape.keys)


def check_shown(key: str, shown: str) -> None:
    """Refuse a name that cannot be shown in a line.

    Raises:
        ValueError: It is empty, or has several lines.
    """
    if not shown.strip() or len(shown.splitlines()) > 1:
        raise ValueError(f"`{key}` must be a text of one line, got {shown!r}")


def _known(runs: Iterable[Run]) -> dict[str, list[str]]:
    """Return what there is to be named, by kind."""
    runs = list(runs)
    return {
        "cells": list(dict.fromkeys(run.cell for run in runs)),
        "tasks": list(dict.fromkeys(run.task for run in runs)),
        "metrics": metrics.known_metrics(runs),
        "keys": list(dict.fromkeys(key for run in runs for key in run.settings)),
    }


def _check_apart(kind: str, called: Mapping[str, str]) -> None:
    first: dict[str, str] = {}
    for name, shown in called.items():
        if (other := first.setdefault(shown, name)) != name:
            raise ValueError(f"`names.{kind}` must tell {other} and {name} apart, got {shown!r} for both")
