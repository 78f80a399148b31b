"""How an experiment is tuned: its ``sweep.tune`` node, and what a run says of its part in a tuning. Pure."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, get_args

from bench.errors import one_of

Sampler = Literal["random", "tpe"]

ROLES = ("trial", "tuned")
SAMPLERS: tuple[str, ...] = get_args(Sampler)


@dataclass
class TuningConfig:
    """What a run of ``bench tune`` is for. The command sets it; it changes no number, and names the run's folder.

    Attributes:
        role: ``trial``, a run that tries a setting, or ``tuned``, a run of the best one; ``None`` for any other run.
        trials: Of a tuned run, the number of trials that its setting is the best of, at least 1; else ``None``.
        seeds: Of a tuned run, the number of seeds of each trial, at least 1; else ``None``.
        sampler: Of a tuned run, what drew the settings, ``random`` or ``tpe``; else ``None``.
    """

    role: str | None
    trials: int | None
    seeds: int | None
    sampler: str | None

    def __post_init__(self) -> None:
        if self.role is not None and self.role not in ROLES:
            raise ValueError(f"`role` must be null or {one_of(self.role, ROLES)}")
        for name in (each.name for each in fields(self) if each.name != "role"):
            value = getattr(self, name)
            if (value is not None) != (self.role == "tuned"):
                needed = "given where role is tuned" if self.role == "tuned" else "null where role is not tuned"
                raise ValueError(f"`{name}` must be {needed}, got {'null' if value is None else value}")
            if isinstance(value, int) and value < 1:
                raise ValueError(f"`{name}` must be >= 1, got {value}")
        if self.sampler is not None and self.sampler not in SAMPLERS:
            raise ValueError(f"`sampler` must be {one_of(self.sampler, SAMPLERS)}")

    def folder(self, experiment: str) -> str:
        """Return the name under which runs of an experiment are kept: trials and tuned runs have folders of their own.

        What is the best of 30 trials is another result than the best of 60, so that the number is part of the name.
        """
        return experiment + {None: "", "trial": "-trials", "tuned": f"-tuned{self.trials}"}[self.role]


@dataclass(frozen=True)
class Tune:
    """The ``sweep.tune`` node of an experiment, checked.

    Attributes:
        space: Name of the space in ``conf/space/`` or ``space/`` of the user's folder, or the path of a YAML.
        trials: Trials of each cell on each task, at least 1.
        seeds: The seeds of each trial, different ones.
        sampler: ``random`` or ``tpe``.
        per_round: Trials of each cell that are drawn together, at least 1; results count from the next round on.
        prune: Whether a trial that is worse than the median of those before it gets no further seeds.
        score: The score of the evaluation set that is optimised, ``None`` for the task's metric.
    """

    space: str
    trials: int
    seeds: tuple[int, ...]
    sampler: Sampler
    per_round: int
    prune: bool
    score: str | None

    def __post_init__(self) -> None:
        for name in ("trials", "per_round"):
            if getattr(self, name) < 1:
                raise ValueError(f"`sweep.tune.{name}` must be >= 1, got {getattr(self, name)}")
        if not self.seeds or len({*self.seeds}) < len(self.seeds):
            raise ValueError(f"`sweep.tune.seeds` must be a list of different seeds, got {[*self.seeds]}")
        if self.prune and len(self.seeds) == 1:
            raise ValueError("`sweep.tune.prune` must be false where a trial has one seed, got true")
