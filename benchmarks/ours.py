"""One of our networks, served like the peers, or timed over sizes.

python -m benchmarks.ours serve gru "adding 600" [engine] [engine of the loss]
python -m benchmarks.ours foreign MGU "adding 600"    # the cell of a layer of torchrecurrent
python -m benchmarks.ours pace gru 1                  # serve steps of the demo's adding task on one thread
python -m benchmarks.ours by_hand gru                 # the C++ by hand and the generated one, in turns
python -m benchmarks.ours scaling gru 2 native        # time over length, hidden size and batch
python -m benchmarks.ours memory gru 1600 native      # peak memory at one length
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import hydra.utils
import torch
from omegaconf import OmegaConf
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parent / "peers"))

from serve import serve
from work import BATCH, CASES, CLIP_NORM, LEARNING_RATE, batches, weights

from bench.cells import Cell
from bench.cells.foreign import ForeignCell
from bench.cells.init import Initialization
from bench.engines import choose, choose_loss
from bench.training import process, rng
from bench.training.clipping import clip_gradients
from bench.training.model import SequenceModel
from bench.training.settings import RuntimeConfig
from tasks.base import Batch
from tasks.copy_memory import CopyMemory
from tests import own_cells

CONF = Path(__file__).parents[1] / "conf" / "cell"
LENGTHS = (50, 100, 200, 400, 800, 1600, 3200)
HIDDEN = (16, 32, 64, 128, 256, 512)
BATCHES = (8, 16, 32, 64, 128, 256, 512)
MIDDLE = {"length": 200, "hidden": 128, "batch": 32}
SECONDS, ROUNDS = 0.25, 3
BY_HAND = ((20, 32), (200, 32), (200, 128), (600, 128))
"""Length and hidden size at which the C++ by hand and the generated one take turns."""


def own_cell() -> type[Cell]:
    """Return the user's own cell that the documentation shows."""
    text = (Path(__file__).parents[1] / "docs" / "ten_minutes.md").read_text(encoding="utf-8")
    found = re.search(r"`mine/leaky_gate.py`:\n\n```python\n(.*?)```", text, re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {}
    exec(found[1], names)
    return names["LeakyGate"]


def set_up(threads: int | None) -> None:
    process.set_up(
        RuntimeConfig(threads=threads, flush_subnormals=True, keep_pages=True, deterministic=True, tf32=False)
    )


def network(
    cell: str, engine: str, hidden: int, inputs: int, outputs: int, readout: str, loss_engine: str = "auto"
) -> SequenceModel:
    return network_of(maker_of(cell), engine, hidden, inputs, outputs, readout, loss_engine)


def maker_of(cell: str) -> Callable[[int, int], Cell]:
    if cell in ("rnn", "lstm", "gru"):
        return hydra.utils.instantiate(OmegaConf.load(CONF / f"{cell}.yaml"))
    kind = own_cell() if cell == "own" else getattr(own_cells, cell)
    return partial(kind, init=Initialization(input="torch", recurrent="torch", bias="torch"))


def network_of(
    make: Any, engine: str, hidden: int, inputs: int, outputs: int, readout: str, loss_engine: str = "auto"
) -> SequenceModel:
    chosen = choose(engine, [make(inputs, hidden)], torch.device("cpu"), "32")
    chosen = choose_loss(loss_engine, chosen, readout == "every", torch.device("cpu"), "32")
    assert chosen.note is None, chosen.note
    model = SequenceModel(
        make, input_size=inputs, output_size=outputs, hidden_size=hidden, layers=1, dropout=0.0,
        readout="last" if readout == "last" else "every", engine=chosen.engine, loss_engine=chosen.loss,
    )  # fmt: skip
    model.reset_parameters(rng.generator("init", 0), 10, "torch")
    return model


def products(cell: str) -> int:
    """Return the multiply-adds that one step of one sequence takes forward, at 128 units and two inputs."""
    model = network(cell, "stepwise", 128, 2, 1, "last")
    return sum(each.numel() for each in model.layers[0].parameters() if each.dim() == 2 and each.shape[1] in (2, 128))


def stepper(model: SequenceModel, data: list[tuple[Tensor, Tensor]]) -> Callable[[int], float]:
    parameters = list(model.parameters())
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True)  # as in conf/optimizer/adam.yaml

    copy = CopyMemory(delay=1000, form="categorical", solved_recall=1.0)

    def step(number: int) -> float:
        inputs, targets = data[number % len(data)]
        optimizer.zero_grad()
        if model.readout == "last":
            loss = F.mse_loss(model(inputs)[0, :, 0], targets)
        else:
            scored = torch.ones(targets.shape, dtype=torch.bool)
            loss = model.loss(copy, Batch(inputs, targets, scored, scored))
        loss.backward()
        clip_gradients(parameters, CLIP_NORM, None)
        optimizer.step()
        return loss.item()

    return step


def serve_one(cell: str, name: str, engine: str = "auto", loss_engine: str = "auto") -> None:
    set_up(None)
    case = CASES[name]
    readout = "last" if case.task == "adding" else "every"
    model = network(cell, engine, case.hidden, case.input, case.output, readout, loss_engine)
    model.warm_up(BATCH)
    if cell in ("rnn", "lstm", "gru"):
        values = [torch.from_numpy(value) for value in weights(cell, case).values()]
        for parameter, value in zip(model.parameters(), values, strict=True):
            parameter.data.copy_(value)
    serve(stepper(model, [(torch.from_numpy(inputs), torch.from_numpy(targets)) for inputs, targets in batches(case)]))


def serve_foreign(layer: str, name: str) -> None:
    """Serve the cell of a layer of torchrecurrent, from the weights that the layer begins with."""
    import torchrecurrent

    set_up(None)
    case, kind = CASES[name], getattr(torchrecurrent, f"{layer}Cell")
    make = partial(ForeignCell, module=f"torchrecurrent.{layer}Cell", arguments=partial(kind))
    model = network_of(make, "generated", case.hidden, case.input, case.output, "last")
    torch.manual_seed(0)
    theirs = [getattr(torchrecurrent, layer)(case.input, case.hidden), torch.nn.Linear(case.hidden, case.output)]
    values = [value for part in theirs for value in part.parameters()]
    for parameter, value in zip(model.parameters(), values, strict=True):
        parameter.data.copy_(value.data)
    serve(stepper(model, [(torch.from_numpy(inputs), torch.from_numpy(targets)) for inputs, targets in batches(case)]))


def one_size(cell: str, engine: str, length: int, hidden: int, batch: int) -> Callable[[], float]:
    """Return a function that makes a step on random sequences and returns its milliseconds."""
    model = network(cell, engine, hidden, 2, 1, "last")
    source = rng.generator("train", 0)
    data = [(torch.rand(length, batch, 2, generator=source), torch.rand(batch, generator=source))]
    step = stepper(model, data)

    def timed() -> float:
        started = time.perf_counter()
        step(0)
        return 1000 * (time.perf_counter() - started)

    return timed


def by_hand(cell: str) -> None:
    """Print the milliseconds of a step with the C++ by hand and with the generated one, at some sizes."""
    set_up(None)
    rows = []
    for length, hidden in BY_HAND:
        steps = {engine: one_size(cell, engine, length, hidden, 32) for engine in ("native", "generated")}
        times: dict[str, list[float]] = {engine: [] for engine in steps}
        started = time.perf_counter()
        while time.perf_counter() < started + 6:
            for engine, timed in steps.items():
                timed()  # What the other one has left in the caches is gone.
                times[engine].append(sum(timed() for _ in range(8)) / 8)
        ms = {engine: sorted(found)[len(found) // 2] for engine, found in times.items()}
        ratios = sorted(b / a for a, b in zip(times["native"], times["generated"], strict=True))
        rows.append({"length": length, "hidden": hidden, **ms, "ratio": ratios[len(ratios) // 2], "turns": len(ratios)})
    print(json.dumps(rows))


def pace(cell: str, threads: str) -> None:
    set_up(int(threads))
    timed = one_size(cell, "native", 100, 64, 32)
    serve(lambda number: timed())


def scaling(cell: str, threads: str, engine: str) -> None:
    set_up(int(threads))
    rows = []
    for axis, sizes in (("length", LENGTHS), ("hidden", HIDDEN), ("batch", BATCHES)):
        steps = {size: one_size(cell, engine, **{**MIDDLE, axis: size}) for size in sizes}
        times: dict[int, list[float]] = {size: [] for size in sizes}
        for turn in range(ROUNDS + 1):
            for size, timed in steps.items():
                spent = 0.0
                while spent < 1000 * SECONDS:
                    times[size].append(timed())
                    spent += times[size][-1]
                if turn == 0:
                    times[size].clear()
        for size in sizes:
            ordered = sorted(times[size])
            rows.append({"axis": axis, "size": size, "ms": ordered[len(ordered) // 2], "steps": len(ordered)})
    print(json.dumps(rows))


def memory(cell: str, length: str, engine: str) -> None:
    """Print the MiB that five steps take at most beyond what the process has after steps on a sequence of ten."""
    set_up(None)

    def work(steps: int) -> None:
        timed = one_size(cell, engine, **{**MIDDLE, "length": steps})
        for _ in range(5):
            timed()

    def status(name: str) -> float:
        (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
        return int(line.split()[1]) / 1024

    work(10)
    Path("/proc/self/clear_refs").write_text("5")  # Linux forgets the peak so far
    before = status("VmRSS")
    work(int(length))
    print(json.dumps(status("VmHWM") - before))


WORDS = {
    "serve": serve_one,
    "foreign": serve_foreign,
    "by_hand": by_hand,
    "pace": pace,
    "scaling": scaling,
    "memory": memory,
}

if __name__ == "__main__":
    WORDS[sys.argv[1]](*sys.argv[2:])
