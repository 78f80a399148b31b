"""The words around a table: title, protocols, devices and code above, and how its numbers were obtained below."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bench.analysis import hyperparameters, metrics
from bench.analysis.grouping import RunGroup
from bench.analysis.run import Run
from bench.analysis.table import Table
from bench.report.tables.numbers import number
from bench.stats import small_samples

PROBED = {
    "reach": "Reach: the largest lag up to which at least 1 % of it arrives at every probed lag.",
    "rate": "Rate: slope of its log10 a step, from half of the largest lag that it arrives at up to that lag.",
    "growth": "Growth: its largest norm over that near the answer; above 1 it grows on its way back.",
    "lyapunov": "Lyapunov: the leading exponent of the state map along the probe batch, in natural logarithms a step.",
}
"""What the metrics of the probes mean, by the beginning of their names."""
COSTS = {
    metrics.MULTIPLY_ADDS: "Multiply-adds: multiplications of one time step of one sequence, forward, as the cell's "
    "equations have them; with the readout where every step is read out.",
    metrics.MEMORY: "Memory: all tensors that a training step holds at the end of its way forward, measured: weights, "
    "gradients, state of the optimiser, and what is kept for the way back.",
}
"""What the costs of a network mean, beside those that need no word."""
DAGGER = "†"
"""Mark of a row whose protocol must be told."""


def marks(rows: Sequence[object]) -> list[str]:
    """Return the marks of the rows: ``a``, ``b``, ..., ``z``, ``aa``, ..."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return [(letters[i // 26 - 1] if i >= 26 else "") + letters[i % 26] for i in range(len(rows))]


def caption(table: Table) -> str:
    """Return the caption: the user's, or title, what is shown, and how the runs were made."""
    if table.spec.caption is not None:
        return table.spec.caption
    shown = table.names.metric(table.spec.only) if table.spec.only is not None else ""
    title = ": ".join(text for text in (table.spec.title.rstrip("."), shown) if text)
    return f"{title[:1].upper()}{title[1:]}. {_made(table)}" if title else _made(table)


def _made(table: Table) -> str:
    """Return how the runs were made: protocols with their budgets, device and code version."""
    runs = table.runs
    budgets = sorted({(run.protocol, run.budget) for run in runs})
    by_protocol: dict[str, list[str]] = {}
    for protocol, steps in budgets:
        by_protocol.setdefault(protocol, []).append(f"{steps:,}")
    protocols = "; ".join(f"{name}, at most {' or '.join(steps)} steps" for name, steps in by_protocol.items())
    return f"Protocol: {protocols}. {''.join(f'{text} ' for text in _tuned(runs))}{origin(runs)}"


def _tuned(runs: Iterable[Run]) -> Iterator[str]:
    """Say of runs of settings that were searched for how many trials each cell had."""
    found: dict[str, dict[tuple[Any, ...], list[str]]] = {}
    for run in runs:
        node = run.record.config.get("tuning") or {}
        if node.get("role") == "tuned":
            drawn = (node["trials"], node["sampler"], node["seeds"])
            cells = found.setdefault(run.protocol, {}).setdefault(drawn, [])
            cells += [run.cell] if run.cell not in cells else []
    for protocol, by_search in found.items():
        for (trials, sampler, seeds), cells in by_search.items():
            who = "each cell on each task" if len(by_search) == 1 else ", ".join(cells)
            of = "1 trial" if trials == 1 else f"{trials} trials"
            each = "1 seed" if seeds == 1 else f"{seeds} seeds each"
            yield f"In {protocol}, {who} has the best of {of} ({sampler}, {each}); these runs have other seeds."


def origin(runs: Iterable[Run]) -> str:
    """Where runs were made, and with which code."""
    runs = list(runs)
    devices = "; ".join(sorted({machine_of(run) for run in runs}))
    return f"Run on {devices}. Code: {', '.join(sorted({code_of(run) for run in runs}))}."


def machine_of(run: Run) -> str:
    """Device, its type, and the threads of a processor."""
    device, threads = run.record.device, run.record.runtime["threads"]
    count = f", {threads} thread{'s' if threads != 1 else ''}" if device["type"] == "cpu" else ""
    return f"{device['name']} ({device['type']}{count})"


def code_of(run: Run) -> str:
    """Return the commit; where there is none, or files had changed since, the hash of the sources that compute."""
    code = run.record.code
    commit = str(code.get("commit") or "")[:7]
    if commit and not code.get("dirty"):
        return f"commit {commit}"
    return f"sources {code['sources']}{f', changed since commit {commit}' if commit else ''}"


def notes(table: Table) -> list[str]:
    """Return what a reader must know to read the numbers, unless no notes are wanted.

    What a caption of the user's does not say of how the runs were made is the first of them.
    """
    if table.spec.notes == "none":
        return []
    made = [_made(table)] if table.spec.caption is not None else []
    shown = list(dict.fromkeys(metric for row in table.rows for metric in table.metrics(row)))
    missing = [table.names.metric(metric) for metric in table.missing()]
    unmeasured = [f"Not measured by any of these runs: {'; '.join(missing)}."] if missing else []
    return [*made, _method(table, shown), *_explained(shown), *unmeasured, *_by_row(table)]


def _method(table: Table, shown: Sequence[str]) -> str:
    """Say how numbers and intervals were obtained."""
    by_statistic: dict[str, list[str]] = {}
    for metric in shown:
        by_statistic.setdefault(metrics.default_statistic(metric, table.spec.statistic), []).append(
            table.names.metric(metric)
        )
    most = max(by_statistic, key=lambda name: len(by_statistic[name]))
    words = [f"{', '.join(names)}: {metrics.STATISTICS[name]}" for name, names in by_statistic.items() if name != most]
    words.append(f"{'all else: ' if words else ''}{metrics.STATISTICS[most]}")
    text = "; ".join(words)
    return (
        f"{text[:1].upper()}{text[1:]}; 95 % intervals in brackets. Scores on the test set. Baseline: the best "
        "predictor without memory. Solved: the task's criterion met at three evaluations in a row, looks after the "
        "end included. Bold, or * in a terminal: the best of a line, where its interval is apart from all others; "
        f"those of medians and means count from {metrics.LEAST_RUNS} runs on."
    )


def _explained(shown: Sequence[str]) -> list[str]:
    measured = {metric.rpartition("_")[0] for metric in shown if metric in metrics.PROBED}
    found = [text for what, text in PROBED.items() if what in measured]
    gradient = [text for text in found if text is not PROBED["lyapunov"]]
    if gradient:
        found.insert(
            0,
            "Gradient: that of the answer's loss with respect to the network's input, over the lag before the "
            "first answer, relative to its largest norm near it (lags 0 to 4).",
        )
    costs = [text for metric, text in COSTS.items() if metric in shown]
    return [text for text in (" ".join(found), " ".join(costs)) if text]


def _by_row(table: Table) -> list[str]:
    """Return the notes on single rows; rows with the same note share it."""
    found: dict[str, list[str]] = {}
    for mark, row in zip(marks(table.rows), table.rows, strict=True):
        for text in _row_notes(table, row):
            found.setdefault(text, []).append(mark)
    return [f"[{', '.join(marks)}] {text}" for text, marks in found.items()]


def _row_notes(table: Table, row: RunGroup) -> Iterable[str]:
    """Return the marks of a row, settings that differ between its columns, and what so few runs cannot show."""
    yield from (f"{text}." for text in row.marks)
    for key, values in row.uneven.items():
        texts = ", ".join(f"{column} {hyperparameters.text(value)}" for column, value in values.items())
        yield f"{table.names.key(key, key)} differs between columns: {texts}."
    yield from _references(table, row)
    metric = row.facts["metric"]
    yield from _curves(table, row)
    for column, runs in row.runs.items() if metric in table.metrics(row) else ():
        if (groups := metrics.bimodal(runs, metric)) is not None:
            yield f"{column}, {table.names.metric(metric)}: {groups}."
    seeds = {column: {run.seed for run in metrics.results(runs)} for column, runs in row.runs.items()}
    seeds = {column: each for column, each in seeds.items() if each}
    statistics = {metrics.default_statistic(metric, table.spec.statistic) for metric in table.metrics(row)}
    least = min(map(len, seeds.values()), default=1)
    if "median" in statistics and 1 < least < metrics.FULL["median"]:
        most = 100 - 100 / 2 ** (least - 1)
        yield f"An interval of {least} runs covers their median with {most:.3g} %."
    if "iqm" in statistics and 1 < least < metrics.FULL["iqm"]:
        share = "about 90 %" if least >= metrics.LEAST_RUNS else "less than 90 %"
        yield f"An interval of {least} runs covers their interquartile mean with {share}."
    yield from _incomparable(seeds)


def _references(table: Table, row: RunGroup) -> Iterable[str]:
    """Return the scores of the predictors that a data set is set beside."""
    shown = table.metrics(row)
    for name, scores in row.facts.get("references", {}).items():
        texts = [f"{table.names.metric(metric)} {number(scores[metric])}" for metric in shown if metric in scores]
        if texts:
            yield f"On the same test set, {name}: {', '.join(texts)}."


def _curves(table: Table, row: RunGroup) -> Iterable[str]:
    """Return what the reach and the rate of single cells do not say: holes, and lines through two points."""
    shown = table.metrics(row)
    for when in metrics.WHEN:
        for column, runs in row.runs.items():
            reaches = [run.reach for run in metrics.results(runs) if run.reach is not None]
            looks = [each.start if when == metrics.UNTRAINED else each.end for each in reaches]
            found = [look for look in looks if look is not None]
            holes = [look.farthest for look in found if look.farthest != look.reach and look.farthest is not None]
            if holes and f"reach_{when}" in shown:
                yield (
                    f"{column}, {when}: in {len(holes)} of {len(found)} runs the gradient falls under 1 % and is above "
                    f"it again farther back, up to lag {max(holes)}."
                )
            few = sum(look.points == 2 for look in found)
            if few and f"rate_{when}" in shown:
                yield f"{column}, {when}: in {few} of {len(found)} runs the rate is that of two points."


def _incomparable(seeds: Mapping[str, set[int]]) -> Iterable[str]:
    """Return the columns that share too few seeds with any other column for a verdict."""
    if len(seeds) < 2:
        return
    shared = {one: max(len(its & seeds[other]) for other in seeds if other != one) for one, its in seeds.items()}
    few = {column: sentence for column, n in shared.items() if (sentence := small_samples.too_few(n)) is not None}
    if len(few) == len(seeds) and len(set(few.values())) == 1:
        yield f"Between columns, by a paired test, {next(iter(few.values()))}."
    else:
        for sentence in dict.fromkeys(few.values()):
            columns = ", ".join(column for column, each in few.items() if each == sentence)
            yield f"Between {columns} and others, by a paired test, {sentence}."
