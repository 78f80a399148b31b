"""Metrics of the runs in one place of a table: a number with interval and n, and what became of the runs. Pure."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from bench.analysis.hyperparameters import distinct
from bench.analysis.run import Run
from bench.errors import one_of
from bench.stats import intervals, small_samples, survival
from bench.stats.gradient_decay import Reach

SEED = 0
"""Seed of all resampling in tables, so that the same records give the same intervals."""
LEAST_RUNS = 5
"""Number of runs that an interval of a median or a mean needs to say anything.

It covers a median with at most 1 - 2^(1 - n), which is 94 % for 5 runs and 75 % for 3.
"""
FULL = {"median": 6, "iqm": 8}
"""Number of runs from which on such an interval covers the 95 % that a table promises, or a percent less."""
UNFINISHED = ("diverged", "failed", "interrupted")

SOLVED, STEPS, PARAMETERS, SPEED = "solved", "steps_to_solve", "parameters", "milliseconds_per_step"
UNITS, MULTIPLY_ADDS, MEMORY = "hidden_size", "multiply_adds", "memory_megabytes"
COSTS = (UNITS, PARAMETERS, MULTIPLY_ADDS, MEMORY)
"""What a network costs whatever its weights are, so that it has no spread over seeds."""
COUNTED = (UNITS, PARAMETERS, MULTIPLY_ADDS)
"""Those of them that are whole numbers, of which a table shows all digits."""
UNTRAINED, TRAINED = "untrained", "trained"
WHEN = (UNTRAINED, TRAINED)
REACHES = tuple(f"{what}_{when}" for what in ("reach", "rate", "growth") for when in WHEN)
"""Metrics of the gradient with respect to the input, untrained and trained; see :mod:`bench.stats.gradient_decay`."""
EXPONENTS = tuple(f"lyapunov_{when}" for when in WHEN)
"""The leading Lyapunov exponent; see :mod:`bench.probes.lyapunov`."""
PROBED = (*REACHES, *EXPONENTS)
"""Metrics that the probes measure."""
EVERY_RUN = (SOLVED, STEPS, *PROBED, *COSTS, SPEED)
"""Metrics of every run, beside the scores of its task on the test set."""

STATISTICS: dict[str, str] = {
    "median": "median over seeds, sign test (of pooled settings: percentile bootstrap)",
    "iqm": "interquartile mean over seeds, percentile bootstrap",
    "share": "share of the seeds, Wilson score",
    "survival": "Kaplan-Meier median, Brookmeyer-Crowley",
}
"""Description of each statistic for the notes of a table."""
OF = {SOLVED: ("share",), STEPS: ("survival", "median", "iqm")}
"""Statistics that a metric has, its default first; all other metrics have ``OTHERS``."""
OTHERS = ("median", "iqm")
NAMES = {
    STEPS: "steps to solve",
    **{f"{what}_{when}": f"{what}, {when}" for what in ("reach", "rate", "growth") for when in WHEN},
    **{f"lyapunov_{when}": f"Lyapunov, {when}" for when in WHEN},
    SPEED: "ms a step",
    MULTIPLY_ADDS: "multiply-adds",
    MEMORY: "memory, MB",
}
"""Names of metrics in tables; the name of any other metric is shown with spaces, or in capitals as an acronym."""
LONGEST_ACRONYM = 3
"""Letters up to which the name of a metric counts as an acronym."""


@dataclass(frozen=True)
class MetricEstimate:
    """One number over the runs of a place.

    Attributes:
        metric: Name of the metric that was measured.
        statistic: A key of :data:`STATISTICS`.
        value: ``None`` if no run has a value; infinite if the number lies among diverged runs, or is later than the
            budget.
        low: Lower end of the 95 % interval; ``None`` if there is no interval.
        high: Upper end of the interval; infinite if the interval is open.
        n: Number of runs that the number is taken over.
        better: ``higher``, ``lower``, or ``None`` if neither is better.
    """

    metric: str
    statistic: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    better: str | None


@dataclass(frozen=True)
class Counts:
    """What became of the runs of a place.

    Attributes:
        results: Number of completed and diverged runs.
        solved: How many of these solved their task.
        unfinished: Number of runs of each status in :data:`UNFINISHED` that occurs.
    """

    results: int
    solved: int
    unfinished: dict[str, int]


def results(runs: Iterable[Run]) -> list[Run]:
    """Return those that have a result; a diverged run is one."""
    return [run for run in runs if run.has_result]


def counts_of(runs: Iterable[Run]) -> Counts:
    """Return what became of runs."""
    runs = list(runs)
    kept = results(runs)
    by_status = {status: sum(run.status == status for run in runs) for status in UNFINISHED}
    return Counts(len(kept), sum(run.record.solved for run in kept), {name: n for name, n in by_status.items() if n})


def check_metric(metric: str, runs: Iterable[Run]) -> None:
    """Make sure that a metric is one of these runs.

    Raises:
        ValueError: It is not; the message gives the nearest name.
    """
    _check("metric", metric, known_metrics(runs))


def known_metrics(runs: Iterable[Run]) -> list[str]:
    """Return the metrics that some runs can have."""
    tasks = (name for run in runs for name in (*_scores(run), *run.record.metrics["test"]))
    return list(dict.fromkeys((*EVERY_RUN, *tasks)))


def check_statistic(statistic: str, metrics: Sequence[str] | None) -> None:
    """Check that there is such a statistic, and that at least one of the metrics has it.

    Raises:
        ValueError: There is none, with the nearest name; or none of the metrics has it.
    """
    _check("statistic", statistic, STATISTICS)
    allowed = dict.fromkeys(name for metric in metrics or () for name in OF.get(metric, OTHERS))
    if metrics is not None and statistic not in allowed:
        raise ValueError(f"`statistic` of {', '.join(metrics)} must be {one_of(statistic, allowed)}")


def default_statistic(metric: str, wanted: str | None = None) -> str:
    """Return the wanted statistic if the metric has it, else the metric's default."""
    allowed = OF.get(metric, OTHERS)
    return wanted if wanted is not None and wanted in allowed else allowed[0]


def estimate(runs: Sequence[Run], metric: str, statistic: str) -> MetricEstimate:
    """Return one number over runs that differ in nothing but the seed; where they differ in more, these are strata.

    Args:
        runs: The runs, of which those with a result count. A diverged run has no score and counts as the worst.
        metric: See :func:`check_metric`.
        statistic: See :func:`check_statistic`.
    """
    kept = results(runs)
    if not kept:
        return MetricEstimate(metric, statistic, None, None, None, 0, better_of(metric, runs))
    if metric == SOLVED:
        share = intervals.success(sum(run.record.solved for run in kept), len(kept))
        assert share.interval is not None
        return MetricEstimate(
            metric, statistic, share.value, share.interval.low, share.interval.high, len(kept), "higher"
        )
    if metric == STEPS and statistic == "survival":
        return _survival(kept)
    pairs = [(value, run.stratum) for run in kept for value in values_of([run], metric)]
    return _over_seeds(metric, statistic, pairs, better_of(metric, kept))


def values_of(runs: Sequence[Run], metric: str) -> list[float]:
    """Return the value of each run that has one: NaN for a diverged run's score, infinite for steps without success."""
    if metric == SOLVED:
        found = [run.record.solved for run in runs]
    elif metric in PROBED:
        found = [probed(run, metric) for run in runs]
    elif metric == STEPS:
        found = [math.inf if run.record.steps_to_solve is None else run.record.steps_to_solve for run in runs]
    elif metric in COSTS:
        found = [cost_of(run, metric) for run in runs]
    elif metric == SPEED:
        found = [run.record.time[metric] for run in runs]
    else:
        # A run of another task does not have the metric, which is no failure of the run.
        having = [
            run
            for run in runs
            if metric in run.record.metrics["test"] or (run.status == "diverged" and _has(run, metric))
        ]
        scores = (run.record.metrics["test"].get(metric) for run in having)
        found = [math.nan if score is None else score for score in scores]
    return [float(value) for value in found if value is not None]


def cost_of(run: Run, metric: str) -> float | int | None:
    """Return one of :data:`COSTS` of a run; ``None`` where its record does not say."""
    if metric == MEMORY:
        found = run.record.model.get("memory_bytes")
        return None if found is None else found / 1e6
    return run.record.model.get(metric)


def probed(run: Run, metric: str) -> float | int | None:
    """Return one of :data:`PROBED` of a run; ``None`` where it was not measured or does not exist."""
    what, _, when = metric.rpartition("_")
    looks = run.exponents if what == "lyapunov" else run.reach
    found = None if looks is None else looks.start if when == UNTRAINED else looks.end
    return getattr(found, what) if isinstance(found, Reach) else found


def better_of(metric: str, runs: Sequence[Run]) -> str | None:
    """Return whether higher or lower is better."""
    if metric == SOLVED:
        return "higher"
    if metric == STEPS:
        return "lower"
    if metric in (*PROBED, *COSTS, SPEED) or not runs:
        return None
    # A metric of another task has no values here, whichever is better.
    return runs[0].record.directions.get(metric.partition("@")[0], "higher")


def times(runs: Sequence[Run]) -> tuple[list[int], list[bool]]:
    """Return the time to solve of each run, or its whole budget where it did not, and whether it did."""
    found = [(run.record.steps_to_solve, run.budget) for run in runs]
    return [budget if steps is None else steps for steps, budget in found], [steps is not None for steps, _ in found]


def bimodal(runs: Sequence[Run], metric: str) -> str | None:
    """Say where runs fall into two groups by a score; see :func:`bench.stats.small_samples.two_groups`."""
    values = values_of(results(runs), metric)
    groups = small_samples.two_groups(values) if values else None
    return groups.note if groups is not None else None


def overlap(one: MetricEstimate, other: MetricEstimate) -> bool:
    """Return whether two intervals have a point in common; a missing interval may overlap with any."""
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return True
    return one.low <= other.high and other.low <= one.high


def best_of(numbers: Sequence[MetricEstimate | None]) -> int | None:
    """Return the place of the best of several numbers, if its interval is apart from those of all others.

    Bootstrap intervals of under :data:`LEAST_RUNS` runs set nothing apart: for two equal cells they are apart in a
    third of all cases with 2 runs each, and in a tenth with 3.
    """
    there = {i: number for i, number in enumerate(numbers) if number is not None and number.value is not None}
    better = {number.better for number in there.values()}
    if len(there) < 2 or len(better) != 1 or better == {None}:
        return None
    sign = 1 if better == {"higher"} else -1
    first = max(there, key=lambda i: sign * (there[i].value or 0.0))
    if any(number.statistic in OTHERS and number.n < LEAST_RUNS for number in there.values()):
        return None
    if any(overlap(there[first], other) for i, other in there.items() if i != first):
        return None
    return first


def _has(run: Run, metric: str) -> bool:
    """Return whether the task of a run has a score, also where the run has none."""
    return metric in ("loss", *_scores(run), *run.record.task_facts["baselines"])


def _scores(run: Run) -> tuple[str, ...]:
    """Return what the task of a run measures, its own metric first."""
    return run.record.task_facts["metric"], *run.record.task_facts["extra_metrics"]


def _survival(runs: Sequence[Run]) -> MetricEstimate:
    found = survival.median_time(*times(runs))
    # A median that is not reached is later than the budget, and an open end has no number: both are infinite here.
    value = math.inf if found.value is None else found.value
    high = math.inf if found.high is None else found.high
    return MetricEstimate(STEPS, "survival", value, found.low, None if found.low is None else high, len(runs), "lower")


def _over_seeds(
    metric: str, statistic: str, pairs: Sequence[tuple[float, Hashable]], better: str | None
) -> MetricEstimate:
    if not pairs:
        return MetricEstimate(metric, statistic, None, None, None, 0, better)
    values = [value for value, _ in pairs]
    numbers = {stratum: number for number, stratum in enumerate(dict.fromkeys(distinct(each for _, each in pairs)))}
    strata = [numbers[stratum] for _, stratum in pairs] if len(numbers) > 1 else None
    function = intervals.median if statistic == "median" else intervals.interquartile_mean
    found = function(values, seed=SEED, better=better, strata=strata)
    ends = (found.interval.low, found.interval.high) if found.interval is not None else (None, None)
    return MetricEstimate(metric, statistic, found.value, *ends, found.n, better)


def _check(key: str, name: str, allowed: Iterable[str]) -> None:
    names = list(allowed)
    if name not in names:
        raise ValueError(f"`{key}` must be {one_of(name, names)}")


def name_of(metric: str) -> str:
    """Return the name of a metric in a table; ``mse@2`` is that of the test set at twice the delay."""
    metric, _, scale = metric.partition("@")
    if scale:
        return f"{name_of(metric)} at {scale}x"
    return NAMES.get(metric) or (metric.upper() if len(metric) <= LONGEST_ACRONYM else metric.replace("_", " "))
