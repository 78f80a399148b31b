"""A trained network from the folder of its run, for new inputs; the training data is not needed."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from bench.cells import Cell
from bench.config.network import without_values
from bench.config.schema import ModelConfig
from bench.config.targets import locate
from bench.engines import Engine, choose
from bench.records.read import config_as_written, read_record, run_folder
from bench.records.record import Record
from bench.runs import trust as trusting
from bench.runs.keeping import Sizes, WeightsError, read_weights
from bench.runs.own_modules import own_modules
from bench.training.model import SequenceModel
from tasks.base import Task
from tasks.data_set import Encoder, Source, TextEncoder

AT_ONCE = 256
"""Sequences that the network reads at once."""


@dataclass(frozen=True)
class TrainedModel:
    """A trained network, with what turns new inputs into its numbers and its numbers into words.

    Attributes:
        record: The record of the run.
        network: The network with the weights that were tested, on the CPU, in evaluation mode.
        encoder: Reads new inputs; ``None`` for a task that draws its sequences, or has no encoder.
    """

    record: Record
    network: SequenceModel
    encoder: Encoder | None

    def predict(self, source: Source) -> pd.DataFrame:
        """Say what the network makes of new inputs.

        Args:
            source: The path of a file in the form that the task reads, labels not needed; or a table, or a list of
                texts, that stands for its content.

        Returns:
            A row for each sequence with its class and the probability of every class; of a forecast, a row for each
            step after the last row; of a text, a row for each character but the first, with the bits that it takes.

        Raises:
            ValueError: Something is wrong with what is read, or the run's task cannot read new inputs.
        """
        if self.encoder is None:
            raise ValueError(f"RUN must be of a task that reads new inputs, got one of {self.record.task}")
        new, tables = self.encoder.read(source), []
        for chosen in _portions(len(new.sequences)):
            inputs, lengths = new.sequences.padded(chosen)
            tables.append(pd.DataFrame(dict(self.encoder.told(new, chosen, self._last(inputs, lengths)))))
        return pd.concat(tables, ignore_index=True)

    def generate(self, prompt: str, length: int, temperature: float = 1.0, seed: int = 0) -> str:
        """Write a text on, character by character.

        Each character is drawn after the last characters before it, as many as a window of the training had: the
        network has never looked back further.

        Args:
            prompt: What the text begins with, at least one character; best as many as a window has.
            length: Number of characters to write, >= 1.
            temperature: What the logits are divided by, >= 0; 0 takes the likeliest character.
            seed: What the draws follow from, >= 0 and < 2^63.

        Returns:
            The characters behind the prompt.

        Raises:
            ValueError: A value is out of range, the prompt has a character that the training part did not have, or the
                run's task is no model of characters.
        """
        encoder = self.encoder
        if not isinstance(encoder, TextEncoder):
            raise ValueError(f"RUN must be of a model of characters, such as character_model, got {self.record.task}")
        if not prompt:
            raise ValueError("`prompt` must have a character at least, got ''")
        if length < 1:
            raise ValueError(f"`length` must be >= 1, got {length}")
        if not 0 <= temperature < math.inf:
            raise ValueError(f"`temperature` must be a number >= 0, got {temperature}")
        if not 0 <= seed < 2**63:
            raise ValueError(f"`seed` must be >= 0 and < 2^63, got {seed}")
        try:
            tokens = encoder.encode(prompt).tolist()
        except ValueError as error:
            raise ValueError(str(error).replace("`file`", "`prompt`")) from None
        return "".join(encoder.characters[each] for each in self._written(encoder, tokens, length, temperature, seed))

    def _written(
        self, encoder: TextEncoder, tokens: list[int], length: int, temperature: float, seed: int
    ) -> Iterator[int]:
        """Yield the tokens that follow."""
        generator = torch.Generator().manual_seed(seed)
        silent = torch.tensor([not character for character in encoder.characters])
        for _ in range(length):
            context = torch.tensor(tokens[-encoder.window :]).unsqueeze(1)
            logits = self._last(context)[0].double().masked_fill(silent, -math.inf)
            logits -= logits.max()
            if temperature == 0:
                token = int(logits.argmax())
            else:
                token = int(torch.multinomial((logits / temperature).softmax(0), 1, generator=generator))
            tokens.append(token)
            yield token

    @torch.no_grad()
    def _last(self, inputs: Tensor, lengths: Tensor | None = None) -> Float[Tensor, "batch output"]:
        """Return the outputs after the last real step of each sequence."""
        outputs = self.network(inputs, lengths=lengths)
        if self.network.readout == "every" and lengths is not None:
            return outputs[lengths - 1, torch.arange(outputs.shape[1])]
        return outputs[-1]


def load_model(run: str | Path, *, trust: Sequence[str] = (), config_dir: str | None = None) -> TrainedModel:
    """Load the network of a run that has kept its weights (``training.keep_weights=true``).

    Args:
        run: The folder of a record, or a run id below ``results``.
        trust: Names of classes or modules of your own that the record may import besides those of the package.
        config_dir: The folder of your own classes.

    Raises:
        ValueError: There is no such run; it has no weights, or not those that its record names; or its record names
            code that is not trusted. :class:`bench.runs.keeping.WeightsError` and
            :class:`bench.records.record.DamagedRecordError` are such.
    """
    folder = run_folder(run)
    record = read_record(folder)
    named = record.model.get("weights")
    if named is None:
        raise WeightsError(
            f"{folder} has no weights: training.keep_weights=true keeps them, with rerun=all for a run that is there"
        )
    config = config_as_written(folder)
    own = str(Path(config_dir).expanduser().absolute()) if config_dir else None
    with own_modules(own):
        try:
            trusting.check({name: value for name, value in config.items() if name != "logger"}, trust)
        except ValueError as error:
            raise ValueError(f"config.{str(error).replace('`', '')}") from error
        about, weights = read_weights(folder, named["sha256"])
        if about.run_id != record.run_id:
            raise WeightsError(f"{folder}: the weights must be those of run {record.run_id}, got {about.run_id}")
        network = _network(config, about.sizes, record.model, weights, folder)
        task_class = cast(type[Task], locate(config["task"], "task"))
        return TrainedModel(record, network, _encoder(task_class, about.kept, folder))


def _network(
    config: Mapping[str, Any], sizes: Sizes, facts: Mapping[str, Any], weights: Mapping[str, Tensor], folder: Path
) -> SequenceModel:
    """Return the network that a config describes, with its weights."""
    try:
        settings, hidden_size = ModelConfig(**config["model"]), facts["hidden_size"]
        plain = without_values(config["cell"], sizes, settings, hidden_size, "stepwise")
        engine = _engine(str(facts.get("engine")), plain.layers)
        network = without_values(config["cell"], sizes, settings, hidden_size, engine)
        network.load_state_dict(weights)
    except Exception as error:
        # Sizes and shapes are from a file, and a cell may be anybody's.
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"{folder}: the weights must be of the network that the record describes ({reason})"
        ) from error
    return network.eval().requires_grad_(False)


def _engine(asked: str, cells: Sequence[Cell]) -> Engine:
    """Return the engine of the run, or the fastest for the CPU where that cannot be had or takes long to start."""
    with contextlib.suppress(ValueError):
        if asked != "compiled":
            return choose(asked, cells, torch.device("cpu"), "32").engine
    return choose("auto", cells, torch.device("cpu"), "32").engine


def _encoder(task_class: type[Task], kept: Mapping[str, Any], folder: Path) -> Encoder | None:
    make = getattr(task_class, "encoder", None)
    if make is None:
        return None
    try:
        return make(kept)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:120]
        raise WeightsError(f"{folder}: the weights must say what {task_class.__name__} keeps ({reason})") from error


def _portions(count: int) -> list[np.ndarray]:
    return np.split(np.arange(count), range(AT_ONCE, count, AT_ONCE))
