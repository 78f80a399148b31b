"""The ways to unroll a cell: all equal the stepwise one, and a run says which one it took."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.cells import Cell
from bench.cells.gru import GRUCell
from bench.engines import Choice, Unroll, choose, fused, stepwise
from bench.engines.compiled import CHUNK
from bench.engines.generated import engine as generated
from bench.engines.native import engine as native
from bench.training.clipping import clip_gradients
from tests import own_cells
from tests.cells_made import CELLS, TORCH, draw, draw_state, error, everything, make
from tests.conftest import ROOT, TINY, Bench, probes_of
from tests.processes import command

SIZES = [
    *[(2, batch, hidden) for batch in (1, 3, 33) for hidden in (1, 7, 50, 130)],
    *[(1, batch, hidden) for batch, hidden in ((1, 1), (3, 130), (33, 7))],
    *[(time, batch, hidden) for time, batch, hidden in ((261, 1, 50), (131, 3, 1), (131, 33, 7), (131, 3, 130))],
]
"""Time, batch, hidden: sizes around the widths of registers and tiles, in every pair of batch and hidden.

They include more steps than the backward pass takes together, which are 128 divided by the number of sequences.
"""
KERNELS = [*((name, native.unroll) for name in CELLS), (own_cells.MGU, generated.unroll)]
"""Cells, each with the engine in C++ that unrolls it."""
LONG_SIZES = [(601, batch, hidden) for batch, hidden in ((1, 50), (3, 1), (33, 7), (3, 130))]


@pytest.mark.parametrize(
    "size", [*SIZES, *[pytest.param(size, marks=pytest.mark.long_run) for size in LONG_SIZES]], ids=str
)
@pytest.mark.parametrize("name", CELLS)
def test_outputs_and_gradients_are_those_of_the_equations(name: str, size: tuple[int, int, int]):
    time, batch, hidden = size
    cell, inputs = make(name, 3, hidden), draw(time, batch, 3)
    state = draw_state(cell, batch)
    expected = everything(stepwise.unroll, cell, inputs, state)
    for unroll in (fused.unroll, native.unroll):
        assert error(everything(unroll, cell.double(), inputs, state), expected) < 1e-11
        # The engine runs in float32 and is compared with the same in float64.
        assert error(everything(unroll, cell.float(), inputs, state), expected) < 2e-5


@pytest.mark.parametrize("inputs", [1, 47, 130])
@pytest.mark.parametrize("name", CELLS)
def test_native_with_inputs_of_any_size(name: str, inputs: int):
    cell, sequence = make(name, inputs, 33), draw(7, 40, inputs)
    state = draw_state(cell, 40)
    expected = everything(stepwise.unroll, cell, sequence, state)
    assert error(everything(native.unroll, cell, sequence, state), expected) < 1e-11


@pytest.mark.parametrize(("kind", "unroll"), KERNELS)
def test_on_one_thread_and_on_two(kind: Any, unroll: Unroll):
    cell, inputs = make(kind, 3, 20), draw(30, 11, 3)
    state = draw_state(cell, 11)
    before, found = torch.get_num_threads(), {}
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found[threads] = everything(unroll, cell, inputs, state)
            again = everything(unroll, cell, inputs, state)
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
@pytest.mark.parametrize(("kind", "unroll"), [*KERNELS, (own_cells.Attention, generated.unroll)])
def test_at_the_ends_of_the_numbers(kind: Any, unroll: Unroll, value: float):
    cell = make(kind, 3, 17).float()
    inputs = draw(6, 2, 3).float()
    inputs[2, 1] = value
    found, expected = (each(cell, inputs)[0] for each in (unroll, stepwise.unroll))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6, equal_nan=True)


def test_native_has_the_gradient_of_every_state_in_its_hands():
    cell, inputs = make("lstm", 3, 8), draw(9, 4, 3)
    tap, weights = native.Tap(), draw(9, 4, 8, index=1)
    hidden, _ = native.unroll(cell, inputs, None, tap)
    assert not tap.gradients
    (hidden * weights).sum().backward()
    assert tap.gradients is not None
    assert [part.shape for part in tap.gradients] == [(9, 4, 8)] * 2
    states, state = [], cell.initial_state(4)
    for projected in cell.project(inputs):
        state = cell.step(projected, state)
        states.append(state)
    loss = (torch.stack([h for h, _ in states]) * weights).sum()
    for step, parts in enumerate(states):
        expected = torch.autograd.grad(loss, parts, retain_graph=True)
        torch.testing.assert_close(tuple(part[step] for part in tap.gradients), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("kind", "unroll"), KERNELS)
def test_with_some_frozen_and_twice(kind: Any, unroll: Unroll):
    cell, inputs = make(kind, 3, 9), draw(4, 5, 3).transpose(0, 1).requires_grad_()
    cell.weight_ih.requires_grad_(False)
    cell.bias_hh.requires_grad_(False)
    wanted = [inputs, cell.weight_hh, cell.bias_ih]
    losses = [each(cell, inputs)[0].square().sum() for each in (unroll, stepwise.unroll)]
    found, expected = (torch.autograd.grad(loss, wanted, retain_graph=True) for loss in losses)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)
    assert all(map(torch.equal, torch.autograd.grad(losses[0], wanted), found))


@pytest.mark.parametrize(("kind", "unroll"), [*KERNELS, (own_cells.Janet, generated.unroll)])
def test_a_clip_in_place_reaches_each_gradient_once(kind: Any, unroll: Unroll):
    """Both biases of a cell that adds them have the same gradient."""
    cell, inputs = make(kind, 3, 9), draw(4, 5, 3)
    unroll(cell, inputs)[0].square().sum().backward()
    parameters = dict(cell.named_parameters())
    before = {name: each.grad.clone() for name, each in parameters.items() if each.grad is not None}
    assert len(before) == len(parameters)
    clip_gradients([*parameters.values()], 0.5, None)
    norm = torch.stack([each.square().sum() for each in before.values()]).sum().sqrt()
    for name, each in before.items():
        torch.testing.assert_close(parameters[name].grad, each * (0.5 / norm), rtol=1e-4, atol=0)


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
    assert choose("auto", [cell], torch.device("cpu"), "32") == Choice("generated")


def test_native_has_no_second_derivative():
    cell, inputs = make("gru", 3, 4), draw(5, 2, 3).requires_grad_()
    hidden, _ = native.unroll(cell, inputs)
    (gradient,) = torch.autograd.grad(hidden.square().sum(), inputs, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.long_run
@pytest.mark.parametrize("part", ["few", "again", "many"])
def test_compiled_chunks_and_what_is_left_over(part: str):
    words = [sys.executable, "-m", "tests.compiled_engine", part]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "all of it\n", done.stderr


class TestChoice:
    CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)

    @pytest.mark.parametrize(
        ("device", "precision", "cell", "engine"),
        [
            (CPU, "32", "gru", "native"),
            (CPU, "bf16-mixed", "gru", "fused"),
            (GPU, "32", "gru", "fused"),
            (CPU, "32", "leak", "generated"),
            (CPU, "bf16-mixed", "leak", "stepwise"),
            (GPU, "32", "leak", "stepwise"),
        ],
    )
    def test_auto(self, device: torch.device, precision: str, cell: str, engine: str):
        assert choose("auto", [make(cell, 3, 5)], device, precision) == Choice(engine, None)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("asked", "cell", "device", "precision", "message"),
        [
            ("fused", "leak", CPU, "32", "must be auto, generated, stepwise or compiled for Leak, which has no kernel"),
            ("native", "leak", CPU, "32", "must be auto, stepwise, compiled or generated for Leak, which names no rec"),
            ("generated", "leak", GPU, "32", "must be auto, stepwise or compiled on a GPU, got 'generated'"),
            ("native", "gru", GPU, "32", "must be auto, fused, stepwise or compiled on a GPU"),
            ("native", "gru", CPU, "bf16-mixed", "must be auto, fused, stepwise or compiled with precision bf16-mixed"),
            ("warp", "gru", CPU, "32", "must be one of auto, fused, stepwise, compiled, native, generated, got 'warp'"),
        ],
    )
    def test_what_cannot_be(self, asked: str, cell: str, device: torch.device, precision: str, message: str):
        with pytest.raises(ValueError, match=f"`engine` {message}"):
            choose(asked, [make(cell, 3, 5)], device, precision)

    def test_compiled_without_a_compiler(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("CXX", "no-such-compiler")
        message = "`engine` must be auto, fused or stepwise where there is no C\\+\\+ compiler, got 'compiled'"
        with pytest.raises(ValueError, match=message):
            choose("compiled", [make("gru", 3, 5)], self.CPU, "32")


class TestRuns:
    def test_all_engines_train_alike_and_the_record_says_which(self, bench: Bench):
        engines = ("stepwise", "fused", "native", "generated")
        runs = [bench.one("cell=gru", f"model.engine={engine}") for engine in engines]
        assert [run.model["engine"] for run in runs] == list(engines)
        assert [run.model["engine_note"] for run in runs] == [None] * 4
        assert len({run.run_id for run in runs}) == 4
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

    @pytest.mark.long_run
    def test_compiled_says_how_long_it_took(self, bench: Bench):
        settings = ("cell=gru", "task=adding_problem", f"task.length={CHUNK + 2}")
        plain = bench.one(*settings, "model.engine=stepwise")
        assert plain.time["compile_seconds"] == 0
        words = (*TINY, f"results_dir={bench.results}", *settings, "model.engine=compiled")
        done = command("run", *words)  # the new process has no type checks, which torch cannot compile
        assert done.returncode == 0, done.stderr
        (made,) = [run for run in bench.records() if run.model["engine"] == "compiled"]
        seconds = made.time["compile_seconds"]
        assert seconds is not None
        assert seconds > 0
        assert bench.curves(made)["train_loss"] == pytest.approx(bench.curves(plain)["train_loss"], rel=1e-4)


def at_once(*processes: subprocess.Popen[str]) -> list[str]:
    """Return what processes print that run at the same time and end well."""
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), outputs
    return [out for out, _ in outputs]


class TestBuilding:
    """Each test uses separate processes, because a process asks for the native kernels only once."""

    @pytest.fixture
    def place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Make the folder in which these processes keep what they build."""
        monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "extensions"))
        return tmp_path / "extensions"

    LOAD = (
        "from bench.engines.native import build\n"
        "try:\n    build.load(print)\nexcept build.NativeUnavailableError as error:\n    print(error)"
    )

    def load(self, *before: str, **environment: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-W", "error", "-c", "\n".join((*before, self.LOAD))]
        pipe = subprocess.PIPE
        return subprocess.Popen(words, cwd=ROOT, env={**os.environ, **environment}, stdout=pipe, stderr=pipe, text=True)

    @pytest.mark.usefixtures("place")
    def test_without_a_compiler_it_says_so_once_and_in_the_record(self, bench: Bench):
        words = (*TINY, f"results_dir={bench.results}", "cell=gru", "seed=0,1", "-m")
        done = command("run", *words, environment={"CXX": "no-such-compiler"})
        assert done.returncode == 0, done.stderr
        note = "fused instead of native: there is no C++ compiler named no-such-compiler"
        assert done.stderr.count(f"bench run: engine {note}\n") == 1
        runs = bench.records()
        assert [(run.model["engine"], run.model["engine_note"]) for run in runs] == [("fused", note)] * 2

    @pytest.mark.usefixtures("place")
    def test_asked_for_without_a_compiler_is_an_error(self, bench: Bench):
        words = (f"results_dir={bench.results}", "cell=gru", "model.engine=native")
        done = command("run", *words, environment={"CXX": "no-such-compiler"})
        assert done.returncode == 2
        assert done.stderr == (
            "bench run: model.engine must be auto, fused, stepwise or compiled here, got 'native': there is no C++ "
            "compiler named no-such-compiler\n"
        )
        assert not bench.results.exists()

    @pytest.mark.long_run
    def test_a_compiler_that_fails_is_not_asked_again(self, bench: Bench, tmp_path: Path, place: Path):
        broken = tmp_path / "c++"
        broken.write_text(
            '#!/bin/sh\necho "$*" >> "$0.log"\ncase "$*" in *ops.cpp*) echo out of order; exit 1;; esac\n'
        )
        broken.chmod(0o755)

        def asked() -> int:
            return Path(f"{broken}.log").read_text().count("ops.cpp")

        done = command("run", *TINY, f"results_dir={bench.results}", "cell=gru", environment={"CXX": str(broken)})
        assert done.returncode == 0, done.stderr
        assert "building the native kernels for this machine, once" in done.stderr
        (log,) = place.rglob("failed-*.log")
        assert f"building the native kernels failed, see {log}\n" in done.stderr
        assert "engine fused instead of native: building it has failed\n" in done.stderr
        (made,) = bench.records()
        assert made.model["engine_note"] == "fused instead of native: building it has failed", ()
        assert "out of order" in log.read_text()
        before = asked()
        (said,) = at_once(self.load(CXX=str(broken)))
        assert f"has failed, see {log}, and delete that to try again\n" in said
        assert asked() == before
        os.utime(log, (0, 0))
        at_once(self.load(CXX=str(broken)))
        assert asked() > before, "after a while it is"

    @pytest.mark.long_run
    def test_two_processes_at_once_build_it_once(self, place: Path):
        # The build uses fewer instructions than this machine may have; it includes the comparison with torch.
        fewer = {"OMP_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "avx2"}
        outputs = at_once(self.load(**fewer), self.load(**fewer))
        assert sum("once; about half a minute" in out for out in outputs) == 1
        (library,) = place.rglob("*.so")
        assert sorted(path.name for path in library.parent.iterdir()) == ["lock", "native.so"]
        # A library that is only half there is built again, and what a killed process left is removed.
        library.write_bytes(b"")
        (library.parent / "tmpleft").mkdir()
        (out,) = at_once(self.load(**fewer))
        assert "once; about half a minute" in out
        assert library.stat().st_size > 0
        assert not (library.parent / "tmpleft").exists()
        # A library is read even if nothing can be locked, as in a folder that is read-only.
        (library.parent / "lock").unlink()
        (library.parent / "lock").mkdir()
        assert at_once(self.load(**fewer)) == [""]

    @pytest.mark.long_run
    def test_one_that_computes_something_else_is_refused(self, place: Path):
        stricter = ("import torch", "from bench.engines.native import build", "build.TOLERANCE = 0.0",
                    "import atexit; before = torch.get_rng_state()",
                    "atexit.register(lambda: print(torch.equal(torch.get_rng_state(), before)))")  # fmt: skip
        (out,) = at_once(self.load(*stricter))
        assert out.endswith("\nbuilding it has failed\nTrue\n"), "and the random numbers are left alone"
        (log,) = place.rglob("failed-*.log")
        assert re.fullmatch(r"rnn_tanh differs from torch by [\d.]+e-\d\d, of 0e\+00 allowed\n", log.read_text())
        assert list(place.rglob("native.so")) == []

    def test_a_replay_without_it_says_so(self, bench: Bench, tmp_path: Path):
        made = bench.one("cell=gru", "probe.enabled=true")
        folder = bench.results / "runs" / "default" / made.task / made.cell / made.run_id
        assert len(probes_of(folder)["flow"]) > 0
        nowhere = {"TORCH_EXTENSIONS_DIR": str(tmp_path / "extensions"), "CXX": "no-such-compiler"}
        done = command("replay", str(folder), environment=nowhere)
        assert "bench replay: warning: engine: native in the record, fused now" in done.stderr
        assert done.returncode == 0, done.stdout
        assert done.stdout.startswith("equal within a relative difference of 0.001")
