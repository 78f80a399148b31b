"""The settings of a run under the keys that tables use, and how they are compared and shown. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from bench.errors import as_override
from bench.records.record import Record

T = TypeVar("T")
MOST_KEPT = 20_000
"""Number of results that :func:`once` keeps at most."""
_kept: dict[tuple[Any, ...], tuple[tuple[Any, ...], Any]] = {}


def once(make: Callable[..., T], *given: Any) -> T:
    """Return what a function makes of containers that many runs share, made once for all of them.

    Thousands of records have a few dozen different sections, see :func:`bench.records.read.read_record`. They are known
    by their identity, since to compare them takes as long as to make the result anew.

    Args:
        make: A pure function.
        given: Its arguments: containers that nobody changes, texts, or ``None``.
    """
    key = (make, *(each if isinstance(each, str) or each is None else id(each) for each in given))
    held = _kept.get(key)
    if held is None:
        if len(_kept) >= MOST_KEPT:
            _kept.clear()
        # What was given is kept as well, so that nothing else can have its identity.
        held = _kept[key] = given, make(*given)
    return held[1]


def distinct(shared: Iterable[T]) -> list[T]:
    """Return each object once, where many runs share some."""
    return list({id(each): each for each in shared}.values())


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
        if isinstance(value, dict):
            if not key.startswith("_"):
                found |= flat(value, f"{prefix}{key}.")
        elif not key.startswith("_"):
            found[prefix + key] = value
    return found


def differing(settings: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the keys that do not have the same value everywhere, sorted."""
    settings = distinct(settings)
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


def text(value: Any) -> str:
    """Return a setting as a table shows it, numbers with up to six digits."""
    return f"{value:g}" if isinstance(value, float) else as_override(value)


def listed(value: Any) -> tuple[Any, ...]:
    """Return one value or several as a tuple; a text or a mapping is one value."""
    return (value,) if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable) else tuple(value)


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
