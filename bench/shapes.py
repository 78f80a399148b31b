"""The shape of data from files: msgspec checks it against a type, and one line says what does not fit.

Files of others' are data, too: only regular files are read, and of YAML no more than anybody writes.

A type is a ``msgspec.Struct``, which refuses unknown keys if it says so, or a container. Where a type alone does not
say what is allowed, ``Annotated[..., Meta(description="...")]`` does in words.
"""

from __future__ import annotations

import re
import stat
import types
from collections.abc import Collection, Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
import yaml

from bench.errors import nearest, shown

T = TypeVar("T")
MOST_BYTES, MOST_VALUES, MOST_LEVELS = 1_000_000, 20_000, 50
"""Bounds of a YAML: its size, its values with every alias counted as what it stands for, and how deep they nest."""
_WORDS = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "a text",
    type(None): "null",
}


class ShapeError(ValueError):
    """Data of another shape; the message names the key, what is allowed and what there is."""


def convert(data: Any, kind: type[T], name: str = "", *, from_texts: bool = False) -> T:
    """Take plain containers, such as those from YAML, as a type.

    Args:
        data: The containers.
        kind: The type.
        name: Dotted key of the data, for messages.
        from_texts: Whether numbers may be texts.

    Raises:
        ShapeError: It is of another shape.
    """
    try:
        return msgspec.convert(data, kind, strict=not from_texts)
    except msgspec.ValidationError as error:
        raise ShapeError(_line(str(error), data, kind, name)) from error


def yaml_names(folder: Traversable) -> list[str]:
    """Return the names of the YAMLs in a folder, sorted, without their ending."""
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def content_of(path: Path) -> bytes:
    """Return the content of a regular file; anything else might never end.

    Raises:
        OSError: It cannot be read, or is another kind of file.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(f"{path} is no regular file")
    return path.read_bytes()


def read_yaml(path: Traversable) -> Any:
    """Return what a YAML holds, as plain containers.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no YAML in UTF-8, or beyond the bounds; the message is the reason alone, in one line.
    """
    content = content_of(path) if isinstance(path, Path) else path.read_bytes()
    check_yaml(content)
    try:
        return yaml.load(content, _LOADER)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


def check_yaml(content: bytes) -> None:
    """Check that a YAML can be read and is within the bounds, without making what it stands for.

    Raises:
        ValueError: See :func:`read_yaml`.
    """
    if len(content) > MOST_BYTES:
        raise ValueError(f"it has {len(content)} bytes, more than {MOST_BYTES}")
    content.decode("utf-8")
    count, sizes, begun = 0, {}, []
    try:
        for event in yaml.parse(content, _LOADER):
            if isinstance(event, yaml.CollectionEndEvent):
                anchor, before = begun.pop()
                sizes[anchor] = count - before
            elif isinstance(event, yaml.AliasEvent):
                if any(anchor == event.anchor for anchor, _ in begun):
                    raise ValueError(f"its alias {event.anchor} stands inside of what it stands for")
                count += sizes.get(event.anchor, 1)
            elif isinstance(event, yaml.NodeEvent):
                if isinstance(event, yaml.ScalarEvent):
                    sizes[event.anchor] = 1
                else:
                    begun.append((event.anchor, count))
                count += 1
            if len(begun) > MOST_LEVELS or count > MOST_VALUES:
                raise ValueError(f"it has more than {MOST_LEVELS} levels or {MOST_VALUES} values, aliases included")
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


_LOADER: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
"""The loader in C takes a hundredth of the time."""


def words(hint: Any) -> str:
    """Return a type in words, as a user would say it."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return next((meta.description for meta in arguments[1:] if meta.description), words(arguments[0]))
    if origin in (Union, types.UnionType):
        known = (each for each in arguments if each in _WORDS or get_origin(each) is not None or _is_struct(each))
        return " or ".join(dict.fromkeys(map(words, known)))
    if origin is Literal:
        return f"{'one of ' if len(arguments) > 1 else ''}{', '.join(map(str, arguments))}"
    if origin is tuple and ... not in arguments:
        return f"a list of {len(arguments)} numbers"
    if _is_struct(hint):
        return f"a mapping with {', '.join(_fields(hint))}"
    kind = origin or hint
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return f"a mapping, each value {words(arguments[1])}" if arguments[1:] not in ((), (Any,)) else "a mapping"
    if isinstance(kind, type) and issubclass(kind, Collection) and hint not in _WORDS:
        return f"a list, each item {words(arguments[0])}" if arguments[:1] not in ((), (Any,)) else "a list"
    return _WORDS.get(hint) or f"the settings of {getattr(hint, '__name__', hint)}"


def _line(error: str, data: Any, kind: Any, name: str) -> str:
    """Return one line for an error of msgspec's, such as ``Expected `int`, got `str` - at `$.time.steps` ``."""
    parts = re.fullmatch(r"(.*?)(?: - at ((?:`key` in )?`\$[^`]*`))?", error, re.DOTALL)
    assert parts is not None
    hint, found, place = kind, parts[1], parts[2] or ""
    # Of a mapping msgspec says ``[...]`` and not which value it is: the message is then about the mapping.
    for key, index in re.findall(r"\.(\w+)|\[(\d+)\]", place.partition("[...]")[0]):
        hint, data = (_fields(hint)[key], data[key]) if key else (get_args(_bare(hint))[0], data[int(index)])
        name = f"{name}[{index}]" if index else _below(name, key)
    where = f"`{name}` " if name else ""
    if missing := re.fullmatch(r"Object missing required field `(.+)`", found):
        return f"`{_below(name, missing[1])}` must be {words(_fields(hint)[missing[1]])}, and is not there"
    if unknown := re.fullmatch(r"Object contains unknown field `(.+)`", found):
        allowed = list(_fields(hint))
        return f"{where}must have the keys {', '.join(allowed)} alone, got {unknown[1]!r}{nearest(unknown[1], allowed)}"
    if place.startswith("`key`"):
        return f"{where}must have texts as keys, got {shown(data)}"
    choices = get_args(_bare(hint)) if get_origin(_bare(hint)) is Literal else ()
    return f"{where}must be {words(hint)}, got {shown(data)}{nearest(str(data), choices)}"


def _is_struct(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, msgspec.Struct)


def _below(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _fields(hint: Any) -> dict[str, Any]:
    """Return the names and types of the entries of a class."""
    return get_type_hints(_bare(hint), include_extras=True)


def _bare(hint: Any) -> Any:
    """Return a type without annotations, and without null where that is the only other one."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _bare(arguments[0])
    if origin in (Union, types.UnionType):
        others = [each for each in arguments if each is not type(None)]
        return _bare(others[0]) if len(others) == 1 else hint
    return hint
