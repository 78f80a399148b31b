"""Trust in records: before anything that a record names is imported, each name in it must be a known one."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from bench.cells import Cell
from tasks.base import Task

ROLES: dict[str, tuple[str, type]] = {
    "task._target_": ("tasks", Task),
    "cell._target_": ("bench.cells", Cell),
    "optimizer._target_": ("torch.optim", torch.optim.Optimizer),
}
"""For each place, the package and the kind of the classes that a record may name there.

Other classes may start programs when they are made.
"""
NESTED = ("bench.cells", object)
"""The same for all places further inside, such as ``cell.init``."""
_SPECIAL = ("_target_", "_partial_", "_recursive_", "_convert_")
"""Keys that Hydra reads in a node and that can do no harm."""


def check(config: Mapping[str, Any], trusted: Sequence[str] = ()) -> None:
    """Check that building what a config describes can run no foreign code.

    Args:
        config: The config of a record, as plain containers.
        trusted: Further names that are allowed: classes, or modules with all that is in them.

    Raises:
        ValueError: The config has a class that is not trusted at its place, a function, an interpolation, or one of
            Hydra's argument lists.
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
    package, kind = ROLES.get(name, NESTED)
    what = f"{kind.__name__} " if kind is not object else ""
    allowed = f"a {what}class of {package}, or named by --trust"
    # The name is checked first, so that nothing is imported that is not ours or torch's.
    if not target.startswith(f"{package}."):
        raise ValueError(f"`{name}` must be {allowed}, got {target[:80]!r}")
    module, _, attribute = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"`{name}` must be {allowed}, and {target[:80]!r} is not there") from error
    # bench.cells.base.torch.ones, for example, is not ours; and a config must not call a function.
    own = inspect.isclass(found) and issubclass(found, kind) and f"{found.__module__}.".startswith(f"{package}.")
    if not own:
        raise ValueError(f"`{name}` must be {allowed}, got {target[:80]!r}")
