"""rnn-bench: how far recurrent cells carry information and gradient.

What people do at a prompt or in a notebook is here by name: :func:`load` the runs of a folder, :func:`run` new ones,
make a :func:`table`, measure and draw the :func:`gradient_flow` of a module, write a :class:`Cell` or :class:`Task`.
Each name is imported when it is first used, so that the import of this package is light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.analysis.collection import DamagedRecordWarning, Runs, load
    from bench.analysis.run import Run
    from bench.cells import Cell
    from bench.config.explain import ConfigError
    from bench.probes.own import gradient_flow
    from bench.report.figures.gradient_flow import plot_flow
    from bench.report.tables.shown import ShownTable, table
    from bench.runs.call import run
    from bench.runs.sweeper import LaunchError
    from tasks.base import Batch, Task

__version__ = "0.1.0"

__all__ = [
    "Batch",
    "Cell",
    "ConfigError",
    "DamagedRecordWarning",
    "LaunchError",
    "Run",
    "Runs",
    "ShownTable",
    "Task",
    "gradient_flow",
    "load",
    "plot_flow",
    "run",
    "table",
]

_HOMES = {
    "Batch": "tasks.base",
    "Cell": "bench.cells",
    "ConfigError": "bench.config.explain",
    "DamagedRecordWarning": "bench.analysis.collection",
    "LaunchError": "bench.runs.sweeper",
    "Run": "bench.analysis.run",
    "Runs": "bench.analysis.collection",
    "ShownTable": "bench.report.tables.shown",
    "Task": "tasks.base",
    "gradient_flow": "bench.probes.own",
    "load": "bench.analysis.collection",
    "plot_flow": "bench.report.figures.gradient_flow",
    "run": "bench.runs.call",
    "table": "bench.report.tables.shown",
}
"""The module of each name."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bench' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
