"""Many runs, as somebody at a prompt or in a notebook looks at them: chosen by settings, and as pandas frames.

The frames belong to this wing since they are numbers of runs, before any of it is text or a picture. They are in a
module of their own since they need pandas, which no command does.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, overload

import numpy as np
import pandas as pd
import pyarrow as pa

from bench.analysis.hyperparameters import as_text, hashable, listed
from bench.analysis.metrics import COSTS, REACHES, cost_of, probed
from bench.analysis.run import Run, garbage_left, read_reaches, read_runs
from bench.errors import one_of
from bench.records.record import DamagedRecordError, DamagedRecordWarning

IDENTITY = ("run", "task", "cell", "seed")
"""The columns that every tidy frame begins with."""


class Runs(Sequence[Run]):
    """Runs in the order of their folders.

    Args:
        runs: The runs.
        damaged: What is wrong with the records that could not be read.

    Attributes:
        damaged: One error for each record or table that could not be read and is left out.
    """

    def __init__(self, runs: Iterable[Run], damaged: Iterable[DamagedRecordError] = ()) -> None:
        self._runs = tuple(runs)
        self.damaged = list(damaged)

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)

    @overload
    def __getitem__(self, index: int) -> Run: ...

    @overload
    def __getitem__(self, index: slice) -> Runs: ...

    def __getitem__(self, index: int | slice) -> Run | Runs:
        return Runs(self._runs[index], self.damaged) if isinstance(index, slice) else self._runs[index]

    def where(self, settings: Mapping[str, Any] | None = None, **more: Any) -> Runs:
        """Choose the runs that have given settings.

        Values are compared as overrides are: 1, 1.0 and ``"1e0"`` are the same.

        Args:
            settings: A value or a list of values for each key, as in ``{"task.length": [100, 200]}``. Keys are
                ``status``, ``seed`` and those of :attr:`bench.analysis.run.Run.settings`.
            more: The same for keys without a dot, as in ``cell="lstm"``.

        Raises:
            ValueError: None of the runs has such a key.
        """
        known = list(dict.fromkeys(key for run in self for key in _settings(run)))
        wanted = {}
        for key, value in {**(settings or {}), **more}.items():
            if key not in known:
                raise ValueError(f"`where` must name {one_of(key, known)}")
            wanted[key] = {as_text(each) for each in listed(value)}
        chosen = (run for run in self if all(as_text(_settings(run).get(key)) in wanted[key] for key in wanted))
        return Runs(chosen, self.damaged)

    def frame(self) -> pd.DataFrame:
        """Return one row for each run.

        The columns are what the run is (``run``, ``task``, ``cell``, ``seed``, ``experiment``, ``status``), its
        settings by the keys of ``bench table``, what came out (``solved``, ``steps_to_solve``, ``test.<metric>``,
        ``eval.<metric>``, reach, rate and growth of the gradient before and after training) and what it cost
        (``hidden_size``, ``parameters``, ``multiply_adds``, ``memory_megabytes``, ``steps``, ``wall_seconds`` and other
        times). What a run does not have is missing. Lyapunov
        exponents are in :meth:`activity`.
        """
        with garbage_left():
            return pd.DataFrame([_row(run) for run in self], columns=None if len(self) else [*IDENTITY, "status"])

    def curves(self) -> pd.DataFrame:
        """Return the training curves with one row for each step, or for each step that a published copy keeps."""
        return self._tidy("curves")

    def flow(self) -> pd.DataFrame:
        """Return the norm of the gradient over ``lag``, for each look of the probes, layer and part of the state."""
        return self._tidy("flow")

    def activity(self) -> pd.DataFrame:
        """Return statistics of the gates and of the hidden state, one value a row."""
        return self._tidy("activity")

    def gradients(self) -> pd.DataFrame:
        """Return norms of the gradients of the parameters, one value a row."""
        return self._tidy("gradients")

    def _tidy(self, name: str) -> pd.DataFrame:
        """Return one table of every run below each other, the run in front; one that cannot be read is warned of."""

        def read(run: Run) -> pa.Table | DamagedRecordError:
            try:
                return getattr(run, name)
            except DamagedRecordError as error:
                return error

        runs, tables = [], []
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for run, table in zip(self, pool.map(read, self), strict=True):
                if isinstance(table, DamagedRecordError):
                    _warn(self.damaged, [table])
                else:
                    runs.append(run)
                    tables.append(table.drop_columns(["run"] if "run" in table.column_names else []))
        # Thinned curves say in their metadata what they were made from, each something else.
        whole = [table.replace_schema_metadata(None) for table in tables]
        frame = pa.concat_tables(whole, promote_options="permissive").to_pandas() if whole else pd.DataFrame()
        counts = [table.num_rows for table in tables]
        for place, column in enumerate(IDENTITY):
            values = [getattr(run, "run_id" if column == "run" else column) for run in runs]
            frame.insert(place, column, np.repeat(values, counts) if values else [])
        return frame

    def _summary(self) -> pd.DataFrame:
        """Return one line for each task and cell of an experiment."""

        def told(statuses: Iterable[str]) -> str:
            return ", ".join(f"{count} {status}" for status, count in Counter(statuses).items())

        groups = self.frame().groupby(["experiment", "task", "cell"], sort=False)
        columns = {"runs": ("status", "size"), "solved": ("solved", "sum"), "status": ("status", told)}
        return groups.agg(**columns).reset_index()

    @property
    def _title(self) -> str:
        damaged = f", {len(self.damaged)} damaged" if self.damaged else ""
        return f"{len(self)} run{'s' if len(self) != 1 else ''}{damaged}"

    def __repr__(self) -> str:
        return "\n".join([self._title, *([self._summary().to_string(index=False)] if len(self) else [])])

    def _repr_html_(self) -> str:
        return f"<p>{self._title}</p>{self._summary().to_html(index=False, border=0) if len(self) else ''}"


def load(folder: str | os.PathLike[str] = "results") -> Runs:
    """Read all runs below a folder.

    What cannot be read is left out with a warning, and kept as ``runs.damaged``.

    Args:
        folder: A results folder, or any folder within one.

    Raises:
        ValueError: There is no record below the folder.
    """
    runs, damaged = read_runs(Path(folder))
    if not runs and not damaged:
        raise ValueError(f"`folder` must hold records, found none below {str(folder)!r}")
    return completed(runs, damaged)


def completed(runs: Sequence[Run], damaged: Iterable[DamagedRecordError]) -> Runs:
    """Read the reach of runs, warn of what cannot be read, and return them as a collection."""
    found = Runs(runs)
    _warn(found.damaged, [*damaged, *read_reaches(runs)])
    return found


def _warn(kept: list[DamagedRecordError], damaged: Iterable[DamagedRecordError]) -> None:
    """Warn of what is damaged, and keep it; what is known already is not told again."""
    known = set(map(str, kept))
    for error in damaged:
        if str(error) not in known:
            kept.append(error)
            warnings.warn(str(error), DamagedRecordWarning, stacklevel=4)


def _settings(run: Run) -> dict[str, Any]:
    """Return the settings by which runs are chosen."""
    return {"status": run.status, "seed": run.seed, **run.settings}


def _row(run: Run) -> dict[str, Any]:
    """Return one row of :meth:`Runs.frame`."""
    made = run.record
    return {
        "run": run.run_id,
        "task": run.task,
        "cell": run.cell,
        "seed": run.seed,
        "experiment": run.experiment,
        "status": run.status,
        "solved": made.solved,
        "steps_to_solve": made.steps_to_solve,
        "steps": made.steps,
        **{f"test.{name}": value for name, value in made.metrics["test"].items()},
        **{f"eval.{name}": value for name, value in made.metrics["eval"].items()},
        **{metric: probed(run, metric) for metric in REACHES},
        **{metric: cost_of(run, metric) for metric in COSTS},
        "engine": made.model.get("engine"),
        "device": made.device["name"],
        **made.time,
        **{
            key: hashable(value)
            for key, value in run.settings.items()
            if key not in ("task", "cell", "experiment", "model.engine", "device")
        },
        "commit": made.code.get("commit"),
    }
