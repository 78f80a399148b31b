"""The experiments in ``conf/``, and the number of runs of each."""

from __future__ import annotations

from importlib import resources

from bench.shapes import yaml_names


def names() -> list[str]:
    """Return the names of the experiments in ``conf/experiment/``."""
    return yaml_names(resources.files("conf") / "experiment")


def size(name: str) -> int:
    """Count the runs of an experiment as it stands; of a search, those of its first round.

    Raises:
        ConfigError: The experiment does not compose.
    """
    # The import takes seconds and stands here so that names are listed at once.
    from bench.config.compose import compose_runs

    return len({spec.run_id for spec in compose_runs([f"+experiment={name}"])})
