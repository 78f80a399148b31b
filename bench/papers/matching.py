"""Selection of the runs that a published claim is about, and of those among them that count."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from bench.analysis.hyperparameters import as_text
from bench.analysis.run import Run
from bench.papers.claims import SECTIONS, Claim
from bench.records.record import probed

FREE = ("experiment", "task", "cell", "seed", "budget", "probe", "results_dir", "launcher", "logger", "rerun",
        "trainer", "runtime", "model.engine", "model.loss_engine")  # fmt: skip
"""Keys that a command may set without leaving the setting of the experiment; ``task`` includes the keys below it."""


def matching(claim: Claim, runs: Iterable[Run], *, against: bool = False) -> list[Run]:
    """Return the runs that a claim is about, however they ended.

    Args:
        claim: The claim.
        runs: Any runs.
        against: Whether to return the runs on the other side of a claim that says ``before`` or ``better``.

    Returns:
        Runs of the claim's protocol whose config has all values of ``runs``. Values are compared as overrides are: 1
        equals 1.0. A key that a config does not have never matches. Runs of the experiment with a user's own settings,
        such as ``optimizer.lr=9`` on the command line, are not in the paper's setting and are left out.
    """
    wanted = {**claim.runs, **((claim.against or {}) if against else {})}
    return [
        run
        for run in runs
        if run.experiment == claim.protocol
        and all(as_text(value) == _setting(run, key) for key, value in wanted.items())
        and _given(run) <= {*wanted, *FREE}
    ]


def _given(run: Run) -> set[str]:
    """Return the keys that a run's command sets; keys of a section in ``FREE`` are returned as that section."""
    words = (word for word in shlex.split(run.record.command)[2:] if not word.startswith("-"))
    keys = (word.lstrip("+").partition("=")[0] for word in words)
    return {section if (section := key.partition(".")[0]) in FREE else key for key in keys}


def _setting(run: Run, key: str) -> str | None:
    """Return a run's value for a key of ``runs``; ``None`` if it has none."""
    if key in ("task", "cell"):
        return as_text(getattr(run, key))
    node: Any = run.record.config
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return None
        node = node[part]
    return as_text(node)


def counted(runs: Iterable[Run], budget: int) -> tuple[list[Run], bool]:
    """Return the runs that count: they have a result, one for each seed, and all have the same settings.

    Args:
        runs: The runs that a claim is about.
        budget: Their budget in steps; at least one run with a result must have it.

    Returns:
        The runs in the order of their seeds, with the settings that most seeds have; and whether there are runs with
        other settings.
    """
    groups: dict[str, dict[int, Run]] = {}
    for run in sorted(runs, key=lambda run: (probed(run.record), run.run_id)):
        if run.has_result and run.budget == budget:
            groups.setdefault(_settings(run), {})[run.seed] = run
    largest = max(sorted(groups), key=lambda key: len(groups[key]))
    return [groups[largest][seed] for seed in sorted(groups[largest])], len(groups) > 1


def _settings(run: Run) -> str:
    """Return everything except the seed that makes two trainings different."""
    config = {section: run.record.config.get(section) for section in SECTIONS}
    # What the loss was computed with, whatever the config left to the machine: older runs had no choice.
    config["model"] = {**run.record.config["model"], "loss_engine": run.record.model.get("loss_engine", "torch")}
    return json.dumps([config, run.record.code_versions], sort_keys=True)
