"""The one entry to running: what the command line and Python call to have runs made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bench.config import schema
from bench.config.command import MULTIRUN, compose_command, jobs_of, search_of
from bench.config.early import check_early
from bench.config.hydra_app import CONFIG_NAME, opened
from bench.config.launchers import CLUSTERS
from bench.errors import StoppedError
from bench.runs.outcome import LaunchError, Outcome
from bench.runs.own_modules import own_modules
from bench.sweeps import signals
from bench.training.settings import available_cores
from bench.training.waiting import SharedCores


def run(
    overrides: Sequence[str],
    *,
    multirun: bool = False,
    config_dir: str | None = None,
    dry_run: bool = False,
    tunes: bool = False,
    cores: SharedCores | None = None,
) -> Outcome:
    """Make every run that a command stands for, as far as it is not there.

    Progress goes to standard output and error as it comes. A signal that asks to stop ends planning at once, and a run
    after its step; the outcome says so. Whatever of this process is changed on the way, such as
    ``sys.path``, the handlers of signals and Hydra's global state, is given back as it was found.

    Args:
        overrides: What to run, ``key=value`` as on the command line.
        multirun: Whether values such as ``seed=0,1`` make a sweep, as ``-m`` does.
        config_dir: A folder of the user's own configs and modules.
        dry_run: Only list the runs, with the time and disk that they will take.
        tunes: Look for the best setting of each cell, as ``bench tune`` does.
        cores: The cores that other processes use, if they have been watched for some time already.

    Raises:
        ConfigError: What is wrong with the first run that cannot be made; none has been started then.
        LaunchError: Runs cannot be launched, or the disk fails.
    """
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise LaunchError("the folder that the command is given in must be there, and it was removed") from error
    signals.listen(at_once=True)
    try:
        return _run(overrides, multirun, config_dir, dry_run, tunes, cores or SharedCores())
    except (StoppedError, KeyboardInterrupt):
        stopped = signals.requested()
        if stopped is None:
            raise
        return Outcome.of_stop((), stopped)
    finally:
        signals.forget()


def _run(
    overrides: Sequence[str],
    multirun: bool,
    config_dir: str | None,
    dry_run: bool,
    tunes: bool,
    cores: SharedCores,
) -> Outcome:
    config_dir = str(Path(config_dir).expanduser()) if config_dir is not None else None
    folder = str(Path(config_dir).absolute()) if config_dir is not None else None
    words = [*overrides, MULTIRUN] if multirun else list(overrides)
    with own_modules(folder), opened(config_dir) as hydra:
        # Hydra asks for it once more, and says less of what is wrong.
        config = compose_command(hydra, words)
        check_early(config)
        if search_of(config) is None:
            jobs_of(config, hydra.config_loader)
        here = not dry_run and not _is_elsewhere(config)
        said = cores.sleep_if_shared(_threads(config)) if here else None
        _check_installed()
        # Torch and Lightning come with it. What the words alone tell to be wrong has been said by now.
        from bench.runs.job import Command

        command = Command(tuple(overrides), multirun, folder, dry_run, tunes, said)
        try:
            return hydra.multirun(CONFIG_NAME, command, words)
        except BrokenPipeError:
            raise
        except (OSError, HydraException) as error:
            raise LaunchError.of(error) from error


def _is_elsewhere(config: DictConfig) -> bool:
    """Return whether another machine makes the runs, so that it does not matter how busy this one is."""
    return OmegaConf.select(config, "launcher.name", default=None, throw_on_resolution_failure=False) in CLUSTERS


def _threads(config: DictConfig) -> int:
    """Return the threads of a run, 1 where they are not of the right form, of which a run will say what is wrong."""
    try:
        threads = OmegaConf.select(config, "runtime.threads", default=0)
    except OmegaConfBaseException:
        return 1
    return available_cores() if not threads else threads if isinstance(threads, int) else 1


def _check_installed() -> None:
    """Hydra finds its plugins among what is installed; a checkout on ``PYTHONPATH`` alone has none."""
    found = {f"{plugin.__module__}.{plugin.__name__}" for plugin in Plugins.instance().discover(Sweeper)}
    if schema.SweeperConfig._target_ not in found:
        raise LaunchError("rnn-bench must be installed (pip install), so that Hydra finds its sweeper")
