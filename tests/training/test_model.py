from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from bench.cells.gru import GRUCell
from bench.cells.init import Initialization
from bench.cells.lstm import LSTMCell
from bench.cells.rnn import RNNCell
from bench.training.model import SequenceModel, hidden_size_for_budget, parameter_count
from bench.training.rng import generator
from tests.cells_made import Leak

TORCH = Initialization(input="torch", recurrent="torch", bias="torch")
CELLS: dict[str, Any] = {
    "rnn": partial(RNNCell, nonlinearity="tanh", init=TORCH),
    "lstm": partial(LSTMCell, forget_bias=1.0, init=TORCH),
    "gru": partial(GRUCell, init=TORCH),
}


def build(cell: Any, **changes: Any) -> SequenceModel:
    settings: dict[str, Any] = {
        "input_size": 3,
        "output_size": 2,
        "hidden_size": 6,
        "layers": 1,
        "dropout": 0.0,
        "readout": "every",
        "engine": "stepwise",
    }
    model = SequenceModel(cell, **(settings | changes))
    model.reset_parameters(generator("init", 0), 10, "torch")
    return model


@pytest.fixture
def inputs() -> torch.Tensor:
    return torch.randn(12, 5, 3, generator=generator("probe", 0), dtype=torch.double)


@pytest.mark.parametrize("readout", ["every", "last"])
@pytest.mark.parametrize(("layers", "dropout"), [(1, 0.0), (2, 0.0), (3, 0.0), (2, 0.5), (3, 0.5)])
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("engine", ["fused", "native"])
def test_engines_agree_in_outputs_and_all_gradients(
    engine: str, name: str, layers: int, dropout: float, readout: str, inputs: torch.Tensor
):
    settings = {"layers": layers, "dropout": dropout, "readout": readout}
    fast = build(CELLS[name], engine=engine, **settings).double()
    stepwise = build(CELLS[name], engine="stepwise", **settings).double()
    assert (fast.engine, stepwise.engine) == (engine, "stepwise")
    outputs = [model(inputs, generator("dropout", 0)) for model in (fast, stepwise)]
    for each in outputs:
        each.square().mean().backward()
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-10)
    for a, b in zip(fast.parameters(), stepwise.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", CELLS)
def test_two_layers_against_torch(name: str, inputs: torch.Tensor):
    model = build(CELLS[name], layers=2).double()
    oracle = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[name](3, 6, num_layers=2).double()
    for depth, cell in enumerate(model.layers):
        for key, value in cell.state_dict().items():
            getattr(oracle, f"{key}_l{depth}").data.copy_(value)
    hidden, _ = oracle(inputs)
    torch.testing.assert_close(model(inputs), model.readout_layer(hidden), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", CELLS)
def test_readout_at_the_last_step_is_the_last_of_every_step(name: str, inputs: torch.Tensor):
    every, last = build(CELLS[name]).double(), build(CELLS[name], readout="last").double()
    assert every(inputs).shape == (12, 5, 2)
    assert last(inputs).shape == (1, 5, 2)
    torch.testing.assert_close(last(inputs), every(inputs)[-1:])


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        *[("leak", engine) for engine in ("stepwise", "generated")],
        *[(name, engine) for name in CELLS for engine in ("fused", "native")],
    ],
)
def test_the_trace_is_what_the_network_did(name: str, engine: str, inputs: torch.Tensor):
    model = build(CELLS.get(name, partial(Leak, init=TORCH)), layers=2, engine=engine).double()
    lower, upper = model.trace(inputs)
    torch.testing.assert_close(model.readout_layer(upper.states["h"]), model(inputs), rtol=0, atol=1e-12)
    cell = model.layers[0]
    assert tuple(lower.states) == cell.states
    assert tuple(lower.blocks) == cell.blocks
    assert all(value.shape == (12, 5, 6) for value in (*lower.states.values(), *lower.blocks.values()))


def test_gates_in_the_trace_make_the_states(inputs: torch.Tensor):
    (trace,) = build(CELLS["lstm"]).double().trace(inputs)
    before = torch.cat((torch.zeros(1, 5, 6, dtype=torch.double), trace.states["c"][:-1]))
    b = trace.blocks
    torch.testing.assert_close(trace.states["c"], b["forget"] * before + b["input"] * b["candidate"])
    torch.testing.assert_close(trace.states["h"], b["output"] * torch.tanh(trace.states["c"]))


class TestDropout:
    def test_masks_are_a_function_of_the_generator_and_need_one(self, inputs: torch.Tensor):
        model = build(CELLS["gru"], layers=2, dropout=0.5).double()
        one, same, other = (model(inputs, generator("dropout", 0, index)) for index in (0, 0, 1))
        assert torch.equal(one, same)
        assert not torch.equal(one, other)
        assert torch.equal(model(inputs), build(CELLS["gru"], layers=2).double()(inputs)), "none without a generator"

    def test_the_share_and_the_scale(self):
        seen: list[torch.Tensor] = []
        model = build(CELLS["rnn"], layers=2, dropout=0.25, engine="stepwise", hidden_size=40)
        upper = model.layers[1]
        project = upper.project
        upper.project = lambda hidden: seen.append(hidden) or project(hidden)  # type: ignore[method-assign]
        long = torch.randn(50, 20, 3, generator=generator("probe", 0))
        model(long)
        model(long, generator("dropout", 0))
        plain, dropped = seen
        kept = dropped != 0
        assert kept.float().mean().item() == pytest.approx(0.75, abs=0.01)
        torch.testing.assert_close(dropped[kept], plain[kept] / 0.75)

    @pytest.mark.parametrize("dropout", [-0.1, 1.0])
    def test_out_of_range(self, dropout: float):
        with pytest.raises(ValueError, match="`dropout` must be >= 0 and < 1"):
            build(CELLS["rnn"], layers=2, dropout=dropout)

    def test_one_layer_has_nothing_to_drop(self):
        with pytest.raises(
            ValueError, match=r"`dropout` acts between layers: it must be 0 where layers is 1, got 0\.5"
        ):
            build(CELLS["rnn"], dropout=0.5)


@pytest.mark.parametrize("name", CELLS)
def test_the_native_trace_is_that_of_the_equations(name: str, inputs: torch.Tensor):
    native, stepwise = (build(CELLS[name], layers=2, engine=engine).double() for engine in ("native", "stepwise"))
    for one, other in zip(native.trace(inputs), stepwise.trace(inputs), strict=True):
        assert list(one.states) == list(other.states)
        assert list(one.blocks) == list(other.blocks)
        torch.testing.assert_close(one.states, other.states, rtol=0, atol=1e-12)
        torch.testing.assert_close(one.blocks, other.blocks, rtol=0, atol=1e-12)


class TestEngine:
    def test_one_that_the_cell_lacks_is_an_error(self):
        with pytest.raises(ValueError, match="`engine` must not be fused for Leak, which has no kernel, got 'fused'"):
            build(partial(Leak, init=TORCH), engine="fused")
        with pytest.raises(ValueError, match="`engine` must not be native for Leak, which names no recurrence"):
            build(partial(Leak, init=TORCH), engine="native")

    def test_unknown(self):
        allowed = "fused, stepwise, compiled, native, generated"
        with pytest.raises(ValueError, match=f"`engine` must be one of {allowed}, got 'warp'"):
            build(CELLS["gru"], engine="warp")


def test_initial_values_are_a_function_of_the_generator():
    before = torch.get_rng_state()
    one, two = build(CELLS["lstm"], layers=2), build(CELLS["lstm"], layers=2)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(before, torch.get_rng_state())
    twin = copy.deepcopy(one)
    twin.reset_parameters(generator("init", 1), 10, "torch")
    assert not torch.equal(one.readout_layer.weight, twin.readout_layer.weight)


class TestParameterBudget:
    @pytest.mark.parametrize(
        ("name", "budget", "hidden"),
        # Bai et al. (2018) have on adding, at 70K parameters: LSTM 130, GRU about 150, RNN about 262.
        [("lstm", 70_000, 130), ("gru", 70_000, 151), ("rnn", 70_000, 262)],
    )
    def test_published_sizes_at_70k(self, name: str, budget: int, hidden: int):
        def count(size: int) -> int:
            return parameter_count(build(CELLS[name], input_size=2, output_size=1, hidden_size=size))

        assert hidden_size_for_budget(count, budget) == hidden

    def test_counts_against_the_formula(self):
        model = build(CELLS["lstm"], input_size=2, output_size=1, hidden_size=130)
        assert parameter_count(model) == 4 * (130 * 2 + 130 * 130 + 2 * 130) + 131

    @pytest.mark.parametrize("budget", [10, 11, 12, 13, 20, 57, 1000])
    @pytest.mark.parametrize(
        "count",
        [
            lambda size: size * size + 2 * size + 7,
            lambda size: 3 * size + 7,
            lambda size: size**3 + 9,
            lambda size: 9 + math.isqrt(size),
            lambda size: 10 if size < 4 else 3 * size,
        ],
        ids=["square", "line", "cube", "root", "steps"],
    )
    def test_no_size_is_nearer(self, count: Callable[[int], int], budget: int):
        found = hidden_size_for_budget(count, budget)
        assert abs(count(found) - budget) <= min(abs(count(size) - budget) for size in range(1, 400))

    def test_few_networks_are_made(self):
        asked: list[int] = []

        def count(size: int) -> int:
            asked.append(size)
            return 4 * (size * 2 + size * size + 2 * size) + size + 1

        assert hidden_size_for_budget(count, 70_000) == 130
        assert sorted(asked) == [1, 2, 3, 130, 131]

    def test_the_smaller_of_two_equally_near(self):
        assert hidden_size_for_budget(lambda size: 10 * size, 25) == 2

    def test_too_small_for_any_size(self):
        with pytest.raises(
            ValueError, match="`parameter_budget` must be >= 10, the parameters at hidden size 1, got 9"
        ):
            hidden_size_for_budget(lambda size: 10 * size, 9)
