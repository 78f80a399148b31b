"""Lightning's trainer follows the run spec, and nothing else that Lightning finds on the machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch.utils.data import DataLoader, TensorDataset

from bench.runs.checkpoint import advance
from bench.runs.trainer import quiet_lightning, trainer_of
from tests.conftest import TINY, Bench, results_of, spec_of
from tests.processes import CLUSTERS, command


@pytest.fixture
def srun(tmp_path: Path) -> str:
    """Return a search path on which SLURM's ``srun`` is found."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "srun").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bin" / "srun").chmod(0o755)
    return f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"


def test_an_installed_slurm_changes_nothing(bench: Bench, srun: str, monkeypatch: pytest.MonkeyPatch):
    plain = bench.beside("plain")
    plain.ready()
    monkeypatch.setenv("PATH", srun)
    outcome = bench.run()
    assert (outcome.code, outcome.err) == (0, "")
    assert results_of(bench.results) == results_of(plain.results)


@pytest.mark.parametrize("launchers", [("SLURM",), ("LSF",), ("SLURM", "torchrun", "MPI", "Kubeflow")], ids="+".join)
def test_a_process_that_a_cluster_started_trains_by_itself(
    bench: Bench, tmp_path: Path, srun: str, launchers: tuple[str, ...]
):
    environment = {name: value for launcher in launchers for name, value in CLUSTERS[launcher].items()}
    plain = bench.beside("plain")
    made = plain.ready("logger=csv")
    folder = tmp_path / "where the job starts"
    folder.mkdir()
    (folder / "hpc_ckpt_1.ckpt").write_text("what Lightning would go on from")
    done = command("run", *TINY, f"results_dir={bench.results}", "logger=csv", cwd=folder,
                   environment={"PATH": srun, **environment})  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    label, _, said = done.stdout.partition(": ")
    assert label == "adding_problem gru seed=0"
    assert said.startswith(f"unsolved at step 6, test mse {made.metrics['test']['mse']:.4f}, 0:0")
    assert len(done.stdout.splitlines()) == 1
    assert results_of(bench.results) == results_of(plain.results)
    rows = (bench.folder(made) / "metrics.csv").read_text().splitlines()
    assert len(rows) == len((plain.folder(made) / "metrics.csv").read_text().splitlines()) > 1


class Counting(L.LightningModule):
    """Keeps the step before each update, and the step of each evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.trained: list[int] = []
        self.evaluated: list[int] = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.trained.append(self.global_step)
        self.manual_backward(self.weight.sum())
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        optimizer.step()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.evaluated.append(self.global_step)


def test_a_fresh_trainer_goes_on_at_the_step_of_a_checkpoint(tmp_path: Path):
    module = Counting()
    spec = spec_of(*TINY, f"results_dir={tmp_path}", "training.max_steps=12", "training.eval_every=5")
    with quiet_lightning():
        trainer = trainer_of(spec, [])
        advance(trainer, 8)
        batches, evaluation = (DataLoader(TensorDataset(torch.zeros(size))) for size in (20, 1))
        trainer.fit(module, batches, evaluation)
    mend = "Lightning keeps its progress in another place: mend advance in bench/runs/checkpoint.py"
    assert module.trained == [8, 9, 10, 11], mend
    assert (module.evaluated, trainer.global_step) == ([10], 12), mend
