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
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LENGTH, BATCH, HIDDEN, STEPS = 320, 32, 128, 600
"""Settings with which a GRU's step takes about 10 ms on two cores."""


def bare() -> float:
    """Return the milliseconds of our network's step in a plain loop on one batch, without Lightning or records."""
    code = (
        "from benchmarks.ours import one_size, set_up; import statistics, json; set_up(None);"
        f"timed = one_size('gru', 'auto', {LENGTH}, {HIDDEN}, {BATCH});"
        f"times = [timed() for _ in range({STEPS})]; print(json.dumps(statistics.fmean(times)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    return float(done.stdout)


def through_bench(everything: bool) -> float:
    """Return the milliseconds a step of ``bench run`` takes, as its record says.

    Args:
        everything: Whether to run with a logger, checkpoints every 100 steps and a bar on a terminal, or with none.
    """
    from bench.records.read import find_records, read_record

    with tempfile.TemporaryDirectory() as folder:
        words = (
            f"cell=gru task=adding_problem task.length={LENGTH} data.batch_size={BATCH} model.hidden_size={HIDDEN} "
            f"training.max_steps={STEPS} training.eval_every={STEPS} probe=none trainer=cpu results_dir={folder} "
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


def sample_ms() -> float:
    """Return the milliseconds to make one batch, each after a training step, when the caches hold other things."""
    code = (
        "from benchmarks.ours import one_size, set_up; import statistics, json, time; set_up(None);"
        "from bench.training import rng; from tasks.adding_problem import AddingProblem;"
        f"task = AddingProblem(length={LENGTH}, markers='halves', solved_mse=0.01);"
        f"timed, times = one_size('gru', 'auto', {LENGTH}, {HIDDEN}, {BATCH}), []\n"
        "for number in range(100):\n"
        "    timed(); started = time.perf_counter()\n"
        f"    task.sample({BATCH}, rng.generator('train', 0, number))\n"
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


def measure(rounds: int, told: Callable[[str], None]) -> dict[str, Any]:
    """Measure all of it, in turns."""
    steps, started, setups = [], {"help": [], "table": []}, []
    for number in range(rounds):
        sides: dict[str, Callable[[], float]] = {
            "bare_ms": bare,
            "plain_ms": lambda: through_bench(everything=False),
            "bench_ms": lambda: through_bench(everything=True),
        }
        names = list(sides) if number % 2 else list(sides)[::-1]
        times = {name: sides[name]() for name in names}
        steps.append(times)
        bench = str(Path(sys.executable).parent / "bench")
        started["help"].append(seconds_of(bench, "--help"))
        started["table"].append(seconds_of(bench, "table", "results/demo"))
        setups.append(further_runs())
        told(f"around, round {number + 1}: " + ", ".join(f"{name} {times[name]:.2f}" for name in sides))
    return {
        "what": f"GRU, adding, length {LENGTH}, batch {BATCH}, hidden {HIDDEN}, {STEPS} steps",
        "rounds": rounds,
        **{name: statistics.median(times[name] for times in steps) for name in steps[0]},
        "sample_ms": statistics.median(sample_ms() for _ in range(rounds)),
        "ratios": sorted(times["bench_ms"] / times["bare_ms"] for times in steps),
        "help_s": statistics.median(started["help"]),
        "table_s": statistics.median(started["table"]),
        "setup_s": statistics.median(outside for outside, _ in setups),
        "further_run_s": statistics.median(whole for _, whole in setups),
    }


if __name__ == "__main__":
    print(json.dumps(measure(1, print), indent=1))
