"""Initial values of a cell's parameters, drawn block by block from a generator that the caller passes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

WeightRule = Literal["torch", "glorot", "gaussian"]
RecurrentRule = Literal["torch", "glorot", "gaussian", "orthogonal", "identity", "sparse"]
BiasRule = Literal["torch", "zero"]

FAN_IN = 15
"""Number of units that each unit of a sparse recurrent matrix hears, as in Sutskever et al. (2013)."""


@dataclass(frozen=True)
class Initialization:
    """How a cell's parameters start.

    Attributes:
        input: Input weights. ``torch``: U(-1/sqrt(hidden), 1/sqrt(hidden)), the default of ``torch.nn``;
            ``glorot``: U(-a, a) with a = sqrt(6 / (input + hidden)), Glorot & Bengio (2010); ``gaussian``:
            N(0, 0.001^2), the input weights of Le, Jaitly & Hinton (2015).
        recurrent: Recurrent weights; each block is drawn by itself. ``torch``, ``glorot`` and ``gaussian`` as above;
            ``orthogonal``: a random orthogonal matrix, Saxe, McClelland & Ganguli (2014); ``identity``: the identity
            matrix, Le, Jaitly & Hinton (2015); ``sparse``: N(0, 1) for 15 inputs of each unit and 0 for the others,
            Sutskever, Martens, Dahl & Hinton (2013), who scale it to a spectral radius of 1.1.
        bias: Both biases. ``torch`` as above; ``zero``: 0.
        spectral_radius: Each recurrent block is scaled to this largest absolute value of its eigenvalues, > 0;
            ``None`` leaves it as it was drawn.

    Raises:
        ValueError: ``spectral_radius`` is not a finite number > 0.
    """

    input: WeightRule
    recurrent: RecurrentRule
    bias: BiasRule
    spectral_radius: float | None = None

    def __post_init__(self) -> None:
        radius = self.spectral_radius
        if radius is not None and not (radius > 0 and math.isfinite(radius)):
            raise ValueError(f"`spectral_radius` must be null or a finite number > 0, got {radius}")


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
        "sparse": lambda: _sparse(block, generator),
    }
    rules[rule]()


def _sparse(block: Tensor, generator: torch.Generator) -> None:
    """Let each unit hear :data:`FAN_IN` others, or all where there are fewer."""
    block.normal_(generator=generator)
    order = torch.rand(block.shape, generator=generator).argsort(dim=1)
    block[order >= FAN_IN] = 0


def scale_to_radius(block: Tensor, radius: float) -> None:
    """Scale a square block in place so that its largest absolute eigenvalue is ``radius``; one of zeros stays."""
    found = float(torch.linalg.eigvals(block.double()).abs().max())
    if found > 0:
        block.mul_(radius / found)


def fill_bias(bias: Tensor, rule: BiasRule, hidden_size: int, generator: torch.Generator) -> None:
    """Fill a bias in place."""
    if rule == "zero":
        bias.zero_()
    else:
        _uniform(bias, hidden_size, generator)


def chrono_bias(hidden_size: int, longest: float, generator: torch.Generator) -> Tensor:
    """Draw biases for chrono initialisation, log U[1, T_max - 1], so that time constants cover the range asked for.

    Args:
        hidden_size: Number of values to draw.
        longest: T_max, the longest dependency in steps, > 0; 3 stands for less, so that the interval is not empty.
        generator: Source of randomness, on the CPU.

    Returns:
        ``hidden_size`` forget biases; the input-gate bias is their negative.

    References:
        Tallec & Ollivier (2018), Can recurrent neural networks warp time?, equation 16.
    """
    return torch.empty(hidden_size).uniform_(1, max(longest, 3.0) - 1, generator=generator).log()
