"""Modules from elsewhere under the contract of our cells."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchrecurrent
from torch import nn

from bench.cells.foreign import ForeignCell
from bench.engines import Tap, stepwise
from bench.engines.generated import engine as generated
from bench.engines.generated import step_graph
from bench.records.read import read_probe
from bench.training.rng import generator
from tests import foreign_modules
from tests.cells_made import draw, draw_state, error, everything
from tests.conftest import TINY, Bench, assert_one_line, block, spec_of
from tests.foreign_modules import Flipped, Gated

HERE = foreign_modules.__name__


def foreign(name: str, inputs: int = 3, hidden: int = 5, seed: int = 0, **settings: Any) -> ForeignCell:
    """Make a cell of a class of ``torch.nn`` or of :mod:`tests.foreign_modules`."""
    kind = getattr(foreign_modules, name, None) or getattr(nn, name)
    module = f"{HERE if hasattr(foreign_modules, name) else 'torch.nn'}.{name}"
    cell = ForeignCell(inputs, hidden, module=module, arguments=partial(kind), **settings)
    cell.reset_parameters(generator("init", seed), 10)
    return cell


@pytest.mark.parametrize(
    ("name", "states", "widths"),
    [
        ("GRUCell", ("h",), (5,)), ("LSTMCell", ("h", "c"), (5, 5)), ("Paired", ("h", "c"), (5, 5)),
        ("Apart", ("h", "c"), (5, 7)), ("Listed", ("h", "s1", "s2"), (5, 5, 2)), ("Demanding", ("h", "c"), (5, 5)),
    ],
)  # fmt: skip
def test_the_form_of_a_step_is_found(name: str, states: tuple[str, ...], widths: tuple[int, ...]):
    cell = foreign(name)
    assert (cell.states, cell.widths) == (states, widths)
    assert [part.shape for part in cell.initial_state(4)] == [(4, width) for width in widths]
    hidden, end = stepwise.unroll(cell, draw(9, 4, 3).float())
    assert [part.shape for part in end] == [(4, width) for width in widths]
    assert torch.equal(hidden[-1], end[0])


@pytest.mark.parametrize("name", ["GRUCell", "Apart", "Listed"])
def test_generated_code_and_the_probes_take_it(name: str):
    cell, inputs = foreign(name).double(), draw(9, 4, 3)
    found, expected = (
        everything(way, cell, inputs, draw_state(cell, 4)) for way in (generated.unroll, stepwise.unroll)
    )
    assert error(found, expected) < 1e-13
    states, _ = generated.trace(cell, inputs)
    torch.testing.assert_close(states["h"], stepwise.unroll(cell, inputs)[0])
    tap = Tap()
    start = tuple(part.requires_grad_() for part in cell.initial_state(4))
    generated.unroll(cell, inputs, start, tap)[0].sum().backward()
    assert tap.gradients is not None
    assert [part.shape for part in tap.gradients] == [(9, 4, width) for width in cell.widths]


def test_it_is_the_module():
    cell, theirs = foreign("LSTMCell"), nn.LSTM(3, 5)
    theirs.load_state_dict({f"{name}_l0": value for name, value in cell.inner.state_dict().items()})
    inputs = draw(9, 4, 3).float()
    torch.testing.assert_close(stepwise.unroll(cell, inputs)[0], theirs(inputs)[0])


def test_what_it_draws_at_the_start_follows_the_seed_and_nothing_else():
    before = torch.get_rng_state(), str(np.random.get_state())  # noqa: NPY002
    one, again, other = (foreign("Drawn", seed=seed).inner.state_dict() for seed in (0, 0, 1))
    assert torch.equal(before[0], torch.get_rng_state())
    assert str(np.random.get_state()) == before[1]  # noqa: NPY002
    for name, value in one.items():
        assert torch.equal(value, again[name])
        assert not torch.equal(value, other[name]), f"{name} is drawn"


def test_gates_are_its_sigmoids_in_their_order():
    cell = foreign("Gated", gates=("input", "forget"), keeps=("forget",)).double()
    assert isinstance(cell.inner, Gated)
    inputs, (h,) = draw(9, 4, 3)[0], cell.initial_state(4)
    values = cell.activate(inputs, (h,))
    first, second = torch.sigmoid(cell.inner.both(torch.cat([inputs, h], 1))).chunk(2, 1)
    assert torch.equal(values["input"], first)
    assert torch.equal(values["forget"], second)
    _, blocks = generated.trace(cell, draw(9, 4, 3))
    assert list(blocks) == ["input", "forget"]
    torch.testing.assert_close(blocks["input"][0], first)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("Linear", {}, r"`module` must take one step, \(input, state\) -> state or \(output, state\), of tensors "
         r"\(batch, size\), got Linear"),
        ("Widened", {}, "`module` must return 5 numbers a step for as many units, got 6"),
        ("Flipped", {}, "`module` must have parameters, got Flipped, which has none"),
        ("Gated", {"gates": ("a", "b", "c", "d")}, "`gates` must be different names for at most 3 sigmoids"),
        ("Gated", {"keeps": ("a",)}, "`keeps` must be some of no gates, got"),
        ("LSTMCell", {"states": ("c", "h")}, "`states` must be 2 different names, h first, got"),
        ("Apart", {"initial_state": "learned"}, "`initial_state` must be zeros or numbers for parts of sizes"),
    ],
)  # fmt: skip
def test_what_does_not_fit(name: str, settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        foreign(name, **settings)


def test_names_that_do_not_agree():
    with pytest.raises(ValueError, match=r"`arguments` must be those of torch.nn.GRUCell, got"):
        ForeignCell(3, 5, module="torch.nn.GRUCell", arguments=partial(Flipped))


def test_every_cell_of_torchrecurrent_is_taken():
    """Its package has 41; each runs, with the equations that it has there."""
    names = [name for name in dir(torchrecurrent) if name.endswith("Cell")]
    assert len(names) >= 41
    for name in names:
        # One of them adds its input to its output.
        inputs = 5 if name == "IntersectionRNNCell" else 3
        kind = getattr(torchrecurrent, name)
        cell = ForeignCell(inputs, 5, module=f"torchrecurrent.{name}", arguments=partial(kind))
        cell.reset_parameters(generator("init", 0), 10)
        hidden, end = stepwise.unroll(cell, draw(6, 4, inputs).float())
        assert hidden.isfinite().all(), name
        assert [part.shape[1] for part in end] == list(cell.widths)
        step_graph.trace(cell)


@pytest.mark.long_run
@pytest.mark.parametrize("name", [name for name in dir(torchrecurrent) if name.endswith("Cell")])
def test_every_cell_of_torchrecurrent_runs_as_generated_code(name: str):
    inputs = 5 if name == "IntersectionRNNCell" else 3
    cell = ForeignCell(inputs, 5, module=f"torchrecurrent.{name}", arguments=partial(getattr(torchrecurrent, name)))
    cell.reset_parameters(generator("init", 0), 10)
    cell.double()
    found, expected = (
        everything(way, cell, draw(9, 4, inputs), draw_state(cell, 4)) for way in (generated.unroll, stepwise.unroll)
    )
    assert error(found, expected) < 1e-12


class TestOnTheCommandLine:
    def test_the_yaml_of_the_readme(self, bench: Bench, tmp_path: Path):
        (tmp_path / "cell").mkdir()
        (tmp_path / "cell" / "mgu.yaml").write_text(block("cells.md", "mine/cell/mgu.yaml", "yaml"))
        outcome = bench.run(f"--config-dir={tmp_path}", "cell=mgu")
        assert outcome.code == 0, outcome.err
        (made,) = bench.records()
        assert made.code["numerics"]["cell.torchrecurrent"] == importlib.metadata.version("torchrecurrent")
        assert made.model["parameters"] == 2 * 4 * (2 + 4) + 2 * 4 + 4 + 1

    def test_it_trains_resumes_and_has_its_column(self, bench: Bench):
        words = ("cell=foreign", "cell.module=torch.nn.GRUCell")
        outcome = bench.run(*words, "+cell.arguments.bias=false")
        assert outcome.code == 0, outcome.err
        (made,) = bench.records()
        assert (made.cell, made.model["engine"]) == ("GRUCell", "generated")
        assert made.config["cell"]["arguments"] == {"_target_": "torch.nn.GRUCell", "_partial_": True, "bias": False}
        assert made.model["parameters"] == 3 * 4 * (2 + 4) + 4 + 1
        outcome = bench.call("replay", str(bench.folder(made)))
        assert "cell.arguments._target_ must be a class of bench.cells, or named by --trust" in outcome.err
        outcome = bench.call("replay", str(bench.folder(made)), "--trust", "torch.nn.GRUCell")
        assert (outcome.code, outcome.err) == (0, "")
        assert "GRUCell" in bench.call("table", str(bench.results)).out

    def test_three_lines_of_yaml(self, bench: Bench, tmp_path: Path):
        (tmp_path / "cell").mkdir()
        (tmp_path / "cell" / "theirs.yaml").write_text("defaults: [foreign]\nmodule: theirs.Theirs\ngates: [keep]\n")
        (tmp_path / "theirs.py").write_text(
            "import torch\nclass Theirs(torch.nn.Module):\n"
            "    def __init__(self, n, m, scale: float = 1.0):\n"
            "        super().__init__()\n        self.map, self.scale = torch.nn.Linear(n + m, 2 * m), scale\n"
            "    def forward(self, x, h):\n"
            "        gate, new = self.map(torch.cat([x, h], 1)).chunk(2, 1)\n"
            "        gate = torch.sigmoid(gate)\n        return gate * h + self.scale * (1 - gate) * torch.tanh(new)\n"
        )
        words = (f"--config-dir={tmp_path}", "cell=theirs", "probe=flow")
        outcome = bench.run(*words)
        assert outcome.code == 0, outcome.err
        (first,) = bench.records()
        assert (first.cell, first.code["numerics"].keys() >= {"cell", "cells.foreign"}) == ("theirs", True)
        outcome = bench.run(*words, "+cell.arguments.scal=2")
        assert_one_line(outcome, "run", "cell.arguments.scal is no setting of Theirs, did you mean scale?")
        names = set(read_probe(bench.folder(first), "activity").column("name").to_pylist())
        assert names >= {"h", "keep"}

    def test_a_record_imports_nothing_that_is_not_trusted(self, bench: Bench):
        made = bench.one("cell=foreign", "cell.module=torch.nn.GRUCell", "model.engine=stepwise")
        file = bench.folder(made) / "record.json"
        node = json.loads(file.read_text())
        node["config"]["cell"]["module"] = "this.s"
        node["config"]["cell"]["arguments"] = {
            "_target_": "bench.cells.init.Initialization", "_partial_": True, "bias": "zero",
        }  # fmt: skip
        file.write_text(json.dumps(node))
        outcome = bench.call("replay", str(bench.folder(made)))
        assert (outcome.code, outcome.out, "this" in sys.modules) == (2, "", False)
        assert "cell.arguments must be those of this.s" in outcome.err

    def test_data_files_of_the_module_are_part_of_the_run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        (tmp_path / "with_words.py").write_text(
            "import torch\nclass Words(torch.nn.GRUCell):\n    files = ('words.txt',)\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        ids = set()
        for text in ("one", "two"):
            (tmp_path / "words.txt").write_text(text)
            spec = spec_of(*TINY, "cell=foreign", "cell.module=with_words.Words", "model.engine=stepwise")
            ids.add(spec.run_id)
        assert len(ids) == 2

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ((), "cell.module must be given, got ???"),
            (("cell.module=nowhere.Cell",), "cell.module must be importable, got 'nowhere.Cell' (ModuleNotFoundError"),
            (("cell.module=torch.nn.Linear",), "cell.module must take one step, (input, state) -> state"),
            (("cell.module=torch.nn.GRUCell", "+cell.arguments.bias=3"),
             "cell.arguments.bias must be true or false, got 3"),
        ],
    )  # fmt: skip
    def test_bad_input(self, bench: Bench, words: tuple[str, ...], message: str):
        assert_one_line(bench.run("cell=foreign", *words), "run", message)
        assert not bench.results.exists()
