"""A table before it becomes text: its spec, from flags or a YAML of ``conf/table/``, and the number in each place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

from bench.analysis import grouping, hyperparameters
from bench.analysis.grouping import RunGroup
from bench.analysis.metrics import (
    COSTS,
    EVERY_RUN,
    EXPONENTS,
    PARAMETERS,
    PROBED,
    REACHES,
    SOLVED,
    SPEED,
    STEPS,
    MetricEstimate,
    check_metric,
    check_statistic,
    cost_of,
    counts_of,
    default_statistic,
    estimate,
    probed,
    results,
)
from bench.analysis.names import Names, names_of
from bench.analysis.run import Run
from bench.errors import one_of, shown
from bench.shapes import read_yaml, yaml_names

USUAL = ("reach_untrained", "reach_trained", "rate_trained", "growth_trained", "lyapunov_trained")
"""What a table shows of the probes where it does not say."""
NOTES = ("below", "threeparttable", "none")
"""Where notes and commands stand in LaTeX: below the table, in the notes of a threeparttable, or nowhere."""
LABEL = re.compile(r"[\w:./+-]+", re.ASCII)
"""What LaTeX and its packages take as a label."""
WIDTHS = (1, 2)
"""Columns of a page that a table or a figure can be made for."""


@dataclass(frozen=True)
class Spec:
    """What a table is to show.

    Attributes:
        title: Beginning of the caption.
        where: Values that each setting of its runs may have; without it, all runs are shown.
        rows: Keys whose values make a row; ``None`` leaves the rows to :func:`bench.analysis.grouping.arrange`.
        columns: Keys whose values make a column; ``None`` does the same, or takes the cell if ``rows`` is given.
        metrics: One metric makes a matrix of rows and columns, several make a block of lines for each row; ``None``
            shows the usual metrics.
        statistic: The statistic of all metrics that have it; ``None`` takes each metric's default.
        mixed: Whether runs of different protocols may stand together, with a mark.
        published: Whether the published claims follow, each with a verdict.
        compare: Whether tests between the columns follow.
        names: What cells, tasks, metrics and settings are called.
        caption: The caption, as it is typed, in place of ours; an empty one for none.
        label: What LaTeX refers to the table by; for ``None`` it has none.
        notes: One of :data:`NOTES`; any form of a table does without for ``none``.
        width: For how many columns of a page of two LaTeX lays it out; for ``None``, for a page of one.
    """

    title: str = ""
    where: Mapping[str, tuple[str, ...]] | None = None
    rows: tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None
    metrics: tuple[str, ...] | None = None
    statistic: str | None = None
    mixed: bool = False
    published: bool = False
    compare: bool = False
    names: Names = field(default_factory=Names)
    caption: str | None = None
    label: str | None = None
    notes: str = "below"
    width: int | None = None

    def __post_init__(self) -> None:
        if self.notes not in NOTES:
            raise ValueError(f"`notes` must be {one_of(self.notes, NOTES)}")
        if self.width is not None and (self.width not in WIDTHS or isinstance(self.width, bool)):
            raise ValueError(f"`width` must be {' or '.join(map(str, WIDTHS))} columns, got {shown(self.width)}")
        if self.width == 1 and self.published:
            raise ValueError("`width` must be 2 columns where published claims follow, whose columns hold words, got 1")
        if self.label is not None and not LABEL.fullmatch(self.label):
            raise ValueError(f"`label` must have letters, digits and any of : . / + _ - alone, got {self.label!r}")
        if self.label is not None and self.caption == "":
            raise ValueError(f"`label` must have a caption to refer to, got {self.label!r} with an empty one")

    @property
    def only(self) -> str | None:
        """The metric, if there is exactly one."""
        return self.metrics[0] if self.metrics is not None and len(self.metrics) == 1 else None

    @property
    def shows_reach(self) -> bool:
        """Whether how far the gradient travels may be among its numbers."""
        return self.metrics is None or any(metric in REACHES for metric in self.metrics)

    @property
    def shows_exponents(self) -> bool:
        """Whether Lyapunov exponents may be among its numbers."""
        return self.metrics is None or any(metric in EXPONENTS for metric in self.metrics)

    def with_flags(self, **given: Any) -> Spec:
        """Return the spec with the values that flags give; ``None`` and ``False`` leave a value as it is."""
        return replace(self, **{name: value for name, value in given.items() if value not in (None, False)})

    def chosen(self, runs: Iterable[Run]) -> list[Run]:
        """Return the runs that the table is about, all its keys checked against them.

        Raises:
            ValueError: There is no such key, metric or statistic, or no run is left, or none with a result.
        """
        runs = list(runs)
        kept = chosen(runs, self.where or {})
        known = keys_of(runs)
        for name, keys in (("rows", self.rows or ()), ("columns", self.columns or ())):
            for key in keys:
                _check(name, key, known)
        if not results(kept):
            statuses = ", ".join(f"{count} {name}" for name, count in counts_of(kept).unfinished.items())
            raise ValueError(f"a table must have at least one run with a result, got {statuses}")
        for metric in self.metrics or ():
            check_metric(metric, kept)
        if self.statistic is not None:
            check_statistic(self.statistic, self.metrics)
        return kept


def keys_of(runs: Iterable[Run]) -> list[str]:
    """Return the keys of the settings of some runs."""
    found: dict[str, None] = {}
    for settings in hyperparameters.distinct(run.settings for run in runs):
        found |= dict.fromkeys(settings)
    return list(found)


def chosen(runs: Sequence[Run], where: Mapping[str, Sequence[str]]) -> list[Run]:
    """Return the runs whose settings have one of the values that each key may have.

    Raises:
        ValueError: There is no such key, or no run is left.
    """
    known, as_text = keys_of(runs), hyperparameters.as_text
    for key in where:
        _check("where", key, known)
    wanted = {key: set(map(as_text, values)) for key, values in where.items()}
    kept = [run for run in runs if all(as_text(run.settings.get(key)) in values for key, values in wanted.items())]
    if not kept:
        told = ", ".join(f"{key}={','.join(values)}" for key, values in where.items())
        raise ValueError(f"`where` must leave at least one run, got {told}")
    return kept


def check_typed(runs: Sequence[Run], where: Mapping[str, Sequence[str]]) -> None:
    """Check what somebody has typed: a spec may name runs that are still to come, a word with a typo brings none.

    Raises:
        ValueError: There is no such key, or no run has one of its values.
    """
    known, as_text = keys_of(runs), hyperparameters.as_text
    for key, values in where.items():
        _check("where", key, known)
        there = list(dict.fromkeys(as_text(run.settings.get(key)) for run in runs))
        for value in map(as_text, values):
            if value not in there:
                raise ValueError(f"`where` must have for {key} {one_of(value, there)}")


@dataclass(frozen=True)
class Table:
    """Rows and columns of runs, with what is to be shown of them.

    Attributes:
        spec: What the table is to show.
        rows: See :class:`bench.analysis.grouping.RunGroup`.
        columns: Column labels.
        names: Those of the spec, checked against the runs.
    """

    spec: Spec
    rows: list[RunGroup]
    columns: list[str]
    names: Names

    @classmethod
    def of(cls, runs: Iterable[Run], spec: Spec) -> Table:
        """Return the table of a set of runs.

        Raises:
            ValueError: See :meth:`bench.analysis.table.Spec.chosen`, :func:`bench.analysis.grouping.arrange_by` and
                :meth:`bench.analysis.names.Names.resolved`.
        """
        runs = list(runs)
        kept, names = spec.chosen(runs), spec.names.resolved(runs)
        if spec.rows is None and spec.columns is None:
            rows, columns = grouping.arrange(kept, names)
        else:
            keys = spec.rows if spec.rows is not None else ("task",), spec.columns or ("cell",)
            rows, columns = grouping.arrange_by(kept, *keys, mixed=spec.mixed, names=names)
        return cls(spec, rows, columns, names)

    @property
    def runs(self) -> list[Run]:
        """All runs that it shows."""
        return [run for row in self.rows for members in row.runs.values() for run in members]

    def metrics(self, row: RunGroup) -> list[str]:
        """Return the metrics that are shown of a row: those of its task, and of the probes those that its runs have."""
        wanted = self.spec.metrics
        if wanted is None:
            wanted = (SOLVED, row.facts["metric"], *row.facts["extra_metrics"], STEPS, *USUAL, PARAMETERS, SPEED)
        runs = [run for members in row.runs.values() for run in members]
        there = {metric for metric in PROBED if any(probed(run, metric) is not None for run in runs)}
        there |= {*EVERY_RUN, row.facts["metric"], *row.facts["extra_metrics"], *row.facts["baselines"]} - {*PROBED}
        shown = [metric for metric in wanted if metric in there]
        return shown or list(wanted)

    def missing(self) -> list[str]:
        """Return the metrics that were asked for and that no run of any row has measured."""
        runs = self.runs
        found: dict[str, Callable[[Run, str], float | None]] = {
            **dict.fromkeys(PROBED, probed), **dict.fromkeys(COSTS, cost_of),
        }  # fmt: skip
        wanted = (metric for metric in self.spec.metrics or () if metric in found)
        return [metric for metric in wanted if all(found[metric](run, metric) is None for run in runs)]

    def number(self, row: RunGroup, column: str, metric: str) -> MetricEstimate | None:
        """Return one number; ``None`` if there are no runs."""
        runs = row.runs.get(column, [])
        statistic = default_statistic(metric, self.spec.statistic)
        return estimate(runs, metric, statistic) if runs else None


def spec_names() -> list[str]:
    """Return the names of the tables in ``conf/table/``."""
    return yaml_names(resources.files("conf") / "table")


def read_spec(name: str) -> Spec:
    """Read the spec of a table by its name in ``conf/table/``, or by the path of a user's own file.

    Raises:
        ValueError: There is no such spec, or it has an unknown key or value; the message gives the nearest name.
    """
    if name in spec_names():
        path = resources.files("conf") / "table" / f"{name}.yaml"
    elif Path(name).is_file():
        path = Path(name)
    else:
        raise ValueError(f"`spec` must be a file or {one_of(name, spec_names())}")
    try:
        node = read_yaml(path)
    except OSError as error:
        raise ValueError(f"`spec` must be a file that can be read, got {name!r} ({error})") from error
    except ValueError as error:
        raise ValueError(f"`spec` must be YAML, got {name!r} ({error})") from error
    if not isinstance(node, dict):
        raise ValueError(f"`spec` must have settings by name, got {name!r}")
    return _spec(node)


def _spec(node: Mapping[str, Any]) -> Spec:
    allowed = [field.name for field in fields(Spec)]
    values: dict[str, Any] = {}
    for key, value in node.items():
        _check("spec", key, allowed)
        if value is None:  # the same as a key that is missing
            continue
        if key in ("rows", "columns", "metrics"):
            values[key] = _texts(key, value)
        elif key == "where":
            if not isinstance(value, dict):
                raise ValueError(f"`where` must have values by key, got {value!r}")
            values[key] = {name: _texts(name, each) for name, each in value.items()}
        elif key == "names":
            values[key] = names_of(value)
        elif key == "width":
            if not isinstance(value, int):
                raise ValueError(f"`width` must be {' or '.join(map(str, WIDTHS))} columns, got {value!r}")
            values[key] = value
        elif key in ("mixed", "published", "compare"):
            if not isinstance(value, bool):
                raise ValueError(f"`{key}` must be true or false, got {value!r}")
            values[key] = value
        elif not isinstance(value, str):
            raise ValueError(f"`{key}` must be a text, got {value!r}")
        else:
            values[key] = value
    return Spec(**values)


def _texts(key: str, value: Any) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    if not items or any(isinstance(item, dict | list) for item in items):
        raise ValueError(f"`{key}` must be a value or a list of values, got {value!r}")
    return tuple(hyperparameters.text(item) for item in items)


def _check(kind: str, name: str, allowed: Iterable[str]) -> None:
    allowed = list(allowed)
    if name not in allowed:
        raise ValueError(f"`{kind}` must name {one_of(name, allowed)}")
