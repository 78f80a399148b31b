"""Runs whose names have all that could harm a page, for its tests with and without a browser."""

from __future__ import annotations

from bench.analysis.run import Run
from tests.records_made import SWEEP, run

HOSTILE = "</script><script>hacked=1</script><img src=x onerror=hacked=1>\"'&amp;\u2028 Ünï 🦆 __proto__"


def hostile() -> list[Run]:
    """Runs whose cell, experiment, reason and command have all that could end a script or begin an element."""
    return [
        *SWEEP,
        *(
            run(HOSTILE, seed, 0.1, run_id=f"hostile{seed}", experiment=HOSTILE, reason=HOSTILE,
                command=f"bench run +experiment={HOSTILE!r} seed={seed}", libraries={HOSTILE: HOSTILE})
            for seed in range(2)
        ),
        run("constructor", 9, status="failed", run_id="hostile9", traceback=HOSTILE),
    ]  # fmt: skip
