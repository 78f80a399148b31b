"""Records made up for tests of the code that reads records."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from bench.analysis.run import Run
from bench.analysis.table import Spec
from bench.records import older
from bench.records.record import Record
from bench.records.series import curves_table
from bench.records.write import commit, prepare
from bench.report.tables.render import render


def make(**changes: Any) -> Record:
    """Make a record as a run would write it."""
    settings: dict[str, Any] = {
        "run_id": "abc",
        "experiment": "default",
        "task": "adding_problem",
        "cell": "gru",
        "seed": 0,
        "status": "completed",
        "reason": "stopped at max_steps 100",
        "traceback": None,
        "command": "bench run seed=0",
        "config": {
            "task": {"_target_": "tasks.adding_problem.AddingProblem", "length": 100, "markers": "halves"},
            "cell": {
                "_target_": "bench.cells.gru.GRUCell",
                "init": {"input": "torch"},
                "reset": "after",
                "initial_state": "zeros",
            },
            "model": {"hidden_size": 8, "layers": 1, **older.SECTIONS["model"]},
            "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.01},
            "data": {"batch_size": 4, **older.SECTIONS["data"]},
            "training": {"max_steps": 100, **older.SECTIONS["training"]},
            "trainer": {"precision": "32"},
        },
        "code": {"version": "0.1.0", "sources": "s1", "cell": "c1", "commit": None, "dirty": None},
        "libraries": {"torch": "2.13.0"},
        "device": {"type": "cpu", "name": "a processor", "machine": "x86_64", "system": "Linux"},
        "runtime": {"threads": 1, "flush_subnormals": True, "deterministic": True, "tf32": False},
        "model": {"hidden_size": 8, "engine": "fused", "parameters": 1234},
        "task_facts": {
            "metric": "mse",
            "higher_is_better": False,
            "extra_metrics": ["within_tolerance"],
            "length": 100,
            "delay": 100,
            "baselines": {"loss": 1 / 6, "mse": 1 / 6, "within_tolerance": 0.0784},
        },
        "solved": False,
        "steps_to_solve": None,
        "steps": 100,
        "metrics": {"eval": {"mse": 0.1}, "test": {"loss": 0.1, "mse": 0.1, "within_tolerance": 0.2}},
        "time": {
            "wall_seconds": 2.0,
            "train_seconds": 1.0,
            "steps_per_second": 100.0,
            "milliseconds_per_step": 10.0,
        },
    }
    return Record(**(settings | changes))


CURVES = curves_table({"train_loss": [3.0, 2.0, 1.0]}, [{"step": 2, "mse": 0.5}])


def write(folder: Path, made: Record) -> None:
    commit(prepare(folder), folder, made, CURVES, {})


CONFIG = make().config | {"training": {"max_steps": 3000}}


def changed(config: dict[str, Any], **sections: Any) -> dict[str, Any]:
    return config | {name: config[name] | values for name, values in sections.items()}


def run(cell: str, seed: int, mse: float | None = None, solved_at: int | None = None, **changes: Any) -> Run:
    metrics = {"loss": mse, "mse": mse, "within_tolerance": 0.5} if mse is not None else {}
    settings: dict[str, Any] = {
        "run_id": f"{cell}{seed}{changes.get('config', '')}{changes.get('code', '')}{changes.get('task', '')}",
        "cell": cell,
        "seed": seed,
        "config": changed(CONFIG, cell={"_target_": f"bench.cells.{cell}"}),
        "command": f"bench run task=adding_problem cell={cell} seed={seed} results_dir=elsewhere",
        "solved": solved_at is not None,
        "steps_to_solve": solved_at,
        "metrics": {"eval": {}, "test": metrics},
    }
    return Run(make(**(settings | changes)), Path())


def copy_run(cell: str, seed: int, recall: float) -> Run:
    return run(
        cell,
        seed,
        task="copy_memory",
        command=f"bench run task=copy_memory cell={cell} seed={seed}",
        config={**CONFIG, "task": {"_target_": "tasks.copy_memory.CopyMemory", "delay": 10, "form": "scalar"}},
        metrics={"eval": {}, "test": {"recall": recall, "exact": recall / 10, "loss": 1 - recall}},
        task_facts={
            "metric": "recall",
            "higher_is_better": True,
            "extra_metrics": ["exact", "loss"],
            "length": 30,
            "delay": 10,
            "baselines": {"recall": 0.125, "exact": 0.125**10, "loss": 0.693147},
        },
    )


SWEEP = [
    *[run("rnn", seed, mse) for seed, mse in enumerate([0.1671, 0.1802, 0.1699])],
    *[run("lstm", seed, mse, at) for seed, (mse, at) in enumerate([(0.0012, 900), (0.0031, 1200), (0.15, None)])],
    run("gru", 0, 0.00045, 400),
    run("gru", 1, 0.00051, 500),
    run("gru", 2, status="diverged", reason="loss not finite at step 7"),
    run("gru", 3, status="failed", reason="RuntimeError: no"),
    *[
        copy_run(cell, seed, round(0.1 * index + 0.01 * seed, 3))
        for index, cell in enumerate(("rnn", "lstm", "gru"), 1)
        for seed in range(6)
    ],
]
"""Runs of two tasks and three cells, of which some have not solved, one has diverged, and one has failed."""


def csv_of(runs: list[Run], spec: Spec | None = None) -> dict[tuple[str, str], dict[str, str]]:
    """The lines of a CSV of one row by column and metric."""
    lines = list(csv.DictReader(io.StringIO(render(runs, "csv", spec))))
    found = {(line["column"], line["metric"]): line for line in lines}
    assert len(found) == len(lines)
    return found
