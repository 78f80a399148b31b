"""A run keeps its id while code is moved and reworded, and gets another one when it computes something else."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from omegaconf import open_dict

from bench.config import identity, numerics, schema, users_code
from bench.config.explain import ConfigError
from bench.config.resolve import build
from bench.config.run_spec import RunSpec
from bench.config.targets import locate, parameters_of
from bench.records import older, record
from bench.records.read import find_records, read_record
from bench.runs.replay import rebuild
from tests import numerics as numerics_module
from tests.conftest import ROOT, TINY, cells
from tests.numerics import GOLDEN, TOLERANCE, VARIANTS, difference, main, trajectory

Edit = Callable[[Path, Path], None]
"""An edit: it changes a copy of ``bench`` and of ``tasks``."""


def spec_of(*overrides: str, cfg_dir: Path | None = None) -> RunSpec:
    schema.register()
    with initialize_config_module("conf", version_base="1.3"):
        words = [*TINY, "cell=gru", "model.engine=stepwise", *overrides]
        if cfg_dir is not None:
            words.insert(0, f"hydra.searchpath=[file://{cfg_dir}]")
        cfg = compose("config", words, return_hydra_config=True)
    choices = cfg.hydra.runtime.choices
    with open_dict(cfg):
        del cfg["hydra"]
    return build(cfg, choices, words)


def edit(file: str, old: str, new: str) -> Edit:
    def change(bench: Path, tasks: Path) -> None:
        path = (bench.parent / file) if file.startswith("tasks") else bench / file
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return change


def move_function(bench: Path, tasks: Path) -> None:
    """Move a function from one file of the training to another, and import it where it was."""
    there, here = bench / "training" / "clipping.py", bench / "training" / "model.py"
    text = there.read_text(encoding="utf-8")
    (function,) = [node for node in ast.parse(text).body
                   if isinstance(node, ast.FunctionDef) and node.name == "gradient_norm"]  # fmt: skip
    source = ast.get_source_segment(text, function)
    assert source is not None
    there.write_text(text.replace(source, "from bench.training.model import gradient_norm"), encoding="utf-8")
    here.write_text(here.read_text(encoding="utf-8") + f"\n\n{source}\n", encoding="utf-8")


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Edit], None]:
    """Compute identities from an edited copy of the code."""
    count = iter(range(99))

    def change(how: Edit) -> None:
        folder = tmp_path / f"copy{next(count)}"
        for package in ("bench", "tasks"):
            shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
        how(folder / "bench", folder / "tasks")
        monkeypatch.setattr(numerics, "BENCH", folder / "bench")
        monkeypatch.setattr(numerics, "TASKS", folder / "tasks")

    return change


KEEPS: dict[str, Edit] = {
    "a comment": edit("cells/gru.py", "    (h,) = state\n", "    (h,) = state  # as it was\n"),
    "a docstring": edit("training/loop.py", '"""Stop the clock for good."""', '"""Stop it."""'),
    "an annotation": edit("training/rng.py", "index: int = 0", "index: object = 0"),
    "an import": edit("training/model.py", "import math\n", "import math\nimport os\n"),
    "a moved function": move_function,
    "another cell": edit("cells/lstm.py", "torch.tanh(c)", "2 * torch.tanh(c)"),
    "another engine": edit("engines/fused.py", "hidden, end =", "hidden, ende ="),
}
CHANGES: dict[str, tuple[str, Edit]] = {
    "a constant in a cell's equation": ("cells.gru", edit("cells/gru.py", "(1 - z) * values", "(2 - z) * values")),
    "the contract of the cells": ("cells", edit("cells/init.py", "math.sqrt(hidden_size)", "hidden_size")),
    "an engine": ("engines.stepwise", edit("engines/stepwise.py", "state[0]", "-state[0]")),
    "the loop": ("training", edit("training/stopping.py", "SOLVED_IN_A_ROW = 3", "SOLVED_IN_A_ROW = 2")),
    "the seeding": ("training", edit("runs/train.py", "torch.manual_seed(spec.seed)", "torch.manual_seed(0)")),
    "the precision": ("training", edit("runs/trainer.py", '"32-true"', '"64-true"')),
    "the random state on resume": ("training", edit("runs/checkpoint.py", '["random"]["cpu"]', '["random"]["x"]')),
    "the contract of the tasks": ("tasks", edit("tasks/base.py", 'self.baselines["loss"]', "0.0")),
    "a task": ("tasks.adding_problem", edit("tasks/adding_problem.py", "1 / 6,", "1 / 7,")),
}


@pytest.mark.parametrize("how", KEEPS.values(), ids=list(KEEPS))
def test_what_computes_the_same_keeps_the_id(how: Edit, copied: Callable[[Edit], None]):
    before = spec_of().run_id
    copied(how)
    assert spec_of().run_id == before


@pytest.mark.parametrize(("part", "how"), CHANGES.values(), ids=list(CHANGES))
def test_what_computes_something_else_is_another_version(part: str, how: Edit, copied: Callable[[Edit], None]):
    before = spec_of()
    copied(how)
    after = spec_of()
    assert after.run_id != before.run_id
    assert {name for name, version in after.code["numerics"].items() if version != "1"} == {part}
    assert after.code["numerics"][part].startswith("1+")


def test_a_probed_run_rests_on_the_probes_and_another_does_not(copied: Callable[[Edit], None]):
    before = spec_of().run_id, spec_of("probe=flow").run_id
    copied(edit("probes/flow.py", ".sqrt()", ".sum()"))
    assert (spec_of().run_id == before[0], spec_of("probe=flow").run_id == before[1]) == (True, False)


def test_a_raised_number_is_another_version(copied: Callable[[Edit], None]):
    before = spec_of().run_id
    copied(edit("cells/gru.py", "NUMERICS = 1", "NUMERICS = 2"))
    after = spec_of()
    assert after.run_id != before
    assert after.code["numerics"]["cells.gru"].startswith("2+"), "not compared yet"


@pytest.fixture
def one_trajectory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run ``make numerics`` with one trajectory and its own files."""
    name = "cell=gru task=adding_problem"
    known = json.loads(GOLDEN.read_text(encoding="utf-8"))
    shutil.copy(numerics.MANIFEST, tmp_path / "numerics.json")
    (tmp_path / "golden.json").write_text(json.dumps({**known, "trajectories": {name: known["trajectories"][name]}}))
    monkeypatch.setattr(numerics, "MANIFEST", tmp_path / "numerics.json")
    monkeypatch.setattr(numerics_module, "GOLDEN", tmp_path / "golden.json")
    monkeypatch.setattr(numerics_module, "ENGINES", {})
    monkeypatch.setattr(numerics_module, "cells", lambda: ["gru"])
    monkeypatch.setattr(numerics_module, "options", lambda _: ["adding_problem"])
    monkeypatch.setattr(numerics_module, "VARIANTS", ())
    monkeypatch.setattr(numerics_module, "PARITY", {})
    return tmp_path / "numerics.json"


def test_a_rename_is_taken_under_the_old_number(
    one_trajectory: Path,
    copied: Callable[[Edit], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    before = spec_of().run_id
    assert main() == 0
    assert capsys.readouterr().out == "numerics: every part is as it was when its numbers were last compared\n"
    copied(edit("cells/gru.py", "reset = torch.sigmoid", "opened = torch.sigmoid"))
    assert spec_of().run_id != before
    assert main() == 0
    assert capsys.readouterr().out.endswith("numerics: 1 trajectories compared, 1 parts pinned\n")
    shutil.copy(one_trajectory, one_trajectory.with_name("pinned.json"))
    monkeypatch.setattr(numerics, "MANIFEST", one_trajectory.with_name("pinned.json"))
    assert spec_of().run_id == before


def test_other_numbers_ask_for_another_version(
    one_trajectory: Path,
    copied: Callable[[Edit], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    from bench.cells.gru import GRUCell

    def update(self, values, state):
        return ((1.001 - values["update"]) * values["new"] + values["update"] * state[0],)

    pinned = one_trajectory.read_text(encoding="utf-8")
    monkeypatch.setattr(GRUCell, "update", update)
    copied(edit("cells/gru.py", "((1 - z) *", "((1.001 - z) *"))
    assert main() == 1
    out = capsys.readouterr().out
    assert "numerics: cell=gru task=adding_problem: loss 1: 2.60079" in out
    assert "; cells.gru computes another number\n" in out
    assert out.endswith("numerics: raise NUMERICS of that part if it is meant, and run this again\n")
    assert one_trajectory.read_text(encoding="utf-8") == pinned
    text = (ROOT / "bench" / "cells" / "gru.py").read_text(encoding="utf-8")
    copied(
        edit("cells/gru.py", text, text.replace("((1 - z) *", "((1.001 - z) *").replace("NUMERICS = 1", "NUMERICS = 2"))
    )
    assert main() == 0
    assert json.loads(one_trajectory.read_text(encoding="utf-8"))["parts"]["cells.gru"]["version"] == 2
    assert main() == 0, "the new numbers are the golden ones now"


def test_ids_of_published_records_are_as_they_were(monkeypatch: pytest.MonkeyPatch):
    folders = find_records(ROOT / "results")
    assert len(folders) >= 200
    specs: dict[str, RunSpec] = {}
    sys.modules.pop("leaky_gate", None)
    monkeypatch.syspath_prepend(ROOT / "results" / "tuning" / "own")
    for folder in folders:
        made = read_record(folder)
        alike = repr((made.config | {"seed": None}, made.runtime["threads"], made.model["engine"]))
        if alike not in specs:
            specs[alike] = rebuild(made, Path("nowhere"), ["leaky_gate.LeakyGate"])
        spec = specs[alike]
        engine = spec.network.engine
        science = identity.science(spec.config, spec.runtime, spec.device, spec.precision, engine)
        found = record.run_id(science | {"seed": made.seed}, numerics.code_hash(spec.code["numerics"]))
        assert found == made.run_id == folder.name
    sys.modules.pop("leaky_gate", None)


def test_what_a_class_got_later_changes_nothing_by_default():
    """Otherwise a run would compute something else than its record under the same id."""
    for target, settings in older.LATER.items():
        taken = parameters_of(locate({"_target_": target}, "cell"))
        assert {key: taken[key].default for key in settings} == settings, target


def test_the_manifest_is_that_of_the_code():
    manifest = numerics.read_manifest(numerics.MANIFEST)
    pinned = {name: numerics.Part(pin.version, pin.tree) for name, pin in manifest.parts.items()}
    assert pinned == {name: numerics.part(name) for name in numerics.part_names()}, "run `make numerics`"


def test_golden_trajectories_hold():
    """A few trajectories are compared, in case a library computes something else."""
    known = json.loads(GOLDEN.read_text(encoding="utf-8"))["trajectories"]
    chosen = [f"cell={cell} task=copy_memory" for cell in cells()] + list(VARIANTS[1:5])
    differences = {name: difference(known[name], trajectory(name)[1], TOLERANCE) for name in chosen}
    assert differences == dict.fromkeys(chosen)


def test_golden_norms_after_the_clip_are_those_of_the_clip():
    """With every engine; two weights whose gradients share memory are clipped twice, which shows in nothing else."""
    known = json.loads(GOLDEN.read_text(encoding="utf-8"))["trajectories"]
    for name, found in known.items():
        words = dict(word.split("=", 1) for word in name.split())
        if "training.clip_value" not in words:
            clip = float(words.get("training.clip_norm", 1.0))
            assert found["clipped"] == pytest.approx([min(norm, clip) for norm in found["norm"]], rel=1e-4), name


def test_what_a_part_uses_of_ours_is_in_a_part():
    """Code outside of every part computes nothing: it records, stops, measures time or shows."""
    innocent = {"bench", "tasks", "bench.cells", "bench.engines", "bench.errors"}
    for name in numerics.part_names():
        for file, chosen in numerics.files_of(name).items():
            if file.suffix != ".py":
                included = re.findall(r'^#include "(.+)"', file.read_text(encoding="utf-8"), flags=re.MULTILINE)
                assert {(file.parent / each).resolve() for each in included} <= set(numerics.files_of(name))
            if file.suffix != ".py" or chosen:
                continue
            for node in ast.walk(ast.parse(file.read_bytes())):
                if not isinstance(node, ast.ImportFrom):
                    continue
                for module in (f"{node.module}", *(f"{node.module}.{each.name}" for each in node.names)):
                    path = ROOT / f"{module.replace('.', '/')}.py"
                    if path.exists() and module not in innocent:
                        assert numerics.part_of(module) is not None, f"{file.name} uses {module}"


class TestOwnCode:
    CELL = "from my_helper import HALF\nfrom bench.cells.gru import GRUCell\n\nclass Mine(GRUCell):\n    share = HALF\n"
    YAML = (
        "_target_: my_cell.Mine\n_partial_: true\n"
        "init: {_target_: bench.cells.init.Initialization, input: torch, recurrent: torch, bias: torch}\n"
    )

    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        (tmp_path / "cell").mkdir()
        (tmp_path / "cell" / "mine.yaml").write_text(self.YAML)
        (tmp_path / "my_cell.py").write_text(self.CELL)
        (tmp_path / "my_helper.py").write_text("import my_deeper  # noqa\n\nHALF = my_deeper.ONE / 2\n")
        (tmp_path / "my_deeper.py").write_text("ONE = 1\n")
        (tmp_path / "unrelated.py").write_text("TWO = 2\n")
        monkeypatch.syspath_prepend(tmp_path)
        for name in [name for name in sys.modules if name.startswith("my_")]:
            monkeypatch.delitem(sys.modules, name, raising=False)
        return tmp_path

    def version(self, folder: Path) -> tuple[str, str]:
        users_code.source_hash.cache_clear()
        spec = spec_of("cell=mine", cfg_dir=folder)
        assert spec.code["numerics"]["cells.gru"] == "1", "what it inherits counts too"
        return spec.run_id, spec.code["numerics"]["cell"]

    @pytest.mark.parametrize("name", ["my_cell.py", "my_helper.py", "my_deeper.py"])
    def test_a_change_of_what_it_imports_is_another_run(self, folder: Path, name: str):
        before = self.version(folder)
        path = folder / name
        path.write_text(path.read_text() + "# a comment\n")
        assert self.version(folder) == before
        path.write_text(path.read_text() + "MORE = 1\n")
        after = self.version(folder)
        assert (after[0] != before[0], after[1] != before[1]) == (True, True)

    @pytest.mark.parametrize(
        "declared", ['files = ("data",)', '@property\n    def files(self):\n        return ["data/words.txt"]']
    )
    def test_a_data_file_that_it_names_counts(self, folder: Path, declared: str):
        (folder / "my_cell.py").write_text(f"{self.CELL}    {declared}\n")
        (folder / "data").mkdir()
        (folder / "data" / "words.txt").write_text("one two")
        before = self.version(folder)
        (folder / "data" / "words.txt").write_text("one two three")
        after = self.version(folder)
        assert (after[0] != before[0], after[1] != before[1]) == (True, True)

    @pytest.mark.parametrize(
        ("declared", "message"),
        [
            ('files = ("nothing.txt",)', "files of Mine must name files that can be read, got 'nothing.txt'"),
            ('files = "my_deeper.py"', "files of Mine must be a list of paths, got 'my_deeper.py'"),
        ],
    )
    def test_files_that_are_none(self, folder: Path, declared: str, message: str):
        (folder / "my_cell.py").write_text(f"{self.CELL}    {declared}\n")
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            self.version(folder)

    @pytest.mark.parametrize("name", ["__init__.py", "inner/__init__.py", "inner/deep.py", "helper.py", "beside.py"])
    def test_a_module_in_packages_counts_with_them_and_with_what_it_imports(self, folder: Path, name: str):
        package = folder / "my_package"
        (package / "inner").mkdir(parents=True)
        for file in ("__init__.py", "inner/__init__.py", "helper.py", "beside.py"):
            (package / file).write_text("ONE = 1\n")
        (package / "inner" / "deep.py").write_text(
            "import my_package.beside\nfrom ..helper import ONE\nfrom bench.cells.gru import GRUCell\n\n\n"
            "class Mine(GRUCell):\n    share = ONE\n"
        )
        (folder / "cell" / "mine.yaml").write_text(self.YAML.replace("my_cell.Mine", "my_package.inner.deep.Mine"))
        before = self.version(folder)
        (package / name).write_text((package / name).read_text() + "MORE = 1\n")
        assert self.version(folder) != before

    @pytest.mark.parametrize("named", ["Mine", "make"])
    def test_an_optimiser_of_ones_own_counts(self, folder: Path, named: str):
        (folder / "my_optimizer.py").write_text(
            "import torch\nfrom my_deeper import ONE\n\n\nclass Mine(torch.optim.SGD):\n    share = ONE\n\n\n"
            "def make(params, lr: float):\n    return Mine(params, lr)\n"
        )
        words = (f"optimizer._target_=my_optimizer.{named}", "optimizer.lr=0.1")
        found = []
        for text in ("ONE = 1\n", "ONE = 2\n"):
            (folder / "my_deeper.py").write_text(text)
            users_code.source_hash.cache_clear()
            spec = spec_of("cell=gru", *words, cfg_dir=folder)
            found.append((spec.run_id, spec.code["numerics"]["optimizer"]))
        assert (found[0][0] != found[1][0], found[0][1] != found[1][1]) == (True, True)

    def test_a_change_of_another_file_is_none(self, folder: Path):
        before = self.version(folder)
        (folder / "unrelated.py").write_text("TWO = 3\n")
        assert self.version(folder) == before

    def test_the_version_of_an_installed_package_that_it_imports_counts(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ):
        (folder / "my_deeper.py").write_text("import math\n\nimport msgspec\nimport torch\n\nONE = 1\n")
        users_code.source_hash.cache_clear()
        spec = spec_of("cell=mine", cfg_dir=folder)
        packages = {name: version for name, version in spec.code["numerics"].items() if name.startswith("cell.")}
        assert packages == {"cell.msgspec": importlib.metadata.version("msgspec")}
        monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.0")
        later = spec_of("cell=mine", cfg_dir=folder)
        assert later.code["numerics"]["cell.msgspec"] == "0.0"
        assert later.run_id != spec.run_id
