"""The presets of papers: the settings of each run against what the papers say, and their commands."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from bench.analysis.run import Run
from bench.config.command import compose_command
from bench.config.command import jobs_of as jobs_of_command
from bench.config.hydra_app import opened
from bench.config.run_spec import RunSpec
from bench.papers.claims import read_claims
from bench.papers.matching import matching
from tests.conftest import DATA_EXPERIMENTS, ROOT, Bench, assert_one_line, specs_of
from tests.records_made import make


def jobs_of(preset: str, budget: str) -> list[list[str]]:
    """The overrides of each run of an experiment, without composing them."""
    words = [f"+experiment={preset}", f"budget={budget}"]
    with opened() as hydra:
        return jobs_of_command(compose_command(hydra, words), hydra.config_loader)


def kept(spec: RunSpec) -> dict[str, Any]:
    return {name: value for name, value in spec.config.items() if name not in ("budget", "training")}


PRESETS = {
    "arjovsky2016": (28, 5), "bai2018": (33, 5), "le2015": (16, 5), "hochreiter1997": (21, 5), "horizon": (15, 5),
    "tallec2018": (8, 6), "yuret2016": (5, 6), "sutskever2013": (4, 6), "keller2024": (5, 6), "li2018": (5, 6),
    "campos2018": (2, 6), "longest_delay": (6, 5),
    "length_generalization": (6, 5),
}  # fmt: skip
"""Number of runs of each preset with one seed, and of its seeds."""


FACTS: dict[tuple[str, str, str], dict[str, Any]] = {
    # preset, cell, row: what the paper says
    ("arjovsky2016", "lstm", "delay=100"): {
        "model.hidden_size": 40, "model.readout_init": "glorot", "cell.forget_bias": 1.0, "cell.init.input": "glorot",
        "cell.init.recurrent": "glorot", "training.clip_value": 1.0, "training.clip_norm": None,
        "training.max_steps": 20000, "data.batch_size": 20, "data.train_size": 100000, "data.test_size": 10000,
        "optimizer.lr": 1e-3, "optimizer.alpha": 0.9, "optimizer._target_": "torch.optim.RMSprop",
    },
    ("arjovsky2016", "rnn", "delay=300"): {"model.hidden_size": 80, "training.clip_value": 1.0},
    ("arjovsky2016", "gru", "delay=300"): {"model.hidden_size": 46},
    ("arjovsky2016", "irnn", "length=100"): {"model.hidden_size": 128, "cell.init.recurrent": "identity"},
    ("arjovsky2016", "rnn", "length=400"): {"model.hidden_size": 128, "cell.init.recurrent": "glorot"},
    ("arjovsky2016", "lstm", "length=400"): {"model.hidden_size": 128, "cell.forget_bias": 1.0},
    ("bai2018", "lstm", "length=200"): {
        "model.layers": 2, "model.hidden_size": 77, "training.clip_norm": 50.0, "cell.forget_bias": 5.0,
        "optimizer.lr": 1e-3, "optimizer._target_": "torch.optim.SGD", "task.markers": "anywhere",
    },
    ("bai2018", "lstm", "length=400"): {
        "model.layers": 2, "model.hidden_size": 77, "training.clip_norm": 50.0, "cell.forget_bias": 10.0,
        "optimizer.lr": 2e-3, "optimizer._target_": "torch.optim.Adam", "data.train_size": 50000,
        "training.max_steps": 7000, "data.batch_size": 32,
    },
    ("bai2018", "lstm", "length=600"): {
        "model.layers": 1, "model.parameter_budget": 70000, "training.clip_norm": 5.0, "cell.forget_bias": 1.0,
    },
    ("bai2018", "gru", "length=400"): {"model.layers": 1, "model.parameter_budget": 70000, "optimizer.lr": 2e-3},
    ("bai2018", "lstm", "delay=500"): {
        "model.hidden_size": 50, "model.parameter_budget": None, "training.clip_norm": 0.25, "optimizer.lr": 5e-4,
        "optimizer._target_": "torch.optim.RMSprop", "task.form": "scalar",
    },
    ("bai2018", "lstm", "delay=1000"): {
        "model.hidden_size": 50, "training.clip_norm": 1.0, "data.train_size": 10000, "training.max_steps": 3000,
    },
    ("bai2018", "rnn", "delay=1000"): {"model.hidden_size": None, "model.parameter_budget": 16000},
    ("bai2018", "lstm", "delay=100"): {
        "model.parameter_budget": 10000, "model.hidden_size": None, "training.max_steps": 15625,
    },
    ("le2015", "irnn", "length=150"): {
        "model.hidden_size": 100, "model.readout_init": "gaussian", "cell.init.recurrent": "identity",
        "cell.init.input": "gaussian", "optimizer.lr": 0.01, "training.clip_norm": 100.0, "data.batch_size": 16,
        "optimizer._target_": "torch.optim.SGD", "training.max_steps": 625000, "task.markers": "anywhere",
    },
    ("le2015", "irnn", "length=200"): {"training.clip_norm": 1.0, "model.readout_init": "gaussian"},
    ("le2015", "irnn", "length=300"): {"training.clip_norm": 10.0},
    ("le2015", "irnn", "length=400"): {"training.clip_norm": 1.0},
    ("le2015", "rnn", "length=400"): {"training.clip_norm": 100.0, "optimizer.lr": 0.01, "model.readout_init": "torch"},
    ("le2015", "lstm", "length=150"): {"optimizer.lr": 0.01, "training.clip_norm": 10.0, "cell.forget_bias": 1.0},
    ("le2015", "lstm", "length=200"): {"optimizer.lr": 0.001, "training.clip_norm": 100.0, "cell.forget_bias": 4.0},
    ("le2015", "lstm", "length=300"): {"optimizer.lr": 0.01, "training.clip_norm": 1.0, "cell.forget_bias": 4.0},
    ("le2015", "lstm", "length=400"): {"optimizer.lr": 0.01, "training.clip_norm": 100.0, "cell.forget_bias": 10.0},
    ("hochreiter1997", "lstm", "adding_1997 length=100"): {
        "training.max_steps": 2313, "cell.forget_bias": "chrono", "task.operation": "sum", "data.test_size": 2560,
    },
    ("hochreiter1997", "lstm", "length=500"): {"training.max_steps": 6532},
    ("hochreiter1997", "lstm", "length=1000"): {"training.max_steps": 26657},
    ("hochreiter1997", "gru", "multiplication length=100 solved_correct=0.93"): {
        "training.max_steps": 15063, "task.operation": "product",
    },
    ("hochreiter1997", "lstm", "solved_correct=0.9935"): {"training.max_steps": 39782},
    ("hochreiter1997", "rnn", "classes=4"): {"training.max_steps": 981},
    ("hochreiter1997", "lstm", "classes=8"): {"training.max_steps": 17847, "task.classes": 8},
    ("yuret2016", "irnn", "length=150"): {
        "optimizer._target_": "torch.optim.SGD", "optimizer.lr": 0.005, "training.clip_norm": 2.0,
        "data.batch_size": 16, "data.train_size": None, "model.hidden_size": 100, "task.solved_mse": 0.1,
        "training.max_steps": 174000, "cell.init.recurrent": "identity",
    },
    ("keller2024", "irnn", "length=700"): {
        "data.batch_size": 128, "model.hidden_size": 100, "task.solved_mse": 0.05, "training.max_steps": 60000,
        "optimizer._target_": "torch.optim.Adam",
    },
    ("li2018", "lstm", "length=500"): {"model.hidden_size": 128, "optimizer.lr": 2e-3, "data.batch_size": 50},
    ("li2018", "irnn", "length=100"): {"optimizer.lr": 2e-4},
    ("li2018", "irnn", "length=1000"): {"optimizer.lr": 1e-5},
    ("campos2018", "gru", "length=50"): {
        "model.hidden_size": 110, "optimizer.lr": 1e-4, "data.batch_size": 256, "training.clip_norm": 1.0,
        "task.markers": "early", "task.solved_mse": 1.6667e-3,
    },
    ("length_generalization", "rnn", "length=50"): {"data.test_scales": [0.5, 2, 4], "training.max_steps": 20000},
    ("longest_delay", "gru", "delay=5"): {"model.parameter_budget": 17000, "training.max_steps": 20000},
    ("horizon", "lstm", "length=400"): {"training.max_steps": 20000, "model.parameter_budget": 17000},
}  # fmt: skip


def select(config: Mapping[str, Any], key: str) -> Any:
    node: Any = config
    for part in key.split("."):
        node = node[part]
    return node


def check_jobs(preset: str) -> None:
    """Both budgets have all runs, and differ in the number of steps and nothing else."""
    short, paper = (jobs_of(preset, budget) for budget in ("short", "paper"))
    count = math.prod(PRESETS[preset])
    assert len(short) == len(paper) == count
    assert len({tuple(sorted(job)) for job in short}) == count

    def rest(found: list[list[str]]) -> list[list[str]]:
        return [[text for text in job if text.split("=")[0] not in ("budget", "training.max_steps")] for job in found]

    assert rest(short) == rest(paper)
    steps = {text.partition("=")[2] for job in short for text in job if text.startswith("training.max_steps=")}
    assert len(steps) == 1
    assert all(any(text.startswith("training.max_steps=") for text in job) for job in (*short, *paper))


def check_short(spec: RunSpec) -> None:
    """A run of the short budget composes too, to the one of the paper's with fewer steps."""
    (short,) = specs_of(*("budget=short" if word == "budget=paper" else word for word in spec.asked))
    assert short.config["budget"] == "short"
    assert short.run_id != spec.run_id
    assert kept(short) == kept(spec)
    assert short.config["training"] | {"max_steps": 0} == spec.config["training"] | {"max_steps": 0}


def check_asked(spec: RunSpec) -> None:
    """What is asked for is short, and plans the same run."""
    assert spec.asked == [
        f"+experiment={spec.experiment}", *(f"{key}={value}" for key, value in (
            ("task", spec.task_name), *(("task." + text).split("=") for text in spec.row),
            ("cell", spec.cell_name), ("seed", "0"), ("trainer", "cpu"), ("budget", "paper")))
    ]  # fmt: skip
    (again,) = specs_of(*spec.asked)
    assert (again.run_id, again.config) == (spec.run_id, spec.config)


class TestPresets:
    """Each preset is composed once, by one test, since that takes longest."""

    def test_all_are_tested(self):
        there = {path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml")}
        assert there == {*PRESETS, *DATA_EXPERIMENTS, "cost", "demo", "tuning"}
        assert {preset for preset, _, _ in FACTS} == {*PRESETS} - {*self.SWEPT}

    @pytest.mark.first
    @pytest.mark.parametrize("preset", PRESETS)
    def test_a_preset(self, preset: str):
        check_jobs(preset)
        specs = specs_of(f"+experiment={preset}", "seed=0", "budget=paper")
        assert len(specs) == PRESETS[preset][0]
        assert len({spec.run_id for spec in specs}) == len(specs)
        assert len({spec.label for spec in specs}) == len(specs) or preset in self.SWEPT
        assert {spec.experiment for spec in specs} == {preset}
        check_short(specs[-1])
        for fact, settings in FACTS.items():
            if fact[0] == preset:
                (spec,) = [each for each in specs if each.cell_name == fact[1] and f" {fact[2]} " in f" {each.label} "]
                assert {key: select(spec.config, key) for key in settings} == settings, fact
        self.check_claims(preset, specs)
        {"bai2018": self.check_bai, "horizon": self.check_horizon, **self.SWEPT}.get(preset, lambda specs: None)(specs)

    @staticmethod
    def check_claims(preset: str, specs: list[RunSpec]) -> None:
        """Every claim is about one run a seed of its experiment."""
        planned = [
            Run(make(experiment=p.experiment, task=p.task_name, cell=p.cell_name, config=p.config), p.folder)
            for p in specs
        ]
        mine = [claim for claim in read_claims().claims if claim.protocol == preset]
        assert len(mine) >= 2 or preset in ("horizon", "longest_delay", "length_generalization")
        for claim in mine:
            assert len(matching(claim, planned)) == 1, claim.id
            assert len(matching(claim, planned, against=True)) == 1, claim.id

    @staticmethod
    def check_bai(specs: list[RunSpec]) -> None:
        sizes = {(spec.cell_name, *spec.row): spec.network.hidden_size for spec in specs}
        assert sizes["gru", "length=400"] == 151  # 70,367 parameters; 150 units have 69,451
        assert sizes["lstm", "length=400"] == 77
        check_asked(max(specs, key=lambda spec: len(spec.overrides)))
        check_asked(next(spec for spec in specs if spec.label.startswith("copy_memory delay=1000 lstm")))

    @staticmethod
    def check_horizon(specs: list[RunSpec]) -> None:
        (lstm,) = [spec for spec in specs if spec.label.startswith("adding_problem length=25 lstm")]
        assert lstm.network.hidden_size == 63

    @staticmethod
    def check_tallec(specs: list[RunSpec]) -> None:
        assert {spec.config["cell"]["forget_bias"] for spec in specs} == {1.0, "chrono"}
        assert {
            (spec.task_name, spec.task.delay, spec.config["cell"]["chrono_range"], spec.training.max_steps)
            for spec in specs
            if spec.config["cell"]["forget_bias"] == "chrono"
        } == {("copy_memory", 500, 1.5, 60_000), ("copy_memory", 2000, 1.5, 60_000),
              ("adding_problem", 200, 1.0, 5_000), ("adding_problem", 750, 1.0, 5_000)}  # fmt: skip
        assert {(spec.network.settings.hidden_size, spec.training.clip_norm) for spec in specs} == {(128, None)}

    @staticmethod
    def check_sutskever(specs: list[RunSpec]) -> None:
        assert {
            (spec.task_name, spec.config["optimizer"]["momentum"], spec.config["optimizer"]["nesterov"])
            for spec in specs
        } == {(task, *how) for task in ("adding_1997", "multiplication") for how in ((0.995, True), (0.0, False))}
        for spec in specs:
            init = spec.config["cell"]["init"]
            assert (init["recurrent"], init["spectral_radius"], init["input"]) == ("sparse", 1.1, "gaussian")
            assert (spec.data.batch_size, spec.training.max_steps, spec.task.length) == (100, 50_000, 88)

    SWEPT: ClassVar = {"tallec2018": check_tallec, "sutskever2013": check_sutskever}
    """Presets that sweep over more than cells and rows, so that labels do not tell their runs apart."""


class TestCommandLine:
    def test_one_run_of_a_preset_by_its_row(self, bench: Bench):
        words = ("task=copy_memory", "task.delay=100", "cell=lstm", "seed=0", "trainer=cpu")
        done = bench.call("run", "+experiment=arjovsky2016", "--dry-run", *words, f"results_dir={bench.results}")
        assert done.code == 0, done.err
        first, count, _, _ = done.out.splitlines()
        assert first.endswith("copy_memory delay=100 lstm seed=0: planned")
        assert count == "1 runs, 0 there already, 1 to do, 1 at once"
        assert not bench.results.exists()
        (short,) = specs_of("+experiment=arjovsky2016", *words, "budget=short")
        (paper,) = specs_of("+experiment=arjovsky2016", *words)
        assert (short.training.max_steps, paper.training.max_steps) == (5000, 20000)
        assert kept(short) == kept(paper)
        assert short.config["training"] | {"max_steps": 20000} == paper.config["training"]
        assert first.startswith(paper.run_id)

    def test_the_whole_preset_is_counted(self, bench: Bench, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("bench.runs.dry_run.seconds_per_step", lambda spec: 1.0)
        words = ("trainer=cpu", "training.max_steps=7", "seed=range(0,2)", "cell=gru", f"results_dir={bench.results}")
        done = bench.call("run", "+experiment=arjovsky2016", "--dry-run", *words)
        assert done.code == 0, done.err
        *runs, count, _, _ = done.out.splitlines()
        assert count.startswith("16 runs, 0 there already, 16 to do")
        assert sum("copy_memory delay=200 gru seed=0: planned" in line for line in runs) == 1

    @pytest.mark.parametrize(
        ("overrides", "message"),
        [
            ("+experiment=arjovsky2016 budget=long", "budget must be one of paper, short, got long"),
            ("+experiment=arjovsky2016 budget=null", "budget must be one of paper, short, got null"),
            ("+experiment=arjovsky2016 budget=short,long seed=0", "budget must be one of paper, short, got long"),
            ("+experiment=demo budget=short", "budget must be null where no experiment has budgets, got short"),
            ("budget=short", "budget must be null where no experiment has budgets, got short"),
            ("+experiment=arjovsky2016 task=nope", "task must be one of adding_1997, adding_problem, "),
            (
                "+experiment=arjovsky2016 task=temporal_order",
                "task must be one of this experiment's, copy_memory, adding_problem, got temporal_order",
            ),
            ("+experiment=arjovsky2016 task=copy_memory task.length=100", "task.length is no setting, did you mean"),
            ("+experiment=horizon hydra.mode=RUN", "sweep must be null where hydra.mode is not MULTIRUN, got rows or"),
            ("sweep=3", "sweep must be a mapping with rows, settings, search, tune, got 3"),
        ],
    )  # fmt: skip
    def test_bad_input(self, bench: Bench, overrides: str, message: str):
        few = ("trainer=cpu", "cell=lstm", f"results_dir={bench.results}")
        outcome = bench.call("run", *few, *overrides.split())
        assert_one_line(outcome, "run", message)
        assert outcome.code == 2
        assert not bench.results.exists()
