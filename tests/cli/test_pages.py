"""Every command of the README and the documentation is run as it is typed: here, or by the test named beside it."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml

from tests.conftest import DATA, ROOT, TINY, Bench, block, documented_cell
from tests.data_made import mnist

TEXTS = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))}

ELSEWHERE = {"data.md": "tests/cli/test_data_page.py"}
"""A page whose commands follow one from another, with the test that runs them from the first to the last."""

LIKE = {
    "bench check cell=lstm": "tests/cli/test_check.py",
    "bench dashboard --online": "tests/mirror/test_workspace.py",
    "bench dashboard --task copy_memory --online": "tests/mirror/test_workspace.py",
    "bench figures": "tests/report/test_figures.py",
    "bench figures DIR": "tests/report/test_figures.py",
    "bench figures results/runs/tuning-trials": "tests/report/test_tuning_figures.py",
    "bench page": "tests/report/test_web.py",
    "bench push": "tests/mirror/test_online.py",
    "bench push --offline": "tests/mirror/test_offline.py",
    "bench replay results/demo/runs/adding_problem/gru/5425c942c584": "tests/runs/test_replay.py",
    "bench report FILE": "tests/report/test_page.py",
    "bench report PAGE.md": "tests/report/test_page.py",
    "bench report results/README.md": "tests/report/test_page.py",
    "bench run +experiment=demo": "tests/cli/test_run.py",
    "bench tune +experiment=tuning": "tests/tuning/test_tune.py",
    "bench tune +experiment=tuning --plan": "tests/tuning/test_tune.py",
    "bench run -m +experiment=demo logger=wandb": "tests/mirror/test_offline.py",
    "bench run -m +experiment=demo logger=wandb logger.mode=online": "tests/mirror/test_online.py",
    "bench run -m cell=rnn,lstm,gru task=copy_memory,adding_problem 'seed=range(0,3)'": "tests/cli/test_run.py",
    "bench run -sc install=fish": "tests/cli/test_completion.py",
    "bench run cell._target_=leaky_gate.LeakyGate results_dir=../results": "tests/cells/test_own_cell.py",
    "bench replay RUN --config-dir ./mine --trust leaky_gate.LeakyGate": "tests/cells/test_own_cell.py",
}
"""Commands that need a server, a checkout or long, with the tests that run the like of them on a small scale."""


def blocks(text: str) -> list[str]:
    """The commands of a page's blocks of shell, without their comments."""
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    kept = [line.partition(" #")[0].strip().removeprefix("srun --cpus-per-task=1 ") for line in lines]
    return [line for line in kept if line.startswith("bench ")]


def spans(text: str) -> list[str]:
    """The commands within a page's sentences and tables that say more than which command is meant."""
    prose = " ".join(re.sub(r"```.*?```", "", text, flags=re.DOTALL).split())
    found = re.findall(r"(?<!`)`(bench \w+ [^`]+)`", prose)
    return [line.removesuffix(" | source") for line in found if not re.search(r"\.\.\.|<TAB>", line)]


ALL = dict.fromkeys(
    line for name, text in TEXTS.items() if name not in ELSEWHERE for line in (*blocks(text), *spans(text))
)
TYPED = [line for line in ALL if line not in LIKE]
EXPERIMENTS = [line for line in TYPED if re.fullmatch(r"bench run \+experiment=\w+", line)]
"""Sweeps of minutes."""
PLANNED = [
    line
    for line in TYPED
    if re.search(r"^bench run .*(launcher=|\+experiment=(?!arjovsky|demo))", line)
    and "--help" not in line
    and line not in EXPERIMENTS
]
"""Sweeps that need a cluster, or files."""
TRAINED = [
    line
    for line in TYPED
    if line.startswith("bench run ") and " --" not in line and line not in {*PLANNED, *EXPERIMENTS}
]
OF_AN_OWN_CELL = [line for line in TYPED if "--config-dir" in line]
ON_WHAT_IS_THERE = [line for line in TYPED if line not in {*PLANNED, *TRAINED, *OF_AN_OWN_CELL, *EXPERIMENTS}]


@pytest.fixture
def reader(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of somebody who has run the demo and the tuning, has a cell and a run that kept its weights."""
    runs = tmp_path / "results" / "runs"
    runs.mkdir(parents=True)
    for name in ("demo", "published"):
        (tmp_path / "results" / name).symlink_to(ROOT / "results" / name)
    some = {"demo": "demo/runs", "mine": "demo/runs", "tuning-tuned30": "tuning/runs/tuning-tuned30"}
    for name, origin in some.items():
        shutil.copytree(ROOT / "results" / origin / "adding_problem" / "gru", runs / name / "adding_problem" / "gru")
    documented_cell(tmp_path / "mine")
    (tmp_path / "names.yaml").write_text(block("paper.md", "names.yaml", "yaml"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_is_run_elsewhere_is_still_typed_and_run():
    assert LIKE.keys() <= ALL.keys()
    for path in {*LIKE.values(), *ELSEWHERE.values()}:
        assert (ROOT / path).is_file()


@pytest.mark.long_run
def test_the_replay_of_a_published_record(bench: Bench):
    (line,) = [line for line in LIKE if line.startswith("bench replay results/demo/")]
    command, run = shlex.split(line)[1:]
    outcome = bench.call(command, str(ROOT / run))
    assert outcome.code == 0, outcome.err
    assert "equal" in outcome.out


@pytest.mark.parametrize("line", TRAINED)
@pytest.mark.first
def test_a_run(bench: Bench, line: str):
    words = [*shlex.split(line)[2:], "probe=flow", "probe.lags=[0,3]", "launcher=serial", "seed=0"]
    outcome = bench.run(*words, "task.length=4") if "length" in line else bench.run(*words)
    assert outcome.code == 0, outcome.err[-500:]
    assert bench.records()


@pytest.mark.long_run
@pytest.mark.parametrize("line", EXPERIMENTS)
def test_an_experiment_with_a_small_budget(bench: Bench, line: str):
    small = ("training.max_epochs=null", "training.max_steps=2", "training.eval_every=2", "data.eval_size=8",
             "data.test_size=8", "data.batch_size=4", "launcher=serial", "cell=gru", "seed=0")  # fmt: skip
    outcome = bench.call(*shlex.split(line)[1:], *small, f"results_dir={bench.results}", "trainer=cpu")
    assert outcome.code == 0, outcome.err
    assert {each.status for each in bench.records()} == {"completed"}
    assert len(EXPERIMENTS) == 8


@pytest.mark.parametrize("line", PLANNED)
def test_a_sweep_up_to_its_training(bench: Bench, tmp_path: Path, line: str):
    if "FOLDER" in line:
        mnist(tmp_path / "files")
    fewer = ["seed=0"] + ["cell=gru"] * ("cell=" not in line)
    words = shlex.split(line.replace("FOLDER", str(tmp_path / "files")))
    outcome = bench.call(*words[1:], *fewer, "--plan")
    assert outcome.code == 0, outcome.err
    assert re.search(r"^\d+ runs, 0 there already, \d+ to do, ", outcome.out, re.M)


def test_an_own_cell(bench: Bench, reader: Path):
    small = {"run": (*TINY, "seed=0", "launcher=serial", "results_dir=own"), "check": (*TINY, "task.length=20")}
    for line in OF_AN_OWN_CELL:
        command, *words = shlex.split(line)[1:]
        until = ["--plan"] * ("arjovsky" in line)  # Its delays are those of the paper.
        outcome = bench.call(command, *small[command], *words, *until)
        assert outcome.code == 0, (line, outcome.err)
    assert len(OF_AN_OWN_CELL) == 4


def test_all_that_reads(bench: Bench, reader: Path):
    file = ROOT / "tests" / "files" / "sequences.csv"
    kept = ("training.keep_weights=true", "model.engine=native")
    table = bench.one("task=sequence_classification", f"task.file={file}", "task.step=step", *kept)
    text = bench.one("task=character_model", *DATA["character_model"], *kept)
    shown = {"RUN": str(bench.folder(table)), "FILE": str(file), "DIR": "results/demo"}
    writes = {"RUN": str(bench.folder(text)), "TEXT": "ee"}
    for line in ON_WHAT_IS_THERE:
        command, *words = shlex.split(line)[1:]
        given = writes if command == "generate" else shown
        outcome = bench.call(command, *(given.get(word, word) for word in words))
        assert outcome.code == 0, (line, outcome.err)
    written = {"table.tex", "adding.tex", "all.tex", "adding.html", "demo.html", "horizon.html"}
    assert written <= {path.name for path in reader.iterdir()}
    assert (reader / "papers" / "runs" / "adding_problem").is_dir()


def test_an_experiment_and_a_space_of_ones_own(bench: Bench, tmp_path: Path):
    (experiment,) = re.findall(r"```yaml\n(.*?)```", TEXTS["sweeps.md"], re.DOTALL)
    tuned, space = (yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", TEXTS["tune.md"], re.DOTALL))
    for name in ("experiment", "space"):
        (tmp_path / name).mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(experiment)
    words = (f"--config-dir={tmp_path}", f"results_dir={bench.results}", "trainer=cpu", "--plan")
    planned = bench.call("run", "+experiment=mine", *words)
    assert planned.code == 0, planned.err
    assert "30 runs, 0 there already, 30 to do" in planned.out
    assert planned.out.count("copy_memory delay=200 rnn") == 5
    assert tuned["sweep"]["tune"] == yaml.safe_load((ROOT / "conf/experiment/tuning.yaml").read_text())["sweep"]["tune"]
    whole = yaml.safe_load(experiment)
    whole["sweep"]["tune"] = tuned["sweep"]["tune"] | {"space": "own"}
    whole["hydra"]["sweeper"]["params"]["cell"] = "lstm"
    (tmp_path / "experiment" / "tuned.yaml").write_text("# @package _global_\n" + yaml.safe_dump(whole))
    (tmp_path / "space" / "own.yaml").write_text(yaml.safe_dump(space, sort_keys=False))
    planned = bench.call("tune", "+experiment=tuned", *words, "task=adding_problem", "sweep.tune.trials=1")
    assert planned.code == 0, planned.err
    assert "cell.forget_bias" in planned.out
    assert "optimizer.momentum" in planned.out
