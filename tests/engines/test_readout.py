"""Readout and cross entropy in one pass: the numbers of torch, and where a run takes it."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.engines import Choice, choose_loss, readout
from bench.engines.native import build
from bench.training.model import Around, SequenceModel
from bench.training.rng import generator
from tasks.base import Batch
from tasks.copy_memory import CopyMemory
from tests.cells_made import CELLS
from tests.conftest import Bench, spec_of

CPU = torch.device("cpu")
SIZES = [
    (1, 1, 1, 1), (3, 2, 5, 2), (7, 5, 16, 9), (13, 7, 33, 16), (5, 20, 50, 17), (4, 33, 31, 33), (3, 40, 130, 70),
]  # fmt: skip
"""Time, batch, hidden, classes: around the widths of registers and the rows that are taken together."""


NO_ENTROPY = "auto or torch where the loss is no cross entropy of every step"


def theirs(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, scored: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(hidden, weight, bias)[scored], targets[scored])


def drawn(size: tuple[int, int, int, int], dtype: torch.dtype) -> tuple[Tensor, ...]:
    time, batch, hidden, classes = size
    draw = partial(torch.randn, generator=generator("init", 1), dtype=torch.double)
    scored = draw(time, batch) > -0.5
    scored[0, 0] = True
    targets = draw(time, batch).mul(1000).long() % classes
    # What a recurrence returns is a part of longer rows.
    rows = draw(time, batch, hidden + 3).to(dtype)[:, :, :hidden]
    return (
        rows.requires_grad_(),
        draw(classes, hidden).to(dtype).requires_grad_(),
        draw(classes).to(dtype).requires_grad_(),
        targets,
        scored,
    )


def loss_and_gradients(compute: Any, *arguments: Tensor, factor: float = 1.0) -> list[Tensor]:
    loss = compute(*arguments)
    return [loss.detach(), *torch.autograd.grad(factor * loss, arguments[:3])]


@pytest.mark.parametrize(("dtype", "allowed"), [(torch.double, 1e-13), (torch.float, 3e-6)])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_loss_and_gradients_are_those_of_torch(size: tuple[int, int, int, int], dtype: torch.dtype, allowed: float):
    arguments = drawn(size, dtype)
    expected = loss_and_gradients(theirs, *(each.double() if each.dtype == dtype else each for each in arguments))
    for hidden in (arguments[0], arguments[0].detach().contiguous().requires_grad_()):
        found = loss_and_gradients(readout.cross_entropy, hidden, *arguments[1:])
        for one, other in zip(found, expected, strict=True):
            assert float((one - other).abs().max()) <= allowed * max(1.0, float(other.abs().max()))
    swapped = arguments[0].detach().transpose(0, 1).contiguous().transpose(0, 1).requires_grad_()
    again = loss_and_gradients(readout.cross_entropy, swapped, *arguments[1:])
    assert all(map(torch.equal, again, found))


def test_a_factor_before_it_and_a_second_pass():
    arguments = drawn((6, 4, 9, 5), torch.double)
    expected = loss_and_gradients(theirs, *arguments, factor=-2.5)
    found = loss_and_gradients(readout.cross_entropy, *arguments, factor=-2.5)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)
    loss = readout.cross_entropy(*arguments)
    once = torch.autograd.grad(loss, arguments[0], retain_graph=True)
    (2 * loss).backward()
    assert arguments[0].grad is not None
    assert torch.equal(arguments[0].grad, 2 * once[0])
    with torch.no_grad():
        assert not readout.cross_entropy(*arguments).requires_grad


def test_on_one_thread_and_on_two():
    arguments, before, found = drawn((30, 11, 20, 9), torch.float), torch.get_num_threads(), {}
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found[threads] = loss_and_gradients(readout.cross_entropy, *arguments)
            again = loss_and_gradients(readout.cross_entropy, *arguments)
            assert all(map(torch.equal, again, found[threads])), "the same bit for bit"
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[1][1], found[2][1]), "a position does not depend on who computes it"
    torch.testing.assert_close(found[2], found[1], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e4, -1e4])
def test_at_the_ends_of_the_numbers(value: float):
    hidden, weight, bias, targets, scored = drawn((6, 2, 17, 9), torch.float)
    with torch.no_grad():
        hidden[2, 1, 3] = value
    scored[2, 1] = True
    found = loss_and_gradients(readout.cross_entropy, hidden, weight, bias, targets, scored)
    expected = loss_and_gradients(theirs, hidden, weight, bias, targets, scored)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=1e-6, equal_nan=True)
    if abs(value) < float("inf"):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    scored[2, 1] = False
    assert readout.cross_entropy(hidden, weight, bias, targets, scored).isfinite(), "it does not count"


def test_what_it_refuses():
    hidden, weight, bias, targets, scored = (each.detach() for each in drawn((6, 2, 17, 9), torch.float))
    targets[1, 1], scored[1, 1] = 9, True
    with pytest.raises(IndexError, match="`target` must be from 0 to 8 where it is scored, got 9"):
        readout.cross_entropy(hidden, weight, bias, targets, scored)
    with pytest.raises(ValueError, match=r"`bias` must have the shape \[9\], got \[8\]"):
        torch.ops.rnn_bench.cross_entropy(hidden, weight, bias[1:], targets, scored, False)
    with pytest.raises(ValueError, match=r"`weight` must have the shape \[9, 17\], got \[9, 16\]"):
        torch.ops.rnn_bench.cross_entropy(hidden, weight[:, 1:], bias, targets, scored, False)
    with pytest.raises(ValueError, match=r"`target` and `scored` must be \(time, batch\), got \[6, 2\] and \[5, 2\]"):
        torch.ops.rnn_bench.cross_entropy(hidden, weight, bias, targets, scored[1:], False)


def test_a_network_with_layers_before_the_readout():
    task = CopyMemory(delay=4, form="categorical", solved_recall=0.9)
    around = Around(head=(7, 6), head_activation="tanh", readout_dropout=0.3)
    found = {}
    for engine in ("torch", "native"):
        model = SequenceModel(
            CELLS["gru"], input_size=task.input_size, output_size=task.output_size, hidden_size=5, layers=2,
            dropout=0.4, readout="every", engine="native", around=around, loss_engine=engine,
        )  # fmt: skip
        model.reset_parameters(generator("init", 0), 10, "torch")
        batch = task.sample(3, generator("train", 0))
        doubled = Batch(batch.inputs.double(), batch.targets, batch.scored, batch.answer)
        loss = model.double().loss(task, doubled, generator("dropout", 0))
        found[engine] = (loss, *torch.autograd.grad(loss, list(model.parameters())))
    torch.testing.assert_close(found["native"], found["torch"], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(
    ("asked", "engine", "suits", "precision", "chosen"),
    [
        ("auto", "native", True, "32", "native"),
        ("auto", "generated", True, "32", "native"),
        ("auto", "stepwise", True, "32", "torch"),
        ("auto", "native", False, "32", "torch"),
        ("torch", "native", True, "32", "torch"),
        ("native", "stepwise", True, "32", "native"),
        (
            "native",
            "native",
            False,
            "32",
            "auto or torch where the loss is no cross entropy of every step, got 'native'",
        ),
        ("native", "fused", True, "bf16-mixed", "auto or torch with precision bf16-mixed, got 'native'"),
        ("fast", "native", True, "32", "one of auto, torch, native, got 'fast'"),
    ],
)
def test_choice(asked: str, engine: Any, suits: bool, precision: str, chosen: Any):
    if chosen in ("torch", "native"):
        assert choose_loss(asked, Choice(engine), suits, CPU, precision) == Choice(engine, None, chosen)
        return
    with pytest.raises(ValueError, match=f"^`loss_engine` must be {re.escape(chosen)}$"):
        choose_loss(asked, Choice(engine), suits, CPU, precision)


def test_a_loss_that_falls_back_says_why(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(build, "_state", "building it has failed")
    reason = "torch instead of native for readout and loss: building it has failed"
    assert choose_loss("auto", Choice("generated"), True, CPU, "32") == Choice("generated", reason, "torch")
    with pytest.raises(ValueError, match=r"must be auto or torch here, got 'native': building it has failed$"):
        choose_loss("native", Choice("generated"), True, CPU, "32")


def test_a_run_takes_it_where_every_step_is_answered(bench: Bench, tmp_path: Path):
    settings = ("cell=gru", "task=copy_memory", "task.delay=3", "training.clip_norm=1", "data.microbatch_size=null")
    made = {asked: bench.one(*settings, f"model.loss_engine={asked}") for asked in ("auto", "torch")}
    assert [each.model["loss_engine"] for each in made.values()] == ["native", "torch"]
    assert "engines.readout" in made["auto"].code["numerics"]
    assert "engines.readout" not in made["torch"].code["numerics"]
    one, other = (each.metrics["test"]["loss"] for each in made.values())
    assert one == pytest.approx(other, rel=1e-5)
    assert spec_of("cell=gru").network.engine.loss == "torch", "adding asks for one answer"
    in_pieces = bench.one(*settings[:-1], "data.microbatch_size=2")
    assert in_pieces.metrics["test"]["loss"] == pytest.approx(one, rel=1e-5)
    replayed = bench.call("replay", str(bench.folder(made["auto"])))
    assert replayed.code == 0
    assert "equal, bit for bit" in replayed.out


LYING = """
from tasks.copy_memory import CopyMemory


class Twice(CopyMemory):
    def loss(self, outputs, batch):
        return 2 * super().loss(outputs, batch)
"""


def test_a_task_whose_loss_is_another_one_than_it_says_is_refused(bench: Bench, tmp_path: Path, monkeypatch: Any):
    (tmp_path / "lying_task.py").write_text(LYING, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    outcome = bench.run("task=copy_memory", "task._target_=lying_task.Twice", "task.delay=3")
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1].startswith(
        "bench run: task.cross_entropy of Twice must be False where its loss is no mean cross entropy of the scored "
        "positions, which is 2.5"
    )
