"""One-line messages for what is wrong with a config: our own, and those for exceptions of Hydra and OmegaConf."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from typing import Any

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bench.errors import nearest, one_of

Compose = Callable[[list[str]], DictConfig]
_TYPES = {"Integer": "an integer", "Float": "a number", "Boolean": "true or false", "String": "a text"}


class ConfigError(ValueError):
    """A setting that cannot be run; the message is one line with the key, the value and what is allowed."""


def explain(error: BaseException, compose: Compose | None = None, overrides: list[str] | None = None) -> str:
    """Explain in one line an exception that composing a config has raised.

    Args:
        error: The exception.
        compose: Function that composes a list of overrides; it serves to find names that would have been right.
        overrides: The overrides that could not be composed.
    """
    chain = list(_causes(error))
    text = " ".join(str(error).split())
    for cause in chain:
        if isinstance(cause, ConfigError):
            return str(cause)
        if isinstance(cause, OverflowError) and (found := re.search(r"full_key: (\S+)", text)):
            return f"{found[1]} must be a number below 1e308, got an integer of more than 308 digits"
        if isinstance(cause, RecursionError):
            return "the defaults of a YAML must not lead back to itself"
        if isinstance(cause, MissingConfigException) and cause.missing_cfg_file:
            return _unknown_choice(cause)
        if isinstance(cause, OverrideParseException):
            reason = " ".join(str(cause).split())
            quoted = re.search(r"[^\w./:+~@=,\[\]{}()*-]|=.*=", str(cause.override), re.ASCII)
            hint = (
                "; a value with other characters is put into two kinds of quotes, \"key='a value'\"" if quoted else ""
            )
            return f"{cause.override!r} must have the form key=value{hint} ({reason})"
    if found := re.search(r"In '([^']+)': ConfigKeyError .*Key '([^']+)' not in '", text):
        whole = "; what sets any of them begins with # @package _global_" if found[1].startswith("experiment/") else ""
        return f"{found[1]}.yaml must have settings that there are, got {found[2]}{whole}"
    for pattern in (
        r"Could not override '(?P<key>[^']+)'\. No match in the defaults list",
        r"Could not override '(?P<key>[^']+)'",
        r"Could not delete from config\. '(?P<key>[^']+)'",
        r"Could not append to config\. An item is already at '(?P<key>[^']+)'",
    ):
        if found := re.search(pattern, text):
            typed = next((t for c in chain if (t := _wrong_type(c, found["key"], overrides))), None)
            if typed is None and "already at" in text:
                return f"{found['key']} is there already: change it without a plus, {found['key']}=..."
            return typed or _unknown_key(found["key"], compose, overrides or [])
    for cause in chain:
        if typed := _wrong_type(cause, None, overrides):
            return typed
    if odd := _odd_choice(overrides or []):
        return odd
    return textwrap.shorten(text or type(error).__name__, 300, placeholder=" ...")


def groups() -> set[str]:
    """Return what a YAML is chosen for: cell, task, and the like."""
    return {entry.name for entry in resources.files("conf").iterdir() if entry.is_dir()}


def _odd_choice(overrides: list[str]) -> str | None:
    """Explain an override that cannot be the choice of an option: ``cell=null``, ``task=[1,2]``, ``=3``."""
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if not key:
            return f"{override!r} must have the form key=value"
        if key in groups() and (value == "null" or not re.fullmatch(r"[A-Za-z_][\w/-]*", value)):
            return f"{key} must be the name of one option, got {value}"
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and those it came from; under a debugger, OmegaConf's chains can run in a circle."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _unknown_choice(error: MissingConfigException) -> str:
    group, _, choice = str(error.missing_cfg_file).rpartition("/")
    options = list(error.options or [])
    if not group:
        return " ".join(str(error).split())
    hint = " (--config-dir adds yours)" if group in ("cell", "task", "optimizer", "experiment") else ""
    return f"{group} must be {one_of(choice, options)}{hint}"


def _wrong_type(error: BaseException, key: str | None, overrides: list[str] | None) -> str | None:
    """Explain a value that OmegaConf could not convert."""
    if not isinstance(error, OmegaConfBaseException) or error.msg is None:
        return None
    name = error.full_key or key
    if found := re.search(r"Value (.+?)(?: of type \S+)? could not be converted to (\w+)", error.msg):
        return f"{name} must be {_TYPES.get(found[2], found[2])}, got {found[1]}"
    if found := re.search(r"raised while resolving interpolation: (.+)", error.msg):
        reason = found[1].strip("\"'")
        return f"{name or 'a setting'} must be a value, got an interpolation that fails: {reason}"
    if "Recursive interpolation" in error.msg:
        return f"{name or 'a setting'} must be a value, got an interpolation that leads back to itself"
    if found := re.search(r"Value (.+?) is not a valid bool", error.msg):
        return f"{name} must be true or false, got {found[1]}"
    if found := re.search(r"is not Optional|Incompatible value|Non optional field", error.msg):
        return f"{name} must not be null"
    if found := re.search(
        r"Unexpected type annotation|Cannot convert|Invalid type assigned|not a subclass|Object of", error.msg
    ):
        given = next((o.partition("=")[2] for o in overrides or [] if o.lstrip("+~").startswith(f"{name}=")), "?")
        return f"{name} must be a single value or the keys below it, got {given}"
    return None


def _unknown_key(key: str, compose: Compose | None, overrides: list[str]) -> str:
    """Explain a key that does not exist, and name the nearest of those that do."""
    if compose is None:
        return f"{key} is no setting"
    if f"{key}=" in " ".join(overrides) and (resources.files("conf") / key).is_dir():
        return f"{key} is not chosen by default: add it with a plus, +{key}=..."
    kept = [override for override in overrides if override.lstrip("+~").partition("=")[0] != key]
    try:
        cfg = compose(kept)
        names = list(_keys(OmegaConf.to_container(cfg, resolve=False)))
    except Exception as other:  # noqa: BLE001 - there is a second mistake, which is explained instead
        return explain(other, compose, kept) if len(kept) < len(overrides) else f"{key} is no setting"
    names = [name for name in names if not name.rpartition(".")[2].startswith("_")]
    leaf = key.rpartition(".")[2]
    same_leaf = [name for name in names if name.rpartition(".")[2] == leaf]
    hint = f", did you mean {same_leaf[0]}?" if same_leaf else nearest(key, names)
    section = key.rpartition(".")[0]
    siblings = [name for name in names if name.rpartition(".")[0] == section]
    allowed = f" The settings there are: {', '.join(siblings)}" if section and siblings else ""
    return f"{key} is no setting{hint or '.'}{allowed}"


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of everything in a config that a user may set, without Hydra's own."""
    if not isinstance(node, Mapping):
        return
    for name, value in node.items():
        if prefix == "" and name == "hydra":
            continue
        yield f"{prefix}{name}"
        yield from (key for key in _keys(value, f"{prefix}{name}.") if not str(name).startswith("_"))
