"""A training step on an NVIDIA GPU by each engine, beside the processor of the same machine; and workers on one GPU.

Times of a step come from the records of ``bench run``: three seeds one after the other in one process, of which the
first warms up. Those of a sweep are the wall time of the whole command. The script prints a line for each setting and
writes ``benchmarks/gpu.json`` after each, so that a machine that is taken away leaves what was measured.

    python -m benchmarks.gpu
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.records.read import find_records, read_record

HERE = Path(__file__).parent
TASK = ("task=adding_problem", "model.hidden_size=128", "probe=none", "training.stop_when_solved=false",
        "data.eval_size=64", "data.test_size=64")  # fmt: skip
LENGTH = 600
CELLS = ("rnn", "lstm", "gru")
STEPS = (
    # place, engine, batch, precision, steps
    ("gpu", "fused", 32, "32", 200),
    ("gpu", "fused", 512, "32", 200),
    ("gpu", "fused", 32, "bf16-mixed", 200),
    ("gpu", "fused", 512, "bf16-mixed", 200),
    ("cpu", "native", 32, "32", 50),
    ("cpu", "native", 512, "32", 10),
    ("gpu", "stepwise", 32, "32", 5),
)
WORKERS = (1, 2, 4)
SWEEP = (*TASK, "task.length=200", "cell=lstm", "trainer=gpu", "training.max_steps=500", "seed=range(0,8)")


def bench_run(*words: str) -> float:
    """Run the command line in a process of its own, and return its seconds."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "bench", "run", "-m", *words], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"bench run -m {' '.join(words)}\n{done.stderr}")
    return time.perf_counter() - started


def milliseconds(place: str, engine: str, batch: int, precision: str, steps: int) -> dict[str, float]:
    """Return the milliseconds of a step for each cell, the median of the later two runs."""
    with tempfile.TemporaryDirectory() as folder:
        bench_run(
            *TASK, f"task.length={LENGTH}", f"cell={','.join(CELLS)}", "seed=0,1,2", f"trainer={place}",
            f"model.engine={engine}", f"data.batch_size={batch}", f"trainer.precision={precision}",
            f"training.max_steps={steps}", f"training.eval_every={steps}", "launcher=serial", f"results_dir={folder}",
        )  # fmt: skip
        records = [read_record(path) for path in find_records(Path(folder))]
    found = {}
    for cell in CELLS:
        times = {record.seed: record.time for record in records if record.cell == cell}
        found[cell] = round(
            statistics.median(float(times[seed]["milliseconds_per_step"] or math.nan) for seed in (1, 2)), 3
        )
    return found


def seconds_of_a_sweep(workers: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        return bench_run(*SWEEP, "launcher=joblib", f"launcher.workers_per_gpu={workers}", f"results_dir={folder}")


def main() -> None:
    argparse.ArgumentParser(description="what a GPU gives").parse_args()
    import torch

    from bench.training.process import processor_name

    if not torch.cuda.is_available():
        raise SystemExit("benchmarks.gpu: torch finds no GPU")
    rows: list[dict[str, object]] = []
    sweeps: dict[int, float] = {}
    result = {
        "what": f"milliseconds of a training step, adding at length {LENGTH}, hidden 128; seconds of a sweep of 8 runs "
        "(LSTM, adding at length 200, 500 steps) by so many workers on one GPU",
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "gpu": torch.cuda.get_device_name(0),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "steps": rows,
        "workers": sweeps,
    }
    for place, engine, batch, precision, steps in STEPS:
        found = milliseconds(place, engine, batch, precision, steps)
        rows.append({"device": place, "engine": engine, "batch": batch, "precision": precision, "milliseconds": found})
        print(place, engine, batch, precision, found, flush=True)
        (HERE / "gpu.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for workers in WORKERS:
        sweeps[workers] = round(seconds_of_a_sweep(workers), 1)
        print(f"{workers} workers on the GPU: 8 runs in {sweeps[workers]:.0f} s", flush=True)
        (HERE / "gpu.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
