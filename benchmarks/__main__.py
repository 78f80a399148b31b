"""All benchmarks of speed, taken in turns on this machine: ``make bench``.

python -m benchmarks                      # everything; more than an hour
python -m benchmarks --only peers engines # some sections; the others stay as they are in results.json
python -m benchmarks --report             # RESULTS.md and scaling.png from results.json
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import around, report
from benchmarks.contest import HERE, ROOT, contest

PEERS = HERE / "peers"
RESULTS = HERE / "results.json"
CELLS = ("rnn", "lstm", "gru")
OWN_CELLS = ("MGU", "Janet", "Peephole", "UGRNN", "IndRNN", "CoRNN", "Antisymmetric", "NormLSTM")
"""Published cells as ``tests/own_cells.py`` has them: plain Python under the contract of a cell."""
FOREIGN = ("MGU", "JANET", "PeepholeLSTM", "UGRNN", "IndRNN", "coRNN", "LightRU")
"""Layers of the package torchrecurrent."""
SAME = 1e-4
"""Relative difference allowed in the first loss, which is the same function for all programs."""


def ours(*words: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.ours", *words]


def peers(told: Callable[[str], None], rounds: int, seconds: float, python: Path) -> dict[str, Any]:
    """Time all programs on the same work, for each cell and case."""
    sys.path.insert(0, str(PEERS))
    from work import CASES

    rows = []
    for case in CASES:
        for cell in CELLS:
            commands = {
                "torch": [sys.executable, str(PEERS / "torch_loop.py"), cell, case],
                "torch, set up": [sys.executable, str(PEERS / "torch_loop.py"), cell, case, "--set-up"],
                "JAX scan": [str(python), str(PEERS / "jax_scan.py"), cell, case],
                "JAX, 8 seeds": [str(python), str(PEERS / "jax_seeds.py"), cell, case],
                "Keras on JAX": [str(python), str(PEERS / "keras_on_jax.py"), cell, case],
                "ours": ours("serve", cell, case),
            }
            found = contest(commands, rounds, seconds)
            (loss, *_), theirs = found["ours"]["losses"], {name: each["losses"] for name, each in found.items()}
            for name, losses in theirs.items():
                if not math.isclose(losses[0], loss, rel_tol=SAME):
                    raise RuntimeError(f"{name} computes something else on {cell}, {case}: {losses[0]}, ours {loss}")
            # Keras has one bias where the others have two, each with its own update.
            for name in ("torch", "torch, set up", "JAX scan", "JAX, 8 seeds"):
                _check_same(f"{name} on {cell}, {case}", theirs[name], theirs["ours"])
            rows.append({"cell": cell, "case": case, "timings": found})
            told(f"peers, {cell}, {case}: " + ", ".join(f"{name} {t['median']:.1f} ms" for name, t in found.items()))
    return {"rows": rows, "rounds": rounds}


def engines(told: Callable[[str], None], rounds: int, seconds: float, python: Path) -> dict[str, Any]:
    """Time our engines, and the documentation's own cell, on adding at length 200."""
    rows, case = [], "adding 200"
    for cell in (*CELLS, "own"):
        names = ("stepwise", "compiled", "generated", *(("fused", "native") if cell != "own" else ()))
        found = contest({name: ours("serve", cell, case, name) for name in names}, rounds, seconds)
        rows.append({"cell": cell, "case": case, "timings": found, "compile_s": compile_seconds(cell)})
        told(f"engines, {cell}: " + ", ".join(f"{name} {timing['median']:.1f} ms" for name, timing in found.items()))
    return {"rows": rows, "rounds": rounds}


def own_cells(told: Callable[[str], None], rounds: int, seconds: float, python: Path) -> dict[str, Any]:
    """Time cells as users write them, beside the GRU by hand, on adding at lengths 200 and 600."""
    from benchmarks.ours import products

    rows = []
    for cell in ("own", *OWN_CELLS):
        for case in ("adding 200", "adding 600"):
            # `torch.compile` unrolls no longer sequence in reasonable time, and takes a minute for each cell.
            names = ("stepwise", "compiled", "generated") if case == "adding 200" else ("stepwise", "generated")
            commands = {name: ours("serve", cell, case, name) for name in names}
            commands["GRU native"] = ours("serve", "gru", case, "native")
            found = contest(commands, rounds, seconds)
            rows.append({"cell": cell, "case": case, "timings": found, "products": products(cell) / products("gru")})
            told(f"{cell}, {case}: " + ", ".join(f"{name} {timing['median']:.1f} ms" for name, timing in found.items()))
    return {"rows": rows, "rounds": rounds}


def foreign(told: Callable[[str], None], rounds: int, seconds: float, python: Path) -> dict[str, Any]:
    """Time layers of torchrecurrent, beside what we make of their cells."""
    rows = []
    for layer in FOREIGN:
        for case in ("adding 200", "adding 600"):
            theirs = [sys.executable, str(PEERS / "torch_loop.py"), layer, case]
            found = contest({"torchrecurrent": theirs, "ours": ours("foreign", layer, case)}, rounds, seconds)
            _check_same(f"{layer}, {case}", *(each["losses"] for each in found.values()))
            rows.append({"layer": layer, "case": case, "timings": found})
            told(f"{layer}, {case}: " + ", ".join(f"{name} {each['median']:.1f} ms" for name, each in found.items()))
    return {"rows": rows, "rounds": rounds}


def by_hand(told: Callable[[str], None], rounds: int, seconds: float, python: Path) -> dict[str, Any]:
    """Time the C++ by hand and the generated one of the same cells, in turns in one process."""
    rows = []
    for cell in CELLS:
        rows += [{"cell": cell, **row} for row in _output(ours("by_hand", cell))]
        told(f"by hand, {cell}: " + ", ".join(f"{row['ratio']:.2f}" for row in rows if row["cell"] == cell))
    return {"rows": rows}


def _check_same(name: str, theirs: list[float], ours: list[float]) -> None:
    if not all(math.isclose(a, b, rel_tol=SAME) for a, b in zip(theirs, ours, strict=True)):
        raise RuntimeError(f"{name} trains otherwise: {theirs}, ours {ours}")


def compile_seconds(cell: str) -> float:
    """Return the seconds that the engine ``compiled`` takes in a process that finds nothing compiled."""
    import tempfile

    code = (
        "from benchmarks.ours import network, set_up; set_up(None);"
        f"print(network('{cell}', 'compiled', 128, 2, 1, 'last').warm_up(32))"
    )
    with tempfile.TemporaryDirectory() as empty:
        found = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True,
            env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": empty},
        )  # fmt: skip
    return float(found.stdout)


def products(length: int, batch: int, hidden: int, blocks: int) -> float:
    """Return the milliseconds of a step's matrix products: each step forward and back, and one for the weights."""
    import torch

    h, gates = torch.rand(batch, hidden), torch.rand(batch, blocks * hidden)
    weights = torch.rand(blocks * hidden, hidden)
    all_h, all_gates = torch.rand(length * batch, hidden), torch.rand(length * batch, blocks * hidden)
    started = time.perf_counter()
    for _ in range(length):
        torch.mm(h, weights.t())
    for _ in range(length):
        torch.mm(gates, weights)
    torch.mm(all_gates.t(), all_h)
    return 1000 * (time.perf_counter() - started)


def floor(told: Callable[[str], None], rounds: int, seconds: float, python: Path) -> dict[str, Any]:
    """Time the matrix products alone, for each cell and case, and measure the processor's rate."""
    import torch

    from benchmarks.ours import set_up

    sys.path.insert(0, str(PEERS))
    from work import BATCH, BLOCKS, CASES

    from bench.engines.native import build

    set_up(None)
    build.load(told)
    rate = sorted(torch.ops.rnn_bench.rate(0.5) for _ in range(max(3, rounds)))[-1]
    rows = []
    for name, case in CASES.items():
        for cell in CELLS:
            times = sorted(products(case.length, BATCH, case.hidden, BLOCKS[cell]) for _ in range(2 * rounds + 1))
            count = 3 * case.length * BATCH * case.hidden**2 * BLOCKS[cell]
            rows.append({"cell": cell, "case": name, "torch_mm_ms": times[rounds], "limit_ms": 1000 * count / rate})
    told(f"floor: {rate / 1e9:.0f} thousand million multiply-adds a second")
    return {"rows": rows, "rate": rate}


def surroundings(told: Callable[[str], None], rounds: int, seconds: float, python: Path) -> dict[str, Any]:
    """Time what surrounds the arithmetic; see :mod:`benchmarks.around`."""
    return around.measure(rounds, told)


def scaling(told: Callable[[str], None], rounds: int, seconds: float, python: Path) -> dict[str, Any]:
    """Time over length, hidden size, batch and threads."""
    rows = []
    for cell in CELLS:
        for engine in ("native", "fused"):
            for threads in (1, 2):
                done = _output(ours("scaling", cell, str(threads), engine))
                rows += [{"cell": cell, "engine": engine, "threads": threads, **row} for row in done]
            told(f"scaling, {cell}, {engine}")
    return {"rows": rows}


def memory(told: Callable[[str], None], rounds: int, seconds: float, python: Path) -> dict[str, Any]:
    """Measure peak memory over length; Linux only."""
    from benchmarks.ours import LENGTHS

    rows = []
    for cell in CELLS:
        for length in LENGTHS:
            grown = {engine: _output(ours("memory", cell, str(length), engine)) for engine in ("native", "fused")}
            rows.append({"cell": cell, "length": length, **grown})
        told(f"memory, {cell}")
    return {"rows": rows}


def _output(command: list[str]) -> Any:
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


SECTIONS = {
    "peers": peers,
    "floor": floor,
    "engines": engines,
    "by hand": by_hand,
    "own cells": own_cells,
    "foreign": foreign,
    "around": surroundings,
    "scaling": scaling,
    "memory": memory,
}


def processor_kind() -> str:
    """Return family and model of the processor, where Linux tells them: the name of a rented one may stand for several.

    Two kinds of one name have been seen here, one with twice the multiply-adds a second of the other.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    found = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return f" (family {found['cpu family']}, model {found['model']})" if {"cpu family", "model"} <= found.keys() else ""


def machine(peers_python: Path | None) -> dict[str, Any]:
    """Describe the machine of the figures, with the versions of the peers if they take part."""
    import torch

    from bench.records import provenance
    from bench.training import process
    from bench.training.settings import available_cores

    others = {}
    if peers_python is not None:
        asked = "import jax, keras, json; print(json.dumps({'jax': jax.__version__, 'keras': keras.__version__}))"
        environment = {**os.environ, "KERAS_BACKEND": "jax"}
        done = subprocess.run([peers_python, "-c", asked], check=True, capture_output=True, text=True, env=environment)
        others = json.loads(done.stdout.splitlines()[-1])
    return {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "processor": process.processor_name() + processor_kind(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": available_cores(),
        "system": platform.system(),
        "python": platform.python_version(),
        **provenance.library_versions(),
        **others,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="what a step costs, and to whom")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.6, help="of each turn")
    parser.add_argument("--peers-python", type=Path, default=HERE / ".venv" / "bin" / "python")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    parsed = parser.parse_args()
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    started = time.perf_counter()

    def told(text: str) -> None:
        print(f"[{(time.perf_counter() - started) / 60:4.1f} min] {text}", flush=True)

    if not parsed.report:
        about = machine(parsed.peers_python if "peers" in parsed.only else None)
        for name in parsed.only:
            made = SECTIONS[name](told, parsed.rounds, parsed.seconds, parsed.peers_python)
            results[name] = {**made, "machine": about}
            RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    report.write(results, HERE)
    print(report.summary(results))


if __name__ == "__main__":
    main()
