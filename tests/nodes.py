"""What a process does that plays another machine for :mod:`tests.runs.test_remote`."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path

import cloudpickle

from bench.config import numerics


def be_a_node(name: str, job: bytes, answer: str, change: Callable[[], None] | None) -> None:
    """Make a run in this process, as another machine."""
    platform.node = lambda: name
    if change is not None:
        change()
    result = cloudpickle.loads(job)()
    Path(answer).write_text(json.dumps(result))


def die() -> None:
    os._exit(9)


def lack_a_compiler() -> None:
    os.environ |= {"CXX": "no-compiler", "TORCH_EXTENSIONS_DIR": tempfile.mkdtemp()}


def have_other_code() -> None:
    versions = numerics.version_of
    numerics.version_of = lambda name: 99 if name == "cells.gru" else versions(name)
