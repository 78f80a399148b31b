"""What a step costs through the bench, against a bare loop over the same kernel with the same runtime set-up.

Each side runs in a process of its own, in turns, so that a slow minute of the machine falls on both. Prints a line a
round, then the medians and the ratio, and writes ``benchmarks/overhead.json``.

    python benchmarks/overhead.py --rounds 7
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
from pathlib import Path

HERE = Path(__file__).parent
LENGTH, BATCH, HIDDEN, STEPS, THREADS = 600, 32, 128, 60, 2


def bare() -> float:
    """Milliseconds a step of the plain loop: the same network, data, loss, clip and optimiser."""
    import torch
    from torch import nn

    from bench import runtime

    runtime.set_up(
        runtime.RuntimeConfig(threads=THREADS, flush_subnormals=True, keep_pages=True, deterministic=True, tf32=False)
    )
    torch.manual_seed(0)
    lstm, readout = nn.LSTM(2, HIDDEN), nn.Linear(HIDDEN, 1)
    parameters = [*lstm.parameters(), *readout.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    column = torch.arange(BATCH)

    def step() -> None:
        values = torch.rand(LENGTH, BATCH)
        marks = torch.zeros(LENGTH, BATCH)
        first = torch.randint(LENGTH // 2, (BATCH,))
        second = torch.randint(LENGTH // 2, LENGTH, (BATCH,))
        marks[first, column] = marks[second, column] = 1
        target = values[first, column] + values[second, column]
        optimizer.zero_grad()
        hidden, _ = lstm(torch.stack((values, marks), dim=-1))
        loss = nn.functional.mse_loss(readout(hidden[-1])[:, 0], target)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    started = time.perf_counter()
    for _ in range(STEPS):
        step()
    return 1000 * (time.perf_counter() - started) / STEPS


def through_bench() -> float:
    """Milliseconds a step of ``bench run``, as its record says."""
    from bench import record

    with tempfile.TemporaryDirectory() as folder:
        words = (
            f"cell=lstm task=adding_problem task.length={LENGTH} data.batch_size={BATCH} model.hidden_size={HIDDEN} "
            f"training.max_steps={STEPS} runtime.threads={THREADS} trainer=cpu "
            f"results_dir={folder}"
        )
        subprocess.run([sys.executable, "-m", "bench", "run", *words.split()], check=True, capture_output=True)
        (made,) = record.read_all(Path(folder))[0]
    milliseconds = made.time["milliseconds_per_step"]
    assert milliseconds is not None
    return milliseconds


def in_a_process_of_its_own() -> float:
    """The plain loop, timed in a fresh process."""
    done = subprocess.run([sys.executable, __file__, "--bare"], check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description="bench run against a bare loop")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    if parsed.bare:
        print(bare())
        return
    import torch

    from bench.runtime import processor_name

    pairs = []
    for number in range(parsed.rounds):
        sides = (in_a_process_of_its_own, through_bench)
        order = sides if number % 2 == 0 else sides[::-1]
        times = {side: side() for side in order}
        pairs.append((times[in_a_process_of_its_own], times[through_bench]))
        print(f"round {number + 1}: bare {pairs[-1][0]:.1f} ms, bench {pairs[-1][1]:.1f} ms", flush=True)
    ratios = [ours / plain for plain, ours in pairs]
    result = {
        "what": f"LSTM, adding, length {LENGTH}, batch {BATCH}, hidden {HIDDEN}, {STEPS} steps, {THREADS} threads",
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "processor": processor_name(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "rounds": parsed.rounds,
        "bare_ms": round(statistics.median(plain for plain, _ in pairs), 2),
        "bench_ms": round(statistics.median(ours for _, ours in pairs), 2),
        "ratio_of_medians": round(
            statistics.median(ours for _, ours in pairs) / statistics.median(plain for plain, _ in pairs), 3
        ),
        "ratios": [round(ratio, 3) for ratio in sorted(ratios)],
    }
    (HERE / "overhead.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
