"""Writes RESULTS.md and scaling.png from results.json alone."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt

NAMES = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU", "own": "own cell"}
AXES = {"length": "length, steps", "hidden": "hidden size", "batch": "batch size"}
OTHERS = ("torch", "torch, set up", "JAX scan", "JAX, 8 seeds", "Keras on JAX")


def write(results: dict[str, Any], folder: Path) -> None:
    """Write both files; a section that was not measured is left out."""
    parts = ["# Results", "", _head(results), ""]
    several = len(_machines(results)) > 1
    for name, section in (
        ("peers", _peers),
        ("engines", _engines),
        ("by hand", _by_hand),
        ("own cells", _own_cells),
        ("foreign", _foreign),
        ("around", _around),
        ("scaling", _scaling),
        ("memory", _memory),
    ):
        if name in results and (name != "peers" or "floor" in results):
            title, _, text = section(results).partition("\n\n")
            machine = results[name]["machine"]
            where = f"On {_machine(machine)}; torch {machine['torch']}; {machine['date']}."
            parts += [title, "", *([where, ""] if several else []), text, ""]
    (folder / "RESULTS.md").write_text("\n".join(parts), encoding="utf-8")
    if "scaling" in results:
        draw(results["scaling"], folder / "scaling.png")


def _machine(machine: dict[str, Any]) -> str:
    return f"{machine['processor']}, {machine['cores']} cores, {machine['instructions']}, {machine['system']}"


def _machines(results: dict[str, Any]) -> set[tuple[str, str]]:
    """Return what the sections were taken on, with the version of torch."""
    return {(_machine(section["machine"]), section["machine"]["torch"]) for section in results.values()}


def _head(results: dict[str, Any]) -> str:
    one = next(iter(results.values()))["machine"]
    dates = sorted({section["machine"]["date"] for section in results.values()})
    versions = ", ".join(f"{name} {one[name]}" for name in ("torch", "jax", "keras", "python") if name in one)
    several = len(_machines(results)) > 1
    text = (
        f"Written by `make bench` from `results.json`. {'' if several else f'{_machine(one)}; '}"
        f"{versions}; {' to '.join(dict.fromkeys((dates[0], dates[-1])))}. All times are milliseconds a training step: "
        "forward, backward, clipping, Adam; float32."
    )
    if several:
        return f"{text} Sections were taken on different machines, which each of them names: compare within one."
    if dates[0] != dates[-1]:
        text += " Compare within a section: on another day the machine had another speed."
    return text


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table with the first column aligned to the left and the others to the right."""
    lines = ["| " + " | ".join(header) + " |", "|---" + "|--:" * (len(header) - 1) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def summary(results: dict[str, Any]) -> str:
    """Return the ratios against other programs, one line each, for the terminal."""
    lines = []
    for row in results.get("peers", {}).get("rows", []):
        times = {name: timing["median"] for name, timing in row["timings"].items()}
        ratios = ", ".join(f"{name} {times[name] / times['ours']:.1f}" for name in OTHERS if name in times)
        lines.append(
            f"{NAMES[row['cell']]:4} {row['case']:10} ours {_ms(times['ours']):>5} ms; times as long: {ratios}"
        )
    return "\n".join([*lines, "benchmarks/RESULTS.md has the rest"])


def _ms(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _peers(results: dict[str, Any]) -> str:
    section = results["peers"]
    floor = {(row["cell"], row["case"]): row for row in results["floor"]["rows"]}
    others = [name for name in OTHERS if name in section["rows"][0]["timings"]]
    rows = []
    for row in section["rows"]:
        times = {name: timing["median"] for name, timing in row["timings"].items()}
        fastest = min(times[name] for name in others)
        spread = row["timings"]["ours"]
        limit = floor[row["cell"], row["case"]]
        rows.append(
            [
                f"{NAMES[row['cell']]}, {row['case']}",
                *(_ms(times[name]) for name in others),
                f"**{_ms(times['ours'])}** ({_ms(spread['low'])} to {_ms(spread['high'])})",
                f"{fastest / times['ours']:.1f}",
                f"{times['torch'] / times['ours']:.1f}",
                _ms(limit["torch_mm_ms"]),
                _ms(limit["limit_ms"]),
                f"{times['ours'] / limit['limit_ms']:.1f}",
            ]
        )  # fmt: skip
    header = [
        "",
        *others,
        "ours (quartiles)",
        "fastest peer / ours",
        "torch / ours",
        "torch.mm",
        "limit",
        "ours / limit",
    ]
    several = (
        "*JAX, 8 seeds* compiles the loop over four\nbatches as one and trains eight networks at a time; given is the time of "
        "one step of one of them. "
        if "JAX, 8 seeds" in others
        else ""
    )
    steps = [timing["steps"] for row in section["rows"] for timing in row["timings"].values()]
    rate = results["floor"]["rate"] / 1e9
    return f"""## Against others

Adding with 128 hidden units, copy at delay 1000 with 50; batch 32, two inputs on adding, ten on copy. Each peer is the plain
script in `peers/`, ours the network in a plain loop too, each in a process of its own, in turns ({section["rounds"]} rounds, {min(steps)} to {max(steps)} steps each). *torch* is the
stock loop on `torch.nn`, *torch, set up* the same after `bench/training/process.py`. {several}First weights and batches are the same; the
first loss of all agrees, and those of three steps of all but Keras, which has one bias where the others have two. Ours has torch's fused Adam, as `conf/optimizer/adam.yaml` says, the peers
what their library does unasked: of the differences to torch here it makes a few tenths of a millisecond.

{table(header, rows)}

*torch.mm*: the matrix products of the step alone, one call a step forward and back and one for the weights. *limit*: the
same number of multiply-adds at {rate:.0f} thousand million a second, the most that the processor does here out of the first
cache in float32. On copy the recurrence is a small part: reading out and the loss at all 1,020 positions take most of the rest.

Aimed at were 2.5 times the fastest peer and 6 times the plain loop for every cell. {_short(section)}"""


def _short(section: dict[str, Any]) -> str:
    """Say where the aim is missed, and what stands in the way."""
    missed = []
    for row in section["rows"]:
        times = {name: timing["median"] for name, timing in row["timings"].items()}
        peer = min(times[name] for name in OTHERS if name in times) / times["ours"]
        plain = times["torch"] / times["ours"]
        if peer < 2.5 or plain < 6:
            missed.append(f"{NAMES[row['cell']]} on {row['case']} ({peer:.1f} and {plain:.1f})")
    if not missed:
        return "All of them are there."
    return (
        f"Short of it, with the two ratios: {', '.join(missed)}. The LSTM is the one recurrence for which torch has a fused "
        "kernel on the CPU (oneDNN's)."
    )


def _engines(results: dict[str, Any]) -> str:
    rows = []
    for row in results["engines"]["rows"]:
        times = {name: timing["median"] for name, timing in row["timings"].items()}
        shown = [
            _ms(times[name]) if name in times else ""
            for name in ("stepwise", "compiled", "fused", "generated", "native")
        ]
        rows.append([NAMES[row["cell"]], *shown, f"{row['compile_s']:.0f}"])
    return f"""## Engines

Adding, length 200, hidden 128, batch 32. *own cell* is the cell of docs/ten_minutes.md.

{table(["", "stepwise", "compiled", "fused", "generated", "native", "seconds of `compiled`"], rows)}

A process that finds the same cell compiled before takes less than the seconds given. `generated` takes a few seconds of
compiling once on a machine, whatever the size."""


def _by_hand(results: dict[str, Any]) -> str:
    section = results["by hand"]["rows"]
    rows = [[NAMES[row["cell"]], str(row["length"]), str(row["hidden"]), f"{row['native']:.2f}",
             f"{row['generated']:.2f}", f"{row['ratio']:.2f}"] for row in section]  # fmt: skip
    return f"""## By hand and generated

`native` and `generated` of the same cell, eight steps each in turns in one process; adding, batch 32. The ratio is the median of
those of all turns, of which there are {min(row["turns"] for row in section)} to {max(row["turns"] for row in section)}.

{table(["", "length", "hidden", "native", "generated", "generated / native"], rows)}"""


def _own_cells(results: dict[str, Any]) -> str:
    rows = []
    for row in results["own cells"]["rows"]:
        times = {name: timing["median"] for name, timing in row["timings"].items()}
        made, gru = times["generated"], times["GRU native"]
        rows.append([
            NAMES.get(row["cell"], row["cell"]), row["case"],
            *(_ms(times[name]) if name in times else "" for name in ("stepwise", "compiled", "generated", "GRU native")),
            f"{times['stepwise'] / made:.1f}", f"{times['compiled'] / made:.1f}" if "compiled" in times else "",
            f"{row['products']:.2f}", f"{made / gru / row['products']:.2f}",
        ])  # fmt: skip
    heads = ["", "", "stepwise", "compiled", "generated", "GRU native", "stepwise / generated", "compiled / generated",
             "multiply-adds / GRU's", "time a multiply-add / GRU's"]  # fmt: skip
    return f"""## Cells of users

The same, for the cell of docs/ten_minutes.md and published cells as `tests/own_cells.py` has them, with the GRU by hand in the same
contest. IndRNN has no product with its state at all: what it takes is its loop over the units, the input and the readout.

{table(heads, rows)}"""


def _foreign(results: dict[str, Any]) -> str:
    rows = []
    for row in results["foreign"]["rows"]:
        theirs, ours = (row["timings"][name] for name in ("torchrecurrent", "ours"))
        rows.append([row["layer"], row["case"], _ms(theirs["median"]),
                     f"**{_ms(ours['median'])}** ({_ms(ours['low'])} to {_ms(ours['high'])})",
                     f"{theirs['median'] / ours['median']:.1f}"])  # fmt: skip
    return f"""## Cells from elsewhere

Layers of the package torchrecurrent in the plain loop, beside what `bench run cell=foreign cell.module=torchrecurrent.<layer>Cell`
makes of the same module (`generated`), from the same weights on the same batches; the losses of three steps agree.

{table(["", "", "its layer", "ours (quartiles)", "its layer / ours"], rows)}"""


def _around(results: dict[str, Any]) -> str:
    found = results["around"]
    parts = {
        "bare_ms": "plain loop, one batch",
        "plain_ms": "`bench run` without logger, checkpoints, bar",
        "bench_ms": "`bench run` with W&B offline, a checkpoint every 100 steps, a bar",
        "sample_ms": "of it, making the batch",
    }
    sizes = found["sizes"]
    rows = [[name, *(f"{size[key]:.2f}" for size in sizes)] for key, name in parts.items()]
    ratios = [f"{size['bench_ms'] / size['bare_ms']:.3f} ({size['ratios'][0]:.3f} to {size['ratios'][-1]:.3f})"
              for size in sizes]  # fmt: skip
    heads = ["ms a step", *(size["what"] for size in sizes)]

    return f"""## Around the kernel

Means from a cold start; medians of {
        found["rounds"]
    } rounds in turns. The ratio is that of `bench run` with everything to the plain
loop, with the least and the largest of the rounds.

{table(heads, [*rows, ["ratio", *ratios]])}

{
        table(
            ["", "seconds"],
            [
                ["`bench --help`", f"{found['help_s']:.2f}"],
                ["`bench table results/demo`", f"{found['table_s']:.2f}"],
                [
                    "one more run in a sweep, outside training: Trainer, data, evaluation, test, record",
                    f"{found['setup_s']:.3f}",
                ],
                ["the same with composing and checking its config", f"{found['further_run_s']:.2f}"],
            ],
        )
    }"""


def _slope(points: list[tuple[float, float]]) -> float:
    """Return the exponent of the power law through points, by least squares in logarithms."""
    xs, ys = [[math.log(value) for value in column] for column in zip(*points, strict=True)]
    return statistics.linear_regression(xs, ys).slope


def _scaling(results: dict[str, Any]) -> str:
    section = results["scaling"]
    rows, sizes = [], {}
    for row in section["rows"]:
        sizes.setdefault((row["axis"], row["size"]), {})[row["cell"], row["engine"], row["threads"]] = row["ms"]
    cells = list(dict.fromkeys(row["cell"] for row in section["rows"]))
    columns = [(cell, engine, threads) for cell in cells for engine in ("native", "fused") for threads in (1, 2)]
    for (axis, size), times in sizes.items():
        rows.append([f"{axis} {size}", *(_ms(times[column]) for column in columns)])
    header = ["", *(f"{NAMES[cell]} {engine} {threads}" for cell, engine, threads in columns)]
    slopes = []
    for axis in AXES:
        found = []
        for column in columns:
            points = [(size, times[column]) for (each, size), times in sizes.items() if each == axis]
            found.append(f"{_slope(points[len(points) // 2 :]):.2f}")
        slopes.append([axis, *found])
    faster = statistics.median(
        times[cell, "native", 1] / times[cell, "native", 2] for (axis, _), times in sizes.items() for cell in cells
        if axis == "length"
    )  # fmt: skip
    least = min(times[cell, "fused", n] / times[cell, "native", n]
                for times in sizes.values() for cell in cells for n in (1, 2))  # fmt: skip
    return f"""## Scaling

One of length 200, hidden size 128 and batch size 32 changes, the others stay. Column: cell, engine, threads.

![time over length, hidden size and batch size](scaling.png)

{table(header, rows)}

Exponents over the upper half of each range:

{table(header, slopes)}

Over **length** and **batch** the arithmetic is a straight line of exponent 1. `native` is one, but for the smallest
batches: a thread works on eight rows at a time, so that two threads fill their registers from a batch of 16, and each
step has the weights to read, however few rows there are. torch's RNN and GRU pay a fixed price for each of the dozen
operations of a step, and come near the line at the largest batches only. Over the **hidden size** the arithmetic has
exponent 2; gates and reading the inputs have 1, and weigh more below 128. Two **threads** make `native` {faster:.2f} times as
fast (median over lengths); they share the memory that gates are kept in for the backward pass.

At every size here `native` is faster than `fused`, at least {least:.2f} times: `auto` needs no table of sizes."""


def _memory(results: dict[str, Any]) -> str:
    section = results["memory"]["rows"]
    cells = list(dict.fromkeys(row["cell"] for row in section))
    rows = [
        [
            str(length),
            *(f"{row[engine]:.0f}" for row in section if row["length"] == length for engine in ("native", "fused")),
        ]
        for length in dict.fromkeys(row["length"] for row in section)
    ]
    return f"""## Memory

MiB at most, over length, that training takes beyond what the process has after a sequence of ten steps; hidden 128,
batch 32. What the backward pass needs is kept, so this is a straight line too, from where it is more than the process
had already.

{table(["length", *(f"{NAMES[cell]} {engine}" for cell in cells for engine in ("native", "fused"))], rows)}"""


def draw(section: dict[str, Any], path: Path) -> None:
    """Draw time over each axis, in logarithms, with the straight line of the arithmetic."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), sharey=True, layout="constrained")
    colours = {"rnn": "C0", "lstm": "C1", "gru": "C2"}
    for axis, (name, label) in zip(axes, AXES.items(), strict=True):
        for cell, colour in colours.items():
            for engine, style in (("native", "-"), ("fused", ":")):
                for threads, marker in ((1, "o"), (2, "s")):
                    points = [
                        (row["size"], row["ms"])
                        for row in section["rows"]
                        if (row["axis"], row["cell"], row["engine"], row["threads"]) == (name, cell, engine, threads)
                    ]
                    axis.plot(*zip(*points, strict=True), style, marker=marker, ms=3.5, lw=1.2, color=colour,
                              label=f"{NAMES[cell]} {engine}, {threads}" if threads == 2 else None,
                              alpha=1.0 if threads == 2 else 0.45)  # fmt: skip
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_xlabel(label)
        axis.grid(visible=True, alpha=0.25, lw=0.5)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("milliseconds a step")
    axes[0].legend(fontsize=7, frameon=False, title="two threads; pale: one", title_fontsize=7)
    figure.savefig(path, dpi=150)
    plt.close(figure)
