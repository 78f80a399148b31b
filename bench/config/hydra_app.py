"""Hydra as the application that ``bench run`` is; the only module here that uses what Hydra keeps to itself.

The public ways into Hydra do not suffice. ``hydra.main`` reads its words from ``sys.argv`` alone, and
``hydra.initialize`` takes no second folder of configs, as ``--config-dir`` does. So this module calls what
``hydra.main`` itself is made of: the parser of the command line, the search path and the ``Hydra`` object. And a sweep
of thousands of runs is composed here by Hydra's own way of setting values in a config, see :class:`Composer`.
``tests/config/test_hydra_app.py`` says which of them has changed when a new Hydra no longer fits.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.core_plugins import (
    file_config_source,
    importlib_resources_config_source,
    structured_config_source,
)
from hydra._internal.hydra import Hydra
from hydra._internal.sources_registry import SourcesRegistry
from hydra._internal.utils import _get_exec_command, _run_hydra, create_config_search_path, get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import env_override
from hydra.plugins.completion_plugin import CompletionPlugin
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from bench.config.explain import ConfigError
from bench.config.key_help import key_help
from bench.shapes import check_yaml, content_of

CONFIG_PATH = "pkg://conf"
CONFIG_NAME = "config"
VERSION_BASE = "1.3"
CONFIG_BEGINS, CONFIG_ENDS = "<config>", "</config>"
"""Lines around the config in the help that ``conf/hydra/help/bench.yaml`` asks for."""
NO_CHOICE = ("published:", "space:", "table:")
"""Folders of ``conf/`` that Hydra takes for choices: what papers report, spaces of ``bench tune``, and tables."""
NO_CHOICE_GROUPS = tuple(f"{sign}{name.removesuffix(':')}=" for name in NO_CHOICE for sign in ("", "~"))
"""How overrides that choose from them begin."""


def parse(arguments: list[str]) -> argparse.Namespace:
    """Return the words of a command line as Hydra reads them; flags may stand anywhere among the overrides."""
    return get_args_parser().parse_intermixed_args(arguments)


@contextlib.contextmanager
def opened(config_dir: str | None = None) -> Iterator[Hydra]:
    """Hydra with our configs, and with those of a folder of the user's behind them.

    Afterwards Hydra's global state is as it was, so that a notebook can use Hydra for itself.

    Args:
        config_dir: The folder that ``--config-dir`` names.

    Raises:
        ConfigError: There is no such folder, or it has a file with the name of one of ours.
    """
    with _own_state():
        search_path = create_config_search_path(CONFIG_PATH)
        if config_dir is not None:
            folder = Path(config_dir).absolute()
            if not folder.is_dir():
                raise ConfigError(f"--config-dir must be a folder, got {config_dir!r}")
            _refuse_names_of_ours(folder)
            search_path.prepend("command-line", f"file://{folder}", anchor=SearchPathQuery(provider="schema"))
        hydra = Hydra("bench", Loader(search_path))
        GlobalHydra.instance().initialize(hydra)
        yield hydra


def _refuse_names_of_ours(folder: Path) -> None:
    """Make sure that no file of the user's stands behind one of ours, where Hydra would never read it."""
    ours = resources.files("conf")
    for path in sorted(folder.glob("*/*.yaml")):
        name = path.relative_to(folder).as_posix()
        if ours.joinpath(name).is_file():
            raise ConfigError(f"--config-dir must have names of its own, got {name}, which is one of ours: rename it")


class FileConfigSource(file_config_source.FileConfigSource):
    """Folders of configs that are not in a package, as those of the user's are: each file is looked at first.

    It has the name of Hydra's own, which else would be in its way in a worker, where both are registered.
    """

    def load_config(self, config_path: str) -> ConfigResult:
        """Return a config of the folder.

        Raises:
            ConfigError: It is no YAML, or one beyond the bounds.
        """
        file = Path(self.path) / self._normalize_file_name(config_path)
        try:
            check_yaml(content_of(file))
        except FileNotFoundError:
            pass  # Hydra says which options there are.
        except (OSError, ValueError) as error:
            raise ConfigError(f"{file} must be a YAML that can be read: {error}") from error
        return super().load_config(config_path)


class ImportlibResourcesConfigSource(importlib_resources_config_source.ImportlibResourcesConfigSource):
    """The configs of a package, such as ours: each file is parsed once a process, as long as it stays as it is.

    It has the name of Hydra's own for the same reason as :class:`FileConfigSource`.
    """

    _parsed: dict[tuple[str, int, int], ConfigResult] = {}  # noqa: RUF012 - all sources of a process share it

    def load_config(self, config_path: str) -> ConfigResult:
        """Return a config of the package."""
        file = resources.files(self.path).joinpath(self._normalize_file_name(config_path))
        if not isinstance(file, Path) or not file.is_file():
            return super().load_config(config_path)
        stat = file.stat()
        key = (str(file), stat.st_mtime_ns, stat.st_size)
        if key not in self._parsed:
            self._parsed[key] = super().load_config(config_path)
        return copy.deepcopy(self._parsed[key])


class StructuredConfigSource(structured_config_source.StructuredConfigSource):
    """The configs that code has registered: their store, which hands out copies, is there once.

    Hydra copies its sources whenever it composes a config or lists a group's options, for ``--help`` 105 times; to copy
    the store with them takes two thirds of that command. It has the name of Hydra's own for the same reason as
    :class:`FileConfigSource`.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> StructuredConfigSource:
        return self


class Loader(ConfigLoaderImpl):
    """Hydra's loader, which composes a command once, and what the choices of its runs make once.

    Hydra composes each run from its files, which takes ten times as long as to copy a config and set values in it. It
    still does where a run has anything but choices of options and values of keys that are there: keys that are added or
    removed, values with keys below them, a key below another one. And it does where ``hydra.searchpath`` adds options
    of the user's.
    """

    def __init__(self, config_search_path: Any) -> None:
        super().__init__(config_search_path)
        self._made: dict[tuple[object, ...], DictConfig] = {}
        self._parsed: dict[str, Override] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs."""
        return {**self.__dict__, "_made": {}, "_parsed": {}}

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """Return the config of a command or a run; a command, of which Hydra asks what we have asked before, once."""
        if run_mode != RunMode.MULTIRUN:
            return super().load_configuration(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
        if validate_sweep_overrides:
            parsed = OverridesParser.create().parse_overrides(overrides)
            self.validate_sweep_overrides_legal(parsed, run_mode, from_shell)
        key = ("command", config_name, *overrides)
        if key not in self._made:
            self._made[key] = super().load_configuration(config_name, overrides, run_mode, from_shell, False)
        return copy.deepcopy(self._made[key])

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """Return the config of a run, with the node ``hydra``, equal to what Hydra composes."""
        of_hydra = list(master_config.hydra.overrides.hydra)
        parts = self.parts(sweep_overrides, of_hydra)
        if parts is None:
            return super().load_sweep_config(master_config, sweep_overrides)
        choices, values, parsed = parts
        key = ("run", master_config.hydra.job.config_name, *choices)
        if key not in self._made:
            self._made[key] = super().load_configuration(key[1], choices, RunMode.RUN)
        config = copy.deepcopy(self._made[key])
        self._apply_overrides_to_config(values, config)
        node = config.hydra
        node.overrides.hydra, node.overrides.task = of_hydra, sweep_overrides
        names = node.job.config.override_dirname
        node.job.override_dirname = get_overrides_dirname(
            parsed, exclude_keys=names.exclude_keys, item_sep=names.item_sep, kv_sep=names.kv_sep
        )
        OmegaConf.copy_cache(from_config=master_config, to_config=config)
        return config

    def parts(
        self, overrides: Sequence[str], of_hydra: Sequence[str] = ()
    ) -> tuple[list[str], list[Override], list[Override]] | None:
        """Return the overrides of a run that choose options, and those that set values, parsed.

        Args:
            overrides: Those of the run.
            of_hydra: Those that are meant for Hydra, which come first.

        Returns:
            The choices, with those of Hydra; the values, with those of Hydra; and all of the run, parsed. ``None`` if
            Hydra itself must compose the run.
        """
        words = [*of_hydra, *overrides]
        if new := [text for text in dict.fromkeys(words) if text not in self._parsed]:
            parser = OverridesParser.create(config_loader=self)
            self._parsed.update(zip(new, parser.parse_overrides(new), strict=True))
        parsed = [self._parsed[text] for text in words]
        if any("hydra.searchpath" in each for each in of_hydra):
            return None
        choices, values = [], []
        for place, (text, override) in enumerate(zip(words, parsed, strict=True)):
            if override.package is not None or override.is_hydra_override() != (place < len(of_hydra)):
                return None
            is_choice = self.repository.group_exists(override.key_or_group)
            sets = not (override.is_add() or override.is_force_add() or override.is_delete())
            if is_choice and isinstance(override.value(), str) and (sets or override.is_add()):
                choices.append(text)
            elif not is_choice and sets and not (isinstance(override.value(), dict) or override.is_sweep_override()):
                values.append(override)
            else:
                return None
        keys = [override.key_or_group for override in values]
        if any(key.startswith(f"{other}.") for key in keys for other in keys):
            return None
        return choices, values, parsed[len(of_hydra) :]


class Composer:
    """Composes the runs of one command to be planned, each by setting its values in what its choices make.

    Other than :class:`Loader`, which composes a run to be made, it copies nothing, which would take most of the time.

    Args:
        config: The config of the whole command.
        loader: Ours.
    """

    def __init__(self, config: DictConfig, loader: ConfigLoader) -> None:
        assert isinstance(loader, Loader)
        self._config = config
        self._loader = loader
        self._is_searched = any("hydra.searchpath" in each for each in config.hydra.overrides.hydra)
        self._made: dict[tuple[tuple[str, ...], ...], tuple[DictConfig, Mapping[str, str | None]]] = {}

    def plainly(self, overrides: list[str]) -> DictConfig:
        """Return the config of a run, with the node ``hydra``.

        Raises:
            Exception: Whatever Hydra raises.
        """
        return self._loader.load_sweep_config(self._config, overrides)

    def compose(self, overrides: list[str]) -> tuple[DictConfig, Mapping[str, str | None]]:
        """Return the config of a run without the node ``hydra``, and the choice for each config group.

        The config may be changed by the next call.

        Raises:
            Exception: Whatever Hydra raises.
        """
        parts = None if self._is_searched else self._loader.parts(overrides)
        if parts is None:
            return self._split(overrides)
        choices, values, _ = parts
        # Runs that set the same keys leave nothing of each other behind.
        key = (tuple(choices), tuple(override.key_or_group for override in values))
        if key not in self._made:
            self._made[key] = self._split(choices)
        config, chosen = self._made[key]
        ConfigLoaderImpl._apply_overrides_to_config(values, config)
        return config, chosen

    def _split(self, overrides: list[str]) -> tuple[DictConfig, Mapping[str, str | None]]:
        config = self.plainly(overrides)
        choices = config.hydra.runtime.choices
        with open_dict(config):
            del config["hydra"]
        return config, choices


def show(parsed: argparse.Namespace) -> None:
    """Let Hydra print what ``--help``, ``--cfg``, ``--info`` and their like ask for.

    Args:
        parsed: The command line.

    Raises:
        Exception: Whatever Hydra raises where it cannot.
        SystemExit: Hydra ended the command with a code of its own.
    """
    shown = io.StringIO()
    # Hydra prints and exits where it could raise, unless this variable is set; it has no argument for that.
    with _own_state(), env_override({"HYDRA_FULL_ERROR": "1"}):
        try:
            with contextlib.redirect_stdout(shown):
                # The task is never called.
                _run_hydra(parsed, get_args_parser(), lambda _: None, CONFIG_PATH, CONFIG_NAME)
        finally:
            print(_as_ours(shown.getvalue(), parsed), end="")


def candidates(line: str) -> list[str]:
    """Return what the last word of a command line may go on with, sorted.

    Args:
        line: The command line up to the cursor, with the name of the command and without ``run``.

    Raises:
        Exception: Whatever Hydra raises where the words cannot be read.
    """
    words = line.split()[1:]
    typed = "" if line.endswith(" ") or not words else words.pop()
    shown = io.StringIO()
    with opened(parse(words).config_dir) as hydra, env_override({"COMP_LINE": line}), contextlib.redirect_stdout(shown):
        hydra.shell_completion(CONFIG_NAME, ["query=fish"])
    found = [each for each in shown.getvalue().splitlines() if each and not each.startswith(NO_CHOICE_GROUPS)]
    # Experiments alone are added to the defaults of a run, which have a choice of every other group.
    if typed.startswith("+"):
        return sorted(each for each in found if each.startswith("+experiment="))
    added = [f"+{each}" for each in found if each.startswith("experiment=") and not typed]
    return sorted([*(each for each in found if not each.startswith("experiment=")), *added])


def _as_ours(text: str, parsed: argparse.Namespace) -> str:
    """Return Hydra's text without the folders of ``conf/`` that no run chooses, and with the name of this command."""
    if parsed.help:
        lines = text.splitlines(keepends=True)
        text = "".join(line for line in lines if not line.startswith(NO_CHOICE))
        before, _, rest = text.partition(f"{CONFIG_BEGINS}\n")
        config, _, after = rest.partition(f"{CONFIG_ENDS}\n")
        return f"{before}{key_help(config, parsed.config_dir)}\n{after}" if config else text
    for plugin in Plugins.instance().discover(CompletionPlugin):
        assert issubclass(plugin, CompletionPlugin)
        for command in ("install", "uninstall"):
            ours = f'eval "$(bench run -sc {command}={plugin.provides()})"'
            if plugin.provides() == "fish":
                ours = f"bench run -sc {command}=fish | source"
            text = text.replace(plugin.help(command).format(_get_exec_command()), ours, 1)
    return text


@contextlib.contextmanager
def _own_state() -> Iterator[None]:
    """Give Hydra's singletons back as they were found; until then our own sources read folders and packages."""
    instance, base = GlobalHydra.instance(), version.VersionBase.instance()
    hydra, version_base = instance.hydra, base.version_base
    Plugins.instance()  # This registers Hydra's own sources.
    sources = SourcesRegistry.instance().types
    found = dict(sources)
    own = (FileConfigSource, ImportlibResourcesConfigSource, StructuredConfigSource)
    sources.update({ours.scheme(): ours for ours in own})
    instance.clear()
    version.setbase(VERSION_BASE)
    try:
        yield
    finally:
        # A launcher that makes a run in this process may have put copies in their places.
        GlobalHydra.set_instance(instance)
        version.VersionBase.set_instance(base)
        instance.hydra, base.version_base = hydra, version_base
        sources.update(found)
