"""Hydra as an application: what of Hydra's own it rests on, and that nothing of it is left behind."""

from __future__ import annotations

import copy
import inspect
import os
import re
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module, version
from hydra._internal import utils
from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.core_plugins.importlib_resources_config_source import ImportlibResourcesConfigSource
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from bench.config import hydra_app
from bench.config.explain import ConfigError
from tests.conftest import ROOT

PRIVATE = {
    utils.create_config_search_path: ["search_path_dir"],
    utils.get_args_parser: [],
    utils._run_hydra: ["args", "args_parser", "task_function", "config_path", "config_name", "caller_stack_depth"],
    utils._get_exec_command: [],
    Hydra.__init__: ["self", "task_name", "config_loader"],
    Hydra.compose_config: [
        "self", "config_name", "overrides", "run_mode", "with_log_configuration", "from_shell",
        "validate_sweep_overrides",
    ],
    ConfigLoaderImpl._apply_overrides_to_config: ["overrides", "cfg"],
    ConfigLoaderImpl.__init__: ["self", "config_search_path"],
    ConfigLoaderImpl.load_configuration: [
        "self", "config_name", "overrides", "run_mode", "from_shell", "validate_sweep_overrides",
    ],
    ConfigLoaderImpl.load_sweep_config: ["self", "master_config", "sweep_overrides"],
    ConfigLoaderImpl.validate_sweep_overrides_legal: ["overrides", "run_mode", "from_shell"],
    get_overrides_dirname: ["overrides", "exclude_keys", "item_sep", "kv_sep"],
    FileConfigSource.load_config: ["self", "config_path"],
    ImportlibResourcesConfigSource.load_config: ["self", "config_path"],
    Hydra.multirun: ["self", "config_name", "task_function", "overrides", "with_log_configuration"],
}  # fmt: skip
"""What ``bench`` calls of Hydra's that is not public, with its parameters."""


@pytest.mark.parametrize("function", PRIVATE, ids=lambda function: function.__qualname__)
def test_what_is_private_takes_what_it_is_given(function: object):
    """Where this fails, Hydra has changed what ``bench/config/hydra_app.py`` must follow."""
    assert callable(function)
    assert list(inspect.signature(function).parameters) == PRIVATE[function]


def test_one_module_alone_uses_what_is_private():
    using = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "bench").rglob("*.py")
        if re.search(r"^\s*(from|import) hydra\._internal", path.read_text(), re.MULTILINE)
    ]
    assert using == ["bench/config/hydra_app.py"]


@pytest.mark.parametrize("text", [r"unittest", r"sys\.argv\b.*=[^=]"])
def test_no_product_code_patches_hydra_or_hands_over_behind_its_back(text: str):
    found = [path.name for path in (ROOT / "bench").rglob("*.py") if re.search(text, path.read_text())]
    assert found == []


def test_it_is_opened_within_another_application_and_leaves_it_as_it_was():
    with initialize_config_module("conf", version_base="1.2"):
        theirs = GlobalHydra.instance().hydra
        with hydra_app.opened() as ours:
            assert GlobalHydra.instance().hydra is ours
            assert str(version.getbase()) == "1.3"
        assert GlobalHydra.instance().hydra is theirs
        assert str(version.getbase()) == "1.2"
        assert compose("launcher/joblib").launcher.name == "joblib"


def test_a_folder_of_ones_own_stands_behind_ours(tmp_path: Path):
    """So ``--cfg`` shows what is run, and a name of ours keeps its meaning."""
    with hydra_app.opened(str(tmp_path)) as hydra:
        providers = [source.provider for source in hydra.config_loader.get_sources()]
    assert providers == ["hydra", "main", "command-line", "schema"]


def test_a_file_of_ones_own_that_would_stand_behind_one_of_ours_is_refused(tmp_path: Path):
    (tmp_path / "cell").mkdir()
    (tmp_path / "cell" / "gru.yaml").write_text("_target_: mine.Mine\n")
    message = r"^--config-dir must have names of its own, got cell/gru.yaml, which is one of ours: rename it$"
    with pytest.raises(ConfigError, match=message), hydra_app.opened(str(tmp_path)):
        pass


def test_a_folder_that_is_not_there():
    with (
        pytest.raises(ConfigError, match=r"^--config-dir must be a folder, got '/nowhere'$"),
        hydra_app.opened("/nowhere"),
    ):
        pass
    assert not GlobalHydra.instance().is_initialized()


def test_what_hydra_shows_names_this_command_and_leaves_the_process_as_it_was(capsys: pytest.CaptureFixture[str]):
    before = (list(sys.argv), list(sys.path), dict(os.environ))
    with pytest.raises(SystemExit) as ended:
        hydra_app.show(hydra_app.parse(["--hydra-help"]))
    assert ended.value.code == 0
    assert 'eval "$(bench run -sc install=bash)"' in capsys.readouterr().out
    assert (list(sys.argv), list(sys.path), dict(os.environ)) == before


def everything(config: DictConfig) -> tuple[object, str]:
    """Return all values, also those of the node ``hydra``, and what they come to."""
    return OmegaConf.to_container(config), OmegaConf.to_yaml(config.hydra.overrides)


@pytest.mark.parametrize(
    ("command", "runs"),
    [
        (["cell=gru", "seed=0,1"], [["cell=gru", "seed=0"], ["cell=gru", "seed=1"]]),
        (["+experiment=bai2018", "hydra.job.name=mine"], [["+experiment=bai2018", "task=adding_problem", "seed=3"]]),
        (["hydra/launcher=joblib", "hydra.sweep.dir='a b'"], [["cell=lstm", "task.length=7"], ["task=copy_memory"]]),
        # Hydra composes these.
        (["+cell.mine=1"], [["+cell.mine=1"], ["task.length=7", "+task.new={a: 1}"]]),
        (["optimizer=adam"], [["optimizer={lr: 2}"], ["hydra.job.name=other"]]),
    ],
)
def test_what_is_composed_once_is_what_hydra_composes(command: list[str], runs: list[list[str]]):
    words = [*command, "hydra.mode=MULTIRUN"]
    with hydra_app.opened() as hydra:
        ours = hydra.config_loader
        theirs = ConfigLoaderImpl(ours.get_search_path())
        for _ in range(2):
            made = ours.load_configuration("config", words, RunMode.MULTIRUN)
            plain = theirs.load_configuration("config", words, RunMode.MULTIRUN)
            assert everything(made) == everything(plain)
            for overrides in runs:
                one, two = ours.load_sweep_config(made, overrides), theirs.load_sweep_config(plain, overrides)
                assert everything(one) == everything(two)
                assert all(OmegaConf.is_struct(each) for each in (one, two))
                one.seed = made.seed = -1  # Nobody else's config changes with it.


def test_what_hydra_does_not_sweep_over_is_refused_by_what_is_composed_once(tmp_path: Path):
    words = ["hydra.job.name=a,b"]
    with hydra_app.opened() as hydra:
        hydra.config_loader.load_configuration("config", words, RunMode.MULTIRUN, validate_sweep_overrides=False)
        with pytest.raises(ConfigCompositionException, match="Sweeping over Hydra's configuration is not supported"):
            hydra.config_loader.load_configuration("config", words, RunMode.MULTIRUN)


def test_a_file_of_a_package_that_changes_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = tmp_path / "some_configs"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    source = hydra_app.ImportlibResourcesConfigSource("test", "pkg://some_configs")
    for text in ("a: 1\n", "a: 22\n"):
        (package / "one.yaml").write_text(text)
        for _ in range(2):
            found = source.load_config("one").config
            assert OmegaConf.to_yaml(found) == text
            found["a"] = 3


def test_registered_configs_are_there_once_and_one_that_is_changed_is_not_so_for_the_next():
    """Hydra copies its sources 105 times for ``--help``. Ours stays one, so what it hands out must be a copy."""
    with hydra_app.opened() as hydra:
        copied = copy.deepcopy(hydra.config_loader.get_sources())
        (source,) = [each for each in copied if each.scheme() == "structured"]
        assert source in hydra.config_loader.get_sources()
        for _ in range(2):
            found = source.load_config("hydra/config").config
            assert found["verbose"] is False
            found["verbose"] = True
