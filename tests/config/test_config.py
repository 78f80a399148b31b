"""Every key of the config changes what it is said to change, and enters the run id only if it can change a number."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from tests.conftest import DATA, ROOT, TINY, Bench, composed, options, own_experiment, spec_of

TWO_LAYERS = ("model.layers=2",)
GATED = ("cell=foreign", "cell.module=tests.foreign_modules.Gated", "model.engine=stepwise")
PROBED = ("probe=flow", "task.length=9")
DIGITS = ("task=digits",)
SEQUENCES = ("task=sequence_classification", *DATA["sequence_classification"])
TEXTS = ("task=text_classification",)
CHARACTERS = ("task=character_model", *DATA["character_model"])
SERIES = ("task=forecast",)
EVALUATED = ("training.eval_every=1",)
SCIENCE: dict[str, tuple[str, ...]] = {
    # key=other value: further settings of both runs
    "seed=1": (),
    "task.length=101": (),
    "task.markers=anywhere": (),
    "task.solved_mse=0.16": (),
    "task.delay=4": ("task=copy_memory",),
    "task.form=scalar": ("task=copy_memory",),
    "task.solved_recall=0.13": ("task=copy_memory",),
    "task.operation=product": ("task=adding_1997",),
    "task.solved_error=0.02": ("task=adding_1997",),
    "task.solved_correct=0.5": ("task=multiplication",),
    "task.classes=8": ("task=temporal_order",),
    "task.solved_accuracy=0.3": ("task=temporal_order",),
    "task.order=permuted": DIGITS,
    "task.target=parity": DIGITS,
    "task.readout=mean": DIGITS,
    "task.validation=0.3": DIGITS,
    "task.test=0.4": DIGITS,
    "task.solved_accuracy=0.99": DIGITS,
    "task.step=null": SEQUENCES,
    "task.columns=[x]": SEQUENCES,
    "task.max_length=9": SEQUENCES,
    "task.least_count=30": TEXTS,
    "task.window=5": CHARACTERS,
    "task.stride=2": CHARACTERS,
    "task.solved_bits=1": CHARACTERS,
    "task.horizon=3": SERIES,
    "task.season=6": SERIES,
    "task.solved_mase=0.1": SERIES,
    "cell.nonlinearity=relu": ("cell=rnn",),
    "cell.forget_bias=3": ("cell=lstm",),
    "cell.forget_bias=chrono": ("cell=lstm",),
    "cell.chrono_range=1": ("cell=lstm", "cell.forget_bias=chrono"),
    "cell.peepholes=true": ("cell=lstm",),
    "cell.reset=before": ("cell=gru",),
    "cell.initial_state=learned": ("task.length=9",),
    "cell.module=torch.nn.LSTMCell": ("cell=foreign", "cell.module=torch.nn.GRUCell"),
    "cell.states=[h,memory]": ("cell=foreign", "cell.module=torch.nn.LSTMCell"),
    "cell.gates=[one]": GATED,
    "cell.keeps=[one]": (*GATED, "cell.gates=[one]"),
    "cell.init.input=glorot": (),
    "cell.init.recurrent=orthogonal": (),
    "cell.init.recurrent=identity": (),
    "cell.init.recurrent=sparse": (),
    "cell.init.spectral_radius=1": (),
    "cell.init.bias=zero": (),
    "model.hidden_size=5": (),
    "model.layers=2": (),
    "model.readout_init=glorot": (),
    "model.readout_init=gaussian": (),
    "cell.init.input=gaussian": (),
    "model.dropout=0.5": TWO_LAYERS,
    "model.engine=stepwise": ("task.length=9",),
    "model.loss_engine=native": ("task=copy_memory", "task.delay=3", "model.engine=stepwise"),
    "model.embedding=3": TEXTS,
    "model.head=[3]": (),
    "model.head_activation=tanh": ("model.head=[3]",),
    "model.input_dropout=0.5": (),
    "model.readout_dropout=0.5": (),
    "model.bidirectional=true": DIGITS,
    "model.parameter_budget=400": ("model.hidden_size=null", "model.parameter_budget=200"),
    "optimizer.lr=0.1": (),
    "optimizer.betas=[0.5,0.9]": (),
    "optimizer.eps=0.1": (),
    "optimizer.fused=false": (),
    "optimizer.weight_decay=0.5": (),
    "optimizer.alpha=0.1": ("optimizer=rmsprop",),
    "optimizer.momentum=0.9": ("optimizer=sgd",),
    "optimizer.nesterov=true": ("optimizer=sgd", "optimizer.momentum=0.5"),
    "data.test_scales=[2]": (),
    "training.max_steps=7": (),
    "training.eval_every=2": (),
    "training.clip_norm=0.01": ("optimizer=sgd",),
    "training.clip_value=0.001": ("optimizer=sgd", "training.clip_norm=null"),
    "training.stop_when_solved=false": (),
    "training.max_epochs=3": ("training.max_steps=null", "training.max_epochs=2", "data.train_size=8"),
    "training.patience=1": ("optimizer.lr=1", *EVALUATED),
    "training.tested_weights=best": ("optimizer.lr=1", *EVALUATED),
    "training.schedule=cosine": (),
    "training.warm_up_steps=3": (),
    "training.decay_every=2": ("training.schedule=step", "training.decay=0.5", "training.decay_every=1"),
    "training.decay=0.25": ("training.schedule=step", "training.decay=0.5", "training.decay_every=1"),
    "data.bucketing=true": TEXTS,
    "data.carry_state=true": (*CHARACTERS, "task.readout=every", "task.window=10", "task.stride=10"),
    "data.batch_size=5": (),
    "data.microbatch_size=2": (),
    "data.train_size=8": (),
    "data.eval_size=9": (),
    "data.test_size=9": (),
    "data.eval_batch_size=3": (),
    "probe.enabled=false": PROBED,
    "probe.every=2": PROBED,
    "probe.batch_size=5": PROBED,
    "probe.lags=[0,3]": PROBED,
    "probe.gates=false": PROBED,
    "probe.inputs=false": PROBED,
    "probe.exponents=2": PROBED,
    "probe.gate_bins=5": PROBED,
    "runtime.threads=2": (),
    "runtime.deterministic=false": (),
    "runtime.tf32=true": (),
}
"""Keys that can change a number. The result must differ, except for the keys below, which other tests cover."""
SHOWN_ELSEWHERE = {
    "cell.states=[h,memory]": "tests/cells/test_foreign.py: names of what is computed anyway",
    "cell.gates=[one]": "tests/cells/test_foreign.py: the same",
    "cell.keeps=[one]": "tests/cells/test_foreign.py: the same",
    "optimizer.fused=false": "tests/training/test_loop.py: the same numbers to rounding",
    "task.solved_mse=0.16": "tests/tasks/test_tasks.py, tests/training/test_loop.py",
    "task.solved_recall=0.13": "tests/tasks/test_tasks.py",
    "task.solved_error=0.02": "tests/tasks/test_marked_values.py",
    "task.solved_correct=0.5": "tests/tasks/test_marked_values.py",
    "task.solved_accuracy=0.3": "tests/tasks/test_temporal_order.py",
    "training.stop_when_solved=false": "tests/training/test_loop.py",
    "model.engine=stepwise": "tests/engines/test_engines.py: the same numbers to rounding",
    "model.loss_engine=native": "tests/engines/test_readout.py: the same",
    "data.microbatch_size=2": "tests/training/test_loop.py: the same numbers to rounding",
    "data.eval_batch_size=3": "tests/training/test_data.py: the same set in other portions",
    "runtime.threads=2": "tests/training/test_process.py",
    "runtime.deterministic=false": "tests/training/test_process.py",
    "runtime.tf32=true": "tests/training/test_process.py",
    "runtime.flush_subnormals=false": "tests/training/test_process.py",
    "task.solved_accuracy=0.99": "tests/tasks/test_data_sets.py",
    "task.solved_bits=1": "tests/tasks/test_data_sets.py",
    "task.solved_mase=0.1": "tests/tasks/test_data_sets.py",
    "task.step=null": "tests/tasks/test_data_sets.py: the same rows, not looked at",
    "task.max_length=9": "tests/tasks/test_data_sets.py: a limit",
    "task.season=6": "tests/tasks/test_data_sets.py: what a forecast is set beside",
    "trainer.precision=bf16-mixed": "tests/cli/test_run.py",
}


def id_of(*overrides: str) -> str:
    return spec_of(*TINY, *overrides).run_id


def outcome_of(bench: Bench, made: Any) -> dict[str, Any]:
    curves = bench.curves(made)
    curves.pop("eval_train_seconds", None)
    return {**curves, **bench.probes(made), "test": made.metrics["test"]}


@pytest.mark.parametrize("change", SCIENCE)
def test_a_scientific_key_changes_the_id(change: str):
    assert id_of(*SCIENCE[change], change) != id_of(*SCIENCE[change])


@pytest.mark.parametrize("change", [change for change in SCIENCE if change not in SHOWN_ELSEWHERE])
def test_a_scientific_key_changes_the_run(bench: Bench, change: str):
    base, other = bench.ready(*SCIENCE[change]), bench.one(*SCIENCE[change], change)
    assert outcome_of(bench, other) != outcome_of(bench, base)


NOT_SCIENCE = {
    "results_dir": "results_dir=other",
    "logger": "logger=csv",
    "runtime.keep_pages": "runtime.keep_pages=true",
    "training.checkpoint_every": "training.checkpoint_every=2",
    "training.keep_weights": "training.keep_weights=true",
    "training.keep_predictions": "task=digits training.keep_predictions=true",
    "rerun": "rerun=none",
    "tuning.role": "tuning.role=trial",
    "tuning": "tuning.role=tuned tuning.trials=3 tuning.seeds=2 tuning.sampler=tpe",
    "launcher.name": "launcher=joblib",
    "launcher.workers": "launcher=joblib launcher.workers=1",
    "launcher=slurm": "launcher=slurm launcher.cpus=4 launcher.partition=main",
    "launcher=ray": "launcher=ray launcher.cpus=4 launcher.address=auto",
}
"""Keys that cannot change a number."""


@pytest.mark.parametrize("change", NOT_SCIENCE.values())
def test_other_keys_do_not_enter_the_id(change: str):
    words = change.split()
    assert id_of(*words) == id_of(*(word for word in words if word.startswith("task=")))


def test_the_folder_of_a_record_names_experiment_task_cell_and_id(tmp_path: Path):
    spec = spec_of("task=copy_memory", "cell=gru", f"results_dir={tmp_path}")
    assert spec.folder == tmp_path / "runs" / "default" / "copy_memory" / "gru" / spec.run_id


def test_budget_and_sweep_choose_settings_and_do_not_enter_the_id(bench: Bench, tmp_path: Path):
    settings = [{"when": {"budget": name}, "set": {"training.max_steps": 6}} for name in ("short", "long")]
    words = own_experiment(tmp_path, {"settings": settings})
    steps = [text for text in TINY if text.startswith("training.max_steps")]
    assert steps == ["training.max_steps=6"]
    base = (*(set(TINY) - set(steps)), f"results_dir={bench.results}")
    made = bench.ready()
    for budget, said in (("short", ": unsolved at step 6, "), ("long", ": already there, ")):
        outcome = bench.call("run", *base, *words, f"budget={budget}")
        assert said in outcome.out, outcome.err
    assert [each.run_id for each in bench.records()] == [made.run_id] * 2, "one of each experiment"


def test_an_integer_and_the_same_float_are_the_same_run():
    words = ("cell=lstm", "cell.forget_bias=2", "optimizer.lr=1")
    assert id_of(*words) == id_of("cell=lstm", "cell.forget_bias=2.0", "optimizer.lr=1.0")


def test_every_key_is_in_one_of_these_tests():
    tested = {change.partition("=")[0] for change in (*SCIENCE, *SHOWN_ELSEWHERE)}
    # The key is null on machines without a GPU; with a GPU it changes only the number of workers.
    elsewhere = {*NOT_SCIENCE, "trainer.accelerator", "launcher.workers_per_gpu", "budget", "sweep"}
    # tests/tuning/test_tune.py has what they say of a run.
    elsewhere |= {f"tuning.{name}" for name in ("trials", "seeds", "sampler")}
    # tests/tasks/test_data_sets.py has what names a file, or something in one.
    elsewhere |= {f"task.{name}" for name in ("file", "folder", "images", "sequence", "label", "text", "target")}
    assert all_keys() - tested - elsewhere == set()


@functools.cache
def all_keys() -> set[str]:
    """Every key that some choice of options offers; the loggers' have their own tests."""
    groups = ("task", "cell", "optimizer", "trainer")
    choices = [GATED, *((f"{group}={each}",) for group in groups for each in options(group) if each != "foreign")]
    return {key for words in choices for key in leaves(OmegaConf.to_container(composed(*words)[0], resolve=True))}


def leaves(node: Any, prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        if key.startswith("_") or key in ("logger", "hydra"):
            continue
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def test_names_that_users_type_are_there():
    assert all_keys() >= {
        "model.hidden_size", "model.layers", "model.dropout", "model.parameter_budget", "cell.forget_bias",
        "optimizer.lr", "training.max_steps", "training.eval_every", "training.clip_norm", "training.clip_value",
        "training.stop_when_solved", "data.batch_size", "data.train_size", "data.eval_size", "data.test_size",
        "runtime.threads", "results_dir", "seed", "budget", "task.length", "task.delay",
    }  # fmt: skip


def test_self_goes_first_in_every_defaults_list():
    for path in (ROOT / "conf").rglob("*.yaml"):
        defaults = getattr(OmegaConf.load(path), "get", lambda _: None)("defaults")
        if defaults is not None:
            # A schema goes before what it checks.
            names = [name for name in defaults if name != "schema" and not str(name).endswith("@launcher")]
            assert names[0] == "_self_", path


def test_another_optimizer_takes_its_own_defaults_and_the_learning_rate():
    spec = spec_of("optimizer._target_=torch.optim.Adafactor", "optimizer.lr=0.01")
    assert spec.config["optimizer"] == {"_target_": "torch.optim.Adafactor", "_partial_": True, "lr": 0.01}
    spec = spec_of("optimizer._target_=torch.optim.AdamW", "optimizer.betas=[0.5,0.9]")
    assert spec.config["optimizer"] == {
        "_target_": "torch.optim.AdamW", "_partial_": True, "lr": 0.001, "betas": [0.5, 0.9],
    }  # fmt: skip


def test_the_wheel_carries_the_yaml_and_finds_it(tmp_path: Path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("rnn_bench-*.whl")
    installed = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(installed)
    yaml = {str(path.relative_to(ROOT)) for path in (ROOT / "conf").rglob("*.yaml")}
    assert yaml <= names
    native = (ROOT / "bench" / "engines" / "native").glob("*.[ch]*")
    assert {"bench/engines/native/layout.h", *(str(path.relative_to(ROOT)) for path in native)} <= names
    assert "bench/report/figures/paper.mplstyle" in names
    tops = {name.partition("/")[0] for name in names if "dist-info" not in name}
    assert tops == {"bench", "tasks", "conf", "hydra_plugins"}
    assert [name for name in names if name.startswith("hydra_plugins/")] == ["hydra_plugins/bench_sweeper.py"]
    done = subprocess.run(
        [sys.executable, "-m", "bench", "run", "--cfg", "job", "cell=rnn"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "nonlinearity: tanh" in done.stdout
