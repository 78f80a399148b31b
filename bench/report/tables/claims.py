"""The table of claims: what papers report, what our runs give, and a verdict on each claim."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.analysis.run import Run
from bench.errors import one_of
from bench.papers import verdicts
from bench.papers.claims import EFFORTS, Paper, read_claims
from bench.papers.rules import NOT_RUN, REPRODUCED
from bench.papers.verdicts import Judgement
from bench.report.tables import captions, formats
from bench.report.tables.grid import Entry, Grid

FORMS = (*formats.FORMS, "csv")
SAID = {
    "solves": "solved",
    "fails": "not solved",
    "at_baseline": "at the baseline",
    "below_baseline": "below baseline",
    "before": "before the other",
    "better": "better than the other",
    "at_most": "at most",
    "at_least": "at least",
}
"""Words for each kind of claim; a bound is followed by its number."""
ENOUGH = "¶"
"""Marks what was not solved in as many steps as the paper's runs had."""
SIGNS = {"unverified": captions.DAGGER, "protocol differs": "‡", "other settings left out": "§"}
"""What the marks of a judgement mean, as the table says it."""


@dataclass(frozen=True)
class Judged:
    """Claims with their verdicts.

    Attributes:
        papers: The papers, by the key that claims use.
        judgements: The judgement of every claim that has runs.
        without: Number of claims of the same papers that have no runs.
        origin: Where the runs were made, and with which code.
    """

    papers: Mapping[str, Paper]
    judgements: Sequence[Judgement]
    without: int
    origin: str


def judge_all(runs: Iterable[Run]) -> Judged:
    """Return a judgement on every claim that there are runs for.

    Raises:
        ValueError: A claim cannot be read, see :func:`bench.papers.claims.read_claims`, or no claim has runs.
    """
    runs = list(runs)
    known = read_claims()
    every = [verdicts.judge(claim, runs) for claim in known.claims]
    judged = [each for each in every if each.verdict != NOT_RUN]
    if not judged:
        raise ValueError("`published` must have runs of a paper's protocol, as of +experiment=arjovsky2016, got none")
    about = {each.claim.paper for each in judged}
    protocols = {each.claim.protocol for each in judged}
    origin = captions.origin(run for run in runs if run.experiment in protocols)
    return Judged(known.papers, judged, sum(each.claim.paper in about for each in every) - len(judged), origin)


def render(judged: Judged, form: str) -> str:
    """Write the claims as a table; see :data:`FORMS`.

    Raises:
        ValueError: There is no such form.
    """
    if form not in FORMS:
        raise ValueError(f"`form` must be {one_of(form, FORMS)}")
    return _csv(judged) if form == "csv" else formats.write([as_grid(judged)], form)


def as_grid(every: Judged) -> Grid:
    """Make a grid with one line for each claim: what the paper says, what our runs give, and the verdict."""
    papers, judged = every.papers, every.judgements
    shared = _shared(judged)
    rows, rules = [], set()
    for i, each in enumerate(judged):
        paper = papers[each.claim.paper]
        if i == 0 or judged[i - 1].claim.paper != each.claim.paper:
            rules.add(i)
        marks = "".join(sign for mark, sign in SIGNS.items() if mark in each.marks)
        rows.append(
            (
                Entry((f"{paper.authors} {paper.year}",) if i in rules else ()),
                Entry((f"{each.claim.claim}",)),
                Entry((f"{each.claim.where}{marks}",)),
                Entry((published_words(each),)),
                Entry((our_words(each) + _letters(each, shared),)),
                Entry((each.verdict + ENOUGH * _was_long_enough(each),), each.verdict == REPRODUCED),
            )
        )
    counts = Counter(
        "not solved in N steps" if each.verdict.startswith("not solved") else each.verdict for each in judged
    )
    told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items(), key=lambda item: -item[1]))
    return Grid(
        caption=f"Published claims put to the test: {len(judged)} with a verdict; {told}. Claims of "
        f"these papers without runs: {every.without}. {every.origin}",
        header=("paper", "claim", "where", "published", "ours", "verdict"),
        rows=tuple(rows),
        rules=frozenset(rules),
        notes=tuple(_notes(judged)),
        left=frozenset(range(6)),
        # The widths add up to 80 with the gaps. tabulate widens a column to its header and 2; the verdict has a star.
        wide={0: 11, 1: 17, 2: 8, 3: 11, 4: 12, 5: 11},
    )


def _notes(judged: Sequence[Judgement]) -> list[str]:
    found = [
        "Reproduced: so with confidence in our runs, in the paper's own setting. Direction only: our runs point the "
        "paper's way, without that confidence or in another setting; a number counts however far it is from the "
        "paper's, a number of steps or sequences where at least half of the runs solved. Where the paper's network "
        "learned nothing, ours have to have trained at least as long. Not solved in N steps: all that can be said of "
        "other runs that did not solve within their budget; it neither confirms nor refutes. Contradicts: the "
        "opposite, with confidence, in the paper's own setting. Undecided: none of these. Ours: k/n solved, and where "
        "a number is compared its median, which is near the paper's if its whole interval is within a factor of 2 of "
        "it."
    ]
    if any(map(_was_long_enough, judged)):
        found.append(f"{ENOUGH} in at least as many steps as the paper's own runs had.")
    alike: dict[str, list[str]] = {}
    for runs, letter in _shared(judged).items():
        served = sum(runs <= each.runs for each in judged)
        alike.setdefault(f"one set of {len(runs)} runs, which serves {served} claims.", []).append(letter)
    found += [f"[{', '.join(letters)}] {text}" for text, letters in alike.items()]
    if any("unverified" in each.marks for each in judged):
        found.append(f"{SIGNS['unverified']} quoted from memory of the paper, not read again.")
    if any("other settings left out" in each.marks for each in judged):
        found.append(f"{SIGNS['other settings left out']} runs of other settings or budgets were there and left out.")
    found += list(
        dict.fromkeys(
            f"{SIGNS['protocol differs']} {each.claim.paper}, another protocol than the paper's: "
            f"{each.claim.protocol_differs}."
            for each in judged
            if each.claim.protocol_differs
        )
    )
    return found


def _was_long_enough(each: Judgement) -> bool:
    return each.long_enough and each.verdict.startswith("not solved")


def _shared(judged: Sequence[Judgement]) -> dict[frozenset[str], str]:
    """Return a letter for each set of runs that serves more than one claim."""
    counts = Counter(each.runs for each in judged)
    several = [runs for runs, count in counts.items() if count > 1 and runs]
    return dict(zip(several, captions.marks(several), strict=True))


def _letters(each: Judgement, shared: Mapping[frozenset[str], str]) -> str:
    """Return the letters of the shared sets that a claim's runs are, or are put together from."""
    letters = ", ".join(letter for runs, letter in shared.items() if runs <= each.runs)
    return f" [{letters}]" if letters else ""


def published_words(each: Judgement) -> str:
    """Return what the paper says, in a few words."""
    said, value = SAID.get(each.claim.says, ""), each.claim.value
    return said if value is None else f"{said} {_in_unit(value, each.claim.unit)}".strip()


def our_words(each: Judgement) -> str:
    """Return what our runs give, in a few words."""
    solved = f"{each.solved}/{each.n} solved"
    if each.measured:
        return f"{each.measured}, {solved}"
    if each.claim.value is None or each.ours is None:
        return solved
    return f"{_in_unit(each.ours, each.claim.unit)}, {solved}"


def _in_unit(value: float, unit: str | None) -> str:
    if unit in EFFORTS:
        return f"{value:,.0f} {unit}"
    return f"{value:.5g}{'' if unit == 'share' else ' %' if unit == 'percent' else f' {unit}'}"


def _csv(every: Judged) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("claim", "paper", "text", "where", "says", "published", "unit", "source", "protocol",
                     "protocol_differs", "ours", "n", "solved", "max_steps", "verdict", "reason"))  # fmt: skip
    for each in every.judgements:
        claim, paper = each.claim, every.papers[each.claim.paper]
        writer.writerow((claim.id, f"{paper.authors} {paper.year}", claim.claim, claim.where, claim.says, claim.value,
                         claim.unit, claim.source, claim.protocol, claim.protocol_differs, each.ours, each.n,
                         each.solved, each.steps, each.verdict, each.reason))  # fmt: skip
    return buffer.getvalue()
