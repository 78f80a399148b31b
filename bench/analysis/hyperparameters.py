"""The settings of a run under the keys that tables use, and how they are compared and shown. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bench.errors import as_override
from bench.records.record import Record

_SECTIONS = ("model", "optimizer", "data", "training")
"""Sections whose settings make two trainings different; the settings of the probes do not."""


def protocol_of(record: Record) -> str:
    """Return the experiment that a run belongs to, with its budget if it has several to choose from."""
    budget = record.config.get("budget")
    return f"{record.experiment} ({budget})" if budget else record.experiment


def training_of(record: Record) -> dict[str, Any]:
    """Return all settings, except those of task, cell and seed, that make two runs different experiments."""
    settings: dict[str, Any] = {}
    for section in _SECTIONS:
        settings |= {f"{section}.{key}": value for key, value in flat(record.config[section]).items()}
    # The record tells which engine ran; "auto" may mean another one on another machine.
    settings["model.engine"] = record.model.get("engine") or settings.get("model.engine")
    settings["optimizer"] = str(record.config["optimizer"].get("_target_", "")).rpartition(".")[2]
    settings["precision"] = record.config["trainer"]["precision"]
    settings["device"] = record.device["type"]
    held = ("threads", "flush_subnormals", "deterministic", "tf32")
    settings |= {f"runtime.{key}": record.runtime.get(key) for key in held}
    settings["code"] = code_of(record, cell=False)
    return settings


def code_of(record: Record, *, cell: bool) -> str:
    """Return the versions of the code of a run's cell, or of all other code; ``1`` if all are the first version."""
    versions = record.code_versions
    chosen = [name for name in versions if (name.partition(".")[0] in ("cell", "cells")) == cell]
    # A user's code has no version number; the name of its section stands for it.
    texts = (versions[name] if name in ("cell", "task") else f"{name} {versions[name]}" for name in chosen)
    return ", ".join(texts) or "1"


def flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested node as dotted keys, without Hydra's own keys."""
    found: dict[str, Any] = {}
    for key, value in node.items():
        if key.startswith("_"):
            continue
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def differing(settings: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the keys that do not have the same value everywhere, sorted."""
    settings = list(settings)
    keys = {key for each in settings for key in each}
    return sorted(key for key in keys if len({hashable(each.get(key)) for each in settings}) > 1)


def hashable(value: Any) -> Any:
    """Return a setting as a value that can be compared and kept in a set."""
    if isinstance(value, dict):
        return tuple(sorted((str(key), str(item)) for key, item in value.items()))
    return tuple(hashable(item) for item in value) if isinstance(value, list) else value


def sortable(value: Any) -> tuple[bool, float, str]:
    """Return a sort key that puts numbers in their order, before texts."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return (not number, float(value) if number else 0.0, str(value))


def is_one_of(value: Any, texts: Iterable[str]) -> bool:
    """Return whether a setting equals one of the values that texts name: ``1e-3`` is 0.001."""
    return as_text(value) in map(as_text, texts)


def text(value: Any) -> str:
    """Return a setting as a table shows it, numbers with up to six digits."""
    return f"{value:g}" if isinstance(value, float) else as_override(value)


def as_text(value: Any) -> str:
    """Return a value for comparisons, with one text for each number: 1, 1.0 and "1e0" are the same."""
    if value is None or isinstance(value, bool):
        return as_override(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(map(as_text, value))}]"
    try:
        return repr(float(value))
    except ValueError:
        return str(value).strip()
