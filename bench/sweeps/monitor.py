"""The view of a sweep in the foreground: one bar for all its runs, and a line for each that ends."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence

from bench.sweeps.bar import ProgressBar
from bench.sweeps.output import close_quietly
from bench.sweeps.state import Inventory, RunState, seconds_left, share_done
from bench.sweeps.terminal import duration, ended, summary_line

SECONDS_BETWEEN_LOOKS = 0.5


class Monitor:
    """Watches the runs of a sweep from a separate thread, so that workers need not report.

    Args:
        inventory: The runs.
        is_news: Returns whether a run's record was written since the sweep began.
        workers: Number of runs at once.
        on_look: Function that is called after every look.
    """

    def __init__(
        self,
        inventory: Inventory,
        is_news: Callable[[RunState], bool],
        workers: int,
        on_look: Callable[[], None],
    ) -> None:
        self._inventory = inventory
        self._is_news = is_news
        self._workers = workers
        self._on_look = on_look
        self._told: set[tuple[str, str]] = set()
        self._error: Exception | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="monitor", daemon=True)

    def __enter__(self) -> Monitor:
        self._bar = ProgressBar(len(self._inventory.runs))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._look()
        self._bar.close()
        if self._error is not None:
            raise self._error

    def _watch(self) -> None:
        while not self._stopped.wait(SECONDS_BETWEEN_LOOKS):
            self._look()

    def _look(self) -> None:
        """Look at the runs and report what is new.

        An error is kept and raised at the end, because the sweep must not miss a signal for it.
        """
        run_states: list[RunState] = []
        try:
            run_states = self._inventory.look()
            if self._error is None:
                self._show(run_states)
        except BrokenPipeError:
            # The reader has seen enough, as in `bench run ... | head`; the runs go on.
            close_quietly(sys.stdout)
        except Exception as error:  # noqa: BLE001 - the record may have a fault that nobody foresaw
            self._error = self._error or error
        self._on_look()

    def _show(self, run_states: Sequence[RunState]) -> None:
        width = len(str(len(run_states)))
        news = [
            run_state
            for run_state in run_states
            if run_state.record is not None and run_state.state != "running" and self._is_news(run_state)
        ]
        fresh = [run_state for run_state in news if (run_state.run.folder, run_state.state) not in self._told]
        done = sum(run_state.final for run_state in run_states) - sum(run_state.final for run_state in fresh)
        for run_state in fresh:
            assert run_state.record is not None
            done += run_state.final
            self._told.add((run_state.run.folder, run_state.state))
            self._bar.write(f"[{done:>{width}}/{len(run_states)}] {ended(run_state.record, run_state.run.label)}")
        if self._bar.due:
            title, seconds = summary_line(run_states), seconds_left(run_states, self._workers)
            left = "" if seconds is None else f"{duration(seconds)} left"
            self._bar.show(sum(map(share_done, run_states)), title, left, f"{title}{left and ', about '}{left}")
