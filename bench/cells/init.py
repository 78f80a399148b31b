"""Initial values of a cell's parameters, drawn block by block from a generator that the caller passes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

WeightRule = Literal["torch", "glorot", "gaussian"]
RecurrentRule = Literal["torch", "glorot", "gaussian", "orthogonal", "identity"]
BiasRule = Literal["torch", "zero"]


@dataclass(frozen=True)
class Initialization:
    """How a cell's parameters start.

    Attributes:
        input: Input weights. ``torch``: U(-1/sqrt(hidden), 1/sqrt(hidden)), the default of ``torch.nn``;
            ``glorot``: U(-a, a) with a = sqrt(6 / (input + hidden)), Glorot & Bengio (2010); ``gaussian``:
            N(0, 0.001^2), the input weights of Le, Jaitly & Hinton (2015).
        recurrent: Recurrent weights; each block is drawn by itself. ``torch``, ``glorot`` and ``gaussian`` as above;
            ``orthogonal``: a random orthogonal matrix, Saxe, McClelland & Ganguli (2014); ``identity``: the identity
            matrix, Le, Jaitly & Hinton (2015).
        bias: Both biases. ``torch`` as above; ``zero``: 0.
    """

    input: WeightRule
    recurrent: RecurrentRule
    bias: BiasRule


def _uniform(block: Tensor, hidden_size: int, generator: torch.Generator) -> None:
    bound = 1 / math.sqrt(hidden_size)
    block.uniform_(-bound, bound, generator=generator)


def fill_weight(block: Tensor, rule: RecurrentRule, generator: torch.Generator) -> None:
    """Fill one ``(hidden, input)`` or ``(hidden, hidden)`` block of weights in place."""
    rules: dict[RecurrentRule, Callable[[], object]] = {
        "torch": lambda: _uniform(block, block.shape[0], generator),
        "glorot": lambda: nn.init.xavier_uniform_(block, generator=generator),
        "gaussian": lambda: block.normal_(0, 0.001, generator=generator),
        "orthogonal": lambda: nn.init.orthogonal_(block, generator=generator),
        "identity": lambda: nn.init.eye_(block),
    }
    rules[rule]()


def fill_bias(bias: Tensor, rule: BiasRule, hidden_size: int, generator: torch.Generator) -> None:
    """Fill a bias in place."""
    if rule == "zero":
        bias.zero_()
    else:
        _uniform(bias, hidden_size, generator)


def chrono_bias(hidden_size: int, delay: int, generator: torch.Generator) -> Tensor:
    """Draw biases for chrono initialisation, log U[1, T_max - 1], so that time constants cover the range asked for.

    Args:
        hidden_size: Number of values to draw.
        delay: The task's delay in steps, at least 1. T_max is 1.5 times the delay for every task, which is the paper's
            range for copy memory. It is at least 3, so that the interval is not empty.
        generator: Source of randomness, on the CPU.

    Returns:
        ``hidden_size`` forget biases; the input-gate bias is their negative.

    References:
        Tallec & Ollivier (2018), Can recurrent neural networks warp time?, equation 16.
    """
    longest = max(1.5 * delay, 3.0)
    return torch.empty(hidden_size).uniform_(1, longest - 1, generator=generator).log()
