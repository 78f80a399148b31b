"""Claims that papers make about the runs our experiments repeat, with their place in the paper, read from ``conf/``.

``conf/published/papers.yaml`` names the papers, and ``conf/published/<paper>.yaml`` holds the claims of each. The
claims are facts about papers and are checked when they are read; :mod:`bench.papers.verdicts` compares them with our
runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import yaml

from bench.errors import nearest

PAPERS = "papers.yaml"
SAYS = ("solves", "fails", "below_baseline", "before", "number")
UNITS = ("mse", "nats", "share", "sequences", "steps", "percent")
EFFORTS = ("sequences", "steps")
"""Units of how long a run took until it solved its task; all other units belong to a metric."""
SECTIONS = ("task", "cell", "model", "optimizer", "data", "training")
"""Sections of a config whose keys a claim may use to select runs."""


@dataclass(frozen=True)
class Paper:
    """A paper that claims are taken from.

    Attributes:
        key: Short name by which files and claims refer to the paper.
        authors: The authors in short.
        year: Year of publication.
        title: Title of the paper.
        where: Number on arXiv, or journal.
    """

    key: str
    authors: str
    year: int
    title: str
    where: str


@dataclass(frozen=True)
class Claim:
    """One statement that a paper makes about one kind of run.

    Attributes:
        paper: Key of the paper.
        id: Name of the claim, unique over all papers.
        claim: The claim in a sentence.
        where: Table, figure or section of the paper.
        says: ``solves``, ``fails``, ``below_baseline``, ``before`` (the runs solve sooner than those of ``against``, or
            only they solve) or ``number``.
        value: The number, in ``unit``; ``None`` if the claim gives no number.
        unit: One of :data:`UNITS`; ``None`` if there is no number.
        metric: Our metric; ``None`` for the task's own, and for claims that compare none.
        protocol: Experiment whose runs are compared with the claim.
        source: ``read`` if it was read in the paper, ``unverified`` if it is from memory.
        tuning: ``published`` if the paper gives the settings of that run, otherwise ``hidden``.
        runs: Values that select our runs: task, cell, or dotted keys of the config.
        against: Keys of ``runs`` with other values, which select the runs on the other side of ``before``.
        protocol_differs: How our runs differ from those of the paper; ``None`` if they do not.
    """

    paper: str
    id: str
    claim: str
    where: str
    says: str
    value: float | None
    unit: str | None
    metric: str | None
    protocol: str
    source: str
    tuning: str
    runs: Mapping[str, Any]
    against: Mapping[str, Any] | None
    protocol_differs: str | None


@dataclass(frozen=True)
class Published:
    """All papers and claims.

    Attributes:
        papers: The papers by their key.
        claims: The claims in the order of the files' names, and within a file in its order.
    """

    papers: Mapping[str, Paper]
    claims: tuple[Claim, ...]


KEYS = tuple(field.name for field in fields(Claim) if field.name != "paper")
"""Keys of a claim in a file; each of them must be there."""


def read_claims(conf: Traversable | None = None) -> Published:
    """Read and check papers and claims.

    Args:
        conf: Folder with ``published/``, ``experiment/``, ``task/`` and ``cell/``; ``None`` for our own.

    Raises:
        ValueError: A file is not as it must be; the message says in one line what is wrong with the first such file.
    """
    root = resources.files("conf") if conf is None else conf
    folder = root / "published"
    names = {group: _stems(root / group) for group in ("experiment", "task", "cell")}
    papers = _papers(folder / PAPERS)
    claims: list[Claim] = []
    for name in _stems(folder):
        file = f"{name}.yaml"
        if file == PAPERS:
            continue
        if name not in papers:
            raise ValueError(f"published/{file}: `paper` must be {_one_of(name, papers)}")
        taken = {claim.id: claim.paper for claim in claims}
        for node in _claim_nodes(folder / file):
            claim = _claim(f"published/{file}", name, node, names)
            if claim.id in taken:
                where = f"published/{taken[claim.id]}.yaml"
                raise ValueError(f"published/{file}, claim {claim.id}: `id` must be unique, got one that {where} has")
            taken[claim.id] = name
            claims.append(claim)
    return Published(papers, tuple(claims))


def _stems(folder: Traversable) -> list[str]:
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def _load(path: Traversable) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"published/{path.name}: must be readable YAML, got {' '.join(str(error).split())}") from error


def _papers(path: Traversable) -> dict[str, Paper]:
    node = _load(path)
    if not isinstance(node, Mapping):
        raise ValueError(f"published/{path.name}: must have a mapping of papers, got {type(node).__name__}")
    keys = tuple(field.name for field in fields(Paper) if field.name != "key")
    papers = {}
    for key, entry in node.items():
        place = f"published/{path.name}, paper {key}"
        _check_keys(place, entry, keys)
        for name, value in entry.items():
            kind = int if name == "year" else str
            _check(place, name, value, lambda value, kind=kind: type(value) is kind and bool(value), _WORDS[kind])
        papers[str(key)] = Paper(key=str(key), **entry)
    return papers


def _claim_nodes(path: Traversable) -> list[Any]:
    node = _load(path)
    if not isinstance(node, Mapping) or node.keys() != {"claims"} or not isinstance(node["claims"], list):
        got = ", ".join(map(str, node)) if isinstance(node, Mapping) else type(node).__name__
        raise ValueError(f"published/{path.name}: must have the key `claims` alone, with a list, got {got}")
    return node["claims"]


def _claim(file: str, paper: str, node: Any, names: Mapping[str, list[str]]) -> Claim:
    """Check a claim and return it; the checks come in the order in which a writer wants to hear of mistakes."""
    place = f"{file}, claim {node.get('id')}" if isinstance(node, Mapping) else file
    _check_keys(place, node, KEYS)
    for key in ("id", "claim", "where"):
        _check(place, key, node[key], _is_text, "a text")
    for key, allowed in (("says", SAYS), ("source", ("read", "unverified")), ("tuning", ("published", "hidden"))):
        _check_choice(place, key, node[key], allowed)
    _check_choice(place, "protocol", node["protocol"], names["experiment"])
    for key in ("metric", "protocol_differs"):
        _check(place, key, node[key], lambda value: value is None or _is_text(value), "a text or null")
    number, before = node["says"] == "number", node["says"] == "before"
    if number:
        _check(place, "value", node["value"], lambda value: type(value) in (int, float), "a number")
        _check_choice(place, "unit", node["unit"], UNITS)
    else:
        for key in ("value", "unit"):
            if key == "unit" and node[key] is not None:
                _check_choice(place, key, node[key], UNITS)
            _check(place, key, node[key], lambda value: value is None, f"null for what {node['says']}")
    if (not number and node["says"] != "below_baseline") or node["unit"] in EFFORTS:
        _check(place, "metric", node["metric"], lambda value: value is None, "null where no metric is compared")
    _check(place, "runs", node["runs"], lambda value: _is_mapping(value) and {"task", "cell"} <= value.keys(),
           "a mapping with task and cell")  # fmt: skip
    _check_selection(place, "runs", node["runs"], names)
    if before:
        _check(place, "against", node["against"], lambda value: _is_mapping(value) and len(value) > 0,
               "a mapping for what is before another")  # fmt: skip
        _check_selection(place, "against", node["against"], names)
    else:
        _check(place, "against", node["against"], lambda value: value is None, f"null for what {node['says']}")
    return Claim(paper=paper, **{**node, "value": float(node["value"]) if number else None})


_WORDS = {int: "a whole number", str: "a text"}


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def _check(place: str, key: str, value: Any, fits: Callable[[Any], bool], words: str) -> None:
    if not fits(value):
        raise ValueError(f"{place}: `{key}` must be {words}, got {value!r}")


def _check_choice(place: str, key: str, value: Any, allowed: Iterable[str]) -> None:
    if value not in tuple(allowed):
        raise ValueError(f"{place}: `{key}` must be {_one_of(value, allowed)}")


def _check_keys(place: str, node: Any, keys: tuple[str, ...]) -> None:
    if not isinstance(node, Mapping):
        raise ValueError(f"{place}: must have keys with values, got {node!r}")
    for key in node:
        _check_choice(place, "key", key, keys)
    for key in keys:
        if key not in node:
            raise ValueError(f"{place}: `{key}` must be given, got only {', '.join(map(str, node))}")


def _check_selection(place: str, name: str, node: Mapping[str, Any], names: Mapping[str, list[str]]) -> None:
    """Check that a claim selects runs by keys that configs have.

    Other keys would select nothing, and the claim would count as not run for ever.
    """
    for key, value in node.items():
        if key in ("task", "cell"):
            _check_choice(place, f"{name}.{key}", value, names[key])
        elif "." not in key or key.split(".")[0] not in SECTIONS:
            words = f"task, cell or a dotted key of {', '.join(SECTIONS)}"
            raise ValueError(f"{place}: `{name}` must select by {words}, got {key!r}")


def _one_of(value: Any, allowed: Iterable[str]) -> str:
    """Return text such as ``one of A, B, got 'Bb', did you mean B?``."""
    return f"one of {', '.join(allowed)}, got {value!r}{nearest(str(value), allowed)}"
