"""Code that is generated from a cell's equations: it equals them, and says what it cannot take."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.cells import Cell
from bench.cells.gru import GRUCell
from bench.engines import Choice, Tap, choose, stepwise
from bench.engines.generated import engine
from bench.engines.generated.step_graph import UnsupportedError
from bench.engines.native import build
from tests import own_cells
from tests.cells_made import draw, draw_state, error, everything, make

CPU = torch.device("cpu")
ALWAYS = (own_cells.MGU, own_cells.Peephole, own_cells.NormLSTM, own_cells.Attention)
"""Cells whose steps are compiled by every run of the tests; together they have all that the others have."""


def assert_alike(cell: Cell, time: int, batch: int, inputs: int = 3) -> None:
    sequence, state = draw(time, batch, inputs), draw_state(cell, batch)
    expected = everything(stepwise.unroll, cell.double(), sequence, state)
    assert error(everything(engine.unroll, cell.double(), sequence, state), expected) < 1e-11
    single = error(everything(stepwise.unroll, cell.float(), sequence, state), expected)
    assert error(everything(engine.unroll, cell.float(), sequence, state), expected) < max(2e-5, 4 * single)


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=() if kind in ALWAYS else pytest.mark.long_run) for kind in own_cells.PUBLISHED],
)
def test_outputs_and_gradients_are_those_of_the_equations(kind: Any):
    for time, batch, hidden in ((2, 3, 8), (40, 7, 37)):  # more rows than the backward pass takes together
        assert_alike(make(kind, 3, hidden), time, batch)


@pytest.mark.parametrize("name", ["gru", "lstm", "rnn_tanh", "rnn_relu", "leak"])
def test_our_own_cells(name: str):
    assert_alike(make(name, 3, 33), 12, 33)


def test_the_reset_gate_before_the_product():
    assert_alike(make(partial(GRUCell, reset="before"), 3, 9), 5, 4)


@pytest.mark.parametrize(
    ("time", "batch", "inputs", "hidden"),
    [(2, 1, 3, 7), (131, 33, 3, 5), (131, 3, 3, 130), (3, 70, 47, 17), (1, 4, 2, 128), (7, 40, 130, 33)],
)
def test_sizes_around_the_widths_of_vectors_and_tiles(time: int, batch: int, inputs: int, hidden: int):
    assert_alike(make(own_cells.MGU, inputs, hidden), time, batch, inputs)


@pytest.mark.long_run
@pytest.mark.parametrize(("inputs", "hidden"), [(1, 1), (1, 5), (8, 1), (6, 6)])
def test_sizes_that_are_equal(inputs: int, hidden: int):
    # A norm, a softmax and W - W.T of one unit are constants.
    several = (own_cells.IndRNN, own_cells.Antisymmetric, own_cells.NormLSTM, own_cells.Attention)
    for kind in own_cells.PUBLISHED:
        if hidden > 1 or kind not in several:
            assert_alike(make(kind, inputs, hidden), 5, 4, inputs)


def test_the_gradient_of_every_state_and_all_values_are_in_its_hands():
    cell, inputs = make(own_cells.Peephole, 3, 8), draw(9, 4, 3)
    tap, weights = Tap(), draw(9, 4, 8, index=1)
    hidden, _ = engine.unroll(cell, inputs, None, tap)
    (hidden * weights).sum().backward()
    found, blocks = engine.trace(cell, inputs)
    states, state = [], cell.initial_state(4)
    for step, projected in enumerate(cell.project(inputs)):
        for name, value in cell.activate(projected, state).items():
            torch.testing.assert_close(blocks[name][step], value, rtol=0, atol=1e-13)
        state = cell.step(projected, state)
        for name, value in zip(cell.states, state, strict=True):
            torch.testing.assert_close(found[name][step], value, rtol=0, atol=1e-13)
        states.append(state)
    loss = (torch.stack([h for h, _ in states]) * weights).sum()
    assert tap.gradients is not None
    for step, parts in enumerate(states):
        expected = torch.autograd.grad(loss, parts, retain_graph=True)
        torch.testing.assert_close(tuple(part[step] for part in tap.gradients), expected, rtol=0, atol=1e-12)


def test_parameters_that_change_and_a_cell_that_is_copied():
    cell, inputs = make(own_cells.MGU, 3, 9), draw(5, 4, 3)
    engine.unroll(cell, inputs)
    with torch.no_grad():
        for each in cell.parameters():
            each.mul_(0.5)
    other = make(own_cells.MGU, 3, 9)
    assert engine.recurrence_of(cell) is engine.recurrence_of(other), "one step serves cells that are alike"
    for each in (cell, other):
        torch.testing.assert_close(engine.unroll(each, inputs)[0], stepwise.unroll(each, inputs)[0])


def test_a_setting_that_changes_while_a_cell_is_used():
    class Scaled(own_cells.Changed):
        scale = 1.0

        def change(self, new: Any, state: Any) -> Any:
            self.steps = getattr(self, "steps", 0) + 1  # changes nothing
            return torch.tanh(self.scale * new)

    cell: Any = make(Scaled, 3, 9)
    inputs = draw(5, 4, 3)
    for scale in (1.0, 0.5):
        cell.scale = scale
        expected = stepwise.unroll(cell, inputs)[0]
        torch.testing.assert_close(engine.unroll(cell, inputs)[0], expected)
    before = vars(cell).get("steps")
    engine.unroll(cell, inputs)
    assert vars(cell).get("steps") == before, "a trace leaves the cell as it is"


def test_a_sum_over_the_units_is_a_factor_of_a_gradient():
    class Summed(own_cells.Changed):
        def __init__(self, *sizes: int, **settings: Any) -> None:
            super().__init__(*sizes, **settings)
            self.out = nn.Linear(1, self.hidden_size)

        def change(self, new: Any, state: Any) -> Any:
            h, total = torch.tanh(new), state[0].sum(1, keepdim=True)
            return h + self.out(total) * self.out(h.amax(1, keepdim=True))

    assert_alike(make(Summed, 3, 9), 5, 4)


OPERATIONS: dict[str, Any] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - 0.5 * b, "mul": lambda a, b: a * b,
    "div": lambda a, b: a / (1 + b * b), "tanh": lambda a, b: torch.tanh(a),
    "sigmoid": lambda a, b: torch.sigmoid(a - b),
    "relu": lambda a, b: torch.relu(a) + b, "sin": lambda a, b: torch.sin(a), "exp": lambda a, b: torch.exp(-a * a),
    "maximum": lambda a, b: torch.maximum(a, b), "where": lambda a, b: torch.where(a > b, b, 0.3 * a),
    "turn": lambda a, b: torch.cat([a[:, 1:], b[:, :1]], 1), "norm": lambda a, b: a - a.mean(1, keepdim=True),
    "scale": lambda a, b: a / (1 + b.abs().sum(1, keepdim=True)), "sqrt": lambda a, b: torch.sqrt(1 + a * a),
}  # fmt: skip
"""What random steps are made of, each out of two values."""


class Random(Cell):
    """A step that is drawn: operations and products on the input, the state and each other."""

    blocks = ("one", "two")
    states = ("h", "c")

    def __init__(self, *sizes: int, seed: int, **settings: Any) -> None:
        super().__init__(*sizes, **settings)
        draw = torch.Generator().manual_seed(seed)
        self.names = [list(OPERATIONS)[int(torch.randint(len(OPERATIONS), (), generator=draw))] for _ in range(9)]
        self.places = [torch.randint(4 + i, (2,), generator=draw).tolist() for i in range(9)]
        self.products = torch.randint(9, (2,), generator=draw).tolist()

    def activate(self, projected: Any, state: Any) -> Any:
        values = [*self.split(projected), *state]
        for i, (name, (one, other)) in enumerate(zip(self.names, self.places, strict=True)):
            value = OPERATIONS[name](values[one], values[other])
            if i in self.products:
                value = self.split(self.recur(value))[i % 2]
            values.append(torch.tanh(value) if i in self.products else value)
        return {"one": values[-1] + values[-3], "two": values[-2] * values[-4]}

    def update(self, values: Any, state: Any) -> Any:
        return torch.tanh(values["one"] + 0.5 * state[1]), torch.tanh(values["two"] - state[0])


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=pytest.mark.long_run if seed > 1 else ()) for seed in range(40)]
)
def test_random_steps(seed: int):
    cell = make(partial(Random, seed=seed), 3, 18)
    sequence, state = draw(6, 5, 3), draw_state(cell, 5)

    def found(unroll: Any) -> list[Tensor]:
        leaves = [each.clone().requires_grad_() for each in (sequence, *state)]
        hidden, end = unroll(cell, leaves[0], tuple(leaves[1:]))
        loss = hidden.square().sum() + (end[1] * draw(5, 18)).sum()
        wanted = [*leaves, *cell.parameters()]
        return [hidden, *end, *torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)]

    for one, other in zip(found(engine.unroll), found(stepwise.unroll), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (own_cells.Noisy, "aten.rand"),
        (own_cells.Branching, "its step cannot be traced: Could not guard on data-dependent expression"),
        (own_cells.Squared, "aten.unsqueeze.default makes a tensor of the shape (batch, 11, 1)"),
        (own_cells.Turned, "aten.flip.default has no place in generated code"),
        (own_cells.Counting, "its steps in training differ from the traced one by"),
        (own_cells.Moody, "its steps in evaluation differ from the traced one by"),
        (own_cells.Keeping, "its step writes into a parameter or a buffer"),
        (own_cells.Mean, "aten.mean.dim takes the mean of sequences"),
    ],
)
def test_what_it_cannot_take_is_named(kind: Any, reason: str):
    cell = make(kind, 3, 11)
    with pytest.raises(UnsupportedError) as caught:
        engine.recurrence_of(cell)
    assert reason in str(caught.value)
    chosen = choose("auto", [cell], CPU, "32")
    assert chosen == Choice("stepwise", f"stepwise instead of generated: {caught.value}")
    message = f"`engine` must be auto, stepwise or compiled for {kind.__name__}, got 'generated': {caught.value}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        choose("generated", [cell], CPU, "32")


@pytest.mark.parametrize(
    ("inputs", "state", "message"),
    [
        ((4, 2, 5), None, r"`inputs` must be \(time, batch, 3\) with at least one step, got \[4, 2, 5\]"),
        ((0, 2, 3), None, r"`inputs` must be \(time, batch, 3\) with at least one step, got \[0, 2, 3\]"),
        ((4, 2, 3), (1, 9), r"`state` must have the shape \[2, 9\], got \[1, 9\]"),
    ],
)
def test_other_shapes(inputs: tuple[int, ...], state: tuple[int, ...] | None, message: str):
    cell = make(own_cells.MGU, 3, 9)
    with pytest.raises(ValueError, match=message):
        engine.unroll(cell, torch.zeros(inputs, dtype=torch.double),
                      None if state is None else (torch.zeros(state, dtype=torch.double),))  # fmt: skip


def test_half_a_library_is_built_again(tmp_path: Any, monkeypatch: pytest.MonkeyPatch):
    library = tmp_path / "step.so"
    (tmp_path / "draft").write_bytes(b"a library")
    assert not build.whole(library)
    build.put(tmp_path / "draft", library)
    assert build.whole(library)
    library.write_bytes(b"a lib")
    assert not build.whole(library)
