"""What every entry of ``record.json`` must be on which tables and figures rely; other entries may be there as well."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta, Raw, Struct

from bench.errors import one_of, shown
from bench.records.older import Direction
from bench.records.record import Status

Name = Annotated[str, Meta(pattern=r"\A\w[\w.-]*\Z", description="letters, digits, -, . and _")]
"""What can name a folder, and no other than its own."""
Count = Annotated[int, Meta(ge=0, le=2**63 - 1, description="an integer >= 0 and < 2^63")]
Settings = dict[str, Any]
Number = float | None
Scores = dict[str, Number]


class _Trainer(Struct):
    precision: str


class _Training(Struct):
    max_steps: Count = 0


class _Probe(Struct, frozen=True):
    enabled: bool = False
    inputs: bool = False
    exponents: Count = 0


class _Config(Struct):
    task: Settings
    cell: Settings
    model: Settings
    optimizer: Settings
    data: Settings
    training: _Training
    trainer: _Trainer
    probe: _Probe = _Probe()


class _Code(Struct):
    sources: str
    cell: str
    numerics: dict[str, str] = {}


class _Device(Struct):
    type: str
    name: str


class _Runtime(Struct):
    threads: Count


class _Weights(Struct):
    sha256: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z", description="64 hexadecimal digits")]


class _Model(Struct):
    parameters: Count | None
    multiply_adds: Count | None = None
    memory_bytes: Count | None = None
    cell_year: Count | None = None
    weights: _Weights | None = None


class _TaskFacts(Struct):
    metric: str
    higher_is_better: bool
    extra_metrics: list[str]
    baselines: Scores
    directions: dict[str, Direction] = {}
    references: dict[str, Scores] = {}


class _Metrics(Struct):
    eval: Scores
    test: Scores


class _Times(Struct):
    wall_seconds: Number
    steps_per_second: Number
    milliseconds_per_step: Number


MOST_LEVELS = 50
"""How deep a record may nest; readers follow it level by level."""


class RecordFile(Struct, forbid_unknown_fields=True):
    """``record.json``: the entries of a :class:`bench.records.record.Record` and the version of their layout."""

    schema: int
    run_id: Name
    experiment: Name
    task: Name
    cell: Name
    seed: Count
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
    steps_to_solve: Count | None
    steps: Count
    metrics: _Metrics
    time: _Times


class RecordParts(Struct, forbid_unknown_fields=True):
    """The same entries, without a look at what they hold; those that many records share are not decoded yet."""

    schema: Any
    run_id: Any
    experiment: Any
    task: Any
    cell: Any
    seed: Any
    status: Any
    reason: Any
    traceback: Any
    command: Any
    config: dict[str, Raw]
    code: Raw
    libraries: Raw
    device: Raw
    runtime: Raw
    model: Any
    task_facts: Raw
    solved: Any
    steps_to_solve: Any
    steps: Any
    metrics: Any
    time: Any


def check_together(data: Mapping[str, Any]) -> None:
    """Check what a type alone does not say of the entries of a :class:`RecordFile`.

    Raises:
        ValueError: The task's metric is no score, the step of the solution is after the last step, or the command is
            not one that a shell can read.
    """
    facts = data["task_facts"]
    if facts["metric"] not in facts["baselines"]:
        raise ValueError(f"`task_facts.metric` must be {one_of(facts['metric'], facts['baselines'])}")
    solved_at, command = data["steps_to_solve"], data["command"]
    most = max(data["steps"], data["config"]["training"].get("max_steps", 0))
    if solved_at is not None and solved_at > most:
        raise ValueError(f"`steps_to_solve` must be null or at most the steps of the run ({most}), got {solved_at}")
    if set(command) & set("'\"\\"):
        try:
            shlex.split(command)
        except ValueError as error:
            raise ValueError(f"`command` must be words as a shell reads them, got {shown(command)}") from error


def readable(node: Any, *, keeps_lines: bool = False, level: int = 0) -> Any:
    """Return a record's containers with all texts as they may be shown.

    Characters that steer a terminal or turn the direction of a text are shown as what stands for them in Python, as in
    ``\\x1b``. Lines are kept in tracebacks and in what the user has noted for a logger.

    Raises:
        ValueError: It nests too deeply.
    """
    if isinstance(node, str):
        return node if node.isprintable() else "".join(_shown(each, keeps_lines) for each in node)
    if level == MOST_LEVELS and isinstance(node, dict | list):
        raise ValueError(f"must have at most {MOST_LEVELS} levels, got more")
    if isinstance(node, dict):
        return {
            readable(name): readable(value, keeps_lines=keeps_lines or name in ("traceback", "logger"), level=level + 1)
            for name, value in node.items()
        }
    return (
        [readable(value, keeps_lines=keeps_lines, level=level + 1) for value in node]
        if isinstance(node, list)
        else node
    )


def _shown(character: str, keeps_lines: bool) -> str:
    kept = character.isprintable() or (keeps_lines and character in "\n\t")
    return character if kept else character.encode("unicode_escape").decode("ascii")
