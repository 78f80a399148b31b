"""Times several programs in turns: each lives in a separate process, and only one works at a time."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent


@dataclass
class Timing:
    """Milliseconds a step of one program.

    Attributes:
        median: Median over all steps of all rounds.
        low: First quartile.
        high: Third quartile.
        steps: Number of steps that were timed.
        losses: Losses of the first three steps.
        first_seconds: Time of these three steps; JAX and Keras compile in them, our ``compiled`` before them.
    """

    median: float
    low: float
    high: float
    steps: int
    losses: list[float]
    first_seconds: float


def spread(values: list[float]) -> tuple[float, float, float]:
    """Return median, first and third quartile."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return median, low, high


class Contestant:
    """A program that serves steps; see ``peers/serve.py``."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=HERE / "peers",
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE / "peers"), str(ROOT)])},
        )
        self.first = self._answer()

    def work(self, seconds: float) -> list[float]:
        """Return the milliseconds of each step of one turn."""
        assert self._process.stdin is not None
        print(seconds, file=self._process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(("{", "[")):
                return json.loads(line)
        raise RuntimeError(f"{self.name} ended with {self._process.wait()}: {' '.join(map(str, self._process.args))}")  # type: ignore[arg-type]


def contest(commands: dict[str, list[str]], rounds: int, seconds: float) -> dict[str, dict[str, Any]]:
    """Time all programs in turns and return their timings by name.

    Args:
        commands: The command that starts each program.
        rounds: Number of turns of each program.
        seconds: Length of a turn; a program makes at least two steps in it.
    """
    running: list[Contestant] = []
    try:
        for name, command in commands.items():
            running.append(Contestant(name, command))
        times: dict[str, list[float]] = {name: [] for name in commands}
        for turn in range(rounds + 1):
            for each in running if turn % 2 else reversed(running):
                found = each.work(seconds)
                if turn > 0:  # the first turn warms up
                    times[each.name] += found
    finally:
        for each in running:
            each.close()
    found = {}
    for each in running:
        median, low, high = spread(times[each.name])
        found[each.name] = asdict(
            Timing(median, low, high, len(times[each.name]), each.first["losses"], each.first["seconds"])
        )
    return found
