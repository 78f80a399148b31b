"""Metrics of a whole set of sequences, from the scores of its batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor
from torchmetrics import MeanMetric, Metric, MetricCollection

SetScores = Callable[[Tensor, Tensor], Mapping[str, float]]
"""Function from the outputs and the targets of all sequences to the scores of the set, by name."""


class Scores:
    """The mean of each score over all that was added, and the scores of the whole set.

    Args:
        names: Names of the scores that are means.
        device: Where the scores are added up.
        of_set: Computes the other scores from what was kept.
    """

    def __init__(
        self, names: Iterable[str], device: torch.device, of_set: SetScores = lambda outputs, targets: {}
    ) -> None:
        self._of_set = of_set
        self._kept: list[tuple[Tensor, Tensor]] = []
        # "disable" means that a NaN is seen; every other strategy would skip it.
        means: dict[str, Metric | MetricCollection] = {name: MeanMetric(nan_strategy="disable") for name in names}
        self._means = MetricCollection(means, compute_groups=False).to(device)

    def add(self, scores: Mapping[str, Tensor]) -> None:
        """Add the scores of one batch, by name."""
        for name, values in scores.items():
            self._means[name].update(values)

    def keep(self, outputs: Tensor, targets: Tensor) -> None:
        """Keep what the network said of one batch, and what it should have said, for the scores of the set."""
        self._kept.append((outputs.detach(), targets))

    def collect(self) -> dict[str, float]:
        """Return all scores, by name; the next scores are those of another set."""
        metrics = {name: float(value) for name, value in self._means.compute().items()}
        self._means.reset()
        if self._kept:
            outputs, targets = (torch.cat(parts, dim=1) for parts in zip(*self._kept, strict=True))
            self._kept = []
            metrics |= self._of_set(outputs.float(), targets)
        return metrics
