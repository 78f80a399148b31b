"""Hydra as an application: what of Hydra's own it rests on, and that nothing of it is left behind."""

from __future__ import annotations

import inspect
import os
import re
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module, version
from hydra._internal import utils
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra

from bench.config import hydra_app
from bench.config.explain import ConfigError
from tests.conftest import ROOT

PRIVATE = {
    utils.create_config_search_path: ["search_path_dir"],
    utils.get_args_parser: [],
    utils._run_hydra: ["args", "args_parser", "task_function", "config_path", "config_name", "caller_stack_depth"],
    utils._get_exec_command: [],
    Hydra.create_main_hydra2: ["task_name", "config_search_path"],
    Hydra.compose_config: [
        "self", "config_name", "overrides", "run_mode", "with_log_configuration", "from_shell",
        "validate_sweep_overrides",
    ],
    ConfigLoaderImpl._apply_overrides_to_config: ["overrides", "cfg"],
    FileConfigSource.load_config: ["self", "config_path"],
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
