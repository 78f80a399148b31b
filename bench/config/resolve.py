"""From one composed config to a checked run spec: what can be wrong is found before anything is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec
from omegaconf import DictConfig

from bench import shapes
from bench.config import identity, numerics
from bench.config.checks import RERUN, check_keeping, check_sizes, check_threads, results_folder
from bench.config.command import default_of
from bench.config.explain import ConfigError
from bench.config.launchers import ClusterConfig, kind_of
from bench.config.parts import check_cell, check_memory, check_optimizer_and_logger, network_of, scaled_tasks, task_of
from bench.config.place import Place, device_of, settle
from bench.config.plain import check_seed, name_of, naming, of_its_class, plain, section, values
from bench.config.run_spec import RunSpec, Sections
from bench.config.schema import TrainerConfig
from bench.config.sweep_grid import SweepGrid
from bench.config.targets import locate
from bench.config.tune import TuningConfig
from bench.errors import as_override
from bench.probes.settings import ProbeConfig
from bench.records import record
from bench.records.validation import Name
from bench.training import process
from bench.training.data import steps_per_epoch
from bench.training.settings import DataConfig, RuntimeConfig, TrainingConfig
from tasks.base import Task
from tasks.data_set import DataSet


class _Names(msgspec.Struct):
    """What names the folders of a run."""

    experiment: Name
    task: Name
    cell: Name


def build(
    cfg: DictConfig,
    choices: Mapping[str, str | None],
    overrides: list[str],
    say: Callable[[str], None] | None = None,
    alike: dict[str, RunSpec] | None = None,
    place: Place | None = None,
) -> RunSpec:
    """Check a composed config and build what it describes, without allocating the network.

    Args:
        cfg: The composed config, without the ``hydra`` node.
        choices: Hydra's choice for each config group.
        overrides: The overrides this job was composed with.
        say: Told when there is something to wait for.
        alike: Runs that have been built before, by a text of everything but the seed; this one joins them. A run that
            differs from one of them in the seed alone is not checked again.
        place: What the plan has decided for this run, where it is made; ``None`` where it is planned.

    Raises:
        ConfigError: Anything wrong with it.
    """
    config = plain(cfg)
    seed = _seed(config)
    for group in ("task", "cell", "optimizer"):
        with naming(group):
            config[group] = of_its_class(config[group], group, overrides)
    names = {group: name_of(group, config, choices, overrides) for group in ("task", "cell")}
    experiment = (choices.get("experiment") or "default").replace("/", "-")
    names["experiment"] = section(TuningConfig, config, "tuning").folder(experiment)
    with naming(""):
        shapes.convert(names, _Names)
        sweep = SweepGrid.read(config.pop("sweep"))
        budget, budgets = config["budget"], sweep.budgets
        if budgets and budget not in budgets:
            raise ConfigError(f"`budget` must be one of {', '.join(budgets)}, got {as_override(budget)}")
    asked = sweep.asked(overrides, default_of(cfg, choices))
    if sweep.search is not None:
        asked.append("sweep.search=null")  # One run of a search is made by itself.
    key = repr((names, {**config, "seed": None}))
    if alike is not None and key in alike:
        return replace(with_seed(alike[key], seed, overrides), asked=asked, row=sweep.row_of(asked))
    task = task_of(config)
    sections = _in_steps(config, task, _sections(config, place))
    scaled = scaled_tasks(config, sections.data)
    shortest = min(each.length for each in (task, *scaled.values()))
    cell = check_cell(config, task, sections.probe)
    check_memory(config, task, scaled, sections, cell)
    network = network_of(config, task, shortest, sections, say, place)
    check_memory(config, task, scaled, sections, cell, network.hidden_size)
    check_optimizer_and_logger(config)
    for name, value in values(config, ""):
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{name} must be a finite number, got {value}")
    with naming(""):
        settings = identity.science(config, sections.runtime, sections.device, sections.precision, network.engine)
        made = {"task": task, "cell": cell, "optimizer": locate(config["optimizer"], "optimizer")}
        code = identity.code_of(config, network.engine, made)
        run_id = record.run_id(settings, numerics.code_hash(code["numerics"]))
        kind = record.run_id({**settings, "seed": None}, "")
    spec = RunSpec(
        **vars(sections),
        network=network,
        scaled_tasks=scaled,
        experiment=names["experiment"],
        task_name=names["task"],
        cell_name=names["cell"],
        overrides=overrides,
        asked=asked,
        row=sweep.row_of(asked),
        config=config,
        code=code,
        run_id=run_id,
        kind=kind,
    )
    if alike is not None:
        alike[key] = spec
    return spec


def _seed(config: Mapping[str, Any]) -> int:
    check_seed(config["seed"])
    return config["seed"]


def with_seed(spec: RunSpec, seed: int, overrides: list[str]) -> RunSpec:
    """Return a run that differs from another one in the seed alone, and in what it was composed with."""
    config = {**spec.config, "seed": seed}
    asked = [f"seed={seed}" if text.startswith("seed=") else text for text in spec.asked]
    run_id = _run_id(spec, config, spec.runtime)
    return replace(spec, seed=seed, overrides=overrides, asked=asked, config=config, run_id=run_id)


def run_id_with_threads(spec: RunSpec, threads: int) -> str:
    """Return the id that a run has with another number of threads, which adds its numbers up in another order."""
    return _run_id(spec, spec.config, replace(spec.runtime, threads=threads))


def _run_id(spec: RunSpec, config: Mapping[str, Any], runtime: RuntimeConfig) -> str:
    settings = identity.science(config, runtime, spec.device, spec.precision, spec.network.engine)
    return record.run_id(settings, numerics.code_hash(spec.code["numerics"]))


def _sections(config: Mapping[str, Any], place: Place | None) -> Sections:
    """Return the sections with a fixed set of keys, and the values that stand by themselves."""
    runtime = section(RuntimeConfig, config, "runtime")
    with naming("runtime"):
        check_threads(runtime)
        process.check(runtime)
    with naming("launcher"):
        launcher_kind = kind_of(config["launcher"])
    launcher = section(launcher_kind, config, "launcher")
    elsewhere = isinstance(launcher, ClusterConfig) and place is None
    with naming(""):
        runtime, trainer = settle(runtime, section(TrainerConfig, config, "trainer"), launcher, place)
    with naming("trainer"):
        device = device_of(trainer, elsewhere=elsewhere)
    with naming(""):
        rerun = config["rerun"]
        if rerun not in RERUN:
            raise ConfigError(f"`rerun` must be one of {', '.join(RERUN)}, got {rerun!r}")
        results_dir = results_folder(config["results_dir"])
    return Sections(
        data=section(DataConfig, config, "data"),
        training=section(TrainingConfig, config, "training"),
        probe=section(ProbeConfig, config, "probe"),
        runtime=runtime,
        device=device,
        precision=trainer.precision,
        seed=config["seed"],
        rerun=rerun,
        results_dir=results_dir,
        launcher=launcher,
        elsewhere=elsewhere,
    )


def _in_steps(config: dict[str, Any], task: Task, sections: Sections) -> Sections:
    """Return the sections with a training that counts in steps, which the config then has as well."""
    with naming("data"):
        check_sizes(sections.data, task)
    with naming("training"):
        check_keeping(sections.training, sections.data, task)
        training = sections.training.in_steps(steps_per_epoch(task, sections.data))
    if isinstance(task, DataSet):
        task.tested = sections.data.test_size
    config["training"] |= {"max_steps": training.max_steps, "eval_every": training.eval_every}
    return replace(sections, training=training)
