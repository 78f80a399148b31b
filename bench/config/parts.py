"""What a config names: the task, the cell, the network, the optimizer and the logger, each built or checked."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping
from typing import Any, cast

import torch

from bench.cells import Cell
from bench.config import memory
from bench.config.checks import check_optimizer, check_task, hidden_size_of
from bench.config.explain import ConfigError
from bench.config.network import Network, check_step, model_on_meta, smallest_cell
from bench.config.place import Place, engine_of, loss_engine_of
from bench.config.plain import is_from_elsewhere, naming, section, short
from bench.config.run_spec import Sections
from bench.config.schema import ModelConfig
from bench.config.targets import check_arguments, locate, named
from bench.engines import Choice
from bench.engines.compiled import CHUNK
from bench.probes.probing import check_probes
from bench.probes.settings import ProbeConfig
from bench.training.settings import DataConfig
from tasks.base import Task


def task_of(config: dict[str, Any]) -> Task:
    """Return the task; its node takes the types of the class's arguments."""
    with naming("task"):
        node = config["task"] = check_arguments(config["task"], "task")
        task_class = locate(node, "task")
        if not (inspect.isclass(task_class) and issubclass(task_class, Task)):
            raise ConfigError(f"`_target_` must name a subclass of tasks.base.Task, got {node['_target_']!r}")
        task = task_class(**{name: value for name, value in node.items() if not name.startswith("_")})
        memory.check_sequences(task, config, torch.device("cpu"))
        check_task(task)
        return task


def scaled_tasks(config: Mapping[str, Any], data: DataConfig) -> dict[str, Task]:
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
            raise ConfigError(short(f"data.test_scales must have no {scale:g}, {reason}")) from error
        found[f"{scale:g}"] = task
    return found


def check_cell(config: dict[str, Any], task: Task, probe: ProbeConfig) -> Cell:
    """Check the cell by one of one unit without memory, and return that; its node takes the types of the arguments."""
    with naming("cell"):
        cell_class = locate(config["cell"], "cell")
        if not (inspect.isclass(cell_class) and issubclass(cell_class, Cell)):
            raise ConfigError(
                f"`_target_` must name a subclass of bench.cells.Cell, got {config['cell']['_target_']!r}"
            )
        if is_from_elsewhere(config["cell"]):
            named(config["cell"]["module"], "cell.module")
        config["cell"] = check_arguments(config["cell"], "cell", supplied=("input_size", "hidden_size", "device"))
        cell = checked_cell(config["cell"])
    with naming("probe"):
        check_probes(probe, task, cell.gates, cell_class.__name__)
    return cell


_CELLS: dict[tuple[Hashable, str], Cell] = {}
"""Cells of one unit that this process has checked, by their class and their node."""


def checked_cell(node: Mapping[str, Any]) -> Cell:
    """Return a cell of one unit without memory, which takes a step as it should; of each node always the same one."""
    key = (locate(node, "cell"), repr(node))
    if key not in _CELLS:
        cell = smallest_cell(node)
        check_step(node)
        _CELLS[key] = cell
    return _CELLS[key]


def check_memory(
    config: Mapping[str, Any],
    task: Task,
    scaled: Mapping[str, Task],
    sections: Sections,
    cell: Cell,
    hidden_size: int | None = None,
) -> None:
    """Refuse a run that takes far more memory than there is; without a hidden size, as if it were the least."""
    settings = section(ModelConfig, config, "model")
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
    with naming(""):
        if not sections.elsewhere:
            memory.check(found, config, sections.device)


def network_of(
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
    settings = section(ModelConfig, config, "model")
    with naming("model"):
        if settings.bidirectional and sections.probe.enabled:
            raise ConfigError("`bidirectional` must be false where the probes are on (probe=none), got true")
        hidden_size = hidden_size_of(config["cell"], task, settings)
        model = model_on_meta(config["cell"], task, settings, hidden_size)
        engine = _engine(settings.engine, config["cell"], model.layers, sections, say, place)
        suits = task.readout == "every" and task.cross_entropy
        where = (sections.device, sections.precision, say, sections.launcher, place)
        engine = loss_engine_of(settings.loss_engine, suits, engine, *where)
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


def check_optimizer_and_logger(config: dict[str, Any]) -> None:
    """Check what is made only when the run is; the nodes take the types of the arguments."""
    with naming("optimizer"):
        check_optimizer(config)
    with naming("logger"):
        config["logger"] = check_arguments(config["logger"], "logger", supplied=("spec", "draft"))
