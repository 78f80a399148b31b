"""Many processes on two hosts that share one folder of runs: which of them makes which run.

    python -m tests.cluster.claims --workers 200 --runs 2000

Half of the processes have another host name, and so are those of another machine to the others. A run is a file that
its maker creates, so that a second maker would be seen. The script exits with 1 if a run is lost or made twice.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.records import lease

HOSTS = ("first-host", "second-host")


def work(folder: Path, runs: int, number: int) -> None:
    """Make runs until all are made; write how many leases were taken and how many looked for in vain."""
    order = random.Random(number).sample(range(runs), runs)
    owner, taken, in_vain = lease.this_process(), 0, 0
    while todo := [run for run in order if not (folder / f"{run}.made").exists()]:
        for run in todo:
            if (folder / f"{run}.made").exists():
                continue
            held = lease.take(folder / f"{run % 20}" / f"{run}", owner, dict)
            if held is None:
                in_vain += 1
                continue
            with held:
                taken += 1
                if not (folder / f"{run}.made").exists():
                    with (folder / f"{run}.begun").open("x"):  # An error for a second maker.
                        time.sleep(0.001)
                    (folder / f"{run}.begun").rename(folder / f"{run}.made")
                    with (folder / f"by-{number}").open("a") as file:
                        file.write(f"{run} {owner.host}\n")
    (folder / f"end-{number}").write_text(f"{taken} {in_vain}")


def host(folder: Path, runs: int, numbers: range) -> None:
    """Be one machine: fork its processes, and let them begin together with those of the other."""
    children = []
    for number in numbers:
        if (child := os.fork()) == 0:
            while not (folder / "go").exists():
                time.sleep(0.01)
            work(folder, runs, number)
            os._exit(0)
        children.append(child)
    (folder / f"ready-{numbers.start}").touch()
    ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    sys.exit(any(ends))


def measure(folder: Path, workers: int, runs: int) -> str:
    """Let processes on two hosts make runs, and return what came of it in one line.

    Args:
        folder: An empty folder.
        workers: The number of processes, half of them on either host.
        runs: The number of runs.

    Raises:
        AssertionError: A run was lost, or made twice.
    """
    half, processes = workers // 2, []
    for number, name in enumerate(HOSTS):
        inner = f'hostname {name}; exec "$@"'
        words = [sys.executable, "-m", "tests.cluster.claims", "--host", str(folder), "--workers", str(half),
                 "--runs", str(runs), "--first", str(number * half)]  # fmt: skip
        processes.append(subprocess.Popen(["unshare", "--uts", "sh", "-c", inner, "sh", *words]))
    while len(list(folder.glob("ready-*"))) < len(HOSTS):
        assert all(process.poll() is None for process in processes)
        time.sleep(0.01)
    started = time.perf_counter()
    (folder / "go").touch()
    codes = [process.wait() for process in processes]
    seconds = time.perf_counter() - started
    assert codes == [0, 0], "a process made a run that another one was making"
    made = [line.split() for path in folder.glob("by-*") for line in path.read_text().splitlines()]
    assert sorted(int(run) for run, _ in made) == list(range(runs)), "a run was lost or made twice"
    shares = [sum(name == each for _, name in made) for each in HOSTS]
    counts = [tuple(map(int, path.read_text().split())) for path in folder.glob("end-*")]
    taken, in_vain = (sum(column) for column in zip(*counts, strict=True))
    left = [path.name for path in folder.rglob(".*.claim")]
    assert left == []
    return (
        f"{workers} processes on 2 hosts, {runs} runs: each made once ({shares[0]} and {shares[1]}), {taken} leases "
        f"taken and given back, {in_vain} refused, in {seconds:.1f} s: {taken / seconds:.0f} leases a second"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--host", type=Path)
    parser.add_argument("--first", type=int, default=0)
    parsed = parser.parse_args()
    if parsed.host is not None:
        host(parsed.host, parsed.runs, range(parsed.first, parsed.first + parsed.workers))
    with tempfile.TemporaryDirectory() as folder:
        print(measure(Path(folder), parsed.workers, parsed.runs))


if __name__ == "__main__":
    main()
