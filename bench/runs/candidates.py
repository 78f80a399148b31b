"""What ``bench tune`` looks for the best setting of: each cell on each task, with all of its space tried out before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig

from bench.analysis.hyperparameters import flat
from bench.config import identity
from bench.config.command import grid_of
from bench.config.explain import ConfigError
from bench.config.run_spec import RunSpec
from bench.config.tune import Tune
from bench.errors import as_override, one_of
from bench.records.older import Direction
from bench.tuning.journal import Study
from bench.tuning.space import Dimension, Space, covering
from bench.tuning.trials import Trial, best_of

SpecsOf = Callable[[list[list[str]]], list[RunSpec]]
"""Composes and checks runs from their overrides."""
NO_KEYS = ("seed", "task", "results_dir", "rerun", "budget", "sweep", "tuning", "logger", "launcher")
"""Sections without a setting that can be searched over: they are not of the network or its training."""


@dataclass
class Candidate:
    """One cell on one task, of which the best setting is looked for.

    Attributes:
        overrides: What its runs are composed with, but for the seed and what is searched over.
        seeds: Those of the experiment, with which the best setting is run.
        spec: A run of it, at the first value of everything.
        name: The name of its study.
        metric: The score that is optimised.
        dimensions: What is searched over.
        study: Its trials; ``None`` where nothing is written and there are none.
        made: The runs of each trial, by its number.
    """

    overrides: tuple[str, ...]
    seeds: list[str]
    spec: RunSpec
    name: str
    metric: str
    dimensions: tuple[Dimension, ...]
    study: Study | None = None
    made: dict[int, list[RunSpec]] = field(default_factory=dict)

    @property
    def direction(self) -> Direction:
        """Which end of the score is the better one."""
        return self.spec.task.directions[self.metric]

    @property
    def trials(self) -> list[Trial]:
        """Its trials in their order."""
        return [] if self.study is None else self.study.trials

    @property
    def open(self) -> list[Trial]:
        """Those that have not ended."""
        return [each for each in self.trials if each.state == "open"]

    @property
    def best(self) -> Trial | None:
        """The best of its trials; ``None`` if none has a result."""
        return best_of(self.trials, self.direction)

    def at(self, values: Mapping[str, Any]) -> list[str]:
        """Return the overrides of a run at some values of what is searched over."""
        return _at(self.overrides, values)

    def settings(self, tune: Tune) -> dict[str, Any]:
        """Return what all trials share, by key: a journal with anything else is that of another tuning."""
        spec, keys = self.spec, [each.key for each in self.dimensions]
        science = flat(identity.science(spec.config, spec.runtime, spec.device, spec.precision, spec.network.engine))
        shared = {
            key: value
            for key, value in science.items()
            if key != "seed" and not any(key == each or key.startswith(f"{each}.") for each in keys)
        }
        return {
            "sweep.tune.seeds": [*tune.seeds],
            "sweep.tune.sampler": tune.sampler,
            "sweep.tune.per_round": tune.per_round,
            "sweep.tune.prune": tune.prune,
            "sweep.tune.score": self.metric,
            "sweep.tune.space": "; ".join(each.described() for each in self.dimensions),
            **shared,
            **{f"code of {name}": version for name, version in spec.code["numerics"].items()},
        }


def candidates_of(
    jobs: list[list[str]], space: Space, tune: Tune, config: DictConfig, specs_of: SpecsOf
) -> list[Candidate]:
    """Return each cell on each task; nothing is trained.

    Args:
        jobs: The overrides of each run of the experiment.
        space: What is searched over.
        tune: How.
        config: The config of the command.
        specs_of: See :data:`SpecsOf`.

    Raises:
        ConfigError: A run cannot be made at some value of the space, or a seed of the trials is one of the experiment.
    """
    seeds: dict[tuple[str, ...], list[str]] = {}
    for job in (_without_sweep(each) for each in jobs):
        line = tuple(text for text in job if not text.startswith("seed="))
        own = next((text.partition("=")[2] for text in job if text.startswith("seed=")), str(config.seed))
        seeds.setdefault(line, []).append(own)
    if both := sorted({str(seed) for seed in tune.seeds} & {each for own in seeds.values() for each in own}):
        raise ConfigError(f"sweep.tune.seeds must have none of the experiment's own seeds, got {', '.join(both)}")
    params = [key for key in config.hydra.sweeper.params or {} if key not in ("task", "cell", "seed")]
    return [_candidate(line, own, params, space, tune, specs_of) for line, own in seeds.items()]


def _candidate(
    line: tuple[str, ...], seeds: list[str], params: Sequence[str], space: Space, tune: Tune, specs_of: SpecsOf
) -> Candidate:
    ends = f"seed={tune.seeds[0]}", "tuning.role=trial"
    (plain,) = specs_of([[*line, *ends]])
    try:
        dimensions = space.of(plain.cell_name)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    try:
        spec, *_ = specs_of([[*_at(line, values), *ends] for values in covering(dimensions)])
    except ConfigError as error:
        raise ConfigError(f"{space.name}, {plain.task_name} {plain.cell_name}: {error}") from error
    if tune.score is not None and tune.score not in spec.task.baselines:
        raise ConfigError(f"sweep.tune.score must be {one_of(tune.score, spec.task.baselines)}")
    swept = [text for text in line if text.partition("=")[0] in params]
    row = [text for text in spec.row if not any(each.endswith(f".{text}") for each in swept)]
    name = " ".join((spec.task_name, *row, spec.cell_name, *swept))
    return Candidate(line, seeds, spec, name, tune.score or spec.task.metric, dimensions)


def check_keys(space: Space, config: DictConfig, overrides: Sequence[str]) -> None:
    """Make sure that what is searched over is a setting of networks or their training, and that nothing else sets it.

    Raises:
        ConfigError: It is not.
    """
    keys = {each.key for own in (space.every, *space.cells.values()) for each in own}
    if ours := sorted(key for key in keys if key.partition(".")[0] in NO_KEYS):
        raise ConfigError(f"{space.name} must have keys of the network and its training, got {ours[0]}")
    if given := sorted(keys & {text.lstrip("+~").partition("=")[0] for text in overrides}):
        raise ConfigError(f"{given[0]} must not be on the command line, where {space.name} searches over it")
    if looked := sorted(keys & grid_of(config).conditions):
        raise ConfigError(f"sweep.settings must not look at what is searched over, got {looked[0]}")


def _without_sweep(job: list[str]) -> list[str]:
    """Return the overrides of a run without those that say how it is tuned, which are none of its own."""
    return [text for text in job if not text.lstrip("+~").startswith(("sweep.", "sweep="))]


def _at(overrides: Sequence[str], values: Mapping[str, Any]) -> list[str]:
    kept = [text for text in overrides if text.lstrip("+").partition("=")[0] not in values]
    return [*kept, *(f"{key}={as_override(value)}" for key, value in values.items())]
