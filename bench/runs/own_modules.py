"""Where modules and plugins of the user's are imported from."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def own_modules(config_dir: str | None) -> Iterator[None]:
    """Let the user's modules be imported: those beside the user's configs, and those where the command is given.

    Args:
        config_dir: The absolute folder of the user's configs, if there is one.
    """
    found = list(sys.path)
    sys.path[:0] = [config_dir] if config_dir is not None else []
    sys.path.append(str(Path.cwd()))
    try:
        yield
    finally:
        sys.path[:] = found
