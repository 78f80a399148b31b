"""Seconds from records to a frame, tables, the status and figures, for 500, 5,000 and 20,000 runs.

The runs are copies of the 75 published ones of ``results/published/runs/horizon``, with ids and seeds of their own;
curves are thinned, and each has a table of the gradient flow, as the published ones do. Each round is a process of its
own, which finds the files in the cache of the operating system. What follows from the probes is kept by the first table
of a round, in a cache that is empty then, and taken from there by all that comes after it. The script prints a line for
each round and writes ``benchmarks/reading.json``, with a line for each size as it is done.

    python -m benchmarks.reading --rounds 3
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ORIGIN = ROOT / "results" / "published" / "runs" / "horizon"
SIZES = (500, 5000, 20000)
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


COMMANDS: dict[str, tuple[str, ...]] = {
    "table_first": ("table",),
    "table": ("table",),
    "table_of_mse": ("table", "--rows=task.length", "--metric=mse"),
    "compare": ("table", "--compare"),
    "status": ("status",),
    "figures": ("figures",),
}
"""Whole commands, by what they are called in the file; ``table_first`` finds no cache."""


def measured(words: list[str], environment: dict[str, str]) -> tuple[float, dict[str, float], bytes]:
    """Return the seconds that a command takes, what :data:`WITHIN` says of it, and what it prints."""
    started = time.perf_counter()
    with subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        out, errors = process.communicate()
        taken = time.perf_counter() - started
    if process.returncode != 0:
        raise RuntimeError(errors.decode())
    return taken, json.loads(errors.splitlines()[-1]), out


WITHIN = (
    "import json, resource, subprocess, sys; done = subprocess.run(sys.argv[1:], stderr=subprocess.DEVNULL).returncode;"
    "used = resource.getrusage(resource.RUSAGE_CHILDREN); cpu = used.ru_utime + used.ru_stime;"
    "print(json.dumps({'cpu': cpu, 'mb': used.ru_maxrss / 1024}), file=sys.stderr); sys.exit(done)"
)
"""Runs a command and says the seconds of all cores that it took, and the MB of the largest of its processes."""


def one_round(folder: Path, n: int) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Return the seconds of one round, to import, load and make a frame, and of whole commands, and what these used."""
    with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryDirectory() as pictures:
        environment = {**os.environ, "XDG_CACHE_HOME": cache}
        taken, used = {}, {}
        outer = [sys.executable, "-c", WITHIN, sys.executable]
        for name, (command, *flags) in COMMANDS.items():
            flags += [f"--output={pictures}"] if command == "figures" else []
            words = [*outer, "-m", "bench", command, str(folder), *flags]
            taken[name], used[name], _ = measured(words, environment)
        _, used["frame"], out = measured([*outer, "-c", FRAME, str(folder), str(n)], environment)
        found = json.loads(out)
    return {"import": found["import"], "load_and_frame": found["load"] + found["frame"], **taken}, used


def exponent(rows: list[dict[str, Any]], name: str) -> float:
    """Return by which power of the number of runs the work grows, by least squares in logarithms from 5,000 runs on.

    The work is the seconds of all cores, which other work on the machine changes less than the seconds on the wall. At
    500 runs most of a command is the start of Python, and of figures what any number of runs takes to draw.
    """
    kept = [row for row in rows if row["runs"] >= SIZES[1]]
    points = [(math.log(row["runs"]), math.log(row["cpu_median"][name])) for row in kept]
    return statistics.linear_regression(*zip(*points, strict=True)).slope


def main() -> None:
    parser = argparse.ArgumentParser(description="from records to a frame, tables, the status and figures")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parsed = parser.parse_args()
    from bench.training.process import processor_name

    result: dict[str, Any] = {
        "what": "seconds, seconds of all cores (cpu) and MB: import of bench.load, load and frame; commands",
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "rows": [],
    }
    for n in parsed.sizes:
        rounds, loads = [], []
        with tempfile.TemporaryDirectory() as folder:
            copy_runs(n, Path(folder))
            for number in range(parsed.rounds):
                loads.append(round(os.getloadavg()[0], 1))
                rounds.append(one_round(Path(folder), n))
                line = ", ".join(f"{name} {value:.2f} s" for name, value in rounds[-1][0].items())
                print(f"{n} runs, round {number + 1}, load {loads[-1]}: {line}", flush=True)
        taken, used = [each for each, _ in rounds], [each for _, each in rounds]
        result["rows"].append({
            "runs": n,
            "rounds": parsed.rounds,
            "load_before": loads,
            "seconds_median": {name: round(statistics.median(each[name] for each in taken), 2) for name in taken[0]},
            "cpu_median": {name: round(statistics.median(each[name]["cpu"] for each in used), 2) for name in used[0]},
            "mb_most": {name: round(max(each[name]["mb"] for each in used)) for name in used[0]},
            "seconds": {name: [round(each[name], 2) for each in taken] for name in taken[0]},
        })  # fmt: skip
        if len([row for row in result["rows"] if row["runs"] >= SIZES[1]]) > 1:
            result["exponent"] = {name: round(exponent(result["rows"], name), 2) for name in used[0]}
        (ROOT / "benchmarks" / "reading.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
