"""Do our runs bear out what a paper says? One rule for each kind of claim, as pure functions.

Counted are runs with a result, completed or diverged, one a seed. k of n solved their task; N is their budget in
steps. Intervals: 95 %, Wilson for shares, bootstrap for medians, where an interval takes at least 5 runs: of fewer it
covers too little to carry a verdict. A run that diverged has the worst value there is.

==============  ==========================================================  ========================
a paper says    our runs                                                    verdict
==============  ==========================================================  ========================
solves          lower end of k/n above 1/2                                  reproduced
                k/n at least 1/2                                            direction only
                fewer                                                       not solved in N steps
fails           k = 0                                                       not solved in N steps
                lower end of k/n above 1/2                                  contradicts
                k/n under 1/2                                               direction only
                otherwise                                                   undecided
below_baseline  lower end of k/n above 1/2, or interval of the median       reproduced
                below the baseline
                median below the baseline                                   direction only
                otherwise                                                   not solved in N steps
before          none of both sides solved                                   not solved in N steps
                sooner by the log-rank test, p <= 0.05                      reproduced
                sooner, p > 0.05                                            direction only
                later, p <= 0.05                                            contradicts
                otherwise                                                   undecided
number          in the interval of the median, on one side                  reproduced
(of a metric)   on one side of the baseline                                 direction only
                the paper's beats the baseline, ours does not               not solved in N steps
                ours beats it, the paper's does not, lower end of k/n       contradicts
                above 1/2
                the same with fewer solved                                  undecided
number          k/n at least 1/2                                            direction only
(of sequences,  fewer                                                       not solved in N steps
steps)
any             no run with a result                                        not run: no verdict
==============  ==========================================================  ========================

Below the baseline is an error under 95 % of the baseline's, which a network that always answers the same does not reach
by chance. A number beats the baseline where its error is under half of the baseline's; the error of a metric that is
better higher is its distance from 1. A median a hair under the baseline is so on the baseline's side: papers at a
baseline print such numbers. Whether a run is sooner: more of its side solved than the log-rank test expects.

A negative within a budget never contradicts a paper. Where a paper hides the settings of a number, or our protocol is
another than the paper's, the most that can be said is "direction only"; another protocol does not contradict either,
that is "undecided".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.published import EFFORTS, Claim
from bench.record import FINAL, Record
from bench.selection import counted, matching
from bench.stats import Estimate, Interval, median, success
from bench.summary import LEAST_RUNS, budget_of
from bench.survival import log_rank

REPRODUCED, DIRECTION, CONTRADICTS, UNDECIDED = "reproduced", "direction only", "contradicts", "undecided"
NOT_RUN = "not run"
ALPHA = 0.05
HALF, LEARNT = 0.5, 0.95
"""Largest share of the baseline's error with which a number beats it, and a run has learned anything. A network that
answers the same always comes out a percent above or below the baseline, as its test set has it."""
_LOWER_IS_BETTER = ("loss", "mse", "absolute_error")
"""Beside a task's own metric, whose direction its records have."""


@dataclass(frozen=True)
class Judgement:
    """What our runs say of a claim.

    Attributes:
        claim: The claim.
        verdict: See the module; ``not run`` is none.
        ours: What stands beside the paper's value, in its unit: median of a metric, or of the effort of the runs that
            solved; for ``solves`` and ``fails`` the share of the runs that solved. ``None`` where there is none, as
            where the median run diverged.
        n: Runs counted; of ``before`` those of the first side.
        solved: How many of them solved.
        steps: Their budget, ``training.max_steps``; ``None`` where there are no runs.
        reason: The numbers behind the verdict, in a sentence.
        marks: ``unverified``: the claim is from memory. ``protocol differs``: our runs are not the paper's.
            ``other settings left out``: matching runs had several settings, and those of most seeds were taken.
        measured: The metric and its median, of ``below_baseline``.
    """

    claim: Claim
    verdict: str
    ours: float | None
    n: int
    solved: int
    steps: int | None
    reason: str
    marks: tuple[str, ...]
    measured: str = ""


@dataclass(frozen=True)
class _Finding:
    """A verdict before its caps, our number, and the reason."""

    verdict: str
    ours: float | None
    reason: str
    measured: str = ""


def judge(claim: Claim, records: Iterable[Record]) -> Judgement:
    """The verdict on one claim.

    Args:
        claim: The claim.
        records: Any records; those that the claim is not about are passed over.

    Raises:
        ValueError: The claim names a metric that its runs do not have.
    """
    every = list(records)
    sides = [matching(claim, every, against=other) for other in ((False, True) if claim.against else (False,))]
    shared = set.intersection(*({budget_of(record) for record in side if record.status in FINAL} for side in sides))
    marks = ["unverified"] * (claim.source == "unverified") + ["protocol differs"] * bool(claim.protocol_differs)
    if not shared:
        return Judgement(claim, NOT_RUN, None, 0, 0, None, _missing(sides), tuple(marks))
    # The budget that most runs have: one long run among many short ones would else stand for them all.
    budget = max(shared, key=lambda each: (min(len(counted(side, each)[0]) for side in sides), each))
    chosen = [counted(side, budget) for side in sides]
    left_out = any(others for _, others in chosen) or len(shared) > 1
    runs = chosen[0][0]
    finding = _RULES[claim.says](claim, [members for members, _ in chosen], budget)
    verdict, cap = _capped(claim, finding.verdict)
    if left_out:
        marks.append("other settings left out")
    return Judgement(
        claim,
        verdict,
        finding.ours,
        len(runs),
        _solved(runs),
        budget,
        finding.reason + cap,
        tuple(marks),
        finding.measured,
    )


def not_solved(budget: int) -> str:
    """The verdict on what was not seen within a budget of steps."""
    return f"not solved in {budget:,} steps"


def _missing(sides: Sequence[Sequence[Record]]) -> str:
    where = "" if len(sides) == 1 else " on one of the two sides"
    if not all(sides):
        return f"no record matches{where}"
    if not all(any(record.status in FINAL for record in side) for side in sides):
        return f"none of the matching runs has a result{where}"
    return "the two sides have no budget in common"


def _solved(records: Iterable[Record]) -> int:
    return sum(record.solved for record in records)


def _capped(claim: Claim, verdict: str) -> tuple[str, str]:
    """The verdict that a claim can have at best, and what to add to the reason."""
    if claim.protocol_differs and verdict in (REPRODUCED, CONTRADICTS):
        return (DIRECTION if verdict == REPRODUCED else UNDECIDED), f"; another protocol: {claim.protocol_differs}"
    if claim.says == "number" and claim.tuning == "hidden" and verdict == REPRODUCED:
        return DIRECTION, "; the paper hides the settings of its run"
    return verdict, ""


def _solves(claim: Claim, sides: Sequence[Sequence[Record]], budget: int) -> _Finding:
    share = success(_solved(sides[0]), len(sides[0]))
    verdict = REPRODUCED if _more_than_half(share) else DIRECTION if share.value >= 0.5 else not_solved(budget)
    return _Finding(verdict, share.value, _share_words(sides[0]))


def _fails(claim: Claim, sides: Sequence[Sequence[Record]], budget: int) -> _Finding:
    share = success(_solved(sides[0]), len(sides[0]))
    if share.value == 0:
        verdict = not_solved(budget)
    elif _more_than_half(share):
        verdict = CONTRADICTS
    else:
        verdict = DIRECTION if share.value < 0.5 else UNDECIDED
    return _Finding(verdict, share.value, _share_words(sides[0]))


def _below_baseline(claim: Claim, sides: Sequence[Sequence[Record]], budget: int) -> _Finding:
    runs = sides[0]
    name, lower, baseline = _metric(claim, runs[0])
    ours = _median(runs, name, lower)
    interval = _interval(ours)
    better = _beats(ours.value, baseline, lower, LEARNT)
    worst = None if interval is None else interval.high if lower else interval.low
    clear = worst is not None and _beats(worst, baseline, lower, LEARNT)
    clear = clear or _more_than_half(success(_solved(runs), len(runs)))
    verdict = REPRODUCED if clear else DIRECTION if better else not_solved(budget)
    reason = f"{_share_words(runs)}; {_median_words(name, ours)}, baseline {baseline:.3g}"
    return _Finding(verdict, _finite(ours.value), reason, f"{name} {ours.value:.3g}, baseline {baseline:.3g}")


def _before(claim: Claim, sides: Sequence[Sequence[Record]], budget: int) -> _Finding:
    times, flags, groups = [], [], []
    for name, runs in zip(("first", "second"), sides, strict=True):
        for run in runs:
            # A run that diverged will never solve: at risk for the whole budget, see bench.survival.
            times.append(run.steps_to_solve if run.solved and run.steps_to_solve is not None else budget)
            flags.append(run.solved)
            groups.append(name)
    test = log_rank(times, flags, groups)
    ahead = test.solved[0] - test.expected[0]
    verdict = UNDECIDED
    if not any(flags):
        verdict = not_solved(budget)
    elif ahead > 1e-9:
        verdict = REPRODUCED if test.p_value <= ALPHA else DIRECTION
    elif ahead < -1e-9 and test.p_value <= ALPHA:
        verdict = CONTRADICTS
    counts = " against ".join(f"{_solved(runs)}/{len(runs)}" for runs in sides)
    expected = f"{test.expected[0]:.3g} expected of the first"
    return _Finding(verdict, None, f"{counts} runs solved, {expected}, log-rank p = {test.p_value:.2g}")


def _number(claim: Claim, sides: Sequence[Sequence[Record]], budget: int) -> _Finding:
    runs, value = sides[0], claim.value
    assert value is not None
    if claim.unit in EFFORTS:
        return _effort(claim, runs, budget)
    scale = 100 if claim.unit == "percent" else 1
    name, lower, baseline = _metric(claim, runs[0])
    ours = _median(runs, name, lower)
    interval = _interval(ours)
    theirs_beats, ours_beats = (_beats(each, baseline, lower, HALF) for each in (value / scale, ours.value))
    if theirs_beats == ours_beats:
        inside = interval is not None and interval.low <= value / scale <= interval.high
        verdict = REPRODUCED if inside else DIRECTION
    elif theirs_beats:
        verdict = not_solved(budget)
    else:
        verdict = CONTRADICTS if _more_than_half(success(_solved(runs), len(runs))) else UNDECIDED
    words = f"{_median_words(name, ours, scale)}, the paper's {value:.3g}, baseline {scale * baseline:.3g}"
    return _Finding(verdict, _finite(scale * ours.value), f"{words}; {_solved(runs)}/{len(runs)} runs solved")


def _effort(claim: Claim, runs: Sequence[Record], budget: int) -> _Finding:
    """Sequences or steps until solved. Only runs that solved have them, so no interval speaks for all runs."""
    spent = [
        run.steps_to_solve * (run.config["data"]["batch_size"] if claim.unit == "sequences" else 1)
        for run in runs
        if run.solved and run.steps_to_solve is not None
    ]
    if not spent:
        return _Finding(not_solved(budget), None, f"0/{len(runs)} runs solved")
    ours = median(spent, seed=0).value
    verdict = DIRECTION if 2 * len(spent) >= len(runs) else not_solved(budget)
    compared = f"median {ours:,.0f} {claim.unit}, the paper's {claim.value:,.0f}"
    return _Finding(verdict, ours, f"{len(spent)}/{len(runs)} runs solved, these after {compared}")


_RULES: Mapping[str, Callable[[Claim, Sequence[Sequence[Record]], int], _Finding]] = {
    "solves": _solves,
    "fails": _fails,
    "below_baseline": _below_baseline,
    "before": _before,
    "number": _number,
}


def _metric(claim: Claim, run: Record) -> tuple[str, bool, float]:
    """Name of the metric, whether lower is better, and its baseline."""
    facts = run.task_facts
    name = claim.metric or facts["metric"]
    baseline = facts["baselines"].get(name)
    if baseline is None:
        allowed = ", ".join(facts["baselines"])
        raise ValueError(f"claim {claim.id}: `metric` must be one of {allowed}, got {name!r}")
    lower = not facts["higher_is_better"] if name == facts["metric"] else name in _LOWER_IS_BETTER
    return name, lower, baseline


def _median(runs: Iterable[Record], name: str, lower: bool) -> Estimate:
    found = (None if run.status == "diverged" else run.metrics["test"].get(name) for run in runs)
    values = [math.nan if value is None else value for value in found]
    return median(values, seed=0, better="lower" if lower else "higher")


def _interval(estimate: Estimate) -> Interval | None:
    return estimate.interval if estimate.n >= LEAST_RUNS else None


def _beats(value: float, baseline: float, lower: bool, share: float) -> bool:
    """Whether the error is under a share of the baseline's."""
    error, bound = (value, baseline) if lower else (1 - value, 1 - baseline)
    return error < share * bound


def _more_than_half(share: Estimate) -> bool:
    return share.interval is not None and share.interval.low > 0.5


def _share_words(runs: Sequence[Record]) -> str:
    interval = success(_solved(runs), len(runs)).interval
    between = f" (95 % interval {interval.low:.2f} to {interval.high:.2f})" if interval else ""
    return f"{_solved(runs)}/{len(runs)} runs solved{between}"


def _median_words(name: str, estimate: Estimate, scale: int = 1) -> str:
    interval = _interval(estimate)
    between = f" of {estimate.n} runs, too few for an interval"
    if interval:
        between = f" (95 % interval {_words(scale * interval.low)} to {_words(scale * interval.high)})"
    return f"median {name} {_words(scale * estimate.value)}{between}"


def _words(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "diverged"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
