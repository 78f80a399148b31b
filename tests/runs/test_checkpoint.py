"""A run that was stopped goes on bit for bit; and what its checkpoint may and may not hold."""

from __future__ import annotations

import dataclasses
import os
import pickle
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.config.run_spec import RunSpec
from bench.records.paths import checkpoint_path
from bench.runs import checkpoint
from bench.runs.checkpoint import DamagedCheckpointError
from bench.sweeps import signals
from bench.training.loop import TrainingModule
from tasks.adding_problem import AddingProblem
from tasks.base import Batch
from tests.conftest import DATA, TINY, Bench, odd_cell, results_of, stop_at, wait_for
from tests.processes import CLUSTERS, Process

SETTINGS = {
    "two layers, dropout, fixed set": (
        "cell=lstm", "task=copy_memory", "task.delay=3", "model.layers=2", "model.dropout=0.3", "data.train_size=18",
    ),
    "momentum": ("cell=rnn", "optimizer=sgd", "optimizer.momentum=0.9", "task.length=9"),
    "rmsprop": ("cell=gru", "optimizer=rmsprop", "task=copy_memory", "task.form=scalar", "task.delay=3"),
    "stepwise": (
        "cell=gru", "model.engine=stepwise", "training.clip_norm=null", "training.clip_value=0.01", "task.length=9",
        "data.microbatch_size=2",
    ),
    "generated": ("cell=lstm", "model.engine=generated", "task.length=9", "training.clip_norm=null"),
    "data set": (
        *DATA["text_classification"], "task=text_classification", "model.embedding=3", "data.train_size=18",
        "data.bucketing=true", "training.max_steps=null", "training.max_epochs=3", "training.eval_every=2",
        "model.readout_dropout=0.2", "training.schedule=plateau", "training.decay=0.5", "training.decay_every=1",
        "training.patience=3", "training.tested_weights=best", "optimizer.lr=0.1", "training.stop_when_solved=false",
    ),
    "carried state": (
        *DATA["character_model"], "task=character_model", "task.window=10", "task.stride=10", "task.readout=every",
        "data.carry_state=true", "data.train_size=20", "cell=lstm",
    ),
    "solved, then stops": (
        "cell=gru", "task.length=2", "model.hidden_size=32", "data.batch_size=64", "task.solved_mse=0.16",
        "optimizer.lr=1e-2", "training.max_steps=40", "training.eval_every=3",
    ),
    "diverges": (
        "cell=rnn", "cell.nonlinearity=relu", "optimizer=sgd", "optimizer.lr=1e6", "training.clip_norm=null",
        "training.max_steps=20", "task.length=30",
    ),
}  # fmt: skip

ENDS = {"data set": "without a better accuracy", "solved, then stops": "solved", "diverges": "loss not finite"}


@pytest.fixture
def bench(bench: Bench) -> Bench:
    """Make runs with probes: what they found must outlive a stop as well."""
    return dataclasses.replace(bench, always=("probe=flow",))


SELDOM = ("rmsprop", "momentum", "stepwise")
"""What others are nearly like: other optimisers with a memory, another engine."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long_run if name in SELDOM else ()) for name in SETTINGS]
)
def test_stopped_again_and_again_a_run_ends_like_an_undisturbed_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str
):
    overrides = ("training.max_steps=12", "training.checkpoint_every=5", "probe.every=4", *SETTINGS[name])
    whole = bench.beside("whole")
    whole.one(*overrides)
    # The stops come in the first step, between evaluations, and in a step that is followed by an evaluation.
    stop_at(monkeypatch, {1, 2, 6, 8, 9, 11} if "dropout" in name else {1, 2, 6})
    stops = 0
    while (outcome := bench.run(*overrides)).code == 143:
        stops += 1
        (made,) = bench.records()
        assert made.status == "interrupted"
        assert made.reason == "stopped by SIGTERM"
        assert outcome.err.splitlines()[-1] == ("bench run: stopped by SIGTERM; the same command goes on from here")
    assert outcome.code == 0, outcome.err[-500:]
    assert stops >= 2
    assert results_of(bench.results) == results_of(whole.results)
    (made,) = bench.records()
    assert ENDS.get(name, "stopped at max_steps 12") in made.reason
    left = [path.name for path in bench.results.rglob(".*")]
    assert left == [".guard"], "the checkpoint is dropped when the record is final"


def stop_in_evaluations(monkeypatch: pytest.MonkeyPatch, sequences: int) -> None:
    """Let a signal arrive in the first moment of evaluating of the first try, in the second of the second, and so on.

    A moment is a batch of ``sequences`` that is made or looked at. A try begins where the network is made.
    """
    counted = {"try": 0, "moment": 0}
    begin, sample, step = RunSpec.make_optimizer, AddingProblem.sample, TrainingModule.validation_step

    def begins(self: RunSpec) -> Any:
        counted["try"], counted["moment"] = counted["try"] + 1, 0
        return begin(self)

    def moment() -> None:
        counted["moment"] += 1
        if counted["moment"] == counted["try"]:
            os.kill(os.getpid(), signal.SIGTERM)

    def sampled(self: AddingProblem, batch_size: int, generator: torch.Generator) -> Any:
        if batch_size == sequences:
            moment()
        return sample(self, batch_size, generator)

    def stepped(self: TrainingModule, batch: Any, batch_idx: int) -> None:
        moment()
        step(self, batch, batch_idx)

    monkeypatch.setattr(RunSpec, "make_optimizer", begins)
    monkeypatch.setattr(AddingProblem, "sample", sampled)
    for name in ("validation_step", "test_step"):
        monkeypatch.setattr(TrainingModule, name, stepped)


EVALUATIONS = {
    "in training and at the end": ("training.max_steps=5", "training.eval_every=3", "probe.exponents=1"),
    # What is tested are not the weights of the last step, and those are what the probes see when the run goes on.
    "the best weights are tested": (
        "training.max_steps=5", "training.eval_every=3", "training.tested_weights=best", "optimizer.lr=0.3",
    ),
    "solved early, at more delays": (
        "training.max_steps=60", "training.eval_every=4", "task.solved_mse=0.1666", "data.test_scales=[2]",
        "model.hidden_size=32", "data.batch_size=64", "optimizer.lr=1e-2", "task.length=2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EVALUATIONS)
def test_stopped_in_its_evaluations_a_run_ends_like_an_undisturbed_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
):
    """The cell draws from the global generator, which is to be where it was before the evaluation."""
    noise = "        inputs = inputs + 0.1 * inputs.clone().normal_()\n"
    monkeypatch.syspath_prepend(odd_cell(tmp_path / "mine", noise))
    overrides = (
        "cell._target_=odd_cell.Odd", "task.length=9", "data.eval_size=10", "data.test_size=10",
        "data.eval_batch_size=5", "training.checkpoint_every=null", "probe=flow", *EVALUATIONS[name],
    )  # fmt: skip
    whole = bench.beside("whole")
    whole.one(*overrides)
    stop_in_evaluations(monkeypatch, sequences=5)
    made, stopped_at = None, []
    while made is None or made.status == "interrupted":
        signals.listen()
        made = bench.one(*overrides)
        signals.forget()
        stopped_at += [made.steps] if made.status == "interrupted" else []
        assert len(stopped_at) < 40
    assert results_of(bench.results) == results_of(whole.results)
    assert made.steps < 60
    assert stopped_at[0] == 0, "while the first set was made"
    assert stopped_at.count(made.steps) >= 2, "after the last step, more than once"
    if name == "in training and at the end":
        assert stopped_at.count(3) == 2, "in an evaluation, before its second batch and after it"


def test_a_stop_in_the_last_step_is_heard_before_the_test(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    whole = bench.beside("whole")
    whole.ready()
    stop_at(monkeypatch, {6})
    assert bench.run().code == 143
    assert [(made.status, made.steps) for made in bench.records()] == [("interrupted", 6)]
    assert bench.run().code == 0
    assert results_of(bench.results) == results_of(whole.results)


def test_a_cell_that_draws_from_the_global_generator(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    folder = tmp_path / "mine"
    (folder / "cell").mkdir(parents=True)
    (folder / "noisy_cell.py").write_text(
        "import torch\nfrom bench.cells import Cell\n\n\n"
        "class Noisy(Cell):\n    blocks = ('new',)\n\n"
        "    def activate(self, projected, state):\n"
        "        (new,) = self.split(projected + self.recur(state[0]))\n"
        "        return {'new': torch.tanh(new + 0.1 * torch.randn_like(new))}\n\n"
        "    def update(self, values, state):\n        return (values['new'],)\n"
    )
    (folder / "cell" / "noisy.yaml").write_text(
        "_target_: noisy_cell.Noisy\n_partial_: true\n"
        "init: {_target_: bench.cells.init.Initialization, input: torch, recurrent: torch, bias: torch}\n"
    )
    overrides = (f"--config-dir={folder}", "cell=noisy", "training.max_steps=8", "task.length=5")
    whole = bench.beside("whole")
    assert whole.run(*overrides).code == 0
    stop_at(monkeypatch, {2, 5})
    codes = [bench.run(*overrides).code for _ in range(3)]
    assert codes == [143, 143, 0]
    assert results_of(bench.results) == results_of(whole.results)


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGKILL,
        *[
            pytest.param(each, marks=pytest.mark.long_run)
            for each in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        ],
    ],
)
def test_a_real_process_goes_on_after_a_signal(bench: Bench, number: signal.Signals):
    """Every launcher's variables are set, and change nothing."""
    overrides = ("training.max_steps=900", "training.eval_every=300", "training.checkpoint_every=50", "cell=lstm",
                 "task.length=20")  # fmt: skip
    cluster = {name: value for variables in CLUSTERS.values() for name, value in variables.items()}
    words = ("run", *TINY, f"results_dir={bench.results}", *bench.always, *overrides)
    process = Process(*words, environment=cluster)
    wait_for(lambda: list(bench.results.rglob(".*.checkpoint")) != [])
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    (saved,) = bench.results.rglob(".*.checkpoint")
    step = torch.load(saved, weights_only=True)["state"]["step"]
    assert 50 <= step < 900
    if number == signal.SIGKILL:
        assert process.returncode == -9
        assert bench.records() == []
    else:
        assert process.returncode == 128 + number
        assert err == f"bench run: stopped by {number.name}; the same command goes on from here\n"
        (made,) = bench.records()
        assert (made.status, made.steps) == ("interrupted", step)
        before = made.time["wall_seconds"]
        assert before is not None
    went_on = bench.run(*overrides)
    assert went_on.code == 0
    assert "bench run: " not in went_on.err
    (made,) = bench.records()
    assert made.steps == 900
    whole = bench.beside("whole")
    whole.ready(*overrides)
    assert results_of(bench.results) == results_of(whole.results)


def test_time_adds_up_and_the_mirror_is_whole(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    overrides = ("logger=csv", "training.max_steps=160", "training.eval_every=60", "task.length=5")
    stop_at(monkeypatch, {130})
    bench.run(*overrides)
    (first,) = bench.records()
    bench.run(*overrides)
    (made,) = bench.records()
    assert made.status == "completed"
    for name in ("wall_seconds", "train_seconds"):
        before, after = first.time[name], made.time[name]
        assert before is not None
        assert after is not None
        assert before < after
    folder = bench.folder(made)
    header, *rows = (folder / "metrics.csv").read_text().splitlines()
    table = [dict(zip(header.split(","), row.split(","), strict=True)) for row in rows]
    assert [int(row["step"]) for row in table if row["train/loss"]] == [50, 100, 150, 160]
    assert [int(row["step"]) for row in table if row["eval/mse"]] == [60, 120, 160]


def test_a_failed_run_keeps_its_checkpoint_and_goes_on(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    whole = bench.beside("whole")
    whole.one("training.max_steps=9")
    update = TrainingModule.update
    seen: list[int] = []

    def fail_once(self: TrainingModule, batch: Batch) -> None:
        seen.append(self.global_step)
        if seen.count(6) == 1 and self.global_step == 6:
            raise torch.OutOfMemoryError("CUDA out of memory")
        update(self, batch)

    monkeypatch.setattr(TrainingModule, "update", fail_once)
    assert bench.run("training.max_steps=9", "training.checkpoint_every=4").code == 1
    (made,) = bench.records()
    assert made.status == "failed"
    assert "CUDA out of memory" in made.reason
    assert bench.run("training.max_steps=9", "training.checkpoint_every=4").code == 0
    assert seen == [0, 1, 2, 3, 4, 5, 6, 4, 5, 6, 7, 8]
    assert results_of(bench.results) == results_of(whole.results)


SHAPES = {"weight": torch.Size([2, 3])}
STATE = {
    "step": 3,
    "model": {"weight": torch.zeros(2, 3)},
    "optimizer": {"state": {}, "param_groups": []},
    "curves": {name: torch.zeros(3) for name in ("loss", "grad_norm", "grad_norm_clipped")},
    "evaluations": [],
    "solved_at": None,
    "solved_in_a_row": 0,
    "looked_at": 3,
    "train_seconds": 1.0,
}


class TestFile:
    def test_what_is_saved_is_loaded(self, tmp_path: Path):
        path = tmp_path / "x.checkpoint"
        checkpoint.save(path, "abc", STATE, 2.5)
        loaded = checkpoint.load(path, "abc", SHAPES)
        assert loaded is not None
        assert (loaded["wall_seconds"], loaded["state"]["step"]) == (2.5, 3)
        assert torch.equal(loaded["random"]["cpu"], torch.get_rng_state())
        assert [each.name for each in tmp_path.iterdir()] == ["x.checkpoint"]
        assert checkpoint.load(tmp_path / "none", "abc", SHAPES) is None

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"run_id": "other"}, "`run_id` must be abc, got 'other'"),
            ({"schema": 2}, "`schema` must be <= 1 for this version, got 2"),
            ({"state": []}, "`state` must be a mapping with step, model, .*, got \\[\\]"),
            ({"state": STATE | {"step": "3"}}, "`state.step` must be an integer, got '3'"),
            (
                {"state": STATE | {"model": {"weight": torch.zeros(3)}}},
                r"`weight` must have the shape \(2, 3\), got \(3,\)",
            ),
            ({"state": STATE | {"model": {}}}, r"`weight` must have the shape \(2, 3\), got none"),
            ({"state": STATE | {"curves": {}}}, "`state.curves.loss` must be 3 numbers"),
            ({"state": STATE | {"optimizer": {}}}, "`state.optimizer.state` must be a mapping, and is not there"),
            ({"state": STATE | {"solved_at": "x"}}, "`state.solved_at` must be an integer or null, got 'x'"),
            ({"state": STATE | {"probes": 3}}, "`state.probes` must be a mapping with rows, seconds or null, got 3"),
            ({"random": {}}, "`random.cpu` must be the state of a generator, and is not there"),
        ],
    )
    def test_one_that_does_not_fit(self, tmp_path: Path, changes: dict[str, Any], message: str):
        path = tmp_path / "x.checkpoint"
        checkpoint.save(path, "abc", STATE, 2.5)
        torch.save(torch.load(path, weights_only=True) | changes, path)
        with pytest.raises(DamagedCheckpointError, match=message):
            checkpoint.load(path, "abc", SHAPES)

    def test_one_with_other_bytes_anywhere_is_refused_or_says_the_same(self, tmp_path: Path):
        path = tmp_path / "x.checkpoint"
        checkpoint.save(path, "abc", STATE, 2.5)
        whole, written = repr(checkpoint.load(path, "abc", SHAPES)), path.read_bytes()
        refused = 0
        for place in range(0, len(written) - 8, 61):
            path.write_bytes(
                written[:place] + bytes(each ^ 0x55 for each in written[place : place + 8]) + written[place + 8 :]
            )
            try:
                # Between the parts of its archive, torch fills up with bytes that mean nothing.
                assert repr(checkpoint.load(path, "abc", SHAPES)) == whole
            except DamagedCheckpointError:
                refused += 1
        assert refused > 0.85 * len(written) / 61

    def test_one_with_the_state_of_another_optimizer(self, bench: Bench, monkeypatch: pytest.MonkeyPatch):
        overrides = ("training.max_steps=40", "training.checkpoint_every=10")
        stop_at(monkeypatch, {15})
        bench.run(*overrides)
        (path,) = bench.results.rglob(".*.checkpoint")
        content = torch.load(path, weights_only=True)
        content["state"]["optimizer"]["param_groups"] = []
        torch.save(content, path)
        outcome = bench.run(*overrides)
        assert outcome.code == 1
        assert f"failed, DamagedCheckpointError: {path}: not a " in outcome.out

    def test_one_that_brings_code_along(self, tmp_path: Path):
        path, canary = tmp_path / "x.checkpoint", tmp_path / "canary"

        class Evil:
            def __reduce__(self) -> tuple[Any, ...]:
                return os.system, (f"touch {canary}",)

        torch.save({"schema": 1, "state": Evil(), "_target_": "os.system"}, path)
        with pytest.raises(DamagedCheckpointError, match="not a readable checkpoint"):
            checkpoint.load(path, "abc", SHAPES)
        path.write_bytes(pickle.dumps(Evil()))
        with pytest.raises(DamagedCheckpointError, match="not a readable checkpoint"):
            checkpoint.load(path, "abc", SHAPES)
        assert not canary.exists()

    def test_a_full_disk_leaves_the_older_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        path = tmp_path / "x.checkpoint"
        checkpoint.save(path, "abc", STATE, 2.5)

        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            checkpoint.save(path, "abc", STATE | {"step": 4}, 3.5)
        loaded = checkpoint.load(path, "abc", SHAPES)
        assert loaded is not None
        assert loaded["state"]["step"] == 3
        assert [each.name for each in tmp_path.iterdir()] == ["x.checkpoint"]


def test_a_request_to_stop_is_forgotten(capsys: pytest.CaptureFixture[str]):
    signals.listen()
    try:
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.requested() == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signals.forget()
    assert signals.requested() is None
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_checkpoint_is_beside_the_run():
    assert checkpoint_path(Path("a/b/run")) == Path("a/b/.run.checkpoint")
