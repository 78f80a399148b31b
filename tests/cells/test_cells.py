"""The cell contract for every cell in ``conf/``, and each cell against ``torch.nn``."""

from __future__ import annotations

import copy
import importlib
import inspect
import math
import re
from typing import Any

import hydra.utils
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from bench.cells import Cell
from bench.cells.gru import GRUCell
from bench.cells.init import Initialization, chrono_bias
from bench.cells.lstm import LSTMCell
from bench.engines import Unroll, fused, stepwise
from bench.engines.native import engine as native
from bench.training.rng import generator
from tests.cells_made import CELLS, TORCH, draw
from tests.conftest import ROOT, cells, options

INITS = [
    TORCH,
    Initialization(input="glorot", recurrent="glorot", bias="zero"),
    Initialization(input="torch", recurrent="orthogonal", bias="torch"),
    Initialization(input="glorot", recurrent="identity", bias="zero"),
]
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *[(name, {}) for name in cells()],
    ("rnn", {"nonlinearity": "relu"}),
    ("lstm", {"forget_bias": None}),
    ("lstm", {"forget_bias": "chrono"}),
]
SHAPES = [(1, 1, 1, 1), (2, 1, 7, 3), (17, 5, 3, 8), (60, 3, 10, 13)]
TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-5}


def make(
    name: str, input_size: int, hidden_size: int, init: Initialization = TORCH, delay: int = 20, **settings: Any
) -> Cell:
    node = OmegaConf.merge(OmegaConf.load(ROOT / "conf" / "cell" / f"{name}.yaml"), settings)
    cell: Cell = hydra.utils.instantiate(node)(input_size, hidden_size, init=init)
    cell.reset_parameters(generator("init", 0), delay)
    return cell


def unroll(cell: Cell, inputs: torch.Tensor) -> torch.Tensor:
    state = cell.initial_state(inputs.shape[1])
    hidden = []
    for projected in cell.project(inputs):
        state = cell.step(projected, state)
        hidden.append(state[0])
    return torch.stack(hidden)


@pytest.fixture(params=VARIANTS, ids=str)
def variant(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return request.param


class TestContract:
    @pytest.mark.parametrize(("shape", "init"), list(zip(SHAPES, INITS, strict=True)), ids=str)
    @pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
    def test_fused_and_stepwise_agree(
        self,
        variant: tuple[str, dict[str, Any]],
        shape: tuple[int, int, int, int],
        dtype: torch.dtype,
        init: Initialization,
    ):
        time, batch, input_size, hidden_size = shape
        stepwise = make(variant[0], input_size, hidden_size, init, **variant[1]).to(dtype)
        fused = copy.deepcopy(stepwise)
        assert fused.fused is not None
        draw = generator("probe", 0)
        inputs = torch.randn(time, batch, input_size, generator=draw, dtype=dtype, requires_grad=True)
        weights = torch.randn(time, batch, hidden_size, generator=draw, dtype=dtype) / (time * batch)
        twin = inputs.detach().clone().requires_grad_()
        one, two = unroll(stepwise, inputs), fused.fused(twin)[0]
        (one * weights).sum().backward()
        (two * weights).sum().backward()
        if init.recurrent == "identity" and variant[1].get("nonlinearity") == "relu":
            scale = max(1.0, one.abs().max().item())  # an IRNN's state grows without bound
        else:
            scale = 1.0
        limit = TOLERANCES[dtype] * scale
        assert (one - two).abs().max() <= limit
        pairs = zip([inputs, *stepwise.parameters()], [twin, *fused.parameters()], strict=True)
        for a, b in pairs:
            assert a.grad is not None
            assert b.grad is not None
            assert (a.grad - b.grad).abs().max() <= limit

    def test_gradcheck_of_the_step(self, variant: tuple[str, dict[str, Any]]):
        cell = make(variant[0], 3, 4, **variant[1]).double()
        draw = generator("probe", 1)
        projected = torch.randn(2, len(cell.blocks) * 4, generator=draw, dtype=torch.double, requires_grad=True)
        state = tuple(torch.randn(2, 4, generator=draw, dtype=torch.double, requires_grad=True) for _ in cell.states)
        assert torch.autograd.gradcheck(lambda p, *s: cell.step(p, s), (projected, *state))

    def test_blocks_and_gates_are_visible_by_name(self, variant: tuple[str, dict[str, Any]]):
        cell = make(variant[0], 3, 5, **variant[1])
        state = tuple(torch.randn(2, 5, generator=generator("probe", 2)) for _ in cell.states)
        values = cell.activate(cell.project(torch.randn(1, 2, 3, generator=generator("probe", 3)))[0], state)
        assert tuple(values) == cell.blocks
        assert set(cell.gates) <= set(cell.blocks)
        for gate in cell.gates:
            assert 0 < values[gate].min() <= values[gate].max() < 1
        after = cell.update(values, state)
        assert len(after) == len(cell.states)
        assert cell.states[0] == "h"

    def test_parameters_carry_torchs_names_and_shapes(self, variant: tuple[str, dict[str, Any]]):
        cell = make(variant[0], 3, 5, **variant[1])
        rows = 5 * len(cell.blocks)
        shapes = {name: tuple(p.shape) for name, p in cell.named_parameters()}
        assert shapes == {"weight_ih": (rows, 3), "weight_hh": (rows, 5), "bias_ih": (rows,), "bias_hh": (rows,)}

    def test_the_kernel_works_on_the_cells_own_parameters(self, variant: tuple[str, dict[str, Any]]):
        cell = make(variant[0], 3, 5, **variant[1])
        for each in (cell, copy.deepcopy(cell), copy.deepcopy(cell).double()):
            assert each.fused is not None
            assert each.fused.weight_hh_l0 is each.weight_hh
            inputs = torch.ones(2, 1, 3, dtype=each.weight_hh.dtype)
            before = each.fused(inputs)[0]
            with torch.no_grad():
                each.bias_ih.add_(1)
            assert not torch.equal(before, each.fused(inputs)[0])

    def test_initial_values_are_a_function_of_the_generator(self, variant: tuple[str, dict[str, Any]]):
        global_before = torch.get_rng_state()
        one, two = make(variant[0], 3, 5, **variant[1]), make(variant[0], 3, 5, **variant[1])
        for a, b in zip(one.parameters(), two.parameters(), strict=True):
            assert torch.equal(a, b)
        two.reset_parameters(generator("init", 1), 20)
        assert not torch.equal(one.weight_hh, two.weight_hh)
        assert torch.equal(global_before, torch.get_rng_state())

    def test_bad_sizes(self, variant: tuple[str, dict[str, Any]]):
        with pytest.raises(ValueError, match="`hidden_size` must be >= 1, got 0"):
            make(variant[0], 3, 0, **variant[1])
        with pytest.raises(ValueError, match="`input_size` must be >= 1, got 0"):
            make(variant[0], 0, 3, **variant[1])

    def test_no_concrete_cell_inherits_from_another(self, variant: tuple[str, dict[str, Any]]):
        assert type(make(variant[0], 1, 1, **variant[1])).__bases__ == (Cell,)


class TestAgainstTorch:
    """Each cell step by step against an independent module of ``torch.nn`` with copied weights."""

    @pytest.mark.parametrize(
        ("name", "settings", "oracle"),
        [
            ("rnn", {"nonlinearity": "tanh"}, lambda: nn.RNN(3, 5)),
            ("rnn", {"nonlinearity": "relu"}, lambda: nn.RNN(3, 5, nonlinearity="relu")),
            ("lstm", {}, lambda: nn.LSTM(3, 5)),
            ("gru", {}, lambda: nn.GRU(3, 5)),
        ],
    )
    def test_outputs(self, name: str, settings: dict[str, Any], oracle: Any):
        theirs = oracle().double()
        ours = make(name, 3, 5, **settings).double()
        ours.load_state_dict({key.removesuffix("_l0"): value for key, value in theirs.state_dict().items()})
        inputs = torch.randn(11, 4, 3, generator=generator("probe", 0), dtype=torch.double)
        torch.testing.assert_close(unroll(ours, inputs), theirs(inputs)[0], rtol=0, atol=1e-12)


class TestInitialization:
    @pytest.mark.parametrize("name", cells())
    def test_torch_default_range(self, name: str):
        cell = make("lstm", 50, 100, forget_bias=None) if name == "lstm" else make(name, 50, 100)
        for parameter in cell.parameters():
            assert 0.09 < parameter.abs().max() <= 0.1

    def test_glorot_is_by_block(self):
        cell = make("lstm", 50, 100, Initialization(input="glorot", recurrent="glorot", bias="zero"), forget_bias=None)
        assert cell.weight_ih.abs().max().item() == pytest.approx(math.sqrt(6 / 150), rel=1e-2)
        assert cell.weight_hh.abs().max().item() == pytest.approx(math.sqrt(6 / 200), rel=1e-2)
        assert not cell.bias_ih.any()
        assert not cell.bias_hh.any()

    @pytest.mark.parametrize("name", cells())
    def test_orthogonal_and_identity_blocks(self, name: str):
        eye = torch.eye(20)
        for block in make(name, 3, 20, INITS[2]).weight_hh.split(20):
            torch.testing.assert_close(block @ block.T, eye, atol=1e-5, rtol=0)
            assert not torch.equal(block, eye)
        for block in make(name, 3, 20, INITS[3]).weight_hh.split(20):
            assert torch.equal(block, eye)

    @pytest.mark.parametrize("name", ["rnn", "lstm"])
    def test_sparse_blocks_of_a_given_spectral_radius(self, name: str):
        start = Initialization(input="torch", recurrent="sparse", bias="zero", spectral_radius=1.1)
        for block in make(name, 3, 50, start).weight_hh.detach().split(50):
            assert ((block != 0).sum(dim=1) == 15).all()
            assert torch.linalg.eigvals(block.double()).abs().max().item() == pytest.approx(1.1, rel=1e-5)
        assert (make(name, 3, 10, start).weight_hh != 0).all()
        with pytest.raises(ValueError, match=r"`spectral_radius` must be .* finite number > 0, got -1"):
            Initialization(input="torch", recurrent="sparse", bias="zero", spectral_radius=-1.0)

    def test_forget_bias_is_the_sum_of_both_biases(self):
        plain, shifted = make("lstm", 3, 5, forget_bias=None), make("lstm", 3, 5, forget_bias=2.5)
        total = (shifted.bias_ih + shifted.bias_hh).view(4, 5)
        assert (total[1] == 2.5).all()
        others = [0, 2, 3]
        assert torch.equal(total[others], (plain.bias_ih + plain.bias_hh).view(4, 5)[others])

    def test_chrono_covers_the_tasks_delay(self):
        cell = make("lstm", 3, 4000, delay=100, forget_bias="chrono")
        total = (cell.bias_ih + cell.bias_hh).detach().view(4, 4000)
        assert torch.equal(total[0], -total[1])
        spans = total[1].exp()
        # For U[1, 149] the mean is 75 and the standard deviation 42.7.
        assert spans.min() >= 1
        assert spans.max() <= 149.01
        assert spans.mean().item() == pytest.approx(75, abs=4 * 42.7 / math.sqrt(4000))
        shorter = make("lstm", 3, 4000, delay=100, forget_bias="chrono", chrono_range=1.0)
        longest = (shorter.bias_ih + shorter.bias_hh).detach().view(4, 4000)[1].exp().max().item()
        assert 98 < longest <= 99.01
        with pytest.raises(ValueError, match="`chrono_range` must be a finite number > 0, got 0"):
            make("lstm", 3, 5, forget_bias="chrono", chrono_range=0.0)

    def test_chrono_has_a_range_even_for_a_delay_of_one(self):
        values = chrono_bias(100, 1.5, generator("init", 0))
        assert values.min() >= 0
        assert values.exp().max() <= 2.01
        assert len(values.unique()) > 90

    def test_unknown_words(self):
        with pytest.raises(ValueError, match="`forget_bias` must be a number, null or chrono, got 'much'"):
            make("lstm", 1, 1, forget_bias="much")
        with pytest.raises(ValueError, match="`nonlinearity` must be one of tanh, relu, got 'sin'"):
            make("rnn", 1, 1, nonlinearity="sin")


def test_a_kernel_of_another_shape_is_refused():
    class Odd(Cell):
        blocks = ("a", "b")

        def activate(self, projected: Any, state: Any) -> Any: ...
        def update(self, values: Any, state: Any) -> Any: ...
        def kernel(self) -> nn.RNNBase:
            return nn.RNN(self.input_size, self.hidden_size, device="meta")

    with pytest.raises(ValueError, match="`weight_ih` of Odd does not have the shape of its kernel's"):
        Odd(2, 3, init=TORCH)


class TestVariants:
    def test_a_gru_with_its_reset_gate_before_the_product(self):
        cell = GRUCell(3, 4, reset="before", init=TORCH)
        cell.reset_parameters(generator("init", 0), 1)
        cell.double()
        inputs, h = draw(6, 2, 3), torch.zeros(2, 4, dtype=torch.double)
        (w_r, w_z, w_n), (u_r, u_z, u_n) = cell.weight_ih.chunk(3), cell.weight_hh.chunk(3)
        (b_r, b_z, b_n), (c_r, c_z, c_n) = cell.bias_ih.chunk(3), cell.bias_hh.chunk(3)
        found, _ = stepwise.unroll(cell, inputs)
        for x, expected in zip(inputs, found, strict=True):
            reset = torch.sigmoid(x @ w_r.T + b_r + h @ u_r.T + c_r)
            z = torch.sigmoid(x @ w_z.T + b_z + h @ u_z.T + c_z)
            h = (1 - z) * torch.tanh(x @ w_n.T + b_n + (reset * h) @ u_n.T + c_n) + z * h
            assert torch.allclose(h, expected, atol=1e-14)
        assert (cell.fused, cell.recurrence) == (None, None)
        with pytest.raises(ValueError, match="`reset` must be one of after, before, got 'later'"):
            GRUCell(3, 4, reset="later", init=TORCH)

    def test_an_lstm_with_peepholes(self):
        cell = LSTMCell(3, 4, forget_bias=None, peepholes=True, init=TORCH)
        cell.reset_parameters(generator("init", 0), 1)
        cell.double()
        assert cell.weight_peephole is not None
        assert 0.1 < float(cell.weight_peephole.detach().abs().max()) < 0.5
        p_i, p_f, p_o = cell.weight_peephole.chunk(3)
        inputs, h, c = draw(6, 2, 3), *(torch.zeros(2, 4, dtype=torch.double) for _ in range(2))
        found, _ = stepwise.unroll(cell, inputs)
        for x, expected in zip(inputs, found, strict=True):
            rows = x @ cell.weight_ih.T + cell.bias_ih + h @ cell.weight_hh.T + cell.bias_hh
            i, f, g, o = rows.chunk(4, dim=-1)
            c = torch.sigmoid(f + p_f * c) * c + torch.sigmoid(i + p_i * c) * torch.tanh(g)
            h = torch.sigmoid(o + p_o * c) * torch.tanh(c)
            assert torch.allclose(h, expected, atol=1e-14)
        assert (cell.fused, cell.recurrence) == (None, None)

    @pytest.mark.parametrize("unroll", [stepwise.unroll, fused.unroll, native.unroll])
    @pytest.mark.parametrize("name", CELLS)
    def test_a_learned_initial_state(self, name: str, unroll: Unroll):
        cell = CELLS[name](3, 4, initial_state="learned")
        cell.reset_parameters(generator("init", 0), 1)
        cell.double()
        assert cell.start is not None
        assert not cell.start.any()
        with torch.no_grad():
            cell.start.copy_(draw(len(cell.states), 4))
        inputs = draw(5, 2, 3)
        given = tuple(part.detach().expand(2, 4).contiguous().requires_grad_() for part in cell.start)
        found, expected = unroll(cell, inputs)[0], stepwise.unroll(cell, inputs, given)[0]
        assert torch.allclose(found, expected, atol=1e-12)
        (gradient,) = torch.autograd.grad(found.square().sum(), [cell.start])
        parts = torch.autograd.grad(expected.square().sum(), given)
        assert torch.allclose(gradient, torch.stack([part.sum(0) for part in parts]), atol=1e-12)

    @pytest.mark.parametrize("unroll", [stepwise.unroll, fused.unroll, native.unroll])
    @pytest.mark.parametrize("name", CELLS)
    def test_a_given_initial_state(self, name: str, unroll: Unroll):
        parts = len(CELLS[name](3, 4).states)
        for given, numbers in ((0.5, [0.5] * parts), ([0.25, -1.0][:parts], [0.25, -1.0][:parts])):
            cell = CELLS[name](3, 4, initial_state=given)
            cell.reset_parameters(generator("init", 0), 1)
            cell.double()
            start = tuple(torch.full((2, 4), number, dtype=torch.double) for number in numbers)
            found, expected = unroll(cell, draw(5, 2, 3))[0], stepwise.unroll(cell, draw(5, 2, 3), start)[0]
            assert torch.allclose(found, expected, atol=1e-12)

    @pytest.mark.parametrize("unroll", [fused.unroll, native.unroll])
    def test_an_initial_state_of_ones_own(self, unroll: Unroll, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(GRUCell, "initial_state", lambda cell, n: (torch.full((n, 4), 0.5, dtype=torch.double),))
        cell = CELLS["gru"](3, 4)
        cell.reset_parameters(generator("init", 0), 1)
        cell.double()
        assert torch.allclose(unroll(cell, draw(5, 2, 3))[0], stepwise.unroll(cell, draw(5, 2, 3))[0], atol=1e-12)

    @pytest.mark.parametrize("bad", ["ones", [], [0.0, 0.0, 0.0], math.inf])
    def test_an_initial_state_that_is_none(self, bad: Any):
        message = re.escape(
            f"`initial_state` must be zeros, learned, a finite number, or one for each of h, c, got {bad!r}"
        )
        with pytest.raises(ValueError, match=f"^{message}$"):
            CELLS["lstm"](3, 4, initial_state=bad)


class IndRNN(Cell):
    """A cell whose units do not see each other: it needs no recurrent matrix."""

    blocks = ("new",)
    weights = ("weight_ih", "bias_ih")

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.own = nn.Parameter(torch.empty(self.hidden_size))

    def reset_parameters(self, generator: torch.Generator, delay: int) -> None:
        super().reset_parameters(generator, delay)
        with torch.no_grad():
            self.own.uniform_(-1, 1, generator=generator)

    def recur(self, h: Any) -> Any:
        return self.own * h

    def activate(self, projected: Any, state: Any) -> Any:
        return {"new": torch.relu(projected + self.recur(state[0]))}

    def update(self, values: Any, state: Any) -> Any:
        return (values["new"],)


class TestWeights:
    def test_what_a_cell_does_without_is_not_made(self):
        cell = IndRNN(3, 16, init=TORCH)
        cell.reset_parameters(generator("init", 0), 1)
        assert {name: tuple(value.shape) for name, value in cell.named_parameters()} == {
            "weight_ih": (16, 3), "bias_ih": (16,), "own": (16,),
        }  # fmt: skip
        assert cell.weight_hh is None
        hidden, _ = stepwise.unroll(cell, torch.ones(5, 2, 3))
        assert all(gradient is not None for gradient in torch.autograd.grad(hidden.sum(), list(cell.parameters())))

    def test_which_there_may_be(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(IndRNN, "weights", ("weight_ih", "weight"))
        with pytest.raises(ValueError, match="`weights` of IndRNN must be some of weight_ih, weight_hh, bias_ih, bias"):
            IndRNN(3, 4, init=TORCH)

    def test_a_kernel_needs_them_all(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(IndRNN, "recurrence", "rnn_relu")
        with pytest.raises(ValueError, match="`weights` of IndRNN must be all four"):
            IndRNN(3, 4, init=TORCH)

    def test_a_cell_has_blocks(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(IndRNN, "blocks", ())
        with pytest.raises(ValueError, match=r"`blocks` of IndRNN must name at least one block, got \(\)"):
            IndRNN(3, 4, init=TORCH)

    @pytest.mark.parametrize(
        ("attribute", "names", "wanted"),
        [
            ("blocks", ("new", "new"), r"name each once, got \('new', 'new'\)"),
            ("states", ("h", "h"), r"name each once, got \('h', 'h'\)"),
            ("gates", ("forget",), r"be some of new, got \('forget',\)"),
        ],
    )
    def test_names_that_would_hide_one_another_or_nothing(
        self, attribute: str, names: tuple[str, ...], wanted: str, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(IndRNN, attribute, names)
        with pytest.raises(ValueError, match=f"`{attribute}` of IndRNN must {wanted}"):
            IndRNN(3, 4, init=TORCH)


@pytest.mark.parametrize("name", cells())
def test_a_cell_is_one_recurrence_in_a_file_of_its_name(name: str):
    # A YAML may hold a variant of a cell, with other settings.
    target = OmegaConf.select(OmegaConf.load(ROOT / "conf" / "cell" / f"{name}.yaml"), "_target_")
    file = str(target).split(".")[2]
    module = importlib.import_module(f"bench.cells.{file}")
    own = [c for _, c in inspect.getmembers(module, inspect.isclass) if c.__module__ == module.__name__]
    assert [c.__name__ for c in own] == [f"{file.upper()}Cell"]


def test_every_cell_file_has_a_yaml():
    files = {path.stem for path in (ROOT / "bench" / "cells").glob("*.py")} - {"__init__", "base", "init"}
    assert files <= set(options("cell"))
