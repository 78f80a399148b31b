"""The cost of the probes: against a training step, against the plain way, and in a run.

For each cell and length, one process times in turns a training step, one look with the default settings, its gradient
flow alone, the same flow the plain way (step by step, with every state retained), and the Lyapunov exponents. Then it
times runs of the command line with the default probes and without, in turns. It writes ``benchmarks/probes.json``.

    python -m benchmarks.probes --rounds 5 --steps 500
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
HIDDEN, BATCH, THREADS = 128, 64, 2
PROBE_BATCH, EXPONENTS = 32, 4
CELLS, LENGTHS = ("rnn", "lstm", "gru"), (100, 600)


def looks(cell: str, length: int, rounds: int) -> dict[str, float]:
    """Return the median milliseconds of a training step, a look, its flow, the flow the plain way and the exponents."""
    import torch

    from bench.probes.activity import activity_of
    from bench.probes.flow import flow_and_traces, gradient_flow_of, gradient_norms, logarithmic_lags
    from bench.probes.lyapunov import exponents_of
    from bench.training import rng
    from bench.training.clipping import clip_gradients
    from benchmarks.ours import network, set_up
    from tasks.adding_problem import AddingProblem

    set_up(THREADS)
    task = AddingProblem(length=length, markers="halves", solved_mse=0.01)
    model = network(cell, "auto", HIDDEN, task.input_size, task.output_size, task.readout)
    parameters = list(model.parameters())
    optimizer = torch.optim.Adam(parameters, lr=1e-3, fused=True)
    batch, probe = (task.sample(size, rng.generator("probe", 0)) for size in (BATCH, PROBE_BATCH))
    lags = logarithmic_lags(length - 1)

    def step() -> None:
        optimizer.zero_grad()
        task.loss(model(batch.inputs), batch).backward()
        clip_gradients(parameters, 1.0, None)
        optimizer.step()

    def flow() -> list[float]:
        points = gradient_flow_of(model, task, probe, lags, inputs=True)
        return [point.value for point in points if point.state == "h"]

    def look() -> None:
        _, traces = flow_and_traces(model, task, probe, lags, inputs=True)
        activity_of(model, probe.inputs, gates=True, traces=traces)

    def exponents() -> None:
        exponents_of(model, probe.inputs, EXPONENTS)

    def plain() -> list[float]:
        (layer,) = model.layers
        state, hidden = layer.initial_state(PROBE_BATCH), []
        for projected in layer.project(probe.inputs):
            state = layer.step(projected, state)
            state[0].retain_grad()
            hidden.append(state[0])
        outputs = model.readout_layer(hidden[-1].unsqueeze(0))
        return gradient_norms(task.answer_loss(outputs, probe).sum(), [hidden[length - 1 - lag] for lag in lags])

    torch.testing.assert_close(torch.tensor(flow()), torch.tensor(plain()), rtol=1e-3, atol=1e-30)
    sides: dict[str, Callable[[], Any]] = {"step": step, "look": look, "flow": flow, "plain_flow": plain,
                                          "exponents": exponents}  # fmt: skip
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds + 1):
        for name, side in sides.items():
            started = time.perf_counter()
            side()
            times[name].append(1000 * (time.perf_counter() - started))
    return {f"{name}_ms": round(statistics.median(each[1:]), 2) for name, each in times.items()}


def seconds(cell: str, length: int, steps: int, probe: str) -> tuple[float, float]:
    """Return the seconds of training and probing in one run, and of probing alone, as its record says."""
    from bench.records.read import find_records, read_record

    with tempfile.TemporaryDirectory() as folder:
        words = (
            f"cell={cell} task=adding_problem task.length={length} data.batch_size={BATCH} model.hidden_size={HIDDEN} "
            f"training.max_steps={steps} training.eval_every={steps} training.stop_when_solved=false probe={probe} "
            f"runtime.threads={THREADS} trainer=cpu results_dir={folder}"
        )
        subprocess.run([sys.executable, "-m", "bench", "run", *words.split()], check=True, capture_output=True)
        (made,) = map(read_record, find_records(Path(folder)))
    training, probing = made.time["train_seconds"], made.time["probe_seconds"]
    assert training is not None
    assert probing is not None
    return training + probing, probing


def main() -> None:
    parser = argparse.ArgumentParser(description="the cost of the probes")
    parser.add_argument("--rounds", type=int, default=5, help="of single looks")
    parser.add_argument("--steps", type=int, default=500, help="of the runs; default: what lies between two looks")
    parsed = parser.parse_args()
    import torch

    from bench.training.process import processor_name

    rows = []
    for length in LENGTHS:
        for cell in CELLS:
            row: dict[str, Any] = {"cell": cell, "length": length, **looks(cell, length, parsed.rounds)}
            whole, probing = seconds(cell, length, parsed.steps, "flow")
            without, _ = seconds(cell, length, parsed.steps, "none")
            row |= {
                "look_in_steps": round(row["look_ms"] / row["step_ms"], 2),
                "plain_over_ours": round(row["plain_flow_ms"] / row["flow_ms"], 2),
                "run_with_s": round(whole, 2),
                "run_without_s": round(without, 2),
                "run_ratio": round(whole / without, 3),
                "share_of_probes": round(probing / (whole - probing), 4),
            }
            rows.append(row)
            print(json.dumps(row), flush=True)
    result = {
        "what": f"adding, hidden {HIDDEN}, training batch {BATCH}, probe batch {PROBE_BATCH}, {THREADS} threads, "
        f"runs of {parsed.steps} steps with a look before the first and after the last",
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "processor": processor_name(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "rounds": parsed.rounds,
        "rows": rows,
    }
    (HERE / "probes.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
