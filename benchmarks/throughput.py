"""Runs an hour: a sweep by two workers of one thread each, against one process of two threads, one run at a time.

The sweep is the demo's adding task with three cells and four seeds: 12 runs. Both ways start from nothing, in turns,
and the time is that of the whole command, from its start to its end. Before that, training steps of the same size are
timed with nothing around them: on one thread, on one thread beside another such process, and on two. They say what two
workers can gain at most, and what of it the machine takes back. The script prints a line for each round and writes
``benchmarks/throughput.json``.

    python -m benchmarks.throughput --rounds 2
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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.records.read import find_records
from benchmarks.contest import Contestant

HERE = Path(__file__).parent
SWEEP = ("+experiment=demo", "task=adding_problem", "seed=range(0,4)", "trainer=cpu")
WAYS = {
    "workers": ("launcher=joblib", "launcher.workers=2", "runtime.threads=1"),
    "serial": ("launcher=serial", "runtime.threads=2"),
}


def seconds(way: str) -> float:
    """Return the wall time of the whole sweep, which must make all of its runs."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "bench", "run", *SWEEP, *WAYS[way], f"results_dir={folder}"]
        started = time.perf_counter()
        subprocess.run(words, check=True, capture_output=True)
        taken = time.perf_counter() - started
        assert len(find_records(Path(folder))) == 12
    return taken


def paces(rounds: int) -> dict[str, float]:
    """Return the milliseconds of a step of a GRU, the medians of some rounds of two seconds each."""
    words = {name: [sys.executable, "-m", "benchmarks.ours", "pace", "gru", name[0]] for name in ("1", "1 too", "2")}
    running = {name: Contestant(name, command) for name, command in words.items()}
    found: dict[str, list[float]] = {"one_thread": [], "one_thread_beside_another": [], "two_threads": []}
    with ThreadPoolExecutor(2) as pool:
        for _ in range(rounds):
            found["one_thread"] += running["1"].work(2)
            for times in pool.map(lambda name: running[name].work(2), ("1", "1 too")):
                found["one_thread_beside_another"] += times
            found["two_threads"] += running["2"].work(2)
    for each in running.values():
        each.close()
    return {name: round(statistics.median(times), 3) for name, times in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="two workers against one process of two threads")
    parser.add_argument("--rounds", type=int, default=2)
    parsed = parser.parse_args()
    import torch

    from bench.training.process import processor_name

    steps = paces(2 * parsed.rounds + 1)
    print(f"milliseconds a step: {steps}", flush=True)
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(parsed.rounds):
        for way in WAYS if number % 2 == 0 else reversed(WAYS):
            taken[way].append(seconds(way))
        line = ", ".join(f"{way} {times[-1]:.0f} s" for way, times in taken.items())
        print(f"round {number + 1}: {line}", flush=True)
    medians = {way: statistics.median(times) for way, times in taken.items()}
    result = {
        "what": "12 runs of the demo's adding task: 2 workers of 1 thread, against 1 process of 2 threads",
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "processor": processor_name(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "rounds": parsed.rounds,
        **{f"{way}_seconds": [round(each, 1) for each in times] for way, times in taken.items()},
        **{f"{way}_runs_an_hour": round(12 * 3600 / median, 1) for way, median in medians.items()},
        "ratio": round(medians["serial"] / medians["workers"], 2),
        "milliseconds_a_step": steps,
        "ratio_of_steps": round(2 * steps["two_threads"] / steps["one_thread_beside_another"], 2),
    }
    (HERE / "throughput.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
