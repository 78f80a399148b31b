"""Runs planned from one config that Hydra has composed are those that it composes one by one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf, open_dict

from bench.config import compose
from bench.config.command import MULTIRUN, compose_command, jobs_of
from bench.config.experiments import names
from bench.config.explain import ConfigError
from bench.config.hydra_app import Composer, opened
from bench.config.resolve import build
from bench.records.read import find_records, read_record
from bench.runs import preflight
from tests import processes
from tests.conftest import TINY, own_experiment, specs_of

ALWAYS = ("default", "arjovsky2016", "longest_delay", "tallec2018")
"""One experiment, or none, of each kind: plain, with rows and budgets, with a search, with settings for some runs."""


@pytest.mark.parametrize(
    "preset",
    [pytest.param(each, marks=() if each in ALWAYS else pytest.mark.long_run) for each in ("default", *names())],
)
def test_planned_from_one_config_a_run_is_what_hydra_composes(preset: str):
    """All that a run is made of, for the first, the last and some runs between; settings of the user's on top."""
    mine = ["optimizer.lr=0.25,0.5", "seed=3,4", "trainer=cpu"]
    words = [*([] if preset == "default" else [f"+experiment={preset}"]), *mine, MULTIRUN]
    with opened() as hydra:
        config = compose_command(hydra, words)
        jobs = jobs_of(config, hydra.config_loader)
        chosen = [*jobs[:2], *jobs[2 :: max(1, len(jobs) // 2)], jobs[-1]]
        fast = list(compose.runs_of(config, hydra.config_loader, chosen))
        for job, spec in zip(chosen, fast, strict=True):
            made = hydra.config_loader.load_sweep_config(config, job)
            choices = made.hydra.runtime.choices
            with open_dict(made):
                del made["hydra"]
            plain = build(made, choices, job)
            for name in ("config", "run_id", "kind", "seed", "overrides", "asked", "row", "code", "experiment", "data"):
                assert getattr(spec, name) == getattr(plain, name), name


def test_what_adds_takes_away_or_holds_several_values_is_left_to_hydra():
    jobs = [
        ["seed=1", "data.test_scales=[2.0]"], ["seed=1", "data.test_scales=[0.5]"], ["+optimizer.amsgrad=true"],
        ["~optimizer.fused"], ["cell=gru", "cell.init.bias=zero", "cell.init=${model.layers}"],
        ["cell=gru", "cell.init.bias=torch", "cell.init=${model.layers}"], ["data.eval_size=${data.batch_size}"],
        ["cell=gru", "++cell.reset=before"], ["cell=gru", "cell.reset=before"], ["cell=gru"],
    ]  # fmt: skip
    with opened() as hydra:
        config = compose_command(hydra, ["trainer=cpu", MULTIRUN])
        composer = Composer(config, hydra.config_loader)
        for job in jobs:
            made, choices = composer.compose(job)
            plain = composer.plainly(job)
            assert dict(choices) == dict(plain.hydra.runtime.choices)
            with open_dict(plain):
                del plain["hydra"]
            assert OmegaConf.to_container(made, resolve=True) == OmegaConf.to_container(plain, resolve=True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("range(0,1000000000)", r"seed must have 1 to 100000 values, got 1000000000 \(range\(0,1000000000\)\)"),
        ("shuffle(range(0,1000000000))", "seed must have 1 to 100000 values, got 1000000000 .*"),
        ("range(1,0)", "seed must have 1 to 100000 values, got 0 .*"),
        ("range(0,10,0)", "seed must have 1 to 100000 values, got 0 .*"),
        ("range(0,400)", "a sweep must have at most 100000 runs, got 159600"),
    ],
)
def test_a_sweep_without_runs_or_beyond_measure_is_refused_with_its_size(values: str, message: str):
    words = [f"seed={values}", "training.eval_every=range(1,400)", "trainer=cpu", MULTIRUN]
    with opened() as hydra, pytest.raises(ConfigError) as error:
        jobs_of(compose_command(hydra, words), hydra.config_loader)
    assert re.fullmatch(message, str(error.value)), str(error.value)


def test_an_interpolation_on_the_command_line_is_that_of_each_run():
    specs = compose.compose_runs(["trainer=cpu", "task.length=20,30", "data.eval_size=${task.length}", MULTIRUN])
    assert [spec.data.eval_size for spec in specs] == [20, 30]


def test_an_interpolation_in_a_setting_is_that_of_each_run(tmp_path: Path):
    node = {
        "rows": [{"task.length": [20, 30]}],
        "settings": [{"when": {}, "set": {"data.eval_size": "${task.length}"}}],
    }
    specs = specs_of(*own_experiment(tmp_path, node), "cell=rnn")
    assert [spec.data.eval_size for spec in specs] == [20, 30]


def test_options_and_plugins_of_the_users_own(tmp_path: Path):
    """Those of ``hydra.searchpath``, and a resolver of a plugin beside the configs."""
    for name, text in {
        "searched/experiment/own.yaml": "# @package _global_\ndefaults: [/size: small, _self_]\n",
        "searched/size/small.yaml": "# @package _global_\nmodel: {hidden_size: 3}\n",
        "searched/size/large.yaml": "# @package _global_\nmodel: {hidden_size: 5}\n",
        "beside/experiment/doubled.yaml": '# @package _global_\nmodel: {layers: "${twice:1}"}\n',
        "beside/hydra_plugins/of_mine.py": "from omegaconf import OmegaConf\n"
        "OmegaConf.register_new_resolver('twice', lambda value: 2 * value, replace=True)\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    words = ["trainer=cpu", f"hydra.searchpath=[file://{tmp_path}/searched]", "+experiment=own", "size=large,small"]
    specs = compose.compose_runs([*words, MULTIRUN])
    assert [spec.config["model"]["hidden_size"] for spec in specs] == [5, 3]
    done = processes.command(
        "run", f"--config-dir={tmp_path}/beside", "+experiment=doubled", *TINY, f"results_dir={tmp_path}"
    )
    assert (done.returncode, done.stderr) == (0, "")
    (folder,) = find_records(tmp_path)
    assert read_record(folder).config["model"]["layers"] == 2


def test_planning_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    monkeypatch.setattr(preflight, "SECONDS_OF_SILENCE", 0.0)
    specs = specs_of("seed=0,1,2,3", f"results_dir={tmp_path}", MULTIRUN)
    assert preflight.checked(specs, 4) == specs
    # The first run may have waited for a compiler, and the last one is the end; then ten seconds pass in between.
    assert capsys.readouterr().err == "bench run: 2 of 4 runs are planned, about 0:00 left\n"


@pytest.mark.parametrize(
    ("words", "composed"),
    [
        (["cell=gru,lstm", "task.length=30", "seed=range(0,4)"], 2),
        (["+experiment=tallec2018", "seed=3,5"], None),
        (["seed=3,5", "data.eval_size=${seed}"], 2),
        (["seed=3,5", "data.eval_size=${twice_of_this:3}"], 2),
        (["seed=003,5"], 2),
    ],
)
def test_where_nothing_else_can_depend_on_the_seed_one_run_is_composed_for_all(
    words: list[str], composed: int | None, monkeypatch: pytest.MonkeyPatch
):
    OmegaConf.register_new_resolver("twice_of_this", lambda value: 2 * value, replace=True)
    counted, compose_one = list[list[str]](), Composer.compose
    monkeypatch.setattr(Composer, "compose", lambda self, job: (counted.append(job), compose_one(self, job))[1])
    with opened() as hydra:
        command = compose_command(hydra, [*words, "trainer=cpu", MULTIRUN])
        jobs = jobs_of(command, hydra.config_loader)
        together = list(compose.runs_of(command, hydra.config_loader, jobs))
        assert len(counted) == (composed or len(jobs) / 2)
        some = slice(None, None, max(1, len(jobs) - 1))
        alone = [next(compose.runs_of(command, hydra.config_loader, [job])) for job in jobs[some]]
    for one, two in zip(together[some], alone, strict=True):
        assert {**vars(one), "network": None} == {**vars(two), "network": None}
    assert len({spec.run_id for spec in together}) == len(jobs)


def test_a_setting_for_some_seeds_is_that_of_these(tmp_path: Path):
    node = {"settings": [{"when": {"seed": 4}, "set": {"data.eval_size": 7}}]}
    specs = specs_of(*own_experiment(tmp_path, node), "cell=rnn", "seed=3,4,5", MULTIRUN)
    assert [(spec.seed, spec.data.eval_size == 7) for spec in specs] == [(3, False), (4, True), (5, False)]
