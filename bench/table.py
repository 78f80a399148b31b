"""A table before it is text: rows, columns, and the number in each place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bench import layout, summary
from bench.layout import Row
from bench.record import Record
from bench.summary import Journeys, Number
from bench.table_spec import Spec


@dataclass(frozen=True)
class Table:
    """Rows and columns of runs, with what is to be shown of them.

    Attributes:
        spec: What was asked for.
        rows: See :class:`bench.layout.Row`.
        columns: Column labels.
        journeys: How far the gradient travels, by run id.
    """

    spec: Spec
    rows: list[Row]
    columns: list[str]
    journeys: Journeys

    @classmethod
    def of(cls, records: Iterable[Record], spec: Spec, journeys: Journeys) -> Table:
        """The table of a set of records.

        Raises:
            ValueError: See :meth:`bench.table_spec.Spec.chosen` and :func:`bench.layout.arrange_by`.
        """
        chosen = spec.chosen(records)
        if spec.rows is None and spec.columns is None:
            rows, columns = layout.arrange(chosen)
        else:
            keys = spec.rows if spec.rows is not None else ("task",), spec.columns or ("cell",)
            rows, columns = layout.arrange_by(chosen, *keys, mixed=spec.mixed)
        return cls(spec, rows, columns, journeys)

    @property
    def runs(self) -> list[Record]:
        """All runs that it shows."""
        return [run for row in self.rows for members in row.runs.values() for run in members]

    def metrics(self, row: Row) -> list[str]:
        """What is shown of a row."""
        if self.spec.metrics is not None:
            return list(self.spec.metrics)
        travelled = any(run.run_id in self.journeys for members in row.runs.values() for run in members)
        facts = row.facts
        return [
            summary.SOLVED,
            facts["metric"],
            *facts["extra_metrics"],
            summary.STEPS,
            *(summary.HORIZONS if travelled else ()),
            summary.PARAMETERS,
            summary.SPEED,
        ]

    def number(self, row: Row, column: str, metric: str) -> Number | None:
        """One number; ``None`` where there are no runs."""
        runs = row.runs.get(column, [])
        statistic = summary.default_statistic(metric, self.spec.statistic)
        return summary.estimate(runs, metric, statistic, self.journeys) if runs else None
