"""Small networks in float64, and batches for them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import hydra.utils
import torch
from omegaconf import OmegaConf
from torch import Tensor

from bench.cells import Cell
from bench.cells.init import Initialization
from bench.training import rng
from bench.training.model import SequenceModel
from tasks.base import Batch, Task
from tests.conftest import ROOT

TORCH = Initialization(input="torch", recurrent="torch", bias="torch")


def cell_maker(name: str) -> Callable[[int, int], Cell]:
    return partial(hydra.utils.instantiate(OmegaConf.load(ROOT / "conf" / "cell" / f"{name}.yaml")), init=TORCH)


def network(make_cell: Callable[..., Cell], task: Task, **changes: Any) -> SequenceModel:
    engine = "fused" if make_cell(1, 1).fused is not None else "stepwise"
    settings: dict[str, Any] = {"hidden_size": 5, "layers": 1, "dropout": 0.0, "engine": engine}
    model = SequenceModel(
        make_cell,
        input_size=task.input_size,
        output_size=task.output_size,
        readout=task.readout,
        **settings | changes,
    )
    model.reset_parameters(rng.generator("init", 0), task.delay, "torch")
    return model.double()


def probe_batch(task: Task, size: int = 4) -> Batch:
    batch = task.sample(size, rng.generator("probe", 0))
    targets = batch.targets.double() if batch.targets.is_floating_point() else batch.targets
    return Batch(batch.inputs.double(), targets, batch.scored, batch.answer)


def orthogonal(size: int) -> Tensor:
    return torch.linalg.qr(torch.randn(size, size, generator=rng.generator("init", 3), dtype=torch.double))[0]
