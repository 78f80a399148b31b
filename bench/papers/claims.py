"""Claims that papers make about the runs our experiments repeat, with their place in the paper, read from ``conf/``.

``conf/published/papers.yaml`` names the papers, and ``conf/published/<paper>.yaml`` holds the claims of each. The
claims are facts about papers and are checked when they are read; :mod:`bench.papers.verdicts` compares them with our
runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Annotated, Any, Literal, TypeVar, get_args

import msgspec
from msgspec import Meta, Struct

from bench.errors import one_of, shown
from bench.shapes import ShapeError, convert, read_yaml, yaml_names

T = TypeVar("T")
PAPERS = "papers.yaml"
Unit = Literal["mse", "nats", "share", "sequences", "steps", "percent"]
EFFORTS = ("sequences", "steps")
"""Units of how long a run took until it solved its task; all other units belong to a metric."""
SECTIONS = ("task", "cell", "model", "optimizer", "data", "training")
"""Sections of a config whose keys a claim may use to select runs."""
Says = Literal["solves", "fails", "at_baseline", "below_baseline", "before", "better", "number", "at_most", "at_least"]
VALUED = ("number", "at_most", "at_least")
"""What a claim says where it gives a number."""
COMPARED = ("before", "better")
"""What a claim says where it sets runs against others."""
Text = Annotated[str, Meta(pattern=r"\S", description="a text")]


class Paper(Struct, frozen=True, forbid_unknown_fields=True):
    """A paper that claims are taken from.

    Attributes:
        authors: The authors in short.
        year: Year of publication.
        title: Title of the paper.
        where: Number on arXiv, or journal.
    """

    authors: Text
    year: int
    title: Text
    where: Text


class _Entry(Struct, frozen=True, forbid_unknown_fields=True):
    """A claim as a file of its paper has it.

    Attributes:
        id: Name of the claim, unique over all papers.
        claim: The claim in a sentence.
        where: Table, figure or section of the paper.
        says: ``solves`` or ``fails`` to; ``at_baseline`` or ``below_baseline``, judged by the metric; ``before`` (the
            runs solve sooner than those of ``against``, or only they solve) or ``better`` (by the metric) than these;
            ``number``, or a bound that the metric keeps, ``at_most`` or ``at_least``.
        value: The number or bound, in ``unit``; ``None`` if the claim gives none.
        unit: One of :data:`Unit`; ``None`` if there is no number.
        metric: Our metric; ``None`` for the task's own, and for claims that compare none.
        protocol: Experiment whose runs are compared with the claim.
        source: ``read`` if it was read in the paper, ``unverified`` if it is from memory.
        tuning: ``published`` if the paper gives the settings of that run, otherwise ``hidden``.
        runs: Values that select our runs: task, cell, or dotted keys of the config.
        against: Keys of ``runs`` with other values, which select the runs on the other side of ``before`` or
            ``better``.
        protocol_differs: How our runs differ from those of the paper; ``None`` if they do not.
        budget: How long the paper trained, in steps of our runs; ``None`` if that is not known.
    """

    id: Text
    claim: Text
    where: Text
    says: Says
    value: float | None
    unit: Unit | None
    metric: Text | None
    protocol: str
    source: Literal["read", "unverified"]
    tuning: Literal["published", "hidden"]
    runs: dict[str, Any]
    against: dict[str, Any] | None
    protocol_differs: Text | None
    budget: Annotated[int, Meta(ge=1, description="an integer >= 1")] | None = None


class Claim(_Entry, frozen=True, kw_only=True):
    """One statement that a paper makes about one kind of run; ``_Entry`` has what its file says.

    Attributes:
        paper: Key of the paper.
    """

    paper: str


class _File(Struct, forbid_unknown_fields=True):
    """``conf/published/<paper>.yaml``."""

    claims: list[dict[str, Any]]


@dataclass(frozen=True)
class Published:
    """All papers and claims.

    Attributes:
        papers: The papers by their key.
        claims: The claims in the order of the files' names, and within a file in its order.
    """

    papers: Mapping[str, Paper]
    claims: tuple[Claim, ...]


def read_claims(conf: Traversable | None = None) -> Published:
    """Read and check papers and claims.

    Args:
        conf: Folder with ``published/``, ``experiment/``, ``task/`` and ``cell/``; ``None`` for our own.

    Raises:
        ValueError: A file is not as it must be; the message says in one line what is wrong with the first such file.
    """
    root = resources.files("conf") if conf is None else conf
    folder = root / "published"
    names = {group: yaml_names(root / group) for group in ("experiment", "task", "cell")}
    papers = {
        str(key): _as(Paper, f"published/{PAPERS}, paper {key}", node)
        for key, node in _read(folder / PAPERS, dict).items()
    }
    claims: list[Claim] = []
    for name in yaml_names(folder):
        file = f"{name}.yaml"
        if file == PAPERS:
            continue
        if name not in papers:
            raise ValueError(f"published/{file}: `paper` must be {one_of(name, papers)}")
        taken = {claim.id: claim.paper for claim in claims}
        for node in _read(folder / file, _File).claims:
            claim = _claim(f"published/{file}", name, node, names)
            if claim.id in taken:
                where = f"published/{taken[claim.id]}.yaml"
                raise ValueError(f"published/{file}, claim {claim.id}: `id` must be unique, got one that {where} has")
            taken[claim.id] = name
            claims.append(claim)
    return Published(papers, tuple(claims))


def _read(path: Traversable, kind: type[T]) -> T:
    place = f"published/{path.name}"
    try:
        node = read_yaml(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{place}: must be readable YAML, got {' '.join(str(error).split())}") from error
    return _as(kind, place, node)


def _as(kind: type[T], place: str, node: Any) -> T:
    try:
        return convert(node, kind)
    except ShapeError as error:
        raise ValueError(f"{place}: {error}") from error


def _claim(file: str, paper: str, node: Mapping[str, Any], names: Mapping[str, list[str]]) -> Claim:
    """Check a claim and return it."""
    place = f"{file}, claim {node.get('id')}"
    entry = _as(_Entry, place, node)
    try:
        _check(entry, names)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
    return Claim(paper=paper, **msgspec.structs.asdict(entry))


def _check(entry: _Entry, names: Mapping[str, list[str]]) -> None:
    """Check those keys of a claim whose values depend on each other, or on the configs that there are."""
    if entry.protocol not in names["experiment"]:
        raise ValueError(f"`protocol` must be {one_of(entry.protocol, names['experiment'])}")
    number, before = entry.says in VALUED, entry.says in COMPARED
    if number and entry.value is None:
        raise ValueError(f"`value` must be a number for what says {entry.says}, got null")
    if number and entry.unit is None:
        raise ValueError(f"`unit` must be {one_of(None, get_args(Unit))}")
    if entry.says in ("at_most", "at_least") and entry.unit in EFFORTS:
        raise ValueError(f"`unit` must be that of a metric for what says {entry.says}, got {shown(entry.unit)}")
    metrics = ("at_baseline", "below_baseline", "better")
    compares = (number and entry.unit not in EFFORTS) or entry.says in metrics
    for name, wanted, words in (
        ("value", number, f"for what {entry.says}"),
        ("unit", number, f"for what {entry.says}"),
        ("metric", compares, "where no metric is compared"),
        ("against", before, f"for what {entry.says}"),
    ):
        if not wanted and (value := getattr(entry, name)) is not None:
            raise ValueError(f"`{name}` must be null {words}, got {shown(value)}")
    if not {"task", "cell"} <= entry.runs.keys():
        raise ValueError(f"`runs` must have task and cell, got {shown(entry.runs)}")
    if before and not entry.against:
        raise ValueError(f"`against` must have keys for what says {entry.says}, got {shown(entry.against)}")
    for name, selection in (("runs", entry.runs), ("against", entry.against or {})):
        _check_selection(name, selection, names)


def _check_selection(name: str, selection: Mapping[str, Any], names: Mapping[str, list[str]]) -> None:
    """Check that a claim selects runs by keys that configs have.

    Other keys would select nothing, and the claim would count as not run for ever.
    """
    for key, value in selection.items():
        if key in ("task", "cell"):
            if value not in names[key]:
                raise ValueError(f"`{name}.{key}` must be {one_of(value, names[key])}")
        elif "." not in key or key.split(".")[0] not in SECTIONS:
            words = f"task, cell or a dotted key of {', '.join(SECTIONS)}"
            raise ValueError(f"`{name}` must select by {words}, got {key!r}")
