"""The commands below a table, which must make its runs."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.config.command import MULTIRUN
from bench.report.tables import formats
from bench.report.tables.commands import command_of, merged
from bench.report.tables.grid import Grid
from bench.runs.execute import execute
from bench.runs.progress import Pulse
from tests.conftest import TINY, Bench, spec_of, specs_of
from tests.records_made import make


def each(**values: list[object]) -> list[str]:
    """Return the commands of all combinations."""
    combinations = itertools.product(*values.values())
    return [f"bench run {' '.join(f'{k}={v}' for k, v in zip(values, c, strict=True))}" for c in combinations]


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        ([], []),
        (["bench run seed=0"], ["bench run seed=0"]),
        (["bench run seed=0", "bench run seed=0"], ["bench run seed=0"]),
        (each(cell=["gru"], seed=[0, 1]), ["bench run -m cell=gru seed=0,1"]),
        (each(seed=[2, 0, 1], cell=["gru", "rnn"]), ["bench run -m cell=gru,rnn 'seed=range(0,3)'"]),
        (each(seed=[0, 1, 3]), ["bench run -m seed=0,1,3"]),
        (each(seed=[3, 4, 5]), ["bench run -m 'seed=range(3,6)'"]),
        (each(cell=["gru"], task=["copy_memory"], seed=[7]), ["bench run task=copy_memory cell=gru seed=7"]),
        # The runs are no product; there should be as few commands as possible.
        (
            each(cell=["rnn", "lstm"], seed=[0, 1, 2]) + each(cell=["gru"], seed=[0, 1]),
            ["bench run -m cell=rnn,lstm 'seed=range(0,3)'", "bench run -m cell=gru seed=0,1"],
        ),
        (
            ["bench run a=1 b=1 c=1", "bench run a=1 b=2 c=2", "bench run a=2 b=1 c=1", "bench run a=2 b=2 c=2"],
            ["bench run -m a=1,2 b=1 c=1", "bench run -m a=1,2 b=2 c=2"],
        ),
        # Other keys need other commands.
        (["bench run seed=0", "bench run seed=1 cell=gru"], ["bench run seed=0", "bench run cell=gru seed=1"]),
        # An experiment may already be a sweep.
        (
            [f"bench run +experiment=demo cell=gru seed={seed}" for seed in range(3)],
            ["bench run -m +experiment=demo cell=gru 'seed=range(0,3)'"],
        ),
        # Settings of where and how change no number; but a launcher sets the threads.
        (
            ["bench run seed=0 results_dir=a launcher.workers=2 rerun=all logger=wandb", "bench run seed=1 logger=csv"],
            ["bench run -m seed=0,1"],
        ),
        (each(launcher=["joblib"], seed=[0, 1]), ["bench run -m launcher=joblib seed=0,1"]),
        (
            ["bench run seed=0 launcher=joblib", "bench run seed=1"],
            ["bench run launcher=joblib seed=0", "bench run seed=1"],
        ),
        (["bench run hydra.launcher.n_jobs=2 launcher.n_jobs=3"], ["bench run hydra.launcher.n_jobs=2"]),
        # Flags and deletions stay as they are.
        (
            ["bench run '--config-dir=a b' ~probe seed=0", "bench run '--config-dir=a b' ~probe seed=1"],
            ["bench run -m '--config-dir=a b' '~probe' seed=0,1"],
        ),
        (["bench run 'probe.lags=[0,3]' 'x=\"a, b\"'"], ["bench run 'probe.lags=[0,3]' 'x=\"a, b\"'"]),
        (["bench run training.clip_norm= x.y=null"], ["bench run training.clip_norm= x.y=null"]),
        (["bench run x= seed=0", "bench run x=1 seed=0"], ["bench run -m 'x='\"'\"''\"'\"',1' seed=0"]),
    ],
)
def test_merged(commands: list[str], expected: list[str]):
    assert merged(commands) == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("--config-dir={here}/mine", "--config-dir=mine"),
        ("--config-dir={here}", "--config-dir=."),
        ("--config-dir=~/work/mine", "--config-dir=mine"),
        ("--config-dir={home}/other/my cells", "--config-dir=.../my cells"),
        ("--config-dir={home}", "--config-dir=..."),
        ("--config-dir=~", "--config-dir=..."),
        ("--config-dir=/", "--config-dir=..."),
        ("+task.files=[{here}/a.txt,'{home}/b c.txt',~/work/d]", "+task.files=[a.txt,'.../b c.txt',d]"),
        ("task.of={{a:/data/x,b:1/2}}", "task.of={{a:.../x,b:1/2}}"),
        ("hydra.searchpath=[file://{home}/conf,pkg://a.b]", "hydra.searchpath=[file://.../conf,pkg://a.b]"),
        ("task.url=http://host/a", "task.url=http://host/a"),
        ("cell=mine/gru", "cell=mine/gru"),
        ("x=~", "x=..."),
    ],
)
def test_no_absolute_path(word: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A home folder is a name, which breaks a blind review."""
    home, here = tmp_path / "person", tmp_path / "person" / "work"
    here.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    (command,) = merged([shlex.join(["bench", "run", word.format(home=home, here=here), "seed=0"])])
    assert shlex.split(command)[2:-1] == [expected.format()]
    monkeypatch.chdir(tmp_path)  # From above the home folder, a relative path would name the person.
    (command,) = merged([shlex.join(["bench", "run", word.format(home=home, here=here), "seed=0"])])
    assert "person" not in command


@pytest.mark.parametrize("seed", range(5))
def test_merged_are_the_same_runs_whatever_is_missing(seed: int):
    import random

    commands = each(task=["a", "b"], cell=["rnn", "lstm", "gru"], lr=["0.1", "0.01"], seed=[0, 1, 2, 3])
    chosen = random.Random(seed).sample(commands, 30)
    made = []
    for command in merged(chosen):
        words = [word.partition("=")[::2] for word in shlex.split(command) if "=" in word]
        values = []
        for _, value in words:
            between = re.fullmatch(r"range\((\d+),(\d+)\)", value)
            values.append(list(range(*map(int, between.groups()))) if between else value.split(","))
        made += each(**dict(zip([key for key, _ in words], values, strict=True)))
    # Each run is made once, by fewer commands than there are runs.
    assert sorted(made) == sorted(chosen)
    assert len(merged(chosen)) < 20


@pytest.mark.parametrize(
    "words",
    [
        ["cell=rnn,lstm", "seed=range(0,3)", *(f"training.a_rather_long_key_{i}=1" for i in range(5))],
        ["--config-dir=/a folder with " + "many words " * 9, "x='a  b'", "seed=0"],
        [f"cell={','.join(f'a_cell_{i}' for i in range(30))}", "seed=0,1"],
    ],
)
def test_lines_that_are_continued_are_the_same_words_in_a_shell(words: list[str]):
    text = formats.terminal(Grid("", (), (), commands=(("ab", (shlex.join(words),)),)))
    assert text.startswith("ab: ")
    if " " not in words[0]:  # a quoted word is never cut
        assert max(map(len, text.splitlines())) <= 80
    script = text.removeprefix("ab: ")
    done = subprocess.run(["bash", "-c", f"printf '%s\\n' {script}"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == words


def test_threads_are_part_of_what_a_run_is(bench: Bench):
    """``launcher=joblib`` takes one thread a run. Without it, a run takes all cores of the machine that it is on."""
    small = [word for word in TINY if not word.startswith("runtime.")]
    asked = [[*small, f"seed={seed}", *more] for seed, more in enumerate([["launcher=joblib"], []])]
    for words in asked:
        spec = spec_of(*words, f"results_dir={bench.results}")
        execute(spec, shlex.join(["bench", "run", *spec.asked]), Pulse(), lambda: None, None)
    made = bench.records()
    threads = os.cpu_count() if not hasattr(os, "sched_getaffinity") else len(os.sched_getaffinity(0))
    commands = merged(map(command_of, made))
    assert [f"runtime.threads={threads}" in command for command in commands] == [
        "launcher=joblib" not in c for c in commands
    ]
    again = [
        spec for command in commands for spec in specs_of(MULTIRUN, *shlex.split(command.replace(" -m ", " "))[2:])
    ]
    assert sorted(spec.run_id for spec in again) == sorted(each.run_id for each in made)


@pytest.mark.parametrize(
    ("device", "precision", "asked", "engine", "said"),
    [
        ("cpu", "32", "auto", "native", ""),
        ("cpu", "32", "auto", "generated", ""),
        ("cpu", "32", "auto", "fused", " model.engine=fused"),
        ("cpu", "32", "fused", "fused", ""),
        ("cpu", "bf16-mixed", "auto", "fused", ""),
        ("cuda", "32", "auto", "fused", " trainer=gpu"),
    ],
)
def test_device_and_engine_are_said_where_another_machine_would_choose_others(
    device: str, precision: str, asked: str, engine: str, said: str
):
    config = make().config
    config = {
        **config,
        "model": {**config["model"], "engine": asked},
        "trainer": {"accelerator": "auto", "precision": precision},
    }
    made = make(
        config=config, device={"type": device, "name": "one"}, model={"engine": engine}, command="bench run cell=gru"
    )
    assert command_of(made) == f"bench run cell=gru{said}"


@pytest.mark.parametrize(
    ("task", "model", "said"),
    [
        ({"_target_": "tasks.copy_memory.CopyMemory"}, {"engine": "native"}, " model.loss_engine=torch"),
        ({"_target_": "tasks.copy_memory.CopyMemory"}, {"engine": "native", "loss_engine": "native"}, ""),
        ({"_target_": "tasks.copy_memory.CopyMemory"}, {"engine": "stepwise"}, ""),
        ({"_target_": "tasks.character_model.CharacterModel", "readout": "last"}, {"engine": "native"}, ""),
        ({"_target_": "tasks.adding_problem.AddingProblem"}, {"engine": "native"}, ""),
    ],
)
def test_a_loss_in_two_passes_is_said_where_it_would_be_one_now(task: Any, model: Any, said: str):
    config = make().config
    asked = {**config, "task": task, "model": {**config["model"], "engine": model["engine"]}}
    assert command_of(make(config=asked, model=model, command="bench run cell=gru")).endswith(f"cell=gru{said}")


def test_the_command_below_a_table_makes_its_runs(bench: Bench, tmp_path: Path):
    """The command is pasted into a shell as it is printed, with its line ends."""
    assert bench.run("-m", "cell=rnn,gru", "seed=0,1", "task.length=7").code == 0
    assert bench.run("-m", "cell=gru", "seed=0", "task.length=9").code == 0
    table = bench.call("table", str(bench.results), "--metric=mse", "--rows=task.length").out
    (mark,) = re.findall(r"^length=7 \[(\w)\]", table, re.M)
    found = re.findall(rf"^{mark}: (bench run (?:.*\\\n)*.*\n)", table, re.M)
    assert len(found) == 1
    assert " \\\n" in found[0]
    (tmp_path / "bench").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m bench "$@"\n')
    (tmp_path / "bench").chmod(0o755)
    again = bench.beside("again")
    script = (
        f"PATH={shlex.quote(str(tmp_path))}:$PATH\n{found[0].rstrip()} results_dir={shlex.quote(str(again.results))}\n"
    )
    done = subprocess.run(["bash", "-ec", script], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-600:]
    row = {made.run_id for made in bench.records() if made.config["task"]["length"] == 7}
    assert len(row) == 4
    assert {made.run_id for made in again.records()} == row
    assert all(word.partition("=")[0] in found[0] for word in TINY)
