"""What surrounds the arithmetic: a step through ``bench run``, the start of commands, the set-up of a run."""

from __future__ import annotations

import json
import os
import pty
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]


class Size(NamedTuple):
    """Length, batch, hidden size and number of steps of a GRU's training on adding."""

    length: int
    batch: int
    hidden: int
    steps: int

    def __str__(self) -> str:
        return f"GRU, adding, length {self.length}, batch {self.batch}, hidden {self.hidden}, {self.steps} steps"


LARGE, SMALL = Size(320, 32, 128, 600), Size(60, 32, 64, 4000)
"""A step takes about 10 ms, and about 1 ms, on two cores."""


def bare(size: Size) -> float:
    """Return the milliseconds of our network's step in a plain loop on one batch, without Lightning or records."""
    code = (
        "from benchmarks.ours import one_size, set_up; import statistics, json; set_up(None);"
        f"timed = one_size('gru', 'auto', {size.length}, {size.hidden}, {size.batch});"
        f"times = [timed() for _ in range({size.steps})]; print(json.dumps(statistics.fmean(times)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    return float(done.stdout)


def through_bench(size: Size, everything: bool) -> float:
    """Return the milliseconds a step of ``bench run`` takes, as its record says.

    Args:
        size: What is trained.
        everything: Whether to run with a logger, checkpoints every 100 steps and a bar on a terminal, or with none.
    """
    from bench.records.read import find_records, read_record

    with tempfile.TemporaryDirectory() as folder:
        words = (
            f"cell=gru task=adding_problem task.length={size.length} data.batch_size={size.batch} "
            f"model.hidden_size={size.hidden} training.max_steps={size.steps} training.eval_every={size.steps} "
            f"probe=none trainer=cpu results_dir={folder} "
        )
        command = [sys.executable, "-m", "bench", "run", *words.split()]
        if everything:
            _on_a_terminal([*command, "logger=wandb", "logger.mode=offline", "training.checkpoint_every=100"])
        else:
            subprocess.run([*command, "training.checkpoint_every=null"], cwd=ROOT, check=True, capture_output=True)
        (made,) = map(read_record, find_records(Path(folder)))
    milliseconds = made.time["milliseconds_per_step"]
    assert milliseconds is not None
    return milliseconds


def sample_ms(size: Size) -> float:
    """Return the milliseconds to make one batch, each after a training step, when the caches hold other things."""
    code = (
        "from benchmarks.ours import one_size, set_up; import statistics, json, time; set_up(None);"
        "from bench.training import rng; from tasks.adding_problem import AddingProblem;"
        f"task = AddingProblem(length={size.length}, markers='halves', solved_mse=0.01);"
        f"timed, times = one_size('gru', 'auto', {size.length}, {size.hidden}, {size.batch}), []\n"
        "for number in range(100):\n"
        "    timed(); started = time.perf_counter()\n"
        f"    task.sample({size.batch}, rng.generator('train', 0, number))\n"
        "    times.append(1000 * (time.perf_counter() - started))\n"
        "print(json.dumps(statistics.median(times)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    return float(done.stdout)


def _on_a_terminal(command: list[str]) -> None:
    ours, theirs = pty.openpty()

    def swallow() -> None:
        with open(ours, "rb", closefd=False) as shown:
            try:
                while shown.read1(4096):  # type: ignore[attr-defined]
                    pass
            except OSError:
                return  # the other end is closed

    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    reader = threading.Thread(target=swallow)
    reader.start()
    if process.wait() != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    reader.join()
    os.close(ours)


def seconds_of(*command: str) -> float:
    """Return the wall time of a command in seconds."""
    started = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - started


def further_runs() -> tuple[float, float]:
    """Return the seconds that one more run adds to a sweep of one-step runs: outside training, and in all."""
    from bench.records.read import find_records, read_record

    def sweep(seeds: int) -> tuple[float, list[float]]:
        with tempfile.TemporaryDirectory() as folder:
            words = (
                "cell=gru task=adding_problem task.length=10 data.batch_size=4 data.eval_size=8 data.test_size=8 "
                f"model.hidden_size=8 training.max_steps=1 probe=none runtime.threads=1 trainer=cpu "
                f"results_dir={folder} seed=range({seeds})"
            )
            seconds = seconds_of(sys.executable, "-m", "bench", "run", *words.split(), "-m")
            made = sorted(map(read_record, find_records(Path(folder))), key=lambda each: each.seed)
            return seconds, [_outside(each) for each in made]

    few, many = sweep(2), sweep(12)
    return statistics.median(many[1][1:]), (many[0] - few[0]) / 10


def _outside(made: Any) -> float:
    return made.time["wall_seconds"] - made.time["train_seconds"]


def _summary(size: Size, rows: list[dict[str, float]]) -> dict[str, Any]:
    return {
        "what": str(size),
        **{name: statistics.median(row[name] for row in rows) for name in ("bare_ms", "plain_ms", "bench_ms")},
        "sample_ms": statistics.median(sample_ms(size) for _ in rows),
        "ratios": sorted(row["bench_ms"] / row["bare_ms"] for row in rows),
    }


def measure(rounds: int, told: Callable[[str], None]) -> dict[str, Any]:
    """Measure all of it, in turns."""
    steps: dict[Size, list[dict[str, float]]] = {LARGE: [], SMALL: []}
    started, setups = {"help": [], "table": []}, []
    for number in range(rounds):
        for size, rows in steps.items():
            sides: dict[str, Callable[[], float]] = {
                "bare_ms": partial(bare, size),
                "plain_ms": partial(through_bench, size, everything=False),
                "bench_ms": partial(through_bench, size, everything=True),
            }
            names = list(sides) if number % 2 else list(sides)[::-1]
            rows.append({name: sides[name]() for name in names})
            told(f"around, round {number + 1}: " + ", ".join(f"{name} {rows[-1][name]:.2f}" for name in sides))
        bench = str(Path(sys.executable).parent / "bench")
        started["help"].append(seconds_of(bench, "--help"))
        started["table"].append(seconds_of(bench, "table", "results/demo"))
        setups.append(further_runs())
    return {
        "sizes": [_summary(size, rows) for size, rows in steps.items()],
        "rounds": rounds,
        "help_s": statistics.median(started["help"]),
        "table_s": statistics.median(started["table"]),
        "setup_s": statistics.median(outside for outside, _ in setups),
        "further_run_s": statistics.median(whole for _, whole in setups),
    }


if __name__ == "__main__":
    print(json.dumps(measure(1, print), indent=1))
