"""A W&B sweep whose agent starts `bench run`, with W&B's own commands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT, TINY
from tests.wandb_server import WandbServer

BESIDE = Path(sys.executable).parent


@pytest.mark.long_run
def test_an_agent_of_a_sweep_makes_runs(
    server: WandbServer, environment: dict[str, str], results: Path, tmp_path: Path
):
    sweep = yaml.safe_load((ROOT / "docs" / "wandb_sweep.yaml").read_text())
    command = sweep["command"]
    assert command[:2] == ["bench", "run"]
    assert command[-3:] == ["logger=wandb", "logger.mode=online", "${args_no_hyphens}"]
    assert all(key in ("cell", "optimizer.lr", "seed") for key in sweep["parameters"])
    # The second of two equal runs is there already, and is the agent's all the same.
    sweep["parameters"] = {"cell": {"values": ["gru"]}, "optimizer.lr": {"values": [0.01, 0.01]}, "seed": {"value": 3}}
    sweep["command"] = [*command[:2], *TINY, f"results_dir={results}", *command[-3:]]
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    path = f"{BESIDE}{os.pathsep}{os.environ['PATH']}"

    def wandb(*words: str) -> str:
        done = subprocess.run(
            [str(BESIDE / "wandb"), *words],
            cwd=tmp_path,
            env={**os.environ, **environment, "PATH": path},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    made = re.search(r"wandb agent (\S+)", wandb("sweep", "sweep.yaml"))
    assert made is not None
    wandb("agent", "--count", "2", made[1])
    assert server.problems == []
    assert len(server.runs) == 2
    (sweep_id,) = server.sweeps
    for stored in server.runs.values():
        assert (stored.sweep, stored.state, stored.exit_code) == (sweep_id, "finished", 0)
        assert (stored.config["cell_name"], stored.config["optimizer.lr"], stored.config["seed"]) == ("gru", 0.01, 3)
        assert stored.summary["test/mse"] > 0
