"""A W&B server on the loopback interface, and commands that use it and nothing of the user's."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.mirror import client
from tests import processes
from tests.conftest import TINY
from tests.wandb_server import WandbServer

USER, HOME = "wilhelmina", "home-of-wilhelmina"


@pytest.fixture
def server() -> Iterator[WandbServer]:
    with WandbServer() as started:
        yield started


@pytest.fixture
def environment(server: WandbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The variables of a user who uses the server."""
    # Other tests of this process may have started W&B's own process, which would take these runs in, too.
    monkeypatch.delenv("WANDB_SERVICE", raising=False)
    home = tmp_path / HOME
    home.mkdir()
    # The native kernels are built already.
    kernels = os.environ.get("TORCH_EXTENSIONS_DIR") or str(Path.home() / ".cache" / "torch_extensions")
    return {**server.env, "HOME": str(home), "USER": USER, "LOGNAME": USER, "TORCH_EXTENSIONS_DIR": kernels}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder below the home folder, whose name nobody is to see."""
    return tmp_path / HOME / "results"


@pytest.fixture
def words(results: Path) -> list[str]:
    """The words of a tiny run that goes to W&B."""
    return ["run", *TINY, f"results_dir={results}", "logger=wandb", "logger.mode=online"]


@pytest.fixture
def call(environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``bench`` in a process of its own."""

    def run(*given: str | Path, hurry: bool = False, **more: str) -> subprocess.CompletedProcess[str]:
        before = short_waits if hurry else None
        return processes.command(*given, before=before, environment={**environment, **more})

    return run


def short_waits() -> None:
    """In the process of a command, wait less for a server that will not answer."""
    client.CONNECT_SECONDS = client.FINISH_SECONDS = 4


def rows_of(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows of the history without what W&B adds to each."""
    return [{key: value for key, value in row.items() if not key.startswith("_")} for row in history]
