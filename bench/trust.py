"""A record from somebody else is data: before anything in it is imported, every name in it must be a known one."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

TRUSTED = ("bench", "tasks", "torch", "lightning")
"""Packages whose classes a record may name."""
_SPECIAL = ("_target_", "_partial_", "_recursive_", "_convert_")
"""What Hydra reads in a node, as far as it can do no harm."""


def check(config: Mapping[str, Any], trusted: Sequence[str] = ()) -> None:
    """Make sure that building what a config describes can run no foreign code.

    Args:
        config: The config of a record, as plain containers.
        trusted: Further names: of classes, or of modules with all that is in them.

    Raises:
        ValueError: A class that is not trusted, a function, an interpolation, or an argument list of Hydra's.
    """
    for name, value in _leaves(config, ""):
        key = name.rpartition(".")[2]
        if key == "_target_":
            _check_target(name, value, trusted)
        elif key.startswith("_") and key not in _SPECIAL:
            raise ValueError(f"`{name}` must not be in a record, got {str(value)[:80]!r}")
        if isinstance(value, str) and "${" in value:
            raise ValueError(f"`{name}` must be a plain value, got {value[:80]!r}")


def _leaves(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if str(key).startswith("_") and isinstance(value, Mapping | list):
                yield f"{prefix}{key}", value
            yield from _leaves(value, f"{prefix}{key}.")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _leaves(value, f"{prefix}{index}.")
    else:
        yield prefix.rstrip("."), node


def _check_target(name: str, target: Any, trusted: Sequence[str]) -> None:
    if not isinstance(target, str):
        raise ValueError(f"`{name}` must be the dotted name of a class, got {str(target)[:80]!r}")
    if any(target == each or target.startswith(f"{each}.") for each in trusted):
        return
    allowed = f"a class of {', '.join(TRUSTED)}, or named by --trust"
    if target.partition(".")[0] not in TRUSTED:
        raise ValueError(f"`{name}` must be {allowed}, got {target[:80]!r}")
    module, _, attribute = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"`{name}` must be {allowed}, and {target[:80]!r} is not there") from error
    # torch.os.system is not torch's, and no function is what a config may call.
    if not inspect.isclass(found) or found.__module__.partition(".")[0] not in TRUSTED:
        raise ValueError(f"`{name}` must be {allowed}, got {target[:80]!r}")
