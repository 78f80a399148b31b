"""The words for the progress of a sweep: durations and states; and the place where it is shown."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TextIO, cast

from bench.records import record
from bench.records.record import Record
from bench.sweeps.state import RunState, count


class Output:
    """The standard output of a command, in place of Python's own from the start of a ``with`` block to its end.

    A command goes on where its output cannot be written, as on a full disk: to lose lines is not to lose runs. Where
    the reader has gone, the command ends.

    Attributes:
        error: The first error; ``None`` if all was written.
    """

    def __init__(self) -> None:
        self.error: OSError | None = None
        self._stream: TextIO = sys.stdout

    def __enter__(self) -> Output:
        sys.stdout = cast(TextIO, self)
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()
        sys.stdout = self._stream
        if self.error is not None:
            self.discard()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text, as far as that is possible."""
        with self._kept():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is still in memory, as far as that is possible."""
        with self._kept():
            self._stream.flush()

    @contextlib.contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            self.error = self.error or error
            self.discard()

    def discard(self) -> None:
        """Discard all that is not written, and all further output."""
        close_quietly(self._stream)


def close_quietly(stream: TextIO) -> None:
    """Discard all further output of a stream; otherwise Python would complain at its end of what it cannot write."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def duration(seconds: float) -> str:
    """Write seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def ended(made: Record, label: str) -> str:
    """Say in one line how a run ended; the label is that of its run spec."""
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


def summary_line(run_states: Sequence[RunState]) -> str:
    """Return a line such as ``12/18 runs, 2 running, 1 failed``."""
    by_state = count(run_states)
    done = sum(by_state[state] for state in record.FINAL)
    states = ("diverged", "running", "interrupted", "failed", "damaged")
    return ", ".join(
        [f"{done}/{len(run_states)} runs", *(f"{by_state[state]} {state}" for state in states if by_state[state])]
    )
