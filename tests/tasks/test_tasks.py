"""The task contract for every task in ``conf/``, and the promises of each."""

from __future__ import annotations

import inspect
import math
from typing import Any

import hydra.utils
import pytest
import torch
import torchmetrics.functional as tmf
import torchmetrics.functional.classification as tmc
from omegaconf import OmegaConf

from bench.records.older import directions_of
from bench.training.rng import generator
from tasks.adding_problem import TOLERANCE, AddingProblem
from tasks.base import Batch, Task
from tasks.copy_memory import CopyMemory
from tasks.marked_values import MarkedValues
from tasks.temporal_order import TemporalOrder
from tests.conftest import DATA, ROOT, options

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("adding_problem", {"markers": "halves"}),
    ("adding_problem", {"markers": "anywhere", "length": 7}),
    ("adding_problem", {"markers": "halves", "length": 2}),
    ("copy_memory", {"form": "categorical"}),
    ("copy_memory", {"form": "scalar", "delay": 1}),
    ("adding_1997", {"length": 20}),
    ("multiplication", {"length": 25}),
    ("temporal_order", {"classes": 8, "length": 20, "solved_accuracy": 1.0}),
]


def make(name: str, **settings: Any) -> Task:
    node = OmegaConf.merge(OmegaConf.load(ROOT / "conf" / "task" / f"{name}.yaml"), settings)
    return hydra.utils.instantiate(node)


def adding(length: int, markers: Any = "halves") -> AddingProblem:
    return AddingProblem(length=length, markers=markers, solved_mse=0.01)


def copying(delay: int, form: Any = "categorical") -> CopyMemory:
    return CopyMemory(delay=delay, form=form, solved_recall=0.99)


DRAWN = [name for name in options("task") if name not in DATA]
"""The tasks that draw their sequences; tests/tasks/test_data_sets.py has those that have them."""


@pytest.fixture(params=[*[(name, {}) for name in DRAWN], *VARIANTS], ids=str)
def task(request: pytest.FixtureRequest) -> Task:
    name, settings = request.param
    return make(name, **settings)


def perfect(task: Task, batch: Batch) -> torch.Tensor:
    """The outputs of a network that solves the task."""
    if isinstance(task, (AddingProblem, MarkedValues)):
        return batch.targets.unsqueeze(-1)
    return 100 * torch.nn.functional.one_hot(batch.targets, task.output_size).float()


def memoryless(task: Task, batch: Batch) -> torch.Tensor:
    """Return the outputs of the best predictor without memory."""
    if isinstance(task, AddingProblem):
        return torch.ones(1, batch.inputs.shape[1], 1)
    if isinstance(task, MarkedValues):
        return torch.full((1, batch.inputs.shape[1], 1), task.mean)
    if isinstance(task, TemporalOrder):
        return torch.zeros(1, batch.inputs.shape[1], task.output_size)
    outputs = torch.full((task.length, batch.inputs.shape[1], task.output_size), -1e4)
    scalar = task.output_size == 10
    outputs[:-10, :, 0 if scalar else 8] = 0.0
    outputs[-10:, :, 1 if scalar else 0 : 9 if scalar else 8] = 0.0
    return outputs


class TestContract:
    def test_every_variant_is_tested(self):
        assert set(DRAWN) == {name for name, _ in VARIANTS}

    def test_a_batch_is_a_function_of_the_generator(self, task: Task):
        one, same, other = (task.sample(5, generator("train", 0, index)) for index in (0, 0, 1))
        assert torch.equal(one.inputs, same.inputs)
        assert torch.equal(one.targets, same.targets)
        assert not torch.equal(one.inputs, other.inputs)

    def test_sampling_leaves_the_global_generator_alone(self, task: Task):
        before = torch.get_rng_state()
        task.sample(3, generator("train", 0))
        assert torch.equal(before, torch.get_rng_state())

    def test_shapes(self, task: Task):
        batch = task.sample(6, generator("train", 0))
        readout = task.length if task.readout == "every" else 1
        assert batch.inputs.shape == (task.length, 6, task.input_size)
        assert batch.targets.shape == batch.scored.shape == batch.answer.shape == (readout, 6)

    def test_answers_are_scored(self, task: Task):
        batch = task.sample(6, generator("train", 0))
        assert batch.answer.any(0).all()
        assert not (batch.answer & ~batch.scored).any()

    def test_the_loss_is_the_mean_of_the_loss_scores(self, task: Task):
        batch = task.sample(64, generator("train", 0))
        outputs = torch.randn(*batch.targets.shape, task.output_size, generator=generator("probe", 0))
        scores = task.scores(outputs, batch)
        torch.testing.assert_close(scores["loss"].mean(), task.loss(outputs, batch))

    def test_the_loss_sees_scored_positions_only_through_their_mean(self, task: Task):
        batch = task.sample(3, generator("train", 0))
        outputs = torch.randn(*batch.targets.shape, task.output_size, requires_grad=True)
        task.loss(outputs, batch).backward()
        assert outputs.grad is not None
        touched = outputs.grad.abs().sum(-1) > 0
        assert torch.equal(touched, batch.scored)

    def test_baselines_match_a_simulation_of_the_predictor_without_memory(self, task: Task):
        n = 20_000 if task.length < 200 else 2_000
        batch = task.sample(n, generator("eval", 0))
        scores = task.scores(memoryless(task, batch), batch)
        assert scores.keys() == task.baselines.keys()
        if task.output_size == 1:  # Each score has a best answer of its own, which is searched for.
            tried = [task.scores(torch.full((1, n, 1), answer), batch) for answer in torch.linspace(0, 2, 801).tolist()]
            for name, direction in task.directions.items():
                best = max if direction == "higher" else min
                scores[name] = best((each[name] for each in tried), key=lambda values: values.mean().item())
        if isinstance(task, CopyMemory):  # it guesses: all symbols are equally likely, and argmax takes the first
            assert scores["exact"].mean() < 1e-3
        for name, expected in task.baselines.items():
            error = scores[name].std().item() / math.sqrt(n)
            assert scores[name].mean().item() == pytest.approx(expected, abs=5 * error + 1e-6), name

    def test_no_constant_beats_the_baseline(self, task: Task):
        batch = task.sample(4_000, generator("eval", 1))
        best = memoryless(task, batch)
        floor = task.loss(best, batch).item()
        for shift in (-0.2, 0.2):
            assert task.loss(best + shift * torch.rand(task.output_size), batch).item() >= floor - 1e-3

    def test_what_scales_it_is_an_argument_that_sets_its_delay(self, task: Task):
        assert task.scaled_by in inspect.signature(type(task).__init__).parameters

    def test_metric_and_extras_are_scores(self, task: Task):
        assert {task.metric, *task.extra_metrics, "loss"} <= task.baselines.keys()

    def test_a_perfect_network_is_on_the_better_side_of_every_baseline(self, task: Task):
        batch = task.sample(50, generator("eval", 2))
        for name, values in task.scores(perfect(task, batch), batch).items():
            assert (values.mean().item() > task.baselines[name]) == (task.directions[name] == "higher"), name
        assert task.directions.keys() == task.baselines.keys()

    def test_records_without_directions_have_the_same(self, task: Task):
        facts = {"metric": task.metric, "higher_is_better": task.higher_is_better, "baselines": task.baselines}
        assert directions_of(facts) == task.directions

    def test_the_baseline_does_not_solve_the_task_and_perfection_does(self, task: Task):
        assert not task.solved(task.baselines)
        batch = task.sample(50, generator("eval", 2))
        scores = task.scores(perfect(task, batch), batch)
        assert task.solved({name: values.mean().item() for name, values in scores.items()})


class TestAddingProblem:
    @pytest.mark.parametrize("length", [2, 3, 7, 100])
    def test_one_marker_in_each_half(self, length: int):
        marks = adding(length).sample(2_000, generator("train", 0)).inputs[..., 1]
        assert set(marks.unique().tolist()) <= {0.0, 1.0}
        half = length // 2
        assert (marks[:half].sum(0) == 1).all()
        assert (marks[half:].sum(0) == 1).all()
        assert (marks.sum(1) > 0).all(), "every step is marked sometimes"

    @pytest.mark.parametrize("length", [2, 3, 7, 50])
    def test_two_distinct_markers_anywhere(self, length: int):
        marks = adding(length, "anywhere").sample(5_000, generator("train", 0)).inputs[..., 1]
        assert (marks.sum(0) == 2).all()
        share = marks.mean(1) * length / 2
        assert share.numpy() == pytest.approx(1, abs=6 * math.sqrt(length / 10_000))

    @pytest.mark.parametrize("length", [2, 10, 50])
    def test_one_marker_in_the_first_tenth_and_one_in_the_second_half(self, length: int):
        marks = adding(length, "early").sample(2_000, generator("train", 0)).inputs[..., 1]
        first, second = max(1, length // 10), length // 2
        assert (marks[:first].sum(0) == 1).all()
        assert (marks[second:].sum(0) == 1).all()
        assert (marks.sum(1) > 0).tolist() == [step < first or step >= second for step in range(length)]

    @pytest.mark.parametrize("markers", ["halves", "anywhere", "early"])
    def test_the_target_is_the_sum_of_the_marked_values(self, markers: str):
        batch = adding(30, markers).sample(100, generator("train", 0))
        values, marks = batch.inputs.unbind(-1)
        torch.testing.assert_close(batch.targets[0], (values * marks).sum(0))
        assert values.min() >= 0
        assert values.max() < 1

    def test_scores_against_torchmetrics(self):
        task = adding(10)
        batch = task.sample(500, generator("eval", 0))
        outputs = batch.targets.unsqueeze(-1) + 0.05 * torch.randn(1, 500, 1, generator=generator("probe", 0))
        scores = task.scores(outputs, batch)
        torch.testing.assert_close(scores["mse"].mean(), tmf.mean_squared_error(outputs[0, :, 0], batch.targets[0]))
        within = ((outputs[0, :, 0] - batch.targets[0]).abs() < TOLERANCE).float().mean()
        assert 0.2 < within < 0.8
        assert scores["within_tolerance"].mean() == within

    def test_solved_is_a_mean_squared_error_of_at_most_the_criterion(self):
        task = adding(10)
        assert task.solved({"mse": 0.01})
        assert not task.solved({"mse": 0.0101})
        assert not task.solved({"mse": math.nan})

    def test_bad_settings(self):
        with pytest.raises(ValueError, match=r"`length` must be >= 2, got 1"):
            adding(1)
        with pytest.raises(ValueError, match=r"`markers` must be one of halves, anywhere, early, got 'thirds'"):
            adding(10, "thirds")
        for value in (0.0, 0.2, math.nan):
            with pytest.raises(ValueError, match=r"`solved_mse` must be > 0 and below the baseline"):
                AddingProblem(length=10, markers="halves", solved_mse=value)


class TestCopyMemory:
    @pytest.mark.parametrize("delay", [1, 2, 30])
    def test_the_categorical_form(self, delay: int):
        batch = copying(delay).sample(200, generator("train", 0))
        assert (batch.inputs.sum(-1) == 1).all(), "one-hot"
        shown = batch.inputs.argmax(-1)
        assert shown[:10].max() <= 7
        delimiter = delay + 9
        assert (shown[delimiter] == 9).all()
        rest = torch.ones(delay + 20, dtype=torch.bool)
        rest[:10] = False
        rest[delimiter] = False
        assert (shown[rest] == 8).all(), "no symbol leaks into the delay or the recall phase"
        assert torch.equal(batch.targets[-10:], shown[:10])
        assert (batch.targets[:-10] == 8).all()

    @pytest.mark.parametrize("delay", [1, 2, 30])
    def test_the_scalar_form(self, delay: int):
        batch = copying(delay, "scalar").sample(200, generator("train", 0))
        shown = batch.inputs[..., 0]
        assert shown[:10].min() >= 1
        assert shown[:10].max() <= 8
        assert (shown[10 : delay + 9] == 0).all(), "no symbol leaks into the delay"
        assert (shown[delay + 9 :] == 9).all()
        assert shown[delay + 9 :].shape[0] == 11
        assert torch.equal(batch.targets[-10:].float(), shown[:10])
        assert (batch.targets[:-10] == 0).all()

    def test_symbols_are_uniform(self):
        symbols = copying(1).sample(20_000, generator("train", 0)).targets[-10:].flatten()
        counts = torch.bincount(symbols, minlength=8) / len(symbols)
        assert counts.numpy() == pytest.approx(1 / 8, abs=0.005)

    def test_the_answer_is_the_recall_phase(self):
        batch = copying(5).sample(3, generator("train", 0))
        assert batch.answer[-10:].all()
        assert not batch.answer[:-10].any()
        assert batch.scored.all()

    def test_published_baselines(self):
        published = {100: 0.1733, 200: 0.0945, 300: 0.0650, 500: 0.0400, 1000: 0.0204, 2000: 0.0103}
        assert {delay: round(copying(delay).baseline, 4) for delay in published} == published

    def test_scores_against_torchmetrics(self):
        task = copying(5)
        batch = task.sample(300, generator("eval", 0))
        noise = torch.randn(25, 300, 9, generator=generator("probe", 0))
        outputs = 4 * torch.nn.functional.one_hot(batch.targets, 9) + noise
        scores = {name: values.mean() for name, values in task.scores(outputs, batch).items()}
        said, right = outputs.argmax(-1), batch.targets
        recall = tmc.multiclass_accuracy(said[-10:], right[-10:], 9, average="micro")
        exact = tmc.multiclass_exact_match(said[-10:].T, right[-10:].T, 9)
        everywhere = tmc.multiclass_accuracy(said, right, 9, average="micro")
        assert 0.1 < exact < 0.99
        torch.testing.assert_close(scores["recall"], recall)
        torch.testing.assert_close(scores["exact"], exact)
        torch.testing.assert_close(scores["accuracy_all"], everywhere)

    def test_always_blank_scores_nothing_where_it_counts(self):
        task = copying(1000)
        batch = task.sample(20, generator("eval", 0))
        outputs = torch.zeros(1020, 20, 9)
        outputs[..., 8] = 1
        scores = {name: values.mean().item() for name, values in task.scores(outputs, batch).items()}
        assert scores["accuracy_all"] == pytest.approx(0.99, abs=1e-3)
        assert scores["recall"] == 0
        assert scores["exact"] == 0

    def test_bad_settings(self):
        with pytest.raises(ValueError, match=r"`delay` must be >= 1, got 0"):
            copying(0)
        with pytest.raises(ValueError, match=r"`form` must be one of categorical, scalar, got 'x'"):
            copying(1, "x")
        for value in (0.125, 1.1, math.nan):
            with pytest.raises(ValueError, match=r"`solved_recall` must be"):
                CopyMemory(delay=1, form="scalar", solved_recall=value)
