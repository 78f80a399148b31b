"""What W&B costs: a training step with and without ``logger=wandb``, offline, and the seconds at the end of a run.

Runs with and without W&B take turns in one process, at steps of about 10 ms; then the records of ``results/demo`` are
written as offline runs, one after the other. The script writes ``benchmarks/mirroring.json``.

    python -m benchmarks.mirroring --pairs 5
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
STEPS = 1000
RUN = (
    "task=adding_problem", "task.length=100", "cell=lstm", "model.hidden_size=48", "data.batch_size=32",
    f"training.max_steps={STEPS}", "training.stop_when_solved=false", "trainer=cpu", "runtime.threads=1",
)  # fmt: skip
"""A run at the default cadence of evaluations, probes and rows."""


def seconds_of_runs(pairs: int, folder: Path) -> tuple[list[float], list[float], list[float]]:
    """Return the milliseconds of a step without W&B, those with it, and the seconds of the end of each run with it."""
    import bench
    from bench.mirror import push

    ends: list[float] = []
    write = push.write_offline

    def timed(*given: object) -> Path:
        started = time.perf_counter()
        made = write(*given)  # pyright: ignore[reportArgumentType]
        ends.append(time.perf_counter() - started)
        return made

    push.write_offline = timed  # pyright: ignore[reportAttributeAccessIssue]
    found: dict[str, list[float]] = {"none": [], "wandb": []}
    for seed in range(pairs + 1):
        for logger in found if seed % 2 else reversed(found):
            (run,) = bench.run(*RUN, f"seed={seed}", f"logger={logger}", f"results_dir={folder / logger}")
            milliseconds = run.record.time["milliseconds_per_step"]
            assert milliseconds is not None
            if seed > 0:  # The first run of each kind warms up.
                found[logger].append(milliseconds)
    push.write_offline = write
    return found["none"], found["wandb"], ends


def seconds_of_records(folder: Path) -> list[float]:
    """Return the seconds that each record of the demo takes, in one process that has pushed before."""
    from bench.analysis.run import read_runs
    from bench.mirror.client import Target
    from bench.mirror.push import push

    runs, _ = read_runs(ROOT / "results" / "demo" / "runs")
    taken = []
    for run in runs:
        started = time.perf_counter()
        push(run, Target("offline", "rnn-bench", None), {}, folder)
        taken.append(time.perf_counter() - started)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description="what W&B costs")
    parser.add_argument("--pairs", type=int, default=5)
    parsed = parser.parse_args()
    from bench.training.process import processor_name

    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        without, with_wandb, ends = seconds_of_runs(parsed.pairs, Path(folder))
        records = seconds_of_records(Path(folder) / "records")
    ratios = [late / early for early, late in zip(without, with_wandb, strict=True)]
    result = {
        "what": "milliseconds a step without and with logger=wandb offline, in turns; seconds at the end of a run, the "
        "first of the process first; seconds of each record of results/demo in bench push --offline",
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "load_at_start": round(load, 1),
        "python": platform.python_version(),
        "ratio_median": round(statistics.median(ratios), 4),
        "first_end": round(ends[0], 3),
        "end_median": round(statistics.median(ends[1:]), 3),
        "record_median": round(statistics.median(records), 3),
        "milliseconds_without": [round(value, 3) for value in without],
        "milliseconds_with": [round(value, 3) for value in with_wandb],
        "ends": [round(value, 3) for value in ends],
        "records": [round(value, 3) for value in records],
    }
    for name in ("ratio_median", "first_end", "end_median", "record_median"):
        print(f"{name}: {result[name]}")
    (ROOT / "benchmarks" / "mirroring.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
