"""rnn-bench: how far recurrent cells carry information and gradient.

What people do at a prompt or in a notebook is here by name: :func:`load` the runs of a folder, :func:`run` new ones,
make a :func:`table`, :func:`load_model` a trained network for new inputs, measure and draw the :func:`gradient_flow` of
a module, write a :class:`Cell` or :class:`Task`. Each name is imported when it is first used, so that the import of
this package is light.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.analysis.collection import Runs, load
    from bench.analysis.run import Run
    from bench.cells import Cell
    from bench.config.explain import ConfigError
    from bench.probes.own import gradient_flow
    from bench.records.record import DamagedRecordWarning
    from bench.report.figures.gradient_flow import plot_flow
    from bench.report.tables.shown import ShownTable, table
    from bench.runs.call import run
    from bench.runs.outcome import LaunchError
    from bench.runs.trained import TrainedModel, load_model
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
    "TrainedModel",
    "gradient_flow",
    "load",
    "load_model",
    "plot_flow",
    "run",
    "table",
]

_HOMES = {
    "Batch": "tasks.base",
    "Cell": "bench.cells",
    "ConfigError": "bench.config.explain",
    "DamagedRecordWarning": "bench.records.record",
    "LaunchError": "bench.runs.outcome",
    "Run": "bench.analysis.run",
    "Runs": "bench.analysis.collection",
    "ShownTable": "bench.report.tables.shown",
    "Task": "tasks.base",
    "TrainedModel": "bench.runs.trained",
    "gradient_flow": "bench.probes.own",
    "load": "bench.analysis.collection",
    "load_model": "bench.runs.trained",
    "plot_flow": "bench.report.figures.gradient_flow",
    "run": "bench.runs.call",
    "table": "bench.report.tables.shown",
}
"""The module of each name."""


def _take_names() -> None:
    """Import the packages beside this one from where it is: a module of the user's may have the same name.

    Raises:
        ImportError: One of the names is taken already.
    """
    for name in ("conf", "tasks"):
        start = Path(__file__).parents[1] / name / "__init__.py"
        if name in sys.modules:
            found = sys.modules[name].__file__
            if found is None or not start.samefile(found):
                raise ImportError(f"{name} is a package of rnn-bench, and is {found} here: give that another name")
            continue
        spec = importlib.util.spec_from_file_location(name, start, submodule_search_locations=[str(start.parent)])
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])


_take_names()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bench' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
