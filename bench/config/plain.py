"""A composed config as plain containers, and errors about a part of it as one line that names the key."""

from __future__ import annotations

import contextlib
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any, TypeVar, cast

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bench.config.explain import ConfigError, explain
from bench.config.schema import Config
from bench.config.targets import locate, parameters_of
from bench.errors import is_stop, nearest, shown

T = TypeVar("T")
_BELOW = re.compile(
    r"Error in call to target '[^']+': \w+\((?P<quote>['\"])(?P<message>.*)(?P=quote),?\) full_key: (?P<key>\S+)"
)
"""What Hydra says of an exception in what is made for an argument of something else."""


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Return the config as plain containers, with all sections that there must be and no other."""
    try:
        try:
            config = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))
        except OmegaConfBaseException:
            # What refers to a missing value would be an error of its own.
            for key, value in values(OmegaConf.to_container(cfg, resolve=False), ""):
                if value == MISSING:
                    raise ConfigError(f"{key} must be given, got ???") from None
            raise
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error)) from error
    except RecursionError as error:
        raise ConfigError("the config must not nest as deeply, or refer to itself") from error
    for name in Config.__dataclass_fields__:
        if name not in config:
            raise ConfigError(f"{name} must be given")
    check_names(config)
    for key, value in values(config, ""):
        if isinstance(value, int) and not -(2**63) <= value < 2**63 and key != "seed":
            raise ConfigError(f"{key} must be >= -2^63 and < 2^63, got {shown(value)}")
    return config


def check_names(names: Iterable[str]) -> None:
    """Raise :class:`ConfigError` for what is none of the settings that there are."""
    for name in names:
        if name not in Config.__dataclass_fields__:
            raise ConfigError(f"{name} is no setting{nearest(name, Config.__dataclass_fields__)}")


def check_seed(seed: Any) -> None:
    """Raise :class:`ConfigError` unless all random numbers can follow from it."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ConfigError(f"seed must be >= 0 and < 2^63, got {seed}")


def values(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Yield the values below a node, with their keys; those of a list have its key."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from values(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for value in node:
            yield from values(value, key)
    else:
        yield key, node


def of_its_class(node: Any, group: str, overrides: list[str]) -> Any:
    """Return a node; if the command line names another class than the YAML, without those settings that it lacks."""
    keys = [override.lstrip("+~").partition("=")[0] for override in overrides]
    given = {".".join(key.split(".")[:2]) for key in keys}
    if f"{group}._target_" not in given or not isinstance(node, dict):
        return node
    taken = set(parameters_of(locate(node, group)))
    if group == "optimizer":
        taken &= {"lr"}  # All else has another meaning, or a default of its own.
    return {key: value for key, value in node.items() if key[:1] == "_" or key in taken or f"{group}.{key}" in given}


def is_from_elsewhere(node: Mapping[str, Any]) -> bool:
    """Return whether a cell is a module from elsewhere, named by ``module`` and by the arguments of its class."""
    arguments = node.get("arguments")
    return isinstance(arguments, Mapping) and arguments.get("_target_") == node.get("module")


def name_of(group: str, config: Mapping[str, Any], choices: Mapping[str, str | None], overrides: list[str]) -> str:
    """Return the YAML's name, or that of the class where the command line names another class than the YAML does."""
    for key in ("_target_", *(("module",) if is_from_elsewhere(config[group]) else ())):
        if any(override.lstrip("+").startswith(f"{group}.{key}=") for override in overrides):
            return str(config[group][key]).rpartition(".")[2]
    choice = choices.get(group)
    if not choice:
        raise ConfigError(f"{group} must be the name of one option, got {shown(config[group])}")
    return choice.replace("/", "-")


@contextlib.contextmanager
def naming(section: str) -> Iterator[None]:
    """Turn an exception about `` `key` `` into one line about ``section.key``."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(_qualify(str(error), section)) from error
    except BaseException as error:
        # A class of the user's, or torch asked for 10^10 units, can raise anything; some end the process.
        if is_stop(error):
            raise
        if found := _BELOW.search(" ".join(str(error).split())):
            raise ConfigError(_qualify(found["message"], f"{section}.{found['key']}")) from error
        ends = not isinstance(error, Exception)
        text = f"{type(error).__name__} {error}" if ends else str(error) or type(error).__name__
        raise ConfigError(_qualify(short(text), section)) from error


def short(text: str) -> str:
    """Return a text in one line; what torch raises has a dozen."""
    return textwrap.shorten(text, 300, placeholder=" ...")


def section(kind: type[T], config: Mapping[str, Any], section: str) -> T:
    """Return the dataclass of one section; ``+section.key=`` on the command line could have added to it."""
    names = [field.name for field in fields(cast(Any, kind))]
    with naming(section):
        for name in config[section]:
            if name not in names:
                raise ConfigError(f"`{name}` is no setting{nearest(name, names)}")
        return kind(**config[section])


def _qualify(message: str, section: str) -> str:
    if message.startswith("`"):
        key, _, rest = message[1:].partition("`")
        return f"{key if key.startswith(f'{section}.') or not section else f'{section}.{key}'}{rest}"
    return f"{section}: {message}" if section else message
