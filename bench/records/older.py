"""What records of earlier versions do not say of their task and their cell, from what is known of those there were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Direction = Literal["higher", "lower"]

LOWER = ("loss", "mse", "absolute_error")
"""The scores that were errors and losses; all others were shares of what is right."""
YEARS = {"rnn": 1990, "lstm": 1997, "gru": 2014}
"""The year in which each cell was published, by the name of the cell."""


def directions_of(task_facts: Mapping[str, Any]) -> dict[str, Direction]:
    """Return whether a higher or a lower value of each score of a task is the better one."""
    found: dict[str, Direction] = {name: "lower" if name in LOWER else "higher" for name in task_facts["baselines"]}
    found[task_facts["metric"]] = "higher" if task_facts["higher_is_better"] else "lower"
    return found
