"""Runs that are made on other machines: what is sent there, and what the sweep is told of it."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import run_job, setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig, open_dict

from bench.config.explain import ConfigError, explain
from bench.config.launchers import ClusterConfig, RayConfig, SlurmConfig
from bench.config.run_spec import RunSpec
from bench.records import lease, locks
from bench.records.paths import checkpoint_path, failed_path
from bench.records.write import write_whole
from bench.runs.cluster import Cluster, wait_for
from bench.runs.job import Command, Planned
from bench.sweeps.driver import Pass


@dataclass(frozen=True)
class RemoteJob:
    """One run on its way to another machine, which makes it when it calls this.

    Attributes:
        common: The file with what all runs of a command share, written by :func:`share`.
        overrides: What the run is composed with.
        number: Its number.
        run_id: Its id.
        planned: What the plan says of it.
        before: Versions of its records and checkpoints that were there when the command started, by path.
    """

    common: str
    overrides: tuple[str, ...]
    number: int
    run_id: str
    planned: Planned
    before: Mapping[str, str]

    def __call__(self) -> str | None:
        """Make the run.

        Returns:
            Why it cannot be made here, in one line; ``None`` if there is a record of it, or somebody else is at it.
        """
        try:
            import cloudpickle

            context, config, command, singletons = cloudpickle.loads(Path(self.common).read_bytes())
            setup_globals()
            Singleton.set_state(singletons)
            self._make(context, config, command)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not end with the node
            return f"{explain(error)} (on {platform.node()})"
        return None

    def _make(self, context: HydraContext, config: DictConfig, command: Command) -> None:
        assert command.invocation is not None
        invocation = replace(command.invocation, run_ids=[self.run_id], before=dict(self.before))
        command = replace(command, invocation=invocation, planned={self.overrides: self.planned})
        composed = context.config_loader.load_sweep_config(config, list(self.overrides))
        with open_dict(composed):
            composed.hydra.job.id = f"{composed.hydra.job.name}_{self.number}"
            composed.hydra.job.num = self.number
        HydraConfig.instance().set_config(composed)
        made = run_job(
            hydra_context=context, task_function=command, config=composed,
            job_dir_key="hydra.sweep.dir", job_subdir_key="hydra.sweep.subdir",
        )  # fmt: skip
        _ = made.return_value  # This raises what the job has raised.


def share(file: Path, context: HydraContext, config: DictConfig, command: Command) -> None:
    """Write what all runs of a command share, without what only one of them needs.

    Raises:
        OSError: The file cannot be written.
    """
    import cloudpickle  # It comes with either of the extras.

    assert command.invocation is not None
    slim = replace(command, invocation=replace(command.invocation, run_ids=[], before={}), planned={})
    write_whole(file, cloudpickle.dumps((context, config, slim, Singleton.get_state())))


def cluster_of(launcher: ClusterConfig, folder: Path) -> Cluster:
    """Return the scheduler that a launcher names, after checking that it can be reached from here.

    Args:
        launcher: The launcher.
        folder: The folder of the sweep, in which it may keep files.

    Raises:
        ConfigError: A package or a program is missing, or the cluster has too little for one run.
    """
    if isinstance(launcher, SlurmConfig):
        from bench.runs.slurm import Slurm

        return Slurm(launcher, folder)
    from bench.runs.ray_tasks import Ray

    assert isinstance(launcher, RayConfig)
    return Ray(launcher)


def elsewhere_pass(
    specs: Mapping[Path, RunSpec], command: Command, config: DictConfig, context: HydraContext, folder: Path
) -> Pass:
    """Return a pass over runs that has them made on a cluster.

    Args:
        specs: The runs by their folders.
        command: What is asked for; its invocation is that of all runs.
        config: The config of the whole command.
        context: What Hydra gives its plugins; its loader composes a run anew where it is made.
        folder: The folder of the sweep.

    Raises:
        ConfigError: The cluster cannot be reached, or not all machines would see the same leases.
    """
    first, invocation = next(iter(specs.values())), command.invocation
    assert isinstance(first.launcher, ClusterConfig)
    assert invocation is not None
    if (why := locks.unsafe(first.results_dir)) is not None and first.launcher.is_far:
        raise ConfigError(
            f"results_dir must be where several machines can share it, got {str(first.results_dir)!r}, on {why}"
        )
    cluster, common = cluster_of(first.launcher, folder), folder / "jobs" / f"{invocation.sweep}.pickle"
    numbers = {place: number for number, place in enumerate(specs)}

    def job_of(place: Path) -> RemoteJob:
        spec = specs[place]
        paths = map(str, (place, failed_path(place), checkpoint_path(place)))
        before = {path: invocation.before[path] for path in paths if path in invocation.before}
        planned = Planned(spec.place, spec.code["numerics"])
        return RemoteJob(str(common), tuple(spec.overrides), numbers[place], spec.run_id, planned, before)

    def one_pass(folders: Sequence[Path]) -> BaseException | None:
        try:
            share(common, context, config, command)
            wait_for(cluster, {place: job_of(place) for place in folders}, is_alive, set_free)
        except Exception as error:  # noqa: BLE001 - a scheduler's client can raise anything
            return error
        finally:
            # One that has not stopped in time finds that it is not wanted.
            common.unlink(missing_ok=True)
        return None

    def is_alive(place: Path) -> bool:
        holder = lease.holder_of(place)
        return holder is not None and holder.alive

    def set_free(place: Path) -> bool:
        holder = lease.holder_of(place)
        if holder is None or holder.owner.sweep != invocation.sweep:
            return False
        lease.bury(place, holder.owner, ended=True)
        return True

    return one_pass
