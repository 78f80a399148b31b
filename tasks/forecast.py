"""Forecasts of a series, one or several steps ahead."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from tasks.autoregression import ridge_of
from tasks.base import Batch, require_at_least
from tasks.data_set import SPLITS, DataSet, Encoder, NewInputs, Source, Split, check_shares
from tasks.large_tables import numbers_in, pieces
from tasks.mapped import Standardised, computed, deviation, spans, standardised
from tasks.sequences import Sequences, hash_of
from tasks.tables import as_table, numbers_of

NUMERICS = 1
"""Version of what this part computes. It is raised when the numbers change; `make numerics` says when that is so."""


class SeriesEncoder(Encoder):
    """Reads the last window of a series, as :class:`Forecast` does; the forecasts are of what follows its last row."""

    def __init__(self, kept: Mapping[str, Any]) -> None:
        self.target, self.columns = str(kept["target"]), list(map(str, kept["columns"]))
        self.window, self.horizon, self.scale = int(kept["window"]), int(kept["horizon"]), float(kept["scale"])
        self.mean, self.spread = (np.array(kept[name], dtype=np.float64) for name in ("mean", "spread"))

    def read(self, source: Source) -> NewInputs:
        """Read a table with a row for each time, in order; the last ones count, as many as a window has."""
        named = [("target", self.target), *(("columns", each) for each in self.columns)]
        rows, last = 0, np.zeros((0, len(named)))
        for before, table in pieces(as_table(source), named):
            numbers = (
                numbers_of(table, [self.target], "target", before),
                numbers_of(table, self.columns, before=before),
            )
            last = np.concatenate((last, np.concatenate(numbers, axis=-1)))[-self.window :]
            rows = before + len(table)
        if rows < self.window:
            raise ValueError(f"`file` must have a row for each of {self.window} times of a window, got {rows}")
        values, others = last[:, 0], Standardised(last[:, 1:], self.mean, self.spread)[:]
        read = ((values - values[-1]) / self.scale).astype(np.float32)[:, None]
        return NewInputs(Sequences.of([np.concatenate((read, others), axis=-1)]), {"last": values[-1:]})

    def told(
        self, new: NewInputs, chosen: np.ndarray, outputs: Float[Tensor, "batch horizon"]
    ) -> Mapping[str, np.ndarray]:
        """Return a row for each step after the last row of the file, with the value in units of the series."""
        values = new.about["last"][chosen][:, None] + self.scale * outputs.double().numpy()
        return {"step": np.tile(np.arange(1, self.horizon + 1), len(chosen)), self.target: values.ravel()}


class Forecast(DataSet):
    """The next ``horizon`` values of a series, from a window of the values before them.

    The series is cut in three, in its order: the first part is for training, the last for the test, and what lies
    between for validation. A value belongs to the part that it lies in; the window before it may reach into an earlier
    one. The network reads each window relative to its last value, in units of ``scale``, the standard deviation of the
    steps from one value to the next in the training part, and forecasts in the same way. So a trend takes it nowhere
    that it has not been. Other columns are standardised by mean and standard deviation of the training part.

    A large file, from :data:`tasks.mapped.MAPPED_FROM` on, is converted once into an array on disk, and stays there.

    Args:
        file: A CSV file with a header in UTF-8, a Parquet file, or ``co2`` or ``sunspots``, which come with the
            package: a row for each time, in order, without a gap.
        target: Column of the values to forecast.
        columns: Further columns of numbers that the network reads; empty for none.
        window: Values that the network reads, >= 1.
        horizon: Values that it forecasts, >= 1.
        season: Steps after which the series repeats itself, for the seasonal forecast that it is set beside, >= 1 and
            <= ``window``.
        validation: Share of the series that evaluations see.
        test: Share that the test at the end sees.
        solved_mase: The task counts as solved when the ``mase`` of the evaluation set is at most this, > 0.

    Raises:
        ValueError: The file or a value in it is not as described, or a value is out of range.

    References:
        Hyndman & Koehler (2006), Another look at measures of forecast accuracy, International Journal of Forecasting
        22(4): MASE, the mean absolute error in units of that of the seasonal forecast within the training part.
    """

    readout = "last"
    places = ("file",)
    encoder = SeriesEncoder
    metric = "mase"
    higher_is_better = False
    lower_is_better = ("mase", "mae", "rmse")
    extra_metrics = ("mae", "rmse")
    set_metrics: ClassVar[tuple[str, ...]] = ("rmse",)

    def __init__(
        self,
        *,
        file: str,
        target: str,
        columns: Sequence[str],
        window: int,
        horizon: int,
        season: int,
        validation: float,
        test: float,
        solved_mase: float,
    ) -> None:
        for name, value in (("window", window), ("horizon", horizon), ("season", season)):
            require_at_least(name, value, 1)
        if season > window:
            raise ValueError(f"`season` must be <= window ({window}), got {season}")
        check_shares(validation, test)
        if not 0 < solved_mase < math.inf:
            raise ValueError(f"`solved_mase` must be a number > 0, got {solved_mase}")
        (values, others) = numbers_in(file, {"target": [target], "columns": list(columns)})
        self.values = values[:, 0]
        self._window, self.horizon, self.season, self.solved_mase = window, horizon, season, solved_mase
        self.input_size, self.output_size = 1 + len(columns), horizon
        count = len(self.values)
        bounds = (window, round(count * (1 - validation - test)), round(count * (1 - test)), count)
        self.firsts: dict[Split, range] = {}
        for split, low, high in zip(SPLITS, bounds, bounds[1:], strict=False):
            self.firsts[split] = range(low, high - horizon + 1)
            if not len(self.firsts[split]):
                raise ValueError(
                    f"`window` must leave a forecast of {horizon} in every part, and {split} of {count} rows has none, "
                    f"got {window}"
                )
        trained = self.values[: bounds[1]]
        steps = computed((len(trained) - 1,), lambda at: np.diff(trained[at.start : at.stop + 1]))
        self.scale = float(deviation(steps)) or 1.0
        errors = computed(
            (len(trained) - season,), lambda at: np.abs(trained[at.start + season : at.stop + season] - trained[at])
        )
        self._seasonal_error = float(errors.mean()) or 1.0
        known = others[: bounds[1]]
        mean, spread = known.mean(0), deviation(known)
        spread = np.where(spread > 0, spread, 1.0)
        self._others = standardised(others, mean, spread)
        self._kept = {"target": target, "columns": list(columns), "mean": mean.tolist(), "spread": spread.tolist()}

    @property
    def length(self) -> int:
        """Values of a window."""
        return self._window

    @property
    def delay(self) -> int:
        """The length of a window, as far as the network can look back."""
        return self._window

    @property
    def on_disk(self) -> bool:
        """Whether the series stays on disk."""
        return isinstance(self.values, np.memmap)

    @property
    def fingerprint(self) -> str:
        """A hash of the series and of where it is cut."""
        return hash_of(self.values, self._others, *self.firsts.values())

    @property
    def kept(self) -> dict[str, Any]:
        """What the columns are, with mean and standard deviation, the scale of the values, window and horizon."""
        return self._kept | {"window": self._window, "horizon": self.horizon, "scale": self.scale}

    def told(
        self,
        first: int,
        outputs: Float[Tensor, "readout batch output"],
        targets: Shaped[Tensor, "readout batch *target"],
    ) -> Mapping[str, np.ndarray]:
        """Return a row for each step of each forecast, with target and output in units of the series."""
        starts = np.array(self.firsts["test"][first : first + outputs.shape[1]])
        ahead = np.arange(self.horizon)
        values = self.values[starts - 1][:, None] + self.scale * outputs[0].double().cpu().numpy()
        return {
            "sequence": np.repeat(np.arange(first, first + len(starts)), self.horizon),
            "step": np.tile(ahead + 1, len(starts)),
            "target": self.values[starts[:, None] + ahead].ravel(),
            "output": values.ravel(),
        }

    def size(self, split: Split) -> int:
        """Return the number of forecasts of a part."""
        return len(self.firsts[split])

    def take(self, split: Split, chosen: Int[Tensor, " batch"]) -> Batch:
        """Return windows and what follows them; see :class:`tasks.data_set.DataSet`."""
        device, first = chosen.device, self.firsts[split].start + chosen.cpu().numpy()
        before = first + np.arange(-self._window, 0)[:, None]
        last = self.values[first - 1]
        read = ((self.values[before] - last) / self.scale).astype(np.float32)[..., None]
        after = (self.values[first[:, None] + np.arange(self.horizon)] - last[:, None]) / self.scale
        answered = torch.ones(1, len(first), dtype=torch.bool, device=device)
        return Batch(
            inputs=torch.from_numpy(np.concatenate((read, self._others[before]), axis=-1)).to(device),
            targets=torch.from_numpy(after.astype(np.float32)).to(device).unsqueeze(0),
            scored=answered,
            answer=answered,
        )

    def loss(self, outputs: Float[Tensor, "readout batch output"], batch: Batch) -> Float[Tensor, ""]:
        """Compute the mean squared error, in units of ``scale`` squared."""
        return self.answer_loss(outputs, batch).mean()

    def answer_loss(self, outputs: Float[Tensor, "readout batch output"], batch: Batch) -> Float[Tensor, " batch"]:
        """Compute the same of each forecast, over its steps."""
        return (outputs[0] - batch.targets[0]).square().mean(-1)

    def scores(
        self, outputs: Float[Tensor, "readout batch output"], batch: Batch
    ) -> dict[str, Float[Tensor, " batch"]]:
        """Compute ``loss``; ``mae``, the mean absolute error in units of the series; and ``mase``.

        ``mase`` is ``mae`` by the mean absolute error, within the training part, of the value one season before.
        """
        outputs = outputs.float()
        error = self.scale * (outputs[0] - batch.targets[0]).abs().mean(-1)
        return {"loss": self.answer_loss(outputs, batch), "mae": error, "mase": error / self._seasonal_error}

    def set_scores(
        self, outputs: Float[Tensor, "readout sequences output"], targets: Shaped[Tensor, "readout sequences horizon"]
    ) -> dict[str, float]:
        """Compute ``rmse``, the root of the mean squared error, in units of the series."""
        return {"rmse": self.scale * float((outputs - targets).square().mean().sqrt())}

    @property
    def baselines(self) -> dict[str, float]:
        """Scores, on the test part, of the last value, which a network without memory has as well."""
        return self._scores_of(lambda first, _: np.zeros((len(first), self.horizon)))

    @property
    def references(self) -> Mapping[str, Mapping[str, float]]:
        """Scores, on the test part, of the value one season before, and of a linear autoregression on the window.

        The autoregression is fitted to the training part by least squares with a ridge of 1, a model for each step.
        """
        ahead = np.arange(self.horizon)
        # Beyond a season, the last known value of that phase.
        back = ahead - self.season * (1 + ahead // self.season)
        train = self._pieces("train", self.size("train"))
        linear = ridge_of((_flat(batch.inputs), batch.targets[0].numpy()) for _, batch in train)
        return {
            "one season before": self._scores_of(
                lambda first, _: (self.values[first[:, None] + back] - self.values[first - 1][:, None]) / self.scale
            ),
            "linear autoregression": self._scores_of(
                lambda first, batch: linear(_flat(batch.inputs)).reshape(len(first), self.horizon)
            ),
        }

    def _pieces(self, split: Split, count: int) -> Iterator[tuple[np.ndarray, Batch]]:
        """Yield the first ``count`` forecasts of a part piece by piece, and the numbers of the values they begin at."""
        # The numbers of a batch are made in several steps.
        for at in spans((count, 4 * max(self._window * self.input_size, self.horizon))):
            yield np.array(self.firsts[split][at]), self.take(split, torch.arange(at.start, at.stop))

    def _scores_of(self, forecast: Callable[[np.ndarray, Batch], np.ndarray]) -> dict[str, float]:
        """Return all scores of forecasts of the test part, each ``(forecasts, horizon)``, as the network's outputs are.

        ``forecast`` gets what :meth:`_pieces` yields.
        """
        found, sizes = [], []
        for first, batch in self._pieces("test", self.tested_size):
            outputs = torch.from_numpy(forecast(first, batch).astype(np.float32)).unsqueeze(0)
            means = {name: float(values.mean()) for name, values in self.scores(outputs, batch).items()}
            found.append(means | self.set_scores(outputs, batch.targets))
            sizes.append(len(first))
        if len(found) == 1:
            return found[0]
        power = {name: 2 if name in self.set_metrics else 1 for name in found[0]}
        return {
            name: float(np.average([each[name] ** power[name] for each in found], weights=sizes) ** (1 / power[name]))
            for name in power
        }

    def solved(self, metrics: Mapping[str, float]) -> bool:
        """Return whether the ``mase`` of the evaluation set is at most ``solved_mase``."""
        return metrics["mase"] <= self.solved_mase


def _flat(inputs: Float[Tensor, "time batch input"]) -> np.ndarray:
    """Return each window as one vector."""
    return inputs.movedim(0, 1).flatten(1).numpy()
