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
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.conftest import TINY, results_of, wait_for
from tests.processes import Process

SWEEP = (
    "-m", "launcher=joblib", "launcher.workers=2", *TINY, "cell=gru,lstm", "task=adding_problem,copy_memory",
    "model.hidden_size=8", "model.layers=2", "model.dropout=0.2", "data.train_size=50", "training.eval_every=100",
    "training.checkpoint_every=30", "probe=flow",
)  # fmt: skip


def start(folder: Path, runs: int, steps: int) -> Process:
    """Start the sweep in its own group of processes."""
    words = [*SWEEP, f"training.max_steps={steps}", f"seed=range(0,{runs // 4})", f"results_dir={folder}"]
    log = folder.parent / f"{folder.name}.log"
    log.touch()
    return Process("run", *words, output=log, new_session=True)


def leased(folder: Path) -> list[int]:
    """Return the numbers of the processes that are making a run."""
    found = []
    for path in folder.glob("runs/*/*/*/.*.claim"):
        with contextlib.suppress(OSError, ValueError):
            found.append(int(json.loads(path.read_text())["pid"]))
    return found


def kill(sweep: Process, folder: Path, target: str, moment: Callable[[], None]) -> str:
    """Kill ``all`` of a sweep, its ``main`` process alone, or one ``worker`` and a moment later the rest.

    Args:
        sweep: The sweep.
        folder: Its results.
        target: What to kill.
        moment: Waits for the moment to do so.

    Returns:
        The target, or ``nothing`` if the sweep had ended by itself.
    """
    moment()
    if sweep.poll() is not None:
        return "nothing"
    workers = leased(folder)
    if target == "worker" and workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(workers[-1], signal.SIGKILL)
        moment()
    if target == "main":
        sweep.kill()
        # Workers stop by themselves, with a checkpoint; one that has not begun is nobody's.
        wait_for(lambda: not any(map(is_running, workers)))
    with contextlib.suppress(ProcessLookupError):
        os.killpg(sweep.pid, signal.SIGKILL)
    sweep.wait()
    return target


def is_running(process: int) -> bool:
    """Return whether a process is there and no zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def survive(folder: Path, targets: Iterable[str], runs: int, steps: int, moment: Callable[[], None]) -> list[str]:
    """Start and kill the sweep for each of the targets, then let it end; what was killed, see :func:`kill`."""
    killed: list[str] = []
    for target in targets:
        killed.append(kill(start(folder, runs, steps), folder, target, moment))
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
        started, chance = time.monotonic(), random.Random(parsed.seed)
        targets = chance.choices(["all", "main", "worker"], [2, 1, 1], k=parsed.kills)
        killed = survive(place / "killed", targets, runs, steps, lambda: time.sleep(chance.uniform(0, 8)))
        print(f"{len(killed)} kills ({', '.join(killed)}) in {time.monotonic() - started:.0f} s", flush=True)
        assert start(place / "whole", runs, steps).wait(timeout=600) == 0
        one, two = results_of(place / "killed"), results_of(place / "whole")
        equal = sum(one.get(run_id) == result for run_id, result in two.items())
        print(f"{equal} of {len(two)} records equal those of the undisturbed sweep, {len(one)} there")
        return 0 if one == two and "nothing" not in killed else 1


if __name__ == "__main__":
    sys.exit(main())
