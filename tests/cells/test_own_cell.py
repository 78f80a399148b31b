"""A user's own cell, outside the package: exactly the text of the documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.records.read import read_probe
from tests.conftest import TINY, Bench, block, documented_cell
from tests.processes import command


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return documented_cell(tmp_path / "mine")


def test_it_has_about_fifteen_lines():
    lines = [line for line in block("ten_minutes.md", "mine/leaky_gate.py", "python").splitlines() if line.strip()]
    assert len(lines) <= 15


def test_it_trains_like_the_others_and_has_its_column(bench: Bench, mine: Path):
    results = f"results_dir={bench.results}"
    done = command("run", *TINY, results, "--config-dir", "./mine", "cell=mine", "task=adding_problem", cwd=mine.parent)
    assert done.returncode == 0, done.stderr
    assert bench.run("cell=lstm").code == 0
    by_cell = {made.cell: made for made in bench.records()}
    assert by_cell.keys() == {"mine", "lstm"}
    own = by_cell["mine"]
    assert own.model["engine"] == "generated"
    assert own.model["parameters"] == 2 * (4 * 2 + 4 * 4 + 2 * 4) + 5
    assert own.status == "completed"
    table = bench.call("table", str(bench.results)).out
    assert re.search(r"^ +lstm +mine$", table, re.M)


def test_without_a_yaml_from_its_own_folder(bench: Bench, mine: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(mine)
    assert bench.run("cell._target_=leaky_gate.LeakyGate").code == 0
    (made,) = bench.records()
    assert made.cell == "LeakyGate"
    outcome = bench.run("cell._target_=leaky_gate.LeakyGate", "cell.reset=before")
    assert outcome.err.startswith("bench run: cell.reset is no setting of LeakyGate")


OTHERS = """
import torch
from collections.abc import Sequence
from torch.nn.utils import parametrizations
from bench.cells import Cell

class Idle(Cell):
    blocks = ("new",)

    def __init__(self, input_size, hidden_size, *, powers: Sequence[int], shares: dict, **settings):
        super().__init__(input_size, hidden_size, **settings)
        self.order = torch.randperm(hidden_size).tolist()
        self.scale = float(torch.ones(1)) * sum(powers) * shares["all"]
        self.turn = parametrizations.orthogonal(torch.nn.Linear(hidden_size, hidden_size, bias=False))

    def activate(self, projected, state):
        return {"new": torch.tanh(projected + self.scale * self.turn(state[0][:, self.order]))}

    def update(self, values, state):
        return (values["new"],)
"""
"""A cell that reads values while it is made, has settings of many kinds, and leaves parameters without a use."""


def test_what_cells_of_others_do(bench: Bench, tmp_path: Path):
    (tmp_path / "cell").mkdir()
    (tmp_path / "idle_cell.py").write_text(OTHERS)
    (tmp_path / "cell" / "idle.yaml").write_text(
        "_target_: idle_cell.Idle\n_partial_: true\npowers: [1, 2]\nshares: {all: 0.5}\n"
        "init: {_target_: bench.cells.init.Initialization, input: torch, recurrent: torch, bias: torch}\n"
    )
    words = (f"--config-dir={tmp_path}", "cell=idle", "model.hidden_size=null", "model.parameter_budget=200")
    outcome = bench.run(*words, "-m", "seed=0,1")
    assert outcome.code == 0, outcome.err
    note = "stepwise instead of generated: its step holds a tensor of its own, or writes into one"
    assert outcome.err.splitlines() == [
        f"bench run: engine {note}",
        "bench run: warning: idle has parameters that get no gradient and yet count: cells.0.bias_hh, "
        "cells.0.weight_hh; see `Cell.weights`",
    ]
    for made in bench.records():
        assert made.model["without_gradient"] == ["cells.0.bias_hh", "cells.0.weight_hh"]
        assert (made.model["engine"], made.model["engine_note"]) == ("stepwise", note)
    made = bench.records()[0]
    assert bench.run(*words, "seed=0", "rerun=all").code == 0
    assert bench.records()[0].metrics == made.metrics, "what it draws while it is made follows the seed"
    outcome = bench.run(*words, "cell.powers=3")
    assert outcome.err == "bench run: cell.powers must be a list, each item an integer, got 3\n"
    assert bench.run(*words, "cell.shares=null").err == "bench run: cell.shares must be a mapping, got null\n"


STRANGE = """
import sys
import torch
from torch.nn.utils import parametrizations
from bench.cells import Cell

class Plain(Cell):
    blocks = ("new",)

    def activate(self, projected, state):
        return {"new": torch.tanh(projected + self.recur(state[0]))}

    def update(self, values, state):
        return (values["new"],)

class Frozen(Plain):
    def __init__(self, *sizes, **settings):
        super().__init__(*sizes, **settings)
        self.weight_hh.requires_grad_(False)

class Normed(Plain):
    def __init__(self, *sizes, **settings):
        super().__init__(*sizes, **settings)
        parametrizations.weight_norm(self, "weight_hh")

class Counting(Plain):
    states = ("h", "steps")

    def initial_state(self, batch_size):
        (h, _) = super().initial_state(batch_size)
        return h, torch.zeros_like(h, dtype=torch.int64)

    def update(self, values, state):
        return values["new"] / (1 + state[1]), state[1] + 1

class Lazy(Plain):
    def __init__(self, *sizes, **settings):
        super().__init__(*sizes, **settings)
        self.layer = torch.nn.LazyLinear(self.hidden_size)

class Unfilled(Plain):
    def __init__(self, *sizes, **settings):
        super().__init__(*sizes, **settings)
        self.extra = torch.nn.Parameter(torch.full((self.hidden_size,), float("nan")))

class Exits(Plain):
    def update(self, values, state):
        sys.exit(3)

class Interrupts(Plain):
    def update(self, values, state):
        if not values["new"].is_meta:
            raise KeyboardInterrupt
        return (values["new"],)

class Leaves(Interrupts):
    def update(self, values, state):
        if not values["new"].is_meta:
            raise GeneratorExit
        return (values["new"],)

torch.set_default_dtype(torch.float64)
"""
"""Cells of many kinds, in a module that leaves torch's default type changed."""


def test_strange_cells(bench: Bench, tmp_path: Path):
    (tmp_path / "strange.py").write_text(STRANGE)
    words = [*TINY, f"results_dir={bench.results}", f"--config-dir={tmp_path}", "probe=flow", "task.length=9"]

    def run(*names: str) -> tuple[int, str]:
        classes = ",".join(f"strange.{name}" for name in names)
        done = command("run", "-m", *words, f"cell._target_={classes}")
        return done.returncode, done.stderr

    code, said = run("Frozen", "Normed", "Counting")
    assert code == 0, said
    reason = "bench run: engine stepwise instead of generated: the part steps of its state is int64"
    waits = ("are planned", "building the steps of this cell")  # where it is slow, and where no test has built them
    assert [line for line in said.splitlines() if not any(wait in line for wait in waits)] == [reason]
    made = {each.cell: each for each in bench.records()}
    assert {each.status for each in made.values()} == {"completed"}
    assert made["Frozen"].model["without_gradient"] == []
    # Weight norm adds a length for each of the four rows.
    assert made["Normed"].model["parameters"] == made["Frozen"].model["parameters"] + 4 * 4 + 4
    flow = {row["state"] for row in read_probe(bench.folder(made["Counting"]), "flow").to_pylist()}
    assert flow == {"x", "h"}, "a counter has no gradient"

    code, said = run("Lazy")
    assert code == 2
    assert "model.cells.0.layer.weight must have its shape when the cell is made, got one of a lazy module" in said
    reasons = {
        "Unfilled": "ValueError: `cells.0.extra` must start as finite numbers; `reset_parameters` must fill it",
        "Exits": "SystemExit: 3",
        "Interrupts": "KeyboardInterrupt",
        "Leaves": "GeneratorExit",
    }
    assert run(*reasons)[0] == 1
    failed = {each.cell: each for each in bench.records() if each.status == "failed"}
    assert {name: str(each.reason).partition(" (")[0] for name, each in failed.items()} == reasons


@pytest.mark.parametrize(
    ("returned", "got"),
    [
        ('values["new"]', "Tensor"),
        ('(values["new"], values["new"])', "[(4, 3), (4, 3)]"),
        ('(values["new"][:, :1],)', "[(4, 1)]"),
    ],
)
def test_a_step_that_returns_no_state_is_found_before_it_trains(bench: Bench, tmp_path: Path, returned: str, got: str):
    mine = documented_cell(tmp_path / "mine")
    source = mine / "leaky_gate.py"
    text, _, _ = source.read_text().rpartition("        return ")
    source.write_text(f"{text}        return {returned}\n")
    # The tests' own checks of types would find it in this process.
    done = command("run", *TINY, f"results_dir={bench.results}", f"--config-dir={mine}", "cell=mine")
    wanted = "cell.update of LeakyGate must return a tuple of h, with shapes [(4, 3)] for a batch of 4 and 3 units"
    assert (done.returncode, done.stderr) == (2, f"bench run: {wanted}, got {got}\n")
    assert not bench.results.exists()


@pytest.mark.long_run
def test_another_source_is_another_run(bench: Bench, mine: Path):
    words = (f"--config-dir={mine}", "cell=mine", "task.length=9")
    assert command("run", *TINY, f"results_dir={bench.results}", *words).returncode == 0
    assert "already there" in bench.run(*words).out, "the same in another process"
    source = mine / "leaky_gate.py"
    source.write_text(source.read_text().replace('"forget"', '"gate"'))
    assert command("run", *TINY, f"results_dir={bench.results}", *words).returncode == 0
    assert len({made.run_id for made in bench.records()}) == 2


def test_a_sweep_over_it_and_a_built_in_one(bench: Bench, mine: Path):
    outcome = bench.run(f"--config-dir={mine}", "-m", "cell=mine,gru", "task=copy_memory", "model.layers=2")
    assert outcome.code == 0, outcome.err[-500:]
    assert sorted(made.cell for made in bench.records()) == ["gru", "mine"]
