"""The probes against autograd, Jacobians and closed forms, and in real runs."""

from __future__ import annotations

import dataclasses
import math
import weakref
from functools import partial
from typing import Any

import hydra.utils
import pytest
import torch
from torch import Tensor, nn

from bench.cells import Cell
from bench.cells.lstm import LSTMCell
from bench.cells.rnn import RNNCell
from bench.config.explain import ConfigError
from bench.probes.activity import (
    _in_order,
    activity_of,
    gate_activity,
    hidden_activity,
    histogram,
    time_constant,
    time_constants,
)
from bench.probes.flow import (
    answer_step,
    check_lags,
    flow_and_traces,
    gradient_flow_of,
    gradient_norms,
    logarithmic_lags,
    longest_lag,
)
from bench.records import record
from bench.records.read import check_record, read_probe
from bench.records.series import CLOCKS
from bench.stats.gradient_decay import clipped_share, reach
from bench.training import rng
from bench.training.model import LayerTrace, SequenceModel
from tasks.adding_problem import AddingProblem
from tasks.base import Batch, Task
from tasks.copy_memory import CopyMemory
from tests.cells_made import Leak, Linear
from tests.conftest import TINY, Bench, assert_one_line, cells, spec_of
from tests.networks import TORCH, cell_maker, network, orthogonal, probe_batch

TASKS: dict[str, Task] = {
    "adding_problem": AddingProblem(length=12, markers="halves", solved_mse=0.01),
    "copy_memory": CopyMemory(delay=3, form="categorical", solved_recall=0.99),
}


def traced_with_gradients(model: SequenceModel, task: Task, batch: Batch) -> dict[tuple[int, str, int], float]:
    """Compute the gradients the plain way: every step by the cell's own equations, with every state retained."""
    steps = batch.inputs.clone().requires_grad_().unbind()
    for step in steps:
        step.retain_grad()
    states: dict[tuple[int, str, int], Tensor] = {(0, "x", step): each for step, each in enumerate(steps)}
    hidden = torch.stack(steps)
    for layer, cell in enumerate(model.layers, start=1):
        state = cell.initial_state(hidden.shape[1])
        outputs = []
        for step, projected in enumerate(cell.project(hidden)):
            state = cell.step(projected, state)
            for name, part in zip(cell.states, state, strict=True):
                part.retain_grad()
                states[layer, name, step] = part
            outputs.append(state[0])
        hidden = torch.stack(outputs)
    read = model.readout_layer(hidden[-1:] if model.readout == "last" else hidden)
    task.answer_loss(read, batch).sum().backward()
    found = {}
    for (layer, name, step), part in states.items():
        gradient = part.grad if part.grad is not None else torch.zeros_like(part)
        found[layer, name, answer_step(task, batch) - step] = float(gradient.square().sum(1).mean().sqrt())
    return found


@pytest.mark.parametrize(
    ("cell", "task", "layers"),
    [*[(cell, task, 3) for cell in cells() for task in TASKS], ("lstm", "adding_problem", 1)],
)
def test_the_flow_is_that_of_every_state_retained(cell: str, task: str, layers: int):
    """For all lags and for some, with each engine; the IRNN is the RNN with ReLU."""
    asked = TASKS[task]
    longest, batch = longest_lag(asked), probe_batch(asked)
    expected = traced_with_gradients(network(cell_maker(cell), asked, layers=layers), asked, batch)
    for engine in ("native", "fused", "stepwise", "generated"):
        model = network(cell_maker(cell), asked, layers=layers, engine=engine)
        for chosen in (list(range(longest + 1)), [longest, 0, 4]):
            found = gradient_flow_of(model, asked, batch, chosen, inputs=True)
            assert found[len(chosen) :] == gradient_flow_of(model, asked, batch, chosen)
            parts = [(0, "x"), *((layer, name) for layer in range(1, layers + 1) for name in model.layers[0].states)]
            names = [(*part, lag) for part in parts for lag in sorted(chosen)]
            assert [(point.layer, point.state, point.lag) for point in found] == names
            for point in found:
                assert point.value == pytest.approx(expected[point.layer, point.state, point.lag], rel=1e-6, abs=1e-14)


def test_the_flow_is_that_of_the_jacobian():
    """Disturb h and c of an LSTM where each is made, and let everything after it follow."""
    task = TASKS["adding_problem"]
    model, batch = network(cell_maker("lstm"), task), probe_batch(task, size=3)
    (cell,) = model.layers

    def losses(of_h: Tensor, of_c: Tensor) -> Tensor:
        h, c = cell.initial_state(3)
        for step, projected in enumerate(cell.project(batch.inputs)):
            values = cell.activate(projected, (h, c))
            c = values["forget"] * c + values["input"] * values["candidate"] + of_c[step]
            h = values["output"] * torch.tanh(c) + of_h[step]
        return task.answer_loss(model.readout_layer(h[None]), batch)

    nothing = torch.zeros(task.length, 3, 5, dtype=torch.double)
    jacobians = torch.autograd.functional.jacobian(losses, (nothing, nothing))
    found = {
        (point.state, point.lag): point.value for point in gradient_flow_of(model, task, batch, range(task.length))
    }
    for name, jacobian in zip(("h", "c"), jacobians, strict=True):
        for lag in range(task.length):
            own = torch.stack([jacobian[b, task.length - 1 - lag, b] for b in range(3)])
            assert found[name, lag] == pytest.approx(float(own.square().sum(1).mean().sqrt()), rel=1e-6)


def test_a_projection_that_depends_on_the_step_sees_the_whole_sequence():
    task = AddingProblem(length=40, markers="halves", solved_mse=0.01)
    model = network(partial(Leak, init=TORCH), task)
    whole = {point.lag: point.value for point in gradient_flow_of(model, task, probe_batch(task), range(40))}
    for point in gradient_flow_of(model, task, probe_batch(task), [0, 8, 32]):
        assert point.value == pytest.approx(whole[point.lag], rel=1e-12)


def test_norms_of_any_size():
    for size in (1e-250, 1e-160, 1.0, 1e200):
        h = torch.ones(2, 3, dtype=torch.double, requires_grad=True)
        assert gradient_norms((size * h).sum(), [h]) == pytest.approx([size * 3**0.5])


def test_a_part_of_the_state_without_effect_has_no_gradient():
    h = torch.ones(2, 3, requires_grad=True)
    assert gradient_norms((2 * h).sum(), [h, torch.ones(2, 3, requires_grad=True)]) == [pytest.approx(12**0.5), 0.0]


class Keeping(Cell):
    """A cell with a second part that never changes, and a third that depends on the input alone."""

    blocks = ("new",)
    states = ("h", "kept", "input")

    def activate(self, projected: Any, state: Any) -> Any:
        h, kept, before = state
        return {"new": torch.tanh(0.5 * self.recur(h) + kept + 0.3 * before), "input": projected.detach()}

    def update(self, values: Any, state: Any) -> Any:
        return values["new"], state[1], values["input"]


@pytest.mark.parametrize("lags", [list(range(12)), [0, 5, 11]], ids=str)
def test_parts_that_are_handed_on_or_do_not_depend_on_the_state(lags: list[int]):
    """Compare with a disturbance of each part after each step."""
    task = TASKS["adding_problem"]
    model, batch = network(partial(Keeping, init=TORCH), task), probe_batch(task)
    (cell,) = model.layers
    disturbances = torch.zeros(12, 3, 4, 5, dtype=torch.double, requires_grad=True)
    state = cell.initial_state(4)
    for step, projected in enumerate(cell.project(batch.inputs)):
        state = tuple(part + disturbances[step, i] for i, part in enumerate(cell.step(projected, state)))
    loss = task.answer_loss(model.readout_layer(state[0][None]), batch).sum()
    (gradient,) = torch.autograd.grad(loss, [disturbances])
    norms = gradient.square().sum(-1).mean(-1).sqrt()
    for point in gradient_flow_of(model, task, batch, lags):
        expected = norms[11 - point.lag, cell.states.index(point.state)]
        assert point.value == pytest.approx(float(expected), rel=1e-9, abs=1e-15), point


class Follower(Cell):
    """A cell with a layer that follows the batches it sees, and its own buffer."""

    blocks = ("new",)

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.norm = nn.BatchNorm1d(self.hidden_size)
        self.frozen = nn.Dropout(0.5).eval()
        self.register_buffer("calls", torch.zeros(1))

    def activate(self, projected: Any, state: Any) -> Any:
        self.calls += 1
        return {"new": torch.tanh(self.norm(projected + self.recur(state[0])))}

    def update(self, values: Any, state: Any) -> Any:
        return (values["new"],)


def test_layers_that_follow_the_batches_do_not_follow_the_probe():
    task = TASKS["adding_problem"]
    model, batch = network(partial(Follower, init=TORCH), task), probe_batch(task)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gradient_flow_of(model, task, batch, [0, 3])
    activity_of(model, batch.inputs, gates=True)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    cell: Any = model.layers[0]
    assert (model.training, cell.norm.training, cell.frozen.training) == (True, True, False)


def test_a_gradient_too_small_for_a_square_in_single_precision_is_seen_and_one_too_small_for_any_is_zero():
    task = AddingProblem(length=60, markers="halves", solved_mse=0.01)
    model = network(partial(Linear, init=TORCH), task).float()
    with torch.no_grad():
        model.layers[0].weight_hh.copy_(0.1 * orthogonal(5).float())
    points = gradient_flow_of(model, task, task.sample(4, rng.generator("probe", 0)), [0, 30, 59])
    assert points[1].value == pytest.approx(points[0].value * 1e-30, rel=1e-4)
    assert points[2].value == 0.0
    assert reach([0, 30, 59], [point.value for point in points]).underflow == pytest.approx(1 / 3)


def test_nothing_of_the_network_is_changed():
    task = TASKS["copy_memory"]
    model, batch = network(cell_maker("gru"), task, layers=2), probe_batch(task)
    model.readout_layer.bias.requires_grad_(False)
    model.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    randomness = torch.get_rng_state()
    gradient_flow_of(model, task, batch, [0, 1])
    activity_of(model, batch.inputs, gates=True)
    assert torch.equal(torch.get_rng_state(), randomness)
    assert not model.training
    for name, parameter in model.named_parameters():
        assert parameter.grad is None
        assert parameter.requires_grad == (name != "readout_layer.bias")
        assert torch.equal(parameter, before[name])


class TestLags:
    def test_logarithmic(self):
        assert logarithmic_lags(0) == [0]
        assert logarithmic_lags(5) == [0, 1, 2, 3, 4, 5]
        assert logarithmic_lags(1000, most=5) == [0, 1, 10, 100, 1000]
        lags = logarithmic_lags(100_000)
        assert len(lags) <= 64
        assert (lags[0], lags[-1]) == (0, 100_000)
        assert lags == sorted(set(lags))

    @pytest.mark.parametrize(
        ("lags", "message"),
        [
            ([], "must hold at least one lag, got []"),
            ([0, 12], "must be >= 0 and <= 11, the steps before the first answer, got 12"),
            ([-1], "must be >= 0 and <= 11, the steps before the first answer, got -1"),
            ([3, 3], "must be different from each other, got [3, 3]"),
        ],
    )
    def test_outside_the_sequence(self, lags: list[int], message: str):
        with pytest.raises(ValueError) as raised:  # noqa: PT011
            check_lags(lags, 11)
        assert str(raised.value) == f"`lags` {message}"

    def test_count_back_from_the_first_answer(self):
        assert longest_lag(AddingProblem(length=30, markers="halves", solved_mse=0.01)) == 29
        # Ten symbols and the delay come before the first of the ten answers.
        assert longest_lag(CopyMemory(delay=7, form="scalar", solved_recall=0.99)) == 17


@pytest.mark.parametrize("task", TASKS)
def test_the_answer_loss_looks_at_the_answer_alone(task: str):
    asked = TASKS[task]
    batch = probe_batch(asked)
    outputs = torch.randn(*batch.targets.shape, asked.output_size, dtype=torch.double, generator=torch.Generator())
    elsewhere = torch.where(batch.answer[..., None], outputs, 100.0)
    losses = asked.answer_loss(outputs, batch)
    assert losses.shape == (4,)
    assert torch.equal(losses, asked.answer_loss(elsewhere, batch))
    if bool(batch.answer.all()):
        torch.testing.assert_close(losses.mean(), asked.loss(outputs, batch))
    else:
        chances = outputs.softmax(-1).gather(-1, batch.targets[..., None])[..., 0]
        torch.testing.assert_close(losses, -chances.log()[batch.answer].view(-1, 4).mean(0))


class TestActivity:
    def model(self, forget_bias: float) -> SequenceModel:
        """Make an LSTM whose gates see nothing but their bias."""
        task = TASKS["adding_problem"]
        model = network(partial(LSTMCell, forget_bias=forget_bias, init=TORCH), task)
        with torch.no_grad():
            for name in ("weight_ih", "weight_hh"):
                getattr(model.layers[0], name).zero_()
            model.layers[0].bias_ih.zero_()
            model.layers[0].bias_hh.zero_()
            model.layers[0].bias_ih[5:10] = forget_bias
        return model

    @pytest.mark.parametrize(("bias", "low", "high"), [(1.0, 0.0, 0.0), (4.0, 0.0, 1.0), (-4.0, 1.0, 0.0)])
    def test_a_gate_of_a_known_value(self, bias: float, low: float, high: float):
        rows = activity_of(self.model(bias), probe_batch(TASKS["adding_problem"]).inputs, gates=True)
        found = {(row.name, row.statistic): row.value for row in rows}
        gate = 1 / (1 + math.exp(-bias))
        assert found["forget", "mean"] == pytest.approx(gate)
        assert (found["forget", "low"], found["forget", "high"]) == (low, high)
        for quantile in ("05", "25", "50", "75", "95"):
            assert found["forget", f"tau_{quantile}"] == pytest.approx(-1 / math.log(gate))
        assert found["input", "mean"] == 0.5
        assert ("input", "tau_50") not in found
        assert {row.layer for row in rows} == {1}

    def test_without_gates_only_the_hidden_state(self):
        rows = activity_of(self.model(1.0), probe_batch(TASKS["adding_problem"]).inputs, gates=False)
        assert [(row.name, row.statistic) for row in rows] == [("h", "rms"), ("h", "dead"), ("h", "saturated")]

    def test_a_histogram_counts_every_value_once(self):
        values = torch.tensor([[0.0, 0.05, 0.25], [0.999, 1.0, 1.5]])
        assert histogram(values, 4) == {"bin_00": 2 / 6, "bin_01": 1 / 6, "bin_02": 0.0, "bin_03": 3 / 6}
        assert all(map(math.isnan, histogram(torch.tensor([0.5, math.nan]), 2).values()))

    def test_quantiles_of_time_constants(self):
        gates = torch.linspace(0.0, 1.0, 101)[torch.randperm(101, generator=torch.Generator())]
        found = time_constants(gates)
        for share in (5, 25, 50, 75, 95):
            assert found[f"tau_{share:02d}"] == pytest.approx(-1 / math.log(share / 100), rel=1e-5)

    @pytest.mark.parametrize(("name", "engine"), [*((name, "native") for name in cells()), ("leak", "generated")])
    def test_the_flow_sees_what_a_trace_is(self, name: str, engine: str):
        task = TASKS["copy_memory"]
        make = partial(Leak, init=TORCH) if name == "leak" else cell_maker(name)
        model, batch = network(make, task, layers=2, engine=engine), probe_batch(task)
        _, traces = flow_and_traces(model, task, batch, [0, 2])
        with torch.no_grad():
            expected = model.trace(batch.inputs)
        assert len(traces) == len(expected) == 2
        for found, trace in zip(traces, expected, strict=True):
            for mine, theirs in ((found.states, trace.states), (found.blocks, trace.blocks)):
                assert list(mine) == list(theirs)
                assert all(torch.equal(mine[key], theirs[key]) for key in mine)

    @pytest.mark.parametrize("kind", ["gates", "both signs", "few values", "far apart"])
    def test_quantiles_of_many_values_are_those_in_order(self, kind: str):
        values = torch.randn(300_001, generator=torch.Generator().manual_seed(1))
        if kind == "gates":
            values = values.sigmoid()
        elif kind == "few values":
            values = (values * 3).round() / 4
        elif kind == "far apart":
            values = values.sign() * 10 ** (30 * values.clamp(-1, 1))
        in_order, places = values.sort().values, [0, 15_000, 150_000, 285_000, 300_000]
        assert _in_order(values.numpy(), places) == in_order[places].tolist()

    def test_a_gate_at_its_ends(self):
        assert time_constant(1.0) == math.inf
        assert time_constant(0.0) == 0.0
        assert time_constant(math.exp(-1 / 40)) == pytest.approx(40)

    def test_what_is_no_number_makes_no_statistic(self):
        values = torch.tensor([[[0.5, math.nan, 0.99]]])
        for found in (time_constants(values), gate_activity(values), hidden_activity(values, 1.0)):
            assert all(math.isnan(value) for value in found.values())

    def test_dead_and_saturated_units(self):
        h = torch.tensor([[[0.0, 0.5, 0.96, -1.0]], [[0.0, 0.0, -0.9, -1.0]]])
        assert hidden_activity(h, 1.0) == {
            "rms": pytest.approx((float(h.square().sum()) / 8) ** 0.5), "dead": 0.25, "saturated": 3 / 8,
        }  # fmt: skip
        assert "saturated" not in hidden_activity(h, None)

    def test_a_relu_network_that_is_dead(self):
        task = TASKS["adding_problem"]
        model = network(partial(RNNCell, nonlinearity="relu", init=TORCH), task)
        with torch.no_grad():
            model.layers[0].bias_ih.fill_(-100.0)
        rows = activity_of(model, probe_batch(task).inputs, gates=True)
        assert [(row.name, row.statistic, row.value) for row in rows] == [("h", "rms", 0.0), ("h", "dead", 1.0)]

    @pytest.mark.parametrize("name", cells())
    def test_the_gates_that_keep_are_gates_and_the_bound_holds(self, name: str):
        task = TASKS["adding_problem"]
        model = network(cell_maker(name), task, hidden_size=20)
        (cell,) = model.layers
        assert set(cell.keeps) <= set(cell.gates)
        trace: LayerTrace = model.trace(100 * probe_batch(task).inputs)[0]
        if cell.bound is not None:
            assert float(trace.states["h"].detach().abs().max()) <= cell.bound


@pytest.fixture
def bench(bench: Bench) -> Bench:
    """Make runs with probes."""
    return dataclasses.replace(bench, always=("probe=flow",))


def rows_of(bench: Bench, made: record.Record, name: str) -> list[dict[str, Any]]:
    return read_probe(bench.folder(made), name).to_pylist()


def as_initialised(made: record.Record) -> tuple[Task, SequenceModel]:
    """Return task and network of a record of the adding problem, built without the code that builds runs."""
    task = AddingProblem(**{key: value for key, value in made.config["task"].items() if key != "_target_"})
    make_cell = hydra.utils.instantiate({**made.config["cell"], "_partial_": True})
    model = network(make_cell, task, hidden_size=made.model["hidden_size"]).float()
    model.reset_parameters(rng.generator("init", made.seed), task.delay, "torch")
    return task, model


class TestRuns:
    @pytest.mark.parametrize(
        "overrides",
        [
            ("cell=rnn",),
            ("cell=lstm", "task=copy_memory", "model.layers=2", "model.dropout=0.3"),
            ("cell=gru", "data.train_size=9", "training.clip_norm=null", "training.clip_value=0.01"),
        ],
        ids=str,
    )
    def test_training_is_the_same_with_and_without(self, bench: Bench, overrides: tuple[str, ...]):
        steps = ("training.max_steps=30", "training.eval_every=10")
        with_probes = bench.one(*overrides, *steps, "probe.every=3")
        without = bench.one(*overrides, *steps, "probe=none")
        assert with_probes.run_id != without.run_id
        one, two = bench.curves(with_probes), bench.curves(without)
        for name in one:
            if name not in CLOCKS:
                assert repr(one[name]) == repr(two[name]), name
        assert with_probes.metrics == without.metrics
        assert rows_of(bench, without, "flow") == []
        assert without.time["probe_seconds"] == 0.0
        assert with_probes.time["probe_seconds"] is not None
        assert with_probes.time["probe_seconds"] > 0

    def test_a_cell_that_draws_from_the_global_generator_trains_the_same(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ):
        step = RNNCell.update

        def noisy(cell: Any, values: Any, state: Any) -> Any:
            (h,) = step(cell, values, state)
            return (h + 0.1 * torch.randn(h.shape),)

        monkeypatch.setattr(RNNCell, "update", noisy)
        overrides = ("cell=rnn", "model.engine=stepwise", "task.length=8")
        one, two = bench.one(*overrides, "probe.every=2"), bench.one(*overrides, "probe=none")
        assert bench.curves(one)["train_loss"] == bench.curves(two)["train_loss"]

    @pytest.mark.parametrize(
        ("every", "looks", "updates"),
        [("3", [0, 3, 6, 7], [1, 3, 6, 7]), ("7", [0, 7], [1, 7]), ("null", [0, 7], [1, 7])],
    )
    def test_when(self, bench: Bench, every: str, looks: list[int], updates: list[int]):
        made = bench.one("training.max_steps=7", f"probe.every={every}", "probe.lags=[0,2]", "task.length=9")
        flow = rows_of(bench, made, "flow")
        assert [(row["step"], row["layer"], row["state"], row["lag"]) for row in flow] == [
            (step, *part, lag) for step in looks for part in ((0, "x"), (1, "h")) for lag in (0, 2)
        ]
        spectra = [row for row in rows_of(bench, made, "activity") if row["name"] == "state"]
        assert [(row["step"], row["statistic"]) for row in spectra] == [
            (step, f"lyapunov_{number}") for step in (0, 7) for number in range(1, 5)
        ]
        assert {row["run"] for row in flow} == {made.run_id}
        assert sorted({row["step"] for row in rows_of(bench, made, "activity")}) == looks
        assert sorted({row["step"] for row in rows_of(bench, made, "gradients")}) == updates

    def test_a_run_that_stops_when_solved_is_looked_at_where_it_stopped(self, bench: Bench):
        made = bench.one(
            "task.solved_mse=0.16",
            "cell=lstm",
            "optimizer.lr=0.05",
            "training.max_steps=400",
            "training.eval_every=2",
            "task.length=4",
            "probe.every=1000",
        )
        assert made.solved
        assert made.steps < 400
        assert sorted({row["step"] for row in rows_of(bench, made, "flow")}) == [0, made.steps]
        activity = rows_of(bench, made, "activity")
        assert sorted({row["step"] for row in activity if row["name"] == "state"}) == [0, made.steps]

    def test_a_run_that_diverges_keeps_what_was_before(self, bench: Bench):
        made = bench.one("optimizer=sgd", "optimizer.lr=1e30", "optimizer.momentum=0", "training.clip_norm=null",
                         "cell=rnn", "cell.nonlinearity=relu", "probe.every=1", "training.max_steps=20")  # fmt: skip
        assert made.status == "diverged"
        steps = {row["step"] for row in rows_of(bench, made, "flow")}
        assert 0 in steps
        assert max(steps) < made.steps

    def test_cells_of_one_seed_see_the_same_batch_and_lags_default_to_all_of_a_short_sequence(self, bench: Bench):
        one, two = bench.one("cell=rnn", "task.length=6"), bench.one("cell=gru", "task.length=6")
        lags = [[row["lag"] for row in rows_of(bench, made, "flow") if row["step"] == 0] for made in (one, two)]
        assert lags == [list(range(6)) * 2] * 2

    def test_the_first_look_is_at_the_network_as_initialised(self, bench: Bench):
        made = bench.one("task.length=9", "cell=lstm")
        task, model = as_initialised(made)
        batch = task.sample(32, rng.generator("probe", made.seed))
        expected = gradient_flow_of(model, task, batch, range(9), inputs=True)
        found = [row for row in rows_of(bench, made, "flow") if row["step"] == 0]
        for row, point in zip(found, expected, strict=True):
            assert (row["layer"], row["state"], row["lag"]) == (point.layer, point.state, point.lag)
            assert row["value"] == pytest.approx(point.value, rel=1e-5)

    def test_gradients_of_parameters_add_up_and_the_update_is_theirs(self, bench: Bench):
        made = bench.one("optimizer=sgd", "optimizer.lr=0.5", "optimizer.momentum=0", "training.clip_norm=0.01",
                         "probe.every=2")  # fmt: skip
        curves, rows = bench.curves(made), rows_of(bench, made, "gradients")
        assert len({row["parameter"] for row in rows}) == 6
        for step in (1, 2, 4, 6):
            at = {(row["parameter"], row["statistic"]): row["value"] for row in rows if row["step"] == step}
            for statistic, curve in (("norm", "grad_norm"), ("norm_clipped", "grad_norm_clipped")):
                total = math.sqrt(sum(v**2 for (_, what), v in at.items() if what == statistic))
                assert total == pytest.approx(curves[curve][step - 1], rel=1e-5)
        assert clipped_share(curves["grad_norm"], curves["grad_norm_clipped"]) == 1.0
        # One update of plain gradient descent moves a parameter by the learning rate times its gradient.
        at = {(row["parameter"], row["statistic"]): row["value"] for row in rows if row["step"] == 1}
        _, model = as_initialised(made)
        for name, parameter in model.named_parameters():
            moved = 0.5 * at[name, "norm_clipped"]
            if float(parameter.detach().norm()) == 0:
                assert at[name, "update_ratio"] is None
            else:
                assert at[name, "update_ratio"] * float(parameter.detach().norm()) == pytest.approx(moved, rel=1e-3)

    def test_live(self, bench: Bench):
        made = bench.one("logger=csv", "cell=lstm", "training.max_steps=6", "probe.every=4", "task.length=9")
        folder = bench.folder(made)
        header, *lines = (folder / "metrics.csv").read_text().splitlines()
        table = [dict(zip(header.split(","), line.split(","), strict=True)) for line in lines]
        told = [row for row in table if row["flow/reach"]]
        assert [int(row["step"]) for row in told] == [0, 4, 6]
        flow = [row for row in rows_of(bench, made, "flow") if row["step"] == 4]
        of = {state: [row["value"] for row in flow if row["state"] == state] for state in "xhc"}
        expected = reach(range(9), of["x"])
        assert float(told[1]["flow/rate"]) == pytest.approx(expected.rate)
        assert int(float(told[1]["flow/reach"])) == expected.reach
        whole = reach(range(9), [math.hypot(*parts) for parts in zip(of["h"], of["c"], strict=True)])
        assert float(told[1]["detail/flow/layer1/rate"]) == pytest.approx(whole.rate)
        updated = [row for row in table if row["detail/grad/cells.0.weight_hh/update_ratio"]]
        assert [int(row["step"]) for row in updated] == [1, 4, 6]
        assert {row["step"] for row in table if row["detail/gates/layer1.forget/tau_50"]} == {"0", "4", "6"}


class TestBadInput:
    @pytest.mark.parametrize(
        ("overrides", "message"),
        [
            (("probe.every=0",), "probe.every must be null or >= 1, got 0"),
            (("probe.gate_bins=101",), "probe.gate_bins must be between 0 and 100, got 101"),
            (("probe.every=-5",), "probe.every must be null or >= 1, got -5"),
            (("probe.batch_size=0",), "probe.batch_size must be >= 1, got 0"),
            (("probe.lags=[0,100]",),
             "probe.lags must be >= 0 and <= 99, the steps before the first answer, got 100"),
            (("probe.lags=[0,-1]",),
             "probe.lags must be >= 0 and <= 99, the steps before the first answer, got -1"),
            (("probe.lags=[]",), "probe.lags must hold at least one lag, got []"),
            (("probe.lags=[1,1]",), "probe.lags must be different from each other, got [1, 1]"),
            (("probe.lags=linear",), "probe.lags must be log, all, or a list of integers, got 'linear'"),
            (("probe.lags=[0.5]",), "probe.lags must be log, all, or a list of integers, got [0.5]"),
            (("cell=rnn", "probe.gates=true"),
             "probe.gates must be null or false for RNNCell, which has none, got true"),
        ],
        ids=str,
    )  # fmt: skip
    def test_values(self, overrides: tuple[str, ...], message: str):
        with pytest.raises(ConfigError) as refused:
            spec_of(*TINY, "probe=flow", *overrides)
        assert str(refused.value) == message

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ("probe.every=0", "probe.every must be null or >= 1, got 0"),
            ("probe.evry=3", "probe.evry is no setting, did you mean probe.every?"),
            ("probe=all", "probe must be one of flow, none, got 'all'"),
        ],
    )
    def test_one_line_and_nothing_written(self, bench: Bench, override: str, message: str):
        assert_one_line(bench.run(override), "run", message)
        assert not bench.results.exists()


def test_probe_tables_that_are_gone_or_damaged_are_named(bench: Bench):
    made = bench.ready("task.length=9")
    folder = bench.folder(made)
    (folder / "flow.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(record.DamagedRecordError, match=r"flow\.parquet: not readable curves"):
        check_record(folder)
    (folder / "activity.parquet").replace(folder / "flow.parquet")
    with pytest.raises(record.DamagedRecordError, match=r"flow\.parquet: must have the columns run, step, layer"):
        read_probe(folder, "flow")
    with pytest.raises(record.DamagedRecordError, match=r"activity\.parquet: not readable curves"):
        check_record(folder)


def test_no_graph_outlives_a_look(monkeypatch: pytest.MonkeyPatch):
    task = TASKS["adding_problem"]
    model, seen = network(partial(Linear, init=TORCH), task), []
    update = Linear.update

    def watched(cell: Any, values: Any, state: Any) -> Any:
        made = update(cell, values, state)
        seen.append(weakref.ref(made[0]))
        return made

    monkeypatch.setattr(Linear, "update", watched)
    gradient_flow_of(model, task, probe_batch(task), [0, 3])
    assert len(seen) == 12
    assert [each for each in seen if each() is not None] == []
