"""Published claims on a page: what the paper says, what our runs give, the verdict, and which runs bear it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.analysis.run import Run
from bench.papers.claims import read_claims
from bench.report.tables import claims


def verdicts(runs: Sequence[Run]) -> dict[str, Any] | None:
    """Judge the claims that runs speak to.

    Args:
        runs: The runs, in the order of the page.

    Returns:
        The ``caption`` and the ``notes`` of the table of claims, and its ``rows`` in words, each with the places of the
        ``runs`` that bear its verdict. ``None`` if the runs speak to no claim.
    """
    protocols = {claim.protocol for claim in read_claims().claims}
    if not any(run.experiment in protocols and run.has_result for run in runs):
        return None
    try:
        judged = claims.judge_all(runs)
    except ValueError:  # None of them is in a paper's own setting.
        return None
    grid = claims.as_grid(judged)
    places: dict[str, list[int]] = {}
    for place, run in enumerate(runs):
        places.setdefault(run.run_id, []).append(place)
    rows = []
    for each in judged.judgements:
        paper = judged.papers[each.claim.paper]
        rows.append({
            "id": each.claim.id,
            "paper": f"{paper.authors} {paper.year}",
            "claim": each.claim.claim,
            "where": each.claim.where,
            "published": claims.published_words(each),
            "ours": claims.our_words(each),
            "verdict": each.verdict,
            "because": each.reason,
            "marks": list(each.marks),
            "runs": sorted(place for name in each.runs for place in places[name]),
        })  # fmt: skip
    return {"caption": grid.caption, "notes": [note for note in grid.notes if not note.startswith("[")], "rows": rows}
