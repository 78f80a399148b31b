"""A user's own code behind a run: modules of the classes in the config, what these import, packages, and data files."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from bench.config.numerics import part_of
from bench.config.syntax_tree import definitions, digest
from bench.errors import shown

_LIBRARIES = ("torch", "lightning", "torchmetrics", "hydra", "omegaconf", "numpy")
"""Packages whose versions a record has anyway."""


@dataclass(frozen=True)
class Behind:
    """What the classes of a config rest on.

    Attributes:
        parts: Names of parts of ours.
        files: Files of the user's, sorted.
        packages: Version by name of each installed distribution that a file of the user's imports or a class is from,
            but for those that every record names.
    """

    parts: set[str]
    files: list[Path]
    packages: dict[str, str]


def behind(kinds: Iterable[type]) -> Behind:
    """Return what classes rest on: by their bases, and by what the modules of a user's import.

    Files are those of the user's that are imported from the same folder; of an installed package that a class is from,
    the modules that it uses.

    Args:
        kinds: Classes that a config names.

    Raises:
        ValueError: A class of the user's whose source is in no file.
    """
    parts: set[str] = set()
    files: dict[Path, None] = {}
    packages: dict[str, str] = {}
    todo = [(base.__module__, kind.__module__) for kind in kinds for base in kind.__mro__]
    seen: set[str] = set()
    while todo:
        name, home = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        package = name.partition(".")[0]
        if package in ("bench", "tasks"):
            parts |= {found} if (found := part_of(name)) is not None else set()
            # What a task shares with others stands in modules beside it.
            file = _file_of(name) if package == "tasks" else None
            todo += [(used, home) for used in _imports(name, file) if used.startswith("tasks.")] if file else []
            continue
        file = _file_of(name)
        if file is None and name == home and name not in sys.builtin_module_names:
            raise ValueError(f"`_target_` must name a class whose source is in a file, got one of {name}")
        if file is None or package in _LIBRARIES:
            continue
        if any(folder in file.parents for folder in _installed()):
            if package in sys.stdlib_module_names:
                continue
            packages |= {name: importlib.metadata.version(name) for name in _distributions_of(package, file)}
            if package != home.partition(".")[0]:
                continue
        files[file] = None
        # Python runs the packages that a module is in before the module.
        todo += [(above, home) for above in _above(name)]
        if file.suffix == ".py":
            todo += [(imported, home) for imported in _imports(name, file)]
    return Behind(parts, sorted(files), dict(sorted(packages.items())))


def declared_files(made: object) -> list[Path]:
    """Return the data files that a class of the user's names in ``files``, a class attribute or a property.

    A path is relative to the file of the class. Of a folder all files count that are in it, at any depth.

    Args:
        made: An instance of the class, or the class itself; the parts of a module may name files as well.

    Raises:
        ValueError: It names anything but files that are there.
    """
    if isinstance(made, nn.Module):
        return [file for part in made.modules() for file in _declared_by(part)]
    return _declared_by(made)


def _declared_by(made: object) -> list[Path]:
    kind = made if isinstance(made, type) else type(made)
    named = getattr(made, "files", ())
    if not isinstance(named, list | tuple) or not all(isinstance(each, str | os.PathLike) for each in named):
        raise ValueError(f"`files` of {kind.__name__} must be a list of paths, got {shown(named)}")
    home, found = _file_of(kind.__module__), []
    for each in named:
        path = (home.parent if home is not None else Path()) / Path(each).expanduser()
        below = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        for file in below:
            if not (file.is_file() and os.access(file, os.R_OK)):
                raise ValueError(f"`files` of {kind.__name__} must name files that can be read, got {shown(str(each))}")
        found += below
    return found


def users_version(files: tuple[Path, ...]) -> str:
    """Return the version of a user's code: a hash of data files and of syntax trees without comments and docstrings."""
    digests = [source_hash(file) if file.suffix == ".py" else _content_hash(file, *_version(file)) for file in files]
    return digest("".join(sorted(digests)))[:12]


@functools.cache
def source_hash(file: Path) -> str:
    """Return the hash of a source as this process found it, since it has been imported."""
    return digest("".join(definitions(ast.parse(file.read_bytes()), (), everything=True)))


def _version(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_mtime_ns, found.st_size


@functools.cache
def _content_hash(file: Path, *version: int) -> str:
    """Return the hash of a file's content; a large one is read again only if it has changed."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


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


def _distributions_of(package: str, file: Path) -> list[str]:
    """Return the distributions that a module is from; several may share a package, and one of them has the file."""
    found = _distributions().get(package, [])
    if len(found) <= 1:
        return found

    def has(name: str) -> bool:
        return any(Path(str(each.locate())).resolve() == file for each in importlib.metadata.files(name) or ())

    return [name for name in found if has(name)]


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    """Return the names of the distributions that each top-level package is from."""
    return importlib.metadata.packages_distributions()


@functools.cache
def _installed() -> tuple[Path, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple({Path(sysconfig.get_path(name)).resolve() for name in names})


def _above(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _imports(module: str, file: Path) -> tuple[str, ...]:
    """Return the dotted names of what a module may import, wherever in it that stands."""
    loaded = sys.modules.get(module)
    package = getattr(loaded, "__package__", None) or module.rpartition(".")[0]
    return _imports_in(package, file, *_version(file))


@functools.cache
def _imports_in(package: str, file: Path, *version: int) -> tuple[str, ...]:
    """Return what a source in a package may import; a file is read again only if it has changed."""
    return tuple(_imports_of(package, file))


def _imports_of(package: str, file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from (*_above(alias.name), alias.name)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            if base:
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names)
