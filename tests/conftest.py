"""Fixtures and functions that all tests share: the command line in this process, and what ``conf/`` holds."""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import os
import re
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra import compose, initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from bench.cli.main import main
from bench.config import schema
from bench.config.compose import compose_runs
from bench.config.explain import ConfigError, explain
from bench.config.hydra_app import parse
from bench.config.resolve import build
from bench.config.run_spec import RunSpec
from bench.records.read import find_records, read_curves, read_probe, read_record
from bench.records.record import Record
from bench.records.series import CLOCKS, PROBES
from bench.runs.execute import execute
from bench.runs.progress import Pulse
from bench.training.loop import TrainingModule
from tasks.base import Batch

ROOT = Path(__file__).resolve().parents[1]

DATA: dict[str, tuple[str, ...]] = {
    "character_model": ("task.file=" + str(ROOT / "tests" / "files" / "text.txt"),),
    "digits": (),
    "forecast": (),
    "series": ("task.file=co2", "task.target=ppm"),
    "sequence_classification": ("task.file=" + str(ROOT / "tests" / "files" / "sequences.csv"), "task.step=step"),
    "text_classification": (),
}
"""Tasks on data sets, with the overrides that name a small one."""

DATA_EXPERIMENTS = {
    "bai2018_mnist": "digits",
    "char_lm": "character_model",
    "classifier": "digits",
    "digits": "digits",
    "forecast": "forecast",
    "overfitting": "digits",
    "sentiment": "text_classification",
}
"""Experiments on data sets, which have settings of their one task."""

TINY = (
    "model.hidden_size=4",
    "data.batch_size=4",
    "data.eval_size=8",
    "data.test_size=8",
    "training.max_steps=6",
    "training.eval_every=3",
    "runtime.threads=1",
    "trainer=cpu",
    "probe=none",
)
"""Overrides under which a run takes a fraction of a second. ``probe=flow`` after them turns the probes on again."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Bench:
    """The command line, called in this process with its own results folder."""

    results: Path
    call: Callable[..., Outcome]
    shared: Path
    """Results folder for runs that are made once for all tests of this process."""
    always: tuple[str, ...] = ()
    """Overrides of every run."""

    def beside(self, name: str) -> Bench:
        """Return the same command line with another results folder."""
        return dataclasses.replace(self, results=self.results.with_name(name))

    def run(self, *overrides: str) -> Outcome:
        return self.call("run", *TINY, f"results_dir={self.results}", *self.always, *overrides)

    def records(self) -> list[Record]:
        return [read_record(folder) for folder in find_records(self.results)]

    def one(self, *overrides: str) -> Record:
        """Make one run without Hydra's launcher, from a config that is composed once, and return its record."""
        spec = spec_of(*TINY, f"results_dir={self.results}", *self.always, *overrides)
        command = shlex.join(["bench", "run", *spec.asked])
        return execute(spec, command, Pulse(), lambda: None, None)

    def ready(self, *overrides: str) -> Record:
        """Do the same as :meth:`one` by copying a shared run, so that only the first caller waits for it."""
        name = hashlib.sha256(repr((self.always, overrides)).encode()).hexdigest()[:12]
        origin = dataclasses.replace(self, results=self.shared / name)
        made = origin.records()[0] if origin.results.exists() else origin.one(*overrides)
        shutil.copytree(origin.results / "runs", self.results / "runs", dirs_exist_ok=True)
        return made

    def folder(self, made: Record) -> Path:
        return self.results / "runs" / made.experiment / made.task / made.cell / made.run_id

    def curves(self, made: Record) -> dict[str, list[float]]:
        return read_curves(self.folder(made)).to_pydict()

    def probes(self, made: Record) -> dict[str, list[tuple[Any, ...]]]:
        """Return what the probes found, without the column of the run, with every value as written."""
        return probes_of(self.folder(made))


def probes_of(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of all probe tables of one record, without the column of the run, with every value as written."""
    tables = {name: read_probe(folder, name).drop("run").to_pylist() for name in PROBES}
    return {name: [tuple(map(repr, row.values())) for row in rows] for name, rows in tables.items()}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the longest tests, so that no process waits at the end; skip tests for a GPU if there is none."""
    items.sort(key=lambda item: item.get_closest_marker("first") is None)
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu") is not None:
                item.add_marker(pytest.mark.skip(reason="torch finds no GPU here"))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shared: Path) -> Bench:
    def call(*arguments: str) -> Outcome:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "path", list(sys.path))
            with pytest.raises(SystemExit) as stopped:
                main(list(arguments))
        captured = capsys.readouterr()
        code = stopped.value.code
        return Outcome(code if isinstance(code, int) else 1, captured.out, captured.err)

    return Bench(tmp_path / "results", call, shared)


@functools.cache
def composed(*choices: str) -> tuple[DictConfig, dict[str, str | None]]:
    """Return the config of these choices of options, without Hydra's node, and Hydra's choice for each group.

    Each is composed once a process, because Hydra takes longer to compose it than a tiny run takes to train.
    """
    schema.register()
    with initialize_config_module("conf", version_base="1.3"):
        cfg = compose("config", list(choices), return_hydra_config=True)
    chosen = dict(cfg.hydra.runtime.choices)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg, chosen


def specs_of(*words: str) -> list[RunSpec]:
    """The runs of a command line, composed and checked."""
    parsed = parse(["trainer=cpu", *words])
    return compose_runs(parsed.overrides, config_dir=parsed.config_dir)


def spec_of(*overrides: str) -> RunSpec:
    """Return the run spec that a command line of ``key=value`` gives; only the choices of options are composed.

    Raises:
        ConfigError: A value is wrong; the message is in the words of the command line.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    values = {each.get_key_element(): each for each in parsed}
    choices = [each.input_line for key, each in values.items() if (ROOT / "conf" / key).is_dir() and each.input_line]
    cfg, chosen = composed(*choices)
    cfg = copy.deepcopy(cfg)
    try:
        for key, each in values.items():
            if each.input_line not in choices:
                OmegaConf.update(cfg, key, each.value())
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error, None, list(overrides))) from error
    return build(cfg, chosen, list(overrides))


def results_of(folder: Path) -> dict[str, Any]:
    """Return all that two equal sweeps share, by run id: outcomes, metrics, curves and probes, as written."""
    found = {}
    for place in find_records(folder):
        made, curves = read_record(place), read_curves(place).to_pydict()
        kept = {name: repr(values) for name, values in curves.items() if name not in CLOCKS}
        found[made.run_id] = (made.status, made.steps, made.solved, made.steps_to_solve, made.metrics, kept,
                              probes_of(place))  # fmt: skip
    return found


def options(group: str) -> list[str]:
    """Return the options of a config group, from the files in ``conf/``."""
    return sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml"))


def cells() -> list[str]:
    """Return the cells of ours; ``foreign`` is none by itself."""
    return [name for name in options("cell") if name != "foreign"]


def assert_one_line(outcome: Outcome, command: str, message: str) -> None:
    """Check that a command failed with one line and printed nothing else."""
    assert outcome.code != 0
    assert outcome.out == ""
    lines = [line for line in outcome.err.splitlines() if not line.startswith("Error executing job")]
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith(f"bench {command}: {message}"), lines[0]


def page(name: str) -> str:
    """Return the text of a page of the documentation."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def block(name: str, file: str, language: str) -> str:
    """Return the code block of a page that follows the first mention of a file."""
    found = re.search(rf"`{re.escape(file)}`:\n\n```{language}\n(.*?)```", page(name), re.DOTALL)
    assert found is not None, name
    return found[1]


def documented_cell(folder: Path) -> Path:
    """Make a folder with ``cell=mine``, the cell of the documentation."""
    sys.modules.pop("leaky_gate", None)
    (folder / "cell").mkdir(parents=True)
    (folder / "leaky_gate.py").write_text(block("ten_minutes.md", "mine/leaky_gate.py", "python"))
    (folder / "cell" / "mine.yaml").write_text(block("ten_minutes.md", "mine/cell/mine.yaml", "yaml"))
    return folder


def odd_cell(folder: Path, project: str) -> Path:
    """Make a folder with ``cell=odd``: a GRU without a kernel, with some code before its projection of the inputs.

    Runs of it ask for ``model.engine=stepwise``: to generate code, planning would run what is to happen in the run.
    """
    sys.modules.pop("odd_cell", None)
    (folder / "cell").mkdir(parents=True)
    (folder / "odd_cell.py").write_text(
        "import os, signal, time\nfrom bench.cells.gru import GRUCell\n\n\nclass Odd(GRUCell):\n"
        "    def kernel(self):\n        return None\n\n"
        f"    def project(self, inputs):\n{project}        return super().project(inputs)\n"
    )
    (folder / "cell" / "odd.yaml").write_text(
        "_target_: odd_cell.Odd\n_partial_: true\n"
        "init: {_target_: bench.cells.init.Initialization, input: torch, recurrent: torch, bias: torch}\n"
    )
    return folder


def own_experiment(folder: Path, sweep: Any, **more: Any) -> list[str]:
    """Return words that run a user's own experiment, which sweeps over no params unless the test says so."""
    (folder / "mine" / "experiment").mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump({"hydra": {"mode": "MULTIRUN"}, "sweep": sweep, **more}, sort_keys=False)
    (folder / "mine" / "experiment" / "own.yaml").write_text(f"# @package _global_\n{text}")
    return [f"--config-dir={folder / 'mine'}", "+experiment=own"]


def stop_at(monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """Let a signal arrive in each of these steps, once."""
    update = TrainingModule.update

    def signalled(self: TrainingModule, batch: Batch) -> None:
        if self.global_step + 1 in steps:
            steps.discard(self.global_step + 1)
            os.kill(os.getpid(), signal.SIGTERM)
        update(self, batch)

    monkeypatch.setattr(TrainingModule, "update", signalled)


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so, for two minutes at most."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
