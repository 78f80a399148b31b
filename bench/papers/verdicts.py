"""Verdicts on whether our runs support what a paper says, by one rule for each kind of claim.

The rules count runs with a result, completed or diverged, one for each seed. k of n runs solved their task, and N is
their budget in steps. Intervals are at 95 %: Wilson's for shares, the sign test's for medians. An interval of a median
takes at least 5 runs; of fewer it covers too little to carry a verdict. A run that diverged has the worst possible
value, and needs more steps than any other.

==============  ==========================================================  ========================
a paper says    our runs                                                    verdict
==============  ==========================================================  ========================
solves          lower end of k/n above 1/2                                  reproduced
                k/n at least 1/2                                            direction only
                fewer                                                       not solved in N steps
fails           upper end of k/n under 1/2                                  reproduced (1)
                k/n under 1/2                                               direction only (1)
                lower end of k/n above 1/2                                  contradicts
                otherwise                                                   undecided
at_baseline     no end of the median's interval below the baseline          reproduced (1)
                median not below it                                         direction only (1)
                both ends below it, or lower end of k/n above 1/2           contradicts
                otherwise                                                   undecided
below_baseline  both ends below it, or lower end of k/n above 1/2           reproduced
                median below the baseline                                   direction only
                otherwise                                                   not solved in N steps
before          no run of either side solved                                not solved in N steps
                sooner by the log-rank test, p <= 0.05, 5 runs a side       reproduced
                sooner, p > 0.05 or fewer runs                              direction only
                later, p <= 0.05, 5 runs a side                             contradicts
                otherwise                                                   undecided
better          neither side's median below the baseline                    not solved in N steps
                by the rank-sum test, as above                              as above
number          both at the baseline, whole interval near the paper's       reproduced (1)
(of a metric)   both at the baseline                                        direction only (1)
                the paper's at it, ours below, lower end of k/n above 1/2   contradicts
                the same with fewer solved                                  undecided
                both below it, whole interval near the paper's              reproduced
                both below it                                               direction only
                the paper's far below it, ours not                          not solved in N steps
number          k/n at least 1/2, whole interval near the paper's number    reproduced
(of sequences,  k/n at least 1/2                                            direction only
steps)          fewer                                                       not solved in N steps
at_most,        whole interval within the bound                             reproduced (1 if it says "no better")
at_least        median within it                                            direction only (likewise)
                whole interval outside, on the better side                  contradicts
                median outside, on the better side                          undecided
                median outside, on the worse side                           not solved in N steps
any             no run with a result                                        not run: no verdict
==============  ==========================================================  ========================

(1) Only runs that trained at least as long as the paper's show that something is not learned. Where that is not so, or
not known, or where half of the runs diverged, the verdict is "not solved in N steps".

An error counts as below the baseline if it is under 95 % of the baseline's error, which a network that always gives the
same answer does not reach by chance; papers at a baseline print numbers just under it. It is far below if it is under
half. For a metric that is better higher, the error is the distance from 1. Near means within a factor of 2: of the
error, or of the number of steps or sequences. An error of a share is taken as at least half of one test sequence. A
side is sooner if more of its runs solved than the log-rank test expects. Both tests count all ways to deal up to 20
runs to the two sides.

A negative result within a budget never contradicts a paper, and neither does what runs learn that train longer than the
paper's: the verdict is then "undecided". If a paper hides the settings of a number, if we quote it from memory, or if
our protocol differs from the paper's, the verdict is at most "direction only". Quoted from memory or by a different
protocol nothing contradicts a paper either; the verdict is then "undecided" too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.analysis.run import Run
from bench.papers.claims import VALUED, Claim
from bench.papers.matching import counted, matching
from bench.papers.rules import (
    CONTRADICTS,
    DIRECTION,
    NOT_RUN,
    REPRODUCED,
    RULES,
    UNDECIDED,
    count_solved,
    long_enough,
)


@dataclass(frozen=True)
class Judgement:
    """The result of comparing our runs with a claim.

    Attributes:
        claim: The claim.
        verdict: See the module; ``not run`` means that there is no verdict.
        ours: Our number beside the paper's value, in its unit: the median of a metric, or of the effort, in which a run
            that did not solve counts as more than any number; for ``solves`` and ``fails`` the share of the runs that
            solved. ``None`` if there is none, for example because the median run diverged.
        n: Number of runs counted; for ``before`` and ``better``, those of the first side.
        solved: How many of them solved.
        steps: Their budget, ``training.max_steps``; ``None`` if there are no runs.
        reason: The numbers behind the verdict, in a sentence.
        marks: ``unverified``: the claim is from memory. ``protocol differs``: our runs are not the paper's.
            ``other settings left out``: matching runs had several settings, and those of most seeds were taken.
        measured: The metric and its median, where they are compared with something else than a number.
        long_enough: Whether the runs trained at least as long as the paper's, as far as that is known.
        runs: Ids of the runs counted, of both sides.
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
    long_enough: bool = False
    runs: frozenset[str] = frozenset()


def judge(claim: Claim, runs: Iterable[Run]) -> Judgement:
    """Judge one claim by our runs.

    Args:
        claim: The claim.
        runs: Any runs; those that the claim is not about are passed over.

    Raises:
        ValueError: The claim names a metric that its runs do not have.
    """
    every = list(runs)
    sides = [matching(claim, every, against=other) for other in ((False, True) if claim.against else (False,))]
    shared = set.intersection(*({run.budget for run in side if run.has_result} for side in sides))
    marks = ["unverified"] * (claim.source == "unverified") + ["protocol differs"] * bool(claim.protocol_differs)
    if not shared:
        return Judgement(claim, NOT_RUN, None, 0, 0, None, _missing(sides), tuple(marks))
    # The budget is the one that most runs have; otherwise one long run among many short ones would stand for them all.
    budget = max(shared, key=lambda each: (min(len(counted(side, each)[0]) for side in sides), each))
    chosen = [counted(side, budget) for side in sides]
    left_out = any(others for _, others in chosen) or len(shared) > 1
    counts = chosen[0][0]
    finding = RULES[claim.says](claim, [members for members, _ in chosen], budget)
    verdict, cap = _capped(claim, finding.verdict, budget)
    if left_out:
        marks.append("other settings left out")
    return Judgement(
        claim,
        verdict,
        finding.ours,
        len(counts),
        count_solved(counts),
        budget,
        finding.reason + cap,
        tuple(marks),
        finding.measured,
        long_enough(claim, budget),
        frozenset(run.run_id for members, _ in chosen for run in members),
    )


def _missing(sides: Sequence[Sequence[Run]]) -> str:
    where = "" if len(sides) == 1 else " on one of the two sides"
    if not all(sides):
        return f"no record matches{where}"
    if not all(any(run.has_result for run in side) for side in sides):
        return f"none of the matching runs has a result{where}"
    return "the two sides have no budget in common"


def _capped(claim: Claim, verdict: str, budget: int) -> tuple[str, str]:
    """Return the best verdict that a claim can have, and what to add to the reason."""
    if verdict in (REPRODUCED, CONTRADICTS) and (claim.protocol_differs or claim.source == "unverified"):
        reason = f"another protocol: {claim.protocol_differs}" if claim.protocol_differs else "quoted from memory"
        return (DIRECTION if verdict == REPRODUCED else UNDECIDED), f"; {reason}"
    if verdict == CONTRADICTS and claim.budget is not None and budget > claim.budget:
        return UNDECIDED, f"; trained longer than the {claim.budget:,} steps of the paper"
    if claim.says in VALUED and claim.tuning == "hidden" and verdict == REPRODUCED:
        return DIRECTION, "; the paper hides the settings of its run"
    return verdict, ""
