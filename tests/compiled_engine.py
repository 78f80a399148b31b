"""Checks of the ``compiled`` engine in a separate process, because torch cannot compile the checks of types.

python -m tests.compiled_engine few     # one compilation
python -m tests.compiled_engine again   # more functions of one code than torch compiles, with nothing to translate
python -m tests.compiled_engine many    # a dozen: odd sizes, two layers, more than torch compiles of one function
"""

from __future__ import annotations

import copy
import sys
from functools import partial
from types import FunctionType
from typing import Any

import torch
from torch._dynamo.config import recompile_limit

from bench.engines import stepwise
from bench.engines.compiled import CHUNK, Compiled, counted_apart
from bench.training.model import SequenceModel
from bench.training.rng import generator
from tests.cells_made import TORCH, Leak, draw, error, everything


def leak(hidden: int) -> Leak:
    cell = Leak(3, hidden, init=TORCH)
    cell.reset_parameters(generator("init", 0), 10)
    return cell


def few() -> None:
    """Whole chunks run compiled; the remainder and other shapes run step by step; all equal the cell's equations."""
    cell = leak(6).double()
    compiled = Compiled()
    assert compiled.seconds == 0
    compiled.warm_up(cell, 4)
    assert compiled.seconds > 0
    assert all(parameter.grad is None for parameter in cell.parameters())
    for time, batch, in_python in (
        (2 * CHUNK + 3, 4, 3),
        (CHUNK, 4, 0),
        (CHUNK - 1, 4, CHUNK - 1),
        (CHUNK, 5, CHUNK),
    ):
        inputs, state = draw(time, batch, 3), (draw(batch, 6, index=9),)
        expected = everything(stepwise.unroll, cell, inputs, state)
        cell.steps = 0
        assert error(everything(compiled, cell, inputs, state), expected) < 1e-12
        assert cell.steps == in_python
    cell.steps = 0
    with torch.no_grad():
        compiled(cell, draw(CHUNK, 4, 3))
    assert cell.steps == CHUNK, "an evaluation runs step by step"


def again() -> None:
    """torch compiles more functions of the same code than it compiles without a copy of the code."""
    graphs: list[Any] = []

    def keep(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    def scale_by(factor: int) -> FunctionType:
        def scale(x: torch.Tensor) -> torch.Tensor:
            return factor * x

        assert isinstance(scale, FunctionType)
        return scale

    for factor in range(2, recompile_limit + 4):
        scale = torch.compile(counted_apart(scale_by(factor)), backend=keep, fullgraph=True, dynamic=False)
        mend = "torch counts compilations in another way: mend counted_apart in bench/engines/compiled.py"
        try:
            assert (scale(torch.ones(1)).item(), len(graphs)) == (factor, factor - 1), mend
        except Exception as error:
            raise AssertionError(mend) from error


def many() -> None:
    """Odd sizes run in float32 and are compared with float64; then two layers, and one compilation after another."""
    for size, batch in ((1, 1), (50, 33)):
        cell = leak(size)
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
    cell = leak(6).double()
    for _ in range(recompile_limit + 1):  # one more than torch compiles of one function
        compiled = Compiled()
        compiled.warm_up(cell, 4)
    cell.steps = 0
    everything(compiled, cell, draw(CHUNK, 4, 3), (draw(4, 6, index=9),))
    assert cell.steps == 0, "the last one is compiled like the first"


def gpu() -> None:
    """On a GPU as on the CPU, step by step."""
    cell, inputs, state = leak(6).double(), draw(2 * CHUNK + 3, 4, 3), (draw(4, 6, index=9),)
    expected = everything(stepwise.unroll, cell, inputs, state)
    cell, compiled = cell.cuda(), Compiled()
    compiled.warm_up(cell, 4)
    cell.steps = 0
    assert error(everything(compiled, cell, inputs, state), expected) < 1e-10
    assert cell.steps == 3


if __name__ == "__main__":
    {"few": few, "again": again, "many": many, "gpu": gpu}[sys.argv[1]]()
    print("all of it")
