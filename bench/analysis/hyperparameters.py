"""The settings of a run by the keys that tables know them by, and how they are compared and shown. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bench.records.record import Record

_SECTIONS = ("model", "optimizer", "data", "training")
"""What makes two trainings different; what was probed does not."""


def protocol_of(record: Record) -> str:
    """The experiment that a run belongs to, with its budget where it has one to choose."""
    budget = record.config.get("budget")
    return f"{record.experiment} ({budget})" if budget else record.experiment


def training_of(record: Record) -> dict[str, Any]:
    """Everything but task, cell and seed that makes two runs different experiments."""
    settings: dict[str, Any] = {}
    for section in _SECTIONS:
        settings |= {f"{section}.{key}": value for key, value in flat(record.config[section]).items()}
    # The engine that ran: "auto" is another one elsewhere.
    settings["model.engine"] = record.model.get("engine") or settings.get("model.engine")
    settings["optimizer"] = str(record.config["optimizer"].get("_target_", "")).rpartition(".")[2]
    settings["precision"] = record.config["trainer"]["precision"]
    settings["device"] = record.device["type"]
    held = ("threads", "flush_subnormals", "deterministic", "tf32")
    settings |= {f"runtime.{key}": record.runtime.get(key) for key in held}
    settings["code"] = code_of(record, cell=False)
    return settings


def code_of(record: Record, *, cell: bool) -> str:
    """The versions of the code that a run used, of its cell or of all else; ``1`` where all of them are the first."""
    versions = record.code_versions
    chosen = [name for name in versions if (name.partition(".")[0] in ("cell", "cells")) == cell]
    # A user's code has no number, and its name is the section's.
    texts = (versions[name] if name in ("cell", "task") else f"{name} {versions[name]}" for name in chosen)
    return ", ".join(texts) or "1"


def flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested node as dotted keys; Hydra's own keys are left out."""
    found: dict[str, Any] = {}
    for key, value in node.items():
        if key.startswith("_"):
            continue
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def differing(settings: Iterable[Mapping[str, Any]]) -> list[str]:
    """Keys that do not have the same value everywhere, sorted."""
    settings = list(settings)
    keys = {key for each in settings for key in each}
    return sorted(key for key in keys if len({hashable(each.get(key)) for each in settings}) > 1)


def hashable(value: Any) -> Any:
    """A setting as a value that can be compared and kept in a set."""
    if isinstance(value, dict):
        return tuple(sorted((str(key), str(item)) for key, item in value.items()))
    return tuple(hashable(item) for item in value) if isinstance(value, list) else value


def sortable(value: Any) -> tuple[bool, float, str]:
    """Numbers in their order, before texts."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return (not number, float(value) if number else 0.0, str(value))


def is_one_of(value: Any, texts: Iterable[str]) -> bool:
    """Whether a setting is one of those that texts name: ``1e-3`` is 0.001."""
    return as_text(value) in map(as_text, texts)


def text(value: Any) -> str:
    """A setting as it is shown."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def as_text(value: Any) -> str:
    """A value as an override has it, with one text for each number: 1, 1.0 and "1e0" are the same."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(map(as_text, value))}]"
    try:
        return repr(float(value))
    except ValueError:
        return str(value).strip()
