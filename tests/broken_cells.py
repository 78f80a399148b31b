"""Cells that break the contract, each in one way."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from bench.cells import Cell


class Whole(Cell):
    """A cell that keeps the contract; the others change one thing."""

    blocks = ("new",)
    gates: tuple[str, ...] = ()

    def activate(self, projected: Any, state: Any) -> Any:
        return {"new": torch.tanh(projected + self.recur(state[0]))}

    def update(self, values: Any, state: Any) -> Any:
        return (0.5 * state[0] + 0.5 * values["new"],)


class Mixing(Whole):
    """Takes the mean over the sequences of a batch from its block, as a normalisation of batches does."""

    def update(self, values: Any, state: Any) -> Any:
        return (values["new"] - values["new"].mean(0),)


class Foreseeing(Whole):
    """Adds the mean over all steps to its inputs."""

    def project(self, inputs: Any) -> Any:
        return super().project(inputs + inputs.mean(0))


class Drawing(Whole):
    """Drops a half of its block."""

    def update(self, values: Any, state: Any) -> Any:
        return (nn.functional.dropout(values["new"], 0.5),)


class Counting(Whole):
    """Counts its steps."""

    steps = 0

    def update(self, values: Any, state: Any) -> Any:
        self.steps += 1
        return (values["new"] / self.steps,)


class Detached(Whole):
    """Lets no gradient pass from step to step."""

    def update(self, values: Any, state: Any) -> Any:
        return (0.5 * state[0].detach() + values["new"],)


class Exploding(Whole):
    """Squares its state."""

    def update(self, values: Any, state: Any) -> Any:
        return ((state[0] + 3.0) ** 2,)


class Ungated(Whole):
    """Calls a block a gate whose values are not in [0, 1]."""

    gates = ("new",)


class Unseeded(Whole):
    """Starts at values that it draws from the global generator."""

    def reset_parameters(self, generator: Any, delay: int) -> None:
        super().reset_parameters(generator, delay)
        nn.init.normal_(self.weight_hh)


class Failing(Whole):
    """Cannot take a step of a batch of one."""

    def update(self, values: Any, state: Any) -> Any:
        if len(state[0]) == 1:
            raise RuntimeError("one is\nnone")
        return super().update(values, state)
