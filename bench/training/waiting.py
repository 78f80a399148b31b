"""How the threads of a computation wait for each other, decided before torch is imported.

Between two pieces of work the threads of OpenMP spin. That is fastest on cores of one's own. Where other processes use
the cores, a thread spins while the one that it waits for has no core, and a step takes up to ten times as long. Threads
that sleep then lose little. The numbers are the same.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from bench.training.settings import available_cores

POLICY = "OMP_WAIT_POLICY"
CHOSEN = (POLICY, "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Variables of the environment by which users choose for themselves."""
SPARE = 0.25
"""Share of a core that others may use before threads sleep, such as a terminal or a browser."""

SECONDS = 0.3
"""Time over which the use of the cores is counted at least; the kernel counts in hundredths of a second."""


class SharedCores:
    """The cores that other processes use, counted from when this is made.

    Args:
        stat: Where Linux counts what each core has done; elsewhere nothing is known, and nothing is changed.
    """

    def __init__(self, stat: Path = Path("/proc/stat")) -> None:
        self._stat = stat
        self._before = self._now()

    def used(self) -> float | None:
        """Return the number of this process's cores that others have used since; ``None`` if that is not known.

        It waits until :data:`SECONDS` have gone by, as a shorter time tells nothing.
        """
        if self._before is None:
            return None
        time.sleep(max(0.0, self._before[0] + SECONDS - time.monotonic()))
        if (now := self._now()) is None:
            return None
        clock, busy, own = (after - before for after, before in zip(now, self._before, strict=True))
        return max(0.0, (busy - own) / clock)

    def sleep_if_shared(self, threads: int) -> str | None:
        """Let the threads of this process and of those that it starts sleep while they wait, if their cores are shared.

        Nothing is changed if torch is there already, which has asked by then, or if the user has chosen.

        Args:
            threads: The number of threads that are to compute.

        Returns:
            What is told to the user; ``None`` if nothing was changed.
        """
        if threads < 2 or "torch" in sys.modules or any(name in os.environ for name in CHOSEN):
            return None
        cores, used = available_cores(), self.used()
        if used is None or threads <= cores - used + SPARE:
            return None
        os.environ[POLICY] = "passive"
        return (
            f"other processes use {used:.1f} of {cores} cores, so the {threads} threads of a run sleep while they wait "
            f"for each other; {POLICY}=active keeps them awake, runtime.threads=1 needs no waiting"
        )

    def _now(self) -> tuple[float, float, float] | None:
        """Return the time, and the seconds that the cores and that this process have worked, since some beginning."""
        try:
            lines = [line.split() for line in self._stat.read_text(encoding="ascii").splitlines()]
            mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
            # user, nice, system, and behind idle and iowait: irq, softirq, steal
            busy = sum(sum(map(int, (*line[1:4], *line[6:9]))) for line in lines if line and line[0] in mine)
        except (OSError, ValueError, AttributeError):
            return None
        return time.monotonic(), busy / os.sysconf("SC_CLK_TCK"), time.process_time()
