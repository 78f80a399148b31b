"""From one composed config to a checked run spec: what can be wrong is found before anything is written."""

from __future__ import annotations

import contextlib
import inspect
import math
import textwrap
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar, cast

import msgspec
import torch
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bench import shapes
from bench.cells import Cell
from bench.config import identity, memory, numerics
from bench.config.checks import (
    RERUN,
    check_keeping,
    check_optimizer,
    check_sizes,
    check_task,
    check_threads,
    hidden_size_of,
    results_folder,
)
from bench.config.command import default_of
from bench.config.explain import ConfigError, explain
from bench.config.launchers import ClusterConfig, kind_of
from bench.config.network import Network, check_step, model_on_meta, smallest_cell
from bench.config.place import Place, device_of, engine_of, settle
from bench.config.run_spec import RunSpec, Sections
from bench.config.schema import Config, ModelConfig, TrainerConfig
from bench.config.sweep_grid import SweepGrid
from bench.config.targets import check_arguments, locate, named, parameters_of
from bench.config.tune import TuningConfig
from bench.engines import Choice
from bench.engines.compiled import CHUNK
from bench.errors import as_override, is_stop, nearest, shown
from bench.probes.probing import check_probes
from bench.probes.settings import ProbeConfig
from bench.records import record
from bench.records.validation import Name
from bench.training import process
from bench.training.data import steps_per_epoch
from bench.training.settings import DataConfig, RuntimeConfig, TrainingConfig
from tasks.base import Task
from tasks.data_set import DataSet

T = TypeVar("T")


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
    config = _plain(cfg)
    seed = _seed(config)
    for group in ("task", "cell", "optimizer"):
        with _named(group):
            config[group] = _of_its_class(config[group], group, overrides)
    names = {group: _name(group, config, choices, overrides) for group in ("task", "cell")}
    experiment = (choices.get("experiment") or "default").replace("/", "-")
    names["experiment"] = _section(TuningConfig, config, "tuning").folder(experiment)
    with _named(""):
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
        return _with_seed(alike[key], seed, overrides, asked, sweep.row_of(asked))
    task = _task(config)
    sections = _in_steps(config, task, _sections(config, place))
    scaled = _scaled(config, sections.data)
    shortest = min(each.length for each in (task, *scaled.values()))
    cell = _check_cell(config, task, sections.probe)
    _check_memory(config, task, scaled, sections, cell)
    network = _network(config, task, shortest, sections, say, place)
    _check_memory(config, task, scaled, sections, cell, network.hidden_size)
    _check_optimizer_and_logger(config)
    for name, value in _values(config, ""):
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{name} must be a finite number, got {value}")
    with _named(""):
        engine = network.engine.engine
        settings = identity.science(config, sections.runtime, sections.device, sections.precision, engine)
        made = {"task": task, "cell": cell, "optimizer": locate(config["optimizer"], "optimizer")}
        code = identity.code_of(config, engine, made)
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
    seed = config["seed"]
    if not 0 <= seed < 2**63:
        raise ConfigError(f"seed must be >= 0 and < 2^63, got {seed}")
    return seed


def _with_seed(spec: RunSpec, seed: int, overrides: list[str], asked: list[str], row: list[str]) -> RunSpec:
    """Return a run that differs from another one in the seed alone, and in what it was composed with."""
    config = {**spec.config, "seed": seed}
    run_id = _run_id(spec, config, spec.runtime)
    return replace(spec, seed=seed, overrides=overrides, asked=asked, row=row, config=config, run_id=run_id)


def run_id_with_threads(spec: RunSpec, threads: int) -> str:
    """Return the id that a run has with another number of threads, which adds its numbers up in another order."""
    return _run_id(spec, spec.config, replace(spec.runtime, threads=threads))


def _run_id(spec: RunSpec, config: Mapping[str, Any], runtime: RuntimeConfig) -> str:
    settings = identity.science(config, runtime, spec.device, spec.precision, spec.network.engine.engine)
    return record.run_id(settings, numerics.code_hash(spec.code["numerics"]))


def _plain(cfg: DictConfig) -> dict[str, Any]:
    """Return the config as plain containers, with all sections that there must be and no other."""
    try:
        # What refers to a missing value would be an error of its own.
        for key, value in _values(OmegaConf.to_container(cfg, resolve=False), ""):
            if value == MISSING:
                raise ConfigError(f"{key} must be given, got ???")
        config = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error)) from error
    except RecursionError as error:
        raise ConfigError("the config must not nest as deeply, or refer to itself") from error
    for name in Config.__dataclass_fields__:
        if name not in config:
            raise ConfigError(f"{name} must be given")
    for name in config:
        if name not in Config.__dataclass_fields__:
            raise ConfigError(f"{name} is no setting{nearest(name, Config.__dataclass_fields__)}")
    for key, value in _values(config, ""):
        if isinstance(value, int) and not -(2**63) <= value < 2**63 and key != "seed":
            raise ConfigError(f"{key} must be >= -2^63 and < 2^63, got {shown(value)}")
    return config


def _values(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Yield the values below a node, with their keys; those of a list have its key."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _values(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for value in node:
            yield from _values(value, key)
    else:
        yield key, node


def _of_its_class(node: Any, group: str, overrides: list[str]) -> Any:
    """Return a node; if the command line names another class than the YAML, without those settings that it lacks."""
    keys = [override.lstrip("+~").partition("=")[0] for override in overrides]
    given = {".".join(key.split(".")[:2]) for key in keys}
    if f"{group}._target_" not in given or not isinstance(node, dict):
        return node
    taken = set(parameters_of(locate(node, group)))
    if group == "optimizer":
        taken &= {"lr"}  # All else has another meaning, or a default of its own.
    return {key: value for key, value in node.items() if key[:1] == "_" or key in taken or f"{group}.{key}" in given}


def _task(config: dict[str, Any]) -> Task:
    """Return the task; its node takes the types of the class's arguments."""
    with _named("task"):
        node = config["task"] = check_arguments(config["task"], "task")
        task_class = locate(node, "task")
        if not (inspect.isclass(task_class) and issubclass(task_class, Task)):
            raise ConfigError(f"`_target_` must name a subclass of tasks.base.Task, got {node['_target_']!r}")
        task = task_class(**{name: value for name, value in node.items() if not name.startswith("_")})
        memory.check_sequences(task, config, torch.device("cpu"))
        check_task(task)
        return task


def _scaled(config: Mapping[str, Any], data: DataConfig) -> dict[str, Task]:
    """Return the task at each of ``data.test_scales``, its delay rounded to a whole number, by the factor as a text."""
    node, found = config["task"], {}
    task_class = cast(type[Task], locate(node, "task"))
    settings = {name: value for name, value in node.items() if not name.startswith("_")}
    for scale in data.test_scales or ():
        key = task_class.scaled_by
        if key not in settings:
            raise ConfigError(f"data.test_scales must be null for {task_class.__name__}, whose scaled_by is {key!r}")
        if not scale * settings[key] < 2**63:
            raise ConfigError(f"data.test_scales must have no {scale:g}, at which {key} is not < 2^63")
        try:
            task = task_class(**{**settings, key: round(scale * settings[key])})
            memory.check_sequences(task, config, torch.device("cpu"))
            check_task(task)
        except Exception as error:
            reason = f"which the task at {key} {round(scale * settings[key])} does not allow: {error}"
            raise ConfigError(_short(f"data.test_scales must have no {scale:g}, {reason}")) from error
        found[f"{scale:g}"] = task
    return found


def _sections(config: Mapping[str, Any], place: Place | None) -> Sections:
    """Return the sections with a fixed set of keys, and the values that stand by themselves."""
    runtime = _section(RuntimeConfig, config, "runtime")
    with _named("runtime"):
        check_threads(runtime)
        process.check(runtime)
    with _named("launcher"):
        launcher_kind = kind_of(config["launcher"])
    launcher = _section(launcher_kind, config, "launcher")
    elsewhere = isinstance(launcher, ClusterConfig) and place is None
    with _named(""):
        runtime, trainer = settle(runtime, _section(TrainerConfig, config, "trainer"), launcher, place)
    with _named("trainer"):
        device = device_of(trainer, elsewhere=elsewhere)
    with _named(""):
        rerun = config["rerun"]
        if rerun not in RERUN:
            raise ConfigError(f"`rerun` must be one of {', '.join(RERUN)}, got {rerun!r}")
        results_dir = results_folder(config["results_dir"])
    return Sections(
        data=_section(DataConfig, config, "data"),
        training=_section(TrainingConfig, config, "training"),
        probe=_section(ProbeConfig, config, "probe"),
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
    with _named("data"):
        check_sizes(sections.data, task)
    with _named("training"):
        check_keeping(sections.training, sections.data, task)
        training = sections.training.in_steps(steps_per_epoch(task, sections.data))
    if isinstance(task, DataSet):
        task.tested = sections.data.test_size
    config["training"] |= {"max_steps": training.max_steps, "eval_every": training.eval_every}
    return replace(sections, training=training)


def _check_cell(config: dict[str, Any], task: Task, probe: ProbeConfig) -> Cell:
    """Check the cell by one of one unit without memory, and return that; its node takes the types of the arguments."""
    with _named("cell"):
        cell_class = locate(config["cell"], "cell")
        if not (inspect.isclass(cell_class) and issubclass(cell_class, Cell)):
            raise ConfigError(
                f"`_target_` must name a subclass of bench.cells.Cell, got {config['cell']['_target_']!r}"
            )
        if _is_from_elsewhere(config["cell"]):
            named(config["cell"]["module"], "cell.module")
        config["cell"] = check_arguments(config["cell"], "cell", supplied=("input_size", "hidden_size", "device"))
        cell = smallest_cell(config["cell"])
        check_step(config["cell"])
    with _named("probe"):
        check_probes(probe, task, cell.gates, cell_class.__name__)
    return cell


def _is_from_elsewhere(node: Mapping[str, Any]) -> bool:
    """Return whether a cell is a module from elsewhere, named by ``module`` and by the arguments of its class."""
    arguments = node.get("arguments")
    return isinstance(arguments, Mapping) and arguments.get("_target_") == node.get("module")


def _check_memory(
    config: Mapping[str, Any],
    task: Task,
    scaled: Mapping[str, Task],
    sections: Sections,
    cell: Cell,
    hidden_size: int | None = None,
) -> None:
    """Refuse a run that takes far more memory than there is; without a hidden size, as if it were the least."""
    settings = _section(ModelConfig, config, "model")
    hidden = hidden_size or settings.hidden_size or 1
    found = memory.estimate(
        task,
        scaled.values(),
        sections.data,
        sections.training,
        sections.probe,
        cell,
        max(1, settings.layers),
        max(1, hidden),
    )
    with _named(""):
        if not sections.elsewhere:
            memory.check(found, config, sections.device)


def _network(
    config: Mapping[str, Any],
    task: Task,
    shortest: int,
    sections: Sections,
    say: Callable[[str], None] | None,
    place: Place | None,
) -> Network:
    """Return the network, its hidden size checked by one without memory, with the engine that unrolls its cells.

    ``shortest`` is the number of steps of the shortest sequences that it will see.
    """
    settings = _section(ModelConfig, config, "model")
    with _named("model"):
        if settings.bidirectional and sections.probe.enabled:
            raise ConfigError("`bidirectional` must be false where the probes are on (probe=none), got true")
        hidden_size = hidden_size_of(config["cell"], task, settings)
        model = model_on_meta(config["cell"], task, settings, hidden_size)
        engine = _engine(settings.engine, config["cell"], model.layers, sections, say, place)
        if engine.engine == "compiled" and shortest < CHUNK:
            raise ConfigError(
                f"`engine` must be another one for sequences of {shortest} steps, as {CHUNK} are compiled together, "
                "got 'compiled'"
            )
    return Network(task, config["cell"], settings, hidden_size, engine)


_ENGINES: dict[Hashable, Choice] = {}
"""Engines that this process has chosen, by all that the choice rests on; to generate one takes up to a second."""


def _engine(
    asked: str,
    node: Mapping[str, Any],
    cells: list[Cell],
    sections: Sections,
    say: Callable[[str], None] | None,
    place: Place | None,
) -> Choice:
    sizes = [(type(cell), cell.input_size, cell.hidden_size) for cell in cells]
    key = (asked, repr(node), tuple(sizes), sections.device, sections.precision, sections.elsewhere, place)
    if key not in _ENGINES:
        where = (sections.device, sections.precision, say, sections.launcher, place)
        _ENGINES[key] = engine_of(asked, cells, *where)
    return _ENGINES[key]


def _check_optimizer_and_logger(config: dict[str, Any]) -> None:
    """Check what is made only when the run is; the nodes take the types of the arguments."""
    with _named("optimizer"):
        check_optimizer(config)
    with _named("logger"):
        config["logger"] = check_arguments(config["logger"], "logger", supplied=("spec", "draft"))


@contextlib.contextmanager
def _named(section: str) -> Iterator[None]:
    """Turn an exception about `` `key` `` into one line about ``section.key``."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(_qualify(str(error), section)) from error
    except BaseException as error:
        # A class of the user's, or torch asked for 10^10 units, can raise anything; some end the process.
        if is_stop(error):
            raise
        ends = not isinstance(error, Exception)
        text = f"{type(error).__name__} {error}" if ends else str(error) or type(error).__name__
        raise ConfigError(_qualify(_short(text), section)) from error


def _short(text: str) -> str:
    """Return a text in one line; what torch raises has a dozen."""
    return textwrap.shorten(text, 300, placeholder=" ...")


def _section(kind: type[T], config: Mapping[str, Any], section: str) -> T:
    """Return the dataclass of one section; ``+section.key=`` on the command line could have added to it."""
    names = [field.name for field in fields(cast(Any, kind))]
    with _named(section):
        for name in config[section]:
            if name not in names:
                raise ConfigError(f"`{name}` is no setting{nearest(name, names)}")
        return kind(**config[section])


def _qualify(message: str, section: str) -> str:
    if message.startswith("`"):
        key, _, rest = message[1:].partition("`")
        return f"{key if key.startswith(f'{section}.') or not section else f'{section}.{key}'}{rest}"
    return f"{section}: {message}" if section else message


def _name(group: str, config: Mapping[str, Any], choices: Mapping[str, str | None], overrides: list[str]) -> str:
    """Return the YAML's name, or that of the class where the command line names another class than the YAML does."""
    for key in ("_target_", *(("module",) if _is_from_elsewhere(config[group]) else ())):
        if any(override.lstrip("+").startswith(f"{group}.{key}=") for override in overrides):
            return str(config[group][key]).rpartition(".")[2]
    choice = choices.get(group)
    if not choice:
        raise ConfigError(f"{group} must be the name of one option, got {choice}")
    return choice.replace("/", "-")
