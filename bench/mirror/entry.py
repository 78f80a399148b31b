"""What a run is in W&B beside its history: names, config as people filter it, and summary. Pure.

The names are stable: dashboards and saved filters hang on them.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.analysis.run import Run
from bench.records.record import FINAL, RECORD_FILE, Record

LEFT_OUT = ("logger", "launcher", "results_dir", "rerun")
"""Sections of the config that change no number, and may name folders."""
FIELDS: tuple[str, ...] = ("task", "cell", "seed", "experiment", "id")
"""What ``logger.name`` and ``logger.group`` may have in braces."""
NAME, GROUP = "{task} {cell} seed={seed}", "{experiment}"
"""Name and group of a run, where neither the config nor W&B's own variables have another one."""
DETAIL_GLOB = "detail/*"
"""Metrics that are left out of automatic charts; see :data:`bench.mirror.history.DETAIL`."""
DIGEST = "record"
"""The key of the summary that has the digest of the record: a run with this digest is there already."""


@dataclass(frozen=True)
class Entry:
    """One run as W&B has it.

    Attributes:
        id: The run's id in W&B, see :func:`id_for`.
        name: What it is called in lists.
        group: The runs that it stands with.
        job_type: The name of its task.
        tags: Words to filter by.
        notes: A text of the user's.
    """

    id: str
    name: str
    group: str
    job_type: str
    tags: tuple[str, ...]
    notes: str | None


def entry_of(record: Record, asked: Mapping[str, Any]) -> Entry:
    """Return names and tags of a run.

    Args:
        record: Its record.
        asked: What the user wants of ``name``, ``group``, ``tags`` and ``notes``; what is missing or ``None`` is ours.

    Raises:
        ValueError: A name or group with other fields than :data:`FIELDS`.
    """
    return named(asked, record.task, record.cell, record.seed, record.experiment, record.run_id)


def named(asked: Mapping[str, Any], task: str, cell: str, seed: int, experiment: str, run_id: str) -> Entry:
    """Return names and tags of a run, for :func:`entry_of`, before there is a record.

    Raises:
        ValueError: A name or group with other fields than :data:`FIELDS`.
    """
    fields = dict(zip(FIELDS, (task, cell, seed, experiment, run_id), strict=True))
    tags = asked.get("tags")
    return Entry(
        id=id_for(run_id, experiment),
        name=filled("name", asked.get("name") or NAME, fields),
        group=filled("group", asked.get("group") or GROUP, fields),
        job_type=task,
        tags=(cell, task) if tags is None else tuple(str(each) for each in tags),
        notes=asked.get("notes"),
    )


def id_for(run_id: str, experiment: str) -> str:
    """Return the id that a run has in W&B: one run may belong to several experiments, and is then in each of them."""
    return run_id if experiment == "default" else re.sub(r"[^A-Za-z0-9_-]", "-", f"{run_id}-{experiment}")


def filled(key: str, text: str, fields: Mapping[str, Any]) -> str:
    """Return a text with its fields filled in.

    Raises:
        ValueError: It has other fields, or cannot be read.
    """
    try:
        names = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
        if names <= set(FIELDS):
            return text.format(**fields)
    except ValueError:
        pass
    raise ValueError(f"`{key}` may have {', '.join(f'{{{name}}}' for name in FIELDS)} in braces, got {text!r}")


def config_of(record: Record) -> dict[str, Any]:
    """Return the config of a run: what people filter and group by first, and all settings as they were resolved."""
    facts = record.task_facts
    return {
        **{name: section for name, section in record.config.items() if name not in LEFT_OUT},
        "task_name": record.task,
        "cell_name": record.cell,
        "experiment": record.experiment,
        "budget": record.config.get("budget"),
        "run_id": record.run_id,
        "seed": record.seed,
        "delay": facts.get("delay"),
        "length": facts.get("length"),
        "hidden_size": record.model.get("hidden_size"),
        "parameters": record.model.get("parameters"),
        "engine": record.model.get("engine"),
        "device_type": record.device["type"],
        "device_name": record.device["name"],
        "version": record.code.get("version"),
        "commit": record.code.get("commit"),
        "numerics": record.code.get("numerics"),
    }


def summary_of(run: Run) -> dict[str, Any]:
    """Return the summary of a run that has ended; the best and the last score of the evaluations is W&B's own work.

    Args:
        run: The run, with its reach and its exponents where they were measured.
    """
    record = run.record
    found: dict[str, Any] = {
        "status": record.status,
        # As a number, so that its mean over seeds is the share that has solved the task.
        "solved": int(record.solved),
        "steps_to_solve": record.steps_to_solve,
        "steps": record.steps,
        "baseline": record.task_facts["baselines"]["loss"],
        "parameters": record.model["parameters"],
        "ms_per_step": record.time["milliseconds_per_step"],
        "steps_per_second": record.time["steps_per_second"],
        "wall_seconds": record.time["wall_seconds"],
    }
    found |= {f"test/{name}": value for name, value in record.metrics["test"].items()}
    for when, reach in (("untrained", run.reach and run.reach.start), ("trained", run.reach and run.reach.end)):
        if reach is not None:
            found |= {f"{what}/{when}": getattr(reach, what) for what in ("reach", "rate", "growth")}
    if run.exponents is not None:
        found |= {"lyapunov/untrained": run.exponents.start, "lyapunov/trained": run.exponents.end}
    return found


def directions_of(record: Record) -> dict[str, str]:
    """Return which end of each score of the evaluations is the best, ``min`` or ``max``."""
    return {f"eval/{name}": "max" if way == "higher" else "min" for name, way in record.directions.items()}


def digest_of(folder: Path) -> str:
    """Return a text that is the same for the same record: sixteen hexadecimal digits of SHA-256 over its file."""
    return hashlib.sha256((folder / RECORD_FILE).read_bytes()).hexdigest()[:16]


def exit_code_of(record: Record) -> int:
    """Return what the run ended with: 0 for a result, 1 for anything else."""
    return 0 if record.status in FINAL else 1
