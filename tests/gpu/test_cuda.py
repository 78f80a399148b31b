"""What has to hold on an NVIDIA GPU: ``make test-gpu``. Every engine, probe and kind of run, against the CPU."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch

from bench.cells.foreign import ForeignCell
from bench.engines import Unroll, choose, fused, stepwise
from bench.probes.activity import activity_of
from bench.probes.flow import gradient_flow_of, longest_lag
from bench.records.read import find_records
from bench.training import process, rng
from bench.training.model import SequenceModel
from tasks.base import Batch, Task
from tasks.copy_memory import CopyMemory
from tests.cells_made import CELLS, draw, draw_state, error, everything, make
from tests.conftest import ROOT, TINY, Bench, results_of, stop_at

pytestmark = pytest.mark.gpu

ON_GPU = ("trainer=gpu", "task.length=20", "probe=flow")
ENGINES: dict[str, Unroll] = {"fused": fused.unroll, "stepwise": stepwise.unroll}


@pytest.fixture
def full_precision() -> Iterator[None]:
    """Products of float32 numbers in float32."""
    settings: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [each.allow_tf32 for each in settings]
    for each in settings:
        each.allow_tf32 = False
    yield
    for each, value in zip(settings, before, strict=True):
        each.allow_tf32 = value


class TestEngines:
    @pytest.mark.parametrize("size", [(1, 1, 1), (2, 33, 7), (130, 3, 50)], ids=str)
    @pytest.mark.parametrize("name", CELLS)
    @pytest.mark.parametrize("engine", ENGINES)
    def test_outputs_and_gradients_are_those_of_the_cpu_step_by_step(
        self, engine: str, name: str, size: tuple[int, int, int], full_precision: None
    ):
        time, batch, hidden = size
        cell, inputs = make(name, 3, hidden), draw(time, batch, 3)
        state = draw_state(cell, batch)
        expected = everything(stepwise.unroll, cell, inputs, state)
        cell = cell.cuda()
        assert error(everything(ENGINES[engine], cell, inputs, state), expected) < 1e-10
        assert error(everything(ENGINES[engine], cell.float(), inputs, state), expected) < 1e-4

    def test_compiled(self):
        words = [sys.executable, "-m", "tests.compiled_engine", "gpu"]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.stdout == "all of it\n", done.stderr

    @pytest.mark.parametrize(("cell", "engine"), [("gru", "fused"), ("leak", "stepwise")])
    def test_auto(self, cell: str, engine: str):
        assert choose("auto", [make(cell, 3, 5)], process.resolve_device("auto"), "32").engine == engine


class TestProbes:
    TASK: Task = CopyMemory(delay=6, form="categorical", solved_recall=0.99)

    def both(self, name: str, engine: Any) -> list[tuple[SequenceModel, Batch]]:
        """A network of two layers in float64 and a batch, on the CPU and on the GPU."""
        task = self.TASK
        model = SequenceModel(CELLS[name], input_size=task.input_size, output_size=task.output_size, hidden_size=5,
                              layers=2, dropout=0.0, readout=task.readout, engine=engine)  # fmt: skip
        model.reset_parameters(rng.generator("init", 0), task.delay, "torch")
        batch = task.sample(4, rng.generator("probe", 0))
        on_cpu = Batch(batch.inputs.double(), batch.targets, batch.scored, batch.answer)
        on_gpu = Batch(*(part.cuda() for part in (on_cpu.inputs, on_cpu.targets, on_cpu.scored, on_cpu.answer)))
        return [(model.double(), on_cpu), (copy.deepcopy(model).double().cuda(), on_gpu)]

    @pytest.mark.parametrize("engine", ENGINES)
    @pytest.mark.parametrize("name", CELLS)
    def test_flow(self, name: str, engine: str):
        lags = range(longest_lag(self.TASK) + 1)
        one, two = (gradient_flow_of(model, self.TASK, batch, lags) for model, batch in self.both(name, engine))
        places = [(point.layer, point.state, point.lag) for point in one]
        assert places == [(point.layer, point.state, point.lag) for point in two]
        assert [point.value for point in two] == pytest.approx([point.value for point in one], rel=1e-8, abs=1e-14)

    @pytest.mark.parametrize("name", CELLS)
    def test_activity(self, name: str):
        one, two = (activity_of(model, batch.inputs, gates=True) for model, batch in self.both(name, "stepwise"))
        assert [(row.layer, row.name, row.statistic) for row in one] == [
            (row.layer, row.name, row.statistic) for row in two
        ]
        assert [row.value for row in two] == pytest.approx([row.value for row in one], rel=1e-8, nan_ok=True)


class TestRuns:
    def test_engines_train_alike_and_the_record_says_where(self, bench: Bench):
        runs = [bench.one(*ON_GPU, "cell=gru", f"model.engine={engine}") for engine in ENGINES]
        assert [made.device["type"] for made in runs] == ["cuda"] * 2
        assert {made.device["name"] for made in runs} == {torch.cuda.get_device_name(0)}
        one, two = (bench.curves(made)["train_loss"] for made in runs)
        assert one == pytest.approx(two, rel=1e-3)

    def test_a_module_from_elsewhere(self, bench: Bench, full_precision: None):
        cell = ForeignCell(3, 7, module="torch.nn.LSTMCell", arguments=partial(torch.nn.LSTMCell))
        cell.reset_parameters(rng.generator("init", 0), 10)
        inputs, state = draw(9, 33, 3), draw_state(cell, 33)
        expected = everything(stepwise.unroll, cell.double(), inputs, state)
        assert error(everything(stepwise.unroll, cell.cuda(), inputs, state), expected) < 1e-10
        words = ("cell=foreign", "cell.module=torch.nn.LSTMCell")
        made = bench.one(*ON_GPU, *words)
        assert (made.device["type"], made.model["engine"]) == ("cuda", "stepwise")
        checked = bench.call("check", *TINY, "trainer=gpu", *words, "task.length=20")
        assert (checked.code, checked.out.splitlines()[-1]) == (0, "The cell keeps the contract."), checked.err

    def test_the_same_run_twice_is_the_same_bit_for_bit(self, bench: Bench):
        again = bench.beside("again")
        for each in (bench, again):
            each.one(*ON_GPU, "cell=lstm", "model.layers=2", "model.dropout=0.3")
        assert results_of(bench.results) == results_of(again.results)
        (folder,) = find_records(bench.results)
        outcome = bench.call("replay", str(folder))
        assert outcome.code == 0, outcome.out + outcome.err
        assert outcome.out.startswith("equal, bit for bit: 6 steps of 6 curves, 6 final metrics, ")

    @pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
    def test_a_stopped_run_goes_on_bit_for_bit(self, bench: Bench, monkeypatch: pytest.MonkeyPatch, cell: str):
        overrides = (*ON_GPU, f"cell={cell}", "model.layers=2", "model.dropout=0.3", "training.max_steps=12",
                     "training.checkpoint_every=5", "probe.every=4")  # fmt: skip
        whole = bench.beside("whole")
        whole.one(*overrides)
        stop_at(monkeypatch, {1, 6, 8})
        assert [bench.run(*overrides).code for _ in range(4)] == [143, 143, 143, 0]
        assert results_of(bench.results) == results_of(whole.results)

    @pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
    def test_bf16(self, bench: Bench, cell: str):
        if not process.supports_bf16(torch.device("cuda")):
            pytest.skip("this GPU has no bfloat16")
        plain, mixed = (
            bench.one(*ON_GPU, f"cell={cell}", f"trainer.precision={word}") for word in ("32", "bf16-mixed")
        )
        assert mixed.status == "completed"
        one, two = (bench.curves(made)["train_loss"] for made in (plain, mixed))
        assert one != two
        assert one == pytest.approx(two, rel=0.1)

    def test_workers_of_a_device_make_the_same_records_as_one_process(self, bench: Bench):
        overrides = ("-m", *ON_GPU, "cell=gru,lstm", "seed=0,1")
        outcome = bench.run(*overrides, "launcher=joblib", "launcher.workers_per_gpu=2")
        assert outcome.code == 0, outcome.err
        at_once = min(4, 2 * torch.cuda.device_count())
        assert outcome.out.startswith(f"0 of 4 runs are there already, 4 to do, {at_once} at once\n")
        serial = bench.beside("serial")
        assert serial.run(*overrides, "launcher=serial").code == 0
        assert len(results_of(serial.results)) == 4
        assert results_of(bench.results) == results_of(serial.results)
        assert {made.device["type"] for made in bench.records()} == {"cuda"}

    def test_workers_are_counted_by_the_device(self, bench: Bench):
        outcome = bench.run(*ON_GPU, "launcher=joblib", "launcher.workers=2")
        assert outcome.code == 2
        assert outcome.err.startswith("bench run: launcher.workers must be null on a GPU, ")
