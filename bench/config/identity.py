"""What makes a run the run that it is: the settings that can change a number, and the code that makes the numbers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import torch

from bench.config import numerics, users_code
from bench.config.targets import locate
from bench.engines import Choice
from bench.records import older, provenance
from bench.records.record import KEEPING
from bench.training.settings import RuntimeConfig
from tasks.data_set import DataSet

CODE_SECTIONS = ("task", "cell", "optimizer")
"""Sections of the config that name classes, which may be a user's own."""


def science(
    config: Mapping[str, Any], runtime_config: RuntimeConfig, device: torch.device, precision: str, engine: Choice
) -> dict[str, Any]:
    """Return all settings that can change a number."""
    found: dict[str, Any] = {"seed": config["seed"], "task": _without_places(config["task"])}
    found |= {name: older.as_before(name, config[name]) for name in ("cell", "optimizer", "data", "training")}
    made_with = {"engine": engine.engine, "loss_engine": engine.loss}
    found["model"] = older.as_before("model", {**config["model"], **made_with})
    found["training"] = {name: value for name, value in found["training"].items() if name not in KEEPING}
    found["probe"] = older.as_before("probe", config["probe"]) if config["probe"]["enabled"] else {"enabled": False}
    found["runtime"] = {name: value for name, value in asdict(runtime_config).items() if name != "keep_pages"}
    # On a GPU the processor's threads add nothing up.
    found["runtime"]["threads"] = runtime_config.thread_count if device.type == "cpu" else None
    found["trainer"] = {"device": device.type, "precision": precision}
    return found


def _without_places(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return a task's node without where its data lies; what the data is stands in the code, see :func:`code_of`."""
    places = getattr(locate(node, "task"), "places", ())
    return {name: value for name, value in node.items() if name not in places}


def code_of(config: Mapping[str, Any], engine: Choice, made: Mapping[str, object]) -> dict[str, Any]:
    """Return the code that a run uses, as its record has it.

    Args:
        config: The resolved config, as plain containers.
        engine: The engine that runs.
        made: By section, what is made of it, which may name data files.

    Returns:
        ``numerics``: versions by name of the part, with ``task``, ``cell`` and ``optimizer`` for code of the user's
        behind these, ``cell.<package>`` for an installed package that such code uses, and ``data`` for the content of
        a data set; and what
        :func:`bench.records.provenance.code_version` says of the files.

    Raises:
        ValueError: A class whose source cannot be found.
    """
    used = {"cells", "tasks", "training", "engines.stepwise", f"engines.{engine.engine}"}
    used |= {"engines.readout"} if engine.loss == "native" else set()
    used |= {"probes"} if config["probe"]["enabled"] else set()
    versions: dict[str, str] = {}
    files: dict[str, list[Any]] = {"cell": [], "shared": []}
    for section in CODE_SECTIONS:
        try:
            found = users_code.behind(_classes(config[section], section))
            data = users_code.declared_files(made[section])
        except (OSError, SyntaxError) as error:
            raise ValueError(f"`{section}._target_` must have a source that can be read ({error})") from error
        used |= found.parts
        if own := [*found.files, *data]:
            versions[section] = users_code.users_version(tuple(own))
        versions |= {f"{section}.{package}": version for package, version in found.packages.items()}
        files["cell" if section == "cell" else "shared"] += own
    if isinstance(made["task"], DataSet):
        versions["data"] = made["task"].fingerprint[:12]
    versions |= {name: numerics.version_of(name) for name in used}
    for name in used:
        files["cell" if name.startswith("cells.") else "shared"] += numerics.files_of(name)
    return {
        **provenance.code_version(files["shared"], files["cell"]),
        "numerics": dict(sorted(versions.items())),
    }


def _classes(node: Any, key: str) -> Iterator[type]:
    """Return all classes that a node of the config names, at any depth."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            found = locate(node, key)
            # A function may be named too: what its module defines is what it may use.
            yield found if inspect.isclass(found) else type(found.__name__, (), {"__module__": found.__module__})
        for name, value in node.items():
            yield from _classes(value, f"{key}.{name}")
    elif isinstance(node, list):
        for value in node:
            yield from _classes(value, key)
