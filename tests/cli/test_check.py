"""``bench check``: cells that keep the contract, and one that breaks it in each way."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.runs.cell_check import check_cell
from tests import broken_cells
from tests.conftest import TINY, Bench, assert_one_line, documented_cell, spec_of

BROKEN = {
    "Mixing": ("batch", "a sequence in a batch of 5 differs by "),
    "Foreseeing": ("past", "states of the first half change by "),
    "Drawing": ("repeatable", "its steps draw random numbers, so that no run can be repeated"),
    "Counting": ("repeatable", "a second pass differs from the first: its step keeps something besides the state"),
    "Detached": ("gradients", "autograd's are not those by differences, 3 units, 4 steps: "),
    "Exploding": ("finite", "h is no finite number after step "),
    "Ungated": ("state", "the gate new must be in [0, 1], and is not"),
    "Unseeded": ("repeatable", "its initial values must be drawn from the generator that `reset_parameters` is given"),
    "Failing": ("state", "RuntimeError: one is none"),
}


@pytest.mark.parametrize(("name", "expected"), BROKEN.items())
def test_what_a_cell_breaks(name: str, expected: tuple[str, str]):
    words = (f"cell._target_={broken_cells.__name__}.{name}", "model.engine=stepwise")
    spec = spec_of(*TINY, *words, "task.length=20")
    found = {finding.name: finding for finding in check_cell(spec, spec)}
    assert (found[expected[0]].passed, found[expected[0]].text[: len(expected[1])]) == (False, expected[1])
    others = {name for name, finding in found.items() if finding.passed is False} - {expected[0]}
    assert others == ({"batch"} if name == "Failing" else set())


def test_a_cell_that_keeps_the_contract_on_one_screen(bench: Bench, tmp_path: Path):
    mine = documented_cell(tmp_path / "mine")
    outcome = bench.call("check", *TINY, "--config-dir", str(mine), "cell=mine", "task.length=20")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert lines[0] == "mine on adding_problem, 4 units, seed 0"
    assert lines[-1] == "The cell keeps the contract."
    assert [line.split()[1] for line in lines if line.startswith("ok")] == [
        "state", "finite", "repeatable", "batch", "past", "gradients",
    ]  # fmt: skip
    text = " ".join(outcome.out.split())
    assert "state h of 4; gates forget" in text
    assert "engine generated" in text
    assert re.search(r"[\d.]+ ms a training step \(generated\), [\d.]+ step by step; GRU [\d.]+ \(native\)", text)
    assert "parameters 69 at 4 units; 5 units have those of a GRU of 4, 101" in text
    assert not bench.results.exists()


def test_a_cell_that_breaks_it_and_words_that_are_wrong(bench: Bench):
    outcome = bench.call("check", *TINY, f"cell._target_={broken_cells.__name__}.Drawing", "task.length=20")
    assert outcome.code == 1
    assert re.search(r"^FAILS  repeatable  its steps draw random numbers", outcome.out, re.M)
    assert " engine stepwise instead of generated: " in " ".join(outcome.out.split())
    assert outcome.out.count("not looked at, as the cell is not repeatable") == 3
    assert outcome.out.splitlines()[-1] == "The cell breaks the contract in 1 of its parts."
    assert_one_line(bench.call("check", "cell=lst"), "check", "cell must be one of ")
    assert_one_line(
        bench.call("check", "seed=0,1", "hydra.mode=MULTIRUN"), "check", "a check must be of one cell, got the 2 runs"
    )
    assert bench.call("check").out.startswith("usage: bench check")
