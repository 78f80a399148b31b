"""What compares cells, on known answers: the reach, rate and growth of the gradient, and the Lyapunov exponents."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.cells import Cell
from bench.cells.gru import GRUCell
from bench.cells.lstm import LSTMCell
from bench.probes.flow import gradient_flow_of, longest_lag
from bench.probes.lyapunov import exponents_of
from bench.stats.gradient_decay import Reach, reach
from bench.training.model import SequenceModel
from tasks.adding_problem import AddingProblem
from tasks.base import Task
from tasks.temporal_order import TemporalOrder
from tests.cells_made import Linear
from tests.networks import TORCH, cell_maker, network, orthogonal, probe_batch

TASK = AddingProblem(length=60, markers="halves", solved_mse=0.01)


def rate_of(model: SequenceModel, task: Task) -> float:
    rate = reach_of(model, task).rate
    assert rate is not None
    return rate


def reach_of(model: SequenceModel, task: Task = TASK) -> Reach:
    points = gradient_flow_of(model, task, probe_batch(task), range(longest_lag(task) + 1), inputs=True)
    lags, values = zip(*((point.lag, point.value) for point in points if point.state == "x"), strict=True)
    return reach(lags, values)


def leading(model: SequenceModel, task: Task = TASK, count: int = 1) -> list[list[float]]:
    return exponents_of(model, probe_batch(task).inputs, count)


class Scaled(GRUCell):  # pyright: ignore[reportGeneralTypeIssues] - cells are final; here it is the point
    """A GRU that keeps its state a thousand times as large, and shows it so to the readout."""

    scale = 1000.0

    def step(self, projected: Any, state: Any) -> Any:
        (h,) = super().step(projected, (state[0] / self.scale,))
        return (self.scale * h,)


class Mixed(GRUCell):  # pyright: ignore[reportGeneralTypeIssues]
    """A GRU that keeps its state in another basis."""

    def step(self, projected: Any, state: Any) -> Any:
        (h,) = super().step(projected, (state[0] @ orthogonal(self.hidden_size),))
        return (h @ orthogonal(self.hidden_size).T,)


class Carrying(GRUCell):  # pyright: ignore[reportGeneralTypeIssues]
    """A GRU that carries a copy of its state along, which nothing uses."""

    states = ("h", "copy")

    def update(self, values: Any, state: Any) -> Any:
        (h,) = super().update(values, state[:1])
        return h, h.clone()

    def activate(self, projected: Any, state: Any) -> Any:
        return super().activate(projected, state[:1])


class Rotation(Cell):
    """Every unit is a complex number that turns and is driven: c' = r exp(iw) c + x, with h its real part."""

    blocks = ("new",)
    states = ("h", "c")
    weights = ("weight_ih",)
    radius = 0.9

    def project(self, inputs: Any) -> Any:
        return inputs @ self.weight_ih.T

    def initial_state(self, batch_size: int) -> Any:
        h = self.weight_ih.new_zeros(batch_size, self.hidden_size)
        return h, torch.complex(h, h)

    def activate(self, projected: Any, state: Any) -> Any:
        return {"new": projected}

    def update(self, values: Any, state: Any) -> Any:
        turn = torch.polar(torch.full((5,), self.radius, dtype=torch.double), torch.arange(5).double())
        c = turn * state[1] + values["new"]
        return c.real, c.conj()


class Henon(Cell):
    """The Henon map, whose exponents are known: 0.4192 and -1.6230 (Sprott 2003, appendix A)."""

    blocks = ("new",)
    weights = ("weight_ih",)

    def project(self, inputs: Any) -> Any:
        return 0.0 * inputs[..., :1].expand(-1, -1, self.hidden_size)

    def activate(self, projected: Any, state: Any) -> Any:
        x, y = state[0].unbind(1)
        return {"new": torch.stack([1 - 1.4 * x * x + y, 0.3 * x], dim=1) + projected}

    def update(self, values: Any, state: Any) -> Any:
        return (values["new"],)


@pytest.mark.parametrize("radius", [1.0, 0.9, 0.5, 1.02])
def test_a_linear_cell_has_the_rate_of_its_spectral_radius(radius: float):
    model = network(partial(Linear, init=TORCH), TASK, hidden_size=2)
    with torch.no_grad():
        model.layers[0].weight_ih.copy_(torch.eye(2))
        model.layers[0].weight_hh.copy_(radius * orthogonal(2))
    found = reach_of(model)
    assert found.rate == pytest.approx(math.log10(radius), abs=1e-9)
    assert found.reach == found.farthest == (59 if radius >= 1 else math.floor(math.log(0.01) / math.log(radius)))
    assert found.growth == pytest.approx(max(1.0, radius**55))
    assert leading(model, count=7) == [pytest.approx([math.log(radius)] * 2, abs=1e-9)]


def gates_held(forget: float) -> SequenceModel:
    """An LSTM whose gates do not depend on anything, with a candidate close to linear."""
    model = network(partial(LSTMCell, init=TORCH, forget_bias=None), TASK)
    (cell,) = model.layers
    with torch.no_grad():
        cell.weight_hh.zero_()
        cell.bias_hh.zero_()
        for name, rows in zip(cell.blocks, cell.weight_ih.split(5), strict=True):
            rows.mul_(1e-3 if name == "candidate" else 0.0)
        for name, rows in zip(cell.blocks, cell.bias_ih.split(5), strict=True):
            rows.fill_({"forget": math.log(forget / (1 - forget)) if forget < 1 else 60.0}.get(name, 0.0))
    return model


@pytest.mark.parametrize("forget", [0.5, 0.9, 1.0])
def test_an_lstm_whose_forget_gate_is_held_keeps_that_share_a_step(forget: float):
    model = gates_held(forget)
    found = reach_of(model)
    assert found.rate == pytest.approx(math.log10(forget), abs=1e-4)
    assert found.reach == (59 if forget == 1 else math.floor(math.log(0.01) / math.log(forget)))
    assert found.growth == pytest.approx(1.0, abs=1e-3)
    assert leading(model, count=5) == [pytest.approx([math.log(forget)] * 5, abs=1e-4)]


@pytest.mark.parametrize("kind", [Scaled, Mixed, Carrying])
def test_the_same_function_in_other_states_has_the_same_numbers(kind: type[GRUCell]):
    plain = network(partial(GRUCell, init=TORCH), TASK, engine="stepwise")
    other = network(partial(kind, init=TORCH), TASK, engine="stepwise")
    other.load_state_dict(plain.state_dict())
    with torch.no_grad():
        other.readout_layer.weight.copy_(
            {Scaled: plain.readout_layer.weight / 1000, Mixed: plain.readout_layer.weight @ orthogonal(5).T}.get(
                kind, plain.readout_layer.weight
            )
        )
    inputs = probe_batch(TASK).inputs
    assert torch.allclose(other(inputs), plain(inputs), rtol=1e-9)
    one, same = reach_of(plain), reach_of(other)
    assert (same.reach, same.farthest, same.points) == (one.reach, one.farthest, one.points)
    assert (same.rate, same.growth, same.ratio) == pytest.approx((one.rate, one.growth, one.ratio), rel=1e-6)
    assert leading(other)[0][0] == pytest.approx(leading(plain)[0][0], abs=0.02)


def test_untrained_gates_carry_farther_and_a_forget_bias_of_one_farther_still():
    """The order that h alone turned round: for an LSTM it is c that carries."""
    task = TemporalOrder(length=100, classes=4, solved_accuracy=0.99)
    found = {name: rate_of(network(cell_maker(name), task, hidden_size=16), task) for name in ("rnn", "gru", "lstm")}
    assert found["lstm"] > found["gru"] > found["rnn"]


def test_a_state_of_complex_numbers():
    model = network(partial(Rotation, init=TORCH), TASK)
    points = gradient_flow_of(model, TASK, probe_batch(TASK), range(60))
    norms = {point.lag: point.value for point in points if point.state == "c"}
    # At lag 0 the readout uses h, the real part; from then on the whole of c carries.
    assert [norms[lag + 1] / norms[lag] for lag in range(1, 50)] == pytest.approx([0.9] * 49)
    # Each input turns c by another angle when it arrives at h, but the rate is that of the whole.
    assert rate_of(model, TASK) == pytest.approx(math.log10(0.9), abs=0.01)
    assert leading(model, count=10)[0][:10] == pytest.approx([math.log(0.9)] * 10, abs=1e-9)


class Memoryless(Cell):
    """A cell that forgets all at each step."""

    blocks = ("new",)
    weights = ("weight_ih", "bias_ih")

    def activate(self, projected: Any, state: Any) -> Any:
        return {"new": torch.tanh(projected)}

    def update(self, values: Any, state: Any) -> Any:
        return (values["new"],)


def test_a_cell_without_memory_reaches_nothing_and_keeps_nothing():
    model = network(partial(Memoryless, init=TORCH), TASK)
    found = reach_of(model)
    assert (found.reach, found.underflow) == (0, pytest.approx(59 / 60))
    assert leading(model, count=2) == [[-math.inf, -math.inf]]


def test_a_chaotic_map():
    model = network(partial(Henon, init=TORCH), TASK, hidden_size=2)
    inputs = torch.zeros(500, 2, TASK.input_size, dtype=torch.double)
    (found,) = exponents_of(model, inputs, 5)
    assert found[0] == pytest.approx(0.4192, abs=0.03)
    assert sum(found) == pytest.approx(math.log(0.3), abs=1e-9)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_all_exponents_together_are_the_volume_that_finite_differences_see(name: str):
    model = network(cell_maker(name), TASK, engine="stepwise", hidden_size=3)
    (cell,), inputs = model.layers, probe_batch(TASK, size=1).inputs
    state, logs = cell.initial_state(1), []
    size = 3 * len(state)

    def after(flat: Tensor) -> Tensor:
        return torch.cat(cell.step(projected, flat.split(3, dim=1)), dim=1)

    with torch.no_grad():
        for projected in cell.project(inputs):
            flat = torch.cat(state, dim=1)
            moves = 1e-5 * torch.eye(size, dtype=torch.double)
            columns = [(after(flat + move) - after(flat - move)) / 2e-5 for move in moves]
            logs.append(torch.linalg.slogdet(torch.cat(columns)).logabsdet)
            state = cell.step(projected, state)
    (found,) = exponents_of(model, inputs, size)
    # The last tenth of the sequence is left out.
    assert sum(found) == pytest.approx(float(torch.stack(logs[: -len(logs) // 10]).mean()), rel=1e-5)
    assert found == sorted(found, reverse=True)


def test_each_layer_has_its_own_exponents_and_the_network_is_left_as_it_was():
    model = network(cell_maker("gru"), TASK, layers=2, engine="native")
    before = [parameter.clone() for parameter in model.parameters()]
    found = leading(model, count=3)
    assert [len(each) for each in found] == [3, 3]
    assert leading(model, count=3) == found
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(map(torch.equal, before, model.parameters()))
