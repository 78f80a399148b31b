"""From one composed config to checked objects: what can be wrong is found here, before anything is written."""

from __future__ import annotations

import contextlib
import inspect
import math
import os
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import hydra.utils
import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bench import mirror, record, runtime, streams
from bench.cells import Cell
from bench.cells.init import WeightRule
from bench.config import identity, numerics
from bench.data import DataConfig
from bench.engines import Choice, Engine, choose
from bench.engines.compiled import CHUNK
from bench.model import SequenceModel, hidden_size_for_budget, parameter_count
from bench.names import nearest
from bench.probes.probing import ProbeConfig, check_probes
from bench.rows import Sweep
from bench.runtime import RuntimeConfig
from bench.schema import Config, LauncherConfig, ModelConfig, TrainerConfig, check_arguments, locate
from bench.training import MakeOptimizer, TrainingConfig
from tasks.base import Task

RERUN = ("none", "failed", "all")
"""What to run again: nothing, what failed, or everything."""

T = TypeVar("T")


class ConfigError(ValueError):
    """A setting that cannot be run; one line that names the key, the value and what is allowed."""


@dataclass(frozen=True)
class Plan:
    """One run, checked and ready.

    Attributes:
        experiment: Name of the experiment.
        task_name: Name of the task.
        cell_name: Name of the cell.
        task: The task.
        hidden_size: Given, or found for the parameter budget.
        model_config: Settings of the network.
        engine: How its cells are unrolled.
        data: Settings of the data.
        training: Settings of the training.
        probe: What is measured while training.
        runtime: Settings of the process.
        device: Where it runs.
        precision: ``32`` or ``bf16-mixed``.
        launcher: How the runs of a sweep are shared out.
        rerun: What to run again: ``none``, ``failed`` or ``all``.
        seed: The seed.
        results_dir: Where records go.
        overrides: What it was composed with.
        asked: The same without what the experiment's settings add.
        row: Its place in the experiment's rows, ``key=value``.
        config: The resolved config, as plain containers.
        code: The code that it uses; see :func:`bench.config.identity.code_of`.
        run_id: The identity of the run.
        kind: The same for runs that differ in nothing but the seed.
    """

    experiment: str
    task_name: str
    cell_name: str
    task: Task
    hidden_size: int
    model_config: ModelConfig
    engine: Choice
    data: DataConfig
    training: TrainingConfig
    probe: ProbeConfig
    runtime: RuntimeConfig
    device: torch.device
    precision: str
    launcher: LauncherConfig
    rerun: str
    seed: int
    results_dir: Path
    overrides: list[str]
    asked: list[str]
    row: list[str]
    config: dict[str, Any]
    code: dict[str, Any]
    run_id: str
    kind: str

    @property
    def folder(self) -> Path:
        """Where the record goes."""
        return record.run_folder(self.results_dir, self.experiment, self.task_name, self.cell_name, self.run_id)

    @property
    def label(self) -> str:
        """Task, cell and seed, for messages."""
        return " ".join((self.task_name, *self.row, self.cell_name, f"seed={self.seed}"))

    def model(self) -> SequenceModel:
        """The network with its initial values, a function of the config and the seed; on the CPU."""
        model = _model(self.config, self.task, self.model_config, self.hidden_size, self.engine.engine)
        model.reset_parameters(
            streams.generator("init", self.seed), self.task.delay, cast(WeightRule, self.model_config.readout_init)
        )
        return model

    def shapes(self) -> dict[str, torch.Size]:
        """The shapes of all weights, by name, without allocating any."""
        model = _on_meta(self.config, self.task, self.model_config, self.hidden_size)
        return {name: value.shape for name, value in model.state_dict().items()}

    def make_optimizer(self) -> MakeOptimizer:
        """The optimiser's class with its settings."""
        return _make_optimizer(self.config)

    def make_logger(self) -> Any:
        """``RunInfo -> Logger | None``."""
        return hydra.utils.instantiate(self.config["logger"])


def build(
    cfg: DictConfig,
    choices: Mapping[str, str | None],
    overrides: list[str],
    say: Callable[[str], None] | None = None,
) -> Plan:
    """Check a composed config and build what it describes, without allocating the network.

    Args:
        cfg: The composed config, without the ``hydra`` node.
        choices: Hydra's choice for each config group.
        overrides: The overrides this job was composed with.
        say: Told when there is something to wait for.

    Raises:
        ConfigError: Anything wrong with it.
    """
    try:
        config = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    except OmegaConfBaseException as error:
        raise ConfigError(" ".join(str(error).split())) from error
    for name in Config.__dataclass_fields__:
        if name not in config:
            raise ConfigError(f"{name} must be given")
    for name in config:
        if name not in Config.__dataclass_fields__:
            raise ConfigError(f"{name} is no setting{nearest(name, Config.__dataclass_fields__)}")
    with _named(""):
        sweep = Sweep.read(config.pop("sweep"))
        sweep.check_budget(config["budget"])
    asked = sweep.asked(overrides, default_of(cfg, choices))
    with _named("task"):
        task = _instantiate_task(config)
    with _named("data"):
        data = _section(DataConfig, config["data"])
    with _named("training"):
        training = _section(TrainingConfig, config["training"])
    with _named("probe"):
        probe = _section(ProbeConfig, config["probe"])
    with _named("runtime"):
        runtime_config = _section(RuntimeConfig, config["runtime"])
        runtime.check(runtime_config)
    with _named("trainer"):
        trainer = _section(TrainerConfig, config["trainer"])
        device = runtime.resolve_device(trainer.accelerator)
        runtime.check_precision(trainer.precision, device)
    with _named(""):
        if not 0 <= config["seed"] < 2**63:
            raise ConfigError(f"`seed` must be >= 0 and < 2^63, got {config['seed']}")
        if config["rerun"] not in RERUN:
            raise ConfigError(f"`rerun` must be one of {', '.join(RERUN)}, got {config['rerun']!r}")
        results_dir = _writable(config["results_dir"])
    with _named("launcher"):
        launcher = _section(LauncherConfig, config["launcher"])
    with _named("cell"):
        cell_class = locate(config["cell"], "cell")
        if not (inspect.isclass(cell_class) and issubclass(cell_class, Cell)):
            raise ConfigError(
                f"`_target_` must name a subclass of bench.cells.Cell, got {config['cell']['_target_']!r}"
            )
        config["cell"] = check_arguments(config["cell"], "cell", supplied=("input_size", "hidden_size", "device"))
        cell = _smallest_cell(config)
    with _named("probe"):
        check_probes(probe, task, cell_class.gates, cell_class.__name__)
    with _named("model"):
        model_config = _section(ModelConfig, config["model"])
        hidden_size = _hidden_size(config, task, model_config)
        _on_meta(config, task, model_config, hidden_size)
        engine = choose(model_config.engine, cell, device, trainer.precision, say)
        if engine.engine == "compiled" and task.length < CHUNK:
            raise ConfigError(
                f"`engine` must be another one for sequences of {task.length} steps, as {CHUNK} are compiled together, "
                "got 'compiled'"
            )
    with _named("optimizer"):
        _check_optimizer(config)
    with _named("logger"):
        config["logger"] = check_arguments(config["logger"], "logger", supplied=("info",))
        if "mode" in config["logger"]:
            mirror.check_wandb(config["logger"]["mode"])
    science = identity.science(config, runtime_config, device, trainer.precision, engine.engine)
    with _named(""):
        code = identity.code_of(config, engine.engine)
    return Plan(
        experiment=(choices.get("experiment") or "default").replace("/", "-"),
        task_name=_name("task", config, choices, overrides),
        cell_name=_name("cell", config, choices, overrides),
        task=task,
        hidden_size=hidden_size,
        model_config=model_config,
        engine=engine,
        data=data,
        training=training,
        probe=probe,
        runtime=runtime_config,
        device=device,
        precision=trainer.precision,
        launcher=launcher,
        rerun=config["rerun"],
        seed=config["seed"],
        results_dir=results_dir,
        overrides=overrides,
        asked=asked,
        row=sweep.row_of(asked),
        config=config,
        code=code,
        run_id=record.run_id(science, numerics.code_hash(code["numerics"])),
        kind=record.run_id({**science, "seed": None}, ""),
    )


def default_of(cfg: DictConfig, choices: Mapping[str, str | None]) -> Callable[[str], Any]:
    """The value of a key where no override has it; of a config group such as the cell, its choice."""
    return lambda key: choices[key] if key in choices else OmegaConf.select(cfg, key)


@contextlib.contextmanager
def _named(section: str) -> Iterator[None]:
    """Turn an exception about `` `key` `` into one line about ``section.key``."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(_qualify(str(error), section)) from error
    except Exception as error:
        # A class of the user's, or torch asked for 10^10 units, can raise anything.
        message = textwrap.shorten(str(error) or type(error).__name__, 300, placeholder=" ...")
        raise ConfigError(_qualify(message, section)) from error


def _section(kind: type[T], settings: Mapping[str, Any]) -> T:
    """The dataclass of one section; ``+section.key=`` on the command line could have added to it."""
    names = [field.name for field in fields(cast(Any, kind))]
    for name in settings:
        if name not in names:
            raise ConfigError(f"`{name}` is no setting{nearest(name, names)}")
    return kind(**settings)


def _qualify(message: str, section: str) -> str:
    if message.startswith("`"):
        key, _, rest = message[1:].partition("`")
        return f"{key if key.startswith(f'{section}.') or not section else f'{section}.{key}'}{rest}"
    return f"{section}: {message}" if section else message


def _name(group: str, config: Mapping[str, Any], choices: Mapping[str, str | None], overrides: list[str]) -> str:
    """The YAML's name, or that of the class where the command line names another class than the YAML does."""
    if any(override.lstrip("+").startswith(f"{group}._target_=") for override in overrides):
        return str(config[group]["_target_"]).rpartition(".")[2]
    choice = choices.get(group)
    if not choice:
        raise ConfigError(f"{group} must be the name of one option, got {choice}")
    return choice.replace("/", "-")


def _instantiate_task(config: dict[str, Any]) -> Task:
    config["task"] = check_arguments(config["task"], "task")
    task_class = locate(config["task"], "task")
    if not (inspect.isclass(task_class) and issubclass(task_class, Task)):
        raise ConfigError(f"`_target_` must name a subclass of tasks.base.Task, got {config['task']['_target_']!r}")
    return task_class(**{name: value for name, value in config["task"].items() if not name.startswith("_")})


def _make_cell(config: Mapping[str, Any]) -> partial[Cell]:
    """The cell's class with its settings; by way of Hydra, so that nested nodes are made too."""
    return hydra.utils.instantiate({**config["cell"], "_partial_": True})


def _smallest_cell(config: Mapping[str, Any]) -> Cell:
    """One cell without memory, made so that what is wrong with its settings is said under its name."""
    with torch.device("meta"):
        make = _make_cell(config)
        return make.func(1, 1, **make.keywords)


def _model(
    config: Mapping[str, Any], task: Task, settings: ModelConfig, hidden_size: int, engine: Engine
) -> SequenceModel:
    return SequenceModel(
        _make_cell(config),
        input_size=task.input_size,
        output_size=task.output_size,
        hidden_size=hidden_size,
        layers=settings.layers,
        dropout=settings.dropout,
        readout=task.readout,
        engine=engine,
    )


def _on_meta(config: Mapping[str, Any], task: Task, settings: ModelConfig, hidden_size: int) -> SequenceModel:
    with torch.device("meta"):
        return _model(config, task, settings, hidden_size, "stepwise")


def _hidden_size(config: Mapping[str, Any], task: Task, settings: ModelConfig) -> int:
    size, budget = settings.hidden_size, settings.parameter_budget
    if size is None and budget is None:
        raise ConfigError("`hidden_size` must be given where parameter_budget is null, got null")
    if size is not None and budget is not None:
        raise ConfigError(f"`hidden_size` must be null where parameter_budget is given ({budget}), got {size}")
    if budget is None:
        assert size is not None
        if size < 1:
            raise ConfigError(f"`hidden_size` must be >= 1, got {size}")
        return size
    return hidden_size_for_budget(lambda h: parameter_count(_on_meta(config, task, settings, h)), budget)


def _make_optimizer(config: Mapping[str, Any]) -> MakeOptimizer:
    return hydra.utils.instantiate({**config["optimizer"], "_partial_": True}, _convert_="all")


def _check_optimizer(config: dict[str, Any]) -> None:
    node = config["optimizer"] = check_arguments(config["optimizer"], "optimizer", supplied=("params",))
    for name, value in node.items():
        if isinstance(value, bool) or not isinstance(value, float | int):
            continue
        sign = ">" if name == "lr" else ">="
        if not math.isfinite(value) or value < 0 or (value == 0 and name == "lr"):
            raise ValueError(f"`{name}` must be a finite number {sign} 0, got {value}")
        if name == "alpha" and value >= 1:
            raise ValueError(f"`{name}` must be >= 0 and < 1, got {value}")
    for name, value in node.items():
        if isinstance(value, list) and not all(0 <= item < 1 for item in value):
            raise ValueError(f"`{name}` must be numbers >= 0 and < 1, got {value}")
    _make_optimizer(config)([torch.nn.Parameter(torch.zeros(1))])


def _writable(results_dir: str) -> Path:
    """The results folder, checked up to its first existing parent; nothing is created."""
    if not results_dir:
        raise ConfigError("`results_dir` must be the name of a folder, got ''")
    path = Path(results_dir).expanduser()
    existing = path.absolute()
    while not existing.exists():
        if existing.is_symlink():
            raise ConfigError(f"`results_dir` must be a folder, got {results_dir!r}, where {existing} leads nowhere")
        existing = existing.parent
    if not existing.is_dir():
        raise ConfigError(f"`results_dir` must be a folder, got {results_dir!r}, where {existing} is a file")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ConfigError(f"`results_dir` must be writable, got {results_dir!r}, where {existing} is not")
    return path
