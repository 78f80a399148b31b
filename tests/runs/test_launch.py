"""``launch.run``: any launcher gets the jobs, a run is built twice and no more, and the process stays as it was."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, run_job
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from bench.config.explain import ConfigError
from bench.records.read import find_records, read_record
from bench.runs import launch
from bench.runs.outcome import LaunchError
from tasks.adding_problem import AddingProblem
from tests.conftest import TINY, Bench, odd_cell, own_experiment


class TinyLauncher(Launcher):
    """Makes the jobs one after the other, the last one first."""

    launched: ClassVar[list[list[list[str]]]] = []

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        self.launched.append([list(overrides) for overrides in job_overrides])
        return [self._make(list(overrides), number) for number, overrides in enumerate(job_overrides)][::-1]

    def _make(self, overrides: list[str], number: int) -> JobReturn:
        config = self.context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        return run_job(
            hydra_context=self.context, task_function=self.task_function, config=config,
            job_dir_key="hydra.sweep.dir", job_subdir_key="hydra.sweep.subdir",
        )  # fmt: skip


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The words that choose the launcher of this module, which stands where Hydra's plugins do."""
    monkeypatch.setitem(sys.modules, "hydra_plugins.tiny", sys.modules[__name__])
    monkeypatch.setattr(TinyLauncher, "__module__", "hydra_plugins.tiny")
    Plugins.instance().register(TinyLauncher)
    TinyLauncher.launched.clear()
    (tmp_path / "mine" / "hydra" / "launcher").mkdir(parents=True)
    (tmp_path / "mine" / "hydra" / "launcher" / "tiny.yaml").write_text(
        "_target_: hydra_plugins.tiny.TinyLauncher\nat_once: ${hydra.sweeper.workers}\n"
    )
    return [f"--config-dir={tmp_path / 'mine'}", "hydra/launcher=tiny"]


class TestLauncher:
    def test_whichever_is_chosen_gets_the_jobs_that_are_to_do(self, bench: Bench, tiny: list[str]):
        assert bench.run(*tiny, "-m", "seed=0,1").code == 0
        assert [[job[-1] for job in jobs] for jobs in TinyLauncher.launched] == [["seed=0", "seed=1"]]
        outcome = bench.run(*tiny, "-m", "seed=range(0,3)", "cell=gru")
        assert outcome.code == 0
        assert outcome.out.startswith("2 of 3 runs are there already, 1 to do\n[3/3] adding_problem gru seed=2: ")
        assert [job[-2:] for job in TinyLauncher.launched[1]] == [["seed=2", "cell=gru"]], "and no others"
        assert {made.seed for made in bench.records()} == {0, 1, 2}

    def test_it_gets_rows_of_an_experiment_and_a_single_run(self, bench: Bench, tiny: list[str], tmp_path: Path):
        words = own_experiment(tmp_path, {"rows": [{"task.length": 5}, {"cell": "rnn", "task.length": 6}]})
        assert bench.run(*words, "hydra/launcher=tiny").code == 0
        assert bench.run(*tiny, "seed=7").code == 0
        assert [len(jobs) for jobs in TinyLauncher.launched] == [2, 1]
        made = {(each.seed, each.cell, each.config["task"]["length"]) for each in bench.records()}
        assert made == {(0, "gru", 5), (0, "rnn", 6), (7, "gru", 100)}

    def test_one_that_fails_is_one_line(self, bench: Bench, tiny: list[str], monkeypatch: pytest.MonkeyPatch):
        def fail(*_: Any, **__: Any) -> None:
            raise RuntimeError("the queue\nis full")

        monkeypatch.setattr(TinyLauncher, "launch", fail)
        outcome = bench.run(*tiny, "-m", "seed=0,1")
        assert (outcome.code, outcome.err) == (2, "bench run: the queue is full\n")

    def test_another_sweeper_is_an_error(self, bench: Bench):
        outcome = bench.run("hydra/sweeper=basic")
        assert outcome.err == "bench run: hydra/sweeper must be bench, which checks all runs first, got basic\n"


@pytest.mark.parametrize("words", [("seed=0",), ("-m", "seed=0,1"), ("-m", "seed=range(0,5)", "launcher=serial")])
def test_runs_are_composed_once_and_each_is_built_where_it_is_made(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
):
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    from bench.config import compose
    from bench.runs import job

    counted: Counter[str] = Counter()

    def counting(name: str, function: Any) -> Any:
        def count(*arguments: Any, **more: Any) -> Any:
            counted[name] += 1
            return function(*arguments, **more)

        return count

    monkeypatch.setattr(compose, "build", counting("planned", compose.build))
    monkeypatch.setattr(job, "build", counting("made", job.build))
    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", counting("all", ConfigLoaderImpl.load_configuration))
    assert bench.run(*words).code == 0
    runs = len(bench.records())
    # Hydra composes the command, and once what its runs have in common: those that differ in values alone are made from
    # one config, and those that differ in their seed alone are planned as one.
    assert counted == {"planned": 1, "made": runs, "all": 2}


def surroundings() -> dict[str, Any]:
    return {
        "argv": list(sys.argv),
        "path": list(sys.path),
        "environment": dict(os.environ),
        "hydra": GlobalHydra.instance().hydra,
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "warnings": list(warnings.filters),
        "folder": Path.cwd(),
    }


class TestInOneProcess:
    def test_calls_after_each_other_leave_everything_as_it_was(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(sys, "argv", ["notebook", "--with", "words"])
        mine = odd_cell(tmp_path / "mine", "")
        words = [*TINY, "cell=odd", "model.engine=stepwise", f"results_dir={tmp_path / 'results'}"]
        first = launch.run([*words, "seed=0"], config_dir=str(mine))
        before = surroundings()
        listed = launch.run([*words, "seed=0,1"], config_dir=str(mine), multirun=True, dry_run=True)
        assert find_records(tmp_path / "results") == list(first.folders)
        both = launch.run([*words, "seed=0,1"], config_dir=str(mine), multirun=True)
        with pytest.raises(ConfigError, match=r"^seed must be one value, or a sweep with -m \(--multirun\), got 0,1$"):
            launch.run([*words, "seed=0,1"], config_dir=str(mine))
        assert surroundings() == before
        assert both == listed
        assert both.problems == ()
        assert both.folders[0] == first.folders[0]
        assert [read_record(folder).seed for folder in both.folders] == [0, 1]

    def test_a_handler_of_signals_comes_back(self, bench: Bench):
        def mine(*_: object) -> None:
            raise AssertionError

        found = signal.signal(signal.SIGTERM, mine)
        try:
            assert bench.run().code == 0
            assert signal.getsignal(signal.SIGTERM) is mine
        finally:
            signal.signal(signal.SIGTERM, found)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
    def test_a_signal_ends_planning_at_once(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
    ):
        def sample(*_: Any) -> None:
            signal.raise_signal(number)  # `os.kill` may reach another thread first
            raise AssertionError("the planning went on")

        # What `nohup` has made deaf to SIGHUP would stay so.
        before = signal.signal(number, signal.default_int_handler)
        monkeypatch.setattr(AddingProblem, "sample", sample)
        try:
            outcome = bench.run("task.length=9")
            assert signal.getsignal(number) is signal.default_int_handler
        finally:
            signal.signal(number, before)
        said = f"bench run: stopped by {number.name}; the same command goes on from here\n"
        assert (outcome.code, outcome.err) == (128 + number, said)
        assert not bench.results.exists()

    def test_what_is_missing_is_told_with_its_folder(self, tmp_path: Path):
        mine = odd_cell(
            tmp_path / "mine", "        if inputs.device.type != 'meta':\n            raise OSError('no')\n"
        )
        words = [*TINY, "cell=odd", "model.engine=stepwise", "task.length=9", f"results_dir={tmp_path / 'results'}"]
        outcome = launch.run([*words, "seed=0,0"], config_dir=str(mine), multirun=True)
        (folder,) = outcome.folders
        assert read_record(folder).status == "failed"
        assert outcome.problems == (
            f"adding_problem odd seed=0 has no result, see {folder / 'record.json'}",
            "1 of 2 runs failed; the others are kept",
        )

    def test_a_program_without_the_plugin_says_so(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
        monkeypatch.setattr(Plugins, "discover", lambda *_: [])
        with pytest.raises(LaunchError, match=r"^rnn-bench must be installed"):
            launch.run([*TINY, f"results_dir={tmp_path}"])
