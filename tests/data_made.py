"""Tasks on data sets, made for tests."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import hydra.utils
import numpy as np
import torch
from omegaconf import OmegaConf

from tasks.base import Batch
from tasks.data_set import DataSet
from tasks.digits import IDX_FILES
from tests.conftest import DATA, ROOT

TABLE = ROOT / "tests" / "files" / "sequences.csv"


def make(name: str, **settings: Any) -> DataSet:
    words = dict(word.removeprefix("task.").split("=") for word in DATA[name])
    node = OmegaConf.merge(OmegaConf.load(ROOT / "conf" / "task" / f"{name}.yaml"), words, settings)
    arguments: Any = OmegaConf.to_container(node)
    return hydra.utils.get_class(arguments.pop("_target_"))(**arguments)


def all_of(task: DataSet, split: Any) -> Batch:
    return task.take(split, torch.arange(task.size(split)))


def content(batch: Batch) -> list[tuple[Any, ...]]:
    """Each sequence of a batch, without its padding, and its target."""
    lengths = batch.lengths.tolist() if batch.lengths is not None else [len(batch.inputs)] * batch.inputs.shape[1]
    return [
        (*batch.inputs[:steps, column].flatten().tolist(), *batch.targets[:, column].flatten().tolist())
        for column, steps in enumerate(lengths)
    ]


def mnist(folder: Path, *, packed: bool = False, seed: int = 0) -> dict[str, np.ndarray]:
    """Write small files as MNIST's, and return their images."""
    folder.mkdir(parents=True)
    dice, found = np.random.default_rng(seed), {}
    for split, count in (("train", 200), ("test", 30)):
        found[split] = dice.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        for name, numbers in zip(IDX_FILES[split], (found[split], np.arange(count, dtype=np.uint8) % 10), strict=True):
            head = bytes((0, 0, 8, numbers.ndim)) + b"".join(size.to_bytes(4, "big") for size in numbers.shape)
            text = head + numbers.tobytes()
            (folder / f"{name}{'.gz' if packed else ''}").write_bytes(gzip.compress(text) if packed else text)
    return found
