"""Clipping, curves, divergence and stopping, in real Lightning fits."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import nn

from bench.runs.loggers import Mirror
from bench.runs.train import Built, build, fit
from bench.training import loop
from bench.training.clipping import clip_gradients, gradient_norm
from bench.training.data import SequenceData
from bench.training.loop import TrainingModule
from bench.training.settings import DataConfig, TrainingConfig
from tasks.adding_problem import AddingProblem
from tasks.base import Batch
from tests.conftest import ROOT, TINY, Bench, results_of, spec_of

GOLDEN = ROOT / "tests" / "golden" / "losses.json"


class TestClipping:
    @staticmethod
    def parameters(scale: float) -> list[nn.Parameter]:
        parameters = [nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(1))]
        for index, parameter in enumerate(parameters[:2]):
            parameter.grad = scale * torch.arange(1.0, 1.0 + parameter.numel()).view_as(parameter) * (index + 1)
        return parameters

    def test_the_norm_is_over_all_parameters_together(self):
        parameters = self.parameters(1.0)
        squares = sum(p.grad.square().sum() for p in parameters if p.grad is not None)
        torch.testing.assert_close(gradient_norm(parameters), torch.as_tensor(squares).sqrt())

    def test_by_norm(self):
        parameters = self.parameters(1.0)
        direction = [p.grad.clone() for p in parameters if p.grad is not None]
        before, after = clip_gradients(parameters, clip_norm=2.0, clip_value=None)
        assert before.item() == pytest.approx(math.sqrt(14 + 4 * 30))
        assert after.item() == pytest.approx(2.0, rel=1e-5)
        for old, parameter in zip(direction, parameters, strict=False):
            torch.testing.assert_close(parameter.grad, old * 2.0 / before, rtol=1e-5, atol=0)

    def test_a_small_gradient_is_left_alone(self):
        parameters = self.parameters(0.01)
        old = [p.grad.clone() for p in parameters if p.grad is not None]
        before, after = clip_gradients(parameters, clip_norm=2.0, clip_value=None)
        assert before == after
        assert all(torch.equal(a, p.grad) for a, p in zip(old, parameters, strict=False) if p.grad is not None)

    def test_by_value(self):
        parameters = self.parameters(1.0)
        before, after = clip_gradients(parameters, clip_norm=None, clip_value=1.5)
        assert parameters[0].grad is not None
        assert parameters[0].grad.tolist() == [1.0, 1.5, 1.5]
        assert before.item() == pytest.approx(math.sqrt(134))
        assert after.item() == pytest.approx(math.sqrt(1 + 6 * 1.5**2))

    def test_none(self):
        before, after = clip_gradients(self.parameters(1.0), None, None)
        assert before == after == pytest.approx(math.sqrt(134))


class TestConfig:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"max_steps": 0}, "`max_steps` must be >= 1, got 0"),
            ({"eval_every": 0}, "`eval_every` must be >= 1, got 0"),
            ({"checkpoint_every": 0}, "`checkpoint_every` must be null or >= 1, got 0"),
            ({"clip_norm": 0.0}, r"`clip_norm` must be null or a finite number > 0, got 0.0"),
            ({"clip_norm": math.nan}, "`clip_norm` must be null or a finite number > 0, got nan"),
            ({"clip_value": -1.0}, r"`clip_value` must be null or a finite number > 0, got -1.0"),
            ({"clip_norm": 1.0, "clip_value": 1.0}, "`clip_value` must be null where clip_norm is given"),
        ],
    )
    def test_out_of_range(self, changes: Mapping[str, Any], message: str):
        settings: dict[str, Any] = {
            "max_steps": 10, "eval_every": 5, "clip_norm": None, "clip_value": None, "checkpoint_every": None,
        }  # fmt: skip
        with pytest.raises(ValueError, match=message):
            TrainingConfig(**(settings | dict(changes)), stop_when_solved=True)


class TestMicrobatches:
    @pytest.mark.parametrize("overrides", [("cell=lstm", "task=copy_memory", "task.delay=3"), ("data.train_size=9",)])
    def test_a_step_in_pieces_is_the_step_of_the_whole_batch(self, bench: Bench, overrides: tuple[str, ...]):
        whole = bench.one("training.clip_norm=0.05", *overrides)
        for size in (1, 2, 4):
            parts = bench.one("training.clip_norm=0.05", *overrides, f"data.microbatch_size={size}")
            assert parts.run_id != whole.run_id
            one, other = bench.curves(whole), bench.curves(parts)
            for name in ("train_loss", "grad_norm", "grad_norm_clipped"):
                assert other[name] == pytest.approx(one[name], rel=1e-4)
            assert parts.metrics["test"] == pytest.approx(whole.metrics["test"], rel=1e-3)


class TestCurves:
    def test_one_row_a_step_and_metrics_at_evaluations(self, bench: Bench):
        """Evaluations come every three steps, and after the last one."""
        curves = bench.curves(bench.one("training.max_steps=8"))
        assert curves["step"] == [1, 2, 3, 4, 5, 6, 7, 8]
        for name in ("train_loss", "grad_norm", "grad_norm_clipped"):
            assert all(math.isfinite(value) for value in curves[name])
        for name in ("eval_loss", "eval_mse", "eval_within_tolerance", "eval_train_seconds"):
            assert [value is not None for value in curves[name]] == [
                False,
                False,
                True,
                False,
                False,
                True,
                False,
                True,
            ]

    def test_both_norms_show_what_the_clip_did(self, bench: Bench):
        curves = bench.curves(bench.one("training.clip_norm=0.05"))
        assert min(curves["grad_norm"]) > 0.05
        assert curves["grad_norm_clipped"] == pytest.approx([0.05] * 6, rel=1e-4)
        free = bench.curves(bench.one("training.clip_norm=null"))
        assert free["grad_norm"] == free["grad_norm_clipped"]
        assert free["grad_norm"][0] == curves["grad_norm"][0]

    def test_the_clip_changes_what_is_learnt(self, bench: Bench):
        sgd = ("optimizer=sgd", "optimizer.lr=0.1")
        clipped = bench.curves(bench.one("training.clip_norm=0.01", *sgd))["train_loss"]
        free = bench.curves(bench.one("training.clip_norm=null", *sgd))["train_loss"]
        assert clipped[0] == free[0]
        assert clipped[1:] != free[1:]

    def test_all_cells_of_one_seed_see_the_same_data(self, bench: Bench, monkeypatch: pytest.MonkeyPatch):
        seen: dict[str, list[torch.Tensor]] = {}

        def watch(name: str) -> None:
            step = getattr(TrainingModule, name)

            def watched(self: TrainingModule, batch: Batch, *number: int) -> None:
                seen.setdefault(type(self.model.layers[0]).__name__, []).append(batch.inputs)
                step(self, batch, *number)

            monkeypatch.setattr(TrainingModule, name, watched)

        for name in ("update", "validation_step", "test_step"):
            watch(name)
        for settings in (("cell=lstm",), ("cell=rnn", "model.hidden_size=7", "optimizer=sgd")):
            bench.one(*settings, "seed=3")
        assert len(seen["LSTMCell"]) == len(seen["RNNCell"]) == 6 + 2 + 1
        assert all(torch.equal(a, b) for a, b in zip(seen["LSTMCell"], seen["RNNCell"], strict=True))

    def test_ten_steps_have_the_golden_losses(self, bench: Bench):
        golden = json.loads(GOLDEN.read_text())
        for name, losses in golden.items():
            cell, task = name.split()
            settings = ("training.max_steps=10", "training.eval_every=10", "model.hidden_size=8")
            curves = bench.curves(bench.one(f"cell={cell}", f"task={task}", *settings))
            assert curves["train_loss"] == pytest.approx(losses, rel=1e-4), name

    def test_evaluations_and_the_test_are_no_training_time(self, bench: Bench, monkeypatch: pytest.MonkeyPatch):
        """Not even those after the last step, which Lightning does not count as part of the fit."""
        counted: dict[str, list[float]] = {"validation_step": [], "test_step": []}

        def watch(name: str) -> None:
            step = getattr(TrainingModule, name)

            def watched(self: TrainingModule, batch: Batch, batch_idx: int) -> None:
                counted[name].append(self.clock.seconds)
                step(self, batch, batch_idx)
                counted[name].append(self.clock.seconds)

            monkeypatch.setattr(TrainingModule, name, watched)

        for name in counted:
            watch(name)
        made = bench.one("training.max_steps=5")
        first, last = counted["validation_step"][:2], counted["validation_step"][2:]
        assert first[0] == first[1] < last[0] == last[1]
        assert counted["test_step"] == last
        assert made.time["train_seconds"] == last[1]


class Watching(L.Callback):
    """Keeps the steps after which Lightning calls it."""

    def __init__(self) -> None:
        self.called: list[int] = []
        self.updates: list[int] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.called.append(trainer.global_step)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: torch.optim.Optimizer) -> None:
        self.updates.append(trainer.global_step)


class AtSevens(Watching):
    def due(self, step: int) -> bool:
        return step % 7 == 0


class TestUpdatesTogether:
    """Lightning's loop is returned to when something is due, and where it is makes no number another one."""

    @pytest.mark.parametrize(
        ("kind", "seconds", "steps"),
        [
            (AtSevens, 1e9, [5, 7, 10, 14, 15, 17]),
            (Watching, 1e9, list(range(1, 18))),
            (AtSevens, 0.0, list(range(1, 18))),
        ],
    )
    def test_steps_after_which_callbacks_are_called(
        self, kind: type[Watching], seconds: float, steps: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(loop, "SECONDS_TOGETHER", seconds)
        spec = spec_of(*TINY, f"results_dir={tmp_path}", "training.max_steps=17", "training.eval_every=5")
        watching, built = kind(), Built()
        module, _ = build(spec, built)
        fit(spec, built, module, [watching], Mirror(spec, tmp_path, ""), 0, lambda: None)
        assert watching.called == steps
        assert watching.updates == list(range(17)), "before every update"
        assert [row.step for row in module.curves.evaluations] == [5, 10, 15, 17]
        assert module.steps == 17

    def test_the_numbers_are_those_of_one_update_at_a_time(self, bench: Bench, monkeypatch: pytest.MonkeyPatch):
        settings = (
            "cell=lstm", "task=copy_memory", "task.delay=3", "training.max_steps=40", "training.eval_every=9",
            "training.checkpoint_every=4", "probe=flow", "probe.every=7", "logger=csv", "data.microbatch_size=2",
        )  # fmt: skip
        made, calls = {}, {}
        for seconds in (1e9, 0.0):
            monkeypatch.setattr(loop, "SECONDS_TOGETHER", seconds)
            monkeypatch.setattr(TrainingModule, "training_step", counted(TrainingModule.training_step))
            place = bench.beside(f"seconds{seconds:g}")
            folder = place.folder(place.one(*settings))
            calls[seconds] = TrainingModule.training_step.calls  # type: ignore[attr-defined]
            made[seconds] = results_of(place.results), (folder / "metrics.csv").read_text()
        assert made[1e9] == made[0.0]
        assert calls[0.0] == 40
        assert calls[1e9] == len({step for step in range(1, 41) if not step % 9 or not step % 4 or not step % 7} | {1})


def counted(step: Any) -> Any:
    """Return the function, with the number of its calls."""

    def counting(self: Any, batches: Any, batch_idx: int) -> None:
        counting.calls += 1  # type: ignore[attr-defined]
        step(self, batches, batch_idx)

    counting.calls = 0  # type: ignore[attr-defined]
    return counting


class TestRepeatability:
    def test_the_same_run_twice_is_the_same_bit_for_bit_and_another_seed_is_not(self, bench: Bench):
        settings = ("cell=lstm", "task=copy_memory", "model.layers=2", "model.dropout=0.3", "model.hidden_size=9")
        one = bench.one(*settings)
        curves = bench.curves(one)
        again = bench.beside("again")
        two = again.one(*settings)
        assert two.run_id == one.run_id
        repeated = again.curves(two)
        for clock in ("eval_train_seconds",):
            curves.pop(clock)
            repeated.pop(clock)
        assert repeated == curves
        assert two.metrics == one.metrics
        other = bench.one(*settings, "seed=1")
        assert other.run_id != one.run_id
        assert bench.curves(other)["train_loss"] != curves["train_loss"]


def test_a_gradient_below_the_limit_is_left_alone_bit_for_bit():
    for norm, clipped in ((0.5, False), (2.0, True), (math.inf, True), (math.nan, True)):
        parameter = torch.nn.Parameter(torch.zeros(2))
        gradient = torch.tensor([norm, 0.0])
        parameter.grad = gradient.clone()
        before, after = clip_gradients([parameter], 1.0, None)
        assert repr(float(before)) == repr(norm)
        expected = torch.nn.Parameter(torch.zeros(2))
        expected.grad = gradient.clone()
        torch.nn.utils.clip_grad_norm_([expected], 1.0)
        torch.testing.assert_close(parameter.grad, expected.grad, rtol=0, atol=0, equal_nan=True)
        assert (after is before) is not clipped


def test_fused_adam_is_adam(bench: Bench):
    fused, plain = (bench.one("cell=gru", f"optimizer.fused={word}") for word in ("true", "false"))
    losses = [bench.curves(run)["train_loss"] for run in (fused, plain)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


class TestDivergence:
    @pytest.mark.parametrize("engine", ["native", "fused", "stepwise", "generated"])
    def test_a_loss_that_is_not_finite_ends_the_run_with_its_step(self, bench: Bench, engine: str):
        explode = ("cell=rnn", "cell.nonlinearity=relu", "optimizer=sgd", "optimizer.lr=1e6", "training.clip_norm=null")
        made = bench.one(*explode, f"model.engine={engine}", "training.max_steps=50", "training.eval_every=50")
        assert made.status == "diverged"
        curves = bench.curves(made)
        assert made.reason == f"loss not finite at step {made.steps}"
        assert 1 < made.steps < 50
        assert len(curves["step"]) == made.steps
        assert all(math.isfinite(loss) for loss in curves["train_loss"][:-1])
        assert not math.isfinite(curves["train_loss"][-1])
        assert made.metrics["test"] == {}
        assert made.solved is False

    def test_weights_spoilt_by_the_last_update_are_seen_in_the_test(self, bench: Bench):
        explode = (
            "cell=rnn",
            "cell.nonlinearity=relu",
            "optimizer=sgd",
            "optimizer.lr=1e38",
            "training.clip_norm=null",
        )
        made = bench.one(*explode, "training.max_steps=1", "training.eval_every=1")
        assert (made.status, made.reason) == ("diverged", "loss not finite at step 1")


class TestStopping:
    """At length 2 both values stand in the last steps, so that a small network solves the task at once."""

    EASY = (
        "cell=gru",
        "task.length=2",
        "model.hidden_size=32",
        "data.batch_size=64",
        "data.eval_size=64",
        "optimizer.lr=1e-2",
        "training.max_steps=1000",
        "training.eval_every=10",
    )

    def test_three_evaluations_in_a_row(self, bench: Bench):
        made = bench.one(*self.EASY)
        assert (made.status, made.reason, made.solved) == ("completed", "solved", True)
        curves = bench.curves(made)
        errors = [(s, v) for s, v in zip(curves["step"], curves["eval_mse"], strict=True) if v is not None]
        met = [error <= 0.01 for _, error in errors]
        assert met[-3:] == [True, True, True]
        assert not any(all(met[i : i + 3]) for i in range(len(met) - 3))
        assert made.steps_to_solve == errors[-3][0]
        assert made.steps == errors[-1][0] == errors[-3][0] + 20
        assert made.metrics["eval"]["mse"] == errors[-1][1]
        assert made.metrics["test"]["mse"] is not None
        assert made.metrics["test"]["mse"] < 0.012

    def test_or_go_on(self, bench: Bench):
        stopped = bench.one(*self.EASY)
        made = bench.one(*self.EASY, "training.stop_when_solved=false", f"training.max_steps={stopped.steps + 20}")
        assert (made.solved, made.steps) == (True, stopped.steps + 20)
        assert made.steps_to_solve == stopped.steps_to_solve
        assert made.reason == f"stopped at max_steps {made.steps}"

    def test_undecided_at_the_end(self, bench: Bench):
        # The last evaluations meet the criterion, but fewer than three: further sequences decide.
        easy = (*self.EASY, "data.eval_size=1024")
        whole = bench.one(*easy)
        for missing, looks in ((10, "1 time"), (20, "2 times")):
            made = bench.one(*easy, f"training.max_steps={whole.steps - missing}")
            assert (made.solved, made.steps_to_solve) == (True, whole.steps_to_solve)
            assert made.reason == f"stopped at max_steps {made.steps}, looked at {looks} more"
            assert bench.curves(made)["step"][-1] == made.steps == whole.steps - missing
        # Met by the last evaluation alone: the same network misses it on other sequences.
        easy = (*easy, "seed=1", "training.max_steps=60")
        error = bench.one(*easy).metrics["eval"]["mse"]
        made = bench.one(*easy, f"task.solved_mse={error}")
        assert (made.solved, made.reason) == (False, "stopped at max_steps 60, looked at 1 time more")

    def test_further_test_sets(self, bench: Bench, monkeypatch: pytest.MonkeyPatch):
        kept: list[TrainingModule] = []
        monkeypatch.setattr(TrainingModule, "on_train_end", lambda self: kept.append(self))
        plain, made = bench.one("task.length=10"), bench.one("task.length=10", "data.test_scales=[0.5,2.5]")
        assert made.run_id != plain.run_id
        before = {name: value for name, value in made.metrics["test"].items() if "@" not in name}
        assert before == plain.metrics["test"]
        data = DataConfig(**made.config["data"])
        for scale, length in (("0.5", 5), ("2.5", 25)):
            task = AddingProblem(length=length, markers="halves", solved_mse=0.01)
            found = SequenceData(task, data, made.seed, torch.device("cpu")).test_dataloader()
            with torch.no_grad():
                errors = torch.cat([task.scores(kept[-1].model(batch.inputs), batch)["mse"] for batch in found])
            assert made.metrics["test"][f"mse@{scale}"] == pytest.approx(errors.mean().item(), rel=1e-6)
            assert made.task_facts["baselines"][f"mse@{scale}"] == task.baselines["mse"]
        assert made.metrics["test"]["mse@0.5"] != made.metrics["test"]["mse@2.5"]

    def test_unsolved(self, bench: Bench):
        made = bench.one()
        assert (made.status, made.solved, made.steps_to_solve, made.steps) == ("completed", False, None, 6)
        assert made.reason == "stopped at max_steps 6"
