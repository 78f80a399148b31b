"""The sections of the dashboard and their panels, from what the runs show: no task, cell or score is named here."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.mirror.contents import CHART, CURVE
from bench.mirror.history import BIN, COMPARED, DETAIL
from bench.mirror.task_facts import TaskFacts, counting

TABLE = "table_html"
"""The table of an experiment, in its summary run.

A summary run has tables and pictures and no metric: line plots and bars, which show metrics alone, leave it out.
"""
MOST_RUNS = 500
"""Number of runs that a panel shows at most."""
STATES = {"h": "hidden state", "state": "whole state"}
"""What stands in the place of a gate's name in the table of the activity, and is no gate."""
KINDS = {"low": "share near 0 and near 1", "high": "share near 0 and near 1", "tau": "time constant (steps)",
         "lyapunov": "Lyapunov exponents"}  # fmt: skip
"""Statistics, by how their names begin, that share a panel with others."""
NOT_SHOWN = ("tau_25", "tau_75")
"""Quantiles that our figures leave out, too."""


def sections_of(wr: Any, ws: Any, shown: Mapping[str, TaskFacts], figures: Sequence[str]) -> list[Any]:
    """Return the sections; those without panels are left out."""
    cost = [_points(wr, f"{name}, test set, over parameters", wr.SummaryMetric("parameters"), f"test/{name}",
                    log_y=way == "lower") for name, way in counting(shown).items()]  # fmt: skip
    found = {
        "Accuracy against the baseline": _accuracy(wr, shown),
        "Time to solve": [
            _bars(wr, "share of seeds solved", "solved", groupby_aggfunc="mean", groupby_rangefunc="none"),
            _bars(wr, "steps to solve, of the seeds that solved", "steps_to_solve"),
            _points(wr, "steps to solve over delay", wr.Config("delay"), "steps_to_solve", log_x=True, log_y=True),
        ],
        "Gradient flow": _flow(wr),
        "Gates": _gates(wr, frozenset().union(*(facts.activity for facts in shown.values()))),
        "Cost": [
            _bars(wr, "milliseconds a step", "ms_per_step"),
            _bars(wr, "seconds in all", "wall_seconds"),
            _bars(wr, "parameters", "parameters"),
            *cost,
        ],
        "Tables and figures": [
            wr.MediaBrowser(title=key.rpartition("/")[2].replace("_", " "), media_keys=[key], num_columns=1)
            for key in (TABLE, *(f"figures/{name}" for name in figures))
        ],
        "Runs beside each other": [wr.RunComparer(diff_only="split")],
    }
    for name, panels in found.items():
        for number, panel in enumerate(panels):
            panel._id = id_of(name, str(number))
    how = {"is_open": True, "panel_settings": ws.SectionPanelSettings(x_axis="step")}
    return [ws.Section(name=name, panels=panels, **how) for name, panels in found.items() if panels]


def _lines(wr: Any, title: str, *metrics: str, regex: str | None = None, log_y: bool = False) -> Any:
    """Return a panel of metrics over the training step: median and range of each group."""
    return wr.LinePlot(title=title, x=wr.Metric("step"), y=[wr.Metric(name) for name in metrics], metric_regex=regex,
                       log_y=log_y, title_x="training step", groupby_aggfunc="median", groupby_rangefunc="minmax",
                       max_runs_to_show=MOST_RUNS)  # fmt: skip


def _bars(wr: Any, title: str, *metrics: str, **how: Any) -> Any:
    """Return a panel of numbers at the end of the runs, a bar for each group."""
    how = {"groupby_aggfunc": "median", "groupby_rangefunc": "minmax", "max_runs_to_show": MOST_RUNS} | how
    return wr.BarPlot(title=title, metrics=[wr.SummaryMetric(name) for name in metrics], **how)


def _points(wr: Any, title: str, x: Any, y: str, **how: Any) -> Any:
    return wr.ScatterPlot(title=title, x=x, y=wr.SummaryMetric(y), **how)


def _accuracy(wr: Any, shown: Mapping[str, TaskFacts]) -> list[Any]:
    """Return a panel for each score of the evaluations and of the test, those that count first, and the baselines."""
    first = counting(shown)

    def place(name: str) -> tuple[bool, bool, str]:
        return name not in first, name != "loss", name

    ways = {name: way for facts in shown.values() for name, way in facts.scores.items()}
    panels = []
    for name in sorted(ways, key=place):
        more, said = (["eval/baseline"], ", with the baseline") if name == "loss" else ([], "")
        panels.append(_lines(wr, f"{name}, evaluation set{said}", f"eval/{name}", *more, log_y=ways[name] == "lower"))
    panels.append(_lines(wr, "training loss", "train/loss", log_y=True))
    tested = {name for facts in shown.values() for name in facts.tested}
    panels += [_bars(wr, f"{name}, test set", f"test/{name}") for name in sorted(tested, key=place)]
    baselines = [each for facts in shown.values() for each in facts.baselines.items()]
    text = [f"- {label}: {', '.join(f'{name} {its[name]:.4g}' for name in sorted(its))}" for label, its in baselines]
    return [*panels, wr.MarkdownPanel(markdown="\n".join(["**The best predictor without memory**", "", *text]))]


def _flow(wr: Any) -> list[Any]:
    """Return the panels of the gradient: how far it travels, its curve over lag, and its norms."""
    chart = {"x": "lag", "y": "value", "stroke": "cell"}
    series = {key: key for key in ("step", "lineKey", "lineVal")}
    said = {"title": "log10 of the gradient norm over lag", "xname": "lag"}
    return [
        *(_lines(wr, f"{what} of the gradient, over training", f"flow/{what}") for what in COMPARED),
        *(_bars(wr, f"{what}, untrained and trained", f"{what}/untrained", f"{what}/trained") for what in COMPARED),
        wr.CustomChart(query={"summaryTable": {"tableKey": CURVE}}, chart_name="wandb/line/v0", chart_fields=chart,
                       chart_strings={"title": "gradient norm over lag"}),
        wr.CustomChart(query={"summaryTable": {"tableKey": f"{CHART}_table"}}, chart_name="wandb/lineseries/v0",
                       chart_fields=series, chart_strings=said),
        _lines(wr, "gradient norm before the clip", "grad/norm", log_y=True),
        _lines(wr, "gradient norm of each parameter", regex=f"^{DETAIL}grad/.+/norm$", log_y=True),
    ]  # fmt: skip


def _gates(wr: Any, activity: Iterable[tuple[int, str, str]]) -> list[Any]:
    """Return the panels of each gate and of the state, with a line for each layer."""
    found: dict[tuple[bool, str, str], set[str]] = {}
    spread = set()
    for layer, name, statistic in activity:
        if statistic.startswith(BIN):
            spread.add(f"layer{layer}.{name}")
        elif statistic not in NOT_SHOWN:
            kind = KINDS.get(statistic.partition("_")[0], statistic)
            found.setdefault((name in STATES, name, kind), set()).add(statistic)
    panels = []
    for (_, name, kind), statistics in sorted(found.items()):
        regex = f"^{DETAIL}gates/layer[0-9]+[.]{re.escape(name)}/({'|'.join(map(re.escape, sorted(statistics)))})$"
        title = f"{STATES.get(name, f'{name} gate')}: {kind}"
        panels.append(_lines(wr, title, regex=regex, log_y=kind == KINDS["tau"]))
    return panels + [_lines(wr, f"{name}: histogram", f"gates/{name}") for name in sorted(spread)]


def id_of(*names: str) -> str:
    """Return an id in the form of those that the library makes up."""
    return hashlib.sha256("/".join(names).encode()).hexdigest()[:12]
