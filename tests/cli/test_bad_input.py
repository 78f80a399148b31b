"""Bad input gives one line with the key, the value and what is allowed, an exit code other than 0, and no file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bench.config.checks import check_task
from bench.config.experiments import names
from bench.config.explain import ConfigError, explain
from bench.training import process
from bench.training.waiting import SharedCores
from tasks.adding_problem import AddingProblem
from tasks.base import Batch
from tests.conftest import ROOT, TINY, Bench, assert_one_line, options, spec_of

COMMAND_LINE = [
    # unknown options
    ("seed=???", "seed must be given, got ???"),
    ("cell=lsmt", "cell must be one of foreign, gru, irnn, lstm, rnn, got 'lsmt', did you mean lstm?"),
    ("cell=own", "cell must be one of foreign, gru, irnn, lstm, rnn, got 'own' (--config-dir adds yours)"),
    (
        "task=temporal",
        f"task must be one of {', '.join(options('task'))}, got 'temporal', did you mean temporal_order?",
    ),
    ("optimizer=adamw", "optimizer must be one of adam, rmsprop, sgd, got 'adamw', did you mean adam?"),
    ("trainer=tpu", "trainer must be one of auto, cpu, gpu, got 'tpu'"),
    ("logger=mlflow", "logger must be one of csv, none, wandb, got 'mlflow'"),
    ("+experiment=nope", f"experiment must be one of {', '.join(names())}, got 'nope'"),
    ("experiment=demo", "experiment is not chosen by default: add it with a plus, +experiment=..."),
    (
        "optimizer._target_=torch.optim.LBFGS",
        "optimizer: LBFGS.step() missing 1 required positional argument: 'closure'",
    ),
    ("optimizer._target_=builtins.dict", "optimizer"),
    ("cell=[gru,lstm]", "cell must be the name of one option, got [gru,lstm]"),
    ("task={}", "task must be the name of one option, got {}"),
    ("cell.init.spectral_radius=1e400", "cell.init.spectral_radius must be null or a finite number > 0, got inf"),
    (
        "task.length=${oc.env:NOPE}",
        "task.length must be a value, got an interpolation that fails: Environment variable 'NOPE' not found",
    ),
    ("cell=null", "cell must be the name of one option, got null"),
    ("task=[1,2]", "task must be the name of one option, got [1,2]"),
    ("-m cell=rnn,lsmt", "cell must be one of foreign, gru, irnn, lstm, rnn, got 'lsmt', did you mean lstm?"),
    # misspelt keys
    ("model.hiden_size=3", "model.hiden_size is no setting, did you mean model.hidden_size?"),
    ("task.lenght=5", "task.lenght is no setting, did you mean task.length?"),
    ("hidden_size=3", "hidden_size is no setting, did you mean model.hidden_size?"),
    ("training.lr=1", "training.lr is no setting, did you mean optimizer.lr?"),
    ("optimizer.beta=1", "optimizer.beta is no setting, did you mean optimizer.betas?"),
    ("cell=gru cell.forget_bias=1", "cell.forget_bias is no setting"),
    ("cell=gru +cell.forget_bias=1", "cell.forget_bias is no setting of GRUCell"),
    ("task=copy_memory task.length=5", "task.length is no setting, did you mean task.delay?"),
    ("+foo=1", "foo is no setting"),
    ("+seed=1", "seed is there already: change it without a plus, seed=..."),
    ("+model.size=1", "model.size is no setting"),
    ("~task.length", "task.length must be given, AddingProblem needs it"),
    ("cell", "'cell' must have the form key=value"),
    ("=3", "'=3' must have the form key=value"),
    (
        "results_dir=a=b",
        "'results_dir=a=b' must have the form key=value; a value with other characters is put into two kinds of "
        "quotes, \"key='a value'\"",
    ),
    # wrong types
    ("task.length=abc", "task.length must be an integer, got 'abc'"),
    # values out of range
    ("model.hidden_size=0", "model.hidden_size must be >= 1, got 0"),
    ("data.train_size=3", "data.train_size must be null or >= batch_size (4), got 3"),
    ("seed=-1", "seed must be >= 0 and < 2^63, got -1"),
    ("~seed", "seed must be given"),
    ("~model", "model must be given"),
    ("--config-name=nope", "--config-name is not for bench run, --config-dir adds a folder of yours, got 'nope'"),
    (
        "-m runtime.keep_pages=true,false",
        "runtime.keep_pages must be the same for all runs of one process, which cannot change it: True, got False",
    ),
    # sweeps: the last of the runs is wrong, and none is started
    ("-m task.length=10,0", "task.length must be >= 2, got 0"),
    ("seed=0,1", "seed must be one value, or a sweep with -m (--multirun), got 0,1"),
    ("-m seed=range(0,3", "'seed=range(0,3' must have the form key=value"),
    ("-m seed=range(3,3)", "seed must have 1 to 100000 values, got 0 (range(3,3))"),
    ("-m seed=range(0,1e400,1.0)", "seed must have 1 to 100000 values, got inf (range(0,1e400,1.0))"),
    ("-m seed=glob(*)", "seed must have 1 to 100000 values, got 0 (glob(*))"),
    (
        "-m seed=choice(1,choice(2,3))",
        "seed must be a sweep of values, got one with another sweep inside (choice(1,choice(2,3)))",
    ),
    ("-m model.hidden_size=interval(1,3)", "a sweep's values must be a list, a choice() or a range()"),
    # the user's own classes
    ("cell._target_=nothing.Here", "cell._target_ must be importable, got 'nothing.Here'"),
    ("--config-dir /nowhere cell=mine", "--config-dir must be a folder, got '/nowhere'"),
    # the distribution of runs over workers, and the runs that are made again
    ("-m rerun=all,none", "rerun must be the same for all runs of one command: all, got none"),
    ("launcher=threads", "launcher must be one of joblib, ray, serial, slurm, got 'threads'"),
    ("launcher=null", "launcher must be the name of one option, got null"),
    (
        "launcher=joblib launcher.workers_per_gpu=2",
        "launcher.workers_per_gpu must be null on the CPU, where launcher.workers counts, got 2",
    ),
    ("-m launcher=serial,joblib", "launcher must be the same for all runs of one command: serial, got joblib"),
    ("launcher.name=fast", "launcher.name must be one of serial, joblib, slurm, ray, got 'fast'"),
    ("hydra.launcher.n_jobs=3", "hydra.launcher.n_jobs is not for bench run, launcher.workers sets it, got 3"),
    ("-m hydra.sweep.dir=x", "hydra.sweep.dir is not for bench run, results_dir sets it, got x"),
    ("results_dir=früher", "'results_dir=früher' must have the form key=value; a value with other characters is put"),
    ("-m hydra.job.chdir=true", "hydra.job.chdir must be false, as all paths are from where the command is given"),
    ("hydra/launcher=nope", "hydra/launcher must be one of basic, joblib, got 'nope'"),
    ("--plan task.length=0", "task.length must be >= 2, got 0"),
    ("training.clip_norm=1" + "0" * 400, "training.clip_norm must be a number below 1e308, got an integer of more"),
    # places that cannot be written to
    (f"results_dir={'a' * 256}", "results_dir must be a folder, got '"),
    ("results_dir=/dev/null/x", "results_dir must be a folder, got '/dev/null/x', where /dev/null is a file"),
    ("results_dir=/proc/nowhere", "results_dir must be writable"),
]
"""What only the command line can find, and a few values of every kind."""

VALUES = [
    # unknown options
    ("cell=[gru]", "cell must be the name of one option"),
    # wrong types
    ("task.length=1.5", "task.length must be an integer, got 1.5"),
    ("task.length=null", "task.length must be an integer, got null"),
    ("model.hidden_size=big", "model.hidden_size must be an integer, got 'big'"),
    ("model.layers=null", "model.layers must not be null"),
    ("training=3", "training must be a single value or the keys below it, got 3"),
    ("training.stop_when_solved=maybe", "training.stop_when_solved must be true or false, got 'maybe'"),
    ("training.max_steps=", "training.max_steps must be an integer, got ''"),
    ("seed=x", "seed must be an integer, got 'x'"),
    ("optimizer.lr=fast", "optimizer.lr must be a number, got 'fast'"),
    ("optimizer.betas=[0.9]", "optimizer.betas must be a list of 2 numbers, got [0.9]"),
    ("cell.init=3", "cell.init must be the settings of Initialization, got 3"),
    # values out of range
    ("task=copy_memory task.delay=0", "task.delay must be >= 1, got 0"),
    ("task=copy_memory task.delay=-3", "task.delay must be >= 1, got -3"),
    ("task=copy_memory task.form=raw", "task.form must be one of categorical, scalar, got 'raw'"),
    ("task=adding_1997 task.length=19", "task.length must be >= 20, got 19"),
    ("task=adding_1997 task.operation=mean", "task.operation must be one of sum, product, got 'mean'"),
    (
        "task=multiplication task.solved_error=0.5",
        "task.solved_error must be > 0 and below the baseline 0.1938, got 0.5",
    ),
    ("task=multiplication task.solved_correct=1.5", "task.solved_correct must be > 0 and <= 1, got 1.5"),
    ("task=temporal_order task.classes=5", "task.classes must be one of 4, 8, got 5"),
    ("task=temporal_order task.solved_accuracy=0.2", "task.solved_accuracy must be > 0.25 and <= 1, got 0.2"),
    ("task.length=0", "task.length must be >= 2, got 0"),
    ("task.length=-7", "task.length must be >= 2, got -7"),
    ("task.length=1", "task.length must be >= 2, got 1"),
    ("data.test_scales=[1,2]", "data.test_scales must be null or a list of different numbers > 0 but 1, got [1, 2]"),
    ("data.test_scales=2", "data.test_scales must be null or a list of different numbers > 0 but 1, got 2"),
    (
        "data.test_scales=[0.01]",
        "data.test_scales must have no 0.01, which the task at length 1 does not allow: `length` must be >= 2, got 1",
    ),
    ("task.markers=thirds", "task.markers must be one of halves, anywhere, early, got 'thirds'"),
    ("task.solved_mse=0", "task.solved_mse must be > 0 and below the baseline 0.1667, got 0.0"),
    ("model.hidden_size=-2", "model.hidden_size must be >= 1, got -2"),
    ("model.layers=0", "model.layers must be >= 1, got 0"),
    ("model.layers=2 model.dropout=1", "model.dropout must be >= 0 and < 1, got 1.0"),
    ("model.dropout=0.5", "model.dropout acts between layers: it must be 0 where layers is 1, got 0.5"),
    ("model.engine=warp", "model.engine must be one of auto, fused, stepwise, compiled, native, generated, got 'warp'"),
    ("model.loss_engine=warp", "model.loss_engine must be one of auto, torch, native, got 'warp'"),
    ("data.batch_size=0", "data.batch_size must be >= 1, got 0"),
    ("data.batch_size=-1", "data.batch_size must be >= 1, got -1"),
    ("data.eval_size=0", "data.eval_size must be >= 1, got 0"),
    ("data.test_size=0", "data.test_size must be >= 1, got 0"),
    ("training.max_steps=0", "training.max_steps must be >= 1, got 0"),
    ("training.max_steps=-5", "training.max_steps must be >= 1, got -5"),
    ("training.eval_every=0", "training.eval_every must be >= 1, got 0"),
    ("training.clip_norm=0", "training.clip_norm must be null or a finite number > 0, got 0.0"),
    ("training.clip_norm=nan", "training.clip_norm must be null or a finite number > 0, got nan"),
    ("optimizer.lr=0", "optimizer.lr must be a finite number > 0, got 0.0"),
    ("optimizer.lr=nan", "optimizer.lr must be a finite number > 0, got nan"),
    ("optimizer.betas=[0.9,2]", "optimizer.betas must be numbers >= 0 and < 1, got [0.9, 2.0]"),
    ("cell=lstm cell.forget_bias=much", "cell.forget_bias must be a number, null or chrono, got 'much'"),
    ("cell=rnn cell.nonlinearity=sin", "cell.nonlinearity must be one of tanh, relu, got 'sin'"),
    (
        "cell.init.recurrent=round",
        "cell.init.recurrent must be one of torch, glorot, gaussian, orthogonal, identity, sparse, got 'round'",
    ),
    ("runtime.threads=0", "runtime.threads must be null or >= 1, got 0"),
    ("trainer.precision=16", "trainer.precision must be one of 32, bf16-mixed, got '16'"),
    ("training.max_steps=1000000000000000000000", "training.max_steps must be >= -2^63 and < 2^63, got 1000000000000"),
    ("data.eval_size=9223372036854775808", "data.eval_size must be >= -2^63 and < 2^63, got 9223372036854775808"),
    ("data.test_scales=[1e18]", "data.test_scales must have no 1e+18, at which length is not < 2^63"),
    ("training.clip_norm=1e400", "training.clip_norm must be null or a finite number > 0, got inf"),
    ("task.solved_mse=1e400", "task.solved_mse must be > 0 and below the baseline 0.1667, got inf"),
    ("runtime.threads=1025", "runtime.threads must be null or between 1 and 1024, got 1025"),
    ("seed=100000000000000000000000", "seed must be >= 0 and < 2^63, got 100000000000000000000000"),
    ("cell=lstm cell.forget_bias=nan", "cell.forget_bias must be finite, got nan"),
    # more memory than any machine has
    ("model.hidden_size=10000000000", "model.hidden_size must be smaller: the run takes about "),
    ("data.eval_size=1000000000000", "data.eval_size must be smaller: the run takes about 754,372 GiB of memory, "),
    ("task.length=1000000000000", "task.length must be smaller: four sequences alone take 29,802 GiB of memory, and "),
    ("model.layers=1000000000000", "model.layers must be smaller: the run takes about "),
    ("training.max_steps=9223372036854775807", "training.max_steps must be smaller: the run takes about 103,079,"),
    ("probe=flow probe.batch_size=1000000000000", "probe.batch_size must be smaller: the run takes about "),
    ("optimizer=rmsprop optimizer.alpha=1.5", "optimizer.alpha must be >= 0 and < 1, got 1.5"),
    ("results_dir=", "results_dir must be the name of a folder, got ''"),
    ("logger=wandb logger.mode=sometimes", "logger.mode must be one of offline, online, got 'sometimes'"),
    # keys that contradict each other
    (
        "model.hidden_size=8 model.parameter_budget=1000",
        "model.hidden_size must be null where parameter_budget is given (1000), got 8",
    ),
    ("model.hidden_size=null", "model.hidden_size must be given where parameter_budget is null, got null"),
    (
        "model.hidden_size=null model.parameter_budget=3",
        "model.parameter_budget must be >= 17, the parameters at hidden size 1, got 3",
    ),
    ("training.clip_value=1", "training.clip_value must be null where clip_norm is given, got 1.0"),
    # the user's own classes
    ("cell._target_=torch.nn.LSTM", "cell._target_ must name a subclass of bench.cells.Cell, got 'torch.nn.LSTM'"),
    ("cell._target_=math.pi", "cell._target_ must be a class or a function, got 'math.pi'"),
    ("task._target_=bench.cells.gru.GRUCell", "task."),
    # the distribution of runs over workers, and the runs that are made again
    ("rerun=maybe", "rerun must be one of none, failed, all, got 'maybe'"),
    ("rerun=null", "rerun must not be null"),
    ("training.checkpoint_every=0", "training.checkpoint_every must be null or >= 1, got 0"),
    ("training.checkpoint_every=often", "training.checkpoint_every must be an integer, got 'often'"),
    ("launcher=serial launcher.workers=2", "launcher.workers must be null where launcher is serial, got 2"),
    ("launcher=joblib launcher.workers=0", "launcher.workers must be null or >= 1, got 0"),
    ("launcher=joblib launcher.workers=two", "launcher.workers must be an integer, got 'two'"),
]
"""What the builder of runs finds in a config that Hydra can compose."""


@pytest.mark.parametrize(("overrides", "message"), VALUES, ids=[overrides for overrides, _ in VALUES])
def test_values(overrides: str, message: str):
    with pytest.raises(ConfigError) as refused:
        spec_of(*TINY, *overrides.split())
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("overrides", "message"), COMMAND_LINE, ids=[overrides for overrides, _ in COMMAND_LINE])
def test_run(bench: Bench, overrides: str, message: str):
    outcome = bench.run(*overrides.split())
    assert_one_line(outcome, "run", message)
    assert not bench.results.exists()


def own_yaml(text: bytes) -> Callable[[Path], list[str]]:
    """Write a YAML of the user's, as an experiment."""

    def make(folder: Path) -> list[str]:
        (folder / "mine" / "experiment").mkdir(parents=True)
        (folder / "mine" / "experiment" / "own.yaml").write_bytes(b"# @package _global_\n" + text)
        return [f"--config-dir={folder / 'mine'}", "+experiment=own"]

    return make


def loop(folder: Path) -> list[str]:
    (folder / "loop").symlink_to(folder / "loop")
    return [f"results_dir={folder / 'loop' / 'results'}"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# @package _global_\ndefaults: [own]\n", "the defaults of a YAML must not lead back to itself"),
        ("seed: 3\n", "experiment/own.yaml must have settings that there are, got experiment; what sets any of them "),
        ("# @package nope\na: 1\n", "experiment/own.yaml must have settings that there are, got nope; "),
    ],
)
def test_an_experiment_of_the_wrong_form(bench: Bench, tmp_path: Path, text: str, message: str):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "own.yaml").write_text(text)
    outcome = bench.call("run", f"--config-dir={tmp_path / 'mine'}", "+experiment=own")
    assert_one_line(outcome, "run", message)


OWN = "{folder}/mine/experiment/own.yaml must be a YAML that can be read: "

FILES: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    "not UTF-8": (own_yaml(b"seed: \xff\xfe"), f"{OWN}'utf-8' codec can't decode"),
    "not YAML": (own_yaml(b"seed: [1, 2\nmodel: }"), f"{OWN}while parsing"),
    "an anchor bomb": (
        own_yaml(b"a: &a [" + b"x," * 99 + b"]\nb: &b [" + b"*a," * 99 + b"]\nc: [" + b"*b," * 99 + b"]\n"),
        f"{OWN}it has more than 50 levels or 20000 values, aliases included",
    ),
    "3,000 levels": (own_yaml(b"sweep: " + b"[" * 3000), f"{OWN}it has more than 50 levels or 20000 values"),
    "megabytes": (own_yaml(b"#" * 1_000_000), f"{OWN}it has 1000020 bytes, more than 1000000"),
    "a list": (own_yaml(b"- 1\n- 2\n"), ""),
    "NaN for an integer": (own_yaml(b"model: {hidden_size: .nan}"), "model.hidden_size must be an integer, got 'nan'"),
    "NaN for a limit": (
        own_yaml(b"training: {clip_norm: .nan}"),
        "training.clip_norm must be null or a finite number > 0, got nan",
    ),
    "a setting there is none of": (own_yaml(b"model: {size: 3}"), ""),
    "an interpolation of nothing": (own_yaml(b"seed: ${nothing}"), ""),
    "a circle of interpolations": (
        own_yaml(b"rerun: ${rerun}"),
        "rerun must be a value, got an interpolation that leads back to itself",
    ),
    "a circle in a sweep": (
        own_yaml(b"hydra: {mode: MULTIRUN, sweeper: {params: {seed: '${hydra.sweeper.params.seed}'}}}"),
        "hydra.sweeper.params.seed must be a value, got an interpolation that leads back to itself",
    ),
    "a text for a section": (own_yaml(b"training: fast"), ""),
    "10 MB": (
        lambda _: ["task.length=" + "1" * 10_000_000],
        "an override must have at most 100000 characters, got 10000012",
    ),
    "a loop of links": (loop, "results_dir must be a folder, got "),
    "a config folder that is a file": (
        lambda folder: [f"--config-dir={__file__}"],
        "--config-dir must be a folder, got ",
    ),
}


def test_a_circle_of_causes_has_an_end():
    """Under a debugger, OmegaConf makes a circle of causes."""
    error, cause = ValueError("one"), ValueError("two")
    error.__cause__, cause.__cause__ = cause, error
    assert explain(error) == "one"


@pytest.mark.parametrize("name", FILES)
def test_files(bench: Bench, tmp_path: Path, name: str):
    make, message = FILES[name]
    outcome = bench.run(*make(tmp_path))
    assert_one_line(outcome, "run", message.replace("{folder}", str(tmp_path)))
    assert len(outcome.err) < 600
    assert not bench.results.exists()


def test_a_busy_machine_is_told_of_only_where_something_is_run(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(SharedCores, "sleep_if_shared", lambda *_: "others use the cores")
    assert_one_line(bench.run("task.length=x"), "run", "task.length must be an integer, got 'x'")
    assert_one_line(bench.call("check", "cell=nope"), "check", "cell must be one of ")
    assert bench.run(*TINY).err.startswith("bench run: others use the cores\n")
    assert "others use" not in bench.run(*TINY).err


def test_gpu_where_there_is_none(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(process.torch.cuda, "is_available", lambda: False)
    outcome = bench.call("run", "trainer=gpu", f"results_dir={bench.results}")
    assert_one_line(outcome, "run", "trainer.accelerator must be auto or cpu on this machine, where torch finds no GPU")
    assert not bench.results.exists()


def test_a_precision_the_device_lacks(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(process, "supports_bf16", lambda device: False)
    outcome = bench.run("trainer.precision=bf16-mixed")
    assert_one_line(outcome, "run", "trainer.precision must be 32 on this cpu, which lacks bfloat16, got 'bf16-mixed'")
    assert not bench.results.exists()


def test_online_wandb_without_a_key(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    outcome = bench.run("logger=wandb", "logger.mode=online")
    assert_one_line(outcome, "run", "logger.mode=online: W&B has no key")
    assert not bench.results.exists()


def test_a_results_folder_that_is_a_file(bench: Bench):
    bench.results.write_text("mine")
    outcome = bench.run()
    assert_one_line(outcome, "run", f"results_dir must be a folder, got '{bench.results}'")
    assert bench.results.read_text() == "mine"


MADE = "from bench.cells.gru import GRUCell\nclass Mine(GRUCell):\n    def __init__(self, *words, **more):\n        "


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import torch\nclass Mine(:\n", "cell._target_ must be importable, got 'broken_cell.Mine' (SyntaxError"),
        ("raise SystemExit(3)", "cell._target_ must be importable, got 'broken_cell.Mine' (SystemExit: 3)"),
        ("raise KeyboardInterrupt", "cell._target_ must be importable, got 'broken_cell.Mine' (KeyboardInterrupt:)"),
        (f"{MADE}raise SystemExit(3)\n", "cell: SystemExit 3"),
        (f"{MADE}raise KeyboardInterrupt\n", "cell: KeyboardInterrupt"),
    ],
)
def test_a_cell_file_that_fails_or_ends_the_process(bench: Bench, tmp_path: Path, source: str, message: str):
    sys.modules.pop("broken_cell", None)
    folder = tmp_path / "mine"
    (folder / "cell").mkdir(parents=True)
    settings = (ROOT / "conf" / "cell" / "gru.yaml").read_text(encoding="utf-8")
    (folder / "cell" / "mine.yaml").write_text(settings.replace("bench.cells.gru.GRUCell", "broken_cell.Mine"))
    (folder / "broken_cell.py").write_text(source)
    assert_one_line(bench.run(f"--config-dir={folder}", "cell=mine"), "run", message)
    assert not bench.results.exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "bench: the following arguments are required: COMMAND (bench --help)"),
        ("tabel", "bench: COMMAND must be one of run, check, "),
        ("table --format=word", "bench table: argument --format: invalid choice: 'word' (choose from "),
        ("table --formt=csv", "bench table: there is no flag --formt, did you mean --format? (bench table --help)"),
        ("predict a b c", "bench predict: 'c' is one word too many; a pattern stands for all that it matches (bench "),
        ("generate a", "bench generate: the following arguments are required: --prompt (bench generate --help)"),
    ],
)
def test_unknown_commands_and_flags(bench: Bench, line: str, message: str):
    outcome = bench.call(*line.split())
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert outcome.err.startswith(message)


@pytest.mark.parametrize("group", ["cell", "task", "experiment"])
def test_a_name_that_no_folder_can_have(bench: Bench, tmp_path: Path, group: str):
    (tmp_path / "mine" / group).mkdir(parents=True)
    text = {"experiment": "# @package _global_\nseed: 3\n"}.get(group) or (
        ROOT / "conf" / group / {"cell": "gru.yaml", "task": "adding_problem.yaml"}[group]
    ).read_text(encoding="utf-8")
    (tmp_path / "mine" / group / "one%two.yaml").write_text(text, encoding="utf-8")
    plus = "+" if group == "experiment" else ""
    outcome = bench.run(f"--config-dir={tmp_path / 'mine'}", f"{plus}{group}=one%two")
    assert_one_line(outcome, "run", f"{group} must be letters, digits, -, . and _, got 'one%two'")
    assert not bench.results.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda batch: {"inputs": batch.inputs / 0}, "must return finite inputs"),
        (lambda batch: {"inputs": batch.inputs.double()}, "must return inputs of torch.float32, got torch.float64"),
        (lambda batch: {"inputs": batch.inputs.transpose(0, 1)},
         "must return inputs (9, 2, 2) for two sequences, got (2, 9, 2)"),
        (lambda batch: {"inputs": torch.rand_like(batch.inputs)},
         "must draw all of inputs from the generator that it is given"),
        (lambda batch: {"scored": batch.scored.float()}, "must return scored of truth values, got torch.float32"),
    ],
)  # fmt: skip
def test_a_task_that_breaks_its_promise(change: Callable[[Batch], dict[str, Any]], message: str):
    class Broken(AddingProblem):
        def sample(self, batch_size: int, generator: torch.Generator) -> Any:
            batch = super().sample(batch_size, generator)
            return SimpleNamespace(**vars(batch) | change(batch))

    with pytest.raises(ValueError, match=f"^`sample` of Broken {re.escape(message)}$"):
        check_task(Broken(length=9, markers="halves", solved_mse=0.01))


def test_a_broken_task_is_one_line_and_nothing_is_written(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    sample = AddingProblem.sample
    monkeypatch.setattr(AddingProblem, "sample", lambda *words: replace(sample(*words), inputs=torch.rand(9, 2, 2)))
    wanted = "task.sample of AddingProblem must draw all of inputs from the generator that it is given"
    assert_one_line(bench.run("task.length=9"), "run", wanted)
    assert not bench.results.exists()


class TestNamesOfOurs:
    """A user's module may be called as one of our packages."""

    def test_ours_is_found_by_its_place(self, tmp_path: Path):
        for name in ("tasks", "conf"):
            (tmp_path / f"{name}.py").write_text("raise RuntimeError('not ours')\n")
        words = [sys.executable, "-c", "import bench, conf, tasks.copy_memory as found; print(found.__file__)"]
        place = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
        done = subprocess.run(words, cwd=tmp_path, env=place, capture_output=True, text=True, check=False)
        assert (done.stdout, done.stderr) == (f"{ROOT / 'tasks' / 'copy_memory.py'}\n", "")

    def test_one_that_is_there_before_is_named(self, tmp_path: Path):
        (tmp_path / "tasks.py").touch()
        words = [sys.executable, "-c", f"import sys; sys.path.append({str(ROOT)!r}); import tasks, bench"]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.stderr.splitlines()[-1] == (
            f"ImportError: tasks is a package of rnn-bench, and is {tmp_path / 'tasks.py'} here: give that another name"
        )

    def test_one_that_is_behind_ours_is_named(self, bench: Bench, tmp_path: Path):
        (tmp_path / "tasks.py").touch()
        outcome = bench.run(f"--config-dir={tmp_path}", "task._target_=tasks.Mine")
        hint = f"; tasks is a package of rnn-bench: give {tmp_path / 'tasks.py'} another name"
        assert outcome.code == 2
        assert outcome.err.startswith("bench run: task._target_ must be importable, got 'tasks.Mine' (AttributeError: ")
        assert outcome.err.endswith(f"{hint}\n")

    def test_a_command_of_our_name_is_not_in_the_way(
        self, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        """Python puts the folder of the command first in its path."""
        (tmp_path / "bench").write_text("#!/bin/sh\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        outcome = bench.run("task._target_=bench.nope.Mine")
        message = "task._target_ must be importable, got 'bench.nope.Mine' (ModuleNotFoundError: No module named "
        assert_one_line(outcome, "run", message)
        assert "another name" not in outcome.err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("task.lenght=5", 2),
        ("cell=lsmt", 2),
        ("trainer.precision=[32", 2),
        ("--config-dir=nowhere", 2),
        ("--help", 0),
        ("seed=0,1", 2),
        ("budget=short", 2),
        ("+x=1", 2),
        ("cell=[gru,lstm]", 2),
        ("optimizer.lr=nan", 2),
        ("probe.every=0", 2),
        ("seed=-1", 2),
    ],
)
def test_what_composing_can_answer_is_answered_before_torch_is_imported(words: str, code: int):
    script = (
        "import sys\nfrom bench.cli.main import main\n"
        "try: main(['run', sys.argv[1]])\nexcept SystemExit as stop: print(stop.code, file=sys.stderr)\n"
        "assert not {'torch', 'lightning', 'pandas', 'wandb'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, str(code)), done.stderr
