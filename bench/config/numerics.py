"""Which code made a number: parts of the code with a version each, and a guard that no edit goes unseen.

The code that can change a number is cut into parts: the contract of the cells, each cell, the contract of the tasks,
each task, each engine, the training, and the probes. One file of a part declares ``NUMERICS``, a whole number that is
raised when the part computes something else than before. A run's identity rests on the versions of the parts that it
uses, so that moving, renaming and rewording code leaves every run where it is.

The manifest ``numerics.json`` pins for each version a hash of the part's syntax tree. A part whose tree is another one
is a version of its own, ``1+<hash>``, until ``make numerics`` has compared golden trajectories: where they are equal,
the manifest takes the new tree under the old number; where they are not, the number must be raised. So an edit that
changes numbers never meets the runs of an older version, released or not.

A user's own cell, task or optimiser has no number to declare: its version is a hash of its module and of all that this
module imports from the same folder.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec import Struct

import bench
import tasks
from bench.config.syntax_tree import DECLARATION, declared_versions, definitions, digest, tokens_of_cpp

MANIFEST = Path(__file__).with_name("numerics.json")

BENCH, TASKS = Path(bench.__file__).parent, Path(tasks.__file__).parent
"""Where the code of this process is."""

PARTS: Mapping[str, tuple[str, ...]] = {
    "cells": ("cells/base.py", "cells/init.py"),
    "engines.compiled": ("engines/compiled.py",),
    "engines.fused": ("engines/fused.py",),
    "engines.generated": (
        "engines/generated/engine.py",
        "engines/generated/step_graph.py",
        "engines/generated/read.py",
        "engines/generated/values.py",
        "engines/generated/lower.py",
        "engines/generated/program.py",
        "engines/generated/emit.py",
        "engines/generated/library.py",
        "engines/generated/runtime.h",
        "engines/native/lanes.h",
        "engines/native/memory.h",
        "engines/native/tile.h",
    ),
    "engines.native": (
        "engines/native/engine.py",
        "engines/native/build.py",
        "engines/native/ops.cpp",
        "engines/native/layout.h",
        "engines/native/memory.h",
        "engines/native/lanes.h",
        "engines/native/vector_math.h",
        "engines/native/tile.h",
        "engines/native/gemm.h",
        "engines/native/cross_entropy.h",
        "engines/native/forward.h",
        "engines/native/backward.h",
    ),
    "engines.readout": (
        "engines/readout.py",
        "engines/native/cross_entropy.h",
        "engines/native/lanes.h",
        "engines/native/memory.h",
        "engines/native/tile.h",
    ),
    "engines.stepwise": ("engines/base.py", "engines/stepwise.py"),
    "probes": (
        "probes/activity.py",
        "probes/flow.py",
        "probes/lyapunov.py",
        "probes/parameters.py",
        "probes/probing.py",
        "probes/settings.py",
    ),
    "training": (
        "training/data.py",
        "training/model.py",
        "training/process.py",
        "training/rng.py",
        "training/loop.py",
        "training/clipping.py",
        "training/curves.py",
        "training/clock.py",
        "training/scores.py",
        "training/schedule.py",
        "training/settings.py",
        "training/stopping.py",
        "config/network.py:Network.model,_model,_make_cell",
        "runs/train.py:build,fit,_test_at_scales",
        "runs/trainer.py:trainer_of",
        "runs/checkpoint.py:load,restore,advance,Checkpointing.on_train_start",
    ),
}
"""Files of each part below ``bench/``, or ``file:function,Class.method`` where the rest of a file computes nothing.

Every other module of ``bench/cells`` and ``tasks`` is a part by itself, ``cells.<module>`` and ``tasks.<module>``, and
``tasks/base.py`` is the part ``tasks``.
"""


TOGETHER: Mapping[str, tuple[str, ...]] = {
    "tasks.character_model": ("ngrams",),
    "tasks.forecast": ("autoregression",),
    "tasks.sequence_classification": ("long_form",),
    "tasks.sequences": ("mapped", "texts"),
    "tasks.tables": ("large_tables",),
    "tasks.text_classification": ("word_tables",),
}
"""Modules beside that of a part which belong to it, too."""


@dataclass(frozen=True)
class Part:
    """A part of the code as it stands.

    Attributes:
        version: The number that it declares.
        tree: Hash of its syntax tree, without what computes nothing: comments, docstrings, imports and annotations.
            The order of definitions and the files that they stand in do not matter.
    """

    version: int
    tree: str


class Pin(Struct, frozen=True):
    """What the manifest says of a part.

    Attributes:
        version: The last version whose numbers were compared.
        tree: The tree of that version.
        files: Hashes of files that stood for version 1 when identities were still made of whole files; ``None`` for a
            part that came later.
    """

    version: int
    tree: str
    files: tuple[str, ...] | None = None


class Manifest(Struct, frozen=True):
    """``numerics.json``.

    Attributes:
        shared: Hashes of the files that every identity was made of when identities were still made of whole files.
        parts: What is pinned, by the part's name.
    """

    shared: tuple[str, ...]
    parts: dict[str, Pin]


def read_manifest(path: Path) -> Manifest:
    """Read the manifest."""
    return msgspec.json.decode(path.read_bytes(), type=Manifest)


@functools.cache
def _manifest(path: Path) -> Manifest:
    return read_manifest(path)


def part_names() -> list[str]:
    """Return the names of all parts, sorted."""
    cells = (path.stem for path in BENCH.joinpath("cells").glob("*.py"))
    own_tasks = (path.stem for path in TASKS.glob("*.py"))
    found = {f"cells.{name}" for name in cells if name not in ("__init__", "base", "init")}
    found |= {f"tasks.{name}" for name in own_tasks if name not in ("__init__", "base")}
    found -= {f"tasks.{name}" for others in TOGETHER.values() for name in others}
    return sorted({*PARTS, "tasks", *found})


def files_of(name: str) -> dict[Path, tuple[str, ...]]:
    """Return the files of a part, and for each the definitions that belong to it; none named means all."""
    if name in PARTS:
        found = {}
        for place in PARTS[name]:
            file, _, chosen = place.partition(":")
            found[BENCH / file] = tuple(chosen.split(",")) if chosen else ()
        return found
    group, _, module = name.partition(".")
    folder = BENCH / "cells" if group == "cells" else TASKS
    return {folder / f"{each}.py": () for each in (module or "base", *TOGETHER.get(name, ()))}


def part_of(module: str) -> str | None:
    """Return the part that a module of ours belongs to, by its dotted name; ``None`` where it computes nothing."""
    package, _, rest = module.partition(".")
    file = (BENCH if package == "bench" else TASKS) / f"{rest.replace('.', '/')}.py"
    return _part_of_file(BENCH, TASKS).get(file)


@functools.cache
def _part_of_file(*folders: Path) -> Mapping[Path, str]:
    return {file: name for name in part_names() for file in files_of(name)}


def part(name: str) -> Part:
    """Return a part as this process found it; what runs is what was imported, not what is on disk an hour later.

    Raises:
        ValueError: Not exactly one of its files declares a version.
    """
    return _part(name, BENCH, TASKS)


@functools.cache
def _part(name: str, *folders: Path) -> Part:
    numbers: list[int] = []
    digests: list[str] = []
    for file, chosen in files_of(name).items():
        source = file.read_text(encoding="utf-8")
        if file.suffix == ".py":
            tree = ast.parse(source)
            numbers += declared_versions(tree)
            digests += definitions(tree, chosen)
        else:
            digests.append(digest(tokens_of_cpp(source)))
    if len(numbers) != 1:
        raise ValueError(f"`{DECLARATION}` must be declared by one file of the part {name}, got {numbers}")
    return Part(numbers[0], digest("".join(sorted(digests)))[:16])


def version_of(name: str) -> str:
    """Return a part's version as identities have it: the number it declares, or a version of its own, ``1+<hash>``."""
    now, pinned = part(name), _manifest(MANIFEST).parts.get(name)
    if pinned is not None and (pinned.version, pinned.tree) == (now.version, now.tree):
        return str(now.version)
    return f"{now.version}+{now.tree}"


def code_hash(versions: Mapping[str, str]) -> str:
    """Return twelve hexadecimal digits over the versions of the parts that a run uses.

    Version 1 of the first parts stands for the files that they then were: identities that were made of these files
    stay as they are.

    Args:
        versions: Version by name of the part; names that the manifest does not know are a user's own.
    """
    manifest = _manifest(MANIFEST)
    digests = set(manifest.shared)
    for name, version in versions.items():
        pin = manifest.parts.get(name)
        if version == "1" and pin is not None and pin.files is not None:
            digests |= set(pin.files)
        else:
            digests.add(digest(f"{name} {version}"))
    return digest("".join(sorted(digests)))[:12]
