"""What ``bench table --help`` and ``bench run --help`` list is what there is."""

from __future__ import annotations

import itertools
import re
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from bench.analysis import metrics
from bench.analysis.run import Run
from bench.analysis.table import NOTES, WIDTHS
from bench.cli import common
from bench.config.key_help import key_help
from bench.config.schema import Config, LauncherConfig, ModelConfig, TrainerConfig
from bench.probes.settings import ProbeConfig
from bench.report.tables.render import FORMS
from bench.training.settings import DataConfig, RuntimeConfig, TrainingConfig
from tests.conftest import DATA, ROOT, TINY, Bench, cells, documented_cell, options, spec_of


def test_metrics_statistics_and_keys(bench: Bench):
    """Every task and every cell of ours, and every setting of a record that was just made."""
    outcome = bench.call("table", "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert max(map(len, outcome.out.splitlines())) <= 80
    listed = set(re.findall(r"[\w.]+", outcome.out.partition("metrics, for --metric")[2]))
    assert listed >= {*metrics.EVERY_RUN, *metrics.STATISTICS}
    tasks = [spec_of(*TINY, f"task={name}", *DATA.get(name, ())).task for name in options("task")]
    assert listed >= {score for task in tasks for score in task.baselines}
    made = bench.one()
    assert listed >= set(Run(made, bench.folder(made)).settings)
    for group, name in [("cell", name) for name in cells()] + [("task", name) for name in options("task")]:
        config = spec_of(*TINY, f"{group}={name}", *DATA.get(name, ())).config[group]
        assert listed >= {f"{group}.{key}" for key in config if not key.startswith("_") and key != "init"}


def test_choices_of_flags_are_those_of_what_they_choose():
    assert (common.FORMATS, common.NOTES, common.WIDTHS) == (FORMS, NOTES, WIDTHS)


SECTIONS = {
    "model": ModelConfig, "data": DataConfig, "training": TrainingConfig, "probe": ProbeConfig,
    "trainer": TrainerConfig, "runtime": RuntimeConfig, "launcher": LauncherConfig,
}  # fmt: skip


def test_every_key_of_run_has_its_meaning(bench: Bench):
    outcome = bench.call("run", "--help")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    keys = {line.strip().partition("=")[0]: below for line, below in itertools.pairwise(lines) if "=" in line}
    wanted = [f"{name}.{each.name}" for name, section in SECTIONS.items() for each in fields(section)]
    wanted += [each.name for each in fields(Config) if each.name in ("seed", "results_dir", "rerun", "budget", "sweep")]
    assert [key for key in wanted if not re.match(r" {4,}[^ ]", keys[key])] == []
    at = lines.index("  data.batch_size=64")
    assert lines[at + 1] == "      Sequences of a training step, at least 1."
    assert "  model.hidden_size=128" in lines, "as it holds, not as it is written"


@pytest.mark.parametrize("group", ["cell", "task", "optimizer", "logger"])
def test_every_key_of_every_option_has_its_meaning(group: str):
    for name in options(group):
        node = yaml.safe_load((ROOT / "conf" / group / f"{name}.yaml").read_text(encoding="utf-8"))
        shown = key_help(yaml.safe_dump({group: node}))
        assert "See " not in shown, name
        keys = [key for key in node if key[0] != "_" and not isinstance(node[key], dict)]
        assert [key for key in keys if not re.search(rf"^  {group}\.{key}=.*\n {{6}}[^ ]", shown, re.MULTILINE)] == []


@pytest.mark.parametrize("name", options("launcher"))
def test_every_key_of_every_launcher_has_its_meaning(name: str):
    node = spec_of(*TINY, f"launcher={name}").config["launcher"]
    shown = key_help(yaml.safe_dump({"launcher": node}))
    assert [key for key in node if not re.search(rf"^  launcher\.{key}=.*\n {{6}}[^ ]", shown, re.MULTILINE)] == []
    assert "See " not in shown


def test_a_cell_of_ones_own_is_read_and_not_imported(tmp_path: Path):
    folder = documented_cell(tmp_path / "mine")
    node = "cell: {_target_: leaky_gate.LeakyGate, initial_state: zeros, speed: 3}"
    shown = key_help(node, str(folder))
    assert "  cell.initial_state=zeros\n      The state before the first step," in shown
    assert shown.endswith("  cell.speed=3\n      See leaky_gate.LeakyGate.")
    assert "leaky_gate" not in sys.modules
