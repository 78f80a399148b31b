"""The settings of the probes. It imports no torch, so that a command line is read at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MOST_BINS = 100
"""Largest number of bars of a histogram."""


@dataclass
class ProbeConfig:
    """Settings of what is measured while training; no number of the training itself depends on them.

    Attributes:
        enabled: Whether anything is measured.
        every: Steps between two looks, at least 1; ``None`` looks only before the first step and after the last.
        batch_size: Sequences of the probe batch, at least 1; every look uses the same sequences.
        lags: ``"log"`` (up to 64, at equal ratios), ``"all"``, or a list of different lags between 0 and the number of
            steps before the first answer.
        gates: Whether to look at the gates; ``None`` looks at them if the cell has any.
        inputs: Whether to measure the gradient of the network's input, which the reach is taken from.
        exponents: Number of leading Lyapunov exponents of each layer that the first and the last look measure; 0 for
            none.
        gate_bins: Number of bars of a histogram of each gate at every look, up to 100; 0 for none.
    """

    enabled: bool
    every: int | None
    batch_size: int
    lags: Any
    gates: bool | None
    inputs: bool = False
    exponents: int = 0
    gate_bins: int = 0

    def __post_init__(self) -> None:
        if self.every is not None and self.every < 1:
            raise ValueError(f"`every` must be null or >= 1, got {self.every}")
        if self.batch_size < 1:
            raise ValueError(f"`batch_size` must be >= 1, got {self.batch_size}")
        if self.exponents < 0:
            raise ValueError(f"`exponents` must be >= 0, got {self.exponents}")
        if not 0 <= self.gate_bins <= MOST_BINS:
            raise ValueError(f"`gate_bins` must be between 0 and {MOST_BINS}, got {self.gate_bins}")
        listed = isinstance(self.lags, list) and all(type(lag) is int for lag in self.lags)
        if self.lags not in ("log", "all") and not listed:
            raise ValueError(f"`lags` must be log, all, or a list of integers, got {self.lags!r}")
