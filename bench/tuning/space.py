"""What ``bench tune`` searches over: a YAML with the values of each key, for every cell and for some. Pure.

A space is a file in ``conf/space/``, or in ``space/`` of the user's own folder::

    every:                                                          # for every cell
      optimizer: [adam, sgd]                                        # one of these
      optimizer.lr: {low: 1.0e-4, high: 3.0e-2, scale: log}         # a number between, both ends included
      optimizer.momentum: {values: [0.0, 0.9], when: {optimizer: sgd}}
    cells:                                                          # for these besides
      lstm: {cell.forget_bias: [0.0, 1.0, chrono]}
      rnn: {model.hidden_size: {low: 16, high: 64, whole: true}}

A cell's own entry replaces that of ``every`` for the same key, and ``null`` takes the key out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from bench.errors import as_override, one_of, shown
from bench.shapes import convert, read_yaml, yaml_names

DIGITS = 4
"""Digits to which a number that is drawn is rounded, so that a command can be read."""
Value = str | int | float | bool | None


class _DimensionNode(Struct, forbid_unknown_fields=True):
    values: list[Value] | None = None
    low: float | None = None
    high: float | None = None
    scale: Literal["linear", "log"] = "linear"
    whole: bool = False
    when: dict[str, Value | list[Value]] = {}


_Entry = Annotated[
    list[Value] | _DimensionNode | None, Meta(description="a list of values, or a mapping with values or low and high")
]


class _SpaceNode(Struct, forbid_unknown_fields=True):
    every: dict[str, _Entry] = {}
    cells: dict[str, dict[str, _Entry]] = {}


@dataclass(frozen=True)
class Dimension:
    """One key and what it can be.

    Attributes:
        key: The key, as on the command line.
        values: The values to choose from; empty for a range.
        low: The least number of a range.
        high: The largest, above ``low``.
        log: Whether the logarithm of the number is drawn evenly.
        whole: Whether it is a whole number.
        when: Values that other keys must have; otherwise this key is left as it is.
    """

    key: str
    values: tuple[Value, ...]
    low: float
    high: float
    log: bool
    whole: bool
    when: Mapping[str, tuple[str, ...]]

    def applies(self, drawn: Mapping[str, Value]) -> bool:
        """Return whether the key is drawn, where those before it have these values."""
        return all(key in drawn and as_override(drawn[key]) in values for key, values in self.when.items())

    @property
    def corners(self) -> tuple[Value, ...]:
        """All values, or the two ends."""
        ends = (int(self.low), int(self.high)) if self.whole else (self.low, self.high)
        return self.values or ends

    def described(self) -> str:
        """Return the dimension in a few words."""
        if self.values:
            text = ",".join(map(as_override, self.values))
        else:
            low, high = (as_override(each) for each in self.corners)
            text = f"{low}..{high}{' log' if self.log else ''}{' whole' if self.whole else ''}"
        when = " and ".join(f"{key}={','.join(values)}" for key, values in self.when.items())
        return f"{self.key}: {text}{f' if {when}' if when else ''}"


def rounded(value: float) -> float:
    """Return a number that was drawn as it is used."""
    return float(f"{value:.{DIGITS}g}")


@dataclass(frozen=True)
class Space:
    """The dimensions of each cell.

    Attributes:
        name: Name of the file, for messages.
        every: Those of cells that have none of their own.
        cells: Those of the others.
    """

    name: str
    every: tuple[Dimension, ...]
    cells: Mapping[str, tuple[Dimension, ...]]

    def of(self, cell: str) -> tuple[Dimension, ...]:
        """Return what is searched over for a cell.

        Raises:
            ValueError: It has no key for that cell.
        """
        found = self.cells.get(cell, self.every)
        if not found:
            raise ValueError(f"{self.name} must have at least one key for {cell}, got none")
        return found


def covering(dimensions: Sequence[Dimension]) -> Iterator[dict[str, Value]]:
    """Yield settings in which each value or end of each dimension occurs, all else being the first that there is."""
    first = _filled(dimensions, {})
    yield first
    for dimension in dimensions:
        for value in dimension.corners:
            fixed = {key: values[0] for key, values in dimension.when.items()} | {dimension.key: value}
            setting = _filled(dimensions, fixed)
            if setting != first:
                yield setting


def _filled(dimensions: Sequence[Dimension], fixed: Mapping[str, Value]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for dimension in dimensions:
        if dimension.applies(found):
            found[dimension.key] = fixed.get(dimension.key, dimension.corners[0])
    return found


def read_space(name: str, own_folder: str | None, known_cells: Sequence[str]) -> Space:
    """Read a space by its name, or by the path of a YAML.

    Args:
        name: Its name or path.
        own_folder: The folder of the user's own configs, if there is one.
        known_cells: Names of all cells that there are.

    Raises:
        ValueError: There is no such space, or it has another form; the message is one line.
    """
    folders: list[Traversable] = [resources.files("conf") / "space"]
    if own_folder is not None and (own := Path(own_folder) / "space").is_dir():
        folders.insert(0, own)
    found = next((folder / f"{name}.yaml" for folder in folders if name in yaml_names(folder)), None)
    if found is None:
        if not Path(name).is_file():
            names = sorted({each for folder in folders for each in yaml_names(folder)})
            raise ValueError(f"sweep.tune.space must be a file or {one_of(name, names)}")
        found = Path(name)
    title = f"space {name}"
    try:
        node = convert(read_yaml(found), _SpaceNode)
        if unknown := [cell for cell in node.cells if cell not in known_cells]:
            raise ValueError(f"cells must be of {one_of(unknown[0], known_cells)}")  # noqa: TRY301 - one title for all
        every = _dimensions(node.every, "every")
        cells = {cell: _dimensions(node.every | own, f"cells.{cell}") for cell, own in node.cells.items()}
    except OSError as error:
        raise ValueError(f"{title} must be a file that can be read ({error})") from error
    except ValueError as error:
        raise ValueError(f"{title}: {' '.join(str(error).replace('`', '').split())}") from error
    return Space(title, every, cells)


def _dimensions(entries: Mapping[str, Any], where: str) -> tuple[Dimension, ...]:
    found: list[Dimension] = []
    for key, entry in entries.items():
        if entry is None:
            continue
        node = _DimensionNode(values=entry) if isinstance(entry, list) else entry
        name = f"{where}.{key}"
        _check(node, name)
        when = {other: tuple(map(as_override, values if isinstance(values, list) else [values]))
                for other, values in node.when.items()}  # fmt: skip
        for other, values in when.items():
            before = next((each for each in found if each.key == other), None)
            there = [] if before is None else list(map(as_override, before.values))
            if not there:
                raise ValueError(f"{name}.when must look at a key above it that has values, got {other}")
            if unknown := [value for value in values if value not in there]:
                raise ValueError(f"{name}.when.{other} must be {one_of(unknown[0], there)}")
        low, high = node.low or 0.0, node.high or 0.0
        found.append(Dimension(key, tuple(node.values or ()), low, high, node.scale == "log", node.whole, when))
    return tuple(found)


def _check(node: _DimensionNode, name: str) -> None:
    if node.values is not None:
        if node.low is not None or node.high is not None or node.whole or node.scale != "linear":
            raise ValueError(f"{name} must have values, or low and high, got both")
        texts = list(map(as_override, node.values))
        if not texts or len({*texts}) < len(texts):
            raise ValueError(f"{name} must have at least one value, each once, got {shown(node.values)}")
        return
    if node.low is None or node.high is None:
        raise ValueError(f"{name} must have values, or low and high, got {shown(msgspec.to_builtins(node))}")
    if not (math.isfinite(node.low) and math.isfinite(node.high) and node.low < node.high):
        raise ValueError(f"{name} must have a low below its high, both finite, got {node.low:g} and {node.high:g}")
    if node.scale == "log" and node.low <= 0:
        raise ValueError(f"{name}.low must be > 0 where scale is log, got {node.low:g}")
    if node.whole and not (node.low.is_integer() and node.high.is_integer()):
        raise ValueError(f"{name} must have whole ends where whole is true, got {node.low:g} and {node.high:g}")
