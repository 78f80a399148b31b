"""Nodes of the config that name a class: the class is found, and the node is checked against its signature.

A user's own class is therefore checked like the built-in ones.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bench.errors import is_stop, nearest, shown
from bench.shapes import words


def locate(node: Any, key: str) -> Callable[..., Any]:
    """Return the class or function that a YAML node names in ``_target_``.

    Raises:
        ValueError: The node names none, or it cannot be imported.
    """
    return named(node.get("_target_") if isinstance(node, Mapping) else None, f"{key}._target_")


def named(target: Any, key: str) -> Callable[..., Any]:
    """Return the class or function of a dotted name.

    Args:
        target: The name.
        key: The setting that has it, for messages.

    Raises:
        ValueError: It is no name, or cannot be imported.
    """
    if not isinstance(target, str):
        raise ValueError(f"`{key}` must be the dotted name of a class, got {target!r}")
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except BaseException as error:
        # Importing a user's file can raise any exception, or end the process.
        if is_stop(error):
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"`{key}` must be importable, got {target!r} ({reason}){_shadowed(module)}") from error
    if not callable(found):
        raise ValueError(f"`{key}` must be a class or a function, got {target!r}")
    return found


def _shadowed(module: str) -> str:
    """Return a hint where a user's own module has the name of a package of ours, which Python finds first."""
    name = module.partition(".")[0]
    if name not in ("bench", "conf", "tasks"):
        return ""
    ours = Path(importlib.import_module(name).__file__ or "").parent
    for folder in map(Path, sys.path):
        for found in (folder / f"{name}.py", folder / name):
            if (found.is_dir() or found.suffix) and found.exists() and not found.samefile(ours):
                return f"; {name} is a package of rnn-bench: give {found} another name"
    return ""


def check_arguments(node: Mapping[str, Any], key: str, supplied: Iterable[str] = ()) -> dict[str, Any]:
    """Check the keys and types of a YAML node against the signature of its ``_target_``.

    Args:
        node: The node, resolved, as plain containers.
        key: Its name in the config, for messages.
        supplied: Parameters that the program passes by itself.

    Returns:
        The node with integers turned into floats where the target takes floats, so that 1 and 1.0 are the same setting.

    Raises:
        ValueError: A key is there that the target does not take, or one is missing that it needs.
        TypeError: A value has the wrong type.
    """
    target = locate(node, key)
    parameters = parameters_of(target)
    supplied = set(supplied)
    allowed = [name for name in parameters if name not in supplied]
    given = {name: value for name, value in node.items() if not name.startswith("_")}
    for name in given:
        if name not in allowed:
            raise ValueError(
                f"`{key}.{name}` is no setting of {target.__name__}{nearest(name, allowed) or '.'} "
                f"It takes: {', '.join(allowed) or 'none'}"
            )
    checked = dict(node)
    for name in allowed:
        if name not in given:
            if parameters[name].default is inspect.Parameter.empty:
                raise ValueError(f"`{key}.{name}` must be given, {target.__name__} needs it")
            continue
        hint, value = parameters[name].annotation, given[name]
        if isinstance(value, Mapping) and "_target_" in value:
            found = locate(value, f"{key}.{name}")
            if inspect.isclass(hint) and not (inspect.isclass(found) and issubclass(found, hint)):
                raise TypeError(f"`{key}.{name}` must be {words(hint)}, got those of {value['_target_']}")
            # What is made later gets its first arguments then.
            first = list(parameters_of(found))[:2] if value.get("_partial_") else ()
            checked[name] = check_arguments(value, f"{key}.{name}", first)
        else:
            try:
                checked[name] = _converted(value, hint)
            except msgspec.ValidationError as error:
                raise TypeError(f"`{key}.{name}` must be {words(hint)}, got {shown(value)}") from error
    return checked


def _converted(value: Any, hint: Any) -> Any:
    """Return a YAML value as a type has it, in plain containers: an integer becomes a float where only a float fits.

    A list passes for a tuple or any other sequence, but a bool does not pass for a number. A type that msgspec does not
    know is not checked.

    Raises:
        msgspec.ValidationError: It does not fit.
    """
    try:
        return _lists(msgspec.to_builtins(msgspec.convert(value, _from_yaml(hint))))
    except TypeError:
        return value


_PLAIN = (
    bool, int, float, str, list, tuple, dict, type(None), Sequence, Mapping, typing.Literal, typing.Union,
    types.UnionType,
)  # fmt: skip
"""What a value of a YAML can be, as :func:`typing.get_origin` has it."""


def _from_yaml(hint: Any) -> Any:
    """Return a type without those members of its unions that no YAML has, such as ``Tensor`` in ``float | Tensor``."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        plain = [each for each in arguments if (typing.get_origin(each) or each) in _PLAIN]
        return typing.Union[tuple(map(_from_yaml, plain or arguments))]  # noqa: UP007 - the members are in a list
    if origin in (tuple, list, dict, Sequence, Mapping):
        return types.GenericAlias(origin, tuple(map(_from_yaml, arguments)))
    return hint


def _lists(value: Any) -> Any:
    """Turn tuples into lists, as YAML has them."""
    if isinstance(value, list | tuple):
        return [_lists(each) for each in value]
    return {key: _lists(each) for key, each in value.items()} if isinstance(value, dict) else value


def parameters_of(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return named parameters with resolved hints; ``**kwargs`` of a class stand for the parameters of its bases."""
    found: dict[str, inspect.Parameter] = {}
    owners = inspect.getmro(target) if inspect.isclass(target) else (target,)
    for owner in owners:
        function = owner.__dict__.get("__init__") if inspect.isclass(owner) else owner
        if function is None or function is object.__init__:
            continue
        try:
            hints = typing.get_type_hints(function)
        except NameError:  # The file imports the names of its types for a type checker alone.
            hints = {}
        parameters = inspect.signature(function).parameters.values()
        for parameter in parameters:
            named = parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
            if named and parameter.name != "self" and parameter.name not in found:
                found[parameter.name] = parameter.replace(annotation=hints.get(parameter.name, Any))
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return found
