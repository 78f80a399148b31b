"""What the gates and states of a trained cell do while it reads one sequence: of the run's test set, or a new one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from bench.analysis.unit_traces import UnitTraces
from bench.config.targets import check_arguments, locate
from bench.records.read import config_as_written, run_folder
from bench.runs.own_modules import own_modules
from bench.runs.trained import TrainedModel, load_model
from bench.training import rng
from bench.training.settings import DataConfig
from tasks.base import Task
from tasks.data_set import DataSet, TextEncoder


def traces_of(
    run: str | Path,
    source: str | None,
    number: int,
    layer: int | None,
    *,
    trust: Sequence[str] = (),
    config_dir: str | None = None,
) -> UnitTraces:
    """Let the network of a run read one sequence, and return what each unit of a layer did.

    Args:
        run: The folder of a record with weights, or a run id below ``results``.
        source: The path of a file in the form that the task reads; ``None`` for the run's test set.
        number: Which sequence of it, from 0. Of a text, the one that begins so many windows of the training behind
            its beginning.
        layer: The layer, from 1 at the input; ``None`` for the highest.
        trust: See :func:`bench.runs.trained.load_model`.
        config_dir: See there.

    Raises:
        ValueError: There is no such run, sequence or layer; the run has no weights; the data is not what it was; or the
            network reads sequences from their end as well.
    """
    model = load_model(run, trust=trust, config_dir=config_dir)
    count = len(model.network.layers)
    if layer is not None and not 1 <= layer <= count:
        raise ValueError(f"`layer` must be from 1 to {count}, got {layer}")
    if model.network.around.bidirectional:
        raise ValueError("`run` must be of a network that reads forwards alone (model.bidirectional=false)")
    if number < 0:
        raise ValueError(f"`number` must be >= 0, got {number}")
    if source is None:
        config = config_as_written(run_folder(run))
        own = str(Path(config_dir).expanduser().absolute()) if config_dir else None
        with own_modules(own):
            inputs = _tested(config, model, number)
        where = "test set"
    else:
        inputs, where = _of_file(model, source, number), Path(source).name
    depth = (layer or count) - 1
    record = model.record
    name = f"gates_{record.task}_{record.cell}_{record.run_id}_{number}"
    title = f"{record.cell} on {record.task}, seed {record.seed}, sequence {number} of {where}"
    if count > 1:
        title += f", layer {depth + 1} of {count}"
    return _traced(model, inputs, depth, name, title)


@torch.no_grad()
def _traced(
    model: TrainedModel, inputs: Shaped[Tensor, "time 1 *input"], depth: int, name: str, title: str
) -> UnitTraces:
    network = model.network
    names: Sequence[str] = model.encoder.tokens if model.encoder is not None else ()
    trace, cell = network.trace(inputs)[depth], network.layers[depth]
    # Blocks that are the next state itself, as those of a cell without gates, would be shown twice.
    states = {name: values[:, 0].numpy() for name, values in trace.states.items()}
    blocks = {name: values[:, 0].numpy() for name, values in trace.blocks.items()}
    blocks = {
        name: values
        for name, values in blocks.items()
        if name in cell.gates or not any(np.array_equal(values, state) for state in states.values())
    }
    read = inputs[:, 0]
    return UnitTraces(
        name=name,
        title=title,
        inputs=read.numpy() if network.around.tokens is None else None,
        tokens=tuple(map(names.__getitem__, read.tolist())) if names and network.around.tokens is not None else (),
        blocks=blocks,
        gates=tuple(cell.gates),
        states=states,
    )


def _of_file(model: TrainedModel, source: str, number: int) -> Tensor:
    """Return one sequence of a file, as the network reads it."""
    if model.encoder is None:
        raise ValueError(f"`file` must not be given for a run of {model.record.task}, which reads no new inputs")
    found = model.encoder.read(source).sequences
    count = len(found)
    if isinstance(model.encoder, TextEncoder):
        window = model.encoder.window
        chosen, count = min((number + 1) * window, count) - 1, -(-count // window)
    else:
        chosen = number
    if number >= count:
        raise ValueError(f"`number` must be < {count}, the sequences of {source!r}, got {number}")
    return found.padded(np.array([chosen]))[0]


def _tested(config: dict[str, Any], model: TrainedModel, number: int) -> Tensor:
    """Return one sequence of the test set of a run, without the padding of others.

    The sequences of a generator are those that the CPU draws: those of a run on a GPU were others of the same task.

    Raises:
        ValueError: There is no such sequence, or the data is not that of the run.
    """
    try:
        node = check_arguments(config["task"], "task")
        task = cast(type[Task], locate(node, "task"))(**{k: v for k, v in node.items() if not k.startswith("_")})
        data = DataConfig(**config["data"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"the record's task can no longer be made: {error}") from error
    if isinstance(task, DataSet):
        task.tested = data.test_size
    size = task.tested_size if isinstance(task, DataSet) else (data.test_size or 0)
    if number >= size:
        raise ValueError(f"`number` must be < {size}, the sequences of the run's test set, got {number}")
    if isinstance(task, DataSet):
        was = model.record.code["numerics"].get("data")
        if (now := task.fingerprint[:12]) != was:
            raise ValueError(f"the data of the run must be what it was, with the hash {was}, got {now}")
        return task.take("test", torch.tensor([number])).inputs
    index, column = divmod(number, data.eval_batch_size)
    generator = rng.generator("test", model.record.seed, index, torch.device("cpu"))
    count = min(data.eval_batch_size, size - index * data.eval_batch_size)
    return task.sample(count, generator).inputs[:, column : column + 1]
