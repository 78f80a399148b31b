"""The ways to unroll a cell: all equal the plain one, and a run says which it took."""

from __future__ import annotations

import copy
import math
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.cells import Cell
from bench.cells.gru import GRUCell
from bench.cells.init import Initialization
from bench.cells.lstm import LSTMCell
from bench.cells.rnn import RNNCell
from bench.engines import Choice, Unroll, choose, fused, stepwise
from bench.engines.compiled import CHUNK, Compiled
from bench.engines.native import build
from bench.engines.native import engine as native
from bench.training.model import SequenceModel
from bench.training.rng import generator
from tests.cells_made import Leak
from tests.conftest import ROOT, TINY, Bench, command, probes_of

TORCH = Initialization(input="torch", recurrent="torch", bias="torch")
CELLS: dict[str, Callable[..., Cell]] = {
    "rnn_tanh": partial(RNNCell, nonlinearity="tanh", init=TORCH),
    "rnn_relu": partial(RNNCell, nonlinearity="relu", init=TORCH),
    "lstm": partial(LSTMCell, forget_bias=1.0, init=TORCH),
    "gru": partial(GRUCell, init=TORCH),
}
SIZES = [
    *[(2, batch, hidden) for batch in (1, 3, 33) for hidden in (1, 7, 50, 130)],
    *[(1, batch, hidden) for batch, hidden in ((1, 1), (3, 130), (33, 7))],
    *[(601, batch, hidden) for batch, hidden in ((1, 50), (3, 1), (33, 7), (3, 130))],
]
"""Time, batch, hidden: around the widths of registers and tiles, every pair of batch and hidden."""


def make(name: str, inputs: int, hidden: int) -> Cell:
    cell = CELLS[name](inputs, hidden)
    cell.reset_parameters(generator("init", 0), 10)
    return cell.double()


def draw(*size: int, index: int = 0) -> Tensor:
    return torch.randn(*size, generator=generator("probe", 0, index), dtype=torch.double)


def everything(unroll: Unroll, cell: Cell, inputs: Tensor, state: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Outputs, the state at the end, and all gradients of a sum over both with random weights, in float64."""
    dtype = next(cell.parameters()).dtype
    leaves = [each.to(dtype).requires_grad_() for each in (inputs, *state)]
    hidden, end = unroll(cell, leaves[0], tuple(leaves[1:]))
    values = [hidden, *end]
    loss = torch.stack([(each * draw(*each.shape, index=i + 1).to(dtype)).sum() for i, each in enumerate(values)]).sum()
    names = ["inputs", *cell.states, *(name for name, _ in cell.named_parameters())]
    gradients = torch.autograd.grad(loss, [*leaves, *cell.parameters()])
    found = {"hidden": hidden.detach(), **{f"end {i}": each.detach() for i, each in enumerate(end)}}
    found |= {f"d {name}": each for name, each in zip(names, gradients, strict=True)}
    return {name: each.double() for name, each in found.items()}


def error(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest difference, in units of the largest value of the same tensor."""
    assert found.keys() == expected.keys()
    assert all(found[name].shape == expected[name].shape for name in expected)
    ratios = [(found[name] - expected[name]).abs().max() / expected[name].abs().max() for name in expected]
    assert all(math.isfinite(ratio) for ratio in ratios)
    return float(max(ratios))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", CELLS)
def test_outputs_and_gradients_are_those_of_the_equations(name: str, size: tuple[int, int, int]):
    time, batch, hidden = size
    cell, inputs = make(name, 3, hidden), draw(time, batch, 3)
    state = tuple(draw(batch, hidden, index=9 + part) for part in range(len(cell.states)))
    expected = everything(stepwise.unroll, cell, inputs, state)
    for unroll in (fused.unroll, native.unroll):
        assert error(everything(unroll, cell.double(), inputs, state), expected) < 1e-11
        # In float32, against the same in float64.
        assert error(everything(unroll, cell.float(), inputs, state), expected) < 2e-5


@pytest.mark.parametrize("inputs", [1, 47, 130])
@pytest.mark.parametrize("name", CELLS)
def test_native_with_inputs_of_any_size(name: str, inputs: int):
    cell, sequence = make(name, inputs, 33), draw(7, 40, inputs)
    state = tuple(draw(40, 33, index=9 + part) for part in range(len(cell.states)))
    expected = everything(stepwise.unroll, cell, sequence, state)
    assert error(everything(native.unroll, cell, sequence, state), expected) < 1e-11


@pytest.mark.parametrize("name", CELLS)
def test_native_on_one_thread_and_on_two(name: str):
    cell, inputs = make(name, 3, 20), draw(30, 11, 3)
    state = tuple(draw(11, 20, index=9 + part) for part in range(len(cell.states)))
    before, found = torch.get_num_threads(), {}
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found[threads] = everything(native.unroll, cell, inputs, state)
            again = everything(native.unroll, cell, inputs, state)
            assert all(torch.equal(found[threads][name], again[name]) for name in again), "the same bit for bit"
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[1]["hidden"], found[2]["hidden"]), "a row does not depend on who computes it"
    assert error(found[2], found[1]) < 1e-12
    assert error(found[3], found[1]) < 1e-12


@pytest.mark.parametrize("name", CELLS)
def test_native_without_gradients_keeps_nothing_and_says_the_same(name: str):
    cell, inputs = make(name, 3, 9), draw(12, 4, 3)
    with torch.no_grad():
        hidden, end = native.unroll(cell, inputs)
    assert not hidden.requires_grad
    expected, expected_end = native.unroll(cell, inputs)
    assert expected.requires_grad
    assert torch.equal(hidden, expected)
    assert all(torch.equal(one, other) for one, other in zip(end, expected_end, strict=True))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e4, -1e4])
@pytest.mark.parametrize("name", CELLS)
def test_native_at_the_ends_of_the_numbers(name: str, value: float):
    cell = make(name, 3, 17).float()
    inputs = draw(6, 2, 3).float()
    inputs[2, 1] = value
    found, expected = (unroll(cell, inputs)[0] for unroll in (native.unroll, stepwise.unroll))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6, equal_nan=True)


def test_native_has_the_gradient_of_every_state_in_its_hands():
    cell, inputs = make("lstm", 3, 8), draw(9, 4, 3)
    tap, weights = native.Tap(), draw(9, 4, 8, index=1)
    hidden, _ = native.unroll(cell, inputs, None, tap)
    assert tap.gradients is None
    (hidden * weights).sum().backward()
    assert tap.gradients is not None
    assert tap.gradients.shape == (2, 9, 4, 8)
    states, state = [], cell.initial_state(4)
    for projected in cell.project(inputs):
        state = cell.step(projected, state)
        states.append(state)
    loss = (torch.stack([h for h, _ in states]) * weights).sum()
    for step, parts in enumerate(states):
        expected = torch.autograd.grad(loss, parts, retain_graph=True)
        torch.testing.assert_close(tuple(tap.gradients[:, step]), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", CELLS)
def test_native_with_some_frozen_and_twice(name: str):
    cell, inputs = make(name, 3, 9), draw(4, 5, 3).transpose(0, 1).requires_grad_()
    cell.weight_ih.requires_grad_(False)
    cell.bias_hh.requires_grad_(False)
    wanted = [inputs, cell.weight_hh, cell.bias_ih]
    losses = [unroll(cell, inputs)[0].square().sum() for unroll in (native.unroll, stepwise.unroll)]
    found, expected = (torch.autograd.grad(loss, wanted, retain_graph=True) for loss in losses)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)
    assert all(map(torch.equal, torch.autograd.grad(losses[0], wanted), found))


@pytest.mark.parametrize(
    ("inputs", "state", "message"),
    [
        ((4, 2, 5), None, r"`w_ih` must have the shape \[24, 5\], got \[24, 3\]"),
        ((0, 2, 3), None, r"`inputs` must be \(time, batch, input\) with at least one step, got \[0, 2, 3\]"),
        ((4, 2, 3), (1, 8), r"`state` must have the shape \[2, 8\], got \[1, 8\]"),
    ],
)
def test_native_with_other_shapes(inputs: tuple[int, ...], state: tuple[int, ...] | None, message: str):
    cell = make("gru", 3, 8)
    with pytest.raises(ValueError, match=message):
        native.unroll(cell, torch.zeros(inputs, dtype=torch.double),
                      None if state is None else (torch.zeros(state, dtype=torch.double),))  # fmt: skip


def test_a_subclass_has_neither_kernel_nor_recurrence():
    def update(self: Cell, values: Any, state: Any) -> Any:
        return (0.5 * GRUCell.update(self, values, state)[0],)  # type: ignore[arg-type]

    cell = type("Slower", (GRUCell,), {"update": update})(3, 4, init=TORCH)
    assert cell.fused is None
    assert cell.recurrence is None
    assert choose("auto", cell, torch.device("cpu"), "32") == Choice("stepwise")


def test_native_has_no_second_derivative():
    cell, inputs = make("gru", 3, 4), draw(5, 2, 3).requires_grad_()
    hidden, _ = native.unroll(cell, inputs)
    (gradient,) = torch.autograd.grad(hidden.square().sum(), inputs, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def check_compiled() -> None:
    """In a process without type checks, which torch cannot compile."""
    cell = Leak(3, 6, init=TORCH)
    cell.reset_parameters(generator("init", 0), 10)
    cell.double()
    compiled = Compiled()
    assert compiled.seconds == 0
    compiled.warm_up(cell, 4)
    assert compiled.seconds > 0
    assert all(parameter.grad is None for parameter in cell.parameters())
    calls, chunk = [], compiled._chunk
    compiled._chunk = lambda *arguments: calls.append(len(arguments[0])) or chunk(*arguments)
    for time, batch in ((2 * CHUNK + 3, 4), (CHUNK, 4), (CHUNK - 1, 4), (CHUNK, 5)):
        inputs, state = draw(time, batch, 3), (draw(batch, 6, index=9),)
        expected = everything(stepwise.unroll, cell, inputs, state)
        assert error(everything(compiled, cell, inputs, state), expected) < 1e-12
    assert calls == [CHUNK] * 3, "two chunks, one, none of a short sequence, none of a batch of another size"
    with torch.no_grad():
        compiled(cell, draw(CHUNK, 4, 3))
    assert len(calls) == 3
    # Odd sizes in float32, against the same in float64; and two layers.
    for size, batch in ((1, 1), (50, 33)):
        cell = Leak(3, size, init=TORCH)
        cell.reset_parameters(generator("init", 0), 10)
        compiled = Compiled()
        compiled.warm_up(cell, batch)
        for time in (1, 2, 601):
            inputs, state = draw(time, batch, 3), (draw(batch, size, index=9),)
            found = everything(compiled, cell, inputs, state)
            assert error(found, everything(stepwise.unroll, copy.deepcopy(cell).double(), inputs, state)) < 2e-5
    models = []
    for engine in ("compiled", "stepwise"):
        models.append(
            SequenceModel(partial(Leak, init=TORCH), input_size=3, output_size=2, hidden_size=5, layers=2, dropout=0.0,
                          readout="every", engine=engine).double()
        )  # fmt: skip
        models[-1].reset_parameters(generator("init", 0), 10, "torch")
    assert models[0].warm_up(4) > 0
    sequence = draw(CHUNK + 2, 4, 3)
    losses = [model(sequence).square().sum() for model in models]
    gradients = [
        torch.autograd.grad(loss, list(model.parameters())) for loss, model in zip(losses, models, strict=True)
    ]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-11)
    for _ in range(torch._dynamo.config.recompile_limit):  # as many again as torch compiles of one function
        Compiled().warm_up(cell, 4)
    print("all of it")


@pytest.mark.long
def test_compiled_chunks_and_what_is_left_over():
    code = "from tests.engines.test_engines import check_compiled; check_compiled()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "all of it\n", done.stderr


class TestChoice:
    CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)

    @pytest.mark.parametrize(
        ("device", "precision", "cell", "engine"),
        [
            (CPU, "32", "gru", "native"),
            (CPU, "bf16-mixed", "gru", "fused"),
            (GPU, "32", "gru", "fused"),
            (CPU, "32", "leak", "stepwise"),
            (GPU, "32", "leak", "stepwise"),
        ],
    )
    def test_auto(self, device: torch.device, precision: str, cell: str, engine: str):
        made = CELLS[cell](1, 1) if cell in CELLS else Leak(1, 1, init=TORCH)
        assert choose("auto", made, device, precision) == Choice(engine, None)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("asked", "cell", "device", "precision", "message"),
        [
            ("fused", "leak", CPU, "32", "must be auto, stepwise or compiled for Leak, which has no kernel"),
            ("native", "leak", CPU, "32", "must be auto, stepwise or compiled for Leak, which names no recurrence"),
            ("native", "gru", GPU, "32", "must be auto, fused, stepwise or compiled on a GPU"),
            ("native", "gru", CPU, "bf16-mixed", "must be auto, fused, stepwise or compiled with precision bf16-mixed"),
            ("warp", "gru", CPU, "32", "must be one of auto, fused, stepwise, compiled, native, got 'warp'"),
        ],
    )
    def test_what_cannot_be(self, asked: str, cell: str, device: torch.device, precision: str, message: str):
        made = CELLS[cell](1, 1) if cell in CELLS else Leak(1, 1, init=TORCH)
        with pytest.raises(ValueError, match=f"`engine` {message}"):
            choose(asked, made, device, precision)


class TestRuns:
    def test_all_engines_train_alike_and_the_record_says_which(self, bench: Bench):
        engines = ("stepwise", "fused", "native")
        runs = [bench.one("cell=gru", f"model.engine={engine}") for engine in engines]
        assert [run.model["engine"] for run in runs] == list(engines)
        assert [run.model["engine_note"] for run in runs] == [None] * 3
        assert len({run.run_id for run in runs}) == 3
        plain, *others = (bench.curves(run)["train_loss"] for run in runs)
        for losses in others:
            assert losses == pytest.approx(plain, rel=1e-4)

    def test_auto_is_the_run_of_the_engine_it_takes(self, bench: Bench):
        made = bench.one("cell=gru", "model.engine=native")
        again = bench.run("cell=gru", "model.engine=auto")
        assert again.code == 0
        assert "already there" in again.out
        assert [run.run_id for run in bench.records()] == [made.run_id]

    def test_what_ran_is_what_a_table_parts(self, bench: Bench):
        assert bench.run("cell=gru", "model.engine=native", "seed=0").code == 0
        assert bench.run("cell=gru", "seed=0,1", "-m").code == 0
        assert len(bench.records()) == 2
        assert "0/2" in bench.call("table", str(bench.results)).out, "asked for or found: one row of two seeds"
        assert bench.run("cell=gru", "model.engine=fused", "seed=0").code == 0
        shown = bench.call("table", str(bench.results)).out
        assert "model.engine=native" in shown
        assert "model.engine=fused" in shown

    def test_compiled_needs_a_chunk(self, bench: Bench):
        outcome = bench.run("task.length=8", "model.engine=compiled")
        assert outcome.code == 2
        assert outcome.err == (
            "bench run: model.engine must be another one for sequences of 8 steps, as 10 are compiled together, "
            "got 'compiled'\n"
        )

    @pytest.mark.long
    def test_compiled_says_how_long_it_took(self, bench: Bench):
        settings = ("cell=gru", "task=adding_problem", f"task.length={CHUNK + 2}")
        plain = bench.one(*settings, "model.engine=stepwise")
        assert plain.time["compile_seconds"] == 0
        words = (*TINY, f"results_dir={bench.results}", *settings, "model.engine=compiled")
        done = command("run", *words)  # where no type checks are in the way of torch
        assert done.returncode == 0, done.stderr
        (made,) = [run for run in bench.records() if run.model["engine"] == "compiled"]
        seconds = made.time["compile_seconds"]
        assert seconds is not None
        assert seconds > 0
        assert bench.curves(made)["train_loss"] == pytest.approx(bench.curves(plain)["train_loss"], rel=1e-4)


class TestBuilding:
    def sweep(self, bench: Bench, tmp_path: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        where = {"TORCH_EXTENSIONS_DIR": str(tmp_path / "extensions"), **environment}
        return command("run", *TINY, f"results_dir={bench.results}", *words, cwd=None, **where)

    def test_without_a_compiler_it_says_so_once_and_in_the_record(self, bench: Bench, tmp_path: Path):
        done = self.sweep(bench, tmp_path, "cell=gru", "seed=0,1", "-m", CXX="no-such-compiler")
        assert done.returncode == 0, done.stderr
        note = "fused instead of native: there is no C++ compiler named no-such-compiler"
        assert done.stderr.count(f"bench run: engine {note}\n") == 1
        runs = bench.records()
        assert [(run.model["engine"], run.model["engine_note"]) for run in runs] == [("fused", note)] * 2

    def test_asked_for_without_a_compiler_is_an_error(self, bench: Bench, tmp_path: Path):
        for engine in ("native", "compiled"):
            done = self.sweep(bench, tmp_path, "cell=gru", f"model.engine={engine}", CXX="no-such-compiler")
            assert done.returncode == 2
            assert done.stderr.startswith("bench run: model.engine must be auto, fused")
            assert len(done.stderr.splitlines()) == 1
            assert f"got '{engine}'" in done.stderr
            assert "there is no C++ compiler" in done.stderr
        assert not bench.results.exists()

    def test_a_compiler_that_fails_is_not_asked_again(self, bench: Bench, tmp_path: Path):
        broken = tmp_path / "c++"
        broken.write_text(
            '#!/bin/sh\necho "$*" >> "$0.log"\ncase "$*" in *ops.cpp*) echo out of order; exit 1;; esac\n'
        )
        broken.chmod(0o755)
        done = self.sweep(bench, tmp_path, "cell=gru", CXX=str(broken))
        assert done.returncode == 0, done.stderr
        assert "building the native kernels for this machine, once" in done.stderr
        (log,) = (tmp_path / "extensions").rglob("failed-*.log")
        assert f"building the native kernels failed, see {log}\n" in done.stderr
        assert "engine fused instead of native: building it has failed\n" in done.stderr
        (made,) = bench.records()
        assert made.model["engine_note"] == "fused instead of native: building it has failed", ()
        assert "out of order" in log.read_text()
        asked = Path(f"{broken}.log").read_text().count("ops.cpp")
        done = self.sweep(bench, tmp_path, "cell=rnn", CXX=str(broken))
        assert f"has failed, see {log}, and delete that to try again\n" in done.stderr
        assert Path(f"{broken}.log").read_text().count("ops.cpp") == asked
        os.utime(log, (0, 0))
        self.sweep(bench, tmp_path, "cell=lstm", CXX=str(broken))
        assert Path(f"{broken}.log").read_text().count("ops.cpp") > asked, "after a while it is"

    @pytest.mark.long
    def test_two_processes_at_once_build_it_once(self, tmp_path: Path):
        code = "import sys\nfrom bench.engines.native import build\nbuild.load(lambda text: print(text))"
        # With fewer instructions than this machine may have; the comparison with torch is part of the building.
        where = {"TORCH_EXTENSIONS_DIR": str(tmp_path), "OMP_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "avx2"}
        started = [
            subprocess.Popen(
                [sys.executable, "-W", "error", "-c", code],
                env={**os.environ, **where},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        outputs = [process.communicate(timeout=300) for process in started]
        assert [process.returncode for process in started] == [0, 0], outputs
        assert sum("once; about half a minute" in out for out, _ in outputs) == 1
        (library,) = tmp_path.rglob("*.so")
        assert sorted(path.name for path in library.parent.iterdir()) == ["lock", "native.so"]
        # A half of it is made again; what a killed process left goes.
        library.write_bytes(b"")
        (library.parent / "tmpleft").mkdir()
        done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **where}, capture_output=True, text=True,
                              check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "once; about half a minute" in done.stdout
        assert library.stat().st_size > 0
        assert not (library.parent / "tmpleft").exists()
        # Where nothing can be locked, as in a folder that may only be read, it is read.
        (library.parent / "lock").unlink()
        (library.parent / "lock").mkdir()
        done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **where}, check=False)
        assert done.returncode == 0

    def test_one_that_computes_something_else_is_refused(self, monkeypatch: pytest.MonkeyPatch):
        build.load()
        build._check()
        monkeypatch.setattr(build, "TOLERANCE", 0.0)
        before = torch.get_rng_state()
        with pytest.raises(RuntimeError, match=r"rnn_tanh differs from torch by [\d.]+e-\d\d, of 0e\+00 allowed"):
            build._check()
        assert torch.equal(torch.get_rng_state(), before)

    def test_a_replay_without_it_says_so(self, bench: Bench, tmp_path: Path):
        made = bench.one("cell=gru", "probe.enabled=true")
        folder = bench.results / "runs" / "default" / made.task / made.cell / made.run_id
        assert len(probes_of(folder)["flow"]) > 0
        where = {"TORCH_EXTENSIONS_DIR": str(tmp_path / "extensions"), "CXX": "no-such-compiler"}
        done = command("replay", str(folder), cwd=None, **where)
        assert "bench replay: warning: engine: native in the record, fused now" in done.stderr
        assert done.returncode == 0, done.stdout
        assert done.stdout.startswith("equal within a relative difference of 0.001")
