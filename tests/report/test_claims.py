"""Published claims beside the results of our runs."""

from __future__ import annotations

import csv
import io
import re

import pytest

from bench.papers.claims import read_claims
from bench.papers.verdicts import Judgement
from bench.report.tables import claims as claims_table
from tests.claims_made import CLAIM, FOUND, MARKS, SOLVED, STUCK, claim, judged, of, run, runs


def row(found: list[Judgement], identity: str) -> list[str]:
    made = claims_table.as_grid(of(found))
    index = [each.claim.id for each in found].index(identity)
    return [" ".join(entry.lines) for entry in made.rows[index]]


def test_a_line_a_claim():
    assert row(FOUND, "a-claim") == [
        "Bai, Kolter & Koltun 2018", CLAIM["claim"], "table 1", "solved", "5/5 solved [a]", "reproduced",
    ]  # fmt: skip
    assert row(FOUND, "number")[3:] == ["0.164 mse", "0.001 mse, 5/5 solved [a]", "contradicts"]


def test_a_paper_is_named_once():
    made = claims_table.as_grid(of(FOUND))
    assert [entries[0].lines for entries in made.rows if entries[0].lines] == [
        ("Bai, Kolter & Koltun 2018",), ("Le 2015",),
    ]  # fmt: skip
    assert made.rules == {0, 2}


def test_efforts_are_whole_numbers():
    assert row(FOUND, "effort")[3:5] == ["853,000 sequences", "326,400 sequences, 5/5 solved [a]"]


def test_marks_and_what_they_mean():
    assert [row(FOUND, name)[2] for name in ("a-claim", "unverified", "differs", "both")] == [
        "table 1", "table 1†", "table 1‡", "figure 2†‡",
    ]  # fmt: skip
    notes = claims_table.as_grid(of(FOUND)).notes
    assert len(notes) == 4
    assert notes[1] == "[a] one set of 5 runs, which serves 6 claims."
    assert notes[2].startswith("† quoted from memory")
    assert notes[3] == "‡ le2015, another protocol than the paper's: a larger batch."
    assert len(claims_table.as_grid(of(FOUND[:1])).notes) == 1


def test_a_claim_over_two_shared_sets_has_the_letters_of_both():
    lstm = CLAIM["runs"] | {"cell": "lstm"}
    found = judged(
        claim(), claim(id="gru-too"), claim(id="lstm", runs=lstm), claim(id="lstm-too", runs=lstm),
        claim(id="both", says="before", against=lstm), records=[*runs(5, 5), *runs(0, 5, cell="lstm")],
    )  # fmt: skip
    told = [row(found, name)[-2] for name in ("a-claim", "lstm-too", "both")]
    assert told == ["5/5 solved [a]", "0/5 solved [b]", "5/5 solved [a, b]"]
    assert "[a, b] one set of 5 runs, which serves 3 claims." in claims_table.as_grid(of(found)).notes


def test_what_was_not_solved_in_as_many_steps_as_the_paper_had():
    found = judged(claim(), claim(id="b", budget=20_000), claim(id="c", budget=20_001), records=runs(0, 5))
    never = "not solved in 20,000 steps"
    assert [row(found, name)[-1] for name in ("a-claim", "b", "c")] == [never, f"{never}¶", never]
    assert "¶ in at least as many steps as the paper's own runs had." in claims_table.as_grid(of(found)).notes


def test_a_bound_is_told_as_one():
    bound = claim(says="at_most", value=20.0, unit="percent", metric="within_tolerance")
    assert row(judged(bound, records=runs(5, 5)), "a-claim")[3:] == [
        "at most 20 %",
        "99.9 %, 5/5 solved",
        "contradicts",
    ]


def test_runs_that_were_left_out_are_told():
    code = {**run(0).record.code, "numerics": {"training": "2"}}
    records = [*runs(5, 5), *[run(seed, STUCK, run_id=f"x{seed}", code=code) for seed in range(3)]]
    found = judged(claim(), records=records)
    assert row(found, "a-claim")[2:] == ["table 1§", "solved", "5/5 solved", "reproduced"]
    assert claims_table.as_grid(of(found)).notes[1].startswith("§ runs of other settings or budgets")


def test_the_counts_are_those_of_the_verdicts():
    records = runs(0, 5)
    found = judged(claim(), claim(id="b"), claim(id="c", says="fails"), records=records)
    found += judged(claim(id="d", runs={**CLAIM["runs"], "cell": "rnn"}),
                    records=[run(s, SOLVED, 500, cell="rnn") for s in range(5)])  # fmt: skip
    caption = claims_table.as_grid(of(found)).caption
    assert caption == (
        "Published claims put to the test: 4 with a verdict; 3 not solved in N steps, 1 reproduced. Claims of these "
        "papers without runs: 7. Run on a toaster. Code: commit 1234567."
    )
    bold = [entries[-1].best for entries in claims_table.as_grid(of(found)).rows]
    assert bold == [False, False, False, True]


@pytest.mark.parametrize("form", claims_table.FORMS)
def test_every_form(form: str):
    made = claims_table.render(of(FOUND), form)
    assert "reproduced" in made
    if form == "terminal":
        assert max(map(len, made.splitlines())) <= 80
        assert "*reproduced" in made
    elif form == "csv":
        lines = list(csv.DictReader(io.StringIO(made)))
        assert [line["claim"] for line in lines] == [each.claim.id for each in FOUND]
        assert (lines[1]["published"], lines[1]["ours"], lines[1]["n"], lines[1]["solved"]) == (
            "0.164",
            "0.001",
            "5",
            "5",
        )
        assert (lines[1]["max_steps"], lines[1]["verdict"]) == ("20000", "contradicts")
        assert lines[3]["protocol_differs"] == "a larger batch"
        assert lines[0]["reason"] == FOUND[0].reason
    else:
        word = {"markdown": "**reproduced**", "latex": r"\textbf{reproduced}", "html": "<b>reproduced</b>"}[form]
        assert made.count(word) == 1
        assert made.count("Bai, Kolter") == 1
        assert ("Kolter & Koltun" in made) == (form == "markdown")


@pytest.mark.parametrize("marks", [(), MARKS[:1], MARKS])
def test_the_terminal_has_80_columns_with_every_claim_of_ours(marks: tuple[str, ...]):
    known = read_claims()
    found = [
        Judgement(each, ("reproduced", "not solved in 1,000,000 steps")[i % 2], each.value, 5, 5, 20_000, "", marks)
        for i, each in enumerate(known.claims)
    ]
    made = claims_table.render(of(found, known.papers), "terminal")
    assert max(map(len, made.splitlines())) <= 80
    assert not re.search(r"\de\+\d", made)
    assert "Schmidhuber" in made
    for form in claims_table.FORMS:
        assert claims_table.render(of(found, known.papers), form)


def test_another_form():
    with pytest.raises(ValueError, match="`form` must be one of terminal, markdown, latex, html, csv, got 'word'"):
        claims_table.render(of(FOUND), "word")


def test_no_claim():
    with pytest.raises(ValueError, match="`published` must have runs of a paper's protocol, as of "):
        claims_table.judge_all([])


def test_only_claims_with_runs_are_judged():
    task = {**run(0).record.config["task"], "length": 600}
    records = [run(seed, SOLVED, 900, config={**run(0).record.config, "task": task}) for seed in range(5)]
    found = claims_table.judge_all(records)
    every = read_claims().claims
    assert {each.claim.id for each in found.judgements} == {
        each.id for each in every if each.runs == {"task": "adding_problem", "task.length": 600, "cell": "gru"}
        and each.against is None
    }  # fmt: skip
    assert found.without == sum(each.paper == "bai2018" for each in every) - len(found.judgements)
    assert found.origin == "Run on a processor (cpu, 1 thread). Code: sources s1."
