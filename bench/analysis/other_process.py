"""A function of ours in another process, while this one goes on: what reads thousands of files keeps one core busy."""

from __future__ import annotations

import contextlib
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable
from types import TracebackType
from typing import Any

from bench.training.settings import available_cores

_CODE = f"from {__name__} import run; run()"
_is_the_other = False


def is_of_use() -> bool:
    """Return whether there is a core for another process; never in one that is such a process itself."""
    return available_cores() > 1 and not _is_the_other


class OtherProcess:
    """A call in a process of its own, from ``with`` on; at the end of the block it is over or killed.

    Args:
        function: A function of a module.
        arguments: What it is called with; they are pickled, as is what it returns.
    """

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._asked = function, arguments

    def __enter__(self) -> OtherProcess:
        """Start it."""
        with tempfile.TemporaryFile() as asked:
            pickle.dump(self._asked, asked)
            asked.seek(0)
            # In a session of its own it does not hear Ctrl-C: this process ends it.
            self._process = subprocess.Popen(
                [sys.executable, "-c", _CODE], stdin=asked, stdout=subprocess.PIPE, start_new_session=True
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it."""
        self._process.kill()
        self._process.__exit__(kind, error, traceback)

    def answer(self) -> Any:
        """Wait for what the function returns; what it raises is raised here.

        Raises:
            ValueError: The process has ended too early.
        """
        assert self._process.stdout is not None
        try:
            found = pickle.load(self._process.stdout)
        except EOFError as error:
            raise ValueError("another process, which did a part of the work, has ended too early") from error
        if isinstance(found, Exception):
            raise found
        return found


def run() -> None:
    """Call the function that is asked for on the standard input; say there what comes of it."""
    global _is_the_other
    _is_the_other = True
    function, arguments = pickle.load(sys.stdin.buffer)
    found: object
    try:
        found = function(*arguments)
    except Exception as error:  # noqa: BLE001  It is raised in the first process.
        found = error
    with contextlib.suppress(BrokenPipeError):  # Nobody may be there any more who asks.
        pickle.dump(found, sys.stdout.buffer)
        sys.stdout.buffer.flush()
