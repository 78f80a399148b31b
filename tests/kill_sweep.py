"""Kills a sweep of two workers at random moments, again and again, until it is done.

    python -m tests.kill_sweep --kills 50

The script compares every record with those of an undisturbed sweep, and exits with 1 if one differs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.conftest import TINY, results_of

SWEEP = (
    "-m", "launcher=joblib", "launcher.workers=2", *TINY, "cell=gru,lstm", "task=adding_problem,copy_memory",
    "model.hidden_size=8", "model.layers=2", "model.dropout=0.2", "data.train_size=50", "training.eval_every=100",
    "training.checkpoint_every=30", "probe=flow",
)  # fmt: skip


def start(folder: Path, runs: int, steps: int) -> subprocess.Popen[bytes]:
    """Start the sweep in its own group of processes."""
    words = [*SWEEP, f"training.max_steps={steps}", f"seed=range(0,{runs // 4})", f"results_dir={folder}"]
    with (folder.parent / f"{folder.name}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "bench", "run", *words], start_new_session=True, stdout=log, stderr=log
        )


def leased(folder: Path) -> list[int]:
    """Return the numbers of the processes that are making a run."""
    found = []
    for path in folder.glob("runs/*/*/*/.*.claim"):
        with contextlib.suppress(OSError, ValueError):
            found.append(int(json.loads(path.read_text())["pid"]))
    return found


def kill_once(sweep: subprocess.Popen[bytes], folder: Path, chance: random.Random, patience: float) -> str:
    """Wait for a random moment, then kill everything, the sweep's own process, or one of its workers.

    The moment is one of the start, or up to ``patience`` seconds after a run has begun.
    """
    if chance.random() < 0.25:
        time.sleep(chance.uniform(0, 5))
    else:
        deadline = time.monotonic() + 60
        while not leased(folder) and sweep.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(chance.uniform(0, patience))
    if sweep.poll() is not None:
        return "nothing"
    target, workers = chance.choice(["all", "all", "main", "worker"]), leased(folder)
    if target == "worker" and workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(chance.choice(workers), signal.SIGKILL)
        time.sleep(chance.uniform(0, patience))
    if target == "main":
        sweep.kill()
    else:
        os.killpg(sweep.pid, signal.SIGKILL)
    sweep.wait()
    return target


def survive(folder: Path, kills: int, runs: int, steps: int, chance: random.Random, patience: float = 1.5) -> list[str]:
    """Start and kill the sweep until it has been killed often enough, then let it end.

    Return what was killed, in words.
    """
    killed: list[str] = []
    while len(killed) < kills:
        sweep = start(folder, runs, steps)
        killed.append(kill_once(sweep, folder, chance, patience))
        if killed[-1] == "nothing":
            break
    assert start(folder, runs, steps).wait(timeout=600) == 0
    return killed


def main() -> int:
    parser = argparse.ArgumentParser(description="kill a sweep at random moments until it is done")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        place, runs, steps = Path(scratch), 8, 60 * max(10, parsed.kills)
        started = time.monotonic()
        killed = survive(place / "killed", parsed.kills, runs, steps, random.Random(parsed.seed))
        print(f"{len(killed)} kills ({', '.join(killed)}) in {time.monotonic() - started:.0f} s", flush=True)
        assert start(place / "whole", runs, steps).wait(timeout=600) == 0
        one, two = results_of(place / "killed"), results_of(place / "whole")
        equal = sum(one.get(run_id) == result for run_id, result in two.items())
        print(f"{equal} of {len(two)} records equal those of the undisturbed sweep, {len(one)} there")
        return 0 if one == two and "nothing" not in killed else 1


if __name__ == "__main__":
    sys.exit(main())
