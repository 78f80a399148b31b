"""What a run keeps beside its record on request: the weights that were tested, and the predictions of the test set.

The file of the weights says of itself what new inputs need, so that neither the training data nor the task is needed to
use them: the sizes of the network, and what the task keeps of its data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
import safetensors
import safetensors.torch
import torch

from bench.config.run_spec import RunSpec
from bench.records.record import PREDICTIONS_FILE, WEIGHTS_FILE
from bench.records.series import predictions_table
from bench.shapes import content_of
from bench.training.loop import TrainingModule
from tasks.base import Task
from tasks.data_set import DataSet

SCHEMA = 1
"""Version of what the metadata of a file of weights say."""
ENTRY = "rnn-bench"
"""The entry of the metadata that has all of it, as JSON."""


class Sizes(msgspec.Struct, frozen=True):
    """What a network takes from its task; see :class:`tasks.base.Task`."""

    input_size: int
    output_size: int
    readout: Literal["every", "last", "mean"]
    tokens: int | None


class About(msgspec.Struct, frozen=True):
    """What a file of weights says of itself.

    Attributes:
        schema: Version of this layout.
        run_id: The run that the weights are of.
        sizes: What the network took from the task.
        kept: What new inputs need, as the task has kept it; see :attr:`tasks.data_set.DataSet.kept`.
    """

    schema: int
    run_id: str
    sizes: Sizes
    kept: dict[str, Any]


class WeightsError(ValueError):
    """Weights that cannot be used; the message says why, in one line."""


def kept_of(spec: RunSpec, module: TrainingModule) -> dict[str, pa.Table | bytes]:
    """Return what a completed run keeps beside its record, by the name of its file."""
    found: dict[str, pa.Table | bytes] = {}
    if spec.training.keep_weights:
        found[WEIGHTS_FILE] = weights_file(spec.run_id, spec.task, module.model.state_dict())
    if spec.training.keep_predictions:
        assert isinstance(spec.task, DataSet)
        told = module.test_told
        columns = {name: np.concatenate([each[name] for each in told]) for name in told[0]}
        found[PREDICTIONS_FILE] = predictions_table(columns, spec.task.classes)
    return found


def weights_file(run_id: str, task: Task, weights: Mapping[str, torch.Tensor]) -> bytes:
    """Return the content of a file of weights: the same for the same weights, task and run."""
    kept = task.kept if isinstance(task, DataSet) else {}
    sizes = Sizes(task.input_size, task.output_size, task.readout, task.tokens)
    about = json.dumps(msgspec.to_builtins(About(SCHEMA, run_id, sizes, kept)), allow_nan=False)
    # Two names may share memory, which the format does not have.
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in weights.items()}
    # One entry alone: the format writes several in any order, and the same weights are to be the same bytes.
    return safetensors.torch.save(tensors, {ENTRY: about})


def read_weights(folder: Path, sha256: str) -> tuple[About, dict[str, torch.Tensor]]:
    """Read the weights of a run, which can bring no code along.

    Args:
        folder: Folder of the record.
        sha256: What the record says of the file.

    Raises:
        WeightsError: The file is not there, or not the one that the record names.
    """
    path = folder / WEIGHTS_FILE
    try:
        content = content_of(path)
    except FileNotFoundError:
        raise WeightsError(f"{path} is not there: a copy of a record has weights only if asked for them") from None
    except OSError as error:
        raise WeightsError(f"{path}: not readable weights ({error})") from error
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise WeightsError(
            f"{path}: damaged, or of another run: its SHA-256 must be {sha256[:12]}..., as the record says, got "
            f"{found[:12]}..."
        )
    try:
        (length,) = np.frombuffer(content[:8], dtype="<u8").tolist()
        header = json.loads(content[8 : 8 + length])
        about = msgspec.json.decode(header["__metadata__"][ENTRY], type=About)
        tensors = safetensors.torch.load(content)
    except (KeyError, ValueError, TypeError, IndexError, RecursionError, safetensors.SafetensorError) as error:
        reason = " ".join(str(error).split())[:120]
        raise WeightsError(f"{path}: not weights that a run has kept ({reason})") from error
    if about.schema > SCHEMA:
        raise WeightsError(f"{path}: its schema must be <= {SCHEMA} for this version, got {about.schema}")
    return about, tensors
