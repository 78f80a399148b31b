"""Handling of signals that ask to stop: planning ends at once; a run after its step, with a checkpoint.

A second signal ends a run at once as well.
"""

from __future__ import annotations

import signal
import threading
from typing import Any

from bench.errors import StoppedError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Ctrl-C, a request to end, a terminal that has gone, and the warnings of a scheduler such as SLURM."""


class _State:
    requested: str | None = None
    patient = False
    at_once = False
    found: dict[signal.Signals, Any] | None = None
    """The handlers that were there before this process listened; ``None`` while it does not."""


_state = _State()


def exit_code(name: str) -> int:
    """Return the code with which a command ends that a signal has stopped, as shells have it."""
    return 128 + signal.Signals[name]


def requested() -> str | None:
    """Return the name of the signal that asked this process to stop; ``None`` if there was none."""
    return _state.requested


def forget() -> None:
    """Forget an earlier request, and give the signals back to whoever had them before."""
    _state.requested, _state.at_once = None, False
    found, _state.found = _state.found, None
    if threading.current_thread() is threading.main_thread():
        for number, handler in (found or {}).items():
            # A handler that was not set from Python is not known, and cannot be set again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def listen(*, patient: bool = False, at_once: bool = False) -> None:
    """Take :data:`SIGNALS` as requests to stop from now on, but for a SIGHUP that ``nohup`` has switched off.

    Args:
        patient: Whether a second signal stops no sooner. Workers need this: they may get one signal from the terminal
            and another from the sweep's own process.
        at_once: Whether the first signal raises :class:`StoppedError` wherever it finds the process. That is for times
            in which there is nothing to lose.

    Raises:
        StoppedError: A signal is to stop at once, and has come already.
    """
    _state.patient, _state.at_once = patient, at_once
    if at_once and _state.requested is not None:
        raise StoppedError
    if _state.found is None:
        found = {number: signal.getsignal(number) for number in SIGNALS}
        if found[signal.SIGHUP] is signal.SIG_IGN:
            del found[signal.SIGHUP]
        _state.found = found
    listen_again()


def listen_again() -> None:
    """Take the signals back from Lightning, which takes them over whenever it starts."""
    # Only the main thread may set handlers. Elsewhere there is no need: nobody sends signals there.
    if _state.found is not None and threading.current_thread() is threading.main_thread():
        for number in _state.found:
            signal.signal(number, _on_signal)


def _on_signal(number: int, _: object) -> None:
    if _state.requested is not None and not _state.patient:
        raise KeyboardInterrupt
    _state.requested = signal.Signals(number).name
    if _state.at_once:
        raise StoppedError
