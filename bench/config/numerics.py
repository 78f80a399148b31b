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
import hashlib
import importlib.util
import json
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import bench
import tasks

MANIFEST = Path(__file__).with_name("numerics.json")
DECLARATION = "NUMERICS"

BENCH, TASKS = Path(bench.__file__).parent, Path(tasks.__file__).parent
"""Where the code of this process is."""

PARTS: Mapping[str, tuple[str, ...]] = {
    "cells": ("cells/base.py", "cells/init.py"),
    "engines.compiled": ("engines/compiled.py",),
    "engines.fused": ("engines/fused.py",),
    "engines.native": ("engines/native/engine.py", "engines/native/build.py", "engines/native/ops.cpp"),
    "engines.stepwise": ("engines/base.py", "engines/stepwise.py"),
    "probes": ("probes/activity.py", "probes/flow.py", "probes/parameters.py", "probes/probing.py"),
    "training": (
        "training/data.py",
        "training/model.py",
        "training/process.py",
        "training/rng.py",
        "training/loop.py",
        "training/clipping.py",
        "training/curves.py",
        "runs/execute.py:_Attempt._train",
        "runs/trainer.py:trainer_of",
        "runs/checkpoint.py:load,restore,advance,Checkpointing.on_train_start",
    ),
}
"""Files of each part below ``bench/``, or ``file:function,Class.method`` where the rest of a file computes nothing.

Every other module of ``bench/cells`` and ``tasks`` is a part by itself, ``cells.<module>`` and ``tasks.<module>``, and
``tasks/base.py`` is the part ``tasks``.
"""

_LIBRARIES = ("torch", "lightning", "torchmetrics", "hydra", "omegaconf", "numpy")
"""Packages whose versions a record has anyway."""


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


@dataclass(frozen=True)
class Pin:
    """What the manifest says of a part.

    Attributes:
        version: The last version whose numbers were compared.
        tree: The tree of that version.
        files: Hashes of files that stood for version 1 when identities were still made of whole files; ``None`` for a
            part that came later.
    """

    version: int
    tree: str
    files: tuple[str, ...] | None


@dataclass(frozen=True)
class Manifest:
    """``numerics.json``.

    Attributes:
        shared: Hashes of the files that every identity was made of when identities were still made of whole files.
        parts: What is pinned, by the part's name.
    """

    shared: tuple[str, ...]
    parts: Mapping[str, Pin]


def read_manifest(path: Path) -> Manifest:
    """Read the manifest."""
    data = json.loads(path.read_text(encoding="utf-8"))
    pins = {
        name: Pin(pin["version"], pin["tree"], tuple(pin["files"]) if "files" in pin else None)
        for name, pin in data["parts"].items()
    }
    return Manifest(tuple(data["shared"]), pins)


@functools.cache
def _manifest(path: Path) -> Manifest:
    return read_manifest(path)


def part_names() -> list[str]:
    """Names of all parts, sorted."""
    cells = (path.stem for path in BENCH.joinpath("cells").glob("*.py"))
    own_tasks = (path.stem for path in TASKS.glob("*.py"))
    found = {f"cells.{name}" for name in cells if name not in ("__init__", "base", "init")}
    found |= {f"tasks.{name}" for name in own_tasks if name not in ("__init__", "base")}
    return sorted({*PARTS, "tasks", *found})


def files_of(name: str) -> dict[Path, tuple[str, ...]]:
    """The files of a part, and for each the definitions that belong to it; none named means all."""
    if name in PARTS:
        found = {}
        for place in PARTS[name]:
            file, _, chosen = place.partition(":")
            found[BENCH / file] = tuple(chosen.split(",")) if chosen else ()
        return found
    group, _, module = name.partition(".")
    folder = BENCH / "cells" if group == "cells" else TASKS
    return {folder / f"{module or 'base'}.py": ()}


def part_of(module: str) -> str | None:
    """The part that a module of ours belongs to, by its dotted name; ``None`` where it computes nothing."""
    package, _, rest = module.partition(".")
    file = (BENCH if package == "bench" else TASKS) / f"{rest.replace('.', '/')}.py"
    return next((name for name in part_names() if file in files_of(name)), None)


def part(name: str) -> Part:
    """A part as this process found it; what runs is what was imported, not what is on disk an hour later.

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
            numbers += _declared(tree)
            digests += _definitions(tree, chosen)
        else:
            digests.append(_digest(_tokens_of_cpp(source)))
    if len(numbers) != 1:
        raise ValueError(f"`{DECLARATION}` must be declared by one file of the part {name}, got {numbers}")
    return Part(numbers[0], _digest("".join(sorted(digests)))[:16])


def version_of(name: str) -> str:
    """The version of a part as identities have it: the number it declares, or a version of its own, ``1+<hash>``."""
    now, pinned = part(name), _manifest(MANIFEST).parts.get(name)
    if pinned is not None and (pinned.version, pinned.tree) == (now.version, now.tree):
        return str(now.version)
    return f"{now.version}+{now.tree}"


def code_hash(versions: Mapping[str, str]) -> str:
    """Twelve hexadecimal digits over the versions of the parts that a run uses.

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
            digests.add(_digest(f"{name} {version}"))
    return _digest("".join(sorted(digests)))[:12]


def parts_behind(kinds: Iterable[type]) -> tuple[set[str], list[Path]]:
    """What classes rest on: by their bases, and by what the modules of a user's import from the same folder.

    Args:
        kinds: Classes that a config names.

    Returns:
        Names of parts of ours, and files of the user's, sorted.

    Raises:
        ValueError: A class of the user's whose source is in no file.
    """
    parts: set[str] = set()
    files: dict[Path, None] = {}
    todo = [(base.__module__, kind.__module__) for kind in kinds for base in kind.__mro__]
    seen: set[str] = set()
    while todo:
        name, home = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        if name.partition(".")[0] in ("bench", "tasks"):
            parts |= {found} if (found := part_of(name)) is not None else set()
            continue
        file = _file_of(name)
        if file is None and name == home and name not in sys.builtin_module_names:
            raise ValueError(f"`_target_` must name a class whose source is in a file, got one of {name}")
        if file is None or not _is_users(name, file, home):
            continue
        files[file] = None
        if file.suffix == ".py":
            todo += [(imported, home) for imported in _imports(name, file)]
    return parts, sorted(files)


@functools.cache
def users_version(files: tuple[Path, ...]) -> str:
    """Version of a user's code: a hash of its syntax trees, without comments and docstrings."""
    digests = [
        _digest("".join(_definitions(ast.parse(file.read_bytes()), (), everything=True)))
        if file.suffix == ".py"
        else hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    ]
    return _digest("".join(sorted(digests)))[:12]


def _file_of(module: str) -> Path | None:
    loaded = sys.modules.get(module)
    origin = getattr(loaded, "__file__", None)
    if loaded is None:
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError, AttributeError):
            return None
        origin = spec.origin if spec is not None and spec.has_location else None
    return Path(origin).resolve() if origin is not None and Path(origin).is_file() else None


def _is_users(module: str, file: Path, home: str) -> bool:
    """Whether a module is a user's own: outside of what is installed, or of the very package that a class is from."""
    package = module.partition(".")[0]
    if package in _LIBRARIES:
        return False
    installed = any(folder in file.parents for folder in _installed())
    return not installed or package == home.partition(".")[0]


@functools.cache
def _installed() -> tuple[Path, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple({Path(sysconfig.get_path(name)).resolve() for name in names})


def _imports(module: str, file: Path) -> Iterator[str]:
    """Dotted names of what a module may import, wherever in it that stands."""
    loaded = sys.modules.get(module)
    package = getattr(loaded, "__package__", None) or module.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                parts = alias.name.split(".")
                yield from (".".join(parts[: i + 1]) for i in range(len(parts)))
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            if base:
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names)


def _declared(tree: ast.Module) -> list[int]:
    values = [node.value for node in tree.body if _is_declaration(node)]
    return [value.value for value in values if isinstance(value, ast.Constant) and type(value.value) is int]


def _is_declaration(node: ast.AST) -> TypeGuard[ast.Assign]:
    targets = node.targets if isinstance(node, ast.Assign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)] == [DECLARATION]


def _definitions(tree: ast.Module, chosen: tuple[str, ...], *, everything: bool = False) -> list[str]:
    """A digest of each statement of a module that can change a number.

    Args:
        tree: The module.
        chosen: Functions and methods (``Class.method``) that count; none named means all of the module.
        everything: Whether imports and annotations count as well.
    """
    body: list[ast.stmt] = list(tree.body)
    if chosen:
        members = {f"{node.name}.{each.name}": each for node in body if isinstance(node, ast.ClassDef)
                   for each in node.body if isinstance(each, ast.FunctionDef)}  # fmt: skip
        members |= {node.name: node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        body = [members[name] for name in chosen]
    kept = (text for node in body if (text := _text_of(node, everything)))
    return [_digest(text) for text in kept]


def _text_of(node: Any, everything: bool) -> str:
    """A syntax tree as text, the same in all versions of Python; empty for what computes nothing."""
    if isinstance(node, list):
        return ",".join(text for each in node if (text := _text_of(each, everything)))
    if not isinstance(node, ast.AST):
        return repr(node)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return ""  # A docstring, or a text that stands for a comment.
    fields = {name: value for name, value in ast.iter_fields(node) if name not in ("ctx", "type_comment", "kind")}
    if not everything:
        if isinstance(node, ast.Import | ast.ImportFrom) or _is_declaration(node):
            return ""
        if isinstance(node, ast.AnnAssign):
            # The fields of a dataclass: their names and order, and values, are what is left.
            fields = {"targets": [node.target], "value": node.value}
        fields = {name: value for name, value in fields.items() if name not in ("annotation", "returns", "type_params")}
    # Newer versions of Python have more fields, which are empty.
    texts = (f"{name}={_text_of(value, everything)}" for name, value in fields.items() if value not in (None, []))
    kind = "Assign" if isinstance(node, ast.AnnAssign) and not everything else type(node).__name__
    return f"{kind}({';'.join(texts)})"


def _tokens_of_cpp(source: str) -> str:
    """C++ without comments and white space."""
    without = re.sub(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', lambda found: found[1] or " ", source, flags=re.DOTALL)
    return " ".join(without.split())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
