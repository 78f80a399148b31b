"""Metrics of a whole set of sequences, from the scores of its batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torchmetrics import MeanMetric, Metric, MetricCollection


class Scores:
    """The mean of each score over all that was added.

    Args:
        names: Names of the scores.
        device: Where the scores are added up.
    """

    def __init__(self, names: Iterable[str], device: torch.device) -> None:
        # "disable" means that a NaN is seen; every other strategy would skip it.
        means: dict[str, Metric | MetricCollection] = {name: MeanMetric(nan_strategy="disable") for name in names}
        self._means = MetricCollection(means, compute_groups=False).to(device)

    def add(self, scores: Mapping[str, Tensor]) -> None:
        """Add the scores of one batch, by name."""
        for name, values in scores.items():
            self._means[name].update(values)

    def collect(self) -> dict[str, float]:
        """Return the mean of each score, by name; the next scores are those of another set."""
        metrics = {name: float(value) for name, value in self._means.compute().items()}
        self._means.reset()
        return metrics
