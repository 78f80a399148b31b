"""A W&B server on the loopback interface, and commands that use it and nothing of the user's."""

from __future__ import annotations

import getpass
import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.analysis.run import Run, read_exponents, read_reaches
from bench.mirror import client
from bench.mirror.history import Histogram, history
from bench.records.read import find_records, read_record
from tests import processes
from tests.conftest import TINY
from tests.wandb_backend import StoredRun
from tests.wandb_server import WandbServer

USER, HOME = "wilhelmina", "home-of-wilhelmina"


LONGER = ("training.max_steps=130", "training.eval_every=50", "probe=flow", "task.length=30", "cell=lstm",
          "probe.gate_bins=5")  # fmt: skip
"""A run that has everything which W&B shows."""


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


def run_of(results: Path) -> Run:
    (folder,) = find_records(results)
    run = Run(read_record(folder), folder)
    read_reaches([run])
    read_exponents([run])
    return run


def check(stored: StoredRun, run: Run, *, online: bool = True) -> None:
    """Compare a run on the server with its record, name by name and row by row.

    An offline run has the record among its files, any other one as an artifact.
    """
    made = run.record
    assert (stored.display_name, stored.group, stored.job_type) == ("adding_problem lstm seed=0", "default", made.task)
    assert (stored.tags, stored.state) == (["lstm", "adding_problem"], "finished")
    assert {name: stored.config[name] for name in ("task_name", "cell_name", "experiment", "seed", "length")} == {
        "task_name": "adding_problem", "cell_name": "lstm", "experiment": "default", "seed": 0, "length": 30,
    }  # fmt: skip
    assert stored.config["parameters"] == made.model["parameters"]
    assert stored.config["engine"] == made.model["engine"]
    assert stored.config["commit"] == made.code["commit"]
    assert stored.config["training"] == made.config["training"]
    expected = [{**row, "step": step} for step, row in history(run)]
    assert [row["step"] for row in expected] == [0, 1, 50, 100, 130]
    rows = rows_of(stored.history)
    assert len(rows) == len(expected)
    for shown, wanted in zip(rows, expected, strict=True):
        numbers = {key: value for key, value in shown.items() if not isinstance(value, dict)}
        assert numbers == {
            key: pytest.approx(value, nan_ok=True) for key, value in wanted.items() if not isinstance(value, Histogram)
        }
    shown = [row["gates/layer1.forget"] for row in rows if "gates/layer1.forget" in row]
    assert [histogram["bins"] for histogram in shown] == [pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])] * 2
    assert [sum(histogram["values"]) for histogram in shown] == pytest.approx([1, 1])
    assert [row["_step"] for row in stored.history] == [0, 1, 50, 100, 130]
    summary = stored.summary
    assert (summary["status"], summary["solved"], summary.get("steps_to_solve")) == ("completed", 0, None)
    assert summary["test/mse"] == pytest.approx(made.metrics["test"]["mse"])
    evaluated = [row["eval/mse"] for row in rows if "eval/mse" in row]
    assert summary["eval/mse"] == {"min": min(evaluated), "last": evaluated[-1]}
    assert summary["eval/within_tolerance"]["max"] == max(
        row["eval/within_tolerance"] for row in rows if "eval/mse" in row
    )
    assert run.reach is not None
    assert run.reach.end is not None
    assert summary["reach/trained"] == run.reach.end.reach
    assert summary["rate/untrained"] == pytest.approx(run.reach.start.rate)
    curve = next(content for name, content in stored.files.items() if name.startswith("media/table/flow/curve"))
    table = json.loads(curve)
    assert table["columns"] == ["step", "layer", "measure", "lag", "value", "cell"]
    flow = run.flow.drop(["run"]).to_pylist()
    assert table["data"] == [[*row.values(), "lstm"] for row in flow]
    files = {name.partition("/")[2]: content for name, content in stored.files.items() if name.startswith("record/")}
    if online:
        assert not files
        (files,) = [files for name, files in stored.artifacts.items() if name.startswith("record-")]
    else:
        assert not stored.artifacts
    assert files["record.json"] == (run.folder / "record.json").read_bytes()
    assert sorted(files) == sorted(path.name for path in run.folder.iterdir())


def look_for_secrets(server: WandbServer, results: Path) -> None:
    """Look for the key, the user and the home folder in all that the server was sent and in all files."""
    sent = b"\n".join(server.received)
    written = b"".join(path.read_bytes() for path in results.rglob("*") if path.is_file())
    for secret in (server.env["WANDB_API_KEY"], USER, HOME):
        assert secret.encode() not in sent
        assert secret.encode() not in written
    for value in (socket.gethostname(), getpass.getuser(), str(Path.home())):
        assert f'"{value}"'.encode() not in sent
