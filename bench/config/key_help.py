"""What ``bench run --help`` says of every key: what it means, its value, and what is allowed.

The docstrings say it: ``Attributes`` of the dataclasses of the schema, and ``Args`` of the classes that ``_target_``
names. These are read from their files and not imported, because torch comes with them and a help does not wait for it.
Where a class is not documented in that form, as torch's optimisers are not, the comments of its YAML in ``conf/`` do.
"""

from __future__ import annotations

import ast
import importlib.machinery
import inspect
import re
import sys
import textwrap
import typing
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bench.config.launchers import CLUSTERS
from bench.config.schema import Config
from bench.errors import WIDTH, as_override


def key_help(config: str, config_dir: str | None = None) -> str:
    """Return a line for each key of a config with its value, and below it what the key means.

    Args:
        config: The config as YAML, without the node ``hydra``.
        config_dir: A folder of the user's, where modules are looked for first.
    """
    folders = [*([config_dir] if config_dir else []), *sys.path]
    try:
        values = OmegaConf.to_container(OmegaConf.create(config), resolve=True)
    except OmegaConfBaseException:
        # An interpolation of something that is not there yet is shown as it is written.
        values = OmegaConf.to_container(OmegaConf.create(config), resolve=False)
    assert isinstance(values, dict)
    docs, kinds = entries(inspect.getdoc(Config)), typing.get_type_hints(Config)
    lines: list[str] = []
    for section, value in values.items():
        name = str(section)
        if isinstance(value, Mapping):
            lines += ["", *_wrapped(f"{name}: {docs.get(name, 'No key of ours.')}", "")]
            kind = CLUSTERS.get(str(value.get("name")), kinds[name]) if name == "launcher" else kinds.get(name)
            lines += _node(value, name, entries(inspect.getdoc(kind)) if is_dataclass(kind) else None, folders)
        else:
            lines += ["", *_key(name, value, docs.get(name, ""), "")]
    return "\n".join(lines).strip("\n")


def entries(docstring: str | None) -> dict[str, str]:
    """Return the text of each entry of ``Attributes`` or ``Args`` in a docstring of Google's form, in one line each."""
    found: dict[str, str] = {}
    parts = re.findall(r"^(?:Args|Attributes):\n((?:[ ]+.*\n|\n)+)", f"{docstring or ''}\n", re.MULTILINE)
    for line in "\n".join(map(textwrap.dedent, parts)).splitlines():
        if opening := re.match(r"(\w+)(?: \([^)]*\))?: (.*)", line):
            name, text = opening.groups()
            found[name] = text
        elif found and line.strip():
            name = next(reversed(found))
            found[name] += f" {line.strip()}"
    return {name: _plain(text) for name, text in found.items()}


def _node(node: Mapping[Any, Any], key: str, docs: Mapping[str, str] | None, folders: list[str]) -> Iterator[str]:
    """Return the lines of the keys below one; ``docs`` is ``None`` where the node names a class."""
    if docs is None:
        docs = {**_comments(key, node.get("_target_")), **_of_target(str(node.get("_target_")), folders)}
    for name, value in node.items():
        if isinstance(value, Mapping) and "_target_" in value:
            yield from _node(value, f"{key}.{name}", None, folders)
        elif name == "_target_":
            yield from _key(f"{key}.{name}", value, "", "  ")
        elif name != "_partial_":
            yield from _key(f"{key}.{name}", value, docs.get(name, f"See {node.get('_target_')}."), "  ")


def _key(key: str, value: Any, text: str, indent: str) -> Iterator[str]:
    shown = f"[{','.join(map(as_override, value))}]" if isinstance(value, list) else as_override(value)
    yield f"{indent}{key}={shown}"
    yield from _wrapped(text, f"{indent}    ")


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent or "  ", break_on_hyphens=False,
        break_long_words=False,
    )  # fmt: skip


def _plain(text: str) -> str:
    """Return a docstring's text as the command line has its words, without markup."""
    text = re.sub(r":\w+:`([^`]*)`", r"\1", text).replace("``None``", "null")
    return re.sub(r"``\"?(.*?)\"?``", r"\1", text)


def _of_target(target: str, folders: list[str]) -> dict[str, str]:
    """Return what the docstrings of a class and of its bases say of its arguments, without importing any."""
    found: dict[str, str] = {}
    todo, seen = [target], set()
    while todo:
        name = todo.pop(0)
        module, _, own = name.rpartition(".")
        file = _file_of(module, folders) if name not in seen else None
        seen.add(name)
        try:
            tree = ast.parse(file.read_bytes()) if file is not None else None
        except (OSError, SyntaxError, ValueError):
            # A run says what is wrong with it; this says all that it can.
            tree = None
        if file is None or tree is None:
            continue
        imported = _imports(tree, module if file.name == "__init__.py" else module.rpartition(".")[0])
        made = [node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == own]
        if not made:
            todo += [imported[own]] if own in imported else []
            continue
        found = {**entries(ast.get_docstring(made[0])), **found}
        if isinstance(made[0], ast.ClassDef):
            bases = map(ast.unparse, made[0].bases)
            todo += [imported.get(base, base if "." in base else f"{module}.{base}") for base in bases]
    return found


def _file_of(module: str, folders: list[str]) -> Path | None:
    """Return the source file of a module, found like a module is found but without importing its packages."""
    spec = None
    for name in module.split("."):
        spec = importlib.machinery.PathFinder.find_spec(name, folders)
        if spec is None:
            return None
        folders = list(spec.submodule_search_locations or ())
    is_source = spec is not None and spec.origin is not None and spec.origin.endswith(".py")
    return Path(str(spec.origin)) if spec is not None and is_source else None


def _imports(tree: ast.Module, package: str) -> dict[str, str]:
    """Return the dotted name of what each ``from ... import ...`` of a module brings."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {alias.asname or alias.name: f"{base}.{alias.name}" for alias in node.names}
    return found


def _comments(group: str, target: Any) -> dict[str, str]:
    """Return the comment of each key of the first YAML of a group that names a class."""
    folder = resources.files("conf") / group
    for file in sorted(folder.iterdir(), key=lambda each: each.name) if folder.is_dir() else []:
        text = file.read_text(encoding="utf-8") if file.name.endswith(".yaml") else ""
        if text and yaml.safe_load(text).get("_target_") == target:
            found = re.findall(r"^(\w+):[^#\n]*# (.*)$", text, re.MULTILINE)
            return {name: f"{said[0].upper()}{said[1:]}." for name, said in found}
    return {}
