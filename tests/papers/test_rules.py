"""The rule for each kind of claim: its verdicts on runs made up for it, and that more evidence never counts less."""

from __future__ import annotations

import itertools
import statistics
from typing import Any

import msgspec
import pytest

from bench.analysis.run import Run
from bench.papers.claims import Claim
from bench.papers.verdicts import judge
from tests.claims_made import HAIR, LEARNT, NEVER, SOLVED, STUCK, WORSE, claim, run, runs


def ends(*values: float) -> list[Run]:
    return [run(seed, value) for seed, value in enumerate(values)]


def number(value: float, unit: str = "mse", metric: str | None = "mse", **changes: Any) -> Claim:
    return claim(**{"says": "number", "value": float(value), "unit": unit, "metric": metric, **changes})


class TestSolves:
    @pytest.mark.parametrize(
        ("solved", "n", "verdict"),
        [
            (5, 5, "reproduced"),  # the interval begins at 0.57
            (4, 4, "reproduced"),  # 0.51
            (3, 3, "direction only"),  # 0.44
            (4, 5, "direction only"),  # 0.38
            (2, 4, "direction only"),
            (2, 5, NEVER),
            (0, 5, NEVER),
        ],
    )
    def test_by_the_share_that_solved(self, solved: int, n: int, verdict: str):
        judged = judge(claim(), runs(solved, n))
        assert (judged.verdict, judged.n, judged.solved, judged.steps) == (verdict, n, solved, 20_000)
        assert judged.ours == solved / n

    def test_the_reason_has_the_numbers(self):
        assert judge(claim(), runs(4, 5)).reason == "4/5 runs solved (95 % interval 0.38 to 0.96)"


@pytest.mark.parametrize(
    ("solved", "n", "verdict"),
    [
        (0, 5, "reproduced"),  # the interval ends at 0.43
        (0, 3, "direction only"),  # 0.56
        (1, 5, "direction only"),  # 0.62
        (2, 5, "direction only"),
        (2, 4, "undecided"),
        (4, 5, "undecided"),
        (5, 5, "contradicts"),
    ],
)
def test_fails(solved: int, n: int, verdict: str):
    enough = judge(claim(says="fails", budget=20_000), runs(solved, n))
    assert (enough.verdict, enough.ours, enough.long_enough) == (verdict, solved / n, True)
    for budget in (None, 20_001):
        judged = judge(claim(says="fails", budget=budget), runs(solved, n))
        assert judged.verdict == (NEVER if verdict in ("reproduced", "direction only") else verdict)
        assert not judged.long_enough


class TestAtBaseline:
    @pytest.mark.parametrize(
        ("records", "verdict"),
        [
            (ends(STUCK, STUCK, STUCK, STUCK, WORSE), "reproduced"),
            (ends(HAIR, HAIR, HAIR, HAIR, HAIR), "reproduced"),
            (ends(STUCK, STUCK, STUCK, STUCK), "direction only"),  # four runs give no interval
            (ends(LEARNT, STUCK, STUCK, STUCK, STUCK), "direction only"),
            (ends(0.11, 0.12, 0.13, STUCK, STUCK), "undecided"),
            (ends(0.11, 0.12, 0.13, 0.14, 0.15), "contradicts"),  # none solved, and all clearly below
            (runs(4, 4), "contradicts"),
        ],
    )
    def test_by_the_metric(self, records: list[Run], verdict: str):
        assert judge(claim(says="at_baseline", budget=20_000), records).verdict == verdict
        short = judge(claim(says="at_baseline"), records).verdict
        assert short == (NEVER if verdict in ("reproduced", "direction only") else verdict)

    def test_who_trained_longer_contradicts_nothing(self):
        for says in ("fails", "at_baseline"):
            judged = judge(claim(says=says, budget=3_000), runs(5, 5, at=15_000))
            assert judged.verdict == "undecided"
            assert judged.reason.endswith("; trained longer than the 3,000 steps of the paper")

    def test_who_diverged_was_not_at_the_baseline(self):
        gone = [run(seed, None, status="diverged", steps=7) for seed in range(5)]
        for says in ("fails", "at_baseline"):
            assert judge(claim(says=says, budget=20_000), gone).verdict == NEVER
            mixed = [*gone[:2], *ends(STUCK, STUCK, STUCK, STUCK, STUCK)[2:]]
            assert judge(claim(says=says, budget=20_000), mixed).verdict == "reproduced"


class TestBetter:
    CLAIM = claim(says="better", against={"cell": "lstm"}, metric="mse")

    @pytest.mark.parametrize(
        ("first", "second", "verdict"),
        [
            ((0.01, 0.02, 0.03, 0.04, 0.05), (0.06, 0.07, 0.08, 0.09, 0.1), "reproduced"),  # p = 2 / 252
            ((0.01, 0.02, 0.03, 0.04), (0.06, 0.07, 0.08, 0.09), "direction only"),  # too few
            ((0.01, 0.02, 0.08, 0.09, 0.1), (0.05, 0.06, 0.07, 0.11, 0.12), "direction only"),
            ((0.05, 0.05, 0.05), (0.05, 0.05, 0.05), "undecided"),
            ((0.06, 0.07, 0.08, 0.09, 0.1), (0.01, 0.02, 0.03, 0.04, 0.05), "contradicts"),
            ((0.165, 0.166, 0.166, 0.166, 0.166), (0.167, 0.168, 0.168, 0.169, 0.17), NEVER),  # neither has learned
        ],
    )
    def test_by_the_rank_sum_test(self, first: tuple[float, ...], second: tuple[float, ...], verdict: str):
        others = [run(seed, value, cell="lstm") for seed, value in enumerate(second)]
        assert judge(self.CLAIM, [*ends(*first), *others]).verdict == verdict

    def test_the_numbers(self):
        others = [run(seed, 0.3, cell="lstm") for seed in range(5)]
        judged = judge(self.CLAIM, [*ends(0.01, 0.02, 0.03, 0.04, 0.05), *others])
        assert (judged.ours, judged.measured) == (0.03, "mse 0.03 against 0.3")
        assert judged.reason == (
            "median mse 0.03 (95 % interval 0.01 to 0.05) against median mse 0.3 (95 % interval 0.3 to 0.3), "
            "baseline 0.167, rank-sum p = 0.0079"
        )


class TestBounds:
    @pytest.mark.parametrize(
        ("values", "verdict"),
        [
            ((0.1, 0.11, 0.12, 0.13, 0.14), "reproduced"),
            ((0.1, 0.11, 0.12, 0.13), "direction only"),
            ((0.1, 0.11, 0.12, 0.3, 0.4), "direction only"),
            ((0.1, 0.11, 0.25, 0.3, 0.4), "undecided"),
            ((0.5, 0.5, 0.5, 0.5, 0.5), "contradicts"),  # both would have passed for near 20 %
            ((0.9, 0.9, 0.9, 0.9, 0.9), "contradicts"),
        ],
    )
    def test_that_nothing_is_better(self, values: tuple[float, ...], verdict: str):
        # Within 0.04 the made up runs have 1 - mse.
        records = ends(*(1 - value for value in values))
        bound = claim(says="at_most", value=20.0, unit="percent", metric="within_tolerance", budget=20_000)
        judged = judge(bound, records)
        assert judged.verdict == verdict
        assert judged.ours == pytest.approx(100 * statistics.median(values))
        short = judge(msgspec.structs.replace(bound, budget=None), records).verdict
        assert short == (NEVER if verdict in ("reproduced", "direction only") else verdict)

    @pytest.mark.parametrize(
        ("values", "verdict"),
        [
            ((0.01, 0.01, 0.02, 0.02, 0.02), "reproduced"),
            ((0.01, 0.01, 0.02, 0.06, 0.07), "direction only"),
            ((0.01, 0.02, 0.06, 0.06, 0.07), NEVER),
        ],
    )
    def test_that_it_is_as_good(self, values: tuple[float, ...], verdict: str):
        assert judge(number(0.05, says="at_most"), ends(*values)).verdict == verdict


SUPPORT = {"contradicts": -2, "undecided": -1, NEVER: 0, "direction only": 1, "reproduced": 2}
LEVELS = (STUCK, LEARNT, 0.05, SOLVED)
"""Errors from bad to good."""


class TestMonotone:
    """No outcome that says more for a claim gets a verdict that says less for it, over all outcomes of a few runs."""

    @pytest.mark.parametrize("budget", [None, 20_000])
    @pytest.mark.parametrize(("says", "sign"), [("solves", 1), ("fails", -1)])
    def test_in_the_number_that_solved(self, says: str, sign: int, budget: int | None):
        for n in range(1, 13):
            found = [SUPPORT[judge(claim(says=says, budget=budget), runs(k, n)).verdict] for k in range(n + 1)]
            assert found == sorted(found, reverse=sign < 0), n

    @pytest.mark.parametrize("budget", [None, 20_000])
    @pytest.mark.parametrize(
        ("made", "sign"),
        [
            (claim(says="below_baseline"), 1),
            (claim(says="at_baseline"), -1),
            (number(0.05, says="at_most"), 1),
            (number(0.9, "share", "within_tolerance", says="at_least"), 1),
            (number(0.9, "share", "within_tolerance", says="at_most"), -1),
        ],
    )
    @pytest.mark.parametrize("n", [4, 5])
    def test_in_the_metric_of_each_run(self, made: Claim, sign: int, budget: int | None, n: int):
        made = msgspec.structs.replace(made, budget=budget)
        found = {
            levels: SUPPORT[judge(made, ends(*(LEVELS[level] for level in levels))).verdict]
            for levels in itertools.combinations_with_replacement(range(len(LEVELS)), n)
        }
        for levels, support in found.items():
            for place in range(n):
                better = tuple(sorted((*levels[:place], levels[place] + 1, *levels[place + 1 :])))
                assert sign * (found.get(better, support) - support) >= 0, (levels, better)

    def test_in_what_each_side_solved(self):
        made = TestBefore.CLAIM
        for n in (3, 5, 6):
            table = [
                [SUPPORT[judge(made, runs(k, n) + runs(m, n, cell="lstm")).verdict] for k in range(n + 1)]
                for m in range(n + 1)
            ]
            for row in table[1:]:  # With none of the other side, none of this one says only that.
                assert row == sorted(row)
            assert table[0][1:] == sorted(table[0][1:])
            for column in list(zip(*table, strict=True))[1:]:
                assert list(column) == sorted(column, reverse=True)

    def test_a_number_in_less_spread(self):
        for middle in (0.0003, 0.0005, 0.001, 0.0019, 0.0025):
            found = []
            for spread in (8.0, 4.0, 2.0, 1.5, 1.1, 1.0):
                values = [middle * spread**power for power in (-1, -0.5, 0, 0.5, 1)]
                found.append(SUPPORT[judge(number(0.001), ends(*values)).verdict])
            assert found == sorted(found), middle


class TestBelowBaseline:
    @pytest.mark.parametrize(
        ("records", "verdict"),
        [
            (runs(5, 5), "reproduced"),
            (runs(4, 4), "reproduced"),  # by the share, because these are too few for an interval of the median
            (ends(0.11, 0.12, 0.13, 0.14, 0.15), "reproduced"),
            (ends(0.11, 0.12, 0.13, 0.14), "direction only"),  # four runs give no interval
            (ends(0.11, 0.12, 0.13, STUCK, WORSE), "direction only"),
            (ends(LEARNT), "direction only"),
            (ends(0.11, STUCK, STUCK, STUCK, STUCK), NEVER),
            (ends(0.11, 0.12, WORSE, WORSE, WORSE), NEVER),
        ],
    )
    def test_by_the_median(self, records: list[Run], verdict: str):
        assert judge(claim(says="below_baseline"), records).verdict == verdict

    def test_the_numbers(self):
        judged = judge(claim(says="below_baseline"), ends(0.11, 0.12, 0.13, 0.14, 0.15))
        assert judged.ours == 0.13
        assert judged.reason == (
            "0/5 runs solved (95 % interval 0.00 to 0.43); median mse 0.13 (95 % interval 0.11 to 0.15), baseline 0.167"
        )

    def test_a_metric_that_is_better_higher(self):
        # The error is 1 - metric; the baseline is 0.0784.
        better = claim(says="below_baseline", metric="within_tolerance")
        assert judge(better, ends(0.5, 0.5, 0.6, 0.6, 0.6)).verdict == "reproduced"
        assert judge(better, ends(0.95, 0.95, 0.96, 0.96, 0.96)).verdict == NEVER

    def test_the_loss_is_better_lower_also_beside_a_metric_that_is_better_higher(self):
        facts = {"metric": "recall", "higher_is_better": True, "baselines": {"recall": 0.125, "loss": 0.1733}}
        copies = [run(seed, 0.14 + seed / 100, task_facts=facts) for seed in range(5)]
        judged = judge(claim(says="below_baseline", metric="loss"), copies)
        assert (judged.verdict, judged.ours) == ("direction only", pytest.approx(0.16))

    def test_a_run_that_diverged_is_the_worst(self):
        gone = [run(seed, None, status="diverged") for seed in (3, 4, 5)]
        judged = judge(claim(says="below_baseline"), [*ends(LEARNT, LEARNT), *gone])
        assert (judged.verdict, judged.ours, judged.n) == (NEVER, None, 5)
        assert "median mse diverged (95 % interval 0.12 to diverged)" in judged.reason

    def test_a_metric_that_no_run_has(self):
        words = "claim a-claim: `metric` must be one of loss, mse, within_tolerance, got 'mes'"
        with pytest.raises(ValueError, match=words):
            judge(claim(says="below_baseline", metric="mes"), ends(0.1))


class TestBefore:
    CLAIM = claim(says="before", against={"cell": "lstm"})

    @pytest.mark.parametrize(
        ("first", "second", "verdict"),
        [
            ((0, 5), (0, 5), NEVER),
            ((5, 5), (0, 5), "reproduced"),  # p = 2 / 252
            ((2, 5), (0, 5), "direction only"),
            ((3, 3), (0, 3), "direction only"),  # p = 2 / 20
            ((4, 4), (0, 4), "direction only"),  # p = 2 / 70, of too few runs
            ((1, 1), (0, 19), "direction only"),
            ((0, 4), (4, 4), "undecided"),
            ((0, 5), (2, 5), "undecided"),
            ((0, 5), (5, 5), "contradicts"),
        ],
    )
    def test_by_the_log_rank_test(self, first: tuple[int, int], second: tuple[int, int], verdict: str):
        judged = judge(self.CLAIM, runs(*first) + runs(*second, cell="lstm"))
        assert (judged.verdict, judged.n, judged.solved, judged.ours) == (verdict, first[1], first[0], None)

    def test_sooner_where_all_solve(self):
        # The number expected is 5/10 + 4/9 + 3/8 + 2/7 + 1/6.
        judged = judge(self.CLAIM, runs(5, 5, at=1000) + runs(5, 5, cell="lstm", at=3000))
        assert judged.verdict == "reproduced"
        assert judged.reason == "5/5 against 5/5 runs solved, 1.77 expected of the first, log-rank p = 0.0079"

    def test_nothing_between_equals(self):
        assert judge(self.CLAIM, runs(3, 5) + runs(3, 5, cell="lstm")).verdict == "undecided"

    def test_a_run_that_diverged_was_at_risk_to_the_end(self):
        # If they were censored when they diverged, at step 7, the LSTMs would say nothing, and p would be 1.
        gone = [run(seed, None, cell="lstm", status="diverged", steps=7) for seed in range(5)]
        judged = judge(self.CLAIM, runs(5, 5) + gone)
        assert judged.verdict == "reproduced"
        assert judged.reason == "5/5 against 0/5 runs solved, 1.77 expected of the first, log-rank p = 0.0079"

    def test_one_side_alone(self):
        judged = judge(self.CLAIM, runs(5, 5))
        assert (judged.verdict, judged.reason) == ("not run", "no record matches on one of the two sides")

    def test_budgets_that_only_one_side_has(self):
        short = run(0).record.config | {"training": {"max_steps": 500}}
        slow = [run(seed, cell="lstm", config=short, run_id=f"s{seed}") for seed in range(5)]
        judged = judge(self.CLAIM, runs(5, 5) + slow)
        assert (judged.verdict, judged.reason) == ("not run", "the two sides have no budget in common")
        quick = [run(seed, config=short, run_id=f"q{seed}") for seed in range(5)]
        assert judge(self.CLAIM, runs(5, 5) + slow + quick).verdict == "not solved in 500 steps"


class TestNumber:
    @pytest.mark.parametrize(
        ("value", "records", "verdict"),
        [
            (0.001, ends(0.0005, 0.001, 0.001, 0.002, 0.002), "reproduced"),
            (0.001, ends(0.0006, 0.0006, 0.0006, 0.0006, 0.0006), "reproduced"),  # no noise, and near
            (0.001, ends(0.0001, 0.0005, 0.001, 0.002, 0.01), "direction only"),  # around it, but wide
            (0.168, ends(0.166, 0.167, 0.168, 0.169, 0.17), NEVER),  # whoever trains less is at the baseline
            (0.001, ends(0.0005, 0.001, 0.001, 0.002), "direction only"),  # four: no interval
            (0.00001, ends(0.0005, 0.001, 0.001, 0.002, 0.003), "direction only"),
            (0.001, ends(STUCK, STUCK, STUCK, STUCK, STUCK), NEVER),
            (0.001, runs(2, 5), NEVER),  # within the interval, but on the other side of the baseline
            (HAIR, runs(0, 5), NEVER),  # a hair under the baseline is at it
            (STUCK, runs(3, 5), "undecided"),
            (STUCK, runs(5, 5), "contradicts"),
            (STUCK, ends(0.05, 0.05, 0.05, 0.05, 0.05), "undecided"),  # better, but unsolved
        ],
    )
    def test_of_a_metric(self, value: float, records: list[Run], verdict: str):
        assert judge(number(value), records).verdict == verdict

    def test_the_numbers(self):
        judged = judge(number(0.00005), runs(5, 5))
        assert judged.ours == 0.001
        assert judged.reason == (
            "median mse 0.001 (95 % interval 0.001 to 0.001), the paper's 5e-05, baseline 0.167; error 20 times the "
            "paper's; 5/5 runs solved"
        )

    def test_at_the_baseline_after_as_many_steps(self):
        assert judge(number(HAIR, budget=20_000), runs(0, 5)).verdict == "reproduced"

    def test_an_error_of_a_share_is_at_least_half_a_sequence(self):
        perfect = number(1.0, "share", "within_tolerance")
        config = run(0).record.config | {"data": {"batch_size": 32, "test_size": 1000}}
        for wrong, verdict in ((0.0, "reproduced"), (0.001, "reproduced"), (0.002, "direction only")):
            assert judge(perfect, [run(seed, wrong, config=config) for seed in range(5)]).verdict == verdict

    @pytest.mark.parametrize(("value", "unit", "ours"), [(0.75, "share", 0.75), (75, "percent", 75.0)])
    def test_shares_and_percent(self, value: float, unit: str, ours: float):
        judged = judge(number(value, unit, "within_tolerance"), ends(0.2, 0.25, 0.25, 0.25, 0.3))
        assert (judged.verdict, judged.ours) == ("reproduced", ours)
        # The error of 0.55 is over half of the baseline's error of 0.92, and more than twice the paper's.
        assert judge(number(value, unit, "within_tolerance"), ends(0.55, 0.55, 0.55, 0.55, 0.55)).verdict == NEVER

    def test_between_the_baseline_and_half_of_it(self):
        # A paper's 0.1 has learned, though little: who has not is not near it, and who has learned more is.
        assert judge(number(0.1), ends(STUCK, STUCK, STUCK, STUCK, STUCK)).verdict == NEVER
        assert judge(number(0.1), ends(0.08, 0.08, 0.08, 0.08, 0.08)).verdict == "reproduced"
        assert judge(number(0.1), ends(0.01, 0.01, 0.01, 0.01, 0.01)).verdict == "direction only"

    @pytest.mark.parametrize(
        ("solved", "value", "verdict", "ours"),
        [
            (5, 38_400, "reproduced", 38_400),
            (5, 25_000, "reproduced", 38_400),
            (5, 20_000, "direction only", 38_400),  # the interval ends at 44,800
            (5, 90_000, "direction only", 38_400),
            (3, 38_400, "direction only", 38_400),  # the two that did not solve need more than any number
            (2, 38_400, NEVER, None),
            (0, 38_400, NEVER, None),
        ],
    )
    def test_of_sequences(self, solved: int, value: float, verdict: str, ours: float | None):
        judged = judge(number(value, "sequences", None), runs(solved, 5))
        assert (judged.verdict, judged.ours) == (verdict, ours)

    def test_of_steps(self):
        judged = judge(number(74_000, "steps", None), runs(5, 5))
        assert (judged.verdict, judged.ours) == ("direction only", 1200)
        assert judged.reason == (
            "5/5 runs solved, median 1,200 steps (95 % interval 1,000 to 1,400), 0.016 times the paper's 74,000"
        )


class TestCaps:
    INSIDE = ends(0.0005, 0.001, 0.001, 0.002, 0.002)

    def test_a_number_of_hidden_settings(self):
        judged = judge(number(0.001, tuning="hidden"), self.INSIDE)
        assert (judged.verdict, judged.marks) == ("direction only", ())
        assert judged.reason.endswith("; the paper hides the settings of its run")
        assert judge(number(STUCK, tuning="hidden"), runs(5, 5)).verdict == "contradicts"

    def test_hidden_settings_cap_numbers_alone(self):
        assert judge(claim(tuning="hidden"), runs(5, 5)).verdict == "reproduced"

    @pytest.mark.parametrize(
        ("made", "records", "verdict"),
        [
            (number(0.001), INSIDE, "direction only"),
            (claim(), runs(5, 5), "direction only"),
            (claim(), runs(0, 5), NEVER),
            (claim(says="below_baseline"), runs(5, 5), "direction only"),
            (claim(says="before", against={"cell": "lstm"}), runs(5, 5) + runs(0, 5, cell="lstm"), "direction only"),
            (claim(says="fails"), runs(5, 5), "undecided"),
        ],
    )
    def test_another_protocol(self, made: Claim, records: list[Run], verdict: str):
        judged = judge(msgspec.structs.replace(made, protocol_differs="all is ours"), records)
        assert (judged.verdict, judged.marks) == (verdict, ("protocol differs",))
        assert judged.reason.endswith("; another protocol: all is ours") == (verdict != NEVER)

    def test_from_memory(self):
        judged = judge(claim(source="unverified", protocol_differs="so it is"), runs(5, 5))
        assert judged.marks == ("unverified", "protocol differs")
        alone = judge(claim(source="unverified"), runs(5, 5))
        assert (alone.verdict, alone.reason.partition("; ")[2]) == ("direction only", "quoted from memory")
        assert judge(claim(source="unverified", says="fails"), runs(5, 5)).verdict == "undecided"
        assert judge(claim(source="unverified"), []).marks == ("unverified",)
