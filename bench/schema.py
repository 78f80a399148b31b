"""The typed schema behind ``conf/config.yaml``, and the check of YAML nodes that name a class.

A misspelt key or a value of the wrong type is an error before anything runs. The parts with a fixed set of keys are
dataclasses; a node with a ``_target_`` (task, cell, optimizer, logger) is checked against that target's signature, so
that a class of yours is checked like the built-in ones.
"""

from __future__ import annotations

import importlib
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

from bench.cells.init import WeightRule
from bench.data import DataConfig
from bench.names import nearest
from bench.probes.probing import ProbeConfig
from bench.runtime import RuntimeConfig
from bench.training import TrainingConfig


@dataclass
class ModelConfig:
    """The network; ranges: :class:`bench.model.SequenceModel`. ``hidden_size`` or ``parameter_budget``, not both."""

    hidden_size: int | None
    parameter_budget: int | None
    layers: int
    dropout: float
    engine: str
    readout_init: str

    def __post_init__(self) -> None:
        if self.readout_init not in get_args(WeightRule):
            allowed = ", ".join(get_args(WeightRule))
            raise ValueError(f"`readout_init` must be one of {allowed}, got {self.readout_init!r}")


@dataclass
class TrainerConfig:
    """Where and how precisely to compute: ``auto``, ``cpu`` or ``gpu``; ``32`` or ``bf16-mixed``."""

    accelerator: str
    precision: str


@dataclass
class LauncherConfig:
    """How the runs of a sweep are shared out.

    Attributes:
        name: ``serial`` (one after the other) or ``joblib`` (several processes).
        workers: Processes on the CPU; ``None`` for as many as cores divided by threads.
        workers_per_gpu: Processes on each GPU; ``None`` for 1.
    """

    name: str
    workers: int | None
    workers_per_gpu: int | None

    def __post_init__(self) -> None:
        if self.name not in ("serial", "joblib"):
            raise ValueError(f"`name` must be one of serial, joblib, got {self.name!r}")
        for name in ("workers", "workers_per_gpu"):
            value = getattr(self, name)
            if value is not None and self.name == "serial":
                raise ValueError(f"`{name}` must be null where launcher is serial, got {value}")
            if value is not None and value < 1:
                raise ValueError(f"`{name}` must be null or >= 1, got {value}")


@dataclass
class Config:
    """Everything ``bench run`` takes. The values are in ``conf/``, never here.

    ``budget`` and ``sweep`` choose settings (:mod:`bench.rows`) and are none themselves: they are not part of what
    a run is. The record says the budget.
    """

    task: Any = MISSING
    cell: Any = MISSING
    model: ModelConfig = MISSING
    optimizer: Any = MISSING
    data: DataConfig = MISSING
    training: TrainingConfig = MISSING
    probe: ProbeConfig = MISSING
    trainer: TrainerConfig = MISSING
    runtime: RuntimeConfig = MISSING
    logger: Any = MISSING
    launcher: LauncherConfig = MISSING
    seed: int = MISSING
    results_dir: str = MISSING
    rerun: str = MISSING
    budget: str | None = MISSING
    sweep: Any = MISSING


def register() -> None:
    """Make the schema and the resolver known to Hydra; harmless when repeated."""
    ConfigStore.instance().store(name="schema", node=Config, provider="bench")
    OmegaConf.register_new_resolver("unless", lambda given, value: value if given is None else None, replace=True)


def locate(node: Any, key: str) -> Callable[..., Any]:
    """The class or function a YAML node names in ``_target_``.

    Raises:
        ValueError: There is none, or it cannot be imported.
    """
    target = node.get("_target_") if isinstance(node, Mapping) else None
    if not isinstance(target, str):
        raise ValueError(f"`{key}._target_` must be the dotted name of a class, got {target!r}")
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:
        # Importing a user's file can raise anything.
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"`{key}._target_` must be importable, got {target!r} ({reason})") from error
    if not callable(found):
        raise ValueError(f"`{key}._target_` must be a class or a function, got {target!r}")
    return found


def check_arguments(node: Mapping[str, Any], key: str, supplied: Iterable[str] = ()) -> dict[str, Any]:
    """Check the keys and types of a YAML node against the signature of its ``_target_``.

    Args:
        node: The node, resolved, as plain containers.
        key: Its name in the config, for messages.
        supplied: Parameters that the program passes itself.

    Returns:
        The node with integers as floats where the target takes floats, so that 1 and 1.0 are the same setting.

    Raises:
        ValueError: A key that the target does not take, or that it needs and does not get.
        TypeError: A value of the wrong type.
    """
    target = locate(node, key)
    parameters = _parameters(target)
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
                raise TypeError(f"`{key}.{name}` must be {_words(hint)}, got those of {value['_target_']}")
            checked[name] = check_arguments(value, f"{key}.{name}")
        elif not _fits(value, hint):
            raise TypeError(f"`{key}.{name}` must be {_words(hint)}, got {shown(value)}")
        else:
            checked[name] = _as_float(value, hint)
    return checked


def _as_float(value: Any, hint: Any) -> Any:
    """An integer as a float where only a float fits; lists item by item."""
    if isinstance(value, list):
        kinds = [kind for kind in typing.get_args(hint) if kind is not ...] or [Any]
        return [_as_float(item, kinds[min(i, len(kinds) - 1)]) for i, item in enumerate(value)]
    kinds = typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)
    integer = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if integer and float in kinds and int not in kinds else value


def _parameters(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Named parameters with resolved hints; ``**kwargs`` of a class are those of its bases."""
    found: dict[str, inspect.Parameter] = {}
    owners = inspect.getmro(target) if inspect.isclass(target) else (target,)
    for owner in owners:
        function = owner.__dict__.get("__init__") if inspect.isclass(owner) else owner
        if function is None or function is object.__init__:
            continue
        hints = typing.get_type_hints(function)
        parameters = inspect.signature(function).parameters.values()
        for parameter in parameters:
            named = parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
            if named and parameter.name != "self" and parameter.name not in found:
                found[parameter.name] = parameter.replace(annotation=hints.get(parameter.name, Any))
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return found


def _fits(value: Any, hint: Any) -> bool:
    """Whether a YAML value is of a type; an integer passes for a float, a list for a tuple, no bool for a number."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is Literal:
        return value in arguments
    if origin in (tuple, list):
        kinds = [argument for argument in arguments if argument is not ...]
        sized = origin is list or ... in arguments or len(value) == len(kinds) if isinstance(value, list) else False
        return sized and all(_fits(item, kinds[min(i, len(kinds) - 1)]) for i, item in enumerate(value))
    if hint in (None, type(None)):
        return value is None
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (bool, str):
        return isinstance(value, hint)
    return hint is Any


_WORDS = {int: "an integer", float: "a number", bool: "true or false", str: "a text", type(None): "null"}


def _words(hint: Any) -> str:
    """A type in words, as a user would say it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        known = [_words(a) for a in arguments if a in _WORDS or typing.get_origin(a) is not None]
        return " or ".join(dict.fromkeys(known))
    if origin is Literal:
        return " or ".join(str(argument) for argument in arguments)
    if origin in (tuple, list):
        return f"a list of {len(arguments)} numbers" if origin is tuple else "a list"
    return _WORDS.get(hint) or f"the settings of {getattr(hint, '__name__', hint)}"


def shown(value: Any) -> str:
    """A value as YAML has it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
