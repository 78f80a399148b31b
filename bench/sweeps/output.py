"""The standard output of a command, which may be a full disk, or a pipe whose reader has gone."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast


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
        except ValueError:
            if not self._stream.closed:
                raise
            # Somebody's cell may close it.
            self.error = self.error or OSError(errno.EBADF, "it was closed")

    def discard(self) -> None:
        """Discard all that is not written, and all further output."""
        close_quietly(self._stream)


def close_quietly(stream: TextIO) -> None:
    """Discard all further output of a stream; otherwise Python would complain at its end of what it cannot write."""
    if not stream.closed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
