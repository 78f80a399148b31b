"""The ``sweep`` section of an experiment that is no plain product: rows, and settings that hold for some runs.

An experiment in ``conf/experiment/`` may have, beside ``hydra.sweeper.params``::

    sweep:
      rows:                                   # every row with all of hydra.sweeper.params
        - {task: copy_memory, task.delay: [100, 200]}
        - {task: adding_problem, task.length: 100}
      settings:                               # where all of `when` holds
        - {when: {task: copy_memory, cell: rnn}, set: {model.hidden_size: 80}}
        - {when: {budget: short}, set: {training.max_steps: 4000}}

The command line wins over both, a row wins over the settings, and a later setting wins over an earlier one. Where the
command line gives a key of the rows, there are two cases. If some rows have the value, only these rows stay; this is
how a task is chosen. If no row has it, the value replaces the values of that key in all rows that have the key, as
does a cell of the user's own; a task that no row has is an error, since its rows would have the keys of another.
Settings look at the command line, the rows, the params and the defaults, and never at other settings.

With ``search``, a sweep looks for the longest delay that enough seeds solve (:mod:`bench.config.search`)::

    sweep:
      rows:
        - {task: adding_problem, task.length: 25}    # where it begins
      search: {keys: [task.length], share: 0.8, least: 2, most: 3200, close: 1.1}

With ``tune``, ``bench tune`` looks for the best setting of each cell (:mod:`bench.config.tune`); ``bench run`` makes
the runs of the experiment as they stand.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from bench.config.search import Search
from bench.config.tune import Sampler, Tune
from bench.errors import as_override, shown
from bench.shapes import convert

MOST_RUNS = 100_000
"""Largest number of runs of one command."""
BUDGET = "budget"
"""Key that chooses between the budgets of an experiment."""
_NEITHER = object()


class _SettingNode(Struct, forbid_unknown_fields=True):
    when: dict[str, Any]
    set: dict[str, Any]


class _SearchNode(Struct, forbid_unknown_fields=True):
    keys: list[str]
    share: float
    least: int
    most: int
    close: float


class _TuneNode(Struct, forbid_unknown_fields=True):
    space: str
    trials: int
    seeds: list[int]
    sampler: Sampler
    per_round: int
    prune: bool
    score: str | None = None


class _Node(Struct, forbid_unknown_fields=True):
    rows: Annotated[list[dict[str, Any]], Meta(min_length=1, description="a list of at least one row")] = msgspec.field(
        default_factory=lambda: [{}]
    )
    settings: list[_SettingNode] = []
    search: _SearchNode | None = None
    tune: _TuneNode | None = None


@dataclass(frozen=True)
class Setting:
    """Overrides for the runs in which all of ``when`` holds."""

    when: Mapping[str, tuple[str, ...]]
    overrides: Mapping[str, str]


@dataclass(frozen=True)
class SweepGrid:
    """The ``sweep`` node of an experiment, checked.

    Attributes:
        rows: For each row, the values of each key, written as in overrides.
        settings: The settings in the order given; a later one wins.
        search: What is searched for; ``None`` where every run is known beforehand.
        tune: How ``bench tune`` looks for the best setting of each cell; ``None`` where it cannot.
    """

    rows: tuple[Mapping[str, tuple[str, ...]], ...]
    settings: tuple[Setting, ...]
    search: Search | None = None
    tune: Tune | None = None

    @classmethod
    def read(cls, node: Any) -> SweepGrid:
        """Check a node, given as plain containers; ``None`` stands for one row without keys.

        Raises:
            ValueError: The node has another form.
        """
        if node is None:
            return cls(({},), ())
        found = convert(node, _Node, "sweep")
        looked_at = {key for setting in found.settings for key in setting.when}
        for key in (key for setting in found.settings for key in setting.set):
            if any(each == key or each.startswith(f"{key}.") for each in looked_at):
                raise ValueError(f"`sweep.settings` must not set what a `when` looks at, got {key}")
        search = None if found.search is None else Search(**{**msgspec.structs.asdict(found.search),
                                                             "keys": tuple(found.search.keys)})  # fmt: skip
        if search is not None and (moving := looked_at & {*search.keys}):
            raise ValueError(f"`sweep.settings` must not look at what is searched over, got {', '.join(moving)}")
        tune = None if found.tune is None else Tune(**{**msgspec.structs.asdict(found.tune),
                                                       "seeds": tuple(found.tune.seeds)})  # fmt: skip
        if search is not None and tune is not None:
            raise ValueError("`sweep` must have one of search and tune, got both")
        for row in found.rows:
            if [] in row.values():
                raise ValueError(f"`sweep.rows` must have a value for every key, got {shown(row)}")
        return cls(
            tuple({key: _texts(value) for key, value in row.items()} for row in found.rows),
            tuple(
                Setting(
                    {key: _texts(value) for key, value in setting.when.items()},
                    {key: as_override(value) for key, value in setting.set.items()},
                )
                for setting in found.settings
            ),
            search,
            tune,
        )

    @property
    def keys(self) -> list[str]:
        """Every key that at least one row has."""
        return list(dict.fromkeys(key for row in self.rows for key in row))

    @property
    def conditions(self) -> set[str]:
        """Every key that a ``when`` looks at."""
        return {key for setting in self.settings for key in setting.when}

    @property
    def budgets(self) -> list[str]:
        """The budgets that have settings."""
        named = (value for setting in self.settings for value in setting.when.get(BUDGET, ()))
        return list(dict.fromkeys(named))

    def jobs(
        self,
        params: Mapping[str, Sequence[str]],
        given: Mapping[str, Sequence[str]],
        default: Callable[[str], Any],
    ) -> list[list[str]]:
        """Return the overrides of each run.

        Args:
            params: Values of each key of ``hydra.sweeper.params``.
            given: Values of each key of the command line.
            default: Returns the value of a key that neither row nor params nor command line have.

        Raises:
            ValueError: The command line leaves no row, or more than :data:`MOST_RUNS` runs.
        """
        known = {*self.keys, *params, *(key for setting in self.settings for key in setting.overrides)}
        given = {key.lstrip("+") if key.lstrip("+") in known else key: values for key, values in given.items()}
        first = {key: values for key, values in given.items() if key.lstrip("+") == "experiment"}
        jobs = []
        grids = []
        for row in self._chosen(given):
            rest = {key: values for key, values in {**params, **given}.items() if key not in row}
            grids.append((row, {**first, **row, **rest}))
        if (runs := sum(math.prod(map(len, axes.values())) for _, axes in grids)) > MOST_RUNS:
            raise ValueError(f"a sweep must have at most {MOST_RUNS} runs, got {runs}")
        for row, axes in grids:
            for values in itertools.product(*axes.values()):
                job = dict(zip(axes, values, strict=True))
                mine = {*row, *given}
                job |= {key: value for key, value in self._set_for(job, default).items() if key not in mine}
                jobs.append([f"{key}={value}" for key, value in job.items()])
        return jobs

    def asked(self, job: Iterable[str], default: Callable[[str], Any]) -> list[str]:
        """Return the overrides of a run without those that :meth:`jobs` adds by itself."""
        job = list(job)
        pairs = {key: value for key, _, value in (text.partition("=") for text in job)}
        added = {f"{key}={value}" for key, value in self._set_for(pairs, default).items()}
        # The keys of a row come first in a job. A row may hold the same value as a setting; it is then the row's own.
        keys = [key for key in pairs if key.lstrip("+") != "experiment"]
        own = {key for row in self.rows if keys[: len(row)] == list(row) for key in row}
        return [text for text in job if text not in added or text.partition("=")[0] in own]

    def row_of(self, job: Iterable[str]) -> list[str]:
        """Return ``key=value`` for the keys of the rows, without their section and without choices such as the task."""
        pairs = (text.partition("=") for text in job)
        return [f"{key.partition('.')[2]}={value}" for key, _, value in pairs if key in self.keys and "." in key]

    def _chosen(self, given: Mapping[str, Sequence[str]]) -> list[dict[str, Sequence[str]]]:
        """Return the rows that the command line leaves."""
        chosen: list[dict[str, Sequence[str]]] = [dict(row) for row in self.rows]
        for key in self.keys:
            if key not in given or not any(key in row for row in chosen):
                continue
            there = {value for row in chosen for value in row.get(key, ())}
            left = []
            for row in chosen:
                # Only rows that have the value stay. A value that no row has replaces the rows' values, unless it is a
                # task, whose other keys no row would have.
                new = key != "task"
                values = [value for value in given[key] if value in row.get(key, ()) or (new and value not in there)]
                if key in row and values and {**row, key: values} not in left:
                    left.append({**row, key: values})
            if not left:
                allowed = ", ".join(dict.fromkeys(value for row in self.rows for value in row.get(key, ())))
                raise ValueError(f"`{key}` must be one of this experiment's, {allowed}, got {', '.join(given[key])}")
            chosen = left
        return chosen

    def _set_for(self, job: Mapping[str, str], default: Callable[[str], Any]) -> dict[str, str]:
        found: dict[str, str] = {}
        for setting in self.settings:
            if all(_value(job, key, default) in values for key, values in setting.when.items()):
                found |= setting.overrides
        return found


def _value(job: Mapping[str, str], key: str, default: Callable[[str], Any]) -> str:
    value = job.get(key, _NEITHER)
    return as_override(default(key)) if value is _NEITHER else str(value)


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(as_override, value)) if isinstance(value, list) else (as_override(value),)
