"""What one try at a run has come to, as plain values: all that its record is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from bench.probes.probing import Rows
from bench.records.record import Status
from bench.training.curves import CURVES, Evaluation


@dataclass(frozen=True)
class Outcome:
    """How a try ended.

    Attributes:
        status: As in the record.
        reason: One line that says why it ended.
        traceback: Python's, where an exception ended it.
    """

    status: Status
    reason: str
    traceback: str | None = None


@dataclass(frozen=True)
class Result:
    """What there is of a try, however it ended; the defaults are those of a try that has made nothing.

    Attributes:
        outcome: How it ended.
        parameters: Trainable numbers of the network; ``None`` where the try ended before there was one.
        without_gradient: Names of those parameters that no step has given a gradient.
        steps: Updates made, up to and with a diverged one.
        solved_at: The step at which the task counts as solved; ``None`` where it does not.
        curves: For each name in :data:`bench.training.curves.CURVES` one value a step.
        evaluations: The looks at the evaluation set, the last one last.
        probes: What the probes measured, by table; empty where nothing was to be probed.
        looks_again: Metrics of further looks after the last step, of a run that ended undecided.
        test_metrics: Metrics of the one look at the test set; empty where there was none.
        wall_seconds: Time spent on the run, earlier tries included.
        train_seconds: Time of the training steps alone, earlier tries included.
        compile_seconds: Time that the engine took to compile.
        probe_seconds: Time that the probes took.
        kept: What is kept beside the record, by the name of its file; see :mod:`bench.runs.keeping`.
        costs: What the network costs; see :func:`bench.runs.costs.costs_of`.
    """

    outcome: Outcome
    parameters: int | None = None
    without_gradient: Sequence[str] = ()
    steps: int = 0
    solved_at: int | None = None
    curves: Mapping[str, Sequence[float]] = field(default_factory=lambda: dict.fromkeys(CURVES, ()))
    evaluations: Sequence[Evaluation] = ()
    probes: Rows = field(default_factory=dict)
    looks_again: Sequence[Mapping[str, float]] = ()
    test_metrics: Mapping[str, float] = field(default_factory=dict)
    wall_seconds: float = 0.0
    train_seconds: float = 0.0
    compile_seconds: float = 0.0
    probe_seconds: float = 0.0
    kept: Mapping[str, pa.Table | bytes] = field(default_factory=dict)
    costs: Mapping[str, int | str | None] = field(default_factory=dict)
