"""What every entry of ``record.json`` must be on which tables and figures rely; other entries may be there as well."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from bench.records.older import Direction
from bench.records.record import Status

Name = Annotated[str, Meta(pattern=r"\A\w[\w.-]*\Z", description="letters, digits, -, . and _")]
"""What can name a folder, and no other than its own."""
Settings = dict[str, Any]
Number = float | None
Scores = dict[str, Number]


class _Trainer(Struct):
    precision: str


class _Config(Struct):
    task: Settings
    cell: Settings
    model: Settings
    optimizer: Settings
    data: Settings
    training: Settings
    trainer: _Trainer


class _Code(Struct):
    sources: str
    cell: str
    numerics: dict[str, str] = {}


class _Device(Struct):
    type: str
    name: str


class _Runtime(Struct):
    threads: int


class _Model(Struct):
    parameters: int | None
    cell_year: int | None = None


class _TaskFacts(Struct):
    metric: str
    higher_is_better: bool
    extra_metrics: list[str]
    baselines: Scores
    directions: dict[str, Direction] = {}


class _Metrics(Struct):
    eval: Scores
    test: Scores


class _Times(Struct):
    wall_seconds: Number
    steps_per_second: Number
    milliseconds_per_step: Number


class RecordFile(Struct, forbid_unknown_fields=True):
    """``record.json``: the entries of a :class:`bench.records.record.Record` and the version of their layout."""

    schema: int
    run_id: Name
    experiment: Name
    task: Name
    cell: Name
    seed: int
    status: Status
    reason: str
    traceback: str | None
    command: str
    config: _Config
    code: _Code
    libraries: dict[str, str]
    device: _Device
    runtime: _Runtime
    model: _Model
    task_facts: _TaskFacts
    solved: bool
    steps_to_solve: int | None
    steps: int
    metrics: _Metrics
    time: _Times
