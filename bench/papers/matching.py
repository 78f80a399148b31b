"""Selection of the runs that a published claim is about, and of those among them that count."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from bench.analysis.hyperparameters import as_text
from bench.analysis.metrics import budget_of
from bench.papers.claims import SECTIONS, Claim
from bench.records.record import FINAL, Record, probed

FREE = ("experiment", "task", "cell", "seed", "budget", "probe", "results_dir", "launcher", "logger", "rerun",
        "trainer", "runtime")  # fmt: skip
"""Keys that a command may set without leaving the setting of the experiment; ``task`` includes the keys below it."""


def matching(claim: Claim, records: Iterable[Record], *, against: bool = False) -> list[Record]:
    """Return the runs that a claim is about, however they ended.

    Args:
        claim: The claim.
        records: Any records.
        against: Whether to return the runs on the other side of a claim that says ``before``.

    Returns:
        Records of the claim's protocol whose config has all values of ``runs``. Values are compared as overrides are: 1
        equals 1.0. A key that a config does not have never matches. Runs of the experiment with a user's own settings,
        such as ``optimizer.lr=9`` on the command line, are not in the paper's setting and are left out.
    """
    wanted = {**claim.runs, **((claim.against or {}) if against else {})}
    return [
        record
        for record in records
        if record.experiment == claim.protocol
        and all(as_text(value) == _setting(record, key) for key, value in wanted.items())
        and _given(record) <= {*wanted, *FREE}
    ]


def _given(record: Record) -> set[str]:
    """Return the keys that a run's command sets; keys of a section in ``FREE`` are returned as that section."""
    words = (word.lstrip("+").partition("=")[0] for word in shlex.split(record.command)[2:] if not word.startswith("-"))
    return {section if (section := word.partition(".")[0]) in FREE else word for word in words}


def _setting(record: Record, key: str) -> str | None:
    """Return a run's value for a key of ``runs``; ``None`` if it has none."""
    if key in ("task", "cell"):
        return as_text(getattr(record, key))
    node: Any = record.config
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return None
        node = node[part]
    return as_text(node)


def counted(records: Iterable[Record], budget: int) -> tuple[list[Record], bool]:
    """Return the runs that count: they have a result, one for each seed, and all have the same settings.

    Args:
        records: The runs that a claim is about.
        budget: Their budget in steps; at least one run with a result must have it.

    Returns:
        The runs in the order of their seeds, with the settings that most seeds have; and whether there are runs with
        other settings.
    """
    groups: dict[str, dict[int, Record]] = {}
    for record in sorted(records, key=lambda record: (probed(record), record.run_id)):
        if record.status in FINAL and budget_of(record) == budget:
            groups.setdefault(_settings(record), {})[record.seed] = record
    largest = max(sorted(groups), key=lambda key: len(groups[key]))
    return [groups[largest][seed] for seed in sorted(groups[largest])], len(groups) > 1


def _settings(record: Record) -> str:
    """Return everything except the seed that makes two trainings different."""
    config = {section: record.config.get(section) for section in SECTIONS}
    return json.dumps([config, record.code_versions], sort_keys=True)
