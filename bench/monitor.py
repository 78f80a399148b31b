"""A sweep in the foreground: one bar for all its runs, a line for each that ends, and how each state reads."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from tqdm.auto import tqdm

from bench import record
from bench.inventory import Inventory, Look, count, seconds_left, share_done
from bench.record import Record

SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_BETWEEN_LINES = 30.0
BAR = "{desc} {percentage:.0f}% {bar}{postfix}"


def close_quietly() -> None:
    """Send what is printed from here on nowhere, after its reader has gone; Python would complain at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def duration(seconds: float) -> str:
    """Seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    return "ipykernel" in sys.modules


def ended(made: Record, label: str) -> str:
    """One line on how a run ended; the label is that of its plan."""
    if made.status in ("failed", "interrupted"):
        return f"{label}: {made.status}, {made.reason}"
    metric = made.task_facts["metric"]
    value = made.metrics["test"].get(metric)
    score = "" if value is None else f", test {metric} {value:.4g}"
    if made.status == "diverged":
        outcome = made.reason
    else:
        outcome = f"solved at step {made.steps_to_solve}" if made.solved else f"unsolved at step {made.steps}"
    return f"{label}: {outcome}{score}, {duration(made.time['wall_seconds'] or 0)}"


def summary(looks: Sequence[Look]) -> str:
    """``12/18 runs, 2 running, 1 failed``."""
    by_state = count(looks)
    done = sum(by_state[state] for state in record.FINAL)
    states = ("diverged", "running", "interrupted", "failed", "damaged")
    return ", ".join(
        [f"{done}/{len(looks)} runs", *(f"{by_state[state]} {state}" for state in states if by_state[state])]
    )


def time_left(looks: Sequence[Look], workers: int | None) -> str:
    """``3:10 left``, or nothing while there is nothing to tell it from."""
    seconds = seconds_left(looks, workers)
    return "" if seconds is None else f"{duration(seconds)} left"


class Monitor:
    """Looks at the runs of a sweep from a thread of its own, so that workers need not report.

    Args:
        inventory: The runs.
        is_news: Whether a run's record was written since the sweep began.
        workers: Runs at once.
        on_look: Called after every look.
    """

    def __init__(
        self,
        inventory: Inventory,
        is_news: Callable[[Look], bool],
        workers: int,
        on_look: Callable[[], None],
    ) -> None:
        self._inventory = inventory
        self._is_news = is_news
        self._workers = workers
        self._on_look = on_look
        self._told: set[tuple[str, str]] = set()
        self._error: Exception | None = None
        self._bar: tqdm[Any] | None = None
        self._line_at = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="monitor", daemon=True)

    def __enter__(self) -> Monitor:
        if sys.stderr.isatty() or in_notebook():
            self._bar = tqdm(
                total=len(self._inventory.runs), bar_format=BAR, leave=False, dynamic_ncols=True, delay=1e-9
            )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._look()
        if self._bar is not None:
            self._bar.close()
        if self._error is not None:
            raise self._error

    def _watch(self) -> None:
        while not self._stopped.wait(SECONDS_BETWEEN_LOOKS):
            self._look()

    def _look(self) -> None:
        """Look and tell; what goes wrong is raised at the end, the sweep must not miss a signal for it."""
        looks: list[Look] = []
        try:
            looks = self._inventory.look()
            if self._error is None:
                self._show(looks)
        except BrokenPipeError:
            # The reader has seen enough, as in `bench run ... | head`; the runs go on.
            close_quietly()
        except Exception as error:  # noqa: BLE001 - a record that nobody foresaw
            self._error = self._error or error
        self._on_look()

    def _show(self, looks: Sequence[Look]) -> None:
        width = len(str(len(looks)))
        news = [look for look in looks if look.record is not None and look.state != "running" and self._is_news(look)]
        fresh = [look for look in news if (look.run.folder, look.state) not in self._told]
        done = sum(look.final for look in looks) - sum(look.final for look in fresh)
        for look in fresh:
            assert look.record is not None
            done += look.final
            self._told.add((look.run.folder, look.state))
            self._print(f"[{done:>{width}}/{len(looks)}] {ended(look.record, look.run.label)}")
        self._draw(looks)

    def _print(self, line: str) -> None:
        if self._bar is not None:
            self._bar.clear()
        print(line, flush=True)

    def _draw(self, looks: Sequence[Look]) -> None:
        left = time_left(looks, self._workers)
        if self._bar is not None:
            self._bar.n = sum(map(share_done, looks))
            self._bar.set_description_str(summary(looks), refresh=False)
            self._bar.set_postfix_str(left, refresh=False)
            self._bar.refresh()
        elif time.monotonic() - self._line_at >= SECONDS_BETWEEN_LINES:
            self._line_at = time.monotonic()
            print(f"{summary(looks)}{left and ', about '}{left}", file=sys.stderr, flush=True)
