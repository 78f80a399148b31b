"""Seconds from records to a frame and to a table, for 500 and for 5,000 runs.

The runs are copies of the 75 published ones of ``results/published/runs/horizon``, with ids and seeds of their own;
curves are thinned, and each has a table of the gradient flow, as the published ones do. Each round is a process of its
own, which finds the files in the cache of the operating system. The script prints a line for each round and writes
``benchmarks/reading.json``.

    python -m benchmarks.reading --rounds 5
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
ORIGIN = ROOT / "results" / "published" / "runs" / "horizon"
SIZES = (500, 5000)
FRAME = (
    "import json, sys, time; started = time.perf_counter(); import bench; bench.load; imported = time.perf_counter();"
    "runs = bench.load(sys.argv[1]); loaded = time.perf_counter(); frame = runs.frame(); done = time.perf_counter();"
    "assert frame['reach_trained'].notna().sum() == len(frame) == int(sys.argv[2]);"
    "print(json.dumps({'import': imported - started, 'load': loaded - imported, 'frame': done - loaded}))"
)


def copy_runs(n: int, target: Path) -> None:
    """Make ``n`` runs below a folder: the published ones again and again, each time with other seeds."""
    origins = sorted(path.parent for path in ORIGIN.rglob("record.json"))
    for number in range(n):
        again, which = divmod(number, len(origins))
        made = json.loads((origins[which] / "record.json").read_text(encoding="utf-8"))
        seed = made["seed"] + 5 * again
        made["command"] = made["command"].replace(f"seed={made['seed']}", f"seed={seed}")
        made["seed"] = made["config"]["seed"] = seed
        made["run_id"] = hashlib.sha256(str(number).encode()).hexdigest()[:12]
        folder = target / made["experiment"] / made["task"] / made["cell"] / made["run_id"]
        shutil.copytree(origins[which], folder)
        (folder / "record.json").write_text(json.dumps(made, indent=1), encoding="utf-8")


def seconds(folder: Path, n: int) -> dict[str, float]:
    """Return the seconds of one round: to import, load and make a frame, and those of two whole commands."""
    words = [sys.executable, "-c", FRAME, str(folder), str(n)]
    found = json.loads(subprocess.run(words, cwd=ROOT, check=True, capture_output=True).stdout)
    taken = {"import": found["import"], "load_and_frame": found["load"] + found["frame"]}
    for name, flags in (("table", []), ("table_of_mse", ["--rows=task.length", "--metric=mse"])):
        started = time.perf_counter()
        words = [sys.executable, "-m", "bench", "table", str(folder), *flags]
        subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
        taken[name] = time.perf_counter() - started
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description="from records to a frame and to a table")
    parser.add_argument("--rounds", type=int, default=5)
    parsed = parser.parse_args()
    from bench.training.process import processor_name

    load, rows = os.getloadavg()[0], []
    for n in SIZES:
        rounds = []
        with tempfile.TemporaryDirectory() as folder:
            copy_runs(n, Path(folder))
            for number in range(parsed.rounds):
                rounds.append(seconds(Path(folder), n))
                line = ", ".join(f"{name} {value:.2f} s" for name, value in rounds[-1].items())
                print(f"{n} runs, round {number + 1}: {line}", flush=True)
        each = {name: [round(values[name], 3) for values in rounds] for name in rounds[0]}
        medians = {f"{name}_median": round(statistics.median(values), 3) for name, values in each.items()}
        rows.append({"runs": n, "rounds": parsed.rounds, **medians, "seconds": each})
    result = {
        "what": "seconds: import of bench.load, load and frame in one process; two whole commands of bench table",
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "load_at_start": round(load, 1),
        "python": platform.python_version(),
        "rows": rows,
    }
    (ROOT / "benchmarks" / "reading.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
