"""Gradient flow of a user's own module, without Hydra or Lightning, and its picture."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn

from bench.cells.init import Initialization
from bench.cells.lstm import LSTMCell
from bench.probes.flow import gradient_flow_of
from bench.probes.own import gradient_flow
from bench.report.figures.gradient_flow import plot_flow
from bench.training.model import SequenceModel
from bench.training.rng import generator
from tasks.adding_problem import AddingProblem
from tasks.base import Batch
from tests.conftest import page

TORCH = Initialization(input="torch", recurrent="torch", bias="torch")


def batch_of(task: AddingProblem, size: int = 4) -> Batch:
    batch = task.sample(size, generator("probe", 0))
    return Batch(batch.inputs.double(), batch.targets.double(), batch.scored, batch.answer)


def test_it_is_the_probe_of_our_own_cell():
    task = AddingProblem(length=15, markers="halves", solved_mse=0.01)
    model = SequenceModel(
        partial(LSTMCell, forget_bias=1.0, init=TORCH), input_size=2, output_size=1, hidden_size=5, layers=1,
        dropout=0.0, readout="last", engine="fused",
    )  # fmt: skip
    model.reset_parameters(generator("init", 0), 7, "torch")
    model.double()
    theirs = nn.LSTMCell(2, 5).double()
    theirs.load_state_dict(model.layers[0].state_dict())
    batch = batch_of(task)

    def loss(hidden: Tensor) -> Tensor:
        return task.answer_loss(model.readout_layer(hidden[-1:]), batch)

    zeros = torch.zeros(4, 5, dtype=torch.double)
    expected = gradient_flow_of(model, task, batch, range(15), inputs=True)
    frame = gradient_flow(theirs, batch.inputs, loss, state=(zeros, zeros))
    assert list(frame.columns) == ["state", "lag", "value"]
    assert list(zip(frame["state"], frame["lag"], strict=True)) == [(point.state, point.lag) for point in expected]
    np.testing.assert_allclose(frame["value"], [point.value for point in expected], rtol=1e-9)
    # The mean over the batch, given as one number, must give the same.
    again = gradient_flow(theirs, batch.inputs, lambda hidden: loss(hidden).mean(), state=(zeros, zeros), lags=[14, 0])
    assert again["lag"].tolist() == [0, 14] * 3
    assert again["value"].tolist() == pytest.approx([expected[i].value for i in (0, 14, 15, 29, 30, 44)])
    assert all(parameter.grad is None for parameter in theirs.parameters())


class Decaying(nn.Module):
    """h' = 0.5 h + x, with its own step and initial state and nothing to learn."""

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        return 0.5 * h + x

    def initial_state(self, batch: int) -> Tensor:
        return torch.zeros(batch, 3)


def test_a_closed_form_and_an_answer_in_the_middle():
    inputs = torch.ones(12, 2, 3)
    frame = gradient_flow(Decaying(), inputs, lambda hidden: hidden[7].sum(-1), answer=7)
    assert frame["state"].tolist() == ["x"] * 8 + ["h"] * 8
    assert frame["lag"].tolist() == [*range(8)] * 2
    assert frame["value"].tolist() == pytest.approx([3**0.5 * 0.5**lag for lag in range(8)] * 2)


def test_an_input_of_whole_numbers_has_no_curve():
    frame = gradient_flow(Decaying(), torch.ones(4, 2, 3, dtype=torch.int64), lambda hidden: hidden[-1].sum(-1))
    assert set(frame["state"]) == {"h"}


def test_a_step_given_by_hand_and_three_parts():
    def step(x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        h, a, b = state
        return 0.5 * h + a, a + x, b

    zeros = torch.zeros(2, 3)
    frame = gradient_flow(
        nn.Identity(), torch.ones(4, 2, 3), lambda hidden: hidden[-1].sum(-1), step=step, state=(zeros,) * 3, lags=[1]
    )
    assert frame["state"].tolist() == ["x", "h", "c", "state 3"]
    assert frame["value"].tolist() == pytest.approx([3**0.5, 3**0.5 / 2, 3**0.5, 0.0])


def test_a_part_that_is_handed_on_as_it_is():
    def step(x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return 0.5 * state[0] + state[1], state[1]

    zeros = torch.zeros(2, 3)
    frame = gradient_flow(
        nn.Identity(), torch.ones(6, 2, 3), lambda hidden: hidden[-1].sum(-1), step=step, state=(zeros, zeros)
    )
    of_c = frame[frame["state"] == "c"]["value"].tolist()
    # Every later step uses c, and what c does there is halved at each step after that.
    assert of_c == pytest.approx([3**0.5 * sum(0.5**k for k in range(lag)) for lag in range(6)])


def bad(module: Any = None, inputs: Any = None, loss: Any = None, **changes: Any) -> Any:
    return gradient_flow(
        module or Decaying(),
        torch.ones(4, 2, 3) if inputs is None else inputs,
        loss or (lambda hidden: hidden[-1].sum(-1)),
        **changes,
    )


class Texts(Decaying):
    def step(self, x: Tensor, h: Any) -> Any:
        return [h, "x"]


class Named(Decaying):
    def initial_state(self, batch: int) -> Any:
        return "zeros"


class Three(nn.Module):
    def step(self, x: Tensor, state: Any) -> Any:
        h, a, b = state
        return h + a + b + x, a, b

    def initial_state(self, batch: int) -> Any:
        return tuple(torch.zeros(3, batch, 3))


class Wrong(Decaying):
    def step(self, x: Tensor, h: Any) -> Any:
        return h.sum(0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lags": [4]}, "`lags` must be >= 0 and <= 3, the steps before the first answer, got 4"),
        ({"lags": []}, "`lags` must hold at least one lag, got []"),
        ({"answer": 4}, "`answer` must be >= 0 and <= 3, the last step, got 4"),
        ({"inputs": torch.ones(0, 2, 3)}, "`inputs` must have at least one step, got 0"),
        ({"module": nn.RNNCell(3, 3)}, "`state` must be given for RNNCell, which has no initial_state, got None"),
        ({"module": Named()}, "`state` must be a tensor or a tuple of tensors, got a str"),
        ({"module": Texts()}, "`state` must be a tensor or a tuple of tensors, got a list of Tensor, str"),
        ({"module": Wrong()},
         "`state` must be real or complex tensors (batch, hidden) with batch 2, got (3,) of torch.float32"),
        ({"loss": lambda hidden: hidden.sum(-1)},
         "`loss` must return a tensor of shape (2,), one value a sequence, or (), got (4, 2)"),
        ({"loss": lambda hidden: 3.0},
         "`loss` must return a tensor of shape (2,), one value a sequence, or (), got float"),
        ({"loss": lambda hidden: torch.zeros(2)},
         "`loss` must depend on the hidden states, got one that has no gradient"),
        ({"module": nn.LSTM(3, 3)},
         "`module` must advance by one step, got LSTM, which runs whole sequences: give LSTMCell"),
        ({"module": Three(), "names": ["h", "a", "a"]},
         "`names` must be different from each other and from x, the input, got ['h', 'a', 'a']"),
        ({"names": ["h", "c"]}, "`names` must be 1, one for each part of the state, got 2"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_it_cannot_take(changes: dict[str, Any], message: str):
    with pytest.raises((ValueError, TypeError)) as raised:
        bad(**changes)
    assert str(raised.value) == message


def test_its_picture():
    mpl.use("Agg")
    cell = Decaying()
    cell.step = lambda x, h: 1e-12 * h + x  # type: ignore[method-assign] # pyright: ignore[reportAttributeAccessIssue]
    frame = gradient_flow(cell, torch.ones(6, 2, 3), lambda hidden: hidden[-1].sum(-1))
    frame = frame.query("state == 'h'")
    axes = plot_flow(frame)
    curve, underflow = axes.get_lines()
    shown = [value for value in np.asarray(curve.get_ydata(), float) if np.isfinite(value)]
    assert shown == pytest.approx([3**0.5, 3**0.5 * 1e-12, 3**0.5 * 1e-24, 3**0.5 * 1e-36], rel=1e-3)
    assert np.asarray(underflow.get_xdata()).tolist() == [4, 5]
    bottom, top = axes.get_ylim()
    for value in np.asarray(underflow.get_ydata(), float):
        assert bottom < value < shown[-1]
    assert top > shown[0]
    assert axes.get_yscale() == "log"
    assert [str(line.get_label()) for line in axes.get_lines()] == ["h", "underflow: nothing arrives"]
    plt.close("all")


def test_it_needs_neither_hydra_nor_lightning(tmp_path: Path):
    code = (
        "import sys, torch\n"
        "sys.modules['lightning'] = sys.modules['hydra'] = None\n"
        "from bench.probes.own import gradient_flow\n"
        "cell = torch.nn.RNNCell(1, 2)\n"
        "frame = gradient_flow(cell, torch.ones(3, 1, 1), lambda h: h[-1].sum(-1), state=torch.zeros(1, 2))\n"
        "print(len(frame))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "6\n"


def test_what_the_documentation_says_to_type():
    (code,) = re.findall(r"```python\n(.*?)```", page("measures.md"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    frame = names["frame"]
    assert list(frame.columns) == ["state", "lag", "value"]
    assert (frame["lag"].min(), frame["lag"].max()) == (0, 199)
    plt.close("all")
