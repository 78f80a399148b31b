"""Lets a script be timed in turns with others: it waits until it is told to work."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable


def serve(step: Callable[[int], float], parts: int = 1) -> None:
    """Make three steps, print their losses, then work for as many seconds as each line of the input says.

    Args:
        step: Makes one training step with the batch of the given number, and returns its loss when the step is done.
        parts: Number of steps that one call makes; the time of a step is so much less.
    """
    started = time.perf_counter()
    losses = [step(number) for number in range(3)]
    print(json.dumps({"losses": losses, "seconds": time.perf_counter() - started}), flush=True)
    number = len(losses)
    for line in sys.stdin:
        budget, milliseconds = float(line), []
        while sum(milliseconds) * parts < 1000 * budget or len(milliseconds) < 2:
            started = time.perf_counter()
            step(number)
            milliseconds.append(1000 * (time.perf_counter() - started) / parts)
            number += 1
        print(json.dumps(milliseconds), flush=True)
