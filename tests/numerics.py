"""``make numerics`` accepts changed code under its old version if and only if it computes the same numbers as before.

Golden trajectories stand for the numbers. They are some steps of training, in float64 and step by step, of every cell
on every task and with every setting that has its own computation; and in float32 of every engine. If code has changed
(see ``bench/config/numerics.py``), the trajectories are made again. Where they are equal, the manifest takes the new
code under its old version. Where they are not, one of the changed parts must declare a new version; the new
trajectories are then the golden ones.

On the machine and torch that the golden trajectories come from, equal means equal to the last bit. Elsewhere the last
digits differ anyway, and equal means equal within :data:`TOLERANCE`.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, open_dict

from bench.config import numerics, schema
from bench.config.numerics import Manifest, Part, Pin
from bench.config.resolve import build
from bench.config.run_spec import RunSpec
from bench.config.syntax_tree import DECLARATION
from bench.probes.probing import Probing
from bench.runs.trainer import quiet_lightning, trainer_of
from bench.training import process
from bench.training.data import SequenceData
from bench.training.loop import TrainingModule
from tasks.base import Batch, Task
from tasks.data_set import DataSet
from tests.conftest import DATA, ROOT, cells, options

GOLDEN = ROOT / "tests" / "golden" / "trajectories.json"
TOLERANCE = 1e-9
"""Relative difference that float64 allows between processors after some steps; float32 is given its own."""
TOLERANCE_FLOAT32 = 1e-4
TOLERANCE_METRICS = 1e-6
"""Tasks score in float32, whatever the network computes in."""
PARITY = {"engines": ("tests/engines/test_engines.py",), "training": ("tests/runs/test_checkpoint.py",)}
"""Tests that must pass as well if a part of this name or group has changed."""

SMALL = (
    "model.hidden_size=5", "model.engine=stepwise", "data.batch_size=3", "data.eval_size=5", "data.test_size=4",
    "data.eval_batch_size=3", "training.max_steps=6", "training.eval_every=3", "training.checkpoint_every=null",
    "runtime.threads=1", "trainer=cpu", "probe=flow", "probe.every=2", "probe.batch_size=3", "probe.lags=[0,1,5]",
    "probe.inputs=false", "probe.exponents=0",
)  # fmt: skip
SHORT = {
    "copy_memory": ("task.delay=4",),
    "adding_problem": ("task.length=11",),
    **{name: (*words, "data.eval_size=5") for name, words in DATA.items()},
}
"""Overrides that make tasks short; other tasks have sequences of at least 20 steps."""
VARIANTS = (
    "cell=rnn cell.nonlinearity=relu cell.init.recurrent=orthogonal cell.init.input=glorot cell.init.bias=zero",
    "cell=lstm cell.forget_bias=chrono model.layers=2 model.dropout=0.5",
    "cell=lstm cell.forget_bias=null optimizer=sgd training.clip_norm=0.01",
    "cell=gru optimizer=rmsprop training.clip_norm=null training.clip_value=0.001",
    "cell=gru data.train_size=7 model.readout_init=glorot",
    "cell=rnn model.parameter_budget=200 model.hidden_size=null model.readout_init=gaussian optimizer.weight_decay=0.1",
    "cell=gru task=copy_memory task.form=scalar",
    "cell=gru task.markers=anywhere",
    "cell=gru task=temporal_order task.classes=8",
    "cell=gru task.markers=early",
    "cell=lstm cell.forget_bias=chrono cell.chrono_range=1",
    "cell=rnn cell.init.recurrent=sparse cell.init.spectral_radius=1.1 optimizer=sgd optimizer.momentum=0.9 "
    "optimizer.nesterov=true",
    "cell=lstm probe.inputs=true probe.exponents=3 model.layers=2",
    "cell=foreign cell.module=torch.nn.LSTMCell",
    "cell=gru task=text_classification task.readout=mean model.embedding=4 model.head=[6,5] model.head_activation=tanh "
    "model.input_dropout=0.2 model.readout_dropout=0.3 data.bucketing=true training.tested_weights=best",
    "cell=lstm task=digits data.train_size=10 training.max_steps=null training.max_epochs=2 training.eval_every=2 "
    "training.schedule=cosine training.warm_up_steps=3",
    "cell=rnn task=character_model task.readout=every training.schedule=plateau training.decay_every=1 "
    "training.decay=0.5 training.eval_every=1",
    "cell=lstm task=digits model.bidirectional=true model.layers=2 task.target=parity probe=none",
)
ENGINES = {
    **{f"cell={cell} model.engine={engine} model.layers=2": {f"engines.{engine}"}
       for engine in ("stepwise", "fused", "native", "generated") for cell in ("rnn", "lstm", "gru")},
    "cell=gru task=copy_memory model.engine=native model.loss_engine=native": {"engines.readout"},
    "cell=gru model.engine=compiled": {"engines.compiled", "engines.stepwise", "cells", "cells.gru"},
}  # fmt: skip
"""Runs in float32, and the parts whose change makes them again; others do not, because compiling takes a minute."""
ENGINE_SIZES = ("model.hidden_size=33", "data.batch_size=9")
ENGINE_LENGTHS = {"adding_problem": "task.length=21", "copy_memory": "task.delay=4"}


def names() -> list[str]:
    """Return the trajectories in float64, each named by the overrides that make it."""
    products = [f"cell={cell} task={task}" for cell in cells() for task in options("task")]
    return [*products, *VARIANTS]


def trajectory(name: str) -> tuple[set[str], dict[str, list[float]]]:
    """Return the parts of the code that a trajectory rests on, and its numbers."""
    words = name.split()
    task = next((word.removeprefix("task=") for word in words if word.startswith("task=")), "adding_problem")
    in_engine = (*ENGINE_SIZES, ENGINE_LENGTHS[task]) if name in ENGINES else ()
    sizes = in_engine or SHORT.get(task, ("task.length=20",))
    schema.register()
    with initialize_config_module("conf", version_base="1.3"):
        cfg = compose("config", [*SMALL, *sizes, *words], return_hydra_config=True)
    choices = cfg.hydra.runtime.choices
    with open_dict(cfg):
        del cfg["hydra"]
    assert isinstance(cfg, DictConfig)
    spec = build(cfg, choices, words)
    process.set_up(spec.runtime)
    return set(spec.code["numerics"]), numbers_of(spec, double=name not in ENGINES)


def numbers_of(spec: RunSpec, *, double: bool) -> dict[str, list[float]]:
    """Return losses, norms, metrics and what the probes find, of a run that leaves nothing behind."""
    torch.manual_seed(spec.seed)
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64 if double else torch.float32)
    try:
        model, task = spec.network.model(spec.seed), _doubled(spec.task) if double else spec.task
        module = TrainingModule(task, model, spec.make_optimizer(), spec.training, spec.seed, spec.device)
        probing = Probing(spec.probe, task, spec.seed, spec.device) if spec.probe.enabled else None
        model.warm_up(spec.data.batch_size, spec.precision)
        data = SequenceData(task, spec.data, spec.seed, spec.device)
        with quiet_lightning():
            trainer = trainer_of(spec, [probing] if probing is not None else [])
            trainer.fit(module, datamodule=data)
            trainer.test(module, datamodule=data, verbose=False)
    finally:
        torch.set_default_dtype(dtype)
    found = {
        "loss": module.curves.loss.tolist(),
        "norm": module.curves.grad_norm.tolist(),
        "clipped": module.curves.grad_norm_clipped.tolist(),
        "test": list(module.test_metrics.values()),
        "weights": [float(weight.double().sum()) for weight in model.state_dict().values()],
    }
    found |= {f"eval {row.step}": list(row.metrics.values()) for row in module.curves.evaluations}
    for name, rows in (probing.rows if probing is not None else {}).items():
        found[name] = [row[-1] for row in rows if row[-1] is not None]
    return found


def _doubled(task: Task) -> Task:
    """Return the task with all its numbers in float64."""
    task = copy.copy(task)
    task.sample = _in_double(task.sample)
    if isinstance(task, DataSet):
        task.take = _in_double(task.take)
    return task


def _in_double(make: Callable[..., Batch]) -> Callable[..., Batch]:
    """Return the same function with all numbers of its batches in float64."""

    def made(*arguments: Any) -> Batch:
        batch = make(*arguments)
        doubled = {
            field.name: each.double()
            for field in dataclasses.fields(batch)
            if (each := getattr(batch, field.name)) is not None and each.is_floating_point()
        }
        return dataclasses.replace(batch, **doubled)

    return made


def difference(one: Mapping[str, list[float]], other: Mapping[str, list[float]], tolerance: float) -> str | None:
    """Say where two trajectories first differ; return ``None`` if they do not."""
    if one.keys() != other.keys():
        return f"{', '.join(sorted(one.keys() ^ other.keys()))}: there in one alone"
    for name, values in one.items():
        if len(values) != len(other[name]):
            return f"{name}: {len(values)} numbers, now {len(other[name])}"
        scale = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
        allowed = max(tolerance, TOLERANCE_METRICS) if tolerance and name.startswith(("eval", "test")) else tolerance
        for number, (old, new) in enumerate(zip(values, other[name], strict=True), start=1):
            same = old == new or (math.isnan(old) and math.isnan(new))
            if not (same or math.isclose(old, new, rel_tol=allowed, abs_tol=allowed * scale)):
                return f"{name} {number}: {old!r}, now {new!r}"
    return None


def surroundings() -> str:
    """Say what the last digits depend on."""
    return f"{process.processor_name()}, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}"


def main() -> int:
    """Compare the trajectories and pin what is equal; return 1 if something must be decided first."""
    manifest = numerics.read_manifest(numerics.MANIFEST)
    parts = {name: numerics.part(name) for name in numerics.part_names()}
    changed = {name for name, part in parts.items() if _pinned(manifest, name) != part}
    gone = manifest.parts.keys() - parts.keys()
    golden = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else {"from": "", "trajectories": {}}
    if not changed and not gone and golden["trajectories"]:
        print("numerics: every part is as it was when its numbers were last compared")
        return 0
    print(f"numerics: to be compared: {', '.join(sorted(changed | gone)) or 'nothing pinned yet'}")
    here = surroundings()
    if golden["from"] not in ("", here):
        print(f"numerics: golden trajectories are from {golden['from']}, this is {here}: equal means nearly so")
    for test in {test for name in changed for test in PARITY.get(name.partition(".")[0], ())}:
        done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-x", test], cwd=ROOT, check=False)
        if done.returncode != 0:
            print(f"numerics: {test} must pass first")
            return 1
    raised = {name for name in changed if _is_raised(manifest, name, parts[name])}
    wrong, made = [], dict(golden["trajectories"])
    # All come from one machine: one that is new elsewhere makes the others new as well.
    anew = golden["from"] != here and bool(raised or {*names(), *ENGINES} - made.keys())
    engines = [name for name, rests_on in ENGINES.items() if anew or name not in made or rests_on & changed]
    for name in [*names(), *engines]:
        used, numbers = trajectory(name)
        old = golden["trajectories"].get(name)
        tolerance = 0.0 if golden["from"] == here else TOLERANCE_FLOAT32 if "engine=" in name else TOLERANCE
        found = difference(old, numbers, tolerance) if old is not None else None
        if found is not None and not used & raised:
            suspects = " or ".join(sorted(used & changed)) or "a library"
            wrong.append(f"{name}: {found}; {suspects} computes another number")
        elif anew or old is None or found is not None:
            made[name] = numbers
    for line in wrong:
        print(f"numerics: {line}")
    if wrong:
        print(f"numerics: raise {DECLARATION} of that part if it is meant, and run this again")
        return 1
    _write(manifest, parts, made, here if anew else golden["from"])
    print(f"numerics: {len(made)} trajectories compared, {len(changed)} parts pinned")
    return 0


def _pinned(manifest: Manifest, name: str) -> Part | None:
    pin = manifest.parts.get(name)
    return Part(pin.version, pin.tree) if pin is not None else None


def _is_raised(manifest: Manifest, name: str, part: Part) -> bool:
    pin = manifest.parts.get(name)
    return pin is None or part.version > pin.version


def _write(manifest: Manifest, parts: Mapping[str, Part], made: Mapping[str, Any], where: str) -> None:
    pins: dict[str, Any] = {}
    for name, part in sorted(parts.items()):
        pin = manifest.parts.get(name, Pin(0, "", None))
        pins[name] = {"version": part.version, "tree": part.tree}
        pins[name] |= {"files": list(pin.files)} if pin.files is not None else {}
    text = json.dumps({"shared": list(manifest.shared), "parts": pins}, indent=1)
    numerics.MANIFEST.write_text(f"{text}\n", encoding="utf-8")
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(numbers)}" for name, numbers in made.items())
    GOLDEN.write_text(f'{{\n "from": {json.dumps(where)},\n "trajectories": {{\n{lines}\n }}\n}}\n', encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
