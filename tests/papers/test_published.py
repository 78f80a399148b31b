"""What papers report, read from ``conf/``, and the runs of ours that each claim is about."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.analysis.hyperparameters import as_text
from bench.papers.claims import Published, read_claims
from bench.papers.matching import matching
from bench.papers.verdicts import Judgement, judge
from tests.claims_made import CLAIM, NEVER, SOLVED, claim, run, runs
from tests.conftest import ROOT, options
from tests.records_made import make


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

    def test_runs_from_before_and_after_a_choice_are_one_setting_where_it_came_out_alike(self):
        config = run(0).record.config
        asked = {value: config | {"model": config["model"] | {"loss_engine": value}} for value in ("torch", "auto")}
        older = [run(seed, config=asked["torch"], model={"engine": "native"}) for seed in (0, 1)]
        newer = [run(s, config=asked["auto"], model={"engine": "native", "loss_engine": "torch"}) for s in (2, 3)]
        assert (judge(claim(), [*older, *newer]).n, judge(claim(), [*older, *newer]).marks) == (4, ())
        other = run(4, config=asked["auto"], model={"engine": "native", "loss_engine": "native"})
        assert judge(claim(), [*older, *newer, other]).marks == ("other settings left out",)
        said = "bench run +experiment=bai2018 cell=gru model.loss_engine=torch"
        assert judge(claim(), [run(0, SOLVED, 100, command=said)]).n == 1

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
        f"`protocol` must be one of {', '.join(options('experiment'))}, got 'bai2081', did you mean bai2018?",
    ),
    "a kind of claim": (
        CLAIM | {"says": "solve"},
        "`says` must be one of solves, fails, at_baseline, below_baseline, before, better, number, at_most, at_least, "
        "got 'solve', did you mean solves?",
    ),
    "a source": (CLAIM | {"source": "red"}, "`source` must be one of read, unverified, got 'red', did you mean read?"),
    "a tuning": (CLAIM | {"tuning": None}, "`tuning` must be one of published, hidden, got null"),
    "a key too many": (
        CLAIM | {"metrics": "mse"},
        "must have the keys id, claim, where, says, value, unit, metric, protocol, source, tuning, runs, against, "
        "protocol_differs, budget alone, got 'metrics', did you mean metric?",
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
    "a bound of steps": (
        NUMBER | {"says": "at_most", "unit": "steps", "metric": None},
        "`unit` must be that of a metric for what says at_most, got 'steps'",
    ),
    "no steps": (CLAIM | {"budget": 0}, "`budget` must be an integer >= 1 or null, got 0"),
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
        "`against` must have keys for what says before, got null",
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
        "`runs.cell` must be one of foreign, gru, irnn, lstm, rnn, got 'lstn', did you mean lstm?",
    ),
    "a task": (
        CLAIM | {"says": "before", "against": {"task": "copy"}},
        f"`against.task` must be one of {', '.join(options('task'))}, got 'copy', did you mean copy_memory?",
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
            "published/bai2081.yaml: `paper` must be one of arjovsky2016, bai2018, campos2018, hochreiter1997, "
            "keller2024, le2015, li2018, sutskever2013, tallec2018, yuret2016, got 'bai2081', did you mean bai2018?"
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
    def test_claims_of_ten_papers(self, read: Published):
        papers = [
            "arjovsky2016", "bai2018", "campos2018", "hochreiter1997", "keller2024", "le2015", "li2018",
            "sutskever2013", "tallec2018", "yuret2016",
        ]  # fmt: skip
        assert sorted(read.papers) == papers
        assert sorted({made.paper for made in read.claims}) == papers
        assert len(read.claims) == 101
        assert all(made.id.startswith(made.paper) for made in read.claims)
        assert all((ROOT / "conf" / "experiment" / f"{made.protocol}.yaml").is_file() for made in read.claims)

    def test_what_is_from_memory_and_what_is_not_the_paper_s(self, read: Published):
        assert {made.paper for made in read.claims if made.source == "unverified"} == {"le2015"}
        ours = {"hochreiter1997", "sutskever2013", "keller2024", "li2018", "campos2018", "tallec2018"}
        assert all(made.protocol_differs for made in read.claims if made.paper in ours)

    def test_numbers(self, read: Published):
        found = {made.id: (made.value, made.unit) for made in read.claims}
        assert found["bai2018-adding-600-gru-mse"] == (5.3e-5, "mse")
        assert found["bai2018-copy-1000-lstm-loss"] == (0.0204, "nats")
        assert found["bai2018-copy-50-lstm"] == (20.0, "percent")
        assert found["yuret2016-adding-200-steps"] == (130_000.0, "steps")
        assert found["hochreiter1997-order-8-sequences"] == (571_100, "sequences")
        value, unit = found["hochreiter1997-multiplication-100-share"]
        assert (math.isclose(value or 0, 1 - 139 / 2560, abs_tol=1e-12), unit) == (True, "share")


def test_without_torch():
    found = "any(name in sys.modules for name in ('torch', 'hydra', 'lightning'))"
    code = f"import sys, bench.papers.verdicts; sys.exit({found})"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
