"""From a run spec and the result of a try to what is stored: the record, its curves, and the tables of its probes."""

from __future__ import annotations

import hashlib
import platform
import textwrap
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import pyarrow as pa
import torch

from bench.cells import Cell
from bench.config.run_spec import RunSpec
from bench.config.targets import locate
from bench.records import provenance
from bench.records.record import FINAL, WEIGHTS_FILE, Record
from bench.records.series import curves_table, probe_table
from bench.runs.result import Outcome, Result
from bench.training import process
from tasks.base import Task
from tasks.data_set import DataSet

COLUMNS = {"loss": "train_loss", "grad_norm": "grad_norm", "grad_norm_clipped": "grad_norm_clipped"}
"""The name that each curve of :data:`bench.training.curves.CURVES` has in the record."""


def record_of(spec: RunSpec, result: Result, command: str, runtime: Mapping[str, object]) -> Record:
    """Return the record of a try.

    Args:
        spec: What was run.
        result: What came of it.
        command: The command line that makes this run.
        runtime: How the process was set up, see :func:`bench.training.process.set_up`.
    """
    outcome, facts = result.outcome, _task_facts(spec.task, spec.scaled_tasks)
    if isinstance(spec.task, DataSet):
        outcome, facts["references"] = _references(spec.task, outcome)
    return Record(
        run_id=spec.run_id,
        experiment=spec.experiment,
        task=spec.task_name,
        cell=spec.cell_name,
        seed=spec.seed,
        status=outcome.status,
        reason=provenance.without_home(outcome.reason),
        traceback=provenance.without_home(outcome.traceback) if outcome.traceback is not None else None,
        command=provenance.without_home(command),
        config={**spec.config, "results_dir": provenance.without_home(spec.config["results_dir"])},
        code=spec.code,
        libraries={"python": platform.python_version(), **provenance.library_versions()},
        device=_device(spec.device),
        runtime=dict(runtime),
        model=_model_facts(spec, result),
        task_facts=facts,
        solved=result.solved_at is not None,
        steps_to_solve=result.solved_at,
        steps=result.steps,
        metrics={
            "eval": dict(result.evaluations[-1].metrics) if result.evaluations else {},
            "test": dict(result.test_metrics),
            **{f"again_{number}": dict(each) for number, each in enumerate(result.looks_again, start=1)},
        },
        time=_times(result),
    )


def curves_of(result: Result) -> pa.Table:
    """Return the curves as the record keeps them: a row a step, with the evaluations up to the last step."""
    evaluations = [
        {"step": row.step, **row.metrics, "train_seconds": row.seconds}
        for row in result.evaluations
        if row.step <= len(result.curves["loss"])
    ]
    return curves_table({column: result.curves[name] for name, column in COLUMNS.items()}, evaluations)


def probes_of(spec: RunSpec, result: Result) -> dict[str, pa.Table]:
    """Return the tables of the probes as the record keeps them; nothing after the step at which a loss diverged."""
    return {
        name: probe_table(name, spec.run_id, [row for row in rows if row[0] <= result.steps])
        for name, rows in result.probes.items()
    }


def _device(device: torch.device) -> dict[str, str]:
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        found = {"name": torch.cuda.get_device_name(device), "capability": f"sm_{major}{minor}"}
    else:
        # Processors of one name may have other vector units, which add in another order.
        found = {"name": process.processor_name(), "capability": torch.backends.cpu.get_cpu_capability()}
    return {"type": device.type, **found, "machine": platform.machine(), "system": platform.system()}


def _model_facts(spec: RunSpec, result: Result) -> dict[str, Any]:
    weights = result.kept.get(WEIGHTS_FILE)
    kept = {}
    if isinstance(weights, bytes):
        kept = {"weights": {"sha256": hashlib.sha256(weights).hexdigest(), "bytes": len(weights)}}
    parameters, budget = result.parameters, spec.network.settings.parameter_budget
    return {
        "hidden_size": spec.network.hidden_size,
        "engine": spec.network.engine.engine,
        "engine_note": spec.network.engine.note,
        "loss_engine": spec.network.engine.loss,
        "parameters": parameters,
        **result.costs,
        "without_gradient": list(result.without_gradient),
        "cell_year": cast(type[Cell], locate(spec.config["cell"], "cell")).year,
        "parameter_budget": budget,
        "budget_residual": parameters - budget if parameters is not None and budget is not None else None,
        **kept,
    }


def _task_facts(task: Task, scaled: Mapping[str, Task]) -> dict[str, Any]:
    further = {f"{name}@{at}": value for at, other in scaled.items() for name, value in other.baselines.items()}
    return {
        "metric": task.metric,
        "higher_is_better": task.higher_is_better,
        "extra_metrics": list(task.extra_metrics),
        "length": task.length,
        "delay": task.delay,
        "baselines": task.baselines | further,
        "directions": task.directions,
    }


def _references(task: DataSet, outcome: Outcome) -> tuple[Outcome, Mapping[str, Any]]:
    """Return the scores that a result is set beside, and how the run has ended; no error of theirs loses a training."""
    if outcome.status not in FINAL:
        return outcome, {}
    try:
        return outcome, task.references
    except Exception as error:  # noqa: BLE001
        reason = f"{outcome.reason}; no references, {type(error).__name__}: {error}"
        return replace(outcome, reason=textwrap.shorten(reason, 300, placeholder=" ...")), {}


def _times(result: Result) -> dict[str, float | None]:
    steps, seconds = result.steps, result.train_seconds
    timed = steps > 0 and seconds > 0
    return {
        "wall_seconds": result.wall_seconds,
        "train_seconds": seconds,
        "compile_seconds": result.compile_seconds,
        "probe_seconds": result.probe_seconds,
        "steps_per_second": steps / seconds if timed else None,
        "milliseconds_per_step": 1000 * seconds / steps if timed else None,
    }
