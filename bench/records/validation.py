"""What every entry of ``record.json`` must be."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from bench.records.record import DamagedRecordError, Status


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _is_scores(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_number, value.values()))


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_versions(value: Any) -> bool:
    return isinstance(value, dict) and _is_texts(list(value.values()))


def _is_name(value: Any) -> bool:
    """Whether it can name a folder, and no other than its own."""
    return isinstance(value, str) and re.fullmatch(r"\w[\w.-]*", value) is not None


def _is(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _or_null(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


_LEAVES: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("run_id", "experiment", "task", "cell"), (_is_name, "letters, digits, -, . and _")),
    **{name: (_is(str), "a text") for name in ("reason", "command")},
    "traceback": (_or_null(_is(str)), "a text or null"),
    "libraries": (_is_versions, "texts by name"),
    "time.wall_seconds": (_is_number, "a number or null"),
    "time.steps_per_second": (_is_number, "a number or null"),
    **{name: (_is(int), "an integer") for name in ("seed", "steps", "runtime.threads")},
    "solved": (_is(bool), "true or false"),
    "steps_to_solve": (_or_null(_is(int)), "an integer or null"),
    "model.parameters": (_or_null(_is(int)), "an integer or null"),
    "time.milliseconds_per_step": (_is_number, "a number or null"),
    "metrics.eval": (_is_scores, "numbers by name"),
    "metrics.test": (_is_scores, "numbers by name"),
    "task_facts.baselines": (_is_scores, "numbers by name"),
    "task_facts.metric": (_is(str), "a text"),
    "task_facts.higher_is_better": (_is(bool), "true or false"),
    "task_facts.extra_metrics": (_is_texts, "a list of texts"),
    **{name: (_is(str), "a text") for name in ("device.type", "device.name", "code.sources", "code.cell")},
    **{
        f"config.{section}": (_is(dict), "settings by name")
        for section in ("task", "cell", "model", "optimizer", "data", "training", "trainer")
    },
    "config.trainer.precision": (_is(str), "a text"),
}
"""What tables and figures rely on: dotted name, check, and the check in words."""


def check_leaves(path: Path, data: dict[str, Any]) -> None:
    """Check type and range of every entry of ``record.json`` that others rely on."""
    for name, (check, words) in _LEAVES.items():
        value: Any = data
        for key in name.split("."):
            if not isinstance(value, dict) or key not in value:
                raise DamagedRecordError(f"{path}: `{name}` must be {words}, and is not there")
            value = value[key]
        if not check(value):
            raise DamagedRecordError(f"{path}: `{name}` must be {words}, got {value!r}")
    if data["status"] not in get_args(Status):
        allowed = ", ".join(get_args(Status))
        raise DamagedRecordError(f"{path}: `status` must be one of {allowed}, got {data['status']!r}")
