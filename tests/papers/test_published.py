"""What papers report, read from ``conf/``, and the rule that compares our runs with it."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from bench.analysis.hyperparameters import as_text
from bench.analysis.run import Run
from bench.papers.claims import Claim, Published, read_claims
from bench.papers.matching import matching
from bench.papers.verdicts import Judgement, judge
from tests.claims_made import CLAIM, HAIR, LEARNT, NEVER, SOLVED, STUCK, WORSE, claim, run, runs
from tests.conftest import ROOT
from tests.records_made import make


def ends(*values: float) -> list[Run]:
    return [run(seed, value) for seed, value in enumerate(values)]


def number(value: float, unit: str = "mse", metric: str | None = "mse", **changes: Any) -> Claim:
    return claim(says="number", value=float(value), unit=unit, metric=metric, **changes)


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
        (0, 5, NEVER),
        (1, 5, "direction only"),
        (2, 5, "direction only"),
        (2, 4, "undecided"),
        (4, 5, "undecided"),
        (5, 5, "contradicts"),
    ],
)
def test_fails(solved: int, n: int, verdict: str):
    judged = judge(claim(says="fails"), runs(solved, n))
    assert (judged.verdict, judged.ours) == (verdict, solved / n)


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
            (0.001, ends(0.0005, 0.001, 0.001, 0.002, 0.003), "reproduced"),
            (0.168, ends(0.166, 0.167, 0.168, 0.169, 0.17), "reproduced"),
            (0.001, ends(0.0005, 0.001, 0.001, 0.002), "direction only"),  # four: no interval
            (0.00001, ends(0.0005, 0.001, 0.001, 0.002, 0.003), "direction only"),
            (0.001, ends(STUCK, STUCK, STUCK, STUCK, STUCK), NEVER),
            (0.001, runs(2, 5), NEVER),  # within the interval, but on the other side of the baseline
            (HAIR, runs(0, 5), "direction only"),  # a hair under the baseline is at it
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
            "median mse 0.001 (95 % interval 0.001 to 0.001), the paper's 5e-05, baseline 0.167; 5/5 runs solved"
        )

    @pytest.mark.parametrize(("value", "unit", "ours"), [(0.75, "share", 0.75), (75, "percent", 75.0)])
    def test_shares_and_percent(self, value: float, unit: str, ours: float):
        judged = judge(number(value, unit, "within_tolerance"), ends(0.2, 0.25, 0.25, 0.25, 0.3))
        assert (judged.verdict, judged.ours) == ("reproduced", ours)
        # The error of 0.5 is over half of the baseline's error of 0.92.
        assert judge(number(value, unit, "within_tolerance"), ends(0.5, 0.5, 0.5, 0.5, 0.5)).verdict == NEVER

    @pytest.mark.parametrize(
        ("solved", "verdict", "ours"), [(5, "direction only", 38_400), (3, "direction only", 35_200), (0, NEVER, None),
                                        (2, NEVER, 33_600)]
    )  # fmt: skip
    def test_of_sequences(self, solved: int, verdict: str, ours: float | None):
        judged = judge(number(38_400, "sequences", None), runs(solved, 5))
        assert (judged.verdict, judged.ours) == (verdict, ours)

    def test_of_steps(self):
        judged = judge(number(74_000, "steps", None), runs(5, 5))
        assert (judged.verdict, judged.ours) == ("direction only", 1200)
        assert judged.reason == "5/5 runs solved, these after median 1,200 steps, the paper's 74,000"


class TestCaps:
    INSIDE = ends(0.0005, 0.001, 0.001, 0.002, 0.003)

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
        assert judge(claim(source="unverified"), []).marks == ("unverified",)


class TestWhichRunsCount:
    def test_none(self):
        judged = judge(claim(), runs(5, 5, cell="lstm"))
        assert judged == Judgement(claim(), "not run", None, 0, 0, None, "no record matches", ())

    def test_only_those_with_a_result(self):
        ended = [run(seed, None, status=status) for seed, status in enumerate(("failed", "interrupted"))]
        judged = judge(claim(), ended)
        assert (judged.verdict, judged.reason) == ("not run", "none of the matching runs has a result")
        gone = run(2, None, status="diverged")
        assert (judge(claim(), [*ended, gone]).n, judge(claim(), [*ended, gone]).verdict) == (1, NEVER)

    @pytest.mark.parametrize(
        ("wanted", "found"),
        [
            ({}, True),
            ({"task.length": 100.0}, True),
            ({"task.length": "1e2"}, True),
            ({"task.length": 200}, False),
            ({"task": "copy_memory"}, False),
            ({"cell": "lstm"}, False),
            ({"task.markers": "halves"}, True),
            ({"cell.init.input": "torch"}, True),
            ({"cell.init.input": "glorot"}, False),
            ({"cell.forget_bias": None}, False),
            ({"model.layers.deeper": 1}, False),
            ({"training.clip_norm": None}, True),
            ({"training.clip_norm": "null"}, True),
            ({"training.clip_norm": 0}, False),
        ],
    )
    def test_matching(self, wanted: dict[str, Any], found: bool):
        record = run(0, config=run(0).record.config | {"training": {"max_steps": 100, "clip_norm": None}})
        assert bool(matching(claim(runs=CLAIM["runs"] | wanted), [record])) is found

    def test_another_experiment(self):
        assert matching(claim(), [run(0, experiment="horizon")]) == []

    def test_the_other_side(self):
        made = claim(says="before", against={"cell": "lstm"})
        both = [run(0), run(0, cell="lstm")]
        assert [matching(made, both, against=side)[0].cell for side in (False, True)] == ["gru", "lstm"]

    def test_as_overrides(self):
        given = [1, 1.0, "1e0", True, None, "chrono", 5e-4, "5.0e-4", [1, "x"]]
        assert [as_text(value) for value in given] == [
            "1.0", "1.0", "1.0", "true", "null", "chrono", "0.0005", "0.0005", "[1.0,x]"
        ]  # fmt: skip

    def test_the_budget_of_most_runs(self):
        short = [run(seed, SOLVED, 100, config=make().config, run_id=f"s{seed}") for seed in range(8)]
        judged = judge(claim(), [*short, *runs(0, 5)])
        assert (judged.verdict, judged.n, judged.steps) == ("reproduced", 8, 100)
        assert judged.marks == ("other settings left out",)
        as_many = judge(claim(), [*short[:5], *runs(0, 5)])
        assert (as_many.verdict, as_many.n, as_many.steps) == (NEVER, 5, 20_000)

    def test_settings_of_ones_own_are_not_the_papers(self):
        own = [run(s, SOLVED, 100, command=f"bench run +experiment=bai2018 optimizer.lr=9 seed={s}") for s in range(8)]
        assert judge(claim(), own).verdict == "not run"
        free = "bench run +experiment=bai2018 task=adding_problem task.length=100 cell=gru runtime.threads=1 logger=csv"
        assert judge(claim(), [run(0, SOLVED, 100, command=free)]).n == 1

    def test_one_run_a_seed(self):
        probed = [
            run(s, SOLVED, 9, config=run(s).record.config | {"probe": {"enabled": True}}, run_id="p") for s in (0, 1)
        ]
        judged = judge(claim(), [*probed, *runs(0, 5)])
        assert (judged.n, judged.solved, judged.marks) == (5, 2, ())

    def test_never_two_settings(self):
        odd = run(0).record.config | {"optimizer": {"_target_": "torch.optim.Adam", "lr": 1.0}}
        others = [run(seed, config=odd, run_id=f"o{seed}") for seed in (0, 1, 7)]
        judged = judge(claim(), [*others, *runs(5, 5)])
        assert (judged.verdict, judged.n, judged.solved) == ("reproduced", 5, 5)
        assert judged.marks == ("other settings left out",)


def claims_folder(folder: Path, *claims: dict[str, Any], paper: str = "bai2018", **files: str) -> Path:
    """Make a ``conf/`` with one file of claims, or with the given files."""
    for group in ("experiment", "task", "cell"):
        shutil.copytree(ROOT / "conf" / group, folder / group)
    (folder / "published").mkdir()
    shutil.copy(ROOT / "conf" / "published" / "papers.yaml", folder / "published")
    (folder / "published" / f"{paper}.yaml").write_text(yaml.safe_dump({"claims": list(claims)}, sort_keys=False))
    for name, text in files.items():
        (folder / "published" / f"{name}.yaml").write_text(text)
    return folder


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in CLAIM.items() if name != key}


NUMBER = CLAIM | {"says": "number", "value": 1.5, "unit": "mse", "metric": "mse"}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a unit": (
        NUMBER | {"unit": "mes"},
        "`unit` must be one of mse, nats, share, sequences, steps, percent or null, got 'mes', did you mean mse?",
    ),
    "a protocol": (
        CLAIM | {"protocol": "bai2081"},
        "`protocol` must be one of arjovsky2016, bai2018, demo, hochreiter1997, horizon, le2015, tallec2018, "
        "got 'bai2081', did you mean bai2018?",
    ),
    "a kind of claim": (
        CLAIM | {"says": "solve"},
        "`says` must be one of solves, fails, below_baseline, before, number, got 'solve', did you mean solves?",
    ),
    "a source": (CLAIM | {"source": "red"}, "`source` must be one of read, unverified, got 'red', did you mean read?"),
    "a tuning": (CLAIM | {"tuning": None}, "`tuning` must be one of published, hidden, got null"),
    "a key too many": (
        CLAIM | {"metrics": "mse"},
        "must have the keys id, claim, where, says, value, unit, metric, protocol, source, tuning, runs, against, "
        "protocol_differs alone, got 'metrics', did you mean metric?",
    ),
    "a key too few": (
        without("where"),
        "`where` must be a text, and is not there",
    ),
    "no sentence": (CLAIM | {"claim": " "}, "`claim` must be a text, got ' '"),
    "a number in words": (NUMBER | {"value": "small"}, "`value` must be a number or null, got 'small'"),
    "true for a number": (NUMBER | {"value": True}, "`value` must be a number or null, got true"),
    "a number that is none": (NUMBER | {"value": None}, "`value` must be a number for what says number, got null"),
    "a number without a unit": (
        NUMBER | {"unit": None},
        "`unit` must be one of mse, nats, share, sequences, steps, percent, got null",
    ),
    "a value of what solves": (CLAIM | {"value": 3}, "`value` must be null for what solves, got 3.0"),
    "a unit of what solves": (CLAIM | {"unit": "mse"}, "`unit` must be null for what solves, got 'mse'"),
    "a metric of what solves": (
        CLAIM | {"metric": "mse"},
        "`metric` must be null where no metric is compared, got 'mse'",
    ),
    "a metric of sequences": (
        NUMBER | {"unit": "sequences"},
        "`metric` must be null where no metric is compared, got 'mse'",
    ),
    "before nothing": (
        CLAIM | {"says": "before"},
        "`against` must have keys for what is before another, got null",
    ),
    "against without before": (
        CLAIM | {"against": {"cell": "rnn"}},
        "`against` must be null for what solves, got {'cell': 'rnn'}",
    ),
    "no cell": (
        CLAIM | {"runs": {"task": "adding_problem"}},
        "`runs` must have task and cell, got {'task': 'adding_problem'}",
    ),
    "a cell": (
        CLAIM | {"runs": CLAIM["runs"] | {"cell": "lstn"}},
        "`runs.cell` must be one of gru, irnn, lstm, rnn, got 'lstn', did you mean lstm?",
    ),
    "a task": (
        CLAIM | {"says": "before", "against": {"task": "copy"}},
        "`against.task` must be one of adding_1997, adding_problem, copy_memory, multiplication, temporal_order, "
        "got 'copy', did you mean copy_memory?",
    ),
    "a key of no config": (
        CLAIM | {"runs": CLAIM["runs"] | {"length": 100}},
        "`runs` must select by task, cell or a dotted key of task, cell, model, optimizer, data, training, "
        "got 'length'",
    ),
    "no reason": (CLAIM | {"protocol_differs": True}, "`protocol_differs` must be a text or null, got true"),
}


def refused(folder: Path) -> str:
    with pytest.raises(ValueError, match="published/") as error:
        read_claims(folder)
    return str(error.value)


class TestBadInput:
    @pytest.mark.parametrize("case", BAD)
    def test_a_claim(self, tmp_path: Path, case: str):
        given, words = BAD[case]
        message = refused(claims_folder(tmp_path / "conf", given))
        assert message == f"published/bai2018.yaml, claim a-claim: {words}"

    def test_an_id_twice(self, tmp_path: Path):
        message = refused(claims_folder(tmp_path / "conf", CLAIM, CLAIM))
        words = "`id` must be unique, got one that published/bai2018.yaml has"
        assert message == f"published/bai2018.yaml, claim a-claim: {words}"

    def test_an_id_in_two_files(self, tmp_path: Path):
        message = refused(claims_folder(tmp_path / "conf", CLAIM, le2015=yaml.safe_dump({"claims": [CLAIM]})))
        words = "`id` must be unique, got one that published/bai2018.yaml has"
        assert message == f"published/le2015.yaml, claim a-claim: {words}"

    def test_an_unknown_paper(self, tmp_path: Path):
        assert refused(claims_folder(tmp_path / "conf", CLAIM, paper="bai2081")) == (
            "published/bai2081.yaml: `paper` must be one of arjovsky2016, bai2018, hochreiter1997, le2015, "
            "tallec2018, got 'bai2081', did you mean bai2018?"
        )

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("- a\n", "published/le2015.yaml: must be a mapping with claims, got ['a']"),
            (
                "claim: []\n",
                "published/le2015.yaml: must have the keys claims alone, got 'claim', did you mean claims?",
            ),
            ("claims: [7]\n", "published/le2015.yaml: `claims[0]` must be a mapping, got 7"),
        ],
    )
    def test_no_list_of_claims(self, tmp_path: Path, text: str, words: str):
        assert refused(claims_folder(tmp_path / "conf", le2015=text)) == words

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("bai2018: 3\n", ", paper bai2018: must be a mapping with authors, year, title, where, got 3"),
            ("[]\n", ": must be a mapping, got []"),
            ("b: {authors: B, year: 1, title: T}\n", ", paper b: `where` must be a text, and is not there"),
            (
                "b: {authors: B, year: new, title: T, where: W}\n",
                ", paper b: `year` must be an integer, got 'new'",
            ),
            (
                "b: {authors: B, years: 1, title: T, where: W}\n",
                ", paper b: must have the keys authors, year, title, where alone, got 'years', did you mean year?",
            ),
        ],
    )  # fmt: skip
    def test_papers(self, tmp_path: Path, text: str, words: str):
        assert refused(claims_folder(tmp_path / "conf", CLAIM, papers=text)) == f"published/papers.yaml{words}"

    def test_not_yaml(self, tmp_path: Path):
        message = refused(claims_folder(tmp_path / "conf", le2015="claims: [1, 2\n}"))
        assert message.startswith("published/le2015.yaml: must be readable YAML, got while parsing a flow sequence")
        assert "\n" not in message


@pytest.fixture(scope="module")
def read() -> Published:
    return read_claims()


class TestCommitted:
    def test_claims_of_five_papers(self, read: Published):
        papers = ["arjovsky2016", "bai2018", "hochreiter1997", "le2015", "tallec2018"]
        assert sorted(read.papers) == papers
        assert sorted({made.paper for made in read.claims}) == papers
        assert len(read.claims) == 60
        assert all(made.id.startswith(made.paper) for made in read.claims)
        assert all((ROOT / "conf" / "experiment" / f"{made.protocol}.yaml").is_file() for made in read.claims)

    def test_what_is_from_memory_and_what_is_not_the_paper_s(self, read: Published):
        assert {made.paper for made in read.claims if made.source == "unverified"} == {"le2015", "tallec2018"}
        assert all(made.protocol_differs for made in read.claims if made.paper == "hochreiter1997")
        assert all(made.protocol_differs for made in read.claims if made.runs.get("task.delay") == 100
                   and made.paper == "tallec2018")  # fmt: skip

    def test_numbers(self, read: Published):
        found = {made.id: (made.value, made.unit) for made in read.claims}
        assert found["bai2018-adding-600-gru-mse"] == (5.3e-5, "mse")
        assert found["bai2018-copy-1000-lstm-loss"] == (0.0204, "nats")
        assert found["hochreiter1997-order-8-sequences"] == (571_100, "sequences")
        value, unit = found["hochreiter1997-multiplication-100-share"]
        assert (math.isclose(value or 0, 1 - 139 / 2560, abs_tol=1e-12), unit) == (True, "share")


def test_without_torch():
    found = "any(name in sys.modules for name in ('torch', 'hydra', 'lightning'))"
    code = f"import sys, bench.papers.verdicts; sys.exit({found})"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
