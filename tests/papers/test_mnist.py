"""The experiment on MNIST and its claims, with files as MNIST's that are made here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.analysis.run import read_runs
from bench.papers.claims import read_claims
from bench.papers.verdicts import judge
from tests.conftest import Bench, assert_one_line, specs_of
from tests.data_made import mnist

WORDS = "+experiment=bai2018_mnist"


@pytest.fixture
def folder(tmp_path: Path) -> str:
    mnist(tmp_path / "files")
    return f"task.folder={tmp_path / 'files'}"


def test_the_settings_are_the_papers(folder: str):
    specs = {(spec.cell_name, spec.config["task"]["order"]): spec for spec in specs_of(WORDS, folder, "budget=paper",
                                                                                       "seed=0")}  # fmt: skip
    assert set(specs) == {(cell, order) for cell in ("rnn", "lstm", "gru") for order in ("pixels", "permuted")}
    for (cell, order), spec in specs.items():
        assert spec.task.length == 784
        assert spec.config["optimizer"]["_target_"] == "torch.optim.RMSprop"
        assert (spec.config["optimizer"]["lr"], spec.data.batch_size, spec.training.clip_norm) == (1e-3, 64, 1.0)
        assert spec.training.steps == 9380
        if cell == "lstm":
            assert spec.network.hidden_size == 130
            assert spec.config["cell"]["forget_bias"] == {"pixels": 1.0, "permuted": 10.0}[order]
        else:
            assert spec.network.settings.parameter_budget == 70_000


def test_a_run_is_judged_and_others_stand_as_not_run(bench: Bench, folder: str):
    assert bench.run(WORDS, folder, "cell=lstm", "task.order=permuted", "seed=0").code == 0
    (run,), _ = read_runs(bench.results)
    claims = {each.id: each for each in read_claims().claims if each.protocol == "bai2018_mnist"}
    assert len(claims) == 6
    assert {judge(each, [run]).verdict for each in claims.values()} == {"not run"}, "its settings are not the paper's"
    command = f"bench run {WORDS} {folder} cell=lstm task.order=permuted seed=0"
    as_asked = replace(run, record=replace(run.record, command=command))
    found = {name: judge(each, [as_asked]) for name, each in claims.items()}
    judged = found.pop("bai2018-mnist-permuted-lstm")
    assert (judged.n, judged.steps) == (1, 6)
    assert judged.ours is not None
    assert judged.verdict not in ("not run", "reproduced")
    assert {each.verdict for each in found.values()} == {"not run"}


def test_without_files_it_says_what_to_do(bench: Bench):
    assert_one_line(bench.run(WORDS, "cell=lstm", "seed=0"), "run", "task.folder must be given for mnist, got null")
