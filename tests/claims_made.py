"""Claims of papers, and runs to compare with them, made up for tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.analysis.run import Run
from bench.papers import verdicts
from bench.papers.claims import Claim, Paper
from bench.papers.verdicts import Judgement
from bench.report.tables.claims import Judged
from tests.records_made import make

CLAIM: dict[str, Any] = {
    "id": "a-claim",
    "claim": "The GRU solves adding with a length of 100.",
    "where": "table 1",
    "says": "solves",
    "value": None,
    "unit": None,
    "metric": None,
    "protocol": "bai2018",
    "source": "read",
    "tuning": "published",
    "runs": {"task": "adding_problem", "cell": "gru", "task.length": 100},
    "against": None,
    "protocol_differs": None,
}
NEVER = "not solved in 20,000 steps"
# The baseline is 1/6, and half of it is 0.0833.
SOLVED, LEARNT, HAIR, STUCK, WORSE = 0.001, 0.12, 0.1665, 0.168, 0.3


def claim(**changes: Any) -> Claim:
    return Claim(paper="bai2018", **(CLAIM | changes))


def run(seed: int, mse: float | None = STUCK, at: int | None = None, cell: str = "gru", **changes: Any) -> Run:
    base = make()
    settings: dict[str, Any] = {
        "run_id": f"{cell}{seed}",
        "experiment": "bai2018",
        "cell": cell,
        "seed": seed,
        "config": base.config | {"training": {"max_steps": 20_000}, "data": {"batch_size": 32}},
        "solved": at is not None,
        "steps_to_solve": at,
        "metrics": {"eval": {}, "test": {} if mse is None else {"mse": mse, "loss": mse, "within_tolerance": 1 - mse}},
    }
    return Run(make(**(settings | changes)), Path())


def runs(solved: int, n: int, other: float = STUCK, cell: str = "gru", at: int = 1000) -> list[Run]:
    """``solved`` of ``n`` runs solve, one 100 steps after the other; the others end at one error."""
    done = [run(seed, SOLVED, at + 100 * seed, cell) for seed in range(solved)]
    return done + [run(seed, other, cell=cell) for seed in range(solved, n)]


PAPERS = {
    "bai2018": Paper("Bai, Kolter & Koltun", 2018, "An evaluation", "arXiv:1803.01271"),
    "le2015": Paper("Le", 2015, "A simple way", "arXiv:1504.00941"),
}


def judged(*claims: Claim, records: list[Run]) -> list[Judgement]:
    return [verdicts.judge(each, records) for each in claims]


def other(**changes: Any) -> Claim:
    return Claim(paper="le2015", **(CLAIM | changes))


MARKS = ("unverified", "protocol differs", "other settings left out")


def of(found: list[Judgement], papers: Mapping[str, Paper] | None = None) -> Judged:
    return Judged(papers or PAPERS, found, 7, "Run on a toaster. Code: commit 1234567.")


FOUND = judged(
    claim(),
    claim(id="number", says="number", value=0.164, unit="mse", metric="mse"),
    other(id="unverified", source="unverified", says="fails"),
    other(id="differs", protocol_differs="a larger batch"),
    other(id="both", source="unverified", protocol_differs="a larger batch", says="fails", where="figure 2"),
    other(id="effort", says="number", value=853_000.0, unit="sequences"),
    records=runs(5, 5, at=10_000),
)
